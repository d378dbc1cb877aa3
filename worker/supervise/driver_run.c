/* What a run leaves behind and says: directory, run.json, loggers, chronicle, events, checkpoints.
 * See driver.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/fault.h"
#include "proto/base/file.h"
#include "proto/base/mem.h"
#include "worker/supervise/driver.h"

/* ---- the directory */

static void tell_chronicle_trouble(void *ctx, const char *text) {
  struct sw_driver *d = ctx;
  sw_emit_text(d->client, SP_TEXT_WARNING, "%s\n", text);
}

/* Removes what persisters of this run that died have left. */
static void sweep_checkpoints(struct sw_driver *d) {
  (void)!stk_ckpt_sweep(d->run.ckpt_dir, (int64_t)d->generation + 1, 0, NULL);
  d->save_torn = false;
}

sp_status sw_driver_write_run(struct sw_driver *d, sp_run_state state, struct sp_err *err) {
  char nonce[24], boot[SW_BOOT_ID], cwd[PATH_MAX] = "", ckpt_dir[2 * PATH_MAX];
  snprintf(nonce, sizeof nonce, "%016llx", (unsigned long long)d->run.nonce);
  sw_run_boot_id(boot);
  if (!getcwd(cwd, sizeof cwd)) {
    *cwd = '\0';
  }
  bool over = state != SP_RUN_RUNNING;
  snprintf(ckpt_dir, sizeof ckpt_dir, "%.4095s%s%.4095s", *d->run.ckpt_dir == '/' ? "" : cwd,
           *d->run.ckpt_dir == '/' ? "" : "/", d->run.ckpt_dir);
  struct sp_run_file f = {.state = state,
                          .nonce = nonce,
                          .boot_id = boot,
                          .slots_dir = over ? "" : d->run.slots_dir,
                          .generation = d->generation,
                          .ranks = d->n_ranks,
                          .lanes = d->lanes,
                          .pid = getpid(),
                          .started = d->run.started,
                          .model = d->model,
                          .ckpt_dir = ckpt_dir,
                          .job_file = d->job_file,
                          .cwd = cwd,
                          .n_args = (size_t)d->n_args,
                          .args = (const char *const *)d->args};
  if (over && d->save_torn) {
    sweep_checkpoints(d);
  }
  return sp_run_file_write(d->run.dir, &f, err);
}

/* Where checkpoints go: the first ModelCheckpoint's dirpath, else in the run's directory. */
static void set_ckpt_dir(struct sw_driver *d) {
  const char *dirpath = NULL;
  for (size_t i = 0; i < d->job->callbacks.n && !dirpath; i++) {
    const struct sp_callback_opts *c = &d->job->callbacks.items[i];
    dirpath = c->kind == SP_CALLBACK_MODEL_CHECKPOINT ? c->checkpoint.dirpath : NULL;
  }
  snprintf(d->run.ckpt_dir, sizeof d->run.ckpt_dir, "%.4000s%s", dirpath ? dirpath : d->logs.dir,
           dirpath ? "" : "/checkpoints");
}

static void keep_numbers(struct sw_driver *d, const struct sp_ready *r) {
  d->threads = r->threads;
  d->lanes = r->lanes;
  d->n_params = r->n_params;
  d->n_trainable = r->n_trainable;
  d->n_train_batches = r->n_train_batches;
  d->n_val_batches = r->n_val_batches;
  d->total_steps = r->total_steps;
  d->max_epochs = r->max_epochs;
  snprintf(d->model, sizeof d->model, "%s", r->model);
  snprintf(d->kernels, sizeof d->kernels, "%s", r->kernels);
  snprintf(d->precision, sizeof d->precision, "%s", r->precision);
}

static sp_status open_logs(struct sw_driver *d, const struct sp_ready *r, struct sp_err *err) {
  struct stk_hparam_text h[SP_SUPERVISE_MAX_HPARAMS];
  const struct stk_control *page = sw_books_page(&d->books);
  for (size_t i = 0; i < r->n_hparams; i++) {
    h[i] = (struct stk_hparam_text){r->hparams[i].name, r->hparams[i].value};
  }
  struct sw_logs_spec spec = {
      .job = d->job,
      .hparams = h,
      .n_hparams = r->n_hparams,
      .run_dir = d->run.goes_on ? d->run.dir : "",
      .resumed = d->run.resumed,
      .position = d->run.from_slots ? d->books.book.position : page->log_position};
  return sw_logs_open(&spec, d->client, &d->logs, err);
}

