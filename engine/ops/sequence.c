/* Ops of sequence models: softmax, embedding, dropout, attention.
 *
 * SOFTMAX: i0 log. DROPOUT: f0 p, i0 ordinal. ATTENTION: i0 kind (0: q, k, v; 1: packed qkv), i1
 * batch, i2 heads, i3 t, i4 dim, i5 causal, i6 ordinal; f0 scale, f1 dropout; out o, lse.
 */
#include <math.h>

#include "engine/ops/ops.h"
#include "engine/plan/lower.h"

/* ---- softmax */

static stk_t softmax(stk_t x, bool is_log, stk_loc at) {
  if (!stk_symbols_ok(at, "stk_softmax", 1, &x)) {
    return stk_symbol(x.g, -1);
  }
  const struct stk_value *v = &x.g->values[x.id];
  if (v->shape.rank < 1 || v->dtype != x.g->real) {
    return stk_symbol(x.g,
                      stk_graph_fail(x.g, at, "softmax needs real numbers with at least one dim"));
  }
  struct stk_node n = {.op = STK_OP_SOFTMAX, .n_in = 1, .in = {x.id}, .i = {is_log}, .at = at};
  return stk_symbol(x.g, stk_graph_add1(x.g, &n, v->shape, v->dtype));
}

stk_t stk_softmax_at(stk_t x, stk_loc at) {
  return softmax(x, false, at);
}

stk_t stk_log_softmax_at(stk_t x, stk_loc at) {
  return softmax(x, true, at);
}

static void softmax_grad(struct stk_autodiff *ad, int32_t node, const int32_t *g_out) {
  struct stk_graph *g = stk_autodiff_graph(ad);
  struct stk_node n = g->nodes[node];
  struct stk_node b = {
      .op = STK_OP_SOFTMAX_BWD, .n_in = 2, .in = {n.out[0], g_out[0]}, .i = {n.i[0]}, .at = n.at};
  stk_autodiff_give(ad, n.in[0], stk_graph_add1(g, &b, g->values[n.in[0]].shape, g->real));
}

static void softmax_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_graph *g = stk_lower_graph(lw);
  const struct stk_node *n = &g->nodes[node];
  const struct stk_shape *s = &g->values[n->in[0]].shape;
  struct stk_softmax_args a = {.n = s->dim[s->rank - 1], .log = n->i[0] != 0};
  a.rows = stk_shape_numel(s) / a.n;
  const struct stk_ref refs[] = {STK_REF(struct stk_softmax_args, x, n->in[0]),
                                 STK_REF(struct stk_softmax_args, y, n->out[0])};
  stk_lower_emit(lw, stk_lower_kernels(lw)->softmax, &a, sizeof a, refs, 2);
}

const struct stk_op_def stk_op_softmax = {.grad = softmax_grad, .lower = softmax_lower};

static void softmax_bwd_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_graph *g = stk_lower_graph(lw);
  const struct stk_node *n = &g->nodes[node];
  const struct stk_shape *s = &g->values[n->in[0]].shape;
  struct stk_softmax_bwd_args a = {.n = s->dim[s->rank - 1], .log = n->i[0] != 0};
  a.rows = stk_shape_numel(s) / a.n;
  const struct stk_ref refs[] = {STK_REF(struct stk_softmax_bwd_args, y, n->in[0]),
                                 STK_REF(struct stk_softmax_bwd_args, g, n->in[1]),
                                 STK_REF(struct stk_softmax_bwd_args, dx, n->out[0])};
  stk_lower_emit(lw, stk_lower_kernels(lw)->softmax_bwd, &a, sizeof a, refs, 3);
}

const struct stk_op_def stk_op_softmax_bwd = {.lower = softmax_bwd_lower};

/* ---- embedding */

stk_t stk_embedding_at(stk_t ids, stk_t w, stk_loc at) {
  stk_t in[2] = {ids, w};
  if (!stk_symbols_ok(at, "stk_embedding", 2, in)) {
    return stk_symbol(ids.g, -1);
  }
  struct stk_graph *g = ids.g;
  struct stk_shape s = g->values[ids.id].shape;
  const struct stk_value *t = &g->values[w.id];
  if (g->values[ids.id].dtype != STK_I32 || t->shape.rank != 2 || s.rank == STK_MAX_RANK) {
    return stk_symbol(
        g, stk_graph_fail(g, at, "stk_embedding needs integer ids and a (vocab, dim) weight"));
  }
  s.dim[s.rank++] = t->shape.dim[1];
  struct stk_node n = {.op = STK_OP_EMBEDDING, .n_in = 2, .in = {ids.id, w.id}, .at = at};
  return stk_symbol(g, stk_graph_add1(g, &n, s, g->real));
}

