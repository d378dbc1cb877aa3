/* Convolution and pooling over NCHW.
 *
 * The shape stands in the attributes: i0 n, c, h, w, co, kh, kw, stride h w, padding h w, dilation
 * h w, groups. POOL: f0 1 for max. CONV: f0 1 for a relu on the complete sum; f1 1 for maxima over
 * 2 x 2 then: two outputs, as POOL has; f1 2: with -1 for the place of one <= 0. CONV_DX and
 * CONV_DW: f1 1 where the gradient is that of such maxima, whose places are input 2.
 */
#include "engine/ops/ops.h"
#include "engine/plan/lower.h"

static struct stk_conv_shape shape_of(const struct stk_node *n) {
  struct stk_conv_shape s = {.n = n->i[0],
                             .c = n->i[1],
                             .h = n->i[2],
                             .w = n->i[3],
                             .co = n->i[4],
                             .kh = n->i[5],
                             .kw = n->i[6],
                             .stride_h = n->i[7],
                             .stride_w = n->i[8],
                             .pad_h = n->i[9],
                             .pad_w = n->i[10],
                             .dil_h = n->i[11],
                             .dil_w = n->i[12],
                             .groups = n->i[13]};
  s.oh = (s.h + 2 * s.pad_h - s.dil_h * (s.kh - 1) - 1) / s.stride_h + 1;
  s.ow = (s.w + 2 * s.pad_w - s.dil_w * (s.kw - 1) - 1) / s.stride_w + 1;
  return s;
}

static int64_t or_one(int64_t v) {
  return v == 0 ? 1 : v;
}

static bool window_fits(const struct stk_node *n) {
  bool ok = n->i[7] > 0 && n->i[8] > 0 && n->i[9] >= 0 && n->i[10] >= 0 && n->i[11] > 0 &&
            n->i[12] > 0 && n->i[13] > 0;
  return ok && n->i[5] > 0 && n->i[6] > 0 &&
         n->i[2] + 2 * n->i[9] >= n->i[11] * (n->i[5] - 1) + 1 &&
         n->i[3] + 2 * n->i[10] >= n->i[12] * (n->i[6] - 1) + 1;
}

stk_t stk_conv2d_at(stk_t x, stk_t w, stk_t b, const stk_conv2d_options *opt, stk_loc at) {
  stk_t in[3] = {x, w, b};
  if (!stk_symbols_ok(at, "stk_conv2d", b.g ? 3 : 2, in)) {
    return stk_symbol(x.g, -1);
  }
  static const stk_conv2d_options plain;
  const stk_conv2d_options *o = opt ? opt : &plain;
  struct stk_graph *g = x.g;
  const struct stk_shape *sx = &g->values[x.id].shape, *sw = &g->values[w.id].shape;
  struct stk_node n = {.op = STK_OP_CONV, .n_in = 3, .in = {x.id, w.id, b.g ? b.id : -1}, .at = at};
  if (sx->rank != 4 || sw->rank != 4 || g->values[x.id].dtype != g->real) {
    return stk_symbol(
        g, stk_graph_fail(g, at, "stk_conv2d: x is (n, c, h, w), w is (co, c / groups, kh, kw)"));
  }
  int64_t attrs[STK_ATTR_I] = {sx->dim[0],
                               sx->dim[1],
                               sx->dim[2],
                               sx->dim[3],
                               sw->dim[0],
                               sw->dim[2],
                               sw->dim[3],
                               or_one(o->stride[0]),
                               or_one(o->stride[1]),
                               o->padding[0],
                               o->padding[1],
                               or_one(o->dilation[0]),
                               or_one(o->dilation[1]),
                               or_one(o->groups)};
  for (int32_t k = 0; k < STK_ATTR_I; k++) {
    n.i[k] = attrs[k];
  }
  if (!window_fits(&n) || sx->dim[1] % n.i[13] || sw->dim[0] % n.i[13] ||
      sw->dim[1] != sx->dim[1] / n.i[13] || (b.g && stk_numel(b) != sw->dim[0])) {
    char a[96], c[96];
    return stk_symbol(
        g, stk_graph_fail(g, at, "stk_conv2d: input %s, weight %s and options do not fit",
                          stk_shape_text(sx, a, sizeof a), stk_shape_text(sw, c, sizeof c)));
  }
  struct stk_conv_shape s = shape_of(&n);
  return stk_symbol(
      g, stk_graph_add1(g, &n, (struct stk_shape){.rank = 4, .dim = {s.n, s.co, s.oh, s.ow}},
                        g->real));
}

