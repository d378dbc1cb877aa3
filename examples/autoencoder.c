/* An autoencoder as a module of one's own: the counterpart of Lightning's first example.
 *
 *   cc -std=c17 -O2 -shared -fPIC $(pkg-config --cflags stoker) examples/autoencoder.c \
 *     -o examples/autoencoder.so
 *   stoker fit examples/autoencoder.yaml --data.path DIR
 *
 * setup declares layers under PyTorch's names (encoder.0.weight ... decoder.2.bias). Step functions
 * describe the computation once; the engine differentiates, plans and replays it.
 */
#include <stoker/stoker.h>

typedef struct autoencoder {
  int64_t in, hidden, code;
  stk_layer *encoder, *decoder;
} autoencoder;

static const stk_hparam hparams[] = {
    {.name = "in",
     .type = STK_HP_INT,
     .offset = offsetof(autoencoder, in),
     .default_value = "784",
     .min = 1,
     .max = 1 << 24,
     .help = "Values of one sample."},
    {.name = "hidden",
     .type = STK_HP_INT,
     .offset = offsetof(autoencoder, hidden),
     .default_value = "64",
     .min = 1,
     .max = 1 << 24,
     .help = "Width of the hidden layers."},
    {.name = "code",
     .type = STK_HP_INT,
     .offset = offsetof(autoencoder, code),
     .default_value = "3",
     .min = 1,
     .max = 1 << 24,
     .help = "Width of the code."},
    {.name = NULL},
};

static stk_status setup(stk_module *m, void *self) {
  autoencoder *s = self;
  s->encoder =
      STK_SEQUENTIAL(m, stk_nn_linear(m, s->in, s->hidden, true), stk_nn_activation(m, "relu"),
                     stk_nn_linear(m, s->hidden, s->code, true));
  s->decoder =
      STK_SEQUENTIAL(m, stk_nn_linear(m, s->code, s->hidden, true), stk_nn_activation(m, "relu"),
                     stk_nn_linear(m, s->hidden, s->in, true));
  stk_nn_add(m, "encoder", s->encoder);
  stk_nn_add(m, "decoder", s->decoder);
  return 0;
}

static stk_t reconstruction_loss(const autoencoder *s, const stk_batch *b) {
  stk_t x = stk_flatten(b->x, 1);
  return stk_mse_loss(stk_apply(s->decoder, stk_apply(s->encoder, x)), x);
}

static stk_t training_step(const void *self, const stk_batch *b) {
  stk_t loss = reconstruction_loss(self, b);
  stk_log("train_loss", loss, STK_ON_STEP | STK_PROG_BAR);
  return loss;
}

static stk_t validation_step(const void *self, const stk_batch *b) {
  stk_t loss = reconstruction_loss(self, b);
  stk_log("val_loss", loss, STK_ON_EPOCH | STK_PROG_BAR);
  return loss;
}

static stk_t test_step(const void *self, const stk_batch *b) {
  stk_t loss = reconstruction_loss(self, b);
  stk_log("test_loss", loss, STK_ON_EPOCH);
  return loss;
}

static stk_t predict_step(const void *self, const stk_batch *b) {
  const autoencoder *s = self;
  return stk_apply(s->encoder, stk_flatten(b->x, 1));
}

static void configure_optimizers(stk_optim *o, const void *self) {
  (void)self;
  stk_optim_adam(o, 1e-3);
}

static const stk_module_def module = {
    .abi = STK_ABI,
    .size = sizeof module,
    .name = "my_autoencoder",
    .hparams = hparams,
    .self_size = sizeof(autoencoder),
    .setup = setup,
    .training_step = training_step,
    .validation_step = validation_step,
    .test_step = test_step,
    .predict_step = predict_step,
    .configure_optimizers = configure_optimizers,
};

STK_MODULE(module)