/* Rows add one by one onto what the weight's gradient holds so far, which matters for tied weights.
 */
static void embedding_grad(struct stk_autodiff *ad, int32_t node, const int32_t *g_out) {
  struct stk_graph *g = stk_autodiff_graph(ad);
  struct stk_node n = g->nodes[node];
  if (!stk_autodiff_wants(ad, n.in[1])) {
    return;
  }
  struct stk_node b = {.op = STK_OP_EMBEDDING_BWD,
                       .n_in = 3,
                       .in = {n.in[0], g_out[0], stk_autodiff_take(ad, n.in[1])},
                       .at = n.at};
  stk_autodiff_give(ad, n.in[1], stk_graph_add1(g, &b, g->values[n.in[1]].shape, g->real));
}

static void embedding_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_graph *g = stk_lower_graph(lw);
  const struct stk_node *n = &g->nodes[node];
  const struct stk_shape *w = &g->values[n->in[1]].shape;
  struct stk_embedding_args a = {
      .n = stk_shape_numel(&g->values[n->in[0]].shape), .vocab = w->dim[0], .dim = w->dim[1]};
  const struct stk_ref refs[] = {STK_REF(struct stk_embedding_args, ids, n->in[0]),
                                 STK_REF(struct stk_embedding_args, w, n->in[1]),
                                 STK_REF(struct stk_embedding_args, y, n->out[0])};
  stk_lower_emit(lw, stk_lower_kernels(lw)->embedding, &a, sizeof a, refs, 3);
}

const struct stk_op_def stk_op_embedding = {.grad = embedding_grad, .lower = embedding_lower};

static void embedding_bwd_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_graph *g = stk_lower_graph(lw);
  const struct stk_node *n = &g->nodes[node];
  const struct stk_shape *w = &g->values[n->out[0]].shape;
  struct stk_embedding_bwd_args a = {
      .n = stk_shape_numel(&g->values[n->in[0]].shape), .vocab = w->dim[0], .dim = w->dim[1]};
  const struct stk_ref refs[] = {STK_REF(struct stk_embedding_bwd_args, ids, n->in[0]),
                                 STK_REF(struct stk_embedding_bwd_args, g, n->in[1]),
                                 STK_REF(struct stk_embedding_bwd_args, from, n->in[2]),
                                 STK_REF(struct stk_embedding_bwd_args, dw, n->out[0])};
  stk_lower_emit(lw, stk_lower_kernels(lw)->embedding_bwd, &a, sizeof a, refs, 4);
}

const struct stk_op_def stk_op_embedding_bwd = {.lower = embedding_bwd_lower, .in_place = 1u << 2};

/* ---- dropout */

stk_t stk_dropout_at(stk_t x, double p, stk_loc at) {
  if (!stk_symbols_ok(at, "stk_dropout", 1, &x)) {
    return stk_symbol(x.g, -1);
  }
  if (!(p >= 0.0 && p < 1.0)) {
    return stk_symbol(x.g, stk_graph_fail(x.g, at, "stk_dropout: p is in [0, 1), not %g", p));
  }
  if (p == 0.0 || x.g->stage != STK_TRAIN) {
    return x;
  }
  struct stk_node n = {
      .op = STK_OP_DROPOUT, .n_in = 1, .in = {x.id}, .i = {x.g->n_random++}, .f = {p}, .at = at};
  return stk_symbol(x.g, stk_graph_add1(x.g, &n, x.g->values[x.id].shape, x.g->real));
}

static void dropout_grad(struct stk_autodiff *ad, int32_t node, const int32_t *g_out) {
  struct stk_graph *g = stk_autodiff_graph(ad);
  struct stk_node n = g->nodes[node];
  struct stk_node b = {
      .op = STK_OP_DROPOUT, .n_in = 1, .in = {g_out[0]}, .i = {n.i[0]}, .f = {n.f[0]}, .at = n.at};
  stk_autodiff_give(ad, n.in[0], stk_graph_add1(g, &b, g->values[n.in[0]].shape, g->real));
}

static void dropout_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_graph *g = stk_lower_graph(lw);
  const struct stk_node *n = &g->nodes[node];
  struct stk_dropout_args a = {
      .n = stk_shape_numel(&g->values[n->in[0]].shape), .p = n->f[0], .ordinal = (uint32_t)n->i[0]};
  const struct stk_ref refs[] = {STK_REF(struct stk_dropout_args, x, n->in[0]),
                                 STK_REF(struct stk_dropout_args, y, n->out[0])};
  stk_lower_emit(lw, stk_lower_kernels(lw)->dropout, &a, sizeof a, refs, 2);
  stk_lower_rng(lw, offsetof(struct stk_dropout_args, rng));
}