static void conv_grad(struct stk_autodiff *ad, int32_t node, const int32_t *g_out) {
  struct stk_graph *g = stk_autodiff_graph(ad);
  struct stk_node n = g->nodes[node], b = n;
  b.n_in = 2;
  b.in[2] = 0;
  b.f[0] = 0;
  if (stk_autodiff_wants(ad, n.in[0])) {
    b.op = STK_OP_CONV_DX;
    b.in[0] = g_out[0];
    b.in[1] = n.in[1];
    stk_autodiff_give(ad, n.in[0], stk_graph_add1(g, &b, g->values[n.in[0]].shape, g->real));
  }
  if (stk_autodiff_wants(ad, n.in[1]) || stk_autodiff_wants(ad, n.in[2])) {
    b.op = STK_OP_CONV_DW;
    b.in[0] = n.in[0];
    b.in[1] = g_out[0];
    b.n_out = n.in[2] >= 0 ? 2 : 1;
    struct stk_shape bias = {.rank = 1, .dim = {n.i[4]}};
    int32_t id = stk_graph_add(g, &b, (struct stk_shape[]){g->values[n.in[1]].shape, bias},
                               (stk_dtype[]){g->real, g->real});
    if (id >= 0) {
      stk_autodiff_give(ad, n.in[1], g->nodes[id].out[0]);
      stk_autodiff_give(ad, n.in[2], b.n_out == 2 ? g->nodes[id].out[1] : -1);
    }
  }
}

static void conv_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_node *n = &stk_lower_graph(lw)->nodes[node];
  struct stk_conv_args a = {.s = shape_of(n), .relu = n->f[0] != 0, .mark = n->f[1] == 2};
  const struct stk_ref refs[] = {
      STK_REF(struct stk_conv_args, x, n->in[0]), STK_REF(struct stk_conv_args, w, n->in[1]),
      STK_REF(struct stk_conv_args, bias, n->in[2]), STK_REF(struct stk_conv_args, y, n->out[0]),
      STK_REF(struct stk_conv_args, argmax, n->n_out == 2 ? n->out[1] : -1)};
  stk_lower_emit(lw, stk_lower_kernels(lw)->conv, &a, sizeof a, refs, 5);
}

static double conv_flops(const struct stk_graph *g, const struct stk_node *n) {
  (void)g;
  struct stk_conv_shape s = shape_of(n);
  return 2.0 * (double)(s.n * s.co * s.oh * s.ow) * (double)(s.c / s.groups * s.kh * s.kw);
}

const struct stk_op_def stk_op_conv = {.grad = conv_grad, .lower = conv_lower, .flops = conv_flops};

/* The places of the maxima whose gradient the node takes, or -1. */
static int32_t places_of(const struct stk_node *n) {
  return n->f[1] != 0 ? n->in[2] : -1;
}

static void conv_dx_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_node *n = &stk_lower_graph(lw)->nodes[node];
  struct stk_conv_dx_args a = {.s = shape_of(n)};
  const struct stk_ref refs[] = {STK_REF(struct stk_conv_dx_args, g, n->in[0]),
                                 STK_REF(struct stk_conv_dx_args, w, n->in[1]),
                                 STK_REF(struct stk_conv_dx_args, dx, n->out[0]),
                                 STK_REF(struct stk_conv_dx_args, argmax, places_of(n))};
  stk_lower_emit(lw, stk_lower_kernels(lw)->conv_dx, &a, sizeof a, refs, 4);
}

const struct stk_op_def stk_op_conv_dx = {.lower = conv_dx_lower, .flops = conv_flops};

enum { DW_UNIT_TAPS = 12, DW_ENOUGH_UNITS = 64, DW_SUMS_REALS = 1 << 20 };

/* How many reals the sums of all chunks of the weights' gradient take; 0: the weights alone make
 * enough units, or there would be too many sums. */
static int64_t dw_sums(const struct stk_conv_shape *s, bool bias) {
  int64_t taps = s->c / s->groups * s->kh * s->kw + (bias ? 1 : 0);
  int64_t vectors = s->groups * ((s->co / s->groups + STK_CONV_DW_LANES - 1) / STK_CONV_DW_LANES);
  int64_t chunks = (s->n * s->oh * s->ow + STK_CONV_DW_CHUNK - 1) / STK_CONV_DW_CHUNK;
  int64_t reals = chunks * vectors * taps * STK_CONV_DW_LANES;
  bool enough = vectors * ((taps + DW_UNIT_TAPS - 1) / DW_UNIT_TAPS) >= DW_ENOUGH_UNITS;
  return enough || chunks < 2 || reals > DW_SUMS_REALS ? 0 : reals;
}

