/* Elementwise ops: builders, gradients, lowering. Each is a chain of one instruction when traced;
 * fusion joins them.
 *
 * Gradients of max and min go to the operand whose value was returned: b in a tie (kernel.h's
 * rule).
 */
#include "engine/ops/chain.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "engine/ops/ops.h"
#include "engine/plan/lower.h"
#include "proto/base/mem.h"

int32_t stk_ew_arity(int32_t ew) {
  static const uint8_t arity[STK_EW_COUNT] = {
#define STK_EW_X(name, n) [STK_EW_##name] = n,
      STK_EW_LIST(STK_EW_X)
#undef STK_EW_X
  };
  return arity[ew];
}

static const char *ew_text(int32_t ew) {
  static const char *const texts[STK_EW_COUNT] = {
#define STK_EW_X(name, n) [STK_EW_##name] = #name,
      STK_EW_LIST(STK_EW_X)
#undef STK_EW_X
  };
  return texts[ew];
}

char *stk_chain_text(const struct stk_chain_prog *p, char *buf, size_t cap) {
  size_t at = 0;
  buf[0] = '\0';
  for (int32_t i = 0; i < p->n_op && at < cap; i++) {
    const struct stk_chain_op *o = &p->op[i];
    int32_t n = stk_ew_arity(o->op);
    at += (size_t)snprintf(buf + at, cap - at, "%s%s(r%d", i ? " " : "", ew_text(o->op), o->a);
    if (at < cap && n > 1) {
      at += (size_t)snprintf(buf + at, cap - at, ",r%d", o->b);
    }
    if (at < cap && n > 2) {
      at += (size_t)snprintf(buf + at, cap - at, ",r%d", o->d);
    }
    if (at < cap) {
      at += o->c != 0.0 ? (size_t)snprintf(buf + at, cap - at, ",%.17g)", o->c)
                        : (size_t)snprintf(buf + at, cap - at, ")");
    }
  }
  for (int32_t i = 0; i < p->n_out && at < cap; i++) {
    at += (size_t)snprintf(buf + at, cap - at, "%sr%d", i ? "," : " -> ", p->out_reg[i]);
  }
  return buf;
}

bool stk_shape_broadcast(const struct stk_shape *a, const struct stk_shape *b,
                         struct stk_shape *out) {
  struct stk_shape s = {.rank = a->rank > b->rank ? a->rank : b->rank};
  for (int32_t i = 1; i <= s.rank; i++) {
    int64_t x = i <= a->rank ? a->dim[a->rank - i] : 1;
    int64_t y = i <= b->rank ? b->dim[b->rank - i] : 1;
    if (x != y && x != 1 && y != 1) {
      return false;
    }
    s.dim[s.rank - i] = x == 1 ? y : x;
  }
  *out = s;
  return true;
}

/* An input of as many elements as the output is walked like it, whatever its dims are called
 * (fusion through views). */
static void broadcast_strides(const struct stk_shape *out, const struct stk_shape *in,
                              int64_t *stride) {
  int64_t step = 1;
  if (stk_shape_numel(in) == stk_shape_numel(out)) {
    in = out;
  }
  for (int32_t i = 1; i <= out->rank; i++) {
    int64_t d = i <= in->rank ? in->dim[in->rank - i] : 1;
    stride[out->rank - i] = d == 1 ? 0 : step;
    step *= d;
  }
}

