/* Frame -> struct sp_event, trusting nothing. Every get_x of one field returns false after writing
 * the reason; an event's own getter is one conjunction of them, in the order of the schema. */
#include "proto/wire/convert.h"

#include "proto/base/mem.h"
#include "proto/wire/message.h"
#include "proto/wire/utf8.h"

#include "events.pb-c.h"

#include <math.h>
#include <string.h>

struct unpacker {
  struct sp_convert *c;
  const char *message; /* name, for errors */
  struct sp_err *err;
  sp_status failure;
};

static bool refuse(struct unpacker *u, const char *field, const char *why) {
  u->failure = sp_fail(u->err, SP_ECORRUPT, "event: %s.%s %s", u->message, field, why);
  return false;
}

static bool get_string(struct unpacker *u, const char *field, const char *from, size_t limit,
                       bool lines, const char **out) {
  size_t n = strlen(from);
  if (n > limit) {
    return refuse(u, field, "is too long");
  }
  if (!sp_utf8_clean(from, n, lines)) {
    return refuse(u, field, "is not clean UTF-8");
  }
  *out = from;
  return true;
}

static bool get_name(struct unpacker *u, const char *field, const char *from, const char **out) {
  return get_string(u, field, from, SP_EVENT_MAX_NAME, false, out);
}

static bool get_line(struct unpacker *u, const char *field, const char *from, const char **out) {
  return get_string(u, field, from, SP_EVENT_MAX_STRING, false, out);
}

static bool get_lines(struct unpacker *u, const char *field, const char *from, const char **out) {
  return get_string(u, field, from, SP_EVENT_MAX_STRING, true, out);
}

/* A count: at least `least` (0, or -1 where unknown is allowed). */
static bool get_count(struct unpacker *u, const char *field, int64_t from, int64_t least,
                      int64_t *out) {
  if (from < least) {
    return refuse(u, field, "is negative");
  }
  *out = from;
  return true;
}

static bool get_seconds(struct unpacker *u, const char *field, double from, double *out) {
  if (!(from >= 0) || isinf(from)) {
    return refuse(u, field, "is not a duration or rate");
  }
  *out = from;
  return true;
}

static bool get_choice(struct unpacker *u, const char *field, uint32_t from, int least, int most,
                       int *out) {
  if (from < (uint32_t)least || from > (uint32_t)most) {
    return refuse(u, field, "is not one of its values");
  }
  *out = (int)from;
  return true;
}

static bool get_stage(struct unpacker *u, uint32_t from, enum sp_stage *out) {
  int value = 0;
  if (!get_choice(u, "stage", from, SP_STAGE_TRAIN, SP_STAGE_PREDICT, &value)) {
    return false;
  }
  *out = (enum sp_stage)value;
  return true;
}

static bool get_status(struct unpacker *u, uint32_t from, sp_status least, sp_status *out) {
  int value = 0;
  if (!get_choice(u, "status", from, (int)least, SP_EINTERNAL, &value)) {
    return false;
  }
  *out = (sp_status)value;
  return true;
}

static void *get_array(struct unpacker *u, const char *field, size_t n, size_t limit,
                       size_t bytes) {
  if (n > limit) {
    refuse(u, field, "has too many items");
    return NULL;
  }
  u->c->items = sp_alloc_array(n, bytes);
  if (!u->c->items) {
    u->failure = sp_fail(u->err, SP_ENOMEM, "event: no memory for %zu items", n);
  }
  return u->c->items;
}

static bool get_metrics(struct unpacker *u, size_t n, Sp__Pb__Metric *const *from, size_t *out_n,
                        const struct sp_event_metric **out) {
  struct sp_event_metric *items = get_array(u, "metrics", n, SP_EVENT_MAX_METRICS, sizeof *items);
  if (!items) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    if (!get_name(u, "metrics.name", from[i]->name, &items[i].name)) {
      return false;
    }
    items[i].value = from[i]->value;
  }
  *out_n = n;
  *out = items;
  return true;
}

