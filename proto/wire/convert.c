/* The rows of every event, and packing and unpacking by them. */
#include "proto/wire/convert.h"

#include "events.pb-c.h"

static const struct sp_field hello_rows[] = {
    SP_ROW(sp_event_hello, protocol, SP_FIELD_CHOICE, 0, UINT32_MAX),
    SP_ROW_NAME(sp_event_hello, version),
    SP_ROW_COUNT(sp_event_hello, pid),
};

static const struct sp_field text_rows[] = {
    SP_ROW(sp_event_text, level, SP_FIELD_CHOICE, SP_TEXT_INFO, SP_TEXT_WARNING),
    SP_ROW_MANY(sp_event_text, text, n_bytes, SP_FIELD_BYTES, SP_EVENT_MAX_TEXT, NULL),
};

static const struct sp_field run_started_rows[] = {
    SP_ROW_NAME(sp_event_run_started, verb),
    SP_ROW_NAME(sp_event_run_started, model),
    SP_ROW_LINE(sp_event_run_started, log_dir),
    SP_ROW_LINE(sp_event_run_started, resumed_from),
    SP_ROW_NAME(sp_event_run_started, kernels),
    SP_ROW_NAME(sp_event_run_started, precision),
    SP_ROW_COUNT(sp_event_run_started, n_params),
    SP_ROW_COUNT(sp_event_run_started, n_trainable),
    SP_ROW_TOTAL(sp_event_run_started, max_epochs),
    SP_ROW_TOTAL(sp_event_run_started, total_steps),
    SP_ROW_TOTAL(sp_event_run_started, n_train_batches),
    SP_ROW_TOTAL(sp_event_run_started, n_val_batches),
    SP_ROW_COUNT(sp_event_run_started, epoch),
    SP_ROW_COUNT(sp_event_run_started, global_step),
    SP_ROW_COUNT(sp_event_run_started, lanes),
    SP_ROW_COUNT(sp_event_run_started, ranks),
    SP_ROW_COUNT(sp_event_run_started, threads),
    SP_ROW_TOTAL(sp_event_run_started, plan_peak_bytes),
};

static const struct sp_field summary_row_rows[] = {
    SP_ROW_NAME(sp_event_summary_row, name),      SP_ROW_NAME(sp_event_summary_row, type),
    SP_ROW_NAME(sp_event_summary_row, in_shape),  SP_ROW_NAME(sp_event_summary_row, out_shape),
    SP_ROW_COUNT(sp_event_summary_row, n_params), SP_ROW_BOOL(sp_event_summary_row, frozen),
};

static const struct sp_fields summary_row =
    SP_FIELDS(sp_event_summary_row, summary_row, summary_row_rows);

static const struct sp_field summary_rows[] = {
    SP_ROW_MANY(sp_event_summary, rows, n_rows, SP_FIELD_LIST, SP_EVENT_MAX_ROWS, &summary_row),
    SP_ROW_COUNT(sp_event_summary, n_rows_left_out),
    SP_ROW_COUNT(sp_event_summary, n_params),
    SP_ROW_COUNT(sp_event_summary, n_trainable),
    SP_ROW_COUNT(sp_event_summary, n_param_bytes),
};

static const struct sp_field metric_rows[] = {
    SP_ROW_NAME(sp_event_metric, name),
    SP_ROW(sp_event_metric, value, SP_FIELD_REAL, 0, 0),
};

static const struct sp_fields metric = SP_FIELDS(sp_event_metric, metric, metric_rows);

#define ROW_STAGE(s) SP_ROW(s, stage, SP_FIELD_CHOICE, SP_STAGE_TRAIN, SP_STAGE_PREDICT)
#define ROW_METRICS(s) \
  SP_ROW_MANY(s, metrics, n_metrics, SP_FIELD_LIST, SP_EVENT_MAX_METRICS, &metric)

