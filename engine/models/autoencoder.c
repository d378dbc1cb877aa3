/* autoencoder: Linear(in, hidden) ReLU Linear(hidden, code), and back; trained to give its input.
 *
 * Lightning's first example. predict gives the codes. examples/autoencoder.c is the same module as
 * a user would write it.
 */
#include "engine/models/builtin.h"

enum { MAX_WIDTH = 1 << 24 };

struct autoencoder {
  int64_t in, hidden, code;
  stk_layer *encoder, *decoder;
};

static const stk_hparam hparams[] = {
    {"in", STK_HP_INT, offsetof(struct autoencoder, in), "0", 0, MAX_WIDTH, NULL,
     "Values of one sample; 0 takes the data's."},
    {"hidden", STK_HP_INT, offsetof(struct autoencoder, hidden), "64", 1, MAX_WIDTH, NULL,
     "Width of the hidden layers."},
    {"code", STK_HP_INT, offsetof(struct autoencoder, code), "3", 1, MAX_WIDTH, NULL,
     "Width of the code."},
    {NULL, STK_HP_BOOL, 0, NULL, 0, 0, NULL, NULL},
};

static stk_layer *half(stk_module *m, const char *name, int64_t in, int64_t hidden, int64_t out) {
  stk_layer *l = STK_SEQUENTIAL(m, stk_nn_linear(m, in, hidden, true), stk_nn_activation(m, "relu"),
                                stk_nn_linear(m, hidden, out, true));
  return stk_nn_add(m, name, l);
}

static stk_status setup(stk_module *m, void *self) {
  struct autoencoder *s = self;
  int64_t in = stk_model_features(m, s->in, "in");
  if (in == 0) {
    return 1;
  }
  s->encoder = half(m, "encoder", in, s->hidden, s->code);
  s->decoder = half(m, "decoder", s->code, s->hidden, in);
  return 0;
}

static stk_t predict_step(const void *self, const stk_batch *b) {
  const struct autoencoder *s = self;
  return stk_apply(s->encoder, stk_flatten(b->x, 1));
}

static stk_t step(const void *self, const stk_batch *b) {
  const struct autoencoder *s = self;
  stk_t x = stk_flatten(b->x, 1);
  return stk_model_log_loss(stk_mse_loss(stk_apply(s->decoder, stk_apply(s->encoder, x)), x));
}

static void configure_optimizers(stk_optim *o, const void *self) {
  (void)self;
  stk_optim_adam(o, 1e-3);
}

const stk_module_def stk_model_autoencoder = {
    .abi = STK_ABI,
    .size = sizeof(stk_module_def),
    .name = "autoencoder",
    .hparams = hparams,
    .self_size = sizeof(struct autoencoder),
    .setup = setup,
    STK_MODEL_STEPS(step, predict_step),
    .configure_optimizers = configure_optimizers,
};
