/* The fit loop's phases. See fit.h for the order and docs/from-lightning.md for how it maps to
 * Lightning's. */
#include "engine/trainer/fit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/trainer/callbacks/lr_monitor.h"
#include "engine/trainer/run.h"
#include "proto/base/mem.h"

/* A series of the learning rate monitor; "": its name does not fit. */
struct rate_name {
  char text[72];
  int32_t at; /* in the metrics table, -1: not there yet */
};

struct stk_fit {
  struct stk_fit_config c;
  stk_session *s;
  struct stk_control *now;
  struct stk_run run;
  int64_t started_ns;
  struct stk_logged logged; /* of the last step */
  double loss;
  int64_t samples;
  struct stk_order_item items[STK_CONTROL_CKPT]; /* decided in this phase */
  int32_t n_items;
  struct stk_order *open;       /* the order that has no answer yet, NULL: none */
  double *lr;                   /* per parameter group */
  struct rate_name *rate_names; /* [group][quantity] */
  struct stk_log_names names;   /* of the training graph */
  bool torn;                    /* a validation was stopped inside: its rows are not committed */
};

enum { LR_QUANTITIES = 3, MAX_ROWS = LR_QUANTITIES * (SP_GROUPS_MAX + 1) + STK_GRAPH_MAX_LOGS };

/* Rows of one moment, then sent together; names are borrowed. */
struct rows {
  int32_t n;
  const char *names[MAX_ROWS];
  double values[MAX_ROWS];
};

static void row(struct rows *r, const char *name, double value) {
  if (r->n < MAX_ROWS) {
    r->names[r->n] = name;
    r->values[r->n++] = value;
  }
}

static void send_rows(stk_fit *f, const struct rows *r, int64_t step) {
  if (r->n && f->c.host.metrics) {
    f->c.host.metrics(f->c.host.ctx, step, r->n, r->names, r->values);
  }
}

/* x-axis of the loggers: steps done before this one (Lightning's _batches_that_stepped). */
static int64_t log_step(const stk_fit *f) {
  return f->now->global_step > 0 ? f->now->global_step - 1 : 0;
}

/* ---- hooks */

typedef void (*hook_fn)(stk_run *, const void *);

static struct stk_profiler *profiler(const stk_fit *f) {
  return stk_session_config_of(f->s)->profiler;
}

/* Whether there is a hook or not: what follows is no part of a step any more. */
static void call(stk_fit *f, hook_fn fn) {
  stk_session_leave_step(f->s);
  if (fn) {
    int64_t start = stk_profile_start(profiler(f));
    fn(&f->run, stk_session_config_of(f->s)->module->self);
    stk_profile_stop(profiler(f), STK_ACTION_HOOKS, start);
  }
}

static const stk_run_hooks *hooks_of(const stk_fit *f) {
  static const stk_run_hooks none;
  const stk_run_hooks *h = stk_session_config_of(f->s)->module->def->hooks;
  return h ? h : &none;
}

/* ---- checkpoints */

static struct stk_journal *journal_of(const stk_fit *f) {
  return stk_session_state(f->s)->journal;
}

/* A run whose limits cut an epoch still goes through the epoch's end, as Lightning's does; but what
 * it publishes from here on is this page, from which a run with other limits goes on inside the
 * epoch, with the bits of a run that was never cut. */
static void keep_page(stk_fit *f) {
  struct stk_state *state = stk_session_state(f->s);
  memcpy(state->kept, f->now, state->control_bytes);
  journal_of(f)->is_kept = 1;
}

static uint32_t answer_of(const struct stk_order *o) {
  return atomic_load_explicit(&o->state, memory_order_acquire);
}

/* Takes the answer to the open order, if there is one: of what failed, the page forgets that it
 * was saved. Nothing older was removed then. */
static void settle(stk_fit *f) {
  struct stk_order *o = f->open;
  if (!o || answer_of(o) == STK_ORDER_OPEN) {
    return;
  }
  for (int32_t i = 0; answer_of(o) == STK_ORDER_FAILED && i < o->n_items; i++) {
    const struct stk_order_item *it = &o->items[i];
    if (it->ckpt >= 0) {
      int64_t deferred = f->now->ckpt[it->ckpt].deferred;
      f->now->ckpt[it->ckpt] = it->before;
      f->now->ckpt[it->ckpt].deferred = deferred;
    }
  }
  journal_of(f)->settled_seq = o->seq;
  f->open = NULL;
}

