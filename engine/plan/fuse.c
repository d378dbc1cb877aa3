/* Fusion: elementwise chains swallow the chains that feed them, products and convolutions take a
 * relu as epilogue, and a relu's gradient is taken before a maximum's gradient is spread out.
 * Convolutions take maxima over 2 x 2 in after that, and their gradients spread those of the maxima
 * out themselves, without the relu's gradient where the maxima's places can tell.
 *
 * A chain is swallowed when its only consumer is a chain over the same elements (directly or
 * through a view), or when it is a cheap scalar. Bits cannot change: each element sees the same
 * operations in the same order. Forward and backward are not joined, since that would keep inputs
 * alive longer than their result.
 */
#include <string.h>

#include "engine/kernel/gemm.h"
#include "engine/ops/chain.h"
#include "engine/ops/ops.h"
#include "engine/plan/plan.h"
#include "proto/base/mem.h"

enum { MATMUL_ACT = 11, CHEAP_OPS = 2 };

struct fuse {
  struct stk_graph *g;
  int32_t *uses; /* per value: live consumers plus output roles */
  uint8_t *live;
};

static void use(struct fuse *f, int32_t value) {
  if (value >= 0) {
    f->uses[value]++;
  }
}

static void count_uses(struct fuse *f) {
  struct stk_graph *g = f->g;
  memset(f->uses, 0, (size_t)g->n_values * sizeof *f->uses);
  for (int32_t id = 0; id < g->n_nodes; id++) {
    for (int32_t k = 0; f->live[id] && k < g->nodes[id].n_in; k++) {
      use(f, g->nodes[id].in[k]);
    }
  }
  use(f, g->loss);
  for (int32_t i = 0; i < g->n_logs; i++) {
    use(f, g->logs[i].value);
    use(f, g->logs[i].weight);
  }
  for (int32_t i = 0; i < g->n_params; i++) {
    use(f, g->param_grad[i]);
  }
}

/* The value behind single-use views of `value`, and whether a view was passed. */
static int32_t behind_views(const struct fuse *f, int32_t value, bool *viewed) {
  const struct stk_graph *g = f->g;
  *viewed = false;
  while (f->uses[value] == 1 && g->values[value].node >= 0 &&
         g->nodes[g->values[value].node].op == STK_OP_VIEW) {
    value = g->nodes[g->values[value].node].in[0];
    *viewed = true;
  }
  return value;
}

/* Whether the node is a chain of this one operation. */
static bool is_single(const struct stk_node *n, uint8_t op, int32_t n_in) {
  const struct stk_chain_prog *p = n->chain;
  return n->op == STK_OP_CHAIN && p->n_op == 1 && p->op[0].op == op && p->n_out == 1 &&
         n->n_in == n_in;
}

/* Switches the relu in the epilogue of a product or convolution on; false: it has none, or it is
 * taken. */
static bool take_relu(struct stk_node *maker) {
  if (maker->op == STK_OP_MATMUL && !maker->i[MATMUL_ACT]) {
    maker->i[MATMUL_ACT] = STK_GEMM_ACT_RELU;
    return true;
  }
  if (maker->op == STK_OP_CONV && maker->f[0] == 0) {
    maker->f[0] = 1;
    return true;
  }
  return false;
}

/* relu(product) where nothing else reads the product: the epilogue does it and the relu becomes a
 * view. */
static void relu_epilogue(struct fuse *f, int32_t id) {
  struct stk_graph *g = f->g;
  struct stk_node *n = &g->nodes[id];
  if (!is_single(n, STK_EW_RELU, 1)) {
    return;
  }
  bool viewed;
  int32_t src = behind_views(f, n->in[0], &viewed);
  int32_t maker = g->values[src].node;
  if (maker < 0 || f->uses[src] != 1 || !take_relu(&g->nodes[maker])) {
    return;
  }
  g->values[n->out[0]].alias = n->in[0];
  n->op = STK_OP_VIEW;
  sp_free(n->chain);
  n->chain = NULL;
}

/* The pooling that made the places which node `unpool` reads, where its input is `y`; or -1. */
static int32_t pooling_of(const struct stk_graph *g, const struct stk_node *unpool, int32_t y) {
  int32_t maker = g->values[unpool->in[1]].node;
  bool found = maker >= 0 && g->nodes[maker].op == STK_OP_POOL && g->nodes[maker].in[0] == y;
  return found ? maker : -1;
}

/* relu_bwd(y, unpool(g)), y being what was pooled by maximum, is unpool(relu_bwd(max, g)): the
 * place that a gradient goes to holds the maximum itself, and every other place gets +0 both ways.
 * There are fewer maxima than places, and y need not be kept. The two nodes trade places. */