static bool get_hello(struct unpacker *u, const Sp__Pb__Hello *m, struct sp_event_hello *e) {
  if (m->protocol != SP_EVENT_PROTOCOL) {
    u->failure = sp_fail(u->err, SP_EMISMATCH,
                         "stoker-worker speaks protocol %u, this stoker speaks %d: they are from "
                         "different builds; install them together",
                         m->protocol, SP_EVENT_PROTOCOL);
    return false;
  }
  e->protocol = m->protocol;
  return get_name(u, "version", m->version, &e->version) && get_count(u, "pid", m->pid, 0, &e->pid);
}

static bool get_text(struct unpacker *u, const Sp__Pb__Text *m, struct sp_event_text *e) {
  int level = 0;
  if (m->text.len > SP_EVENT_MAX_TEXT) {
    return refuse(u, "text", "is too long");
  }
  if (!get_choice(u, "level", m->level, SP_TEXT_INFO, SP_TEXT_WARNING, &level)) {
    return false;
  }
  e->level = (enum sp_text_level)level;
  e->text = (const char *)m->text.data;
  e->n_bytes = m->text.len;
  return true;
}

static bool get_run_started(struct unpacker *u, const Sp__Pb__RunStarted *m,
                            struct sp_event_run_started *e) {
  return get_name(u, "verb", m->verb, &e->verb) && get_name(u, "model", m->model, &e->model) &&
         get_line(u, "log_dir", m->log_dir, &e->log_dir) &&
         get_line(u, "resumed_from", m->resumed_from, &e->resumed_from) &&
         get_name(u, "kernels", m->kernels, &e->kernels) &&
         get_name(u, "precision", m->precision, &e->precision) &&
         get_count(u, "n_params", m->n_params, 0, &e->n_params) &&
         get_count(u, "n_trainable", m->n_trainable, 0, &e->n_trainable) &&
         get_count(u, "max_epochs", m->max_epochs, -1, &e->max_epochs) &&
         get_count(u, "total_steps", m->total_steps, -1, &e->total_steps) &&
         get_count(u, "n_train_batches", m->n_train_batches, -1, &e->n_train_batches) &&
         get_count(u, "n_val_batches", m->n_val_batches, -1, &e->n_val_batches) &&
         get_count(u, "epoch", m->epoch, 0, &e->epoch) &&
         get_count(u, "global_step", m->global_step, 0, &e->global_step) &&
         get_count(u, "lanes", m->lanes, 0, &e->lanes) &&
         get_count(u, "ranks", m->ranks, 0, &e->ranks) &&
         get_count(u, "threads", m->threads, 0, &e->threads) &&
         get_count(u, "plan_peak_bytes", m->plan_peak_bytes, -1, &e->plan_peak_bytes);
}

static bool get_row(struct unpacker *u, const Sp__Pb__SummaryRow *m,
                    struct sp_event_summary_row *e) {
  e->frozen = m->frozen;
  return get_name(u, "rows.name", m->name, &e->name) &&
         get_name(u, "rows.type", m->type, &e->type) &&
         get_name(u, "rows.in_shape", m->in_shape, &e->in_shape) &&
         get_name(u, "rows.out_shape", m->out_shape, &e->out_shape) &&
         get_count(u, "rows.n_params", m->n_params, 0, &e->n_params);
}

static bool get_summary(struct unpacker *u, const Sp__Pb__Summary *m, struct sp_event_summary *e) {
  struct sp_event_summary_row *rows =
      get_array(u, "rows", m->n_rows, SP_EVENT_MAX_ROWS, sizeof *rows);
  if (!rows) {
    return false;
  }
  for (size_t i = 0; i < m->n_rows; i++) {
    if (!get_row(u, m->rows[i], &rows[i])) {
      return false;
    }
  }
  e->n_rows = m->n_rows;
  e->rows = rows;
  return get_count(u, "n_rows_left_out", m->n_rows_left_out, 0, &e->n_rows_left_out) &&
         get_count(u, "n_params", m->n_params, 0, &e->n_params) &&
         get_count(u, "n_trainable", m->n_trainable, 0, &e->n_trainable) &&
         get_count(u, "n_param_bytes", m->n_param_bytes, 0, &e->n_param_bytes);
}

