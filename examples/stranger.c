/* What a module can bring beside layers: a loss of its own, run hooks with saved state, a reader.
 *
 *   cc -std=c17 -O2 -shared -fPIC $(pkg-config --cflags stoker) examples/stranger.c \
 *     -o examples/stranger.so -lm
 *   stoker fit examples/stranger.yaml
 *
 * It learns y = sin(3 x0) x1 from samples that its reader makes out of their numbers. The loss is
 * Huber's, composed of ops. Its width is a host scalar, delta, which a hook halves after every
 * `patience` epochs; the hook counts in the module state, which checkpoints carry, so a resumed job
 * goes on counting where it stopped.
 */
#include <stoker/stoker.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct stranger {
  int64_t hidden, patience;
  double delta;
  stk_layer *net;
} stranger;

/* Lives in the control page: committed with every step and saved in every checkpoint. */
typedef struct stranger_state {
  int64_t epochs, halvings;
} stranger_state;

static const stk_hparam hparams[] = {
    {.name = "hidden",
     .type = STK_HP_INT,
     .offset = offsetof(stranger, hidden),
     .default_value = "32",
     .min = 1,
     .max = 65536,
     .help = "Width of the hidden layer."},
    {.name = "patience",
     .type = STK_HP_INT,
     .offset = offsetof(stranger, patience),
     .default_value = "2",
     .min = 1,
     .max = 1000,
     .help = "Epochs between halvings of delta."},
    {.name = "delta",
     .type = STK_HP_FLOAT,
     .offset = offsetof(stranger, delta),
     .default_value = "1.0",
     .min = 1e-3,
     .max = 1e3,
     .help = "Where the loss turns from a square into a line, at first."},
    {.name = NULL},
};

/* ---- trace functions */

static stk_status setup(stk_module *m, void *self) {
  stranger *s = self;
  if (stk_setup_x_rank(m) > 0 && stk_setup_x_dim(m, 0) != 2) {
    return stk_setup_fail(m, "samples have two values, not %lld; use data.kind module",
                          (long long)stk_setup_x_dim(m, 0));
  }
  stk_layer *net =
      STK_SEQUENTIAL(m, stk_nn_linear(m, 2, s->hidden, true), stk_nn_activation(m, "tanh"),
                     stk_nn_linear(m, s->hidden, 1, true));
  s->net = stk_nn_add(m, "net", net);
  return 0;
}

/* Huber's loss: q^2 / 2 + d (e - q) with e = |prediction - y|, d = delta, q = min(e, d). */
static stk_t huber(stk_t prediction, stk_t y, stk_t delta) {
  stk_t e = stk_abs(stk_sub(prediction, y));
  stk_t q = stk_minimum(e, delta);
  stk_t square = stk_scale(stk_square(q), 0.5), line = stk_mul(delta, stk_sub(e, q));
  return stk_mean(stk_add(square, line), STK_ALL, false);
}

static stk_t predict_step(const void *self, const stk_batch *b) {
  const stranger *s = self;
  return stk_apply(s->net, b->x);
}

static stk_t training_step(const void *self, const stk_batch *b) {
  const stranger *s = self;
  stk_t delta = stk_host_scalar(b->x.g, "delta", s->delta);
  stk_t loss = huber(predict_step(self, b), b->y, delta);
  stk_log("train_loss", loss, STK_ON_STEP | STK_ON_EPOCH | STK_PROG_BAR);
  return loss;
}

static stk_t validation_step(const void *self, const stk_batch *b) {
  stk_t loss = stk_l1_loss(predict_step(self, b), b->y);
  stk_log("val_error", loss, STK_ON_EPOCH | STK_PROG_BAR);
  return loss;
}

static void configure_optimizers(stk_optim *o, const void *self) {
  (void)self;
  stk_optim_adamw(o, 1e-2, 0.0);
}

/* ---- run hooks */

static void on_train_epoch_end(stk_run *r, const void *self) {
  const stranger *s = self;
  stranger_state *state = stk_run_state(r);
  state->epochs++;
  if (state->epochs % s->patience == 0) {
    state->halvings++;
  }
  double delta = ldexp(s->delta, -(int)state->halvings);
  stk_run_set_scalar(r, "delta", delta);
  stk_run_log(r, "delta", delta, STK_ON_EPOCH);
}

static const stk_run_hooks hooks = {
    .size = sizeof hooks,
    .on_train_epoch_end = on_train_epoch_end,
};

/* ---- the reader: sample k of a role is a function of k alone */

enum { N_DEFAULT = 2048, N_MAX = 1 << 24 };

typedef struct source {
  int64_t n;
  uint64_t salt; /* train and val are different samples */
} source;

static stk_status source_open(const stk_reader_args *args, void **out_self,
                              stk_reader_info *out_info, stk_reader_why *why) {
  source made = {.n = N_DEFAULT, .salt = strcmp(args->role, "train") == 0 ? 0 : 1};
  for (int32_t i = 0; i < args->n_options; i++) {
    char *end = NULL;
    if (strcmp(args->keys[i], "samples") == 0) {
      made.n = strtoll(args->values[i], &end, 10);
    }
    if (!end || *end || made.n < 1 || made.n > N_MAX) {
      snprintf(why->text, sizeof why->text, "the only option is samples, 1 to %d", N_MAX);
      return 1;
    }
  }
  source *self = malloc(sizeof *self);
  if (!self) {
    snprintf(why->text, sizeof why->text, "out of memory");
    return 1;
  }
  *self = made;
  *out_self = self;
  *out_info = (stk_reader_info){
      .n_samples = made.n,
      .x = {.dtype = STK_F32, .rank = 1, .dims = {2}},
      .y = {.dtype = STK_F32, .rank = 1, .dims = {1}},
      .has_y = 1,
  };
  return 0;
}

/* A number in [-1, 1) from a key: SplitMix64's mixing. */
static float number(uint64_t key) {
  key += 0x9e3779b97f4a7c15u;
  key = (key ^ (key >> 30)) * 0xbf58476d1ce4e5b9u;
  key = (key ^ (key >> 27)) * 0x94d049bb133111ebu;
  key ^= key >> 31;
  return (float)(int32_t)(key >> 40) / 8388608.0f - 1.0f;
}

static stk_status source_read(void *self, const stk_reader_request *request, void *x, void *y,
                              stk_reader_why *why) {
  const source *s = self;
  float *xs = x, *ys = y;
  (void)why;
  for (int32_t i = 0; i < request->n; i++) {
    uint64_t key = ((uint64_t)request->ids[i] * 2 + s->salt) * 2;
    xs[2 * i] = number(key);
    xs[2 * i + 1] = number(key + 1);
    ys[i] = (float)sin(3.0 * (double)xs[2 * i]) * xs[2 * i + 1];
  }
  return 0;
}

static const stk_reader_ops reader = {
    .abi = STK_READER_ABI,
    .size = sizeof reader,
    .name = "sine",
    .open = source_open,
    .read = source_read,
    .close = free,
};

static const stk_module_def module = {
    .abi = STK_ABI,
    .size = sizeof module,
    .name = "stranger",
    .hparams = hparams,
    .self_size = sizeof(stranger),
    .state_size = sizeof(stranger_state),
    .state_version = 1,
    .setup = setup,
    .training_step = training_step,
    .validation_step = validation_step,
    .predict_step = predict_step,
    .configure_optimizers = configure_optimizers,
    .hooks = &hooks,
    .reader = &reader,
};

STK_MODULE(module)