bool stk_chain_layout(const struct stk_shape *out, int32_t n_in, const struct stk_shape *const *in,
                      struct stk_chain_args *args) {
  int64_t stride[STK_CHAIN_IN][STK_MAX_RANK] = {{0}};
  int64_t dim[STK_MAX_RANK], merged[STK_CHAIN_IN][STK_MAX_RANK];
  int32_t n = 0;
  for (int32_t k = 0; k < n_in; k++) {
    broadcast_strides(out, in[k], stride[k]);
  }
  for (int32_t d = 0; d < out->rank; d++) {
    if (out->dim[d] == 1) {
      continue;
    }
    bool joins = n > 0;
    for (int32_t k = 0; k < n_in && joins; k++) {
      joins = merged[k][n - 1] == stride[k][d] * out->dim[d];
    }
    n += joins ? 0 : 1;
    dim[n - 1] = joins ? dim[n - 1] * out->dim[d] : out->dim[d];
    for (int32_t k = 0; k < n_in; k++) {
      merged[k][n - 1] = stride[k][d];
    }
  }
  if (n > STK_CHAIN_RANK) {
    return false;
  }
  for (int32_t d = 0; d < STK_CHAIN_RANK; d++) {
    int32_t from = d - (STK_CHAIN_RANK - n);
    args->dim[d] = from < 0 ? 1 : dim[from];
    for (int32_t k = 0; k < n_in; k++) {
      args->in_stride[k][d] = from < 0 ? 0 : merged[k][from];
    }
  }
  return true;
}

static int32_t build(struct stk_graph *g, int32_t ew, int32_t n_in, const int32_t *in, double c,
                     struct stk_shape shape, stk_loc at) {
  struct stk_chain_prog *p = g->failed ? NULL : sp_alloc(sizeof *p);
  if (!p) {
    return g->failed ? -1 : stk_graph_fail(g, at, "out of memory");
  }
  struct stk_node n = {.op = STK_OP_CHAIN, .n_in = n_in, .chain = p, .at = at};
  p->n_in = n_in;
  p->n_out = 1;
  if (ew >= 0) {
    p->n_op = 1;
    p->op[0] = (struct stk_chain_op){.op = (uint8_t)ew, .a = 0, .b = 1, .d = 2, .c = c};
    p->out_reg[0] = (uint8_t)n_in;
  }
  for (int32_t k = 0; k < n_in; k++) {
    n.in[k] = in[k];
  }
  int32_t v = stk_graph_add1(g, &n, shape, g->real);
  if (v >= 0 && (ew == STK_EW_GT || ew == STK_EW_SIGN)) {
    g->values[v].requires_grad = false;
  }
  return v;
}

int32_t stk_build_unary(struct stk_graph *g, int32_t ew, int32_t a, double c, stk_loc at) {
  return a < 0 ? -1 : build(g, ew, 1, &a, c, g->values[a].shape, at);
}

static int32_t build_many(struct stk_graph *g, int32_t ew, int32_t n, const int32_t *in,
                          stk_loc at) {
  struct stk_shape s;
  for (int32_t k = 0; k < n; k++) {
    if (in[k] < 0) {
      return -1;
    }
    struct stk_shape joined = g->values[in[k]].shape;
    if (k > 0 && !stk_shape_broadcast(&s, &g->values[in[k]].shape, &joined)) {
      char x[96], y[96];
      return stk_graph_fail(g, at, "shapes %s and %s do not broadcast",
                            stk_shape_text(&s, x, sizeof x),
                            stk_shape_text(&g->values[in[k]].shape, y, sizeof y));
    }
    s = joined;
  }
  return build(g, ew, n, in, 0.0, s, at);
}

int32_t stk_build_binary(struct stk_graph *g, int32_t ew, int32_t a, int32_t b, stk_loc at) {
  return build_many(g, ew, 2, (int32_t[]){a, b}, at);
}

int32_t stk_build_ternary(struct stk_graph *g, int32_t ew, int32_t a, int32_t b, int32_t c,
                          stk_loc at) {
  return build_many(g, ew, 3, (int32_t[]){a, b, c}, at);
}

/* Expansion is a chain without an instruction, so that fusion swallows it. */
int32_t stk_build_expand(struct stk_graph *g, int32_t a, const struct stk_shape *shape,
                         stk_loc at) {
  if (a < 0 || stk_shape_equal(&g->values[a].shape, shape)) {
    return a;
  }
  return build(g, -1, 1, &a, 0.0, *shape, at);
}

/* ---- public builders */

static bool is_real(const struct stk_graph *g, int32_t v) {
  return g->values[v].dtype == g->real;
}