static sp_status wait_for_order(stk_fit *f, struct sp_err *err) {
  const struct stk_host *h = &f->c.host;
  sp_status st = f->open && h->wait ? h->wait(h->ctx, f->open, err) : SP_OK;
  if (!st) {
    settle(f);
  }
  return st;
}

/* A page that another process committed: an order of its that has no answer yet, or one that the
 * page does not know, is the loop's again. */
static void reopen(stk_fit *f) {
  const struct stk_journal *j = journal_of(f);
  struct stk_order *o = stk_session_state(f->s)->orders[j->order_seq % 2];
  if (j->order_seq > j->settled_seq && o->seq == j->order_seq) {
    f->open = o;
    settle(f);
  }
}

/* What "best" is once `it` is published, by the first callback. */
static void name_best(const stk_fit *f, struct stk_order_item *it) {
  const struct stk_model_checkpoint *c = &f->now->ckpt[0];
  const char *monitor = f->c.ckpt[0].options.monitor;
  const char *name = monitor ? c->best.name : it->decision.save;
  it->tell_best = it->ckpt == 0 && *name;
  memmove(it->best_name, name, sizeof it->best_name);
  snprintf(it->best_monitor, sizeof it->best_monitor, "%s", monitor ? monitor : "");
  it->best_score = monitor ? c->best.score : (double)NAN;
}

/* One callback at one moment. When it wants to save while an order is open, the answer is waited
 * for, and the question put again: names depend on what was published. */
static sp_status decide_one(stk_fit *f, int32_t i, const struct stk_ckpt_situation *now,
                            struct sp_err *err) {
  struct stk_order_item *it = &f->items[f->n_items];
  struct stk_ckpt_decision *d = &it->decision;
  const struct stk_model_checkpoint_options *o = &f->c.ckpt[i].options;
  sp_status st = stk_model_checkpoint_decide(&f->now->ckpt[i], o, now, d, err);
  if (!st && f->open && (d->save[0] || d->last[0])) {
    st = wait_for_order(f, err);
    st = st ? st : stk_model_checkpoint_decide(&f->now->ckpt[i], o, now, d, err);
  }
  if (st) {
    return st;
  }
  it->ckpt = i;
  it->before = f->now->ckpt[i];
  stk_model_checkpoint_commit(&f->now->ckpt[i], o, now, d);
  name_best(f, it);
  f->n_items += d->save[0] || d->last[0] ? 1 : 0;
  return SP_OK;
}

static sp_status decide_saves(stk_fit *f, enum stk_ckpt_moment moment, bool validation_next,
                              struct sp_err *err) {
  const char *names[STK_CONTROL_METRICS];
  double values[STK_CONTROL_METRICS];
  /* The last epoch is over when training ends. */
  int64_t over = moment == STK_CKPT_TRAIN_END && f->now->epoch > 0 ? 1 : 0;
  int64_t epoch = f->now->epoch - over;
  sp_status st = SP_OK;
  for (int32_t i = 0; i < f->now->n_metrics; i++) {
    names[i] = f->now->metrics[i].name;
    values[i] = f->now->metrics[i].value;
  }
  for (int32_t i = 0; i < f->c.n_ckpt && !st; i++) {
    struct stk_ckpt_situation now = {
        .moment = moment,
        .validation_next = validation_next,
        .exists = f->c.host.exists,
        .ctx = f->c.host.ctx,
        .scores = {epoch, f->now->global_step, (size_t)f->now->n_metrics, names, values}};
    st = decide_one(f, i, &now, err);
  }
  return st;
}

/* Writes what was decided into its place, before the commit that makes it an order. A kept page is
 * what is saved, with what the callbacks know now. */
static struct stk_order *write_order(stk_fit *f) {
  struct stk_state *state = stk_session_state(f->s);
  struct stk_journal *j = state->journal;
  struct stk_order *o = state->orders[(j->order_seq + 1) % 2];
  struct stk_control *page = stk_state_order_page(o);
  o->seq = ++j->order_seq;
  o->slot = f->now->slot;
  o->step = f->now->global_step;
  o->rows_head = j->rows_head;
  o->n_items = f->n_items;
  o->error[0] = '\0';
  memcpy(o->items, f->items, sizeof *o->items * (size_t)f->n_items);
  memcpy(page, j->is_kept ? state->kept : f->now, state->control_bytes);
  memcpy(page->ckpt, f->now->ckpt, sizeof page->ckpt);
  o->epoch = page->epoch;
  atomic_store_explicit(&o->state, STK_ORDER_OPEN, memory_order_release);
  return o;
}