static const struct sp_field progress_rows[] = {
    ROW_STAGE(sp_event_progress),
    SP_ROW_COUNT(sp_event_progress, epoch),
    SP_ROW_TOTAL(sp_event_progress, max_epochs),
    SP_ROW_COUNT(sp_event_progress, batch),
    SP_ROW_TOTAL(sp_event_progress, n_batches),
    SP_ROW_COUNT(sp_event_progress, global_step),
    SP_ROW_TOTAL(sp_event_progress, total_steps),
    SP_ROW_RATE(sp_event_progress, steps_per_s),
    SP_ROW_RATE(sp_event_progress, items_per_s),
    SP_ROW_NAME(sp_event_progress, unit),
    ROW_METRICS(sp_event_progress),
};

static const struct sp_field metrics_rows[] = {
    SP_ROW_COUNT(sp_event_metrics, epoch),
    SP_ROW_COUNT(sp_event_metrics, step),
    ROW_METRICS(sp_event_metrics),
};

static const struct sp_field validation_rows[] = {
    ROW_STAGE(sp_event_validation),
    SP_ROW_COUNT(sp_event_validation, epoch),
    SP_ROW_COUNT(sp_event_validation, step),
    SP_ROW_COUNT(sp_event_validation, n_batches),
    SP_ROW_RATE(sp_event_validation, seconds),
    ROW_METRICS(sp_event_validation),
};

static const struct sp_field checkpoint_rows[] = {
    SP_ROW_BOOL(sp_event_checkpoint, ok),      SP_ROW_LINE(sp_event_checkpoint, path),
    SP_ROW_LINES(sp_event_checkpoint, error),  SP_ROW_COUNT(sp_event_checkpoint, epoch),
    SP_ROW_COUNT(sp_event_checkpoint, step),   SP_ROW_COUNT(sp_event_checkpoint, n_bytes),
    SP_ROW_RATE(sp_event_checkpoint, seconds),
};

static const struct sp_field stopped_rows[] = {
    SP_ROW(sp_event_stopped, reason, SP_FIELD_CHOICE, SP_STOP_SIGNAL, SP_STOP_CLIENT_GONE),
    SP_ROW_LINE(sp_event_stopped, text),
    SP_ROW_COUNT(sp_event_stopped, epoch),
    SP_ROW_COUNT(sp_event_stopped, step),
};

static const struct sp_field output_rows[] = {
    SP_ROW_MANY(sp_event_output, bytes, n_bytes, SP_FIELD_BYTES, SP_EVENT_MAX_OUTPUT, NULL),
};

static const struct sp_field error_rows[] = {
    SP_ROW(sp_event_error, status, SP_FIELD_CHOICE, SP_EINVAL, SP_EINTERNAL),
    SP_ROW_LINES(sp_event_error, text),
};

static const struct sp_field result_rows[] = {
    SP_ROW(sp_event_result, status, SP_FIELD_CHOICE, SP_OK, SP_EINTERNAL),
    SP_ROW(sp_event_result, exit, SP_FIELD_CHOICE, SP_EXIT_OK, SP_EXIT_PREEMPTED),
    SP_ROW_LINE(sp_event_result, message),
    SP_ROW_LINE(sp_event_result, ckpt_last),
    SP_ROW_LINE(sp_event_result, ckpt_best),
    SP_ROW_COUNT(sp_event_result, epoch),
    SP_ROW_COUNT(sp_event_result, step),
    SP_ROW_RATE(sp_event_result, seconds),
    SP_ROW_MANY(sp_event_result, next, n_next, SP_FIELD_STRINGS, SP_EVENT_MAX_NEXT, NULL),
};

static const struct sp_field recovery_rows[] = {
    SP_ROW_NAME(sp_event_recovery, who),
    SP_ROW_LINE(sp_event_recovery, cause),
    SP_ROW_TOTAL(sp_event_recovery, rank),
    SP_ROW_COUNT(sp_event_recovery, step),
    SP_ROW_COUNT(sp_event_recovery, next_step),
    SP_ROW_COUNT(sp_event_recovery, generation),
    SP_ROW(sp_event_recovery, source, SP_FIELD_CHOICE, SP_SOURCE_SLOTS, SP_SOURCE_START),
    SP_ROW_COUNT(sp_event_recovery, n_recomputed),
    SP_ROW_RATE(sp_event_recovery, ms),
};

