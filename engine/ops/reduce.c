/* Sums and means over axes, argmax, and the count of matches (accuracy).
 *
 * REDUCE attributes: i0 outer, i1 axis, i2 inner, f0 scale. A mean is the sum times 1/n, rounded
 * once.
 */
#include "engine/ops/chain.h"
#include "engine/ops/ops.h"
#include "engine/plan/lower.h"

int32_t stk_build_reduce(struct stk_graph *g, int32_t a, int32_t first, int32_t count, double scale,
                         struct stk_shape shape, stk_loc at) {
  if (a < 0 || g->failed) {
    return -1;
  }
  const struct stk_shape *s = &g->values[a].shape;
  struct stk_node n = {
      .op = STK_OP_REDUCE, .n_in = 1, .in = {a}, .i = {1, 1, 1}, .f = {scale}, .at = at};
  for (int32_t d = 0; d < s->rank; d++) {
    n.i[d < first ? 0 : d < first + count ? 1 : 2] *= s->dim[d];
  }
  return stk_graph_add1(g, &n, shape, g->real);
}

int32_t stk_build_sum_to(struct stk_graph *g, int32_t a, const struct stk_shape *shape,
                         stk_loc at) {
  if (a < 0 || g->failed || stk_shape_equal(&g->values[a].shape, shape)) {
    return a;
  }
  int32_t lead = g->values[a].shape.rank - shape->rank;
  for (int32_t d = 0; d < shape->rank && a >= 0; d++) {
    struct stk_shape s = g->values[a].shape;
    if (shape->dim[d] == 1 && s.dim[lead + d] != 1) {
      s.dim[lead + d] = 1;
      a = stk_build_reduce(g, a, lead + d, 1, 1.0, s, at);
    }
  }
  if (a >= 0 && lead > 0) {
    a = stk_shape_numel(&g->values[a].shape) == stk_shape_numel(shape)
            ? a
            : stk_build_reduce(g, a, 0, lead, 1.0, *shape, at);
  }
  return a < 0 ? -1 : stk_graph_view(g, a, *shape, at);
}

int32_t stk_build_colsum(struct stk_graph *g, int32_t a, struct stk_shape shape, stk_loc at) {
  return a < 0 ? -1
               : stk_build_reduce(g, a, 0, g->values[a].shape.rank - shape.rank, 1.0, shape, at);
}

static stk_t reduce(stk_t x, int32_t axis, bool keepdim, bool mean, stk_loc at) {
  if (!stk_symbols_ok(at, mean ? "stk_mean" : "stk_sum", 1, &x)) {
    return stk_symbol(x.g, -1);
  }
  struct stk_graph *g = x.g;
  const struct stk_value *v = &g->values[x.id];
  if (v->dtype != g->real) {
    return stk_symbol(g, stk_graph_fail(g, at, "sums and means need real numbers, not integers"));
  }
  int32_t first = axis == STK_ALL ? 0 : stk_axis(v->shape.rank, axis);
  int32_t count = axis == STK_ALL ? v->shape.rank : 1;
  if (first < 0) {
    return stk_symbol(g, stk_graph_fail(g, at, "axis %d of a tensor with %d dims", (int)axis,
                                        (int)v->shape.rank));
  }
  struct stk_shape out = {0};
  int64_t n = 1;
  for (int32_t d = 0; d < v->shape.rank; d++) {
    bool gone = d >= first && d < first + count;
    n *= gone ? v->shape.dim[d] : 1;
    if (!gone || keepdim) {
      out.dim[out.rank++] = gone ? 1 : v->shape.dim[d];
    }
  }
  return stk_symbol(g,
                    stk_build_reduce(g, x.id, first, count, mean ? 1.0 / (double)n : 1.0, out, at));
}

stk_t stk_sum_at(stk_t x, int32_t axis, bool keepdim, stk_loc at) {
  return reduce(x, axis, keepdim, false, at);
}

