/* Layers: PyTorch's names, shapes and default initialisations. */
#include "engine/nn/layer.h"

#include <stdio.h>
#include <string.h>

#include "engine/nn/module.h"
#include "engine/ops/batch_norm.h"
#include "proto/base/mem.h"

typedef enum layer_kind {
  LAYER_LINEAR,
  LAYER_CONV,
  LAYER_BATCH_NORM,
  LAYER_LAYER_NORM,
  LAYER_EMBEDDING,
  LAYER_MAX_POOL,
  LAYER_AVG_POOL,
  LAYER_DROPOUT,
  LAYER_FLATTEN,
  LAYER_ACTIVATION,
  LAYER_SEQUENTIAL
} layer_kind;

struct stk_layer {
  layer_kind kind;
  struct stk_module *module;
  struct stk_layer *next; /* in the module's list */
  int32_t w_rank, n_children, activation;
  int64_t w_dims[4], b_dim; /* b_dim 0: no bias */
  stk_init w_init, b_init;
  stk_param *weight, *bias;
  int32_t run_mean, run_var;
  double eps, momentum, p;
  stk_conv2d_options conv;
  stk_pool2d_options pool;
  struct stk_layer **children;
  bool added;
  char name[112]; /* once added */
  int32_t order;  /* among everything that was declared */
};

static const char *const activations[] = {"relu",    "gelu", "gelu_tanh", "tanh",
                                          "sigmoid", "silu", "softplus"};
static stk_t (*const activation_fns[])(stk_t, stk_loc) = {
    stk_relu_at,    stk_gelu_at, stk_gelu_tanh_at, stk_tanh_at,
    stk_sigmoid_at, stk_silu_at, stk_softplus_at};

static const char *const activation_types[] = {"ReLU",    "GELU", "GELU",    "Tanh",
                                               "Sigmoid", "SiLU", "Softplus"};

const struct stk_layer *stk_layer_next(const struct stk_layer *l) {
  return l->next;
}

const char *stk_layer_name(const struct stk_layer *l) {
  return l->name;
}

int32_t stk_layer_order(const struct stk_layer *l) {
  return l->order;
}

const char *stk_layer_type(const struct stk_layer *l) {
  static const char *const types[] = {"Linear",    "Conv2d",    "BatchNorm2d", "LayerNorm",
                                      "Embedding", "MaxPool2d", "AvgPool2d",   "Dropout",
                                      "Flatten",   "",          "Sequential"};
  return l->kind == LAYER_ACTIVATION ? activation_types[l->activation] : types[l->kind];
}

void stk_layers_free(struct stk_layer *first) {
  while (first) {
    struct stk_layer *next = first->next;
    sp_free(first->children);
    sp_free(first);
    first = next;
  }
}

static stk_layer *layer_new(stk_module *m, layer_kind kind) {
  stk_layer *l = m && !m->err.status && !m->ready ? sp_alloc(sizeof *l) : NULL;
  if (!l) {
    if (m && !m->err.status) {
      stk_setup_fail(m, m->ready ? "layers are made in setup only" : "out of memory");
    }
    return NULL;
  }
  l->kind = kind;
  l->module = m;
  l->next = m->layers;
  m->layers = l;
  return l;
}

static bool positive(stk_module *m, const char *what, int64_t a, int64_t b) {
  if (m && (a <= 0 || b <= 0)) {
    stk_setup_fail(m, "%s: sizes must be positive", what);
  }
  return a > 0 && b > 0;
}

stk_layer *stk_nn_linear(stk_module *m, int64_t in, int64_t out, bool bias) {
  stk_layer *l = positive(m, "stk_nn_linear", in, out) ? layer_new(m, LAYER_LINEAR) : NULL;
  if (l) {
    l->w_rank = 2;
    l->w_dims[0] = out;
    l->w_dims[1] = in;
    l->b_dim = bias ? out : 0;
    l->w_init = l->b_init = (stk_init){STK_INIT_FAN_IN_UNIFORM, (double)in, 0};
  }
  return l;
}

