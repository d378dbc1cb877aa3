/* Views, copies and fills: reshape, permute, slice, concat, expand, constants.
 *
 * COPY attributes: i0 kind; PERMUTE: i1.. axes; SLICE and UNSLICE: i1 axis, i2 start; CONCAT: i1
 * axis.
 */
#include "engine/ops/chain.h"
#include "engine/ops/ops.h"
#include "engine/plan/lower.h"

enum copy_kind { COPY_PERMUTE, COPY_SLICE, COPY_UNSLICE, COPY_CONCAT };

/* ---- views */

static stk_t fail(stk_t x, stk_loc at, const char *what) {
  return x.g ? stk_symbol(x.g, stk_graph_fail(x.g, at, "%s", what)) : stk_none();
}

stk_t stk_reshape_at(stk_t x, int32_t rank, const int64_t *dims, stk_loc at) {
  if (!stk_symbols_ok(at, "stk_reshape", 1, &x)) {
    return stk_symbol(x.g, -1);
  }
  int64_t total = stk_numel(x), known = 1;
  int32_t open = -1;
  struct stk_shape s = {.rank = rank};
  if (rank < 0 || rank > STK_MAX_RANK) {
    return fail(x, at, "stk_reshape: at most six dims");
  }
  for (int32_t i = 0; i < rank; i++) {
    s.dim[i] = dims[i];
    if (dims[i] == -1 && open < 0) {
      open = i;
    } else if (dims[i] <= 0 || __builtin_mul_overflow(known, dims[i], &known)) {
      return fail(x, at, "stk_reshape: dims are positive, and one may be -1");
    }
  }
  if (open >= 0 && known > 0 && total % known == 0) {
    s.dim[open] = total / known;
  }
  if (open >= 0 ? total % known != 0 : total != known) {
    char a[96], b[96];
    stk_shape_text(&x.g->values[x.id].shape, a, sizeof a);
    return stk_symbol(x.g, stk_graph_fail(x.g, at, "cannot reshape %s to %s", a,
                                          stk_shape_text(&s, b, sizeof b)));
  }
  return stk_symbol(x.g, stk_graph_view(x.g, x.id, s, at));
}

stk_t stk_flatten_at(stk_t x, int32_t start_axis, stk_loc at) {
  if (!stk_symbols_ok(at, "stk_flatten", 1, &x)) {
    return stk_symbol(x.g, -1);
  }
  struct stk_shape s = x.g->values[x.id].shape;
  int32_t a = stk_axis(s.rank, start_axis);
  if (a < 0) {
    return s.rank == start_axis ? x : fail(x, at, "stk_flatten: no such axis");
  }
  for (int32_t i = a + 1; i < s.rank; i++) {
    s.dim[a] *= s.dim[i];
  }
  s.rank = a + 1;
  return stk_symbol(x.g, stk_graph_view(x.g, x.id, s, at));
}

stk_t stk_detach_at(stk_t x, stk_loc at) {
  if (!stk_symbols_ok(at, "stk_detach", 1, &x)) {
    return stk_symbol(x.g, -1);
  }
  struct stk_value *v = &x.g->values[x.id];
  struct stk_node n = {.op = STK_OP_VIEW, .n_in = 1, .in = {x.id}, .i = {1}, .at = at};
  int32_t out = stk_graph_add1(x.g, &n, v->shape, v->dtype);
  if (out >= 0) {
    x.g->values[out].alias = x.id;
    x.g->values[out].requires_grad = false;
  }
  return stk_symbol(x.g, out);
}

static void view_grad(struct stk_autodiff *ad, int32_t node, const int32_t *g_out) {
  struct stk_graph *g = stk_autodiff_graph(ad);
  struct stk_node n = g->nodes[node];
  stk_autodiff_give(ad, n.in[0], stk_graph_view(g, g_out[0], g->values[n.in[0]].shape, n.at));
}

const struct stk_op_def stk_op_view = {.grad = view_grad};

/* ---- copies */

stk_t stk_permute_at(stk_t x, const int32_t *axes, stk_loc at) {
  if (!stk_symbols_ok(at, "stk_permute", 1, &x)) {
    return stk_symbol(x.g, -1);
  }
  const struct stk_value *v = &x.g->values[x.id];
  struct stk_node n = {.op = STK_OP_COPY, .n_in = 1, .in = {x.id}, .i = {COPY_PERMUTE}, .at = at};
  struct stk_shape s = {.rank = v->shape.rank};
  uint32_t seen = 0;
  for (int32_t i = 0; i < s.rank; i++) {
    int32_t a = stk_axis(s.rank, axes[i]);
    if (a < 0 || (seen & (1u << a))) {
      return fail(x, at, "stk_permute: axes are a permutation of the input's");
    }
    seen |= 1u << a;
    n.i[1 + i] = a;
    s.dim[i] = v->shape.dim[a];
  }
  return stk_symbol(x.g, stk_graph_add1(x.g, &n, s, v->dtype));
}