/* Commits `now`, and with it what was decided. */
static void commit(stk_fit *f) {
  const struct stk_host *h = &f->c.host;
  struct stk_order *o = f->n_items ? write_order(f) : NULL;
  stk_state_commit(stk_session_state(f->s));
  f->n_items = 0;
  if (o) {
    f->open = o;
    if (h->ordered) {
      h->ordered(h->ctx, o);
    } else {
      atomic_store_explicit(&o->state, STK_ORDER_DONE, memory_order_release);
    }
  }
}

/* ---- making */

static void name_rates(stk_fit *f) {
  static const char *const names[] = {"SGD", "Adam", "AdamW"};
  const struct stk_optimizer *o = stk_session_optimizer(f->s);
  const char *prefix = f->c.lr_monitor.prefix ? f->c.lr_monitor.prefix : "";
  for (size_t i = 0; i < o->n_groups * LR_QUANTITIES; i++) {
    struct rate_name *to = &f->rate_names[i];
    char name[72];
    struct stk_lr_series series = {.optimizer = names[o->kind],
                                   .group = (int64_t)(i / LR_QUANTITIES),
                                   .n_groups = (int64_t)o->n_groups,
                                   .quantity = (enum stk_lr_quantity)(i % LR_QUANTITIES)};
    to->at = -1;
    if (stk_lr_monitor_name(&series, name, sizeof name, NULL) == SP_OK) {
      snprintf(to->text, sizeof to->text, "%.32s%.39s", prefix, name);
    }
  }
}

/* A resumed page: limits may have been raised since it was written. */
static void go_on(stk_fit *f) {
  bool has_time = f->c.max_time_ns <= 0 || f->now->elapsed_ns < f->c.max_time_ns;
  if (f->now->stop_reason == STK_STOP_TIME && has_time) {
    f->now->should_stop = 0;
    f->now->stop_reason = STK_STOP_NONE;
  }
}

void stk_fit_first_page(const struct stk_fit_config *config, struct stk_control *now) {
  if (now->seq != 0) {
    return;
  }
  for (int32_t i = 0; i < config->n_early; i++) {
    stk_early_stopping_init(&now->early[i], &config->early[i].options);
  }
  for (int32_t i = 0; i < config->n_ckpt; i++) {
    stk_model_checkpoint_init(&now->ckpt[i]);
  }
}

sp_status stk_fit_new(const struct stk_fit_config *config, stk_session *s, stk_fit **out_f,
                      struct sp_err *err) {
  stk_fit *f = sp_alloc(sizeof *f);
  if (!f) {
    return sp_fail(err, SP_ENOMEM, "no memory for the fit loop");
  }
  f->c = *config;
  f->s = s;
  f->now = stk_session_state(s)->now;
  f->run = (struct stk_run){.control = f->now, .host = &f->c.host, .session = s};
  size_t n_groups = stk_session_optimizer(s)->n_groups;
  f->lr = sp_alloc_array(n_groups, sizeof *f->lr);
  f->rate_names = sp_alloc_array(n_groups * LR_QUANTITIES, sizeof *f->rate_names);
  f->started_ns = f->c.host.now_ns ? f->c.host.now_ns(f->c.host.ctx) : 0;
  bool fresh = f->now->seq == 0;
  stk_fit_first_page(&f->c, f->now);
  stk_program *p = NULL;
  const struct stk_sampler *sampler = stk_loader_sampler(f->c.train);
  int64_t n0 = stk_sampler_n_samples(sampler, 0);
  int64_t batch = n0 < sampler->batch_size ? n0 : sampler->batch_size;
  sp_status st = f->lr && f->rate_names ? stk_session_program(s, STK_TRAIN, batch, &p, err)
                                        : sp_fail(err, SP_ENOMEM, "no memory for the fit loop");
  if (st) {
    stk_fit_free(f);
    return st;
  }
  f->run.graph = stk_program_graph(p);
  name_rates(f);
  if (!fresh) {
    go_on(f);
    reopen(f);
  }
  *out_f = f;
  return SP_OK;
}

void stk_fit_free(stk_fit *f) {
  if (f) {
    sp_free(f->lr);
    sp_free(f->rate_names);
  }
  sp_free(f);
}