stk_t stk_mean_at(stk_t x, int32_t axis, bool keepdim, stk_loc at) {
  return reduce(x, axis, keepdim, true, at);
}

static void reduce_grad(struct stk_autodiff *ad, int32_t node, const int32_t *g_out) {
  struct stk_graph *g = stk_autodiff_graph(ad);
  struct stk_node n = g->nodes[node];
  int32_t d = g_out[0];
  struct stk_shape in = g->values[n.in[0]].shape;
  if (n.f[0] != 1.0) {
    d = stk_build_unary(g, STK_EW_MULC, d, n.f[0], n.at);
  }
  if (d < 0) {
    return;
  }
  d = stk_graph_view(g, d, (struct stk_shape){.rank = 3, .dim = {n.i[0], 1, n.i[2]}}, n.at);
  d = stk_build_expand(g, d, &(struct stk_shape){.rank = 3, .dim = {n.i[0], n.i[1], n.i[2]}}, n.at);
  stk_autodiff_give(ad, n.in[0], stk_graph_view(g, d, in, n.at));
}

static void reduce_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_node *n = &stk_lower_graph(lw)->nodes[node];
  struct stk_reduce_args a = {
      .outer = n->i[0], .axis = n->i[1], .inner = n->i[2], .scale = n->f[0]};
  const struct stk_ref refs[] = {STK_REF(struct stk_reduce_args, x, n->in[0]),
                                 STK_REF(struct stk_reduce_args, y, n->out[0])};
  stk_lower_emit(lw, stk_lower_kernels(lw)->reduce, &a, sizeof a, refs, 2);
}

const struct stk_op_def stk_op_reduce = {.grad = reduce_grad, .lower = reduce_lower};

/* ---- argmax over the last axis */

stk_t stk_argmax_at(stk_t x, stk_loc at) {
  if (!stk_symbols_ok(at, "stk_argmax", 1, &x)) {
    return stk_symbol(x.g, -1);
  }
  struct stk_shape s = x.g->values[x.id].shape;
  if (s.rank < 1 || x.g->values[x.id].dtype != x.g->real || s.dim[s.rank - 1] > INT32_MAX) {
    return stk_symbol(
        x.g, stk_graph_fail(x.g, at, "stk_argmax needs real numbers with at least one dim"));
  }
  struct stk_node n = {.op = STK_OP_ARGMAX, .n_in = 1, .in = {x.id}, .at = at};
  s.rank--;
  return stk_symbol(x.g, stk_graph_add1(x.g, &n, s, STK_I32));
}

static void argmax_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_graph *g = stk_lower_graph(lw);
  const struct stk_node *n = &g->nodes[node];
  const struct stk_shape *s = &g->values[n->in[0]].shape;
  struct stk_argmax_args a = {.n = s->dim[s->rank - 1]};
  a.rows = stk_shape_numel(s) / a.n;
  const struct stk_ref refs[] = {STK_REF(struct stk_argmax_args, x, n->in[0]),
                                 STK_REF(struct stk_argmax_args, y, n->out[0])};
  stk_lower_emit(lw, stk_lower_kernels(lw)->argmax, &a, sizeof a, refs, 2);
}

const struct stk_op_def stk_op_argmax = {.lower = argmax_lower};

/* ---- the share of equal ids and how many there are: (in0 == in1) where in1 >= 0 */

static void match_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_graph *g = stk_lower_graph(lw);
  const struct stk_node *n = &g->nodes[node];
  struct stk_match_args a = {.n = stk_shape_numel(&g->values[n->in[0]].shape)};
  const struct stk_ref refs[] = {STK_REF(struct stk_match_args, a, n->in[0]),
                                 STK_REF(struct stk_match_args, b, n->in[1]),
                                 STK_REF(struct stk_match_args, share, n->out[0]),
                                 STK_REF(struct stk_match_args, count, n->out[1])};
  stk_lower_emit(lw, stk_lower_kernels(lw)->match, &a, sizeof a, refs, 4);
}

const struct stk_op_def stk_op_match = {.lower = match_lower};