stk_t stk_transpose_at(stk_t x, int32_t axis0, int32_t axis1, stk_loc at) {
  int32_t axes[STK_MAX_RANK], rank = stk_rank(x);
  int32_t a = stk_axis(rank, axis0), b = stk_axis(rank, axis1);
  if (rank >= 0 && (a < 0 || b < 0)) {
    return fail(x, at, "stk_transpose: no such axis");
  }
  for (int32_t i = 0; i < rank; i++) {
    axes[i] = i == a ? b : i == b ? a : i;
  }
  return stk_permute_at(x, axes, at);
}

stk_t stk_slice_at(stk_t x, int32_t axis, int64_t start, int64_t len, stk_loc at) {
  if (!stk_symbols_ok(at, "stk_slice", 1, &x)) {
    return stk_symbol(x.g, -1);
  }
  const struct stk_value *v = &x.g->values[x.id];
  struct stk_shape s = v->shape;
  int32_t a = stk_axis(s.rank, axis);
  if (a < 0 || start < 0 || len <= 0 || start > s.dim[a] || len > s.dim[a] - start) {
    return fail(x, at, "stk_slice: outside the tensor");
  }
  struct stk_node n = {
      .op = STK_OP_COPY, .n_in = 1, .in = {x.id}, .i = {COPY_SLICE, a, start}, .at = at};
  s.dim[a] = len;
  return stk_symbol(x.g, stk_graph_add1(x.g, &n, s, v->dtype));
}

stk_t stk_concat_at(const stk_t *xs, int32_t count, int32_t axis, stk_loc at) {
  if (count < 1 || count > STK_MAX_INPUTS || !stk_symbols_ok(at, "stk_concat", count, xs)) {
    return fail(count > 0 ? xs[0] : stk_none(), at, "stk_concat: takes 1 to 8 tensors");
  }
  struct stk_graph *g = xs[0].g;
  struct stk_shape s = g->values[xs[0].id].shape;
  int32_t a = stk_axis(s.rank, axis);
  struct stk_node n = {.op = STK_OP_COPY, .n_in = count, .i = {COPY_CONCAT, a}, .at = at};
  for (int32_t k = 0; k < count; k++) {
    const struct stk_value *v = &g->values[xs[k].id];
    struct stk_shape t = v->shape;
    if (a < 0 || t.rank != s.rank || v->dtype != g->values[xs[0].id].dtype) {
      return fail(xs[0], at, "stk_concat: ranks, types or axis do not match");
    }
    int64_t len = t.dim[a];
    t.dim[a] = g->values[xs[0].id].shape.dim[a];
    if (!stk_shape_equal(&t, &g->values[xs[0].id].shape)) {
      return fail(xs[0], at, "stk_concat: shapes differ outside the axis");
    }
    s.dim[a] = k == 0 ? len : s.dim[a] + len;
    n.in[k] = xs[k].id;
  }
  return stk_symbol(g, stk_graph_add1(g, &n, s, g->values[xs[0].id].dtype));
}

stk_t stk_expand_at(stk_t x, int32_t rank, const int64_t *dims, stk_loc at) {
  if (!stk_symbols_ok(at, "stk_expand", 1, &x)) {
    return stk_symbol(x.g, -1);
  }
  struct stk_shape want, got;
  if (rank < 0 || rank > STK_MAX_RANK) {
    return fail(x, at, "stk_expand: at most six dims");
  }
  want = stk_shape_make(rank, dims);
  if (!stk_shape_broadcast(&x.g->values[x.id].shape, &want, &got) ||
      !stk_shape_equal(&want, &got)) {
    return fail(x, at, "stk_expand: the shape does not broadcast to that");
  }
  return stk_symbol(x.g, stk_build_expand(x.g, x.id, &want, at));
}

static void copy_grad(struct stk_autodiff *ad, int32_t node, const int32_t *g_out) {
  struct stk_graph *g = stk_autodiff_graph(ad);
  struct stk_node n = g->nodes[node];
  stk_t gy = stk_symbol(g, g_out[0]);
  if (n.i[0] == COPY_PERMUTE) {
    int32_t back[STK_MAX_RANK], rank = g->values[n.in[0]].shape.rank;
    for (int32_t i = 0; i < rank; i++) {
      back[n.i[1 + i]] = i;
    }
    stk_autodiff_give(ad, n.in[0], stk_permute_at(gy, back, n.at).id);
  } else if (n.i[0] == COPY_SLICE) {
    struct stk_node b = {.op = STK_OP_COPY,
                         .n_in = 1,
                         .in = {gy.id},
                         .i = {COPY_UNSLICE, n.i[1], n.i[2]},
                         .at = n.at};
    stk_autodiff_give(ad, n.in[0], stk_graph_add1(g, &b, g->values[n.in[0]].shape, g->real));
  } else if (n.i[0] == COPY_UNSLICE) {
    int64_t len = g->values[n.in[0]].shape.dim[n.i[1]];
    stk_autodiff_give(ad, n.in[0], stk_slice_at(gy, (int32_t)n.i[1], n.i[2], len, n.at).id);
  } else {
    int64_t start = 0;
    for (int32_t k = 0; k < n.n_in; k++) {
      int64_t len = g->values[n.in[k]].shape.dim[n.i[1]];
      if (stk_autodiff_wants(ad, n.in[k])) {
        stk_autodiff_give(ad, n.in[k], stk_slice_at(gy, (int32_t)n.i[1], start, len, n.at).id);
      }
      start += len;
    }
  }
}

