/* A custom op: maxout (Goodfellow et al. 2013), the largest of every `pieces` neighbours.
 *
 *   cc -std=c17 -O2 -shared -fPIC $(pkg-config --cflags stoker) examples/maxout.c \
 *     -o examples/maxout.so
 *   stoker fit examples/maxout.yaml
 *
 * The op is a table with a shape rule, a forward and a backward function. A unit of its work is a
 * row: it writes its own part of the result and reads no other's, so any number of threads gives
 * the same bits. The module is a classifier with one hidden layer of such units.
 */
#include <stoker/stoker.h>

#include <stdio.h>

/* ---- the op; attrs.i[0]: pieces */

static stk_status maxout_shape(const stk_custom_shape *in, const stk_custom_attrs *attrs,
                               stk_custom_shape *out, stk_custom_why *why) {
  const int64_t pieces = attrs->i[0];
  if (in->rank < 1 || in->dtype != out->dtype || in->dims[in->rank - 1] % pieces != 0) {
    snprintf(why->text, sizeof why->text, "the last dimension must be a multiple of %lld",
             (long long)pieces);
    return 1;
  }
  *out = *in;
  out->dims[in->rank - 1] /= pieces;
  return 0;
}

/* Rows: everything but the last dimension. */
static int64_t maxout_units(const stk_custom_call *c, int32_t backward) {
  int64_t n = 1;
  (void)backward;
  for (int32_t i = 0; i + 1 < c->out_shape.rank; i++) {
    n *= c->out_shape.dims[i];
  }
  return n;
}

static int64_t width_of(const stk_custom_call *c) {
  return c->out_shape.dims[c->out_shape.rank - 1];
}

/* The same code for float and double. The first of equal maxima counts, and gets the gradient. */
#define MAXOUT(real)                                                                     \
  static void maxout_forward_##real(const stk_custom_call *c, int64_t lo, int64_t hi) {  \
    const int64_t pieces = c->attrs.i[0], width = width_of(c);                           \
    const real *x = c->in[0];                                                            \
    real *y = c->out;                                                                    \
    for (int64_t i = lo * width; i < hi * width; i++) {                                  \
      y[i] = x[i * pieces];                                                              \
      for (int64_t k = 1; k < pieces; k++) {                                             \
        y[i] = x[i * pieces + k] > y[i] ? x[i * pieces + k] : y[i];                      \
      }                                                                                  \
    }                                                                                    \
  }                                                                                      \
  static void maxout_backward_##real(const stk_custom_call *c, int64_t lo, int64_t hi) { \
    const int64_t pieces = c->attrs.i[0], width = width_of(c);                           \
    const real *x = c->in[0], *y = c->out, *dy = c->grad_out;                            \
    real *dx = c->grad_in[0];                                                            \
    for (int64_t i = lo * width; i < hi * width; i++) {                                  \
      int taken = 0;                                                                     \
      for (int64_t k = 0; k < pieces; k++) {                                             \
        const int here = !taken && x[i * pieces + k] == y[i];                            \
        dx[i * pieces + k] = here ? dy[i] : 0;                                           \
        taken |= here;                                                                   \
      }                                                                                  \
    }                                                                                    \
  }

MAXOUT(float)
MAXOUT(double)

static void maxout_forward(const stk_custom_call *c, int64_t lo, int64_t hi) {
  (c->real_bits == 64 ? maxout_forward_double : maxout_forward_float)(c, lo, hi);
}

static void maxout_backward(const stk_custom_call *c, int64_t lo, int64_t hi) {
  (c->real_bits == 64 ? maxout_backward_double : maxout_backward_float)(c, lo, hi);
}

static const stk_custom_op maxout = {
    .abi = STK_CUSTOM_ABI,
    .size = sizeof maxout,
    .name = "maxout",
    .n_in = 1,
    .flags = STK_CUSTOM_EXACT | STK_CUSTOM_F64,
    .shape = maxout_shape,
    .units = maxout_units,
    .forward = maxout_forward,
    .backward = maxout_backward,
};

/* ---- the module */

typedef struct model {
  int64_t hidden, pieces, classes;
  stk_layer *first, *last;
} model;

static const stk_hparam hparams[] = {
    {.name = "hidden",
     .type = STK_HP_INT,
     .offset = offsetof(model, hidden),
     .default_value = "64",
     .min = 1,
     .max = 65536,
     .help = "Maxout units of the hidden layer."},
    {.name = "pieces",
     .type = STK_HP_INT,
     .offset = offsetof(model, pieces),
     .default_value = "4",
     .min = 1,
     .max = 64,
     .help = "Linear pieces of a unit."},
    {.name = "classes",
     .type = STK_HP_INT,
     .offset = offsetof(model, classes),
     .default_value = "10",
     .min = 1,
     .max = 65536,
     .help = "Number of classes."},
    {.name = NULL},
};

static stk_status setup(stk_module *m, void *self) {
  model *s = self;
  int64_t in = 1;
  for (int32_t i = 0; i < stk_setup_x_rank(m); i++) {
    in *= stk_setup_x_dim(m, i);
  }
  s->first = stk_nn_add(m, "first", stk_nn_linear(m, in, s->hidden * s->pieces, true));
  s->last = stk_nn_add(m, "last", stk_nn_linear(m, s->hidden, s->classes, true));
  return 0;
}

static stk_t predict_step(const void *self, const stk_batch *b) {
  const model *s = self;
  const stk_custom_attrs attrs = {.i = {s->pieces}};
  stk_t x = stk_apply(s->first, stk_flatten(b->x, 1));
  return stk_apply(s->last, stk_custom(&maxout, &x, &attrs));
}

static stk_t training_step(const void *self, const stk_batch *b) {
  stk_t loss = stk_cross_entropy(predict_step(self, b), b->y);
  stk_log("train_loss", loss, STK_ON_STEP | STK_PROG_BAR);
  return loss;
}

static stk_t validation_step(const void *self, const stk_batch *b) {
  stk_t logits = predict_step(self, b), loss = stk_cross_entropy(logits, b->y);
  stk_log("val_loss", loss, STK_ON_EPOCH | STK_PROG_BAR);
  stk_log_accuracy("val_acc", logits, b->y, STK_ON_EPOCH | STK_PROG_BAR);
  return loss;
}

static void configure_optimizers(stk_optim *o, const void *self) {
  (void)self;
  stk_optim_adam(o, 1e-3);
}

static const stk_module_def module = {
    .abi = STK_ABI,
    .size = sizeof module,
    .name = "maxout",
    .hparams = hparams,
    .self_size = sizeof(model),
    .setup = setup,
    .training_step = training_step,
    .validation_step = validation_step,
    .predict_step = predict_step,
    .configure_optimizers = configure_optimizers,
};

STK_MODULE(module)
