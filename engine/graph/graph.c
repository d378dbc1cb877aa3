/* Growing a graph: values, nodes, leaves, the first error. See graph.h for the invariants. */
#include "engine/graph/graph.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/ops/ops.h"
#include "proto/base/mem.h"

static int32_t *new_ids(int32_t n) {
  int32_t *ids = sp_alloc_array((size_t)(n > 0 ? n : 1), sizeof *ids);
  for (int32_t i = 0; ids && i < n; i++) {
    ids[i] = -1;
  }
  return ids;
}

sp_status stk_graph_new(const struct stk_graph_spec *spec, struct stk_graph **out_g,
                        struct sp_err *err) {
  struct stk_graph *g = sp_alloc(sizeof *g);
  if (!g) {
    return sp_fail(err, SP_ENOMEM, "no memory for a graph");
  }
  g->stage = spec->stage;
  g->real = spec->real;
  g->params = spec->params;
  g->n_params = spec->n_params;
  g->running = spec->running;
  g->n_running = spec->n_running;
  g->x = g->y = g->loss = -1;
  g->param_value = new_ids(spec->n_params);
  g->param_grad = new_ids(spec->n_params);
  g->running_in = new_ids(spec->n_running);
  g->running_out = new_ids(spec->n_running);
  if (!g->param_value || !g->param_grad || !g->running_in || !g->running_out) {
    stk_graph_free(g);
    return sp_fail(err, SP_ENOMEM, "no memory for a graph");
  }
  *out_g = g;
  return SP_OK;
}

void stk_graph_free(struct stk_graph *g) {
  if (!g) {
    return;
  }
  for (int32_t i = 0; i < g->n_nodes; i++) {
    sp_free(g->nodes[i].chain);
  }
  sp_free(g->nodes);
  sp_free(g->values);
  sp_free(g->param_value);
  sp_free(g->param_grad);
  sp_free(g->running_in);
  sp_free(g->running_out);
  sp_free(g);
}

int32_t stk_graph_fail(struct stk_graph *g, stk_loc at, const char *fmt, ...) {
  if (!g->failed) {
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    g->failed = true;
    sp_fail(&g->err, SP_EINVAL, "%s:%d: %s", at.file ? at.file : "?", at.line, text);
  }
  return -1;
}

static int32_t out_of_memory(struct stk_graph *g, stk_loc at) {
  stk_graph_fail(g, at, "out of memory while building the graph");
  g->err.status = SP_ENOMEM;
  return -1;
}

static int32_t value_add(struct stk_graph *g, const struct stk_value *v, stk_loc at) {
  if (g->n_values == g->cap_values) {
    int32_t cap = g->cap_values ? g->cap_values * 2 : 64;
    struct stk_value *p = sp_resize_array(g->values, (size_t)cap, sizeof *p);
    if (!p) {
      return out_of_memory(g, at);
    }
    g->values = p;
    g->cap_values = cap;
  }
  g->values[g->n_values] = *v;
  return g->n_values++;
}

int32_t stk_graph_leaf(struct stk_graph *g, stk_role role, int32_t index, stk_dtype dtype,
                       const struct stk_shape *shape) {
  if (g->failed) {
    return -1;
  }
  struct stk_value v = {
      .shape = *shape, .dtype = dtype, .role = role, .index = index, .node = -1, .alias = -1};
  v.requires_grad = role == STK_ROLE_PARAM && g->params[index].trainable;
  return value_add(g, &v, (stk_loc){"graph", 0});
}

int32_t stk_graph_param(struct stk_graph *g, int32_t index) {
  assert(index >= 0 && index < g->n_params);
  if (g->param_value[index] < 0) {
    g->param_value[index] =
        stk_graph_leaf(g, STK_ROLE_PARAM, index, g->real, &g->params[index].shape);
  }
  return g->param_value[index];
}

int32_t stk_graph_running(struct stk_graph *g, int32_t index) {
  assert(index >= 0 && index < g->n_running);
  if (g->running_in[index] < 0) {
    g->running_in[index] =
        stk_graph_leaf(g, STK_ROLE_RUNNING, index, g->real, &g->running[index].shape);
  }
  return g->running_in[index];
}

