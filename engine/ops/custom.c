/* Custom ops: a module's own functions as nodes and kernels (stoker/custom.h).
 *
 * CUSTOM: inputs as given, one output; i0..i3, f0..f2 the attributes. CUSTOM_BWD: the inputs, the
 * output and its gradient; an output per input whose gradient is wanted; i4 the mask of those. The
 * one kernel calls the module's function, whatever the kernel set.
 */
#include <stoker/custom.h>

#include <string.h>

#include "engine/ops/ops.h"
#include "engine/plan/lower.h"

enum { WANTED = 4, NAME_MAX_BYTES = 31 };

struct custom_args {
  stk_custom_call call;
  const stk_custom_op *op;
  bool backward;
};

static int64_t custom_units(const void *args, int n_threads) {
  const struct custom_args *a = args;
  (void)n_threads;
  int64_t n = a->op->units ? a->op->units(&a->call, a->backward) : 1;
  return n > 1 ? n : 1;
}

static void custom_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct custom_args *a = args;
  (void)scratch;
  (a->backward ? a->op->backward : a->op->forward)(&a->call, lo, hi);
}

static const struct stk_kernel custom_kernel = {
    .name = "custom", .units = custom_units, .run = custom_run};

/* ---- building */

static stk_custom_shape public_shape(const struct stk_value *v) {
  stk_custom_shape s = {.dtype = v->dtype, .rank = v->shape.rank};
  memcpy(s.dims, v->shape.dim, sizeof s.dims);
  return s;
}

static int32_t check_table(struct stk_graph *g, const stk_custom_op *op, stk_loc at) {
  if (!op || op->abi != STK_CUSTOM_ABI || op->size < sizeof *op) {
    return stk_graph_fail(g, at, "stk_custom: the op was built for another engine; rebuild it");
  }
  if (!op->name || !*op->name || strlen(op->name) > NAME_MAX_BYTES || !op->shape || !op->forward ||
      op->n_in < 1 || op->n_in > STK_CUSTOM_MAX_IN) {
    return stk_graph_fail(g, at,
                          "stk_custom: an op has a name of 1 to %d bytes, 1 to %d inputs, shape "
                          "and forward",
                          NAME_MAX_BYTES, STK_CUSTOM_MAX_IN);
  }
  if (!(op->flags & STK_CUSTOM_EXACT)) {
    return stk_graph_fail(g, at,
                          "%s: the op does not promise equal bits (STK_CUSTOM_EXACT), and every "
                          "job is exact",
                          op->name);
  }
  if (g->real == STK_F64 && !(op->flags & STK_CUSTOM_F64)) {
    return stk_graph_fail(g, at, "%s: the op does not know doubles; use trainer.precision 32-true",
                          op->name);
  }
  return 0;
}

/* The result's shape by the op's rule, checked: it is a module's code. */
static int32_t ask_shape(struct stk_graph *g, const stk_custom_op *op, const stk_t *in,
                         const stk_custom_attrs *attrs, stk_custom_shape *out, stk_loc at) {
  stk_custom_shape shapes[STK_CUSTOM_MAX_IN];
  stk_custom_why why = {{0}};
  for (int32_t i = 0; i < op->n_in; i++) {
    shapes[i] = public_shape(&g->values[in[i].id]);
  }
  *out = (stk_custom_shape){.dtype = g->real};
  if (op->shape(shapes, attrs, out, &why)) {
    why.text[sizeof why.text - 1] = '\0';
    return stk_graph_fail(g, at, "%s: %s", op->name,
                          why.text[0] ? why.text : "the inputs' shapes do not fit");
  }
  if (out->rank < 0 || out->rank > STK_MAX_RANK ||
      (out->dtype != g->real && out->dtype != STK_I32)) {
    return stk_graph_fail(g, at, "%s: its shape rule gives no shape of reals or i32", op->name);
  }
  return 0;
}