static bool get_progress(struct unpacker *u, const Sp__Pb__Progress *m,
                         struct sp_event_progress *e) {
  return get_stage(u, m->stage, &e->stage) && get_count(u, "epoch", m->epoch, 0, &e->epoch) &&
         get_count(u, "max_epochs", m->max_epochs, -1, &e->max_epochs) &&
         get_count(u, "batch", m->batch, 0, &e->batch) &&
         get_count(u, "n_batches", m->n_batches, -1, &e->n_batches) &&
         get_count(u, "global_step", m->global_step, 0, &e->global_step) &&
         get_count(u, "total_steps", m->total_steps, -1, &e->total_steps) &&
         get_seconds(u, "steps_per_s", m->steps_per_s, &e->steps_per_s) &&
         get_seconds(u, "items_per_s", m->items_per_s, &e->items_per_s) &&
         get_name(u, "unit", m->unit, &e->unit) &&
         get_metrics(u, m->n_metrics, m->metrics, &e->n_metrics, &e->metrics);
}

static bool get_metrics_event(struct unpacker *u, const Sp__Pb__Metrics *m,
                              struct sp_event_metrics *e) {
  return get_count(u, "epoch", m->epoch, 0, &e->epoch) &&
         get_count(u, "step", m->step, 0, &e->step) &&
         get_metrics(u, m->n_metrics, m->metrics, &e->n_metrics, &e->metrics);
}

static bool get_validation(struct unpacker *u, const Sp__Pb__Validation *m,
                           struct sp_event_validation *e) {
  return get_stage(u, m->stage, &e->stage) && get_count(u, "epoch", m->epoch, 0, &e->epoch) &&
         get_count(u, "step", m->step, 0, &e->step) &&
         get_count(u, "n_batches", m->n_batches, 0, &e->n_batches) &&
         get_seconds(u, "seconds", m->seconds, &e->seconds) &&
         get_metrics(u, m->n_metrics, m->metrics, &e->n_metrics, &e->metrics);
}

static bool get_checkpoint(struct unpacker *u, const Sp__Pb__Checkpoint *m,
                           struct sp_event_checkpoint *e) {
  e->ok = m->ok;
  return get_line(u, "path", m->path, &e->path) && get_lines(u, "error", m->error, &e->error) &&
         get_count(u, "epoch", m->epoch, 0, &e->epoch) &&
         get_count(u, "step", m->step, 0, &e->step) &&
         get_count(u, "n_bytes", m->n_bytes, 0, &e->n_bytes) &&
         get_seconds(u, "seconds", m->seconds, &e->seconds);
}

static bool get_stopped(struct unpacker *u, const Sp__Pb__Stopped *m, struct sp_event_stopped *e) {
  int reason = 0;
  if (!get_choice(u, "reason", m->reason, SP_STOP_SIGNAL, SP_STOP_CLIENT_GONE, &reason)) {
    return false;
  }
  e->reason = (enum sp_stop_reason)reason;
  return get_line(u, "text", m->text, &e->text) && get_count(u, "epoch", m->epoch, 0, &e->epoch) &&
         get_count(u, "step", m->step, 0, &e->step);
}

static bool get_output(struct unpacker *u, const Sp__Pb__Output *m, struct sp_event_output *e) {
  if (m->bytes.len > SP_EVENT_MAX_OUTPUT) {
    return refuse(u, "bytes", "is too long");
  }
  e->bytes = (const char *)m->bytes.data;
  e->n_bytes = m->bytes.len;
  return true;
}