static void relu_before_unpool(struct fuse *f, int32_t id) {
  struct stk_graph *g = f->g;
  struct stk_node *relu = &g->nodes[id];
  const struct stk_chain_prog *p = relu->chain;
  if (!is_single(relu, STK_EW_RELU_BWD, 2) || p->op[0].a != 0) {
    return;
  }
  int32_t maker = g->values[relu->in[1]].node;
  struct stk_node *unpool = maker < 0 ? NULL : &g->nodes[maker];
  if (!unpool || unpool->op != STK_OP_POOL_BWD || unpool->f[0] == 0 || f->uses[relu->in[1]] != 1) {
    return;
  }
  int32_t pool = pooling_of(g, unpool, relu->in[0]);
  if (pool < 0) {
    return;
  }
  struct stk_node first = *relu, second = *unpool;
  int32_t between = unpool->out[0];
  first.in[0] = g->nodes[pool].out[0];
  first.in[1] = unpool->in[0];
  first.out[0] = between;
  second.in[0] = between;
  second.out[0] = relu->out[0];
  g->values[between].shape = g->values[first.in[0]].shape;
  *unpool = first;
  *relu = second;
}

/* Maxima over windows of 2 x 2 side by side, or their gradient: attributes as in engine/ops/conv.c.
 */
static bool is_max_2x2(const struct stk_node *n) {
  return n->f[0] != 0 && n->i[5] == 2 && n->i[6] == 2 && n->i[7] == 2 && n->i[8] == 2 &&
         n->i[9] == 0 && n->i[10] == 0;
}

/* max(conv) where nothing else reads the convolution: the pooling becomes a convolution that pools
 * what it makes, image by image. */
static void pool_epilogue(const struct fuse *f, int32_t id) {
  struct stk_graph *g = f->g;
  struct stk_node *pool = &g->nodes[id];
  if (pool->op != STK_OP_POOL || !is_max_2x2(pool)) {
    return;
  }
  bool viewed;
  int32_t src = behind_views(f, pool->in[0], &viewed);
  int32_t maker = g->values[src].node;
  if (maker < 0 || f->uses[src] != 1 || g->nodes[maker].op != STK_OP_CONV ||
      g->nodes[maker].f[1] != 0) {
    return;
  }
  struct stk_node fused = g->nodes[maker];
  fused.f[1] = 1;
  fused.n_out = pool->n_out;
  memcpy(fused.out, pool->out, sizeof fused.out);
  fused.at = pool->at;
  *pool = fused;
}

/* Which input of a convolution's gradient is its own gradient. */
static int32_t gradient_input(const struct stk_node *n) {
  return n->op == STK_OP_CONV_DX ? 0 : 1;
}

/* The gradients of a convolution whose own gradient is that of maxima over 2 x 2: they take the
 * latter. */
static void unpool_in_conv(struct fuse *f, int32_t id) {
  struct stk_graph *g = f->g;
  struct stk_node *n = &g->nodes[id];
  if ((n->op != STK_OP_CONV_DX && n->op != STK_OP_CONV_DW) || n->f[1] != 0) {
    return;
  }
  int32_t k = gradient_input(n);
  int32_t maker = g->values[n->in[k]].node;
  const struct stk_node *unpool = maker < 0 ? NULL : &g->nodes[maker];
  bool pads = n->i[9] > n->i[11] * (n->i[5] - 1) || n->i[10] > n->i[12] * (n->i[6] - 1);
  if (!unpool || unpool->op != STK_OP_POOL_BWD || !is_max_2x2(unpool) || pads ||
      unpool->i[2] % 2 != 0 || unpool->i[3] % 2 != 0) {
    return;
  }
  n->in[k] = unpool->in[0];
  n->in[2] = unpool->in[1];
  n->n_in = 3;
  n->f[1] = 1;
}

/* Whether node n takes, as the gradient of the maxima that `conv` made, their relu's gradient. */
static bool takes_relu_bwd(const struct stk_graph *g, const struct stk_node *n,
                           const struct stk_node *conv) {
  if ((n->op != STK_OP_CONV_DX && n->op != STK_OP_CONV_DW) || n->f[1] == 0 ||
      n->in[2] != conv->out[1]) {
    return false;
  }
  int32_t maker = g->values[n->in[gradient_input(n)]].node;
  const struct stk_node *relu = maker < 0 ? NULL : &g->nodes[maker];
  return relu && is_single(relu, STK_EW_RELU_BWD, 2) &&
         ((const struct stk_chain_prog *)relu->chain)->op[0].a == 0 && relu->in[0] == conv->out[0];
}

