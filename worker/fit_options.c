/* The fit loop's configuration from the job's options. See fit_options.h. */
#include "worker/fit_options.h"

#include <math.h>

static int64_t or_none(int64_t v, int64_t none) {
  return v == SP_INT_NONE ? none : v;
}

static void set_limits(struct sw_fit_options *f) {
  const struct sp_trainer_opts *t = &f->s->job->trainer;
  struct stk_fit_config *c = &f->c;
  c->max_epochs = t->fast_dev_run > 0 ? 1 : t->max_epochs;
  c->max_steps = t->fast_dev_run > 0 ? f->s->n_train_batches : t->max_steps;
  c->min_epochs = or_none(t->min_epochs, t->min_steps != SP_INT_NONE ? 1 : 0);
  c->min_steps = or_none(t->min_steps, 0);
  c->max_time_ns = or_none(t->max_time, 0);
  c->n_train_batches = f->s->n_train_batches;
  c->n_val_batches = f->s->n_val_batches;
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
  c->train = f->s->train_loader;
  c->val = f->s->val_loader;
  int64_t per_epoch =
      (c->n_train_batches + t->accumulate_grad_batches - 1) / t->accumulate_grad_batches;
  f->total_steps = c->max_epochs >= 0 ? per_epoch * c->max_epochs : -1;
  if (c->max_steps >= 0 && (f->total_steps < 0 || c->max_steps < f->total_steps)) {
    f->total_steps = c->max_steps;
  }
}

static bool at_epoch_end(const struct sw_fit_options *f, int when) {
  bool once = f->c.val_every == f->c.n_train_batches && !f->c.val_across_epochs;
  return when == SP_WHEN_DEFAULT ? stk_model_checkpoint_at_epoch_end(f->c.n_val_batches > 0,
                                                                     f->c.val_epochs, once, false)
                                 : when == SP_WHEN_YES;
}

static sp_status add_checkpoint(struct sw_fit_options *f, const struct sp_checkpoint_opts *o,
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

static sp_status add_early(struct sw_fit_options *f, const struct sp_early_stopping_opts *o,
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
static void monitor_rates(struct sw_fit_options *f, const struct sp_lr_monitor_opts *o) {
  const struct sp_lr_chain *lr = &f->s->job->lr;
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

static sp_status add_callbacks(struct sw_fit_options *f, struct sp_err *err) {
  const struct sp_job *job = f->s->job;
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

sp_status sw_fit_options_read(const struct sw_setup *s, struct sw_fit_options *out,
                              struct sp_err *err) {
  *out = (struct sw_fit_options){.s = s};
  set_limits(out);
  return add_callbacks(out, err);
}