static const struct sp_field generation_rows[] = {
    SP_ROW_COUNT(sp_event_generation, generation),
    SP_ROW_COUNT(sp_event_generation, n_ranks),
};

const struct sp_fields *sp_event_fields(unsigned tag) {
  static const struct sp_fields table[] = {
      [SP_EVENT_HELLO] = SP_FIELDS(sp_event_hello, hello, hello_rows),
      [SP_EVENT_TEXT] = SP_FIELDS(sp_event_text, text, text_rows),
      [SP_EVENT_RUN_STARTED] = SP_FIELDS(sp_event_run_started, run_started, run_started_rows),
      [SP_EVENT_SUMMARY] = SP_FIELDS(sp_event_summary, summary, summary_rows),
      [SP_EVENT_PROGRESS] = SP_FIELDS(sp_event_progress, progress, progress_rows),
      [SP_EVENT_METRICS] = SP_FIELDS(sp_event_metrics, metrics, metrics_rows),
      [SP_EVENT_VALIDATION] = SP_FIELDS(sp_event_validation, validation, validation_rows),
      [SP_EVENT_CHECKPOINT] = SP_FIELDS(sp_event_checkpoint, checkpoint, checkpoint_rows),
      [SP_EVENT_STOPPED] = SP_FIELDS(sp_event_stopped, stopped, stopped_rows),
      [SP_EVENT_OUTPUT] = SP_FIELDS(sp_event_output, output, output_rows),
      [SP_EVENT_ERROR] = SP_FIELDS(sp_event_error, error, error_rows),
      [SP_EVENT_RESULT] = SP_FIELDS(sp_event_result, result, result_rows),
      [SP_EVENT_RECOVERY] = SP_FIELDS(sp_event_recovery, recovery, recovery_rows),
      [SP_EVENT_GENERATION] = SP_FIELDS(sp_event_generation, generation, generation_rows),
  };
  return tag < sizeof table / sizeof *table && table[tag].rows ? &table[tag] : NULL;
}

sp_status sp_convert_pack(const struct sp_event *event, uint8_t **out_frame, size_t *out_n,
                          struct sp_err *err) {
  const struct sp_fields *fields = sp_event_fields((unsigned)event->kind);
  if (!fields) {
    return sp_fail(err, SP_EINVAL, "event: there is no kind %d", (int)event->kind);
  }
  return sp_fields_pack(fields, (uint16_t)event->kind, &event->u, out_frame, out_n, err);
}

static sp_status check_protocol(const struct sp_event *event, struct sp_err *err) {
  if (event->kind == SP_EVENT_HELLO && event->u.hello.protocol != SP_EVENT_PROTOCOL) {
    return sp_fail(err, SP_EMISMATCH,
                   "stoker-worker speaks protocol %u, this stoker speaks %d: they are from "
                   "different builds; install them together",
                   event->u.hello.protocol, SP_EVENT_PROTOCOL);
  }
  return SP_OK;
}

sp_status sp_convert_unpack(struct sp_convert *c, const struct sp_frame *frame,
                            struct sp_err *err) {
  sp_convert_clear(c);
  const struct sp_fields *fields = sp_event_fields(frame->tag);
  if (!fields) {
    return sp_fail(err, SP_EUNSUPPORTED, "event: there is no kind %d", frame->tag);
  }
  c->event.kind = (enum sp_event_kind)frame->tag;
  sp_status status = sp_fields_unpack(fields, &c->memory, frame, &c->event.u, err);
  if (status == SP_OK) {
    status = check_protocol(&c->event, err);
  }
  if (status != SP_OK) {
    sp_convert_clear(c);
  }
  return status;
}

void sp_convert_clear(struct sp_convert *c) {
  sp_unpacked_clear(&c->memory);
  *c = (struct sp_convert){0};
}
