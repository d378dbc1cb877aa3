/* The graph: values and nodes in SSA form, in creation order, which is also a topological order.
 *
 * A value has a shape, an element type and a role that says where its bytes live; a node computes
 * up to three values from up to eight. Trace functions build the forward part through the public
 * API (stoker/graph.h), autodiff appends the backward part, passes rewrite it, the plan lowers it.
 * Everything is owned by the graph and freed with it. One thread.
 *
 * 1. Every node's inputs have smaller ids than its outputs.
 * 2. After the first error (graph.err) nothing is added; public calls return error symbols.
 * 3. Values with `alias` >= 0 have no bytes of their own: they are another value's, reshaped.
 */
#ifndef STK_GRAPH_GRAPH_H
#define STK_GRAPH_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <stoker/graph.h>

#include "proto/base/status.h"

struct stk_shape {
  int32_t rank;
  int64_t dim[STK_MAX_RANK];
};

/* Where a value's bytes live. The plan gives ACT values their place; the others are given at bind
 * time. */
typedef enum stk_role {
  STK_ROLE_ACT,     /* the activation arena */
  STK_ROLE_X,       /* the batch's x */
  STK_ROLE_Y,       /* the batch's y */
  STK_ROLE_PARAM,   /* index: parameter; the slot that is read */
  STK_ROLE_RUNNING, /* index: running statistic; the copy that is read */
  STK_ROLE_HOST     /* index: host scalar */
} stk_role;

struct stk_value {
  struct stk_shape shape;
  stk_dtype dtype;
  stk_role role;
  int32_t index; /* of the role */
  int32_t node;  /* producer; -1 for leaves */
  int32_t out;   /* which of its outputs */
  int32_t alias; /* value whose bytes these are, or -1 */
  bool requires_grad;
};

enum { STK_NODE_IN = STK_MAX_INPUTS, STK_NODE_OUT = 3, STK_ATTR_I = 14, STK_ATTR_F = 3 };

struct stk_node {
  int32_t op; /* enum stk_op, engine/ops/ops.h */
  int32_t n_in, n_out;
  int32_t in[STK_NODE_IN]; /* -1: optional input absent */
  int32_t out[STK_NODE_OUT];
  int64_t i[STK_ATTR_I]; /* attributes; each op's file says which is which */
  double f[STK_ATTR_F];
  void *chain;                        /* STK_OP_CHAIN: its program (owned) */
  const struct stk_custom_op *custom; /* STK_OP_CUSTOM: its table (the module's) */
  bool backward;
  stk_loc at;
};

/* One logged scalar or metric: value times weight is accumulated per batch in f64. */
struct stk_log_entry {
  char name[64];
  int32_t value;  /* scalar */
  int32_t weight; /* value id of a scalar weight, or -1: the batch's sample count */
  uint32_t flags;
  bool exp; /* perplexity: exp of the mean */
};

struct stk_host_scalar {
  char name[64];
  double initial;
};

/* What the graph may use of its module: parameters and running statistics by index. */
struct stk_leaf {
  struct stk_shape shape;
  bool trainable;
};

enum { STK_GRAPH_MAX_NODES = 1 << 20, STK_GRAPH_MAX_LOGS = 64, STK_GRAPH_MAX_HOST = 32 };

struct stk_graph {
  struct stk_value *values;
  int32_t n_values, cap_values;
  struct stk_node *nodes;
  int32_t n_nodes, cap_nodes;
  struct stk_log_entry logs[STK_GRAPH_MAX_LOGS];
  int32_t n_logs;
  struct stk_host_scalar hosts[STK_GRAPH_MAX_HOST];
  int32_t n_hosts;
  const struct stk_leaf *params; /* borrowed */
  int32_t n_params;
  const struct stk_leaf *running; /* borrowed */
  int32_t n_running;
  int32_t *param_value; /* value id of each parameter, -1 while unused */
  int32_t *running_in;  /* value id of each running statistic, -1 while unused */
  int32_t *running_out; /* node that updates it, -1: none */
  int32_t *param_grad;  /* after autodiff: value id of each parameter's gradient, -1: none */
  int32_t x, y;         /* batch leaves, -1: none */
  int32_t loss;         /* training: scalar; predict: the result; -1: none */
  stk_stage stage;
  stk_dtype real; /* STK_F32 or STK_F64 */
  int64_t batch;
  uint32_t n_random; /* ordinals given to random ops */
  uint64_t identity; /* stk_graph_hash before the passes that change no result; 0: not taken yet */
  bool in_backward;
  struct sp_err err;
  bool failed;
};

struct stk_graph_spec {
  stk_stage stage;
  stk_dtype real;
  const struct stk_leaf *params;
  int32_t n_params;
  const struct stk_leaf *running;
  int32_t n_running;
};

SP_NODISCARD sp_status stk_graph_new(const struct stk_graph_spec *spec, struct stk_graph **out_g,
                                     struct sp_err *err);
void stk_graph_free(struct stk_graph *g);

/* ---- building, for ops, autodiff and passes. Ids are negative after an error. */

/* A leaf of a role. */
int32_t stk_graph_leaf(struct stk_graph *g, stk_role role, int32_t index, stk_dtype dtype,
                       const struct stk_shape *shape);
int32_t stk_graph_param(struct stk_graph *g, int32_t index);
int32_t stk_graph_running(struct stk_graph *g, int32_t index);

/* Appends a node: its inputs are checked to exist, `node->out` is filled with n_out new values of
 * the given shapes and types. requires_grad of the outputs: any input has it (and the op is
 * differentiable). Returns the node id. */
int32_t stk_graph_add(struct stk_graph *g, const struct stk_node *node,
                      const struct stk_shape *shapes, const stk_dtype *dtypes);
/* One output; returns the value id. */
int32_t stk_graph_add1(struct stk_graph *g, const struct stk_node *node, struct stk_shape shape,
                       stk_dtype dtype);
/* A reshaped view of a value. */
int32_t stk_graph_view(struct stk_graph *g, int32_t value, struct stk_shape shape, stk_loc at);

/* Records the first error with the user's file and line; returns -1. */
int32_t stk_graph_fail(struct stk_graph *g, stk_loc at, const char *fmt, ...) SP_PRINTF(3, 4);

/* ---- asking */
static inline stk_t stk_symbol(struct stk_graph *g, int32_t id) {
  stk_t t = {g, id};
  return t;
}
int64_t stk_shape_numel(const struct stk_shape *s);
bool stk_shape_equal(const struct stk_shape *a, const struct stk_shape *b);
struct stk_shape stk_shape_make(int32_t rank, const int64_t *dims);
size_t stk_dtype_bytes(stk_dtype t);
/* Text as "(64, 784)" into buf; returns buf. */
char *stk_shape_text(const struct stk_shape *s, char *buf, size_t cap);
/* The value whose bytes `value` uses: follows alias. */
int32_t stk_graph_storage(const struct stk_graph *g, int32_t value);
/* Normalises an axis (negative counts from the end); -1 if out of range. */
int32_t stk_axis(int32_t rank, int32_t axis);
/* True when all symbols are good and of one graph; else the first error is recorded. */
bool stk_symbols_ok(stk_loc at, const char *what, int32_t n, const stk_t *xs);

/* The dump: one line per node, stable, golden-tested. Text is allocated with sp_alloc; NULL when
 * out of memory. */
char *stk_graph_dump(const struct stk_graph *g);
/* FNV-1a of everything that decides results: ops, attributes, shapes, roles, names of logs; not
 * file and line. */
uint64_t stk_graph_hash(const struct stk_graph *g);

#endif
