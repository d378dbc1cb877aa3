/* Recompute: activations that the backward pass reads are dropped after the forward pass and made
 * again just before their first use there, until what is kept fits a budget.
 *
 * A forward node goes first where it frees most bytes per operation that has to be done again.
 * Making a node again takes its inputs: those that are kept, leaves, or made again too. The last
 * are then early for their own readers in the backward pass; nodes are given up only as long as
 * nothing is early by more than about a square root of its length, or else all would be made again
 * at its start (the segments of Chen et al., "Training Deep Nets with Sublinear Memory Cost",
 * 2016, come out of the same count).
 * A clone is the same node with the same attributes (random ordinals among them) over the same
 * bits, so results cannot change. Nodes with side effects or of a module's own making are not
 * cloned.
 *
 * Runs after fusion. Clones are appended, then nodes are put in order; the ids of values stay.
 */
#include <math.h>
#include <string.h>

#include "engine/ops/chain.h"
#include "engine/ops/ops.h"
#include "engine/plan/plan.h"
#include "proto/base/mem.h"

enum {
  CHEAP_OPERATIONS = 8, /* per element, of nodes that count none */
  SPAN = 2              /* of square roots of the number of backward nodes */
};

struct recompute {
  struct stk_graph *g;
  int32_t n_nodes; /* before clones */
  uint8_t *live, *saved, *pinned, *again;
  uint8_t *seen;   /* of one walk */
  double *bytes;   /* that each node's saved outputs hold */
  int32_t *reader; /* each node's first reader in the backward pass, -1 */
  int32_t span;    /* how early a node may be made again */
  int32_t *clone;  /* of each value, -1 */
  int32_t *order;  /* nodes as they will run */
  int32_t n_order;
  bool cheap; /* only nodes without products */
  bool failed;
};

static bool is_forward(const struct recompute *r, int32_t node) {
  return node >= 0 && node < r->n_nodes && !r->g->nodes[node].backward;
}

/* The node that makes the bytes of a value, behind views; -1: a leaf. */
static int32_t maker_of(const struct stk_graph *g, int32_t value) {
  return g->values[stk_graph_storage(g, value)].node;
}

static bool is_cheap(int32_t op) {
  return op == STK_OP_CHAIN || op == STK_OP_COPY || op == STK_OP_DROPOUT ||
         op == STK_OP_LAYER_NORM || op == STK_OP_SOFTMAX || op == STK_OP_EMBEDDING ||
         op == STK_OP_POOL || op == STK_OP_REDUCE;
}

static bool may_clone(const struct recompute *r, int32_t node) {
  int32_t op = r->g->nodes[node].op;
  return is_cheap(op) ||
         (!r->cheap && (op == STK_OP_MATMUL || op == STK_OP_CONV || op == STK_OP_ATTENTION));
}

static double operations(const struct stk_graph *g, const struct stk_node *n) {
  if (stk_ops[n->op]->flops) {
    return stk_ops[n->op]->flops(g, n);
  }
  return CHEAP_OPERATIONS * (double)stk_shape_numel(&g->values[n->out[0]].shape);
}

/* Operations to make a node again from what is kept, for reader `first`; infinite where that cannot
 * be, or would be too early for another reader. r->seen is the walk's. */
static double cost_of(struct recompute *r, int32_t node, int32_t first) {
  if (r->seen[node]) {
    return 0;
  }
  r->seen[node] = 1;
  if (!may_clone(r, node) || r->reader[node] > first + r->span) {
    return INFINITY;
  }
  const struct stk_node *n = &r->g->nodes[node];
  double cost = operations(r->g, n);
  for (int32_t k = 0; k < n->n_in && isfinite(cost); k++) {
    int32_t maker = n->in[k] < 0 ? -1 : maker_of(r->g, n->in[k]);
    if (maker >= 0 && (!r->saved[maker] || r->again[maker])) {
      cost += cost_of(r, maker, first);
    }
  }
  return cost;
}

/* Marks what the backward pass reads of the forward pass, and what outlives it anyway. Returns the
 * bytes of the former. */