stk_layer *stk_nn_conv2d(stk_module *m, int64_t in, int64_t out, int64_t kernel,
                         const stk_conv2d_options *opt, bool bias) {
  int64_t groups = opt && opt->groups ? opt->groups : 1;
  if (!positive(m, "stk_nn_conv2d", in, out) || !positive(m, "stk_nn_conv2d", kernel, groups) ||
      in % groups) {
    return NULL;
  }
  stk_layer *l = layer_new(m, LAYER_CONV);
  if (l) {
    l->conv = opt ? *opt : (stk_conv2d_options){0};
    l->w_rank = 4;
    l->w_dims[0] = out;
    l->w_dims[1] = in / groups;
    l->w_dims[2] = l->w_dims[3] = kernel;
    l->b_dim = bias ? out : 0;
    l->w_init = l->b_init =
        (stk_init){STK_INIT_FAN_IN_UNIFORM, (double)(in / groups * kernel * kernel), 0};
  }
  return l;
}

static stk_layer *norm(stk_module *m, layer_kind kind, int64_t n, double eps, bool bias) {
  stk_layer *l = positive(m, "a norm layer", n, 1) ? layer_new(m, kind) : NULL;
  if (l) {
    l->w_rank = 1;
    l->w_dims[0] = n;
    l->b_dim = bias ? n : 0;
    l->eps = eps;
    l->w_init = (stk_init){STK_INIT_ONES, 0, 0};
    l->b_init = (stk_init){STK_INIT_ZEROS, 0, 0};
  }
  return l;
}

stk_layer *stk_nn_batch_norm2d(stk_module *m, int64_t channels, double eps, double momentum) {
  stk_layer *l = norm(m, LAYER_BATCH_NORM, channels, eps, true);
  if (l) {
    l->momentum = momentum;
  }
  return l;
}

stk_layer *stk_nn_layer_norm(stk_module *m, int64_t n, double eps, bool bias) {
  return norm(m, LAYER_LAYER_NORM, n, eps, bias);
}

stk_layer *stk_nn_embedding(stk_module *m, int64_t vocab, int64_t dim) {
  stk_layer *l = positive(m, "stk_nn_embedding", vocab, dim) ? layer_new(m, LAYER_EMBEDDING) : NULL;
  if (l) {
    l->w_rank = 2;
    l->w_dims[0] = vocab;
    l->w_dims[1] = dim;
    l->w_init = (stk_init){STK_INIT_NORMAL, 0, 1};
  }
  return l;
}

static stk_layer *pool(stk_module *m, layer_kind kind, int64_t kernel, int64_t stride) {
  stk_layer *l = positive(m, "a pooling layer", kernel, 1) ? layer_new(m, kind) : NULL;
  if (l) {
    l->pool = (stk_pool2d_options){.kernel = {kernel, kernel}, .stride = {stride, stride}};
  }
  return l;
}

stk_layer *stk_nn_max_pool2d(stk_module *m, int64_t kernel, int64_t stride) {
  return pool(m, LAYER_MAX_POOL, kernel, stride);
}

stk_layer *stk_nn_avg_pool2d(stk_module *m, int64_t kernel, int64_t stride) {
  return pool(m, LAYER_AVG_POOL, kernel, stride);
}

stk_layer *stk_nn_dropout(stk_module *m, double p) {
  stk_layer *l = layer_new(m, LAYER_DROPOUT);
  if (l) {
    l->p = p;
  }
  return l;
}

stk_layer *stk_nn_flatten(stk_module *m) {
  return layer_new(m, LAYER_FLATTEN);
}

stk_layer *stk_nn_activation(stk_module *m, const char *name) {
  for (size_t i = 0; name && i < sizeof activations / sizeof *activations; i++) {
    if (strcmp(activations[i], name) == 0) {
      stk_layer *l = layer_new(m, LAYER_ACTIVATION);
      if (l) {
        l->activation = (int32_t)i;
      }
      return l;
    }
  }
  stk_setup_fail(
      m,
      "no activation is called %s; there are relu, gelu, gelu_tanh, tanh, sigmoid, silu, softplus",
      name ? name : "(null)");
  return NULL;
}

stk_layer *stk_nn_sequential(stk_module *m, stk_layer *const *layers, int32_t n) {
  stk_layer *l = n > 0 ? layer_new(m, LAYER_SEQUENTIAL) : NULL;
  if (!l) {
    return NULL;
  }
  l->children = sp_alloc_array((size_t)n, sizeof *l->children);
  for (int32_t i = 0; l->children && i < n; i++) {
    if (!layers[i]) {
      stk_setup_fail(m, "stk_nn_sequential: layer %d is NULL", (int)i);
      return NULL;
    }
    l->children[l->n_children++] = layers[i];
  }
  if (!l->children) {
    stk_setup_fail(m, "out of memory");
    return NULL;
  }
  return l;
}

