/* `stoker fit`: plays supervisor in this process (state in memfds, publishing, logger files) behind
 * struct stk_host: options of the job become the loop's, what leaves the loop becomes events, log
 * rows (logs.h) and checkpoints (publish.h). */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/trainer/fit.h"
#include "proto/base/mem.h"
#include "worker/ckpt.h"
#include "worker/find.h"
#include "worker/logs.h"
#include "worker/monitors.h"
#include "worker/profile.h"
#include "worker/publish.h"
#include "worker/summary.h"
#include "worker/verbs.h"

enum { PROGRESS_NS = 50000000 };

struct fit {
  struct sw_emit *e;
  struct sw_setup s;
  struct stk_fit_config c;
  struct sw_logs logs;
  struct sw_publish publish;
  const char *dirpath; /* of checkpoints, NULL: in the run's directory */
  int64_t start_ns, last_progress_ns, window_ns, window_steps, window_samples;
  double steps_per_s, items_per_s;
  int64_t total_steps, run_samples;
  bool ran;
};

static int64_t mono_ns(void *ctx) {
  (void)ctx;
  return sp_mono_now(sp_clock_system()).ns;
}

/* ---- the host */

static bool host_stop(void *ctx) {
  const struct fit *f = ctx;
  return sw_stop_asked() || f->e->gone;
}

static void host_say(void *ctx, const char *text) {
  struct fit *f = ctx;
  sw_emit_text(f->e, SP_TEXT_INFO, "%s\n", text);
}

static bool is_text(const struct fit *f) {
  return stk_dataset_x_type(f->s.train) == STK_I32;
}

static void host_progress(void *ctx, const struct stk_progress *p, int32_t n,
                          const char *const *names, const double *values) {
  struct fit *f = ctx;
  int64_t now = mono_ns(NULL);
  if (p->stage == STK_TRAIN) {
    f->window_steps++;
    f->window_samples += p->samples;
    f->run_samples += p->samples;
  }
  bool last = p->n_batches == p->batch || (f->total_steps >= 0 && p->global_step == f->total_steps);
  if (now - f->last_progress_ns < PROGRESS_NS && !last) {
    return;
  }
  if (now > f->window_ns && p->stage == STK_TRAIN) {
    double per_sample =
        is_text(f) ? (double)stk_sample_elements(&stk_dataset_info(f->s.train)->x) : 1.0;
    double s = (double)(now - f->window_ns) * 1e-9;
    double a = f->steps_per_s > 0.0 ? 0.3 : 1.0;
    f->steps_per_s += a * ((double)f->window_steps / s - f->steps_per_s);
    f->items_per_s += a * ((double)f->window_samples * per_sample / s - f->items_per_s);
  }
  f->window_ns = f->last_progress_ns = now;
  f->window_steps = f->window_samples = 0;
  struct sp_event_metric m[STK_GRAPH_MAX_LOGS + 1];
  for (int32_t i = 0; i < n; i++) {
    m[i] = (struct sp_event_metric){names[i], values[i]};
  }
  struct sp_event ev = {.kind = SP_EVENT_PROGRESS,
                        .u.progress = {.stage = p->sanity               ? SP_STAGE_SANITY
                                                : p->stage == STK_TRAIN ? SP_STAGE_TRAIN
                                                                        : SP_STAGE_VALIDATE,
                                       .epoch = p->epoch,
                                       .max_epochs = f->c.max_epochs,
                                       .batch = p->batch,
                                       .n_batches = p->n_batches,
                                       .global_step = p->global_step,
                                       .total_steps = f->total_steps,
                                       .steps_per_s = f->steps_per_s,
                                       .items_per_s = f->items_per_s,
                                       .unit = is_text(f) ? "tokens" : "samples",
                                       .n_metrics = (size_t)n,
                                       .metrics = m}};
  sw_emit_event(f->e, &ev);
}

static void host_metrics(void *ctx, int64_t step, int32_t n, const char *const *names,
                         const double *values) {
  struct fit *f = ctx;
  sw_logs_put(&f->logs, step, n, names, values);
}