/* ---- early stopping */

static sp_status check_early(stk_fit *f, bool epoch_end, struct sp_err *err) {
  for (int32_t i = 0; i < f->c.n_early; i++) {
    const struct stk_fit_early *e = &f->c.early[i];
    double value;
    if (e->at_epoch_end != epoch_end) {
      continue;
    }
    if (!stk_metric_get(f->now, e->monitor, &value)) {
      if (e->strict) {
        return sp_fail(err, SP_EINVAL,
                       "early_stopping: no metric is called '%s'; log it in a step function",
                       e->monitor);
      }
      continue;
    }
    enum stk_early_verdict v =
        stk_early_stopping_check(&f->now->early[i], &e->options, value, f->now->epoch);
    if (stk_early_verdict_stops(v)) {
      char text[256];
      stk_early_stopping_text(&f->now->early[i], &e->options, e->monitor, value, text, sizeof text);
      f->c.host.say(f->c.host.ctx, text);
      f->now->should_stop = 1;
      f->now->stop_reason = STK_STOP_EARLY;
    }
  }
  return SP_OK;
}

/* ---- stop rules */

/* should_stop counts only when the minima are met. */
static bool may_stop(const stk_fit *f) {
  return f->now->should_stop && f->now->epoch >= f->c.min_epochs &&
         f->now->global_step >= f->c.min_steps;
}

static bool steps_over(const stk_fit *f) {
  return f->c.max_steps >= 0 && f->now->global_step >= f->c.max_steps;
}

static bool fit_over(const stk_fit *f) {
  return f->c.n_train_batches == 0 || steps_over(f) ||
         (f->c.max_epochs >= 0 && f->now->epoch >= f->c.max_epochs) || may_stop(f);
}

static bool epoch_over(const stk_fit *f) {
  return f->now->batch >= f->c.n_train_batches || steps_over(f) || f->now->epoch_over ||
         may_stop(f);
}

static void check_time(stk_fit *f) {
  if (f->c.max_time_ns <= 0) {
    return;
  }
  int64_t t = f->c.host.now_ns(f->c.host.ctx);
  f->now->elapsed_ns += t - f->started_ns;
  f->started_ns = t;
  if (f->now->elapsed_ns >= f->c.max_time_ns && !f->now->should_stop) {
    f->now->should_stop = 1;
    f->now->stop_reason = STK_STOP_TIME;
    f->c.host.say(f->c.host.ctx, "max_time is over: stopping");
  }
}

/* ---- the phases */

static sp_status next_batch(void *ctx, int32_t lane, int64_t micro, struct stk_lane_batch *out,
                            struct sp_err *err) {
  stk_fit *f = ctx;
  int32_t lo, hi;
  stk_session_lanes(f->s, &lo, &hi);
  int64_t batch = f->now->batch + micro, last = f->run.window - 1;
  struct stk_loader_at at = {f->now->epoch, lane, batch}, then = at;
  if (micro < last) {
    then.batch++;
  } else if (lane + 1 < hi) {
    then = (struct stk_loader_at){f->now->epoch, lane + 1, f->now->batch};
  } else if (batch + 1 < f->c.n_train_batches) {
    then = (struct stk_loader_at){f->now->epoch, lo, batch + 1};
  } else {
    then = (struct stk_loader_at){f->now->epoch + 1, lo, 0};
  }
  struct stk_loader_batch b;
  int64_t start = stk_profile_start(profiler(f));
  sp_status st = stk_loader_next(f->c.train, at, &then, &b, err);
  stk_profile_stop(profiler(f), STK_ACTION_DATA, start);
  if (!st && b.n == 0) {
    st = sp_fail(err, SP_EINTERNAL, "lane %d has no batch %lld", (int)lane, (long long)batch);
  }
  if (!st) {
    *out = (struct stk_lane_batch){b.x, b.y, b.n,
                                   (uint64_t)(f->now->epoch * f->c.n_train_batches + batch)};
  }
  return st;
}