/* An order of a supervisor that died after the rename is finished, not carried out again. */
static void finish_order(struct sw_driver *d) {
  struct sw_committed now = sw_books_committed(&d->books);
  struct stk_order *o = d->books.orders[now.journal.order_seq % 2];
  struct sp_err err = {0};
  if (d->run.from_slots && o->seq == now.journal.order_seq &&
      atomic_load(&o->state) == STK_ORDER_OPEN &&
      sw_publish_order(&d->publish, o, NULL, "", &d->published, &err) == SP_OK) {
    sw_books_answer(o, SP_OK, "");
  }
}

static void chronicle_start(struct sw_driver *d) {
  struct sp_chronicle_entry e = sp_chronicle_entry(SP_CHRONICLE_START);
  sw_chronicle_open(&d->chronicle, d->run.dir, sp_clock_system(), tell_chronicle_trouble, d);
  e.generation = d->generation;
  e.pid = getpid();
  e.ranks = d->n_ranks;
  e.step = sw_books_committed(&d->books).step;
  e.source = d->run.from_slots ? "slots" : *d->run.resumed ? "checkpoint" : "start";
  e.path = *d->run.resumed ? d->run.resumed : NULL;
  sw_chronicle_append(&d->chronicle, &e);
  for (size_t i = 0; i < d->run.rejected.n; i++) {
    e = sp_chronicle_entry(SP_CHRONICLE_REJECTED);
    e.generation = d->generation;
    e.path = d->run.rejected.at[i].path;
    e.text = d->run.rejected.at[i].why;
    sw_chronicle_append(&d->chronicle, &e);
  }
}

sp_status sw_driver_on_ready(struct sw_driver *d, const struct sp_ready *r, struct sp_err *err) {
  struct sp_err ignored = {0};
  keep_numbers(d, r);
  d->generation = d->run.generation;
  sp_status st = sw_books_open(d->run.slots_dir, &d->books, err);
  st = st ? st : open_logs(d, r, err);
  if (st) {
    return st;
  }
  d->books.logs = &d->logs;
  if (!d->run.goes_on && !realpath(d->logs.dir, d->run.dir)) {
    return sp_fail_errno(err, "the run's directory %s", d->logs.dir);
  }
  set_ckpt_dir(d);
  sw_publish_init(&d->publish, d->run.ckpt_dir, d->run.resumed, d->run.nonce);
  st = sw_run_lock(&d->run, err);
  st = st ? st : sw_regions_own(d->run.slots_dir, d->run.dir, err);
  if (!st && d->job->trainer.audit) {
    st = sw_books_audit(&d->books, d->run.dir, err);
  }
  st = st ? st : sw_driver_write_run(d, SP_RUN_RUNNING, err);
  if (st) {
    return st;
  }
  if (stk_ckpt_sweep(d->run.ckpt_dir, (int64_t)d->run.generation + 1, 0, &ignored)) {
    sw_emit_text(d->client, SP_TEXT_WARNING, "leftovers in %s stay: %s\n", d->run.ckpt_dir,
                 ignored.text);
  }
  finish_order(d);
  d->has_books = true;
  chronicle_start(d);
  sw_driver_listen(d);
  if (d->write_pending) {
    uint32_t generation = d->write_pending;
    d->write_pending = 0;
    sw_driver_write_generation(d, generation, d->write_ranks);
  }
  return SP_OK;
}

void sw_driver_write_generation(struct sw_driver *d, uint32_t generation, int32_t n_ranks) {
  struct sp_err err = {0};
  if (!d->has_books) { /* there is no directory yet; nothing but the zygote runs before */
    d->write_pending = generation;
    d->write_ranks = n_ranks;
    return;
  }
  d->generation = generation;
  d->n_ranks = n_ranks;
  (void)SP_FAULT("supervisor.generation");
  sp_status st = sw_driver_write_run(d, SP_RUN_RUNNING, &err);
  (void)SP_FAULT("supervisor.generation_written");
  sw_driver_event(
      d, (struct sw_event){
             .kind = SW_EV_WRITTEN, .generation = generation, .status = st, .text = err.text});
}

/* ---- checkpoints */

static void publish_work(uv_work_t *w) {
  struct sw_driver *d = w->data;
  d->publish_err = (struct sp_err){0};
  d->publish_status =
      sw_publish_order(&d->publish, d->order, &d->receipt, "", &d->published, &d->publish_err);
  if (d->save_torn && d->publish_status == SP_OK) {
    sweep_checkpoints(d);
  }
}

static void publish_done(uv_work_t *w, int status) {
  struct sw_driver *d = w->data;
  (void)status;
  sw_driver_event(d, (struct sw_event){.kind = SW_EV_PUBLISHED,
                                       .order = d->order->seq,
                                       .status = d->publish_status,
                                       .text = d->publish_err.text});
}