const struct stk_op_def stk_op_dropout = {.grad = dropout_grad, .lower = dropout_lower};

/* ---- attention */

enum { KIND, BATCH, HEADS, T, DIM, CAUSAL, ORDINAL };

static stk_t attention(stk_graph *g, struct stk_node *n, const stk_attention_options *opt,
                       struct stk_shape out, stk_loc at) {
  struct stk_shape lse = {.rank = 3, .dim = {n->i[BATCH], n->i[HEADS], n->i[T]}};
  double p = opt && g->stage == STK_TRAIN ? opt->dropout : 0.0;
  if (!(p >= 0.0 && p < 1.0)) {
    return stk_symbol(g, stk_graph_fail(g, at, "attention dropout is in [0, 1), not %g", p));
  }
  n->op = STK_OP_ATTENTION;
  n->n_out = 2;
  n->at = at;
  n->i[CAUSAL] = opt && opt->causal;
  n->f[0] = opt && opt->scale != 0.0 ? opt->scale : 1.0 / sqrt((double)n->i[DIM]);
  n->f[1] = p;
  n->i[ORDINAL] = p > 0.0 ? (int64_t)g->n_random++ : 0;
  int32_t id = stk_graph_add(g, n, (struct stk_shape[]){out, lse}, (stk_dtype[]){g->real, g->real});
  return stk_symbol(g, id < 0 ? -1 : g->nodes[id].out[0]);
}

stk_t stk_attention_at(stk_t q, stk_t k, stk_t v, const stk_attention_options *opt, stk_loc at) {
  stk_t in[3] = {q, k, v};
  if (!stk_symbols_ok(at, "stk_attention", 3, in)) {
    return stk_symbol(q.g, -1);
  }
  struct stk_graph *g = q.g;
  struct stk_shape s = g->values[q.id].shape;
  if (s.rank != 4 || !stk_shape_equal(&s, &g->values[k.id].shape) ||
      !stk_shape_equal(&s, &g->values[v.id].shape)) {
    return stk_symbol(
        g,
        stk_graph_fail(g, at, "stk_attention: q, k and v are (batch, heads, t, dim), all alike"));
  }
  struct stk_node n = {
      .n_in = 3, .in = {q.id, k.id, v.id}, .i = {0, s.dim[0], s.dim[1], s.dim[2], s.dim[3]}};
  return attention(g, &n, opt, s, at);
}

stk_t stk_attention_qkv_at(stk_t qkv, int64_t heads, const stk_attention_options *opt, stk_loc at) {
  if (!stk_symbols_ok(at, "stk_attention_qkv", 1, &qkv)) {
    return stk_symbol(qkv.g, -1);
  }
  struct stk_graph *g = qkv.g;
  struct stk_shape s = g->values[qkv.id].shape;
  if (s.rank != 3 || heads < 1 || s.dim[2] % (3 * heads) != 0) {
    return stk_symbol(
        g, stk_graph_fail(g, at, "stk_attention_qkv: qkv is (batch, t, 3 * heads * dim)"));
  }
  struct stk_node n = {
      .n_in = 1, .in = {qkv.id}, .i = {1, s.dim[0], heads, s.dim[1], s.dim[2] / (3 * heads)}};
  s.dim[2] /= 3;
  return attention(g, &n, opt, s, at);
}

static void attention_grad(struct stk_autodiff *ad, int32_t node, const int32_t *g_out) {
  struct stk_graph *g = stk_autodiff_graph(ad);
  struct stk_node n = g->nodes[node], b = n;
  if (g_out[0] < 0) {
    return;
  }
  struct stk_shape s = g->values[n.in[0]].shape;
  b.op = STK_OP_ATTENTION_BWD;
  b.n_in = n.n_in + 3;
  b.in[n.n_in] = n.out[0];
  b.in[n.n_in + 1] = n.out[1];
  b.in[n.n_in + 2] = g_out[0];
  b.n_out = n.n_in;
  int32_t id =
      stk_graph_add(g, &b, (struct stk_shape[]){s, s, s}, (stk_dtype[]){g->real, g->real, g->real});
  for (int32_t k = 0; k < n.n_in && id >= 0; k++) {
    stk_autodiff_give(ad, n.in[k], g->nodes[id].out[k]);
  }
}

/* Strides of an operand: unpacked (b, h, t, d), packed qkv (b, t, 3, h, d), packed o (b, t, h, d).
 */
static struct stk_heads heads_of(const struct stk_node *n, int64_t parts) {
  int64_t h = n->i[HEADS], t = n->i[T], d = n->i[DIM];
  if (n->i[KIND] == 0) {
    return (struct stk_heads){NULL, h * t * d, d, t * d};
  }
  return (struct stk_heads){NULL, t * parts * h * d, parts * h * d, d};
}