static void host_evaluated(void *ctx, stk_stage stage, bool sanity, int64_t n_batches, int32_t n,
                           const char *const *names, const double *values) {
  struct fit *f = ctx;
  struct sp_event_metric m[STK_GRAPH_MAX_LOGS];
  const struct stk_control *now = stk_session_state(f->s.session)->now;
  (void)stage;
  for (int32_t i = 0; i < n; i++) {
    m[i] = (struct sp_event_metric){names[i], values[i]};
  }
  struct sp_event ev = {.kind = SP_EVENT_VALIDATION,
                        .u.validation = {.stage = sanity ? SP_STAGE_SANITY : SP_STAGE_VALIDATE,
                                         .epoch = now->epoch,
                                         .step = now->global_step,
                                         .n_batches = n_batches,
                                         .n_metrics = (size_t)n,
                                         .metrics = m}};
  sw_emit_event(f->e, &ev);
}

/* The page of the order takes the place of `now` while it is saved. */
static sp_status save_page(struct fit *f, struct stk_order *o, const char *name,
                           struct sp_err *err) {
  struct stk_state *state = stk_session_state(f->s.session);
  struct stk_control *mine = sp_alloc(state->control_bytes);
  if (!mine) {
    return sp_fail(err, SP_ENOMEM, "no memory to save a page");
  }
  memcpy(mine, state->now, state->control_bytes);
  memcpy(state->now, stk_state_order_page(o), state->control_bytes);
  sp_status st = sw_publish_save(&f->publish, name, err);
  memcpy(state->now, mine, state->control_bytes);
  sp_free(mine);
  return st;
}

static sp_status publish_item(struct fit *f, struct stk_order *o, const struct stk_order_item *it,
                              struct sp_err *err) {
  const struct stk_ckpt_decision *d = &it->decision;
  sp_status st = d->save[0] ? save_page(f, o, d->save, err) : SP_OK;
  st = st || !d->last[0] ? st : save_page(f, o, d->last, err);
  for (size_t k = 0; k < d->n_remove && !st; k++) {
    sw_publish_remove(&f->publish, d->remove[k]);
  }
  if (!st && it->tell_best) {
    sw_publish_best(&f->publish, it->best_name, it->best_monitor, it->best_score);
  }
  return st;
}

static void host_ordered(void *ctx, struct stk_order *o) {
  struct fit *f = ctx;
  struct sp_err err = {0};
  sp_status st = SP_OK;
  sw_logs_positions(&f->logs, stk_state_order_page(o)->log_position);
  for (int32_t i = 0; i < o->n_items && !st; i++) {
    st = publish_item(f, o, &o->items[i], &err);
  }
  snprintf(o->error, sizeof o->error, "%.500s", st ? err.text : "");
  atomic_store_explicit(&o->state, st ? STK_ORDER_FAILED : STK_ORDER_DONE, memory_order_release);
}

static bool host_exists(void *ctx, const char *name) {
  const struct fit *f = ctx;
  return sw_publish_exists(&f->publish, name);
}

/* ---- configuration */

static int64_t or_none(int64_t v, int64_t none) {
  return v == SP_INT_NONE ? none : v;
}