static void conv_dw_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_graph *g = stk_lower_graph(lw);
  const struct stk_node *n = &g->nodes[node];
  struct stk_conv_dw_args a = {.s = shape_of(n)};
  int64_t sums = dw_sums(&a.s, n->n_out == 2);
  size_t bytes = (size_t)sums * stk_dtype_bytes(g->real);
  const struct stk_ref refs[] = {
      STK_REF(struct stk_conv_dw_args, x, n->in[0]),
      STK_REF(struct stk_conv_dw_args, g, n->in[1]),
      STK_REF(struct stk_conv_dw_args, dw, n->out[0]),
      STK_REF(struct stk_conv_dw_args, db, n->n_out == 2 ? n->out[1] : -1),
      STK_REF(struct stk_conv_dw_args, sums, sums ? stk_lower_workspace(lw, bytes) : -1),
      STK_REF(struct stk_conv_dw_args, argmax, places_of(n))};
  stk_lower_emit(lw, stk_lower_kernels(lw)->conv_dw, &a, sizeof a, refs, 6);
  if (sums) {
    stk_lower_emit(lw, stk_lower_kernels(lw)->conv_dw_sum, &a, sizeof a, refs, 6);
  }
}

const struct stk_op_def stk_op_conv_dw = {.lower = conv_dw_lower, .flops = conv_flops};

/* ---- pooling */

static stk_t pool(stk_t x, const stk_pool2d_options *o, bool max, stk_loc at) {
  if (!stk_symbols_ok(at, "pool2d", 1, &x)) {
    return stk_symbol(x.g, -1);
  }
  struct stk_graph *g = x.g;
  const struct stk_shape *sx = &g->values[x.id].shape;
  if (sx->rank != 4 || g->values[x.id].dtype != g->real) {
    return stk_symbol(g, stk_graph_fail(g, at, "pooling needs (n, c, h, w)"));
  }
  struct stk_node n = {
      .op = STK_OP_POOL, .n_in = 1, .in = {x.id}, .n_out = 2, .f = {max}, .at = at};
  int64_t attrs[STK_ATTR_I] = {sx->dim[0],
                               sx->dim[1],
                               sx->dim[2],
                               sx->dim[3],
                               sx->dim[1],
                               o->kernel[0],
                               o->kernel[1],
                               o->stride[0] ? o->stride[0] : o->kernel[0],
                               o->stride[1] ? o->stride[1] : o->kernel[1],
                               o->padding[0],
                               o->padding[1],
                               1,
                               1,
                               1};
  for (int32_t k = 0; k < STK_ATTR_I; k++) {
    n.i[k] = attrs[k];
  }
  if (!window_fits(&n) || 2 * n.i[9] > n.i[5] || 2 * n.i[10] > n.i[6]) {
    return stk_symbol(
        g, stk_graph_fail(g, at, "pooling: window, stride and padding do not fit the image"));
  }
  struct stk_conv_shape s = shape_of(&n);
  struct stk_shape y = {.rank = 4, .dim = {s.n, s.c, s.oh, s.ow}};
  int32_t id = stk_graph_add(g, &n, (struct stk_shape[]){y, y}, (stk_dtype[]){g->real, STK_I32});
  return stk_symbol(g, id < 0 ? -1 : g->nodes[id].out[0]);
}

stk_t stk_max_pool2d_at(stk_t x, const stk_pool2d_options *opt, stk_loc at) {
  return pool(x, opt, true, at);
}

stk_t stk_avg_pool2d_at(stk_t x, const stk_pool2d_options *opt, stk_loc at) {
  return pool(x, opt, false, at);
}

static void pool_grad(struct stk_autodiff *ad, int32_t node, const int32_t *g_out) {
  struct stk_graph *g = stk_autodiff_graph(ad);
  struct stk_node n = g->nodes[node], b = n;
  b.op = STK_OP_POOL_BWD;
  b.n_in = 2;
  b.in[0] = g_out[0];
  b.in[1] = n.out[1];
  stk_autodiff_give(ad, n.in[0], stk_graph_add1(g, &b, g->values[n.in[0]].shape, g->real));
}

static void pool_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_node *n = &stk_lower_graph(lw)->nodes[node];
  struct stk_pool_args a = {.s = shape_of(n), .max = n->f[0] != 0};
  const struct stk_ref refs[] = {STK_REF(struct stk_pool_args, x, n->in[0]),
                                 STK_REF(struct stk_pool_args, y, n->out[0]),
                                 STK_REF(struct stk_pool_args, argmax, n->out[1])};
  stk_lower_emit(lw, stk_lower_kernels(lw)->pool, &a, sizeof a, refs, 3);
}

const struct stk_op_def stk_op_pool = {.grad = pool_grad, .lower = pool_lower};

static void pool_bwd_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_node *n = &stk_lower_graph(lw)->nodes[node];
  struct stk_pool_bwd_args a = {.s = shape_of(n), .max = n->f[0] != 0};
  const struct stk_ref refs[] = {STK_REF(struct stk_pool_bwd_args, g, n->in[0]),
                                 STK_REF(struct stk_pool_bwd_args, argmax, n->in[1]),
                                 STK_REF(struct stk_pool_bwd_args, dx, n->out[0])};
  stk_lower_emit(lw, stk_lower_kernels(lw)->pool_bwd, &a, sizeof a, refs, 3);
}

const struct stk_op_def stk_op_pool_bwd = {.lower = pool_bwd_lower};