/* Where the places of maxima are only read for gradients that went through the maxima's relu, the
 * places themselves say where that lets nothing through. */
static void mark_places(struct fuse *f, int32_t id) {
  struct stk_graph *g = f->g;
  struct stk_node *conv = &g->nodes[id];
  int32_t n_readers = 0;
  for (int32_t i = id + 1; i < g->n_nodes; i++) {
    for (int32_t k = 0; f->live[i] && k < g->nodes[i].n_in; k++) {
      if (g->nodes[i].in[k] == conv->out[1]) {
        n_readers++;
        if (!takes_relu_bwd(g, &g->nodes[i], conv)) {
          return;
        }
      }
    }
  }
  for (int32_t i = id + 1; n_readers > 0 && i < g->n_nodes; i++) {
    struct stk_node *n = &g->nodes[i];
    if (f->live[i] && takes_relu_bwd(g, n, conv)) {
      int32_t *in = &n->in[gradient_input(n)];
      *in = g->nodes[g->values[*in].node].in[1];
      conv->f[1] = 2;
    }
  }
}

static void fuse_pooling(struct fuse *f) {
  for (int32_t id = 0; id < f->g->n_nodes; id++) {
    int32_t op = f->g->nodes[id].op;
    if (op != STK_OP_POOL && op != STK_OP_CONV_DX && op != STK_OP_CONV_DW) {
      continue;
    }
    stk_pass_live(f->g, f->live);
    count_uses(f);
    if (f->live[id]) {
      pool_epilogue(f, id);
      unpool_in_conv(f, id);
    }
  }
  stk_pass_live(f->g, f->live);
  for (int32_t id = 0; id < f->g->n_nodes; id++) {
    if (f->live[id] && f->g->nodes[id].op == STK_OP_CONV && f->g->nodes[id].f[1] != 0) {
      mark_places(f, id);
    }
  }
}

static bool cheap_scalar(const struct stk_graph *g, const struct stk_node *a) {
  const struct stk_chain_prog *p = a->chain;
  for (int32_t i = 0; i < p->n_op; i++) {
    if (p->op[i].op != STK_EW_MULC && p->op[i].op != STK_EW_NEG && p->op[i].op != STK_EW_ADDC) {
      return false;
    }
  }
  return p->n_op <= CHEAP_OPS && stk_shape_numel(&g->values[a->out[0]].shape) == 1;
}

/* Whether chain a may be computed inside b, which reads it as input k (through a view or not). */
static bool may_swallow(const struct fuse *f, const struct stk_node *a, const struct stk_node *b,
                        bool viewed) {
  const struct stk_graph *g = f->g;
  int64_t n = stk_shape_numel(&g->values[b->out[0]].shape);
  if (a->op != STK_OP_CHAIN || a->n_out != 1 || a->backward != b->backward) {
    return false;
  }
  if (cheap_scalar(g, a)) {
    return true;
  }
  if (f->uses[a->out[0]] != 1 || stk_shape_numel(&g->values[a->out[0]].shape) != n) {
    return false;
  }
  for (int32_t k = 0; viewed && k < a->n_in; k++) {
    int64_t m = stk_shape_numel(&g->values[a->in[k]].shape);
    if (m != n && m != 1) {
      return false;
    }
  }
  return true;
}

static int32_t input_of(struct stk_node *n, int32_t value) {
  for (int32_t k = 0; k < n->n_in; k++) {
    if (n->in[k] == value) {
      return k;
    }
  }
  if (n->n_in == STK_CHAIN_IN) {
    return -1;
  }
  n->in[n->n_in] = value;
  return n->n_in++;
}

/* Appends p's instructions to out, whose registers 0..n_in-1 are n's inputs; reg maps p's
 * registers. */
static void append(struct stk_chain_prog *out, const struct stk_chain_prog *p, uint8_t *reg) {
  for (int32_t i = 0; i < p->n_op; i++) {
    struct stk_chain_op o = p->op[i];
    int32_t arity = stk_ew_arity(o.op);
    o.a = reg[o.a];
    o.b = arity > 1 ? reg[o.b] : 0;
    o.d = arity > 2 ? reg[o.d] : 0;
    out->op[out->n_op] = o;
    reg[p->n_in + i] = (uint8_t)(STK_CHAIN_IN + out->n_op++);
  }
}

/* Registers above the inputs are numbered from STK_CHAIN_IN while building; this moves them down to
 * n_in. */