static void set_limits(struct fit *f) {
  const struct sp_trainer_opts *t = &f->s.job->trainer;
  struct stk_fit_config *c = &f->c;
  c->max_epochs = t->fast_dev_run > 0 ? 1 : t->max_epochs;
  c->max_steps = t->fast_dev_run > 0 ? f->s.n_train_batches : t->max_steps;
  c->min_epochs = or_none(t->min_epochs, t->min_steps != SP_INT_NONE ? 1 : 0);
  c->min_steps = or_none(t->min_steps, 0);
  c->max_time_ns = or_none(t->max_time, 0);
  c->n_train_batches = f->s.n_train_batches;
  c->n_val_batches = f->s.n_val_batches;
  c->val_across_epochs = t->check_val_every_n_epoch == SP_INT_NONE;
  c->val_epochs = c->val_across_epochs || t->fast_dev_run > 0 ? 1 : t->check_val_every_n_epoch;
  const struct sp_count *v = &t->val_check_interval;
  c->val_every = v->kind == SP_COUNT_N
                     ? v->n
                     : (int64_t)((double)c->n_train_batches *
                                 (v->kind == SP_COUNT_FRACTION ? v->fraction : 1.0));
  if (c->val_every < 1) {
    c->val_every = 1;
  }
  c->sanity_batches = t->fast_dev_run > 0 ? 0
                      : t->num_sanity_val_steps < 0 || t->num_sanity_val_steps > c->n_val_batches
                          ? c->n_val_batches
                          : t->num_sanity_val_steps;
  c->log_every = t->log_every_n_steps;
  c->train = f->s.train_loader;
  c->val = f->s.val_loader;
  int64_t per_epoch =
      (c->n_train_batches + t->accumulate_grad_batches - 1) / t->accumulate_grad_batches;
  f->total_steps = c->max_epochs >= 0 ? per_epoch * c->max_epochs : -1;
  if (c->max_steps >= 0 && (f->total_steps < 0 || c->max_steps < f->total_steps)) {
    f->total_steps = c->max_steps;
  }
}

static bool at_epoch_end(const struct fit *f, int when) {
  bool once = f->c.val_every == f->c.n_train_batches && !f->c.val_across_epochs;
  return when == SP_WHEN_DEFAULT ? stk_model_checkpoint_at_epoch_end(f->c.n_val_batches > 0,
                                                                     f->c.val_epochs, once, false)
                                 : when == SP_WHEN_YES;
}

static sp_status add_checkpoint(struct fit *f, const struct sp_checkpoint_opts *o,
                                struct sp_err *err) {
  if (f->c.n_ckpt == STK_CONTROL_CKPT) {
    return sp_fail(err, SP_EINVAL, "more than %d model_checkpoint callbacks", STK_CONTROL_CKPT);
  }
  if (o->dirpath && f->c.n_ckpt > 0) {
    return sp_fail(err, SP_EUNSUPPORTED,
                   "model_checkpoint.dirpath: only the first callback's may be given");
  }
  if (o->dirpath) {
    f->dirpath = o->dirpath;
  }
  struct stk_model_checkpoint_options m = stk_model_checkpoint_defaults();
  m.filename = o->filename ? o->filename : m.filename;
  m.monitor = o->monitor;
  m.mode = o->mode == SP_MODE_MAX ? STK_MONITOR_MAX : STK_MONITOR_MIN;
  m.save_top_k = o->save_top_k;
  m.save_last = (enum stk_ckpt_last)o->save_last;
  bool any = o->every_n_train_steps != SP_INT_NONE || o->every_n_epochs != SP_INT_NONE;
  m.every_n_train_steps = or_none(o->every_n_train_steps, 0);
  m.every_n_epochs = or_none(o->every_n_epochs, any ? 0 : 1);
  m.at_epoch_end = at_epoch_end(f, o->save_on_train_epoch_end);
  m.auto_insert_metric_name = o->auto_insert_metric_name;
  m.version_counter = o->enable_version_counter;
  f->c.ckpt[f->c.n_ckpt++].options = m;
  return stk_model_checkpoint_check(&m, err);
}

static sp_status add_early(struct fit *f, const struct sp_early_stopping_opts *o,
                           struct sp_err *err) {
  if (f->c.n_early == STK_CONTROL_EARLY) {
    return sp_fail(err, SP_EINVAL, "more than %d early_stopping callbacks", STK_CONTROL_EARLY);
  }
  f->c.early[f->c.n_early++] = (struct stk_fit_early){
      .options = {.mode = o->mode == SP_MODE_MAX ? STK_MONITOR_MAX : STK_MONITOR_MIN,
                  .min_delta = o->min_delta,
                  .patience = o->patience,
                  .check_finite = o->check_finite,
                  .stopping_threshold = o->stopping_threshold,
                  .divergence_threshold = o->divergence_threshold},
      .monitor = o->monitor,
      .strict = o->strict,
      .at_epoch_end = at_epoch_end(f, o->check_on_train_epoch_end)};
  return SP_OK;
}

