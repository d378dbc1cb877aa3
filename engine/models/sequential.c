/* sequential: a list of layers from the job file, with a loss and metrics; no C at all.
 *
 * `layers` is the list as one text (layer_text.h). Setup walks it once with the shape of a sample:
 * sizes that say auto are taken from the layer before, wrong ones are refused with the number of
 * the layer, so that nothing is left to fail while tracing but the loss. Parameters are called
 * layers.N.weight as nn.Sequential numbers them; layers without parameters count too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/models/builtin.h"
#include "engine/models/layer_text.h"

enum { MAX_LAYERS = 256, MAX_STEPS = 2 * MAX_LAYERS, SAMPLE_RANK = STK_MAX_RANK - 1 };

struct shape {
  int32_t rank;
  int64_t dim[SAMPLE_RANK];
};

/* What is applied: a layer, or (NULL) a reshape of each sample. */
struct step {
  const stk_layer *layer;
  struct shape to;
};

struct sequential {
  const char *layers, *loss, *target, *metrics;
  bool accuracy;
  struct step steps[MAX_STEPS];
  int32_t n_steps;
};

static const stk_hparam hparams[] = {
    {"layers", STK_HP_STRING, offsetof(struct sequential, layers), NULL, 0, 0, NULL,
     "The layers, in the order in which they are applied."},
    {"loss", STK_HP_ENUM, offsetof(struct sequential, loss), "cross_entropy", 0, 0,
     "cross_entropy|mse|l1|bce_with_logits", "What training makes small."},
    {"target", STK_HP_ENUM, offsetof(struct sequential, target), "y", 0, 0, "y|x",
     "What the result is compared with: the data's labels, or the sample itself."},
    {"metrics", STK_HP_STRING, offsetof(struct sequential, metrics), "auto", 0, 0, NULL,
     "accuracy, or empty for none; auto: the accuracy with cross_entropy."},
    {NULL, STK_HP_BOOL, 0, NULL, 0, 0, NULL, NULL},
};

/* Setup's view of one layer: where errors belong, its options, and the shape so far. */
struct build {
  stk_module *m;
  struct sequential *s;
  int32_t index;
  const struct stk_layer_text *text;
  struct shape *at; /* of a sample, before the layer; changed to the one after it */
};

static bool refuse(const struct build *b, const char *what, int64_t got, int64_t want) {
  stk_setup_fail(b->m, "model.layers.%d: %s: %s (%lld, not %lld)", (int)b->index, b->text->name,
                 what, (long long)got, (long long)want);
  return false;
}

/* An integer option; `given` where it says auto. */
static int64_t integer(const struct build *b, const char *key, int64_t given) {
  char text[32];
  if (!stk_layer_text_find(b->text, key, text, sizeof text) || strcmp(text, "auto") == 0) {
    return given;
  }
  return strtoll(text, NULL, 10);
}

static double number(const struct build *b, const char *key) {
  char text[40];
  return stk_layer_text_find(b->text, key, text, sizeof text) ? strtod(text, NULL) : 0.0;
}

static bool is(const struct build *b, const char *key, const char *value) {
  char text[32];
  return stk_layer_text_find(b->text, key, text, sizeof text) && strcmp(text, value) == 0;
}

/* Appends a step; a NULL layer has failed with the module's own error, or is a reshape. */
static void put(const struct build *b, const stk_layer *layer, const struct shape *to) {
  struct sequential *s = b->s;
  if (layer || to) {
    s->steps[s->n_steps++] = (struct step){.layer = layer, .to = to ? *to : (struct shape){0}};
  }
}

static bool put_layer(const struct build *b, stk_layer *layer) {
  char name[24];
  snprintf(name, sizeof name, "layers.%d", (int)b->index);
  stk_layer *added = layer ? stk_nn_add(b->m, name, layer) : NULL;
  put(b, added, NULL);
  return added != NULL;
}

static int64_t numel(const struct shape *s) {
  int64_t n = 1;
  for (int32_t i = 0; i < s->rank; i++) {
    n *= s->dim[i];
  }
  return n;
}

/* ---- one function per kind of layer; false: failed, with a message */

static bool linear(const struct build *b) {
  int64_t *last = &b->at->dim[b->at->rank - 1];
  int64_t in = integer(b, "in", *last), out = integer(b, "out", 0);
  if (in != *last) {
    return refuse(b, "in is not what the layer before gives", in, *last);
  }
  *last = out;
  return put_layer(b, stk_nn_linear(b->m, in, out, is(b, "bias", "true")));
}

/* (height, width) becomes (1, height, width). */
static bool image(const struct build *b) {
  struct shape *s = b->at;
  if (s->rank == 2) {
    *s = (struct shape){3, {1, s->dim[0], s->dim[1]}};
    put(b, NULL, s);
  }
  return s->rank == 3 ? true : refuse(b, "it needs images: 2 or 3 dimensions", s->rank, 3);
}

