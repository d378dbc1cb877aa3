/* `stoker fit`: the supervisor of one run. It reads the job, decides where the run begins (anew,
 * from a checkpoint, or in the regions of a run that was killed), hands over to the driver, and
 * words the end. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/fault.h"
#include "proto/base/mem.h"
#include "worker/supervise/driver.h"
#include "worker/verbs.h"

static sp_status prepare(struct sw_driver *d, struct sp_err *err) {
  const char *const *args = (const char *const *)d->args;
  sp_status st = sp_job_load(d->job_file, args, (size_t)d->n_args, &d->job, err);
  return st ? st : sw_run_begin(d->client, d->job, &d->run, err);
}

/* ---- the end */

struct ending {
  struct sp_event_result r;
  char next[4][PATH_MAX + 200];
  const char *list[4];
};

static void suggest(struct ending *e, const char *fmt, const char *a, const char *b) {
  char *line = e->next[e->r.n_next];
  if (b) {
    snprintf(line, sizeof e->next[0], fmt, a, b);
  } else {
    snprintf(line, sizeof e->next[0], fmt, a);
  }
  e->list[e->r.n_next] = line;
  e->r.n_next++;
}

static void tell_stop(struct sw_driver *d) {
  struct sw_committed now = sw_books_committed(&d->books);
  const struct sw_outcome *o = &d->outcome;
  if (o->end != SW_END_FINISHED || o->stop == 0) {
    return;
  }
  struct sp_event ev = {.kind = SP_EVENT_STOPPED,
                        .u.stopped = {.reason = o->stop == SP_STOP_SIGNAL && d->client->gone
                                                    ? SP_STOP_CLIENT_GONE
                                                    : (enum sp_stop_reason)o->stop,
                                      .text = "",
                                      .epoch = now.epoch,
                                      .step = now.step}};
  sw_emit_event(d->client, &ev);
}

static sp_status judge(struct sw_driver *d, struct ending *e, struct sp_err *err) {
  const struct sw_outcome *o = &d->outcome;
  const char *newest = d->publish.newest;
  bool stopped = o->stop == SP_STOP_SIGNAL;
  if (o->end != SW_END_FINISHED) {
    return sp_fail(err, o->status ? o->status : SP_EIO, "%s", o->text);
  }
  if (stopped) {
    e->r.status = SP_ECANCELED;
    e->r.exit = SP_EXIT_JOB_CANCELED;
  }
  if (*newest && (o->save_failed || stopped)) {
    suggest(e, "stoker fit %s --ckpt_path %s", d->job_file, newest);
  } else if (*newest) {
    suggest(e, "stoker validate %s --ckpt_path %s", d->job_file, newest);
    suggest(e, "stoker ckpt show %s", newest, NULL);
  }
  return !o->save_failed ? SP_OK
                         : sp_fail(err, SP_EIO,
                                   "the training is done, but its last checkpoint could not be "
                                   "written: %.590s; make room and go on from the newest one",
                                   o->save_error);
}

static sp_run_state state_of(const struct sw_driver *d, sp_status st) {
  return st ? SP_RUN_FAILED : d->outcome.stop == SP_STOP_SIGNAL ? SP_RUN_STOPPED : SP_RUN_FINISHED;
}

/* What the run's directory says from now on. */
static void close_run(struct sw_driver *d, sp_status st, const char *text) {
  struct sp_err err = {0};
  struct sp_chronicle_entry e = sp_chronicle_entry(SP_CHRONICLE_END);
  e.generation = d->generation;
  e.ok = st == SP_OK;
  e.step = sw_books_committed(&d->books).step;
  e.text = st ? text : NULL;
  sw_chronicle_append(&d->chronicle, &e);
  sw_chronicle_close(&d->chronicle);
  if (sw_driver_write_run(d, state_of(d, st), &err)) {
    sw_emit_text(d->client, SP_TEXT_WARNING, "%s\n", err.text);
  }
}

static void close_all(struct sw_driver *d, sp_status st) {
  sw_logs_close(&d->logs, st                                  ? STK_LOG_FAILED
                          : d->outcome.stop == SP_STOP_SIGNAL ? STK_LOG_INTERRUPTED
                                                              : STK_LOG_SUCCESS);
  if (d->has_books) {
    sw_books_close(&d->books);
  }
  if (*d->run.slots_dir) {
    sw_regions_remove(d->run.slots_dir);
  }
  if (d->run.lock_fd >= 0) {
    close(d->run.lock_fd);
  }
  sp_job_free(d->job);
}

int sw_verb_fit(struct sw_emit *e, int argc, char **argv) {
  struct sw_driver *d = sp_alloc(sizeof *d);
  struct ending *end = sp_alloc(sizeof *end);
  struct sp_err err = {0};
  if (!d || !end) {
    struct sp_event_result none = {.message = "", .ckpt_last = "", .ckpt_best = ""};
    sp_fail(&err, SP_ENOMEM, "no memory");
    return sw_emit_result(e, &err, false, &none);
  }
  sp_fault_set_role(-1, "supervisor");
  sp_outbox *box = e->box = sp_outbox_new(0);
  d->client = e;
  d->job_file = argc > 0 ? argv[0] : NULL;
  d->args = argv + 1;
  d->n_args = argc > 0 ? argc - 1 : 0;
  d->run.lock_fd = -1;
  sp_status st = prepare(d, &err);
  int64_t since = sp_mono_now(sp_clock_system()).ns;
  st = st ? st
          : sw_driver_run(d, (int32_t)d->job->trainer.ranks, (int32_t)d->job->trainer.lanes,
                          d->run.generation, &err);
  if (!st) {
    if (d->has_books) {
      tell_stop(d);
      end->r.step = sw_books_committed(&d->books).step;
      end->r.epoch = sw_books_committed(&d->books).epoch;
    }
    st = judge(d, end, &err);
  }
  if (d->has_books) {
    close_run(d, st, err.text);
  }
  end->r.seconds = (double)(sp_mono_now(sp_clock_system()).ns - since) * 1e-9;
  end->r.message = "";
  end->r.ckpt_last = d->publish.newest;
  end->r.ckpt_best = d->publish.best;
  end->r.next = end->list;
  /* A module that crashes while it is loaded is a job that failed, not a wrong one. */
  bool crashed = d->outcome.end == SW_END_START_ERROR && !d->zygote_spoke && d->n_zygotes > 0;
  int exit_code = sw_emit_result(e, &err, d->told_start || crashed, &end->r);
  close_all(d, st);
  sw_driver_show_rest(d); /* nothing waits for the command but this process */
  sw_emit_drain(e);
  sp_outbox_free(box);
  e->box = NULL;
  sp_free(end);
  sp_free(d);
  return exit_code;
}
