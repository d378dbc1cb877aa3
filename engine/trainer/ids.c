/* From where ids are used back to where they come from. See ids.h. */
#include "engine/trainer/ids.h"

#include "engine/ops/ops.h"

static void lower_to(int64_t *limit, int64_t n) {
  *limit = *limit == 0 || n < *limit ? n : *limit;
}

/* Integers come from the batch, from an argmax (below the length of its axis), or through nodes
 * that only move them. */
static sp_status trace_back(const struct stk_graph *g, int32_t value, int64_t n,
                            const struct stk_node *user, int64_t *x, int64_t *y,
                            struct sp_err *err) {
  const struct stk_value *v = &g->values[stk_graph_storage(g, value)];
  if (v->role == STK_ROLE_X || v->role == STK_ROLE_Y) {
    lower_to(v->role == STK_ROLE_X ? x : y, n);
    return SP_OK;
  }
  const struct stk_node *from = v->node >= 0 ? &g->nodes[v->node] : NULL;
  const struct stk_shape *in = from && from->n_in > 0 ? &g->values[from->in[0]].shape : NULL;
  if (from && from->op == STK_OP_ARGMAX && in->dim[in->rank - 1] <= n) {
    return SP_OK;
  }
  if (!from || from->op == STK_OP_ARGMAX || from->op == STK_OP_POOL) {
    return sp_fail(err, SP_EMODULE, "%s:%d: %s takes ids below %lld; these may be larger",
                   user->at.file ? user->at.file : "?", user->at.line, stk_op_text(user->op),
                   (long long)n);
  }
  sp_status st = SP_OK;
  for (int32_t i = 0; i < from->n_in && !st; i++) {
    if (from->in[i] >= 0 && g->values[from->in[i]].dtype == STK_I32) {
      st = trace_back(g, from->in[i], n, user, x, y, err);
    }
  }
  return st;
}

sp_status stk_ids_limits(const struct stk_graph *g, int64_t *x_limit, int64_t *y_limit,
                         struct sp_err *err) {
  sp_status st = SP_OK;
  for (int32_t i = 0; i < g->n_nodes && !st; i++) {
    const struct stk_node *n = &g->nodes[i];
    if (n->op == STK_OP_EMBEDDING) {
      st = trace_back(g, n->in[0], g->values[n->in[1]].shape.dim[0], n, x_limit, y_limit, err);
    } else if (n->op == STK_OP_XENT) {
      const struct stk_shape *s = &g->values[n->in[0]].shape;
      st = trace_back(g, n->in[1], s->dim[s->rank - 1], n, x_limit, y_limit, err);
    }
  }
  return st;
}