stk_t stk_custom_at(const stk_custom_op *op, const stk_t *in, const stk_custom_attrs *attrs,
                    stk_loc at) {
  static const stk_custom_attrs none;
  int32_t n = op && op->n_in >= 1 && op->n_in <= STK_CUSTOM_MAX_IN ? op->n_in : 1;
  if (!stk_symbols_ok(at, "stk_custom", n, in)) {
    return stk_symbol(in[0].g, -1);
  }
  struct stk_graph *g = in[0].g;
  stk_custom_shape s;
  attrs = attrs ? attrs : &none;
  if (check_table(g, op, at) || ask_shape(g, op, in, attrs, &s, at)) {
    return stk_symbol(g, -1);
  }
  struct stk_node node = {.op = STK_OP_CUSTOM, .n_in = n, .custom = op, .at = at};
  for (int32_t i = 0; i < n; i++) {
    node.in[i] = in[i].id;
  }
  memcpy(node.i, attrs->i, sizeof attrs->i);
  memcpy(node.f, attrs->f, sizeof attrs->f);
  int32_t out = stk_graph_add1(g, &node, stk_shape_make(s.rank, s.dims), s.dtype);
  if (out >= 0 && !op->backward) {
    g->values[out].requires_grad = false;
  }
  return stk_symbol(g, out);
}

/* ---- gradient */

static void custom_grad(struct stk_autodiff *ad, int32_t node, const int32_t *g_out) {
  struct stk_graph *g = stk_autodiff_graph(ad);
  struct stk_node n = g->nodes[node];
  struct stk_node b = n;
  struct stk_shape shapes[STK_CUSTOM_MAX_IN];
  stk_dtype types[STK_CUSTOM_MAX_IN];
  b.op = STK_OP_CUSTOM_BWD;
  b.n_in = n.n_in + 2;
  b.in[n.n_in] = n.out[0];
  b.in[n.n_in + 1] = g_out[0];
  b.n_out = 0;
  for (int32_t k = 0; k < n.n_in; k++) {
    if (stk_autodiff_wants(ad, n.in[k])) {
      shapes[b.n_out] = g->values[n.in[k]].shape;
      types[b.n_out++] = g->real;
      b.i[WANTED] |= (int64_t)1 << k;
    }
  }
  int32_t id = stk_graph_add(g, &b, shapes, types);
  for (int32_t k = 0, next = 0; k < n.n_in && id >= 0; k++) {
    if (b.i[WANTED] >> k & 1) {
      stk_autodiff_give(ad, n.in[k], g->nodes[id].out[next++]);
    }
  }
}

/* ---- lowering */

static void custom_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_graph *g = stk_lower_graph(lw);
  const struct stk_node *n = &g->nodes[node];
  bool backward = n->op == STK_OP_CUSTOM_BWD;
  int32_t n_in = backward ? n->n_in - 2 : n->n_in, n_refs = 0, next = 0;
  int32_t out = backward ? n->in[n_in] : n->out[0];
  struct custom_args a = {.op = n->custom, .backward = backward};
  struct stk_ref refs[2 * STK_CUSTOM_MAX_IN + 2];
  a.call.real_bits = g->real == STK_F64 ? 64 : 32;
  a.call.n_in = n_in;
  a.call.out_shape = public_shape(&g->values[out]);
  memcpy(a.call.attrs.i, n->i, sizeof a.call.attrs.i);
  memcpy(a.call.attrs.f, n->f, sizeof a.call.attrs.f);
  refs[n_refs++] = (struct stk_ref){offsetof(struct custom_args, call.out), out, 0};
  for (int32_t k = 0; k < n_in; k++) {
    a.call.in_shape[k] = public_shape(&g->values[n->in[k]]);
    refs[n_refs++] = (struct stk_ref){
        offsetof(struct custom_args, call.in) + (size_t)k * sizeof a.call.in[0], n->in[k], 0};
    if (backward && n->i[WANTED] >> k & 1) {
      refs[n_refs++] = (struct stk_ref){
          offsetof(struct custom_args, call.grad_in) + (size_t)k * sizeof a.call.grad_in[0],
          n->out[next++], 0};
    }
  }
  if (backward) {
    refs[n_refs++] =
        (struct stk_ref){offsetof(struct custom_args, call.grad_out), n->in[n_in + 1], 0};
  }
  stk_lower_emit(lw, &custom_kernel, &a, sizeof a, refs, n_refs);
}

const struct stk_op_def stk_op_custom = {.grad = custom_grad, .lower = custom_lower};
const struct stk_op_def stk_op_custom_bwd = {.lower = custom_lower};