static bool window(const struct build *b, int64_t kernel, const stk_conv2d_options *o) {
  for (int32_t i = 0; i < 2; i++) {
    int64_t have = b->at->dim[1 + i] + 2 * o->padding[i];
    int64_t need = o->dilation[i] * (kernel - 1) + 1;
    if (have < need) {
      return refuse(b, "the window does not fit the image", need, have);
    }
    b->at->dim[1 + i] = (have - need) / o->stride[i] + 1;
  }
  return true;
}

static bool conv2d(const struct build *b) {
  int64_t stride = integer(b, "stride", 1), padding = integer(b, "padding", 0);
  int64_t dilation = integer(b, "dilation", 1), kernel = integer(b, "kernel", 0);
  stk_conv2d_options o = {
      {stride, stride}, {padding, padding}, {dilation, dilation}, integer(b, "groups", 1)};
  if (!image(b)) {
    return false;
  }
  int64_t in = integer(b, "in", b->at->dim[0]), out = integer(b, "out", 0);
  if (in != b->at->dim[0]) {
    return refuse(b, "in is not what the layer before gives", in, b->at->dim[0]);
  }
  if (in % o.groups != 0 || out % o.groups != 0) {
    return refuse(b, "groups must divide in and out", o.groups, in % o.groups ? in : out);
  }
  b->at->dim[0] = out;
  return window(b, kernel, &o) &&
         put_layer(b, stk_nn_conv2d(b->m, in, out, kernel, &o, is(b, "bias", "true")));
}

static bool pool(const struct build *b) {
  int64_t kernel = integer(b, "kernel", 0), stride = integer(b, "stride", kernel);
  const stk_conv2d_options o = {{stride, stride}, {0, 0}, {1, 1}, 1};
  bool max = strcmp(b->text->name, "max_pool") == 0;
  return image(b) && window(b, kernel, &o) &&
         put_layer(b, max ? stk_nn_max_pool2d(b->m, kernel, stride)
                          : stk_nn_avg_pool2d(b->m, kernel, stride));
}

static bool batch_norm(const struct build *b) {
  int64_t have = b->at->dim[0], n = integer(b, "features", have);
  return n == have
             ? put_layer(b, stk_nn_batch_norm2d(b->m, n, number(b, "eps"), number(b, "momentum")))
             : refuse(b, "features is not what the layer before gives", n, have);
}

static bool layer_norm(const struct build *b) {
  int64_t have = b->at->dim[b->at->rank - 1], n = integer(b, "features", have);
  return n == have
             ? put_layer(b, stk_nn_layer_norm(b->m, n, number(b, "eps"), is(b, "bias", "true")))
             : refuse(b, "features is not what the layer before gives", n, have);
}

static bool embedding(const struct build *b) {
  int64_t dim = integer(b, "dim", 0);
  if (b->at->rank == SAMPLE_RANK) {
    return refuse(b, "the result would have too many dimensions", SAMPLE_RANK + 1, SAMPLE_RANK);
  }
  b->at->dim[b->at->rank++] = dim;
  return put_layer(b, stk_nn_embedding(b->m, integer(b, "vocab", 0), dim));
}

static bool dropout(const struct build *b) {
  return put_layer(b, stk_nn_dropout(b->m, number(b, "p")));
}

static bool flatten(const struct build *b) {
  *b->at = (struct shape){1, {numel(b->at)}};
  return put_layer(b, stk_nn_flatten(b->m));
}

static bool reshape(const struct build *b) {
  struct shape to = {0};
  char text[128];
  char *p = text;
  text[0] = '\0';
  if (!stk_layer_text_find(b->text, "shape", text, sizeof text)) {
    return refuse(b, "a shape has 1 to 5 dimensions", 0, SAMPLE_RANK);
  }
  while (*p && to.rank < SAMPLE_RANK) {
    to.dim[to.rank++] = strtoll(p, &p, 10);
    p += strspn(p, " ");
  }
  if (*p || numel(&to) != numel(b->at)) {
    return refuse(b, "the shape has another number of elements", numel(&to), numel(b->at));
  }
  *b->at = to;
  put(b, NULL, &to);
  return true;
}

static bool activation(const struct build *b) {
  bool tanh_form = is(b, "approximate", "tanh");
  return put_layer(b, stk_nn_activation(b->m, tanh_form ? "gelu_tanh" : b->text->name));
}

static const struct {
  const char *name;
  bool (*build)(const struct build *b);
} kinds[] = {
    {"linear", linear},         {"conv2d", conv2d},       {"batch_norm", batch_norm},
    {"layer_norm", layer_norm}, {"embedding", embedding}, {"max_pool", pool},
    {"avg_pool", pool},         {"dropout", dropout},     {"flatten", flatten},
    {"reshape", reshape},       {"relu", activation},     {"gelu", activation},
    {"tanh", activation},       {"sigmoid", activation},  {"silu", activation},
    {"softplus", activation},
};

static bool build_layer(const struct build *b) {
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (strcmp(kinds[i].name, b->text->name) == 0) {
      return kinds[i].build(b);
    }
  }
  stk_setup_fail(b->m, "model.layers.%d: no layer is called %s", (int)b->index, b->text->name);
  return false;
}

