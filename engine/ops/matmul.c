/* Matrix products: matmul, linear. All are one op over the fixed-order GEMM.
 *
 * MATMUL attributes: i0 ta, i1 tb, i2 m, i3 n, i4 k, i5 batch outer, i6 batch inner, i7 a outer
 * stride, i8 a inner, i9 b outer, i10 b inner, i11 activation (enum stk_gemm_act). Inputs: a, b,
 * bias or -1. A product per (outer, inner).
 */
#include "engine/kernel/gemm.h"
#include "engine/ops/chain.h"
#include "engine/ops/ops.h"
#include "engine/plan/lower.h"

enum { TA, TB, M, N, K, OUTER, INNER, A_OUTER, A_INNER, B_OUTER, B_INNER, ACT };

/* Batch dims of a result and how an operand walks them, collapsed to two levels. */
struct batch {
  int64_t count[2];
  int64_t stride[2][2]; /* [operand][level], in matrices */
};

/* Broadcasts the batch dims (all but the last two) of a and b against those of out; false if more
 * than two levels. */
static bool collapse(const struct stk_shape *out, const struct stk_shape *const in[2],
                     struct batch *b) {
  int32_t n = 0;
  int64_t count[STK_MAX_RANK], stride[2][STK_MAX_RANK], step[2] = {1, 1};
  int64_t full[2][STK_MAX_RANK];
  for (int32_t d = out->rank - 3; d >= 0; d--) {
    for (int32_t o = 0; o < 2; o++) {
      int32_t at = d - (out->rank - in[o]->rank);
      int64_t dim = at >= 0 ? in[o]->dim[at] : 1;
      full[o][d] = dim == 1 ? 0 : step[o];
      step[o] *= dim;
    }
  }
  for (int32_t d = 0; d < out->rank - 2; d++) {
    if (out->dim[d] == 1) {
      continue;
    }
    bool joins = n > 0 && stride[0][n - 1] == full[0][d] * out->dim[d] &&
                 stride[1][n - 1] == full[1][d] * out->dim[d];
    n += joins ? 0 : 1;
    count[n - 1] = joins ? count[n - 1] * out->dim[d] : out->dim[d];
    stride[0][n - 1] = full[0][d];
    stride[1][n - 1] = full[1][d];
  }
  for (int32_t l = 0; l < 2; l++) {
    int32_t from = l - (2 - n);
    b->count[l] = from < 0 ? 1 : count[from];
    b->stride[0][l] = from < 0 ? 0 : stride[0][from];
    b->stride[1][l] = from < 0 ? 0 : stride[1][from];
  }
  return n <= 2;
}

int32_t stk_build_matmul(struct stk_graph *g, int32_t a, bool ta, int32_t b, bool tb, int32_t bias,
                         struct stk_shape shape, stk_loc at) {
  if (a < 0 || b < 0 || g->failed) {
    return -1;
  }
  const struct stk_shape *in[2] = {&g->values[a].shape, &g->values[b].shape};
  struct batch batch;
  if (!collapse(&shape, in, &batch)) {
    return stk_graph_fail(g, at, "matmul: batch dims that broadcast over more than two levels");
  }
  int64_t rows = in[0]->dim[in[0]->rank - 2], cols = in[0]->dim[in[0]->rank - 1];
  struct stk_node n = {.op = STK_OP_MATMUL, .n_in = 3, .in = {a, b, bias}, .at = at};
  n.i[TA] = ta;
  n.i[TB] = tb;
  n.i[M] = shape.dim[shape.rank - 2];
  n.i[N] = shape.dim[shape.rank - 1];
  n.i[K] = ta ? rows : cols;
  n.i[OUTER] = batch.count[0];
  n.i[INNER] = batch.count[1];
  n.i[A_OUTER] = batch.stride[0][0] * n.i[M] * n.i[K];
  n.i[A_INNER] = batch.stride[0][1] * n.i[M] * n.i[K];
  n.i[B_OUTER] = batch.stride[1][0] * n.i[K] * n.i[N];
  n.i[B_INNER] = batch.stride[1][1] * n.i[K] * n.i[N];
  return stk_graph_add1(g, &n, shape, g->real);
}

static stk_t shapes_fail(struct stk_graph *g, const char *what, stk_t a, stk_t b, stk_loc at) {
  char x[96], y[96];
  return stk_symbol(g, stk_graph_fail(g, at, "%s: shapes %s and %s do not fit", what,
                                      stk_shape_text(&g->values[a.id].shape, x, sizeof x),
                                      stk_shape_text(&g->values[b.id].shape, y, sizeof y)));
}

stk_t stk_matmul_at(stk_t a, stk_t b, stk_loc at) {
  stk_t in[2] = {a, b};
  if (!stk_symbols_ok(at, "stk_matmul", 2, in)) {
    return stk_symbol(a.g, -1);
  }
  struct stk_graph *g = a.g;
  struct stk_shape sa = g->values[a.id].shape, sb = g->values[b.id].shape, out;
  bool real = g->values[a.id].dtype == g->real && g->values[b.id].dtype == g->real;
  if (!real || sa.rank < 2 || sb.rank < 2 || sa.dim[sa.rank - 1] != sb.dim[sb.rank - 2]) {
    return shapes_fail(g, "stk_matmul", a, b, at);
  }
  int64_t m = sa.dim[sa.rank - 2], n = sb.dim[sb.rank - 1];
  struct stk_shape ba = sa, bb = sb;
  ba.dim[ba.rank - 2] = ba.dim[ba.rank - 1] = bb.dim[bb.rank - 2] = bb.dim[bb.rank - 1] = 1;
  if (!stk_shape_broadcast(&ba, &bb, &out)) {
    return shapes_fail(g, "stk_matmul", a, b, at);
  }
  out.dim[out.rank - 2] = m;
  out.dim[out.rank - 1] = n;
  return stk_symbol(g, stk_build_matmul(g, a.id, false, b.id, false, -1, out, at));
}

