/* The text dump of a graph, and its hash. */
#include <stdio.h>
#include <string.h>

#include <stoker/custom.h>

#include "engine/graph/graph.h"
#include "engine/ops/chain.h"
#include "engine/ops/ops.h"
#include "proto/base/mem.h"

struct text {
  char *p;
  size_t n, cap;
  bool failed;
};

static void put(struct text *t, const char *s) {
  size_t len = strlen(s);
  if (t->n + len + 1 > t->cap) {
    size_t cap = (t->n + len + 1) * 2;
    char *p = t->failed ? NULL : sp_resize_array(t->p, cap, 1);
    if (!p) {
      t->failed = true;
      return;
    }
    t->p = p;
    t->cap = cap;
  }
  memcpy(t->p + t->n, s, len + 1);
  t->n += len;
}

static const char *dtype_text(stk_dtype d) {
  static const char *const names[] = {"f32", "f64", "i32", "u8", "u16", "u32"};
  return names[d];
}

static void put_value(struct text *t, const struct stk_graph *g, int32_t id) {
  char buf[160], shape[96];
  const struct stk_value *v = &g->values[id];
  static const char *const roles[] = {"", " x", " y", " param", " running", " host"};
  stk_shape_text(&v->shape, shape, sizeof shape);
  if (v->role == STK_ROLE_ACT) {
    snprintf(buf, sizeof buf, "%%%d %s%s", (int)id, dtype_text(v->dtype), shape);
  } else {
    snprintf(buf, sizeof buf, "%%%d %s%s%s%d", (int)id, dtype_text(v->dtype), shape, roles[v->role],
             (int)v->index);
  }
  put(t, buf);
}

static void put_node(struct text *t, const struct stk_graph *g, int32_t id) {
  const struct stk_node *n = &g->nodes[id];
  char buf[64];
  put(t, n->backward ? "b " : "f ");
  for (int32_t k = 0; k < n->n_out; k++) {
    put(t, k ? ", " : "");
    put_value(t, g, n->out[k]);
  }
  put(t, " = ");
  put(t, stk_op_text(n->op));
  if (n->custom) {
    put(t, " ");
    put(t, n->custom->name);
  }
  for (int32_t k = 0; k < n->n_in; k++) {
    snprintf(buf, sizeof buf, n->in[k] < 0 ? " -" : " %%%d", (int)n->in[k]);
    put(t, buf);
  }
  for (int32_t k = 0; k < STK_ATTR_I; k++) {
    if (n->i[k]) {
      snprintf(buf, sizeof buf, " i%d=%lld", (int)k, (long long)n->i[k]);
      put(t, buf);
    }
  }
  for (int32_t k = 0; k < STK_ATTR_F; k++) {
    if (n->f[k] != 0.0) {
      snprintf(buf, sizeof buf, " f%d=%.17g", (int)k, n->f[k]);
      put(t, buf);
    }
  }
  if (n->chain) {
    char prog[1024];
    put(t, " {");
    put(t, stk_chain_text(n->chain, prog, sizeof prog));
    put(t, "}");
  }
  put(t, "\n");
}

char *stk_graph_dump(const struct stk_graph *g) {
  struct text t = {0};
  char buf[160];
  put(&t, "");
  for (int32_t i = 0; i < g->n_values; i++) {
    if (g->values[i].node < 0) {
      put(&t, "  ");
      put_value(&t, g, i);
      put(&t, "\n");
    }
  }
  for (int32_t i = 0; i < g->n_nodes; i++) {
    put_node(&t, g, i);
  }
  for (int32_t i = 0; i < g->n_params; i++) {
    if (g->param_grad[i] >= 0) {
      snprintf(buf, sizeof buf, "grad param%d = %%%d\n", (int)i, (int)g->param_grad[i]);
      put(&t, buf);
    }
  }
  for (int32_t i = 0; i < g->n_logs; i++) {
    snprintf(buf, sizeof buf, "log %s = %%%d flags=%u\n", g->logs[i].name, (int)g->logs[i].value,
             g->logs[i].flags);
    put(&t, buf);
  }
  if (g->loss >= 0) {
    snprintf(buf, sizeof buf, "result = %%%d\n", (int)g->loss);
    put(&t, buf);
  }
  if (t.failed) {
    sp_free(t.p);
    return NULL;
  }
  return t.p;
}

static uint64_t fnv(uint64_t h, const void *p, size_t n) {
  const uint8_t *b = p;
  for (size_t i = 0; i < n; i++) {
    h = (h ^ b[i]) * 0x100000001b3u;
  }
  return h;
}

static uint64_t hash_value(uint64_t h, const struct stk_value *v) {
  int64_t head[5] = {v->shape.rank, (int64_t)v->dtype, (int64_t)v->role, v->index, v->node};
  h = fnv(h, head, sizeof head);
  return fnv(h, v->shape.dim, (size_t)v->shape.rank * sizeof v->shape.dim[0]);
}

uint64_t stk_graph_hash(const struct stk_graph *g) {
  uint64_t h = 0xcbf29ce484222325u;
  for (int32_t i = 0; i < g->n_values; i++) {
    h = hash_value(h, &g->values[i]);
  }
  for (int32_t i = 0; i < g->n_nodes; i++) {
    const struct stk_node *n = &g->nodes[i];
    h = fnv(h, &n->op, sizeof n->op);
    h = fnv(h, n->in, (size_t)n->n_in * sizeof n->in[0]);
    h = fnv(h, n->out, (size_t)n->n_out * sizeof n->out[0]);
    h = fnv(h, n->i, sizeof n->i);
    h = fnv(h, n->f, sizeof n->f);
    if (n->custom) {
      h = fnv(h, n->custom->name, strlen(n->custom->name));
    }
    if (n->chain) {
      char prog[1024];
      stk_chain_text(n->chain, prog, sizeof prog);
      h = fnv(h, prog, strlen(prog));
    }
  }
  for (int32_t i = 0; i < g->n_logs; i++) {
    h = fnv(h, g->logs[i].name, strlen(g->logs[i].name));
    h = fnv(h, &g->logs[i].value, sizeof g->logs[i].value);
  }
  return fnv(h, &g->loss, sizeof g->loss);
}