void sw_driver_publish(struct sw_driver *d) {
  d->publishing.data = d;
  (void)SP_FAULT("supervisor.publish");
  uv_queue_work(&d->loop, &d->publishing, publish_work, publish_done);
}

static void tell_checkpoint(struct sw_driver *d, const struct sw_action *a) {
  const struct stk_order *o = d->order;
  bool ok = a->status == SP_OK;
  char path[PATH_MAX + 80];
  double s = (double)(sp_mono_now(sp_clock_system()).ns - d->order_since_ns) * 1e-9;
  snprintf(path, sizeof path, "%s/%s", d->run.ckpt_dir, ok ? d->published.saved.name : "step");
  struct sp_event ev = {.kind = SP_EVENT_CHECKPOINT,
                        .u.checkpoint = {.ok = ok,
                                         .path = path,
                                         .error = a->text,
                                         .epoch = o->epoch,
                                         .step = o->step,
                                         .n_bytes = ok ? (int64_t)d->published.saved.bytes : 0,
                                         .seconds = s}};
  sw_emit_event(d->client, &ev);
  if (ok && *d->published.note) {
    sw_emit_text(d->client, SP_TEXT_WARNING, "%s\n", d->published.note);
  }
  struct sp_chronicle_entry e = sp_chronicle_entry(SP_CHRONICLE_CHECKPOINT);
  e.generation = d->generation;
  e.ok = ok;
  e.step = o->step;
  e.path = ok ? path : NULL;
  e.ms = s * 1e3;
  e.text = ok ? NULL : a->text;
  sw_chronicle_append(&d->chronicle, &e);
}

void sw_driver_acknowledge(struct sw_driver *d, const struct sw_action *a) {
  struct stk_order *o = d->order;
  if (!o || o->seq != a->order) {
    return;
  }
  tell_checkpoint(d, a);
  d->outcome.save_failed = a->status != SP_OK;
  snprintf(d->outcome.save_error, sizeof d->outcome.save_error, "%.590s", a->text);
  (void)SP_FAULT("supervisor.acknowledge");
  sw_books_answer(o, a->status, a->text);
  d->order = NULL;
}

bool sw_driver_link(struct sw_driver *d, struct stk_order *o) {
  struct sw_published done;
  struct sp_err err = {0};
  char manifest[PATH_MAX + 80];
  snprintf(manifest, sizeof manifest, "%s/%s/MANIFEST", d->run.ckpt_dir, d->published.saved.name);
  if (!*d->published.saved.name || access(manifest, R_OK) != 0 ||
      !sw_books_is_saved(&d->books, o) ||
      sw_publish_order(&d->publish, o, NULL, d->published.saved.name, &done, &err)) {
    return false;
  }
  sw_books_answer(o, SP_OK, "");
  return true;
}

/* ---- what is told */

static void tell_started(struct sw_driver *d) {
  struct sw_committed now = sw_books_committed(&d->books);
  struct sp_event ev = {.kind = SP_EVENT_RUN_STARTED,
                        .u.run_started = {.verb = "fit",
                                          .model = d->model,
                                          .log_dir = d->logs.dir,
                                          .resumed_from = d->run.resumed,
                                          .kernels = d->kernels,
                                          .precision = d->precision,
                                          .n_params = d->n_params,
                                          .n_trainable = d->n_trainable,
                                          .max_epochs = d->max_epochs,
                                          .total_steps = d->total_steps,
                                          .n_train_batches = d->n_train_batches,
                                          .n_val_batches = d->n_val_batches,
                                          .epoch = now.epoch,
                                          .global_step = now.step,
                                          .lanes = d->lanes,
                                          .ranks = d->n_ranks,
                                          .threads = d->threads,
                                          .plan_peak_bytes = -1}};
  sw_emit_event(d->client, &ev);
  d->told_start = true;
}

static void tell_opened(struct sw_driver *d, const struct sw_action *a) {
  if (!d->told_start) {
    tell_started(d);
  } else {
    struct sp_event ev = {.kind = SP_EVENT_GENERATION, .u.generation = {a->generation, a->n_ranks}};
    sw_emit_event(d->client, &ev);
  }
  struct sp_chronicle_entry e = sp_chronicle_entry(SP_CHRONICLE_GENERATION);
  e.generation = a->generation;
  e.ranks = a->n_ranks;
  e.step = a->step;
  sw_chronicle_append(&d->chronicle, &e);
}

/* Whether the step after the committed one had begun: the lead's page says what it works at. */
static int64_t begun(const struct sw_driver *d, int64_t committed) {
  const struct stk_group_rank *lead = d->has_books ? &d->books.group->rank[0] : NULL;
  return lead && atomic_load_explicit(&lead->pid, memory_order_relaxed) != 0 &&
                 atomic_load_explicit(&lead->step, memory_order_relaxed) == committed
             ? 1
             : 0;
}