static void renumber(struct stk_chain_prog *p) {
  uint8_t down = (uint8_t)(STK_CHAIN_IN - p->n_in);
  for (int32_t i = 0; i < p->n_op; i++) {
    struct stk_chain_op *o = &p->op[i];
    o->a = o->a >= STK_CHAIN_IN ? (uint8_t)(o->a - down) : o->a;
    o->b = o->b >= STK_CHAIN_IN ? (uint8_t)(o->b - down) : o->b;
    o->d = o->d >= STK_CHAIN_IN ? (uint8_t)(o->d - down) : o->d;
  }
  for (int32_t i = 0; i < p->n_out; i++) {
    p->out_reg[i] = p->out_reg[i] >= STK_CHAIN_IN ? (uint8_t)(p->out_reg[i] - down) : p->out_reg[i];
  }
}

/* Rewrites b so that it computes a itself in place of input k. False, changing nothing, when that
 * does not fit. */
static bool swallow(struct stk_graph *g, const struct stk_node *a, struct stk_node *b, int32_t k) {
  const struct stk_chain_prog *pa = a->chain, *pb = b->chain;
  struct stk_node n = *b;
  struct stk_chain_prog p = {.n_out = pb->n_out};
  uint8_t reg_a[STK_CHAIN_IN + STK_CHAIN_OPS], reg_b[STK_CHAIN_IN + STK_CHAIN_OPS];
  if (pa->n_op + pb->n_op > STK_CHAIN_OPS) {
    return false;
  }
  n.n_in = 0;
  for (int32_t i = 0; i < a->n_in; i++) {
    int32_t at = input_of(&n, a->in[i]);
    reg_a[i] = (uint8_t)at;
    if (at < 0) {
      return false;
    }
  }
  for (int32_t i = 0; i < b->n_in; i++) {
    int32_t at = i == k ? 0 : input_of(&n, b->in[i]);
    reg_b[i] = (uint8_t)at;
    if (at < 0) {
      return false;
    }
  }
  append(&p, pa, reg_a);
  reg_b[k] = reg_a[pa->out_reg[0]];
  append(&p, pb, reg_b);
  for (int32_t i = 0; i < p.n_out; i++) {
    p.out_reg[i] = reg_b[pb->out_reg[i]];
  }
  p.n_in = n.n_in;
  renumber(&p);
  const struct stk_shape *in[STK_CHAIN_IN];
  struct stk_chain_args layout;
  for (int32_t i = 0; i < n.n_in; i++) {
    in[i] = &g->values[n.in[i]].shape;
  }
  if (!stk_chain_layout(&g->values[n.out[0]].shape, n.n_in, in, &layout)) {
    return false;
  }
  for (int32_t i = n.n_in; i < STK_NODE_IN; i++) {
    n.in[i] = 0;
  }
  memcpy(b->chain, &p, sizeof p);
  n.chain = b->chain;
  *b = n;
  return true;
}

static bool swallow_one(struct fuse *f, int32_t id) {
  struct stk_graph *g = f->g;
  struct stk_node *b = &g->nodes[id];
  for (int32_t k = 0; k < b->n_in; k++) {
    bool viewed;
    int32_t src = behind_views(f, b->in[k], &viewed);
    int32_t maker = g->values[src].node;
    if (maker < 0 || !may_swallow(f, &g->nodes[maker], b, viewed)) {
      continue;
    }
    if (swallow(g, &g->nodes[maker], b, k)) {
      return true;
    }
  }
  return false;
}

sp_status stk_pass_fuse(struct stk_graph *g, struct sp_err *err) {
  struct fuse f = {.g = g};
  f.uses = sp_alloc_array((size_t)g->n_values + 1, sizeof *f.uses);
  f.live = sp_alloc_array((size_t)g->n_nodes + 1, 1);
  if (!f.uses || !f.live) {
    sp_free(f.uses);
    sp_free(f.live);
    return sp_fail(err, SP_ENOMEM, "no memory to fuse");
  }
  for (int32_t id = 0; id < g->n_nodes; id++) {
    if (g->nodes[id].op != STK_OP_CHAIN) {
      continue;
    }
    bool again = true;
    while (again) {
      stk_pass_live(g, f.live);
      count_uses(&f);
      again = f.live[id] && swallow_one(&f, id);
    }
    if (f.live[id]) {
      relu_epilogue(&f, id);
      relu_before_unpool(&f, id);
    }
  }
  fuse_pooling(&f);
  sp_free(f.uses);
  sp_free(f.live);
  return SP_OK;
}