static double find_saved(struct recompute *r) {
  struct stk_graph *g = r->g;
  double total = 0;
  for (int32_t id = 0; id < g->n_nodes; id++) {
    const struct stk_node *n = &g->nodes[id];
    for (int32_t k = 0; r->live[id] && n->backward && k < n->n_in; k++) {
      int32_t root = n->in[k] < 0 ? -1 : stk_graph_storage(g, n->in[k]);
      int32_t maker = root < 0 ? -1 : g->values[root].node;
      if (is_forward(r, maker) && r->clone[root] == -1) {
        double bytes = (double)stk_shape_numel(&g->values[root].shape) *
                       (double)stk_dtype_bytes(g->values[root].dtype);
        r->clone[root] = -2; /* counted */
        r->reader[maker] = r->saved[maker] ? r->reader[maker] : id;
        r->saved[maker] = 1;
        r->bytes[maker] += bytes;
        total += bytes;
      }
    }
  }
  for (int32_t i = -1; i < g->n_logs; i++) {
    int32_t out[2] = {i < 0 ? g->loss : g->logs[i].value, i < 0 ? -1 : g->logs[i].weight};
    for (int k = 0; k < 2; k++) {
      int32_t maker = out[k] < 0 ? -1 : maker_of(g, out[k]);
      if (maker >= 0) {
        r->pinned[maker] = 1;
      }
    }
  }
  return total;
}

static double walk(struct recompute *r, int32_t node) {
  memset(r->seen, 0, (size_t)r->n_nodes);
  return cost_of(r, node, r->reader[node]);
}

/* Whether everything given up can still be made again. */
static bool all_can_be_made(struct recompute *r) {
  bool ok = true;
  for (int32_t id = 0; id < r->n_nodes && ok; id++) {
    ok = !r->again[id] || isfinite(walk(r, id));
  }
  return ok;
}

/* Gives up the node that frees most bytes per operation; false: none is left. */
static bool give_up_one(struct recompute *r, double *kept) {
  for (;;) {
    int32_t best = -1;
    double best_rate = 0;
    for (int32_t id = 0; id < r->n_nodes; id++) {
      if (r->saved[id] && !r->again[id] && !r->pinned[id]) {
        double rate = r->bytes[id] / walk(r, id);
        best = rate > best_rate ? id : best;
        best_rate = rate > best_rate ? rate : best_rate;
      }
    }
    if (best < 0) {
      return false;
    }
    r->again[best] = 1;
    if (all_can_be_made(r)) {
      *kept -= r->bytes[best];
      return true;
    }
    r->again[best] = 0;
    r->pinned[best] = 1;
  }
}

/* ---- cloning */

static int32_t clone_value(struct recompute *r, int32_t value);

static void *copy_chain(const struct stk_node *n, bool *ok) {
  struct stk_chain_prog *p = n->chain ? sp_alloc(sizeof *p) : NULL;
  if (p) {
    memcpy(p, n->chain, sizeof *p);
  }
  *ok = !n->chain || p;
  return p;
}

/* Appends a copy of a node over cloned inputs and notes the copies of its outputs. */
static void clone_node(struct recompute *r, int32_t node) {
  struct stk_graph *g = r->g;
  struct stk_node n = g->nodes[node];
  struct stk_shape shapes[STK_NODE_OUT];
  stk_dtype dtypes[STK_NODE_OUT];
  for (int32_t k = 0; k < n.n_in; k++) {
    n.in[k] = n.in[k] < 0 ? n.in[k] : clone_value(r, n.in[k]);
  }
  for (int32_t k = 0; k < n.n_out; k++) {
    shapes[k] = g->values[n.out[k]].shape;
    dtypes[k] = g->values[n.out[k]].dtype;
  }
  bool ok = !r->failed;
  if (ok) {
    n.chain = copy_chain(&g->nodes[node], &ok);
  }
  int32_t id = ok ? stk_graph_add(g, &n, shapes, dtypes) : -1;
  r->failed = r->failed || id < 0;
  for (int32_t k = 0; k < n.n_out && !r->failed; k++) {
    r->clone[g->nodes[node].out[k]] = g->nodes[id].out[k];
  }
  if (!r->failed) {
    r->order[r->n_order++] = id;
  }
}

/* The value to read in place of `value` in the backward pass: itself, or its copy, which is made if
 * need be. */
static int32_t clone_value(struct recompute *r, int32_t value) {
  struct stk_graph *g = r->g;
  int32_t node = g->values[value].node;
  if (r->failed || !is_forward(r, node)) {
    return value;
  }
  if (r->clone[value] >= 0) {
    return r->clone[value];
  }
  if (g->values[value].alias >= 0) {
    int32_t of = g->nodes[node].in[0], copy = clone_value(r, of);
    if (copy == of || r->failed) {
      return value;
    }
    int32_t before = g->n_nodes;
    int32_t view = stk_graph_view(g, copy, g->values[value].shape, g->nodes[node].at);
    r->failed = view < 0;
    if (!r->failed) {
      r->clone[value] = view;
      if (g->n_nodes > before) { /* none for the same shape */
        r->order[r->n_order++] = before;
      }
    }
    return r->failed ? value : view;
  }
  if (r->saved[node] && !r->again[node]) {
    return value;
  }
  clone_node(r, node);
  return r->failed ? value : r->clone[value];
}