/* Without an interval of its own the rate is logged when its schedules change it; without schedules
 * at steps and at epochs, as Lightning does. */
static void monitor_rates(struct fit *f, const struct sp_lr_monitor_opts *o) {
  const struct sp_lr_chain *lr = &f->s.job->lr;
  bool by_step = lr->n == 0, by_epoch = lr->n == 0;
  for (size_t i = 0; i < lr->n; i++) {
    by_step = by_step || lr->items[i].interval == SP_LR_BY_STEP;
    by_epoch = by_epoch || lr->items[i].interval == SP_LR_BY_EPOCH;
  }
  f->c.lr_monitor = (struct stk_fit_lr_monitor){
      .on_step = o->logging_interval == SP_LOG_INTERVAL_STEP ||
                 (o->logging_interval != SP_LOG_INTERVAL_EPOCH && by_step),
      .on_epoch = o->logging_interval == SP_LOG_INTERVAL_EPOCH ||
                  (o->logging_interval != SP_LOG_INTERVAL_STEP && by_epoch),
      .momentum = o->log_momentum,
      .weight_decay = o->log_weight_decay,
      .prefix = o->log_key_prefix};
}

static sp_status add_callbacks(struct fit *f, struct sp_err *err) {
  const struct sp_job *job = f->s.job;
  bool inert = job->trainer.fast_dev_run > 0, has_ckpt = false;
  sp_status st = SP_OK;
  for (size_t i = 0; i < job->callbacks.n && !st; i++) {
    const struct sp_callback_opts *c = &job->callbacks.items[i];
    if (c->kind == SP_CALLBACK_MODEL_CHECKPOINT) {
      has_ckpt = true;
      st = inert ? SP_OK : add_checkpoint(f, &c->checkpoint, err);
    } else if (c->kind == SP_CALLBACK_EARLY_STOPPING) {
      st = inert ? SP_OK : add_early(f, &c->early_stopping, err);
    } else if (c->kind == SP_CALLBACK_LR_MONITOR) {
      monitor_rates(f, &c->lr_monitor);
    }
  }
  if (!st && !has_ckpt && !inert && job->trainer.enable_checkpointing) {
    struct sp_checkpoint_opts plain = {.save_top_k = 1,
                                       .every_n_train_steps = SP_INT_NONE,
                                       .every_n_epochs = SP_INT_NONE,
                                       .auto_insert_metric_name = true,
                                       .enable_version_counter = true};
    st = add_checkpoint(f, &plain, err);
  }
  return st;
}

static sp_status start_state(struct fit *f, char *resumed, size_t cap, struct sp_err *err) {
  const struct sp_job *job = f->s.job;
  struct stk_state *state = stk_session_state(f->s.session);
  const char *which = job->root.ckpt_path;
  stk_state_init(state, f->s.module, (uint64_t)job->root.seed_everything, f->s.pool);
  sp_status st = stk_schedule_init(&job->lr, f->total_steps, f->c.max_epochs, &f->c.schedules,
                                   state->now->schedules, err);
  if (!st && job->weights.path) {
    char text[512];
    st = sw_ckpt_fine_tune(&f->s, text, sizeof text, err);
    if (!st) {
      sw_emit_text(f->e, SP_TEXT_INFO, "%s\n", text);
    }
  }
  if (st || !which) {
    return st;
  }
  char path[PATH_MAX];
  st = sw_find_whole_ckpt(f->e, job, which, path, err);
  st = st ? st : sw_ckpt_resume(&f->s, path, err);
  snprintf(resumed, cap, "%s", st ? "" : path);
  return st;
}