static bool node_room(struct stk_graph *g, stk_loc at) {
  if (g->n_nodes < g->cap_nodes) {
    return true;
  }
  if (g->n_nodes >= STK_GRAPH_MAX_NODES) {
    stk_graph_fail(g, at, "the graph has more than %d nodes", STK_GRAPH_MAX_NODES);
    return false;
  }
  int32_t cap = g->cap_nodes ? g->cap_nodes * 2 : 64;
  struct stk_node *p = sp_resize_array(g->nodes, (size_t)cap, sizeof *p);
  if (!p) {
    out_of_memory(g, at);
    return false;
  }
  g->nodes = p;
  g->cap_nodes = cap;
  return true;
}

int32_t stk_graph_add(struct stk_graph *g, const struct stk_node *node,
                      const struct stk_shape *shapes, const stk_dtype *dtypes) {
  if (g->failed || !node_room(g, node->at)) {
    sp_free(node->chain);
    return -1;
  }
  struct stk_node n = *node;
  int32_t id = g->n_nodes;
  bool grad = false;
  for (int32_t k = 0; k < n.n_in; k++) {
    assert(n.in[k] >= -1 && n.in[k] < g->n_values);
    grad = grad || (n.in[k] >= 0 && g->values[n.in[k]].requires_grad);
  }
  n.backward = g->in_backward;
  for (int32_t k = 0; k < n.n_out; k++) {
    struct stk_value v = {.shape = shapes[k],
                          .dtype = dtypes[k],
                          .role = STK_ROLE_ACT,
                          .node = id,
                          .out = k,
                          .alias = -1};
    v.requires_grad =
        grad && stk_ops[n.op]->grad != NULL && (dtypes[k] == STK_F32 || dtypes[k] == STK_F64);
    if (stk_shape_numel(&v.shape) <= 0) {
      sp_free(node->chain);
      return stk_graph_fail(g, n.at, "%s would make an empty tensor", stk_op_text(n.op));
    }
    n.out[k] = value_add(g, &v, n.at);
    if (n.out[k] < 0) {
      sp_free(node->chain);
      return -1;
    }
  }
  g->nodes[g->n_nodes++] = n;
  return id;
}

int32_t stk_graph_add1(struct stk_graph *g, const struct stk_node *node, struct stk_shape shape,
                       stk_dtype dtype) {
  struct stk_node n = *node;
  n.n_out = 1;
  int32_t id = stk_graph_add(g, &n, &shape, &dtype);
  return id < 0 ? -1 : g->nodes[id].out[0];
}

int32_t stk_graph_view(struct stk_graph *g, int32_t value, struct stk_shape shape, stk_loc at) {
  if (g->failed || value < 0) {
    return -1;
  }
  if (stk_shape_equal(&g->values[value].shape, &shape)) {
    return value;
  }
  assert(stk_shape_numel(&g->values[value].shape) == stk_shape_numel(&shape));
  struct stk_node n = {.op = STK_OP_VIEW, .n_in = 1, .in = {value}, .at = at};
  int32_t v = stk_graph_add1(g, &n, shape, g->values[value].dtype);
  if (v >= 0) {
    g->values[v].alias = value;
  }
  return v;
}

int64_t stk_shape_numel(const struct stk_shape *s) {
  int64_t n = 1;
  for (int32_t i = 0; i < s->rank; i++) {
    if (s->dim[i] < 0 || __builtin_mul_overflow(n, s->dim[i], &n) || n > ((int64_t)1 << 48)) {
      return -1;
    }
  }
  return n;
}

bool stk_shape_equal(const struct stk_shape *a, const struct stk_shape *b) {
  return a->rank == b->rank && memcmp(a->dim, b->dim, (size_t)a->rank * sizeof a->dim[0]) == 0;
}

struct stk_shape stk_shape_make(int32_t rank, const int64_t *dims) {
  struct stk_shape s = {.rank = rank};
  for (int32_t i = 0; i < rank && i < STK_MAX_RANK; i++) {
    s.dim[i] = dims[i];
  }
  return s;
}

