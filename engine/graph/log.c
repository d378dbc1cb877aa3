/* stk_log and the metrics: a step function names scalars; the trainer accumulates them per lane in
 * f64. */
#include <string.h>

#include "engine/graph/graph.h"
#include "engine/ops/ops.h"

static void log_add(struct stk_graph *g, const char *name, int32_t value, int32_t weight,
                    uint32_t flags, bool is_exp, stk_loc at) {
  if (value < 0 || g->failed) {
    return;
  }
  if (!name || !*name || strlen(name) >= sizeof g->logs[0].name) {
    stk_graph_fail(g, at, "a logged name has 1 to 63 bytes");
    return;
  }
  if (g->stage == STK_PREDICT) {
    stk_graph_fail(g, at, "nothing can be logged in predict_step");
    return;
  }
  if (stk_shape_numel(&g->values[value].shape) != 1) {
    stk_graph_fail(g, at, "'%s' is not a scalar; take its mean or sum first", name);
    return;
  }
  for (int32_t i = 0; i < g->n_logs; i++) {
    if (strcmp(g->logs[i].name, name) == 0) {
      stk_graph_fail(g, at, "'%s' is logged twice in one step function", name);
      return;
    }
  }
  if (g->n_logs == STK_GRAPH_MAX_LOGS) {
    stk_graph_fail(g, at, "more than %d logged names", STK_GRAPH_MAX_LOGS);
    return;
  }
  if (!(flags & (STK_ON_STEP | STK_ON_EPOCH))) {
    flags |= g->stage == STK_TRAIN ? STK_ON_STEP : STK_ON_EPOCH;
  }
  struct stk_log_entry *e = &g->logs[g->n_logs++];
  memcpy(e->name, name, strlen(name) + 1);
  e->value = value;
  e->weight = weight;
  e->flags = flags;
  e->exp = is_exp;
}

void stk_log_at(const char *name, stk_t x, uint32_t flags, stk_loc at) {
  if (stk_symbols_ok(at, "stk_log", 1, &x)) {
    log_add(x.g, name, x.id, -1, flags, false, at);
  }
}

void stk_log_perplexity_at(const char *name, stk_t loss, uint32_t flags, stk_loc at) {
  if (stk_symbols_ok(at, "stk_log_perplexity", 1, &loss)) {
    log_add(loss.g, name, loss.id, -1, flags, true, at);
  }
}

void stk_log_accuracy_at(const char *name, stk_t logits, stk_t target, uint32_t flags, stk_loc at) {
  stk_t in[2] = {logits, target};
  if (!stk_symbols_ok(at, "stk_log_accuracy", 2, in)) {
    return;
  }
  struct stk_graph *g = logits.g;
  stk_t best = stk_argmax_at(logits, at);
  if (best.id < 0) {
    return;
  }
  if (g->values[target.id].dtype != STK_I32 ||
      !stk_shape_equal(&g->values[best.id].shape, &g->values[target.id].shape)) {
    char a[96], b[96];
    stk_graph_fail(g, at,
                   "stk_log_accuracy: logits of shape %s need i32 targets of the shape without its "
                   "last dim, not %s",
                   stk_shape_text(&g->values[logits.id].shape, a, sizeof a),
                   stk_shape_text(&g->values[target.id].shape, b, sizeof b));
    return;
  }
  struct stk_node n = {
      .op = STK_OP_MATCH, .n_in = 2, .in = {best.id, target.id}, .n_out = 2, .at = at};
  struct stk_shape scalar[2] = {{0}, {0}};
  stk_dtype types[2] = {g->real, g->real};
  int32_t id = stk_graph_add(g, &n, scalar, types);
  if (id >= 0) {
    log_add(g, name, g->nodes[id].out[0], g->nodes[id].out[1], flags, false, at);
  }
}