static stk_t unary(int32_t ew, stk_t x, double c, stk_loc at) {
  if (!stk_symbols_ok(at, ew_text(ew), 1, &x)) {
    return stk_symbol(x.g, -1);
  }
  if (!is_real(x.g, x.id)) {
    return stk_symbol(x.g,
                      stk_graph_fail(x.g, at, "%s needs real numbers, not integers", ew_text(ew)));
  }
  return stk_symbol(x.g, stk_build_unary(x.g, ew, x.id, c, at));
}

static stk_t many(int32_t ew, int32_t n, const stk_t *xs, stk_loc at) {
  int32_t in[3];
  if (!stk_symbols_ok(at, ew_text(ew), n, xs)) {
    return stk_symbol(xs[0].g, -1);
  }
  for (int32_t k = 0; k < n; k++) {
    in[k] = xs[k].id;
    if (!is_real(xs[0].g, in[k])) {
      return stk_symbol(
          xs[0].g, stk_graph_fail(xs[0].g, at, "%s needs real numbers, not integers", ew_text(ew)));
    }
  }
  return stk_symbol(xs[0].g, build_many(xs[0].g, ew, n, in, at));
}

#define UNARY(fn, ew)             \
  stk_t fn(stk_t x, stk_loc at) { \
    return unary(ew, x, 0.0, at); \
  }
UNARY(stk_neg_at, STK_EW_NEG)
UNARY(stk_abs_at, STK_EW_ABS)
UNARY(stk_sqrt_at, STK_EW_SQRT)
UNARY(stk_rsqrt_at, STK_EW_RSQRT)
UNARY(stk_square_at, STK_EW_SQUARE)
UNARY(stk_exp_at, STK_EW_EXP)
UNARY(stk_log_of_at, STK_EW_LOG)
UNARY(stk_tanh_at, STK_EW_TANH)
UNARY(stk_erf_at, STK_EW_ERF)
UNARY(stk_sigmoid_at, STK_EW_SIGMOID)
UNARY(stk_softplus_at, STK_EW_SOFTPLUS)
UNARY(stk_relu_at, STK_EW_RELU)
UNARY(stk_gelu_at, STK_EW_GELU_ERF)
UNARY(stk_gelu_tanh_at, STK_EW_GELU_TANH)
UNARY(stk_silu_at, STK_EW_SILU)
#undef UNARY

#define BINARY(fn, ew)                       \
  stk_t fn(stk_t a, stk_t b, stk_loc at) {   \
    return many(ew, 2, (stk_t[]){a, b}, at); \
  }
BINARY(stk_add_at, STK_EW_ADD)
BINARY(stk_sub_at, STK_EW_SUB)
BINARY(stk_mul_at, STK_EW_MUL)
BINARY(stk_div_at, STK_EW_DIV)
BINARY(stk_maximum_at, STK_EW_MAX)
BINARY(stk_minimum_at, STK_EW_MIN)
BINARY(stk_gt_at, STK_EW_GT)
#undef BINARY

stk_t stk_scale_at(stk_t x, double c, stk_loc at) {
  return unary(STK_EW_MULC, x, c, at);
}

stk_t stk_add_scalar_at(stk_t x, double c, stk_loc at) {
  return unary(STK_EW_ADDC, x, c, at);
}

stk_t stk_powi_at(stk_t x, int32_t n, stk_loc at) {
  if (n < 0 || n > 64) {
    return x.g ? stk_symbol(x.g, stk_graph_fail(x.g, at, "stk_powi takes exponents 0 to 64, not %d",
                                                (int)n))
               : x;
  }
  return unary(STK_EW_POWI, x, (double)n, at);
}

stk_t stk_where_at(stk_t cond, stk_t a, stk_t b, stk_loc at) {
  return many(STK_EW_SELECT, 3, (stk_t[]){cond, a, b}, at);
}

/* ---- gradients */

static int32_t constant(struct stk_graph *g, double c, stk_loc at) {
  return stk_build_fill(g, (struct stk_shape){0}, c, at);
}