static void strides_of(const struct stk_shape *s, int64_t *stride) {
  int64_t step = 1;
  for (int32_t i = s->rank - 1; i >= 0; i--) {
    stride[i] = step;
    step *= s->dim[i];
  }
}

/* Right-aligns rank dims into the kernel's six. */
static void align(struct stk_copy_args *a, const struct stk_shape *s, const int64_t *xs,
                  const int64_t *ys) {
  for (int32_t d = 0; d < STK_COPY_RANK; d++) {
    int32_t from = d - (STK_COPY_RANK - s->rank);
    a->dim[d] = from < 0 ? 1 : s->dim[from];
    a->x_stride[d] = from < 0 ? 0 : xs[from];
    a->y_stride[d] = from < 0 ? 0 : ys[from];
  }
}

static void emit_copy(struct stk_lower *lw, const struct stk_copy_args *a, int32_t x, int32_t y) {
  const struct stk_ref refs[] = {STK_REF(struct stk_copy_args, x, x),
                                 STK_REF(struct stk_copy_args, y, y)};
  stk_lower_emit(lw, stk_lower_kernels(lw)->copy, a, sizeof *a, refs, 2);
}

static void emit_fill(struct stk_lower *lw, int32_t y, double value) {
  const struct stk_graph *g = stk_lower_graph(lw);
  struct stk_fill_args a = {.n = stk_shape_numel(&g->values[y].shape), .value = value};
  const struct stk_ref ref = STK_REF(struct stk_fill_args, y, y);
  stk_lower_emit(lw, stk_lower_kernels(lw)->fill, &a, sizeof a, &ref, 1);
}

static void copy_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_graph *g = stk_lower_graph(lw);
  const struct stk_node *n = &g->nodes[node];
  const struct stk_value *out = &g->values[n->out[0]];
  struct stk_copy_args a = {.elem_bytes = (int32_t)stk_dtype_bytes(out->dtype)};
  int64_t xs[STK_MAX_RANK], ys[STK_MAX_RANK], in_stride[STK_MAX_RANK];
  const struct stk_shape *in = &g->values[n->in[0]].shape;
  strides_of(in, in_stride);
  strides_of(&out->shape, ys);
  switch (n->i[0]) {
    case COPY_PERMUTE:
      for (int32_t i = 0; i < in->rank; i++) {
        xs[i] = in_stride[n->i[1 + i]];
      }
      align(&a, &out->shape, xs, ys);
      emit_copy(lw, &a, n->in[0], n->out[0]);
      break;
    case COPY_SLICE:
      align(&a, &out->shape, in_stride, ys);
      a.x_off = n->i[2] * in_stride[n->i[1]];
      emit_copy(lw, &a, n->in[0], n->out[0]);
      break;
    case COPY_UNSLICE:
      emit_fill(lw, n->out[0], 0.0);
      align(&a, in, in_stride, ys);
      a.y_off = n->i[2] * ys[n->i[1]];
      emit_copy(lw, &a, n->in[0], n->out[0]);
      break;
    default:
      for (int32_t k = 0; k < n->n_in; k++) {
        const struct stk_shape *s = &g->values[n->in[k]].shape;
        strides_of(s, in_stride);
        align(&a, s, in_stride, ys);
        emit_copy(lw, &a, n->in[k], n->out[0]);
        a.y_off += s->dim[n->i[1]] * ys[n->i[1]];
      }
  }
}

const struct stk_op_def stk_op_copy = {.grad = copy_grad, .lower = copy_lower};

/* ---- fills: f0 the value */

int32_t stk_build_fill(struct stk_graph *g, struct stk_shape shape, double value, stk_loc at) {
  struct stk_node n = {.op = STK_OP_FILL, .f = {value}, .at = at};
  return stk_graph_add1(g, &n, shape, g->real);
}

stk_t stk_constant_at(stk_graph *g, double value, stk_loc at) {
  return stk_symbol(g, g ? stk_build_fill(g, (struct stk_shape){0}, value, at) : -1);
}

static void fill_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_node *n = &stk_lower_graph(lw)->nodes[node];
  emit_fill(lw, n->out[0], n->f[0]);
}

const struct stk_op_def stk_op_fill = {.lower = fill_lower};