/* Puts every node into the order noted and mends what points to nodes. */
static sp_status reorder(struct recompute *r, struct sp_err *err) {
  struct stk_graph *g = r->g;
  struct stk_node *nodes = sp_alloc_array((size_t)g->n_nodes + 1, sizeof *nodes);
  int32_t *at = sp_alloc_array((size_t)g->n_nodes + 1, sizeof *at);
  if (!nodes || !at) {
    sp_free(nodes);
    sp_free(at);
    return sp_fail(err, SP_ENOMEM, "no memory to plan recomputation");
  }
  for (int32_t i = 0; i < r->n_order; i++) {
    nodes[i] = g->nodes[r->order[i]];
    at[r->order[i]] = i;
  }
  memcpy(g->nodes, nodes, (size_t)r->n_order * sizeof *nodes);
  for (int32_t v = 0; v < g->n_values; v++) {
    g->values[v].node = g->values[v].node < 0 ? -1 : at[g->values[v].node];
  }
  for (int32_t i = 0; i < g->n_running; i++) {
    g->running_out[i] = g->running_out[i] < 0 ? -1 : at[g->running_out[i]];
  }
  sp_free(nodes);
  sp_free(at);
  return SP_OK;
}

/* Clones what was given up before its first reader in the backward pass. */
static sp_status emit(struct recompute *r, struct sp_err *err) {
  struct stk_graph *g = r->g;
  for (int32_t v = 0; v < g->n_values; v++) {
    r->clone[v] = -1;
  }
  g->in_backward = true;
  for (int32_t id = 0; id < r->n_nodes && !r->failed; id++) {
    for (int32_t k = 0; r->live[id] && g->nodes[id].backward && k < g->nodes[id].n_in; k++) {
      int32_t in = g->nodes[id].in[k];
      int32_t copy = in < 0 ? in : clone_value(r, in);
      g->nodes[id].in[k] = copy; /* cloning may have moved the nodes */
    }
    r->order[r->n_order++] = id;
  }
  g->in_backward = false;
  if (r->failed) {
    return sp_fail(err, g->failed ? g->err.status : SP_ENOMEM, "recomputation: %s",
                   g->failed ? g->err.text : "no memory");
  }
  return reorder(r, err);
}

sp_status stk_pass_recompute(struct stk_graph *g, int64_t budget, struct sp_err *err) {
  const size_t n = (size_t)g->n_nodes + 1, n_values = (size_t)g->n_values + 1;
  struct recompute r = {.g = g, .n_nodes = g->n_nodes, .cheap = budget == STK_RECOMPUTE_CHEAP};
  r.live = sp_alloc_array(5 * n, 1);
  r.bytes = sp_alloc_array(n, sizeof *r.bytes);
  r.clone = sp_alloc_array(n_values, sizeof *r.clone);
  r.order = sp_alloc_array(3 * (n + n_values), sizeof *r.order);
  r.reader = sp_alloc_array(n, sizeof *r.reader);
  sp_status st = SP_OK;
  if (!r.live || !r.bytes || !r.clone || !r.order || !r.reader) {
    st = sp_fail(err, SP_ENOMEM, "no memory to plan recomputation");
  } else {
    r.saved = r.live + n;
    r.pinned = r.live + 2 * n;
    r.again = r.live + 3 * n;
    r.seen = r.live + 4 * n;
    memset(r.clone, 0xff, n_values * sizeof *r.clone);
    memset(r.reader, 0xff, n * sizeof *r.reader);
    int32_t n_backward = 0;
    for (int32_t id = 0; id < g->n_nodes; id++) {
      n_backward += g->nodes[id].backward;
    }
    r.span = SPAN * (int32_t)sqrt((double)n_backward);
    stk_pass_live(g, r.live);
    double kept = find_saved(&r);
    const double keep = (double)(budget < 0 ? 0 : budget);
    bool any = false;
    while (kept > keep && give_up_one(&r, &kept)) {
      any = true;
    }
    st = any ? emit(&r, err) : SP_OK;
  }
  sp_free(r.live);
  sp_free(r.bytes);
  sp_free(r.clone);
  sp_free(r.order);
  sp_free(r.reader);
  return st;
}
