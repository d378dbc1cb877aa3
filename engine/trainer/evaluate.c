/* Evaluation: every lane's batches in order, values accumulated per lane in f64, combined in the
 * lane tree. What a step function logs per step goes out batch by batch, the rest at the end. */
#include <stdio.h>
#include <string.h>

#include "engine/trainer/fit.h"
#include "engine/trainer/run.h"
#include "proto/base/mem.h"

struct eval {
  stk_session *s;
  const struct stk_eval_config *c;
  int32_t n_lanes;
  struct stk_acc *all, *one; /* [n_lanes][STK_GRAPH_MAX_LOGS]: of all batches, of this one */
  struct stk_log_names *names;
  int64_t batch; /* in progress */
};

static sp_status next_batch(void *ctx, int32_t lane, int64_t micro, struct stk_lane_batch *out,
                            struct sp_err *err) {
  struct eval *v = ctx;
  struct stk_loader_at at = {0, lane, v->batch}, then = {0, lane + 1, v->batch};
  struct stk_loader_batch b;
  int32_t lo, hi;
  (void)micro;
  stk_session_lanes(v->s, &lo, &hi);
  if (then.lane == hi) {
    then = (struct stk_loader_at){0, lo, v->batch + 1};
  }
  struct stk_profiler *profiler = stk_session_config_of(v->s)->profiler;
  int64_t start = stk_profile_start(profiler);
  sp_status st = stk_loader_next(v->c->loader, at, &then, &b, err);
  stk_profile_stop(profiler, STK_ACTION_EVAL_DATA, start);
  if (!st) {
    *out = (struct stk_lane_batch){b.x, b.y, b.n, (uint64_t)v->batch};
  }
  return st;
}

static sp_status run_batch(struct eval *v, int64_t batch, const struct stk_graph **graph,
                           struct sp_err *err) {
  memset(v->one, 0, sizeof *v->one * STK_GRAPH_MAX_LOGS * (size_t)v->n_lanes);
  v->batch = batch;
  sp_status st =
      stk_session_eval_batch(v->s, v->c->stage, batch, next_batch, v, v->one, graph, err);
  if (st) {
    return st;
  }
  for (int32_t i = 0; *graph && i < v->n_lanes * STK_GRAPH_MAX_LOGS; i++) {
    int32_t entry = i % STK_GRAPH_MAX_LOGS;
    if (entry < (*graph)->n_logs) {
      v->all[i] = stk_acc_join(&(*graph)->logs[entry], v->all[i], v->one[i]);
    }
  }
  return SP_OK;
}

/* The rows of one batch: what is logged per step. */
static void log_step(struct eval *v, const struct stk_graph *g, int64_t batch) {
  const struct stk_host *h = v->c->host;
  const char *names[STK_GRAPH_MAX_LOGS + 1];
  double values[STK_GRAPH_MAX_LOGS + 1];
  int32_t n = 0;
  if (!g || v->c->sanity || !h->metrics) {
    return;
  }
  for (int32_t i = 0; i < g->n_logs; i++) {
    if ((g->logs[i].flags & STK_ON_STEP) && !(g->logs[i].flags & STK_NO_LOGGER)) {
      names[n] = v->names->of[i].step;
      values[n++] = stk_acc_value(&g->logs[i], v->one, i, v->n_lanes);
    }
  }
  if (n > 0) {
    names[n] = "epoch";
    values[n++] = (double)stk_session_state(v->s)->now->epoch;
    h->metrics(h->ctx, v->c->first_row + batch, n, names, values);
  }
}

static sp_status run_all(struct eval *v, const struct stk_graph **graph,
                         struct stk_eval_result *out, struct sp_err *err) {
  const struct stk_eval_config *c = v->c;
  for (int64_t b = 0; b < c->n_batches && !out->stopped; b++) {
    sp_status st = run_batch(v, b, graph, err);
    if (st) {
      return st;
    }
    if (*graph && v->names->graph != *graph) {
      stk_log_names_prepare(v->names, *graph);
    }
    log_step(v, *graph, b);
    if (c->host->progress) {
      struct stk_progress p = {.stage = c->stage,
                               .sanity = c->sanity,
                               .batch = b + 1,
                               .n_batches = c->n_batches,
                               .epoch = stk_session_state(v->s)->now->epoch,
                               .global_step = stk_session_state(v->s)->now->global_step};
      c->host->progress(c->host->ctx, &p, 0, NULL, NULL);
    }
    out->stopped = c->host->asked && c->host->asked(c->host->ctx) && b + 1 < c->n_batches;
  }
  return SP_OK;
}

static void tell(const struct eval *v, struct stk_eval_result *out) {
  const struct stk_host *h = v->c->host;
  const char *names[STK_GRAPH_MAX_LOGS];
  for (int32_t i = 0; i < out->n; i++) {
    names[i] = out->names[i];
  }
  if (h->evaluated) {
    h->evaluated(h->ctx, v->c->stage, v->c->sanity, v->c->n_batches, out->n, names, out->values);
  }
}

sp_status stk_evaluate(stk_session *s, const struct stk_eval_config *c, struct stk_eval_result *out,
                       struct sp_err *err) {
  struct eval v = {.s = s, .c = c, .n_lanes = stk_session_config_of(s)->n_lanes};
  const struct stk_graph *graph = NULL;
  v.all = sp_alloc_array((size_t)v.n_lanes * STK_GRAPH_MAX_LOGS, sizeof *v.all);
  v.one = sp_alloc_array((size_t)v.n_lanes * STK_GRAPH_MAX_LOGS, sizeof *v.one);
  v.names = sp_alloc(sizeof *v.names);
  memset(out, 0, sizeof *out);
  sp_status st = v.all && v.one && v.names ? run_all(&v, &graph, out, err)
                                           : sp_fail(err, SP_ENOMEM, "no memory to evaluate");
  for (int32_t i = 0; graph && !st && i < graph->n_logs; i++) {
    const struct stk_log_entry *e = &graph->logs[i];
    if (e->flags & STK_ON_EPOCH) {
      memcpy(out->names[out->n], v.names->of[i].epoch, sizeof out->names[0]);
      out->entries[out->n] = e;
      out->values[out->n++] = stk_acc_value(e, v.all, i, v.n_lanes);
    }
  }
  if (!st && !out->stopped) {
    tell(&v, out);
  }
  sp_free(v.all);
  sp_free(v.one);
  sp_free(v.names);
  return st;
}