/* d/dx of unary op on input x with result y, times g. */
static int32_t unary_grad(struct stk_graph *g, const struct stk_chain_op *o, int32_t x, int32_t y,
                          int32_t gy, stk_loc at) {
  switch (o->op) {
    case STK_EW_NEG:
      return stk_build_unary(g, STK_EW_NEG, gy, 0, at);
    case STK_EW_ABS:
      return stk_build_binary(g, STK_EW_ABS_BWD, x, gy, at);
    case STK_EW_SQRT:
      return stk_build_binary(g, STK_EW_DIV, stk_build_unary(g, STK_EW_MULC, gy, 0.5, at), y, at);
    case STK_EW_RSQRT: {
      int32_t y3 = stk_build_unary(g, STK_EW_POWI, y, 3.0, at);
      return stk_build_unary(g, STK_EW_MULC, stk_build_binary(g, STK_EW_MUL, y3, gy, at), -0.5, at);
    }
    case STK_EW_SQUARE:
      return stk_build_unary(g, STK_EW_MULC, stk_build_binary(g, STK_EW_MUL, x, gy, at), 2.0, at);
    case STK_EW_RECIP: {
      int32_t y2 = stk_build_unary(g, STK_EW_SQUARE, y, 0, at);
      return stk_build_unary(g, STK_EW_NEG, stk_build_binary(g, STK_EW_MUL, y2, gy, at), 0, at);
    }
    case STK_EW_EXP:
      return stk_build_binary(g, STK_EW_MUL, y, gy, at);
    case STK_EW_LOG:
      return stk_build_binary(g, STK_EW_DIV, gy, x, at);
    case STK_EW_TANH:
      return stk_build_binary(g, STK_EW_TANH_BWD, y, gy, at);
    case STK_EW_ERF: {
      int32_t e =
          stk_build_unary(g, STK_EW_NEG, stk_build_unary(g, STK_EW_SQUARE, x, 0, at), 0, at);
      e = stk_build_unary(g, STK_EW_MULC, stk_build_unary(g, STK_EW_EXP, e, 0, at),
                          1.1283791670955126, at);
      return stk_build_binary(g, STK_EW_MUL, e, gy, at);
    }
    case STK_EW_SIGMOID:
      return stk_build_binary(g, STK_EW_SIGMOID_BWD, y, gy, at);
    case STK_EW_SOFTPLUS:
      return stk_build_binary(g, STK_EW_SOFTPLUS_BWD, x, gy, at);
    case STK_EW_RELU: /* y <= 0 exactly where x <= 0, and y is kept anyway */
      return stk_build_binary(g, STK_EW_RELU_BWD, y, gy, at);
    case STK_EW_GELU_TANH:
      return stk_build_binary(g, STK_EW_GELU_TANH_BWD, x, gy, at);
    case STK_EW_GELU_ERF:
      return stk_build_binary(g, STK_EW_GELU_ERF_BWD, x, gy, at);
    case STK_EW_SILU:
      return stk_build_binary(g, STK_EW_SILU_BWD, x, gy, at);
    case STK_EW_MULC:
      return stk_build_unary(g, STK_EW_MULC, gy, o->c, at);
    case STK_EW_ADDC:
      return gy;
    case STK_EW_POWI: {
      if (o->c == 0.0) {
        return constant(g, 0.0, at);
      }
      int32_t p = stk_build_unary(g, STK_EW_POWI, x, o->c - 1.0, at);
      return stk_build_unary(g, STK_EW_MULC, stk_build_binary(g, STK_EW_MUL, p, gy, at), o->c, at);
    }
    default:
      return stk_graph_fail(g, at, "%s has no gradient", ew_text(o->op));
  }
}