/* How many batches this window has; on_train_batch_start may cut it short and end the epoch. */
static void open_window(stk_fit *f) {
  int64_t n = stk_session_config_of(f->s)->accumulate;
  const stk_run_hooks *h = hooks_of(f);
  int64_t left = f->c.n_train_batches - f->now->batch;
  n = n < left ? n : left;
  f->run.window = n;
  for (int64_t k = 0; h->on_train_batch_start && k < n; k++) {
    f->run.batch_idx = f->now->batch + k;
    stk_session_leave_step(f->s);
    if (h->on_train_batch_start(&f->run, stk_session_config_of(f->s)->module->self) == -1) {
      f->now->epoch_over = 1;
      f->run.window = k;
      return;
    }
  }
}

static void learning_rates(stk_fit *f) {
  const struct stk_optimizer *o = stk_session_optimizer(f->s);
  for (size_t g = 0; g < o->n_groups; g++) {
    f->lr[g] = stk_schedule_lr(&f->c.schedules, f->now->schedules, o->group[g].lr,
                               f->now->global_step, f->now->epoch);
  }
}

static void rate_row(stk_fit *f, struct rows *r, size_t group, enum stk_lr_quantity quantity,
                     double value) {
  struct rate_name *name = &f->rate_names[group * LR_QUANTITIES + (size_t)quantity];
  if (name->text[0]) {
    stk_metric_put(f->now, &name->at, name->text, value);
    row(r, name->text, value);
  }
}

/* Rates, and what else the monitor was asked for, at the step that comes next. */
static void log_rates(stk_fit *f) {
  const struct stk_optimizer *o = stk_session_optimizer(f->s);
  struct rows r;
  r.n = 0;
  for (size_t g = 0; g < o->n_groups; g++) {
    rate_row(f, &r, g, STK_LR_RATE, f->lr[g]);
    if (f->c.lr_monitor.momentum) {
      rate_row(f, &r, g, STK_LR_MOMENTUM,
               o->kind == STK_OPTIM_SGD ? o->group[g].momentum : o->group[g].beta1);
    }
    if (f->c.lr_monitor.weight_decay) {
      rate_row(f, &r, g, STK_LR_WEIGHT_DECAY, o->group[g].weight_decay);
    }
  }
  send_rows(f, &r, f->now->global_step);
}

/* Gives the schedules that reduce on plateaus their metrics. */
static sp_status observe(stk_fit *f, sp_lr_interval at, int64_t done, struct sp_err *err) {
  for (size_t i = 0; i < f->c.schedules.n; i++) {
    const struct sp_lr_opts *o = &f->c.schedules.item[i];
    double value;
    if (!stk_schedule_wants(&f->c.schedules, i, at, done)) {
      continue;
    }
    if (stk_metric_get(f->now, o->monitor, &value)) {
      stk_schedule_observe(&f->c.schedules, i, &f->now->schedules[i], value);
    } else if (o->strict) {
      return sp_fail(err, SP_EINVAL,
                     "lr_scheduler %zu: no metric is called '%s'; log it in a step function", i,
                     o->monitor);
    }
  }
  return SP_OK;
}

static bool validation_due(const stk_fit *f) {
  if (!f->c.val || f->c.val_every <= 0 || f->c.n_val_batches <= 0) {
    return false;
  }
  bool stop = may_stop(f);
  if (f->c.val_across_epochs) {
    return stop || f->now->total_batches % f->c.val_every < f->run.window;
  }
  bool epoch_due = (f->now->epoch + 1) % f->c.val_epochs == 0;
  return epoch_due && (stop || f->now->batch / f->c.val_every !=
                                   (f->now->batch - f->run.window) / f->c.val_every);
}

/* Step values of everything logged: into the metrics table, the progress line, and rows when a log
 * is due. */
static void log_batch(stk_fit *f, bool due) {
  const struct stk_graph *g = f->logged.graph;
  int32_t n_lanes = stk_session_config_of(f->s)->n_lanes, n_bar = 0;
  const char *bar[STK_GRAPH_MAX_LOGS + 1];
  double bar_values[STK_GRAPH_MAX_LOGS + 1];
  struct rows r;
  r.n = 0; /* the rest is large, and written before it is read */
  bar[n_bar] = "loss";
  bar_values[n_bar++] = f->loss;
  if (g && f->names.graph != g) {
    stk_log_names_prepare(&f->names, g);
  }
  for (int32_t i = 0; g && i < g->n_logs; i++) {
    const struct stk_log_entry *e = &g->logs[i];
    struct stk_log_name *name = &f->names.of[i];
    if (!(e->flags & STK_ON_STEP)) {
      continue;
    }
    double v = stk_acc_value(e, f->logged.lanes, i, n_lanes);
    stk_metric_put(f->now, &name->at_step, name->step, v);
    stk_metric_put(f->now, &name->at, e->name, v);
    if (e->flags & STK_PROG_BAR) {
      bar[n_bar] = e->name;
      bar_values[n_bar++] = v;
    }
    if (due && !(e->flags & STK_NO_LOGGER)) {
      row(&r, name->step, v);
    }
  }
  if (due) {
    row(&r, "epoch", (double)f->now->epoch);
    send_rows(f, &r, log_step(f));
  }
  struct stk_progress p = {.stage = STK_TRAIN,
                           .epoch = f->now->epoch,
                           .batch = f->now->batch,
                           .n_batches = f->c.n_train_batches,
                           .global_step = f->now->global_step,
                           .samples = f->samples};
  if (f->c.host.progress) {
    f->c.host.progress(f->c.host.ctx, &p, n_bar, bar, bar_values);
  }
}

