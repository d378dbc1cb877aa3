/* Evaluation: every lane's batches in order, values accumulated per lane in f64, combined in the
 * lane tree. */
#include <stdio.h>
#include <string.h>

#include "engine/trainer/fit.h"
#include "proto/base/mem.h"

static sp_status one_batch(stk_session *s, const struct stk_eval_config *c, int64_t batch,
                           struct stk_acc *acc, const struct stk_graph **graph,
                           struct sp_err *err) {
  int32_t n_lanes = stk_session_config_of(s)->n_lanes;
  for (int32_t lane = 0; lane < n_lanes; lane++) {
    struct stk_loader_at at = {0, lane, batch}, then = {0, lane + 1, batch};
    struct stk_loader_batch b;
    if (then.lane == n_lanes) {
      then = (struct stk_loader_at){0, 0, batch + 1};
    }
    struct stk_profiler *profiler = stk_session_config_of(s)->profiler;
    int64_t start = stk_profile_start(profiler);
    sp_status st = stk_loader_next(c->loader, at, &then, &b, err);
    stk_profile_stop(profiler, STK_ACTION_EVAL_DATA, start);
    if (st) {
      return st;
    }
    if (b.n == 0) {
      continue;
    }
    struct stk_lane_batch lb = {b.x, b.y, b.n, (uint64_t)batch};
    st = stk_session_eval(s, c->stage, lane, &lb, acc + (int64_t)lane * STK_GRAPH_MAX_LOGS, graph,
                          NULL, err);
    if (st) {
      return st;
    }
  }
  return SP_OK;
}

sp_status stk_evaluate(stk_session *s, const struct stk_eval_config *c, struct stk_eval_result *out,
                       struct sp_err *err) {
  int32_t n_lanes = stk_session_config_of(s)->n_lanes;
  struct stk_acc *acc = sp_alloc_array((size_t)n_lanes * STK_GRAPH_MAX_LOGS, sizeof *acc);
  const struct stk_graph *graph = NULL;
  sp_status st = acc ? SP_OK : sp_fail(err, SP_ENOMEM, "no memory to evaluate");
  memset(out, 0, sizeof *out);
  for (int64_t b = 0; b < c->n_batches && !st && !out->stopped; b++) {
    st = one_batch(s, c, b, acc, &graph, err);
    if (!st && c->host->progress) {
      struct stk_progress p = {.stage = c->stage,
                               .sanity = c->sanity,
                               .batch = b + 1,
                               .n_batches = c->n_batches,
                               .epoch = stk_session_state(s)->now->epoch,
                               .global_step = stk_session_state(s)->now->global_step};
      c->host->progress(c->host->ctx, &p, 0, NULL, NULL);
    }
    out->stopped = c->host->stop_asked && c->host->stop_asked(c->host->ctx) && b + 1 < c->n_batches;
  }
  for (int32_t i = 0; graph && !st && i < graph->n_logs; i++) {
    const struct stk_log_entry *e = &graph->logs[i];
    snprintf(out->names[out->n], sizeof out->names[0], "%s", e->name);
    out->values[out->n++] = stk_acc_value(e, acc, i, n_lanes);
  }
  sp_free(acc);
  if (!st && !out->stopped && c->host->evaluated) {
    const char *names[STK_GRAPH_MAX_LOGS];
    for (int32_t i = 0; i < out->n; i++) {
      names[i] = out->names[i];
    }
    c->host->evaluated(c->host->ctx, c->stage, c->sanity, c->n_batches, out->n, names, out->values);
  }
  return st;
}