static void tell_died(struct sw_driver *d, const struct sw_action *a) {
  struct sw_incident *i = &d->incident;
  struct sp_chronicle_entry e = sp_chronicle_entry(SP_CHRONICLE_DEATH);
  d->deaths++;
  if (a->role == SW_ROLE_RANK) {
    snprintf(i->who, sizeof i->who, i->n ? "%d ranks" : "rank %d", i->n ? i->n + 1 : a->rank);
    snprintf(i->cause, sizeof i->cause, "%s", a->cause->text);
    i->rank = i->n ? -1 : a->rank;
    i->step = i->n ? i->step : a->step;
    i->recomputed = i->n ? i->recomputed : begun(d, a->step);
    i->n++;
  } else {
    sw_emit_text(d->client, SP_TEXT_WARNING, "%s\n", a->text);
  }
  e.generation = a->generation;
  e.rank = a->role == SW_ROLE_RANK ? a->rank : -1;
  e.step = a->step;
  e.text = a->cause->text;
  sw_chronicle_append(&d->chronicle, &e);
}

static void tell_recovered(struct sw_driver *d, const struct sw_action *a) {
  struct sw_incident *i = &d->incident;
  if (!*i->who) {
    return; /* a change of ranks that was asked for: nothing had died */
  }
  d->recoveries++;
  double ms = (double)a->ns * 1e-6;
  struct sp_event ev = {.kind = SP_EVENT_RECOVERY,
                        .u.recovery = {.who = i->who,
                                       .cause = i->cause,
                                       .rank = i->rank,
                                       .step = i->step,
                                       .next_step = a->step,
                                       .generation = a->generation,
                                       .source = SP_SOURCE_SLOTS,
                                       .n_recomputed = i->recomputed,
                                       .ms = ms}};
  struct sp_chronicle_entry e = sp_chronicle_entry(SP_CHRONICLE_RECOVERY);
  sw_emit_event(d->client, &ev);
  e.generation = a->generation;
  e.rank = i->rank;
  e.step = i->step;
  e.next_step = a->step;
  e.recomputed = i->recomputed;
  e.ms = ms;
  e.source = "slots";
  e.text = i->who;
  sw_chronicle_append(&d->chronicle, &e);
  *i = (struct sw_incident){.n = 0};
}

/* An attempt that another one follows; the last one is told with the order (tell_checkpoint). */
static void tell_save_failed(struct sw_driver *d, const struct sw_action *a) {
  struct sp_chronicle_entry e = sp_chronicle_entry(SP_CHRONICLE_CHECKPOINT);
  d->save_torn = true;
  sw_emit_text(d->client, SP_TEXT_WARNING, "%s\n", a->text);
  if (a->ns >= 0) {
    e.generation = d->generation;
    e.ok = 0;
    e.step = d->order ? d->order->step : -1;
    e.text = a->text;
    sw_chronicle_append(&d->chronicle, &e);
  }
}

static void note(struct sw_driver *d, sp_chronicle_kind kind, const struct sw_action *a) {
  struct sp_chronicle_entry e = sp_chronicle_entry(kind);
  e.generation = d->generation;
  e.rank = a->rank;
  e.ranks = a->n_ranks > 0 ? a->n_ranks : -1;
  e.step = a->step;
  e.text = a->text;
  sw_chronicle_append(&d->chronicle, &e);
}

void sw_driver_tell(struct sw_driver *d, const struct sw_action *a) {
  switch (a->tell) {
    case SW_TELL_OPENED:
      tell_opened(d, a);
      break;
    case SW_TELL_DIED:
      tell_died(d, a);
      break;
    case SW_TELL_RECOVERED:
      tell_recovered(d, a);
      break;
    case SW_TELL_SCALING:
      note(d, SP_CHRONICLE_SCALE, a);
      sw_emit_text(d->client, SP_TEXT_INFO, "%s\n", a->text);
      break;
    case SW_TELL_STOPPING:
      note(d, SP_CHRONICLE_STOP, a);
      break;
    case SW_TELL_KILLED:
      note(d, SP_CHRONICLE_STALL, a);
      sw_emit_text(d->client, SP_TEXT_WARNING, "%s\n", a->text);
      break;
    case SW_TELL_SAVE_FAILED:
      tell_save_failed(d, a);
      break;
    case SW_TELL_RETRY:
    case SW_TELL_NOT_WRITTEN:
      sw_emit_text(d->client, SP_TEXT_WARNING, "%s\n", a->text);
      break;
  }
}
