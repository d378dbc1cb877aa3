/* What run hooks may ask and do. */
#include "engine/trainer/run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/trainer/fit.h"

int64_t stk_run_epoch(const stk_run *r) {
  return r->control->epoch;
}

int64_t stk_run_global_step(const stk_run *r) {
  return r->control->global_step;
}

int64_t stk_run_batch_idx(const stk_run *r) {
  return r->batch_idx;
}

void *stk_run_state(stk_run *r) {
  return stk_control_module(r->control);
}

double stk_run_metric(const stk_run *r, const char *name) {
  double v;
  return stk_metric_get(r->control, name, &v) ? v : (double)NAN;
}

void stk_run_log(stk_run *r, const char *name, double value, uint32_t flags) {
  stk_metric_set(r->control, name, value);
  if (!(flags & STK_NO_LOGGER) && r->host->metrics) {
    int64_t step = r->control->global_step > 0 ? r->control->global_step - 1 : 0;
    r->host->metrics(r->host->ctx, step, 1, &name, &value);
  }
}

stk_status stk_run_set_scalar(stk_run *r, const char *name, double value) {
  double *at = stk_session_scalar(r->session, name);
  if (!at) {
    return SP_ENOENT;
  }
  *at = value;
  return SP_OK;
}

void stk_run_stop(stk_run *r) {
  r->control->should_stop = 1;
  r->control->stop_reason = STK_STOP_MODULE;
}

void stk_metric_put(struct stk_control *c, int32_t *place, const char *name, double value) {
  if (*place < 0) {
    int32_t i = 0;
    while (i < c->n_metrics && strcmp(c->metrics[i].name, name) != 0) {
      i++;
    }
    if (i == STK_CONTROL_METRICS) {
      return;
    }
    if (i == c->n_metrics) {
      snprintf(c->metrics[i].name, sizeof c->metrics[i].name, "%s", name);
      c->n_metrics++;
    }
    *place = i;
  }
  c->metrics[*place].value = value;
}

void stk_metric_set(struct stk_control *c, const char *name, double value) {
  int32_t place = -1;
  stk_metric_put(c, &place, name, value);
}

void stk_log_names_prepare(struct stk_log_names *n, const struct stk_graph *g) {
  n->graph = g;
  for (int32_t i = 0; i < g->n_logs; i++) {
    const struct stk_log_entry *e = &g->logs[i];
    struct stk_log_name *x = &n->of[i];
    bool both = (e->flags & STK_ON_STEP) && (e->flags & STK_ON_EPOCH);
    snprintf(x->step, sizeof x->step, "%s%s", e->name, both ? "_step" : "");
    snprintf(x->epoch, sizeof x->epoch, "%s%s", e->name, both ? "_epoch" : "");
    x->at = x->at_step = x->at_epoch = -1;
  }
}

bool stk_metric_get(const struct stk_control *c, const char *name, double *out_value) {
  for (int32_t i = 0; i < c->n_metrics; i++) {
    if (strcmp(c->metrics[i].name, name) == 0) {
      *out_value = c->metrics[i].value;
      return true;
    }
  }
  return false;
}
