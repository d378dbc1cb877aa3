/* mlp: a classifier of fully connected layers over flattened samples.
 *
 * net is nn.Sequential(Linear, activation, [Dropout], ..., Linear): with hidden "500" its
 * parameters are net.0.weight, net.0.bias, net.2.weight, net.2.bias, as PyTorch would call them.
 */
#include <stdlib.h>

#include "engine/models/builtin.h"

enum { MAX_HIDDEN = 32, MAX_WIDTH = 1 << 24 };

struct mlp {
  int64_t in, classes;
  const char *hidden, *activation;
  double dropout;
  stk_layer *net;
};

static const stk_hparam hparams[] = {
    {"in", STK_HP_INT, offsetof(struct mlp, in), "0", 0, MAX_WIDTH, NULL,
     "Values of one sample; 0 takes the data's."},
    {"hidden", STK_HP_STRING, offsetof(struct mlp, hidden), "500", 0, 0, NULL,
     "Widths of the hidden layers, with commas between; empty for none."},
    {"classes", STK_HP_INT, offsetof(struct mlp, classes), "10", 1, MAX_WIDTH, NULL,
     "Number of classes."},
    {"activation", STK_HP_ENUM, offsetof(struct mlp, activation), "relu", 0, 0,
     "relu|gelu|gelu_tanh|tanh|sigmoid|silu|softplus", "What follows each hidden layer."},
    {"dropout", STK_HP_FLOAT, offsetof(struct mlp, dropout), "0", 0, 0.99, NULL,
     "Chance that an output of a hidden layer is dropped in training."},
    {NULL, STK_HP_BOOL, 0, NULL, 0, 0, NULL, NULL},
};

/* Widths of "300, 100"; -1 for anything else. */
static int32_t parse_widths(const char *text, int64_t widths[MAX_HIDDEN]) {
  int32_t n = 0;
  const char *at = text;
  while (*at == ' ') {
    at++;
  }
  while (*at) {
    char *end;
    long long w = strtoll(at, &end, 10);
    if (end == at || w < 1 || w > MAX_WIDTH || n == MAX_HIDDEN) {
      return -1;
    }
    widths[n++] = w;
    for (at = end; *at == ' '; at++) {
    }
    if (*at == ',' && at[1]) {
      at++;
    } else if (*at) {
      return -1;
    }
  }
  return n;
}

static stk_status setup(stk_module *m, void *self) {
  struct mlp *s = self;
  int64_t widths[MAX_HIDDEN], in = stk_model_features(m, s->in, "in");
  int32_t n = parse_widths(s->hidden, widths), n_layers = 0;
  stk_layer *layers[3 * MAX_HIDDEN + 1];
  if (n < 0) {
    return stk_setup_fail(m, "model.hidden: '%s' is not a list like 300,100 of at most %d widths",
                          s->hidden, MAX_HIDDEN);
  }
  if (in == 0) {
    return 1;
  }
  for (int32_t i = 0; i < n; i++) {
    layers[n_layers++] = stk_nn_linear(m, in, widths[i], true);
    layers[n_layers++] = stk_nn_activation(m, s->activation);
    if (s->dropout > 0.0) {
      layers[n_layers++] = stk_nn_dropout(m, s->dropout);
    }
    in = widths[i];
  }
  layers[n_layers++] = stk_nn_linear(m, in, s->classes, true);
  s->net = stk_nn_add(m, "net", stk_nn_sequential(m, layers, n_layers));
  return 0;
}

static stk_t predict_step(const void *self, const stk_batch *b) {
  const struct mlp *s = self;
  stk_t x = stk_rank(b->x) == 1 ? stk_reshape(b->x, 2, ((int64_t[]){b->n, 1})) : b->x;
  return stk_apply(s->net, stk_flatten(x, 1));
}

static stk_t step(const void *self, const stk_batch *b) {
  return stk_model_classify(predict_step(self, b), b->y);
}

static void configure_optimizers(stk_optim *o, const void *self) {
  (void)self;
  stk_optim_adam(o, 1e-3);
}

const stk_module_def stk_model_mlp = {
    .abi = STK_ABI,
    .size = sizeof(stk_module_def),
    .name = "mlp",
    .hparams = hparams,
    .self_size = sizeof(struct mlp),
    .setup = setup,
    STK_MODEL_STEPS(step, predict_step),
    .configure_optimizers = configure_optimizers,
};