/* The window stepped: logging, hooks, callbacks. */
static sp_status batch_end(stk_fit *f, struct sp_err *err) {
  bool due =
      f->c.log_every > 0 && (f->now->global_step % f->c.log_every == 0 || f->now->should_stop);
  stk_session_leave_step(f->s);
  check_time(f);
  log_batch(f, due);
  for (int64_t k = 0; k < f->run.window; k++) {
    f->run.batch_idx = f->now->batch - f->run.window + k;
    call(f, hooks_of(f)->on_train_batch_end);
  }
  bool validate = validation_due(f);
  f->now->phase = validate ? STK_PHASE_VALIDATE : STK_PHASE_BATCH;
  return decide_saves(f, STK_CKPT_TRAIN_BATCH_END, validate, err);
}

/* One window and what follows it, under one commit: a kill between the two repeats the step. */
static sp_status phase_batch(stk_fit *f, struct sp_err *err) {
  if (epoch_over(f)) {
    if (f->now->batch < f->c.n_train_batches && !f->now->epoch_over) {
      keep_page(f);
    }
    f->now->phase = STK_PHASE_EPOCH_END;
    return SP_OK;
  }
  open_window(f);
  if (f->run.window == 0) {
    f->now->phase = STK_PHASE_EPOCH_END;
    return SP_OK;
  }
  learning_rates(f);
  bool logged = f->c.log_every > 0 &&
                ((f->now->global_step + 1) % f->c.log_every == 0 || f->now->should_stop);
  if (f->c.lr_monitor.on_step && logged) {
    log_rates(f);
  }
  struct stk_window w = {.batch = next_batch,
                         .ctx = f,
                         .n_micro = f->run.window,
                         .n_batches = f->c.n_train_batches,
                         .lr = f->lr,
                         .epoch_acc = stk_control_acc(f->now, 0)};
  struct stk_window_result r;
  sp_status st = stk_session_train(f->s, &w, &r, err);
  if (st) {
    return st;
  }
  f->logged = r.logged;
  f->loss = r.loss;
  f->samples = r.samples;
  f->now->batch += f->run.window;
  f->now->total_batches += f->run.window;
  int64_t start = stk_profile_start(profiler(f));
  st = batch_end(f, err);
  stk_profile_stop(profiler(f), STK_ACTION_BATCH_END, start);
  return st;
}

static sp_status phase_sanity(stk_fit *f, struct sp_err *err) {
  struct stk_eval_config c = {STK_VALIDATE, true, f->c.sanity_batches, f->c.val, &f->c.host, 0};
  struct stk_eval_result r;
  sp_status st = stk_evaluate(f->s, &c, &r, err);
  if (!st && !r.stopped) {
    f->now->phase = STK_PHASE_TRAIN_START;
  }
  return st;
}