static void tell_start(struct fit *f, const char *resumed) {
  const struct sp_job *job = f->s.job;
  const struct stk_module *m = f->s.module;
  const struct stk_control *now = stk_session_state(f->s.session)->now;
  int64_t n = 0, trainable = 0;
  for (int32_t i = 0; i < m->n_params; i++) {
    int64_t k = stk_shape_numel(&m->params[i]->shape);
    n += k;
    trainable += m->param_leaves[i].trainable ? k : 0;
  }
  sw_summary_tell(&f->s, f->e);
  struct sp_event ev = {
      .kind = SP_EVENT_RUN_STARTED,
      .u.run_started = {
          .verb = "fit",
          .model = m->def->name,
          .log_dir = f->logs.dir,
          .resumed_from = resumed,
          .kernels = f->s.kernels->isa,
          .precision = job->trainer.precision == SP_PRECISION_64 ? "64-true" : "32-true",
          .n_params = n,
          .n_trainable = trainable,
          .max_epochs = f->c.max_epochs,
          .total_steps = f->total_steps,
          .n_train_batches = f->c.n_train_batches,
          .n_val_batches = f->c.n_val_batches,
          .epoch = now->epoch,
          .global_step = now->global_step,
          .lanes = job->trainer.lanes,
          .ranks = 1,
          .threads = stk_pool_n_threads(f->s.pool),
          .plan_peak_bytes = -1}};
  sw_emit_event(f->e, &ev);
  if (job->trainer.devices > 1) {
    sw_emit_text(f->e, SP_TEXT_INFO, "devices: %lld run as %lld lanes on one rank\n",
                 (long long)job->trainer.devices, (long long)job->trainer.lanes);
  }
}

static sp_status open_outputs(struct fit *f, const char *resumed, struct sp_err *err) {
  struct stk_control *now = stk_session_state(f->s.session)->now;
  char dir[PATH_MAX];
  sp_status st = sw_logs_open(&f->s, f->e, resumed, now->log_position, &f->logs, err);
  if (st) {
    return st;
  }
  snprintf(dir, sizeof dir, "%.4000s%s", f->dirpath ? f->dirpath : f->logs.dir,
           f->dirpath ? "" : "/checkpoints");
  sw_publish_init(&f->publish, &f->s, f->e, f->logs.dir, dir, resumed);
  for (int32_t i = 0; *resumed && !sw_publish_goes_on(&f->publish) && i < f->c.n_ckpt; i++) {
    stk_model_checkpoint_forget_names(&now->ckpt[i]);
  }
  return SP_OK;
}

/* What only a supervisor can do. devices alone runs as lanes on one rank, as tell_start says. */
static sp_status check_ranks(const struct sp_job *job, struct sp_err *err) {
  const struct sp_trainer_opts *t = &job->trainer;
  if (t->ranks > 1 && t->ranks != t->devices) {
    return sp_fail(err, SP_EUNSUPPORTED,
                   "trainer.ranks: %lld: several processes are not built yet; one runs all lanes, "
                   "with the same result",
                   (long long)t->ranks);
  }
  if (job->root.resume) {
    return sp_fail(
        err, SP_EUNSUPPORTED,
        "resume: going on with an interrupted run is not built yet; use --ckpt_path last");
  }
  return SP_OK;
}

static sp_status prepare(struct fit *f, int argc, char **argv, char *resumed, size_t cap,
                         struct sp_err *err) {
  sp_status st = sw_setup_open(argc > 0 ? argv[0] : NULL, (const char *const *)(argv + 1),
                               (size_t)(argc > 0 ? argc - 1 : 0), STK_TRAIN, &f->s, err);
  if (st) {
    return st;
  }
  st = check_ranks(f->s.job, err);
  if (st) {
    return st;
  }
  set_limits(f);
  f->c.host = (struct stk_host){.ctx = f,
                                .stop_asked = host_stop,
                                .now_ns = mono_ns,
                                .progress = host_progress,
                                .metrics = host_metrics,
                                .evaluated = host_evaluated,
                                .ordered = host_ordered,
                                .exists = host_exists,
                                .say = host_say};
  st = add_callbacks(f, err);
  st = st ? st : sw_logs_check(f->s.job, err);
  st = st ? st : sw_monitors_check(&f->s, err);
  st = st ? st : start_state(f, resumed, cap, err);
  return st ? st : open_outputs(f, resumed, err);
}