stk_layer *stk_nn_init_weight(stk_layer *l, stk_init init) {
  if (l) {
    l->w_init = init;
  }
  return l;
}

stk_layer *stk_nn_init_bias(stk_layer *l, stk_init init) {
  if (l) {
    l->b_init = init;
  }
  return l;
}

static void declare(stk_module *m, const char *name, stk_layer *l) {
  char full[128];
  if (l->added) {
    stk_setup_fail(m, "%s: this layer was added before", name);
    return;
  }
  l->added = true;
  l->order = m->n_declared++;
  snprintf(l->name, sizeof l->name, "%.100s", name);
  if (l->w_rank) {
    snprintf(full, sizeof full, "%.100s.weight", name);
    l->weight = stk_param_add(m, full, l->w_rank, l->w_dims, l->w_init);
  }
  if (l->b_dim) {
    snprintf(full, sizeof full, "%.100s.bias", name);
    l->bias = stk_param_add(m, full, 1, &l->b_dim, l->b_init);
  }
  stk_param *const own[] = {l->weight, l->bias};
  for (int i = 0; i < 2; i++) {
    if (own[i]) {
      own[i]->in_layer = true;
    }
  }
  if (l->kind == LAYER_BATCH_NORM) {
    struct stk_shape s = {.rank = 1, .dim = {l->w_dims[0]}};
    snprintf(full, sizeof full, "%.100s.running_mean", name);
    l->run_mean = stk_module_add_running(m, full, &s, 0.0);
    snprintf(full, sizeof full, "%.100s.running_var", name);
    l->run_var = stk_module_add_running(m, full, &s, 1.0);
  }
  for (int32_t i = 0; i < l->n_children; i++) {
    snprintf(full, sizeof full, "%.100s.%d", name, (int)i);
    declare(m, full, l->children[i]);
  }
}

stk_layer *stk_nn_add(stk_module *m, const char *name, stk_layer *l) {
  if (!l && !m->err.status) {
    stk_setup_fail(m, "%s: the layer is NULL", name ? name : "stk_nn_add");
  }
  if (l && !m->err.status && name && *name) {
    declare(m, name, l);
  }
  return l;
}

const stk_param *stk_nn_weight(const stk_layer *l) {
  return l ? l->weight : NULL;
}

static stk_t param_or_none(const stk_param *p, stk_graph *g) {
  return p ? stk_param_value(p, g) : stk_none();
}

stk_t stk_apply_at(const stk_layer *l, stk_t x, stk_loc at) {
  if (!stk_symbols_ok(at, "stk_apply", 1, &x)) {
    return stk_symbol(x.g, -1);
  }
  if (!l || (l->w_rank && !l->weight)) {
    return stk_symbol(
        x.g,
        stk_graph_fail(x.g, at, "stk_apply: the layer is NULL or was never added to the module"));
  }
  stk_t w = param_or_none(l->weight, x.g), b = param_or_none(l->bias, x.g);
  switch (l->kind) {
    case LAYER_LINEAR:
      return stk_linear_at(x, w, b, at);
    case LAYER_CONV:
      return stk_conv2d_at(x, w, b, &l->conv, at);
    case LAYER_BATCH_NORM:
      if (stk_rank(x) < 2 || stk_dim(x, 1) != l->w_dims[0]) {
        return stk_symbol(x.g,
                          stk_graph_fail(x.g, at, "batch norm of %lld channels got another number",
                                         (long long)l->w_dims[0]));
      }
      return stk_symbol(x.g, stk_build_batch_norm(x.g, x.id, w.id, b.id, l->run_mean, l->run_var,
                                                  l->eps, l->momentum, at));
    case LAYER_LAYER_NORM:
      return stk_layer_norm_at(x, w, b, l->eps, at);
    case LAYER_EMBEDDING:
      return stk_embedding_at(x, w, at);
    case LAYER_MAX_POOL:
      return stk_max_pool2d_at(x, &l->pool, at);
    case LAYER_AVG_POOL:
      return stk_avg_pool2d_at(x, &l->pool, at);
    case LAYER_DROPOUT:
      return stk_dropout_at(x, l->p, at);
    case LAYER_FLATTEN:
      return stk_flatten_at(x, 1, at);
    case LAYER_ACTIVATION:
      return activation_fns[l->activation](x, at);
    case LAYER_SEQUENTIAL:
      break;
  }
  for (int32_t i = 0; i < l->n_children; i++) {
    x = stk_apply_at(l->children[i], x, at);
  }
  return x;
}