static sp_status phase_validate(stk_fit *f, struct sp_err *err) {
  struct stk_eval_config c = {STK_VALIDATE, false,      f->c.n_val_batches,
                              f->c.val,     &f->c.host, f->now->val_runs * f->c.n_val_batches};
  struct stk_eval_result e;
  call(f, hooks_of(f)->on_validation_start);
  sp_status st = stk_evaluate(f->s, &c, &e, err);
  f->torn = e.stopped;
  if (st || e.stopped) {
    return st; /* the phase stands: validation starts again, with the same result */
  }
  struct rows r = {0};
  for (int32_t i = 0; i < e.n; i++) {
    stk_metric_set(f->now, e.names[i], e.values[i]);
    stk_metric_set(f->now, e.entries[i]->name, e.values[i]);
    if (!(e.entries[i]->flags & STK_NO_LOGGER)) {
      row(&r, e.names[i], e.values[i]);
    }
  }
  row(&r, "epoch", (double)f->now->epoch);
  send_rows(f, &r, log_step(f));
  f->now->val_runs++;
  call(f, hooks_of(f)->on_validation_end);
  st = check_early(f, false, err);
  if (!st) {
    st = observe(f, SP_LR_BY_STEP, f->now->global_step, err);
  }
  f->now->phase = STK_PHASE_BATCH;
  return st ? st : decide_saves(f, STK_CKPT_VALIDATION_END, false, err);
}

static sp_status phase_epoch_start(stk_fit *f, struct sp_err *err) {
  if (fit_over(f)) {
    if (!journal_of(f)->is_kept) {
      keep_page(f);
    }
    sp_status st = decide_saves(f, STK_CKPT_TRAIN_END, false, err);
    f->now->phase = STK_PHASE_DONE;
    call(f, hooks_of(f)->on_train_end);
    call(f, hooks_of(f)->on_fit_end);
    return st;
  }
  journal_of(f)->is_kept = 0;
  f->now->batch = 0;
  f->now->epoch_over = 0;
  memset(
      stk_control_acc(f->now, 0), 0,
      sizeof(struct stk_acc) * STK_GRAPH_MAX_LOGS * (size_t)stk_session_config_of(f->s)->n_lanes);
  learning_rates(f);
  if (f->c.lr_monitor.on_epoch) {
    log_rates(f);
  }
  call(f, hooks_of(f)->on_train_epoch_start);
  f->now->phase = STK_PHASE_BATCH;
  return SP_OK;
}

static sp_status phase_epoch_end(stk_fit *f, struct sp_err *err) {
  const struct stk_graph *g = f->run.graph;
  struct rows r = {0};
  if (f->names.graph != g) {
    stk_log_names_prepare(&f->names, g);
  }
  for (int32_t i = 0; i < g->n_logs; i++) {
    const struct stk_log_entry *e = &g->logs[i];
    struct stk_log_name *name = &f->names.of[i];
    if (!(e->flags & STK_ON_EPOCH)) {
      continue;
    }
    double v =
        stk_acc_value(e, stk_control_acc(f->now, 0), i, stk_session_config_of(f->s)->n_lanes);
    stk_metric_put(f->now, &name->at_epoch, name->epoch, v);
    stk_metric_put(f->now, &name->at, e->name, v);
    if (!(e->flags & STK_NO_LOGGER)) {
      row(&r, name->epoch, v);
    }
  }
  call(f, hooks_of(f)->on_train_epoch_end);
  if (r.n) {
    row(&r, "epoch", (double)f->now->epoch);
    send_rows(f, &r, log_step(f));
  }
  sp_status st = check_early(f, true, err);
  if (!st) {
    st = observe(f, SP_LR_BY_EPOCH, f->now->epoch + 1, err);
  }
  if (!st) {
    st = decide_saves(f, STK_CKPT_TRAIN_EPOCH_END, false, err);
  }
  f->now->epoch++;
  f->now->phase = STK_PHASE_EPOCH_START;
  return st;
}

static sp_status one_phase(stk_fit *f, struct sp_err *err) {
  switch ((stk_phase)f->now->phase) {
    case STK_PHASE_START:
      call(f, hooks_of(f)->on_fit_start);
      f->now->phase =
          f->c.val && f->c.sanity_batches > 0 ? STK_PHASE_SANITY : STK_PHASE_TRAIN_START;
      return SP_OK;
    case STK_PHASE_SANITY:
      return phase_sanity(f, err);
    case STK_PHASE_TRAIN_START:
      call(f, hooks_of(f)->on_train_start);
      f->now->phase = STK_PHASE_EPOCH_START;
      return SP_OK;
    case STK_PHASE_EPOCH_START:
      return phase_epoch_start(f, err);
    case STK_PHASE_BATCH:
      return phase_batch(f, err);
    case STK_PHASE_VALIDATE:
      return phase_validate(f, err);
    case STK_PHASE_EPOCH_END:
      return phase_epoch_end(f, err);
    case STK_PHASE_DONE:
    case STK_PHASE_COUNT:
      break;
  }
  return SP_OK;
}