/* d/d(input k) of a binary op, before summing away the broadcast. */
static int32_t binary_grad(struct stk_graph *g, int32_t ew, const int32_t *in, int32_t y,
                           int32_t gy, int32_t k, stk_loc at) {
  switch (ew) {
    case STK_EW_ADD:
      return gy;
    case STK_EW_SUB:
      return k == 0 ? gy : stk_build_unary(g, STK_EW_NEG, gy, 0, at);
    case STK_EW_MUL:
      return stk_build_binary(g, STK_EW_MUL, gy, in[1 - k], at);
    case STK_EW_DIV: {
      int32_t q = stk_build_binary(
          g, STK_EW_DIV, k == 0 ? gy : stk_build_binary(g, STK_EW_MUL, gy, y, at), in[1], at);
      return k == 0 ? q : stk_build_unary(g, STK_EW_NEG, q, 0, at);
    }
    case STK_EW_MAX:
    case STK_EW_MIN: {
      int32_t first = ew == STK_EW_MAX ? stk_build_binary(g, STK_EW_GT, in[0], in[1], at)
                                       : stk_build_binary(g, STK_EW_GT, in[1], in[0], at);
      int32_t zero = constant(g, 0.0, at);
      return k == 0 ? stk_build_ternary(g, STK_EW_SELECT, first, gy, zero, at)
                    : stk_build_ternary(g, STK_EW_SELECT, first, zero, gy, at);
    }
    default:
      return stk_graph_fail(g, at, "%s has no gradient", ew_text(ew));
  }
}

static void grad(struct stk_autodiff *ad, int32_t node, const int32_t *g_out) {
  struct stk_graph *g = stk_autodiff_graph(ad);
  struct stk_node n = g->nodes[node];
  const struct stk_chain_prog *p = n.chain;
  struct stk_chain_op o = p->op[0];
  for (int32_t k = 0; k < n.n_in; k++) {
    if (!stk_autodiff_wants(ad, n.in[k])) {
      continue;
    }
    struct stk_shape shape = g->values[n.in[k]].shape;
    int32_t d = g_out[0];
    if (p->n_op == 1 && n.n_in == 1) {
      d = unary_grad(g, &o, n.in[0], n.out[0], d, n.at);
      d = stk_build_expand(g, d, &shape, n.at);
    } else if (p->n_op == 1 && n.n_in == 2) {
      d = binary_grad(g, o.op, n.in, n.out[0], d, k, n.at);
    } else if (p->n_op == 1) {
      if (k == 0) {
        continue;
      }
      int32_t zero = constant(g, 0.0, n.at);
      d = k == 1 ? stk_build_ternary(g, STK_EW_SELECT, n.in[0], d, zero, n.at)
                 : stk_build_ternary(g, STK_EW_SELECT, n.in[0], zero, d, n.at);
    }
    stk_autodiff_give(ad, n.in[k], stk_build_sum_to(g, d, &shape, n.at));
  }
}

static void lower(struct stk_lower *lw, int32_t node) {
  const struct stk_graph *g = stk_lower_graph(lw);
  const struct stk_node *n = &g->nodes[node];
  const struct stk_chain_prog *p = n->chain;
  struct stk_chain_args a = {.n_in = p->n_in, .n_out = p->n_out, .n_op = p->n_op};
  const struct stk_shape *in[STK_CHAIN_IN];
  struct stk_ref refs[STK_CHAIN_IN + STK_CHAIN_OUT];
  int32_t n_refs = 0;
  double bytes = 0, elems = (double)stk_shape_numel(&g->values[n->out[0]].shape);
  for (int32_t k = 0; k < p->n_in; k++) {
    in[k] = &g->values[n->in[k]].shape;
    bytes += (double)stk_shape_numel(in[k]) * (double)stk_dtype_bytes(g->real);
    refs[n_refs++] = (struct stk_ref){
        offsetof(struct stk_chain_args, in) + (size_t)k * sizeof(void *), n->in[k], 0};
  }
  for (int32_t k = 0; k < p->n_out; k++) {
    a.out_reg[k] = p->out_reg[k];
    bytes += elems * (double)stk_dtype_bytes(g->real);
    refs[n_refs++] = (struct stk_ref){
        offsetof(struct stk_chain_args, out) + (size_t)k * sizeof(void *), n->out[k], 0};
  }
  memcpy(a.op, p->op, sizeof a.op);
  bool fits = stk_chain_layout(&g->values[n->out[0]].shape, p->n_in, in, &a);
  assert(fits);
  (void)fits;
  (void)bytes;
  stk_lower_emit(lw, stk_lower_kernels(lw)->chain, &a, sizeof a, refs, n_refs);
}

const struct stk_op_def stk_op_chain = {.grad = grad, .lower = lower, .in_place = 0xff};