static void tell_stop(struct fit *f, stk_stop why) {
  static const enum sp_stop_reason reasons[] = {0, SP_STOP_EARLY, SP_STOP_MAX_TIME, SP_STOP_MODULE,
                                                SP_STOP_SIGNAL};
  const struct stk_control *now = stk_session_state(f->s.session)->now;
  if (why == STK_STOP_NONE) {
    return;
  }
  struct sp_event ev = {.kind = SP_EVENT_STOPPED,
                        .u.stopped = {.reason = f->e->gone ? SP_STOP_CLIENT_GONE : reasons[why],
                                      .text = "",
                                      .epoch = now->epoch,
                                      .step = now->global_step}};
  sw_emit_event(f->e, &ev);
}

int sw_verb_fit(struct sw_emit *e, int argc, char **argv) {
  struct fit *f = sp_alloc(sizeof *f);
  struct sp_err err = {0};
  struct sp_event_result r = {.message = "", .ckpt_last = "", .ckpt_best = ""};
  char resumed[PATH_MAX] = "", next[4][PATH_MAX + 200];
  const char *next_list[4];
  stk_fit *loop = NULL;
  stk_stop why = STK_STOP_NONE;
  if (!f) {
    sp_fail(&err, SP_ENOMEM, "no memory");
    return sw_emit_result(e, &err, false, &r);
  }
  f->e = e;
  sp_status st = prepare(f, argc, argv, resumed, sizeof resumed, &err);
  st = st ? st : stk_fit_new(&f->c, f->s.session, &loop, &err);
  if (!st) {
    tell_start(f, resumed);
    f->ran = true;
    f->start_ns = f->window_ns = mono_ns(NULL);
    st = stk_fit_run(loop, &why, &err);
    tell_stop(f, why);
    bool unsaved = !st && why != STK_STOP_SIGNAL && f->publish.failed.status;
    if (!st && why == STK_STOP_SIGNAL) {
      st = stk_fit_save(loop, "last", &err);
      r.status = SP_ECANCELED;
      r.exit = SP_EXIT_JOB_CANCELED;
    }
    if (f->publish.newest[0] && (unsaved || why == STK_STOP_SIGNAL)) {
      snprintf(next[r.n_next++], sizeof next[0], "stoker fit %s --ckpt_path %s",
               argc > 0 ? argv[0] : "JOB", f->publish.newest);
    } else if (!st && f->publish.newest[0]) {
      snprintf(next[r.n_next++], sizeof next[0], "stoker validate %s --ckpt_path %s",
               argc > 0 ? argv[0] : "JOB", f->publish.newest);
      snprintf(next[r.n_next++], sizeof next[0], "stoker ckpt show %s", f->publish.newest);
    }
    if (unsaved) {
      st = sp_fail(&err, f->publish.failed.status,
                   "the training is done, but its last checkpoint could not be written: %.600s; "
                   "make room and go on from the newest one",
                   f->publish.failed.text);
    }
    r.seconds = (double)(mono_ns(NULL) - f->start_ns) * 1e-9;
    sw_profile_report(&f->s, e, "fit", f->logs.dir);
    r.epoch = stk_session_state(f->s.session)->now->epoch;
    r.step = stk_session_state(f->s.session)->now->global_step;
  }
  sw_logs_close(&f->logs, st                       ? STK_LOG_FAILED
                          : why == STK_STOP_SIGNAL ? STK_LOG_INTERRUPTED
                                                   : STK_LOG_SUCCESS);
  for (size_t i = 0; i < r.n_next; i++) {
    next_list[i] = next[i];
  }
  r.next = next_list;
  r.ckpt_last = f->publish.newest;
  r.ckpt_best = f->publish.best;
  int exit_code = sw_emit_result(e, &err, f->ran, &r);
  stk_fit_free(loop);
  sw_setup_close(&f->s);
  sp_free(f);
  return exit_code;
}
