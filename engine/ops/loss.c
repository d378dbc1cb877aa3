/* Losses. Cross-entropy is an op of its own (logits are never turned into probabilities in memory);
 * the others are compositions.
 *
 * XENT: in0 logits, in1 targets; out0 losses per row, out1 log-sum-exp per row, out2 (mean, count).
 * f0 smoothing.
 */
#include "engine/ops/ops.h"
#include "engine/plan/lower.h"

enum { XENT_IGNORE = -100 };

stk_t stk_mse_loss_at(stk_t x, stk_t target, stk_loc at) {
  return stk_mean_at(stk_square_at(stk_sub_at(x, target, at), at), STK_ALL, false, at);
}

stk_t stk_l1_loss_at(stk_t x, stk_t target, stk_loc at) {
  return stk_mean_at(stk_abs_at(stk_sub_at(x, target, at), at), STK_ALL, false, at);
}

/* softplus(x) - x * t: equal to -t log s(x) - (1 - t) log(1 - s(x)), without overflow */
stk_t stk_bce_with_logits_at(stk_t x, stk_t target, stk_loc at) {
  stk_t product = stk_mul_at(x, target, at);
  stk_t l = stk_sub_at(stk_softplus_at(x, at), product, at);
  return stk_mean_at(l, STK_ALL, false, at);
}

stk_t stk_cross_entropy_at(stk_t logits, stk_t target, stk_loc at) {
  stk_t in[2] = {logits, target};
  if (!stk_symbols_ok(at, "stk_cross_entropy", 2, in)) {
    return stk_symbol(logits.g, -1);
  }
  struct stk_graph *g = logits.g;
  struct stk_shape s = g->values[logits.id].shape, rows = s;
  rows.rank--;
  if (s.rank < 1 || g->values[logits.id].dtype != g->real ||
      g->values[target.id].dtype != STK_I32 ||
      !stk_shape_equal(&rows, &g->values[target.id].shape)) {
    char a[96], b[96];
    return stk_symbol(
        g, stk_graph_fail(g, at, "stk_cross_entropy: logits %s need integer targets of shape %s",
                          stk_shape_text(&s, a, sizeof a), stk_shape_text(&rows, b, sizeof b)));
  }
  int64_t n = stk_shape_numel(&rows);
  struct stk_shape flat = {.rank = 1, .dim = {n}};
  struct stk_shape shapes[3] = {flat, flat, {.rank = 1, .dim = {2}}};
  stk_dtype types[3] = {g->real, g->real, g->real};
  struct stk_node node = {
      .op = STK_OP_XENT, .n_in = 2, .in = {logits.id, target.id}, .n_out = 3, .at = at};
  int32_t id = stk_graph_add(g, &node, shapes, types);
  if (id < 0) {
    return stk_symbol(g, -1);
  }
  stk_t pair = stk_symbol(g, g->nodes[id].out[2]);
  struct stk_shape scalar = {0};
  stk_t mean = stk_slice_at(pair, 0, 0, 1, at);
  return stk_symbol(g, mean.id < 0 ? -1 : stk_graph_view(g, mean.id, scalar, at));
}

/* The gradient of the pair is that of its first element, unsliced: only that element is ever used.
 */
static void xent_grad(struct stk_autodiff *ad, int32_t node, const int32_t *g_out) {
  struct stk_graph *g = stk_autodiff_graph(ad);
  struct stk_node n = g->nodes[node];
  if (g_out[2] < 0) {
    return;
  }
  struct stk_node b = {.op = STK_OP_XENT_BWD,
                       .n_in = 5,
                       .in = {n.in[0], n.out[1], g_out[2], n.out[2], n.in[1]},
                       .f = {n.f[0]},
                       .at = n.at};
  stk_autodiff_give(ad, n.in[0], stk_graph_add1(g, &b, g->values[n.in[0]].shape, g->real));
}

static void xent_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_graph *g = stk_lower_graph(lw);
  const struct stk_node *n = &g->nodes[node];
  const struct stk_shape *s = &g->values[n->in[0]].shape;
  int64_t classes = s->dim[s->rank - 1], rows = stk_shape_numel(s) / classes;
  struct stk_xent_args a = {
      .rows = rows, .n = classes, .ignore = XENT_IGNORE, .smoothing = n->f[0]};
  const struct stk_ref refs[] = {STK_REF(struct stk_xent_args, x, n->in[0]),
                                 STK_REF(struct stk_xent_args, target, n->in[1]),
                                 STK_REF(struct stk_xent_args, loss, n->out[0]),
                                 STK_REF(struct stk_xent_args, lse, n->out[1])};
  stk_lower_emit(lw, stk_lower_kernels(lw)->xent, &a, sizeof a, refs, 4);
  struct stk_xent_mean_args m = {.rows = rows, .ignore = XENT_IGNORE};
  const struct stk_ref mean[] = {STK_REF(struct stk_xent_mean_args, loss, n->out[0]),
                                 STK_REF(struct stk_xent_mean_args, target, n->in[1]),
                                 STK_REF(struct stk_xent_mean_args, out, n->out[2])};
  stk_lower_emit(lw, stk_lower_kernels(lw)->xent_mean, &m, sizeof m, mean, 3);
}

const struct stk_op_def stk_op_xent = {.grad = xent_grad, .lower = xent_lower};

static void xent_bwd_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_graph *g = stk_lower_graph(lw);
  const struct stk_node *n = &g->nodes[node];
  const struct stk_shape *s = &g->values[n->in[0]].shape;
  struct stk_xent_bwd_args a = {
      .n = s->dim[s->rank - 1], .ignore = XENT_IGNORE, .smoothing = n->f[0]};
  a.rows = stk_shape_numel(s) / a.n;
  const struct stk_ref refs[] = {STK_REF(struct stk_xent_bwd_args, x, n->in[0]),
                                 STK_REF(struct stk_xent_bwd_args, lse, n->in[1]),
                                 STK_REF(struct stk_xent_bwd_args, g, n->in[2]),
                                 STK_REF(struct stk_xent_bwd_args, mean, n->in[3]),
                                 STK_REF(struct stk_xent_bwd_args, target, n->in[4]),
                                 STK_REF(struct stk_xent_bwd_args, dx, n->out[0])};
  stk_lower_emit(lw, stk_lower_kernels(lw)->xent_bwd, &a, sizeof a, refs, 6);
}

const struct stk_op_def stk_op_xent_bwd = {.lower = xent_bwd_lower, .in_place = 1};
