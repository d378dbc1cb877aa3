/* The table of ops. An op is one entry of one file in engine/ops/: its public builder (shape rule),
 * its gradient rule and its lowering stand together there.
 */
#ifndef STK_OPS_OPS_H
#define STK_OPS_OPS_H

#include "engine/graph/graph.h"

struct stk_autodiff;
struct stk_lower;

/* X(enumerator, text, table symbol). Gradient-only ops are at the end of each family. */
#define STK_OP_LIST(X)                                                \
  X(VIEW, "view", stk_op_view)                                        \
  X(CHAIN, "chain", stk_op_chain)                                     \
  X(REDUCE, "reduce", stk_op_reduce)                                  \
  X(COPY, "copy", stk_op_copy)                                        \
  X(FILL, "fill", stk_op_fill)                                        \
  X(ARGMAX, "argmax", stk_op_argmax)                                  \
  X(MATCH, "match", stk_op_match)                                     \
  X(MATMUL, "matmul", stk_op_matmul)                                  \
  X(CONV, "conv2d", stk_op_conv)                                      \
  X(CONV_DX, "conv2d_dx", stk_op_conv_dx)                             \
  X(CONV_DW, "conv2d_dw", stk_op_conv_dw)                             \
  X(POOL, "pool2d", stk_op_pool)                                      \
  X(POOL_BWD, "pool2d_bwd", stk_op_pool_bwd)                          \
  X(SOFTMAX, "softmax", stk_op_softmax)                               \
  X(SOFTMAX_BWD, "softmax_bwd", stk_op_softmax_bwd)                   \
  X(LAYER_NORM, "layer_norm", stk_op_layer_norm)                      \
  X(LAYER_NORM_BWD, "layer_norm_bwd", stk_op_layer_norm_bwd)          \
  X(LAYER_NORM_DPARAM, "layer_norm_dparam", stk_op_layer_norm_dparam) \
  X(BATCH_NORM, "batch_norm", stk_op_batch_norm)                      \
  X(BATCH_NORM_BWD, "batch_norm_bwd", stk_op_batch_norm_bwd)          \
  X(BATCH_NORM_APPLY, "batch_norm_apply", stk_op_batch_norm_apply)    \
  X(EMBEDDING, "embedding", stk_op_embedding)                         \
  X(EMBEDDING_BWD, "embedding_bwd", stk_op_embedding_bwd)             \
  X(DROPOUT, "dropout", stk_op_dropout)                               \
  X(ATTENTION, "attention", stk_op_attention)                         \
  X(ATTENTION_BWD, "attention_bwd", stk_op_attention_bwd)             \
  X(XENT, "cross_entropy", stk_op_xent)                               \
  X(XENT_BWD, "cross_entropy_bwd", stk_op_xent_bwd)                   \
  X(CUSTOM, "custom", stk_op_custom)                                  \
  X(CUSTOM_BWD, "custom_bwd", stk_op_custom_bwd)

typedef enum stk_op {
#define STK_OP_X(name, text, symbol) STK_OP_##name,
  STK_OP_LIST(STK_OP_X)
#undef STK_OP_X
      STK_OP_COUNT
} stk_op;

struct stk_op_def {
  /* Appends nodes for the gradients of the node's inputs, given those of its outputs (-1: none),
   * through stk_autodiff_give in ascending input position. NULL: not differentiable. */
  void (*grad)(struct stk_autodiff *ad, int32_t node, const int32_t *g_out);
  /* Emits instructions. NULL: nothing to run (views). */
  void (*lower)(struct stk_lower *lw, int32_t node);
  /* Floating-point operations of the node; NULL: none worth counting. */
  double (*flops)(const struct stk_graph *g, const struct stk_node *n);
  /* Output 0 may use input k's memory when k dies here: bit k. */
  uint32_t in_place;
};

extern const struct stk_op_def *const stk_ops[STK_OP_COUNT];
const char *stk_op_text(int32_t op);

/* ---- autodiff, as gradient rules see it (engine/plan/autodiff.c) */
struct stk_graph *stk_autodiff_graph(struct stk_autodiff *ad);
/* True when the gradient of this input is wanted at all: rules skip work for others. */
bool stk_autodiff_wants(const struct stk_autodiff *ad, int32_t value);
/* Adds `grad` (a value of the same shape) to the gradient of `value`. */
void stk_autodiff_give(struct stk_autodiff *ad, int32_t value, int32_t grad);
/* The gradient collected for `value` so far (-1: none) and taking it over, for ops that add in
 * place (embedding). */
int32_t stk_autodiff_take(struct stk_autodiff *ad, int32_t value);

/* ---- builders that rules and builders share; ids in, ids out, negative passes through */
int32_t stk_build_unary(struct stk_graph *g, int32_t ew, int32_t a, double c, stk_loc at);
int32_t stk_build_binary(struct stk_graph *g, int32_t ew, int32_t a, int32_t b,
                         stk_loc at); /* broadcasts */
int32_t stk_build_ternary(struct stk_graph *g, int32_t ew, int32_t a, int32_t b, int32_t c,
                          stk_loc at);
/* Sums `a` down to `shape` (the adjoint of broadcasting). */
int32_t stk_build_sum_to(struct stk_graph *g, int32_t a, const struct stk_shape *shape, stk_loc at);
int32_t stk_build_expand(struct stk_graph *g, int32_t a, const struct stk_shape *shape, stk_loc at);
/* Reduction over dims [first, first + n) seen as (outer, axis, inner), times scale, to `shape`. */
int32_t stk_build_reduce(struct stk_graph *g, int32_t a, int32_t first, int32_t n, double scale,
                         struct stk_shape shape, stk_loc at);
int32_t stk_build_fill(struct stk_graph *g, struct stk_shape shape, double value, stk_loc at);

/* op(a) op(b): a (batch.., m, k) or transposed, b (batch.., k, n) or transposed, with optional bias
 * (n). The result has `shape`; batch dims of a or b may be absent or 1 (broadcast). */
int32_t stk_build_matmul(struct stk_graph *g, int32_t a, bool ta, int32_t b, bool tb, int32_t bias,
                         struct stk_shape shape, stk_loc at);
/* Column sums of a seen as (rows, n): the matrix product with ones. */
int32_t stk_build_colsum(struct stk_graph *g, int32_t a, struct stk_shape shape, stk_loc at);

#endif