size_t stk_dtype_bytes(stk_dtype t) {
  switch (t) {
    case STK_F64:
      return 8;
    case STK_U8:
      return 1;
    case STK_U16:
      return 2;
    case STK_F32:
    case STK_I32:
    case STK_U32:
      break;
  }
  return 4;
}

char *stk_shape_text(const struct stk_shape *s, char *buf, size_t cap) {
  size_t at = (size_t)snprintf(buf, cap, "(");
  for (int32_t i = 0; i < s->rank && at < cap; i++) {
    at += (size_t)snprintf(buf + at, cap - at, i ? ", %lld" : "%lld", (long long)s->dim[i]);
  }
  if (at < cap) {
    snprintf(buf + at, cap - at, ")");
  }
  return buf;
}

int32_t stk_graph_storage(const struct stk_graph *g, int32_t value) {
  while (g->values[value].alias >= 0) {
    value = g->values[value].alias;
  }
  return value;
}

int32_t stk_axis(int32_t rank, int32_t axis) {
  int32_t a = axis < 0 ? axis + rank : axis;
  return a >= 0 && a < rank ? a : -1;
}

bool stk_symbols_ok(stk_loc at, const char *what, int32_t n, const stk_t *xs) {
  struct stk_graph *g = NULL;
  for (int32_t i = 0; i < n; i++) {
    g = xs[i].g ? xs[i].g : g;
  }
  if (!g || g->failed) {
    return false;
  }
  for (int32_t i = 0; i < n; i++) {
    if (xs[i].g != g || xs[i].id < 0 || xs[i].id >= g->n_values) {
      stk_graph_fail(g, at,
                     "%s: input %d is not a tensor of this step (a NULL layer, a missing y, or "
                     "another graph's)",
                     what, (int)i);
      return false;
    }
  }
  return true;
}

int32_t stk_rank(stk_t x) {
  return x.g && x.id >= 0 ? x.g->values[x.id].shape.rank : -1;
}

int64_t stk_dim(stk_t x, int32_t axis) {
  int32_t a = x.g && x.id >= 0 ? stk_axis(x.g->values[x.id].shape.rank, axis) : -1;
  return a < 0 ? -1 : x.g->values[x.id].shape.dim[a];
}

int64_t stk_numel(stk_t x) {
  return x.g && x.id >= 0 ? stk_shape_numel(&x.g->values[x.id].shape) : -1;
}

stk_t stk_none(void) {
  stk_t t = {NULL, -1};
  return t;
}

stk_stage stk_stage_of(stk_t x) {
  return x.g ? x.g->stage : STK_TRAIN;
}

stk_t stk_trace_fail_at(stk_graph *g, stk_loc at, const char *fmt, ...) {
  char text[512];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  return stk_symbol(g, stk_graph_fail(g, at, "%s", text));
}

stk_t stk_host_scalar_at(stk_graph *g, const char *name, double initial, stk_loc at) {
  if (!g || g->failed) {
    return stk_symbol(g, -1);
  }
  struct stk_shape s = {0};
  if (!name || strlen(name) >= sizeof g->hosts[0].name) {
    return stk_symbol(g, stk_graph_fail(g, at, "a host scalar needs a name of at most 63 bytes"));
  }
  for (int32_t i = 0; i < g->n_hosts; i++) {
    if (strcmp(g->hosts[i].name, name) == 0) {
      return stk_symbol(g, stk_graph_leaf(g, STK_ROLE_HOST, i, g->real, &s));
    }
  }
  if (g->n_hosts == STK_GRAPH_MAX_HOST) {
    return stk_symbol(g, stk_graph_fail(g, at, "more than %d host scalars", STK_GRAPH_MAX_HOST));
  }
  struct stk_host_scalar *h = &g->hosts[g->n_hosts];
  memcpy(h->name, name, strlen(name) + 1);
  h->initial = initial;
  return stk_symbol(g, stk_graph_leaf(g, STK_ROLE_HOST, g->n_hosts++, g->real, &s));
}