static stk_status choose_metrics(stk_module *m, struct sequential *s) {
  bool classifies = strcmp(s->loss, "cross_entropy") == 0;
  bool asked = strcmp(s->metrics, "accuracy") == 0;
  if (*s->metrics && !asked && strcmp(s->metrics, "auto") != 0) {
    return stk_setup_fail(m, "model.metrics: '%s' is not accuracy, auto or empty", s->metrics);
  }
  if (asked && !classifies) {
    return stk_setup_fail(m, "model.metrics: accuracy needs model.loss cross_entropy, not %s",
                          s->loss);
  }
  if (classifies && strcmp(s->target, "x") == 0) {
    return stk_setup_fail(m, "model.target: cross_entropy compares with labels, target y");
  }
  s->accuracy = classifies && *s->metrics;
  return 0;
}

static stk_status setup(stk_module *m, void *self) {
  struct sequential *s = self;
  struct shape at = {.rank = stk_setup_x_rank(m)};
  struct stk_layer_text text;
  const char *rest = s->layers;
  struct build b = {.m = m, .s = s, .text = &text, .at = &at};
  bool bad;
  for (int32_t i = 0; i < at.rank && i < SAMPLE_RANK; i++) {
    at.dim[i] = stk_setup_x_dim(m, i);
  }
  if (at.rank > SAMPLE_RANK) {
    return stk_setup_fail(m, "a sample has at most %d dimensions", SAMPLE_RANK);
  }
  if (at.rank == 0) { /* a number: one feature */
    at = (struct shape){1, {1}};
    put(&b, NULL, &at);
  }
  for (; stk_layer_text_next(&rest, &text, &bad); b.index++) {
    if (b.index == MAX_LAYERS) {
      return stk_setup_fail(m, "model.layers: more than %d layers", MAX_LAYERS);
    }
    if (!build_layer(&b)) {
      return 1;
    }
  }
  if (bad) {
    return stk_setup_fail(m, "model.layers: give a list in the job file, not '%.40s'", rest);
  }
  return choose_metrics(m, s);
}

static stk_t reshape_samples(stk_t x, const struct shape *to, int64_t n) {
  int64_t dims[STK_MAX_RANK] = {n};
  memcpy(dims + 1, to->dim, sizeof to->dim[0] * (size_t)to->rank);
  return stk_reshape(x, to->rank + 1, dims);
}

static stk_t predict_step(const void *self, const stk_batch *b) {
  const struct sequential *s = self;
  stk_t x = b->x;
  for (int32_t i = 0; i < s->n_steps; i++) {
    const struct step *st = &s->steps[i];
    x = st->layer ? stk_apply(st->layer, x) : reshape_samples(x, &st->to, b->n);
  }
  return x;
}

/* The target in the result's shape: (n) against (n, 1) would broadcast to (n, n). */
static stk_t target_like(stk_t result, stk_t target) {
  int64_t dims[STK_MAX_RANK];
  int32_t rank = stk_rank(result);
  if (target.id >= 0 && stk_numel(target) != stk_numel(result)) {
    return stk_trace_fail(result.g,
                          "model.layers: the last layer gives %lld values per batch, the target "
                          "has %lld",
                          (long long)stk_numel(result), (long long)stk_numel(target));
  }
  for (int32_t i = 0; i < rank; i++) {
    dims[i] = stk_dim(result, i);
  }
  return rank >= 0 ? stk_reshape(target, rank, dims) : target;
}

static stk_t step(const void *self, const stk_batch *b) {
  const struct sequential *s = self;
  bool onto_x = strcmp(s->target, "x") == 0;
  stk_t result = predict_step(self, b), target = onto_x ? b->x : b->y;
  if (!onto_x && b->y.id < 0) {
    return stk_trace_fail(result.g,
                          "model.target: the data has no labels; give data.labels, or "
                          "target x and a loss on numbers");
  }
  if (strcmp(s->loss, "cross_entropy") == 0) {
    return s->accuracy ? stk_model_classify(result, target)
                       : stk_model_log_loss(stk_cross_entropy(result, target));
  }
  target = target_like(result, target);
  stk_t loss = strcmp(s->loss, "mse") == 0  ? stk_mse_loss(result, target)
               : strcmp(s->loss, "l1") == 0 ? stk_l1_loss(result, target)
                                            : stk_bce_with_logits(result, target);
  return stk_model_log_loss(loss);
}

static void configure_optimizers(stk_optim *o, const void *self) {
  (void)self;
  stk_optim_adam(o, 1e-3);
}

const stk_module_def stk_model_sequential = {
    .abi = STK_ABI,
    .size = sizeof(stk_module_def),
    .name = "sequential",
    .hparams = hparams,
    .self_size = sizeof(struct sequential),
    .setup = setup,
    STK_MODEL_STEPS(step, predict_step),
    .configure_optimizers = configure_optimizers,
};