stk_t stk_linear_at(stk_t x, stk_t w, stk_t b, stk_loc at) {
  stk_t in[3] = {x, w, b};
  if (!stk_symbols_ok(at, "stk_linear", b.g ? 3 : 2, in)) {
    return stk_symbol(x.g, -1);
  }
  struct stk_graph *g = x.g;
  struct stk_shape sx = g->values[x.id].shape, sw = g->values[w.id].shape;
  if (g->values[x.id].dtype != g->real || sx.rank < 1 || sw.rank != 2 ||
      sx.dim[sx.rank - 1] != sw.dim[1]) {
    return shapes_fail(g, "stk_linear", x, w, at);
  }
  if (b.g && (g->values[b.id].shape.rank != 1 || g->values[b.id].shape.dim[0] != sw.dim[0])) {
    return shapes_fail(g, "stk_linear (bias)", w, b, at);
  }
  int64_t rows = stk_shape_numel(&sx) / sw.dim[1];
  int32_t flat =
      stk_graph_view(g, x.id, (struct stk_shape){.rank = 2, .dim = {rows, sw.dim[1]}}, at);
  struct stk_shape out = {.rank = 2, .dim = {rows, sw.dim[0]}};
  int32_t y = stk_build_matmul(g, flat, false, w.id, true, b.g ? b.id : -1, out, at);
  sx.dim[sx.rank - 1] = sw.dim[0];
  return stk_symbol(g, y < 0 ? -1 : stk_graph_view(g, y, sx, at));
}

/* The gradient of an operand, computed over the full batch and then summed over what was broadcast.
 */
static struct stk_shape full_shape(const struct stk_graph *g, const struct stk_node *n,
                                   int32_t value) {
  struct stk_shape out = g->values[n->out[0]].shape;
  const struct stk_shape *s = &g->values[value].shape;
  out.dim[out.rank - 2] = s->dim[s->rank - 2];
  out.dim[out.rank - 1] = s->dim[s->rank - 1];
  return out;
}

static void grad(struct stk_autodiff *ad, int32_t node, const int32_t *g_out) {
  struct stk_graph *g = stk_autodiff_graph(ad);
  struct stk_node n = g->nodes[node];
  bool ta = n.i[TA] != 0, tb = n.i[TB] != 0;
  int32_t a = n.in[0], b = n.in[1], gy = g_out[0];
  if (stk_autodiff_wants(ad, a)) {
    struct stk_shape s = full_shape(g, &n, a);
    int32_t d = ta ? stk_build_matmul(g, b, tb, gy, true, -1, s, n.at)
                   : stk_build_matmul(g, gy, false, b, !tb, -1, s, n.at);
    stk_autodiff_give(ad, a, stk_build_sum_to(g, d, &g->values[a].shape, n.at));
  }
  if (stk_autodiff_wants(ad, b)) {
    struct stk_shape s = full_shape(g, &n, b);
    int32_t d = tb ? stk_build_matmul(g, gy, true, a, ta, -1, s, n.at)
                   : stk_build_matmul(g, a, !ta, gy, false, -1, s, n.at);
    stk_autodiff_give(ad, b, stk_build_sum_to(g, d, &g->values[b].shape, n.at));
  }
  if (n.in[2] >= 0 && stk_autodiff_wants(ad, n.in[2])) {
    stk_autodiff_give(ad, n.in[2], stk_build_colsum(g, gy, g->values[n.in[2]].shape, n.at));
  }
}

static void lower(struct stk_lower *lw, int32_t node) {
  const struct stk_node *n = &stk_lower_graph(lw)->nodes[node];
  struct stk_gemm_args a = {
      .m = n->i[M],
      .n = n->i[N],
      .k = n->i[K],
      .lda = n->i[TA] ? n->i[M] : n->i[K],
      .ldb = n->i[TB] ? n->i[K] : n->i[N],
      .ldc = n->i[N],
      .batch_outer = n->i[OUTER],
      .batch_inner = n->i[INNER],
      .a_outer = n->i[A_OUTER],
      .a_inner = n->i[A_INNER],
      .b_outer = n->i[B_OUTER],
      .b_inner = n->i[B_INNER],
      .c_outer = n->i[INNER] * n->i[M] * n->i[N],
      .c_inner = n->i[M] * n->i[N],
      .ta = n->i[TA] != 0,
      .tb = n->i[TB] != 0,
      .bias_kind = n->in[2] >= 0 ? STK_GEMM_BIAS_COLUMN : STK_GEMM_BIAS_NONE,
      .act = (enum stk_gemm_act)n->i[ACT],
  };
  stk_gemm_split(&a, stk_lower_threads(lw));
  const struct stk_ref refs[] = {
      STK_REF(struct stk_gemm_args, a, n->in[0]), STK_REF(struct stk_gemm_args, b, n->in[1]),
      STK_REF(struct stk_gemm_args, c, n->out[0]), STK_REF(struct stk_gemm_args, bias, n->in[2])};
  stk_lower_emit(lw, stk_lower_kernels(lw)->gemm, &a, sizeof a, refs, 4);
}

static double flops(const struct stk_graph *g, const struct stk_node *n) {
  (void)g;
  return 2.0 * (double)n->i[M] * (double)n->i[N] * (double)n->i[K] * (double)n->i[OUTER] *
         (double)n->i[INNER];
}

const struct stk_op_def stk_op_matmul = {.grad = grad, .lower = lower, .flops = flops};