/* What a phase is called in profiles. */
static stk_action action_of(stk_phase phase) {
  return phase == STK_PHASE_SANITY     ? STK_ACTION_SANITY
         : phase == STK_PHASE_BATCH    ? STK_ACTION_BATCH
         : phase == STK_PHASE_VALIDATE ? STK_ACTION_VALIDATION
                                       : STK_ACTION_EPOCH;
}

/* The slot that the step will write must not be the one that is being saved. */
static sp_status free_slot(stk_fit *f, struct sp_err *err) {
  struct stk_state *state = stk_session_state(f->s);
  if (stk_state_choose(state, f->open ? f->open->slot : -1)) {
    return SP_OK;
  }
  sp_status st = wait_for_order(f, err);
  return st || stk_state_choose(state, -1)
             ? st
             : sp_fail(err, SP_EINTERNAL, "no slot is free for the next step");
}

static void audit(stk_fit *f, int64_t step) {
  struct stk_audit a;
  if (f->c.host.audited && f->now->global_step > step) {
    stk_session_audit(f->s, &a);
    f->c.host.audited(f->c.host.ctx, step, &a);
  }
}

sp_status stk_fit_advance(stk_fit *f, bool *out_done, struct sp_err *err) {
  f->n_items = 0;
  settle(f);
  const int64_t step = f->now->global_step;
  stk_action action = action_of((stk_phase)f->now->phase);
  int64_t start = stk_profile_start(profiler(f));
  sp_status st = f->now->phase == STK_PHASE_BATCH ? free_slot(f, err) : SP_OK;
  st = st ? st : one_phase(f, err);
  bool over = f->now->phase == STK_PHASE_EPOCH_END; /* there was no batch left to run */
  stk_profile_stop(profiler(f), over && action == STK_ACTION_BATCH ? STK_ACTION_EPOCH : action,
                   start);
  if (st) {
    return st;
  }
  audit(f, step);
  start = stk_profile_start(profiler(f));
  if (f->c.host.rows_head && !f->torn) {
    journal_of(f)->rows_head = f->c.host.rows_head(f->c.host.ctx);
    journal_of(f)->phase_rows = 0;
  }
  stk_action what = f->n_items ? STK_ACTION_SAVE : STK_ACTION_COMMIT;
  commit(f);
  stk_profile_stop(profiler(f), what, start);
  *out_done = f->now->phase == STK_PHASE_DONE;
  return SP_OK;
}

sp_status stk_fit_save(stk_fit *f, const char *name, struct sp_err *err) {
  sp_status st = wait_for_order(f, err);
  if (st) {
    return st;
  }
  f->items[0] = (struct stk_order_item){.ckpt = -1};
  snprintf(f->items[0].decision.save, sizeof f->items[0].decision.save, "%s", name);
  f->n_items = 1;
  commit(f);
  const struct stk_order *o = f->open;
  st = wait_for_order(f, err);
  if (!st && answer_of(o) == STK_ORDER_FAILED) {
    st = sp_fail(err, SP_EIO, "%.500s", o->error);
  }
  return st;
}

/* A run that is cut goes on from the kept page, where one stands. */
static void take_kept(stk_fit *f) {
  struct stk_state *state = stk_session_state(f->s);
  if (state->journal->is_kept) {
    memcpy(state->kept->ckpt, f->now->ckpt, sizeof f->now->ckpt);
    memcpy(f->now, state->kept, state->control_bytes);
    state->journal->is_kept = 0;
  }
}

sp_status stk_fit_run(stk_fit *f, stk_stop *out_why, struct sp_err *err) {
  bool done = f->now->phase == STK_PHASE_DONE;
  stk_ask ask = STK_ASK_NOTHING;
  while (!done && !ask) {
    sp_status st = stk_fit_advance(f, &done, err);
    if (st) {
      return st;
    }
    ask = done ? STK_ASK_NOTHING : f->c.host.asked(f->c.host.ctx);
  }
  if (ask == STK_ASK_LEAVE) {
    *out_why = STK_STOP_LEAVE;
    return SP_OK;
  }
  sp_status st = wait_for_order(f, err);
  if (st) {
    return st;
  }
  if (ask) {
    take_kept(f);
  }
  stk_state_commit(stk_session_state(f->s));
  *out_why = ask ? STK_STOP_SIGNAL : (stk_stop)f->now->stop_reason;
  return SP_OK;
}
