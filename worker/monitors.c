/* What the step functions log against what callbacks and schedules monitor. See monitors.h. */
#include "worker/monitors.h"

#include <stdio.h>
#include <string.h>

#include "engine/nn/module.h"
#include "engine/trainer/run.h"

struct known {
  char names[6 * STK_GRAPH_MAX_LOGS][72];
  int32_t n;
};

static void add(struct known *k, const char *name) {
  for (int32_t i = 0; i < k->n; i++) {
    if (strcmp(k->names[i], name) == 0) {
      return;
    }
  }
  snprintf(k->names[k->n++], sizeof k->names[0], "%s", name);
}

static void add_graph(struct known *k, const struct stk_graph *g) {
  struct stk_log_names names;
  stk_log_names_prepare(&names, g);
  for (int32_t i = 0; i < g->n_logs; i++) {
    uint32_t flags = g->logs[i].flags;
    if (g->stage == STK_TRAIN && (flags & STK_ON_STEP)) {
      add(k, names.of[i].step);
    }
    if (flags & STK_ON_EPOCH) {
      add(k, names.of[i].epoch);
    }
    if (g->stage == STK_TRAIN || (flags & STK_ON_EPOCH)) {
      add(k, g->logs[i].name);
    }
  }
}

static bool has_lr_monitor(const struct sp_job *job) {
  for (size_t i = 0; i < job->callbacks.n; i++) {
    if (job->callbacks.items[i].kind == SP_CALLBACK_LR_MONITOR) {
      return true;
    }
  }
  return false;
}

static sp_status check_one(const struct sw_setup *s, const struct known *k, const char *what,
                           const char *monitor, struct sp_err *err) {
  char list[400] = "";
  size_t used = 0;
  if (has_lr_monitor(s->job) && strstr(monitor, "lr-")) {
    return SP_OK;
  }
  for (int32_t i = 0; i < k->n; i++) {
    if (strcmp(k->names[i], monitor) == 0) {
      return SP_OK;
    }
    int n = used < sizeof list
                ? snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", k->names[i])
                : 0;
    used += n > 0 ? (size_t)n : 0;
  }
  return sp_fail(err, SP_EINVAL, "%s: nothing logs \"%s\"; logged are: %s%s", what, monitor,
                 *list ? list : "none",
                 s->n_val_batches > 0 ? ""
                                      : "; there is no validation: give data.val_path or "
                                        "data.val_fraction, and the module a validation_step");
}

static sp_status check_all(const struct sw_setup *s, const struct known *k, struct sp_err *err) {
  const struct sp_job *job = s->job;
  sp_status st = SP_OK;
  for (size_t i = 0; i < job->callbacks.n && !st; i++) {
    const struct sp_callback_opts *c = &job->callbacks.items[i];
    if (c->kind == SP_CALLBACK_MODEL_CHECKPOINT && c->checkpoint.monitor) {
      st = check_one(s, k, "model_checkpoint.monitor", c->checkpoint.monitor, err);
    } else if (c->kind == SP_CALLBACK_EARLY_STOPPING && c->early_stopping.strict) {
      st = check_one(s, k, "early_stopping.monitor", c->early_stopping.monitor, err);
    }
  }
  for (size_t i = 0; i < job->lr.n && !st; i++) {
    const struct sp_lr_opts *o = &job->lr.items[i];
    if (o->kind == SP_LR_REDUCE_ON_PLATEAU && o->strict) {
      st = check_one(s, k, "lr_scheduler.monitor", o->monitor, err);
    }
  }
  return st;
}

sp_status sw_monitors_check(struct sw_setup *s, struct sp_err *err) {
  struct known k = {.n = 0};
  stk_program *p;
  if (s->module->def->hooks || s->job->trainer.fast_dev_run > 0) {
    return SP_OK;
  }
  sp_status st = stk_session_program(s->session, STK_TRAIN, s->job->data.batch_size, &p, err);
  if (st) {
    return st;
  }
  add(&k, "epoch");
  add(&k, "step");
  add_graph(&k, stk_program_graph(p));
  if (s->n_val_batches > 0) {
    st = stk_session_program(s->session, STK_VALIDATE, s->job->data.batch_size, &p, err);
    if (st) {
      return st;
    }
    add_graph(&k, stk_program_graph(p));
  }
  return check_all(s, &k, err);
}