static bool get_error(struct unpacker *u, const Sp__Pb__Error *m, struct sp_event_error *e) {
  return get_status(u, m->status, SP_EINVAL, &e->status) && get_lines(u, "text", m->text, &e->text);
}

static bool get_next(struct unpacker *u, const Sp__Pb__Result *m, struct sp_event_result *e) {
  const char **next = get_array(u, "next", m->n_next, SP_EVENT_MAX_NEXT, sizeof *next);
  if (!next) {
    return false;
  }
  for (size_t i = 0; i < m->n_next; i++) {
    if (!get_line(u, "next", m->next[i], &next[i])) {
      return false;
    }
  }
  e->n_next = m->n_next;
  e->next = next;
  return true;
}

static bool get_result(struct unpacker *u, const Sp__Pb__Result *m, struct sp_event_result *e) {
  int code = 0;
  if (!get_choice(u, "exit", m->exit, SP_EXIT_OK, SP_EXIT_PREEMPTED, &code)) {
    return false;
  }
  e->exit = (enum sp_exit)code;
  return get_status(u, m->status, SP_OK, &e->status) &&
         get_line(u, "message", m->message, &e->message) &&
         get_line(u, "ckpt_last", m->ckpt_last, &e->ckpt_last) &&
         get_line(u, "ckpt_best", m->ckpt_best, &e->ckpt_best) &&
         get_count(u, "epoch", m->epoch, 0, &e->epoch) &&
         get_count(u, "step", m->step, 0, &e->step) &&
         get_seconds(u, "seconds", m->seconds, &e->seconds) && get_next(u, m, e);
}

static bool get_event(struct unpacker *u, const void *m, struct sp_event *e) {
  switch (e->kind) {
    case SP_EVENT_HELLO:
      return get_hello(u, m, &e->u.hello);
    case SP_EVENT_TEXT:
      return get_text(u, m, &e->u.text);
    case SP_EVENT_RUN_STARTED:
      return get_run_started(u, m, &e->u.run_started);
    case SP_EVENT_SUMMARY:
      return get_summary(u, m, &e->u.summary);
    case SP_EVENT_PROGRESS:
      return get_progress(u, m, &e->u.progress);
    case SP_EVENT_METRICS:
      return get_metrics_event(u, m, &e->u.metrics);
    case SP_EVENT_VALIDATION:
      return get_validation(u, m, &e->u.validation);
    case SP_EVENT_CHECKPOINT:
      return get_checkpoint(u, m, &e->u.checkpoint);
    case SP_EVENT_STOPPED:
      return get_stopped(u, m, &e->u.stopped);
    case SP_EVENT_OUTPUT:
      return get_output(u, m, &e->u.output);
    case SP_EVENT_ERROR:
      return get_error(u, m, &e->u.error);
    case SP_EVENT_RESULT:
      return get_result(u, m, &e->u.result);
  }
  u->failure = sp_fail(u->err, SP_EUNSUPPORTED, "event: there is no kind %d", (int)e->kind);
  return false;
}

sp_status sp_convert_unpack(struct sp_convert *c, const struct sp_frame *frame,
                            struct sp_err *err) {
  sp_convert_clear(c);
  ProtobufCMessage *message;
  sp_status status = sp_message_unpack(frame->tag, frame->payload, frame->n_payload, &message, err);
  if (status != SP_OK) {
    return status;
  }
  c->message = message;
  c->event.kind = (enum sp_event_kind)frame->tag;
  struct unpacker u = {c, message->descriptor->short_name, err, SP_OK};
  if (!get_event(&u, message, &c->event)) {
    sp_convert_clear(c);
    return u.failure;
  }
  return SP_OK;
}

void sp_convert_clear(struct sp_convert *c) {
  sp_message_free(c->message);
  sp_free(c->items);
  *c = (struct sp_convert){0};
}