/* References for q, k, v given three values or one packed one. */
static void qkv_refs(const struct stk_node *n, const int32_t *values, const size_t field[3],
                     struct stk_ref *refs) {
  for (int32_t k = 0; k < 3; k++) {
    bool packed = n->i[KIND] == 1;
    refs[k] = (struct stk_ref){field[k], values[packed ? 0 : k],
                               packed ? k * n->i[HEADS] * n->i[DIM] : 0};
  }
}

static void attention_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_node *n = &stk_lower_graph(lw)->nodes[node];
  struct stk_heads qkv = heads_of(n, 3);
  struct stk_attention_args a = {.q = qkv,
                                 .k = qkv,
                                 .v = qkv,
                                 .o = heads_of(n, 1),
                                 .batch = n->i[BATCH],
                                 .heads = n->i[HEADS],
                                 .t = n->i[T],
                                 .dim = n->i[DIM],
                                 .scale = n->f[0],
                                 .causal = n->i[CAUSAL] != 0,
                                 .dropout_p = n->f[1],
                                 .ordinal = (uint32_t)n->i[ORDINAL]};
  struct stk_ref refs[5];
  qkv_refs(
      n, n->in,
      (size_t[]){offsetof(struct stk_attention_args, q.p), offsetof(struct stk_attention_args, k.p),
                 offsetof(struct stk_attention_args, v.p)},
      refs);
  refs[3] = (struct stk_ref){offsetof(struct stk_attention_args, o.p), n->out[0], 0};
  refs[4] = (struct stk_ref)STK_REF(struct stk_attention_args, lse, n->out[1]);
  stk_lower_emit(lw, stk_lower_kernels(lw)->attention, &a, sizeof a, refs, 5);
  stk_lower_rng(lw, offsetof(struct stk_attention_args, rng));
}

static double attention_flops(const struct stk_graph *g, const struct stk_node *n) {
  (void)g;
  double all = 4.0 * (double)n->i[BATCH] * (double)n->i[HEADS] * (double)n->i[T] * (double)n->i[T] *
               (double)n->i[DIM];
  return (n->i[CAUSAL] ? 0.5 : 1.0) * all * (n->op == STK_OP_ATTENTION_BWD ? 2.5 : 1.0);
}

const struct stk_op_def stk_op_attention = {
    .grad = attention_grad, .lower = attention_lower, .flops = attention_flops};

static void attention_bwd_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_node *n = &stk_lower_graph(lw)->nodes[node];
  struct stk_heads qkv = heads_of(n, 3), o = heads_of(n, 1);
  struct stk_attention_bwd_args a = {.q = qkv,
                                     .k = qkv,
                                     .v = qkv,
                                     .o = o,
                                     .go = o,
                                     .dq = qkv,
                                     .dk = qkv,
                                     .dv = qkv,
                                     .batch = n->i[BATCH],
                                     .heads = n->i[HEADS],
                                     .t = n->i[T],
                                     .dim = n->i[DIM],
                                     .scale = n->f[0],
                                     .causal = n->i[CAUSAL] != 0,
                                     .dropout_p = n->f[1],
                                     .ordinal = (uint32_t)n->i[ORDINAL]};
  int32_t n_qkv = n->n_in - 3;
  struct stk_ref refs[9];
  qkv_refs(n, n->in,
           (size_t[]){offsetof(struct stk_attention_bwd_args, q.p),
                      offsetof(struct stk_attention_bwd_args, k.p),
                      offsetof(struct stk_attention_bwd_args, v.p)},
           refs);
  qkv_refs(n, n->out,
           (size_t[]){offsetof(struct stk_attention_bwd_args, dq.p),
                      offsetof(struct stk_attention_bwd_args, dk.p),
                      offsetof(struct stk_attention_bwd_args, dv.p)},
           refs + 3);
  refs[6] = (struct stk_ref){offsetof(struct stk_attention_bwd_args, o.p), n->in[n_qkv], 0};
  refs[7] = (struct stk_ref){offsetof(struct stk_attention_bwd_args, lse), n->in[n_qkv + 1], 0};
  refs[8] = (struct stk_ref){offsetof(struct stk_attention_bwd_args, go.p), n->in[n_qkv + 2], 0};
  stk_lower_emit(lw, stk_lower_kernels(lw)->attention_bwd, &a, sizeof a, refs, 9);
  stk_lower_rng(lw, offsetof(struct stk_attention_bwd_args, rng));
}

const struct stk_op_def stk_op_attention_bwd = {.lower = attention_bwd_lower,
                                                .flops = attention_flops};
