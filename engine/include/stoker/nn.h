/* Parameters and layers: what a module declares in setup and applies in its step functions.
 *
 * Layers are made without a name and named when they are added to the module: stk_nn_add(m,
 * "encoder", layer) declares the layer's parameters in order, with PyTorch's names
 * ("encoder.0.weight") and PyTorch's default initialisation. Handles belong to the module and live
 * as long as it; NULL (out of memory, bad argument) passes through every call and the first error
 * is reported after setup.
 *
 * stk_apply and stk_param_value are for step functions only; everything else here is for setup
 * only.
 */
#ifndef STOKER_NN_H
#define STOKER_NN_H

#include <stdbool.h>
#include <stdint.h>

#include <stoker/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct stk_module stk_module;
typedef struct stk_param stk_param;
typedef struct stk_layer stk_layer;

typedef enum stk_init_kind {
  STK_INIT_ZEROS,
  STK_INIT_ONES,
  STK_INIT_CONSTANT,       /* a */
  STK_INIT_UNIFORM,        /* [a, b) */
  STK_INIT_NORMAL,         /* mean a, standard deviation b */
  STK_INIT_FAN_IN_UNIFORM, /* U(-1/sqrt(fan_in), 1/sqrt(fan_in)): nn.Linear's and nn.Conv2d's; a =
                              fan_in, 0: from shape */
  STK_INIT_XAVIER_UNIFORM
} stk_init_kind;

typedef struct stk_init {
  stk_init_kind kind;
  double a, b;
} stk_init;

/* A parameter of the module's own, under this exact name. */
stk_param *stk_param_add(stk_module *m, const char *name, int32_t rank, const int64_t *dims,
                         stk_init init);
/* Its value in the graph that x belongs to. */
stk_t stk_param_value(const stk_param *p, stk_graph *g);

/* nn.Linear(in, out): weight (out, in), bias (out) when asked for */
stk_layer *stk_nn_linear(stk_module *m, int64_t in, int64_t out, bool bias);
/* nn.Conv2d: weight (out, in / groups, k, k) */
stk_layer *stk_nn_conv2d(stk_module *m, int64_t in, int64_t out, int64_t kernel,
                         const stk_conv2d_options *opt, bool bias);
/* nn.BatchNorm2d: weight, bias, running_mean, running_var, num_batches_tracked; eps 1e-5, momentum
 * 0.1 */
stk_layer *stk_nn_batch_norm2d(stk_module *m, int64_t channels, double eps, double momentum);
stk_layer *stk_nn_layer_norm(stk_module *m, int64_t n, double eps, bool bias);
/* nn.Embedding: weight (vocab, dim), N(0, 1) */
stk_layer *stk_nn_embedding(stk_module *m, int64_t vocab, int64_t dim);
stk_layer *stk_nn_max_pool2d(stk_module *m, int64_t kernel, int64_t stride);
stk_layer *stk_nn_avg_pool2d(stk_module *m, int64_t kernel, int64_t stride);
stk_layer *stk_nn_dropout(stk_module *m, double p);
stk_layer *stk_nn_flatten(stk_module *m);
/* An activation: "relu", "gelu", "gelu_tanh", "tanh", "sigmoid", "silu", "softplus". */
stk_layer *stk_nn_activation(stk_module *m, const char *name);
/* nn.Sequential: children are named 0, 1, ... as PyTorch numbers them. Takes the layers, copies the
 * array. */
stk_layer *stk_nn_sequential(stk_module *m, stk_layer *const *layers, int32_t n);
#define STK_SEQUENTIAL(m, ...)                              \
  stk_nn_sequential((m), (stk_layer *const[]){__VA_ARGS__}, \
                    (int32_t)(sizeof((stk_layer *const[]){__VA_ARGS__}) / sizeof(stk_layer *)))

/* Replaces the initialisation of a layer's weight (before it is added). Returns the layer. */
stk_layer *stk_nn_init_weight(stk_layer *l, stk_init init);
stk_layer *stk_nn_init_bias(stk_layer *l, stk_init init);

/* Names the layer and declares its parameters. Returns the layer. */
stk_layer *stk_nn_add(stk_module *m, const char *name, stk_layer *l);
/* The layer's weight (NULL where it has none), to tie or to use directly. */
const stk_param *stk_nn_weight(const stk_layer *l);

/* Applies a layer. */
stk_t stk_apply_at(const stk_layer *l, stk_t x, stk_loc at);
#define stk_apply(l, x) stk_apply_at((l), (x), STK_HERE)

/* Setup's own failure, with a message; returns a non-zero status for setup to return. */
stk_status stk_setup_fail(stk_module *m, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Shape of one sample of the training data (no batch dim); 0 dims when there is none (stoker plan
 * without data). */
int32_t stk_setup_x_rank(const stk_module *m);
int64_t stk_setup_x_dim(const stk_module *m, int32_t axis);

#ifdef __cplusplus
}
#endif

#endif
