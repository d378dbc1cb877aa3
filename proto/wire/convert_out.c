/* struct sp_event -> frame. The message is filled with pointers to the caller's strings where they
 * are clean, and to repaired copies where they are not; the copies and the arrays of submessages
 * live in blocks that are released when the frame is packed. */
#include "proto/wire/convert.h"

#include "proto/base/mem.h"
#include "proto/wire/message.h"
#include "proto/wire/utf8.h"

#include "events.pb-c.h"

#include <math.h>
#include <string.h>

union message {
  ProtobufCMessage base;
  Sp__Pb__Hello hello;
  Sp__Pb__Text text;
  Sp__Pb__RunStarted run_started;
  Sp__Pb__Summary summary;
  Sp__Pb__Progress progress;
  Sp__Pb__Metrics metrics;
  Sp__Pb__Validation validation;
  Sp__Pb__Checkpoint checkpoint;
  Sp__Pb__Stopped stopped;
  Sp__Pb__Output output;
  Sp__Pb__Error error;
  Sp__Pb__Result result;
};

struct block {
  struct block *next;
  max_align_t data[];
};

struct packer {
  struct block *blocks;
  sp_status failure; /* sticky: the first one */
};

static void *packer_alloc(struct packer *p, size_t n, size_t bytes) {
  if (bytes != 0 && n > (SIZE_MAX - sizeof(struct block)) / bytes) {
    p->failure = SP_ENOMEM;
    return NULL;
  }
  struct block *b = sp_alloc(sizeof *b + n * bytes);
  if (!b) {
    p->failure = SP_ENOMEM;
    return NULL;
  }
  b->next = p->blocks;
  p->blocks = b;
  return b->data;
}

static void packer_fini(struct packer *p) {
  while (p->blocks) {
    struct block *b = p->blocks;
    p->blocks = b->next;
    sp_free(b);
  }
}

/* The string as it may go out. protobuf-c's fields are not const, it does not write to them. */
static char *put_string(struct packer *p, const char *s, size_t limit, bool lines) {
  static char empty[1];
  if (!s || !*s) {
    return empty;
  }
  size_t n = strlen(s);
  if (n <= limit && sp_utf8_clean(s, n, lines)) {
    return (char *)(uintptr_t)s;
  }
  char *copy = packer_alloc(p, limit + 1, 1);
  if (!copy) {
    return empty;
  }
  sp_utf8_scrub(copy, limit, s, n, lines);
  return copy;
}

static char *put_name(struct packer *p, const char *s) {
  return put_string(p, s, SP_EVENT_MAX_NAME, false);
}

static char *put_line(struct packer *p, const char *s) {
  return put_string(p, s, SP_EVENT_MAX_STRING, false);
}

static char *put_lines(struct packer *p, const char *s) {
  return put_string(p, s, SP_EVENT_MAX_STRING, true);
}

static ProtobufCBinaryData put_bytes(struct packer *p, const char *bytes, size_t n, size_t limit) {
  if (n > limit) {
    p->failure = SP_ERANGE;
    n = 0;
  }
  return (ProtobufCBinaryData){n, (uint8_t *)(uintptr_t)bytes};
}

/* A duration or rate; one that could not be computed is 0, "not measured". */
static double put_rate(double value) {
  return value > 0 && isfinite(value) ? value : 0;
}

static bool count_ok(struct packer *p, size_t n, size_t limit) {
  if (n > limit) {
    p->failure = SP_ERANGE;
  }
  return n > 0 && n <= limit;
}

static Sp__Pb__Metric **put_metrics(struct packer *p, size_t n, const struct sp_event_metric *from,
                                    size_t *out_n) {
  *out_n = 0;
  if (!count_ok(p, n, SP_EVENT_MAX_METRICS)) {
    return NULL;
  }
  Sp__Pb__Metric **list = packer_alloc(p, n, sizeof *list);
  Sp__Pb__Metric *items = packer_alloc(p, n, sizeof *items);
  if (!list || !items) {
    return NULL;
  }
  for (size_t i = 0; i < n; i++) {
    sp__pb__metric__init(&items[i]);
    items[i].name = put_name(p, from[i].name);
    items[i].value = from[i].value;
    list[i] = &items[i];
  }
  *out_n = n;
  return list;
}

static void put_run_started(struct packer *p, Sp__Pb__RunStarted *m,
                            const struct sp_event_run_started *e) {
  sp__pb__run_started__init(m);
  m->verb = put_name(p, e->verb);
  m->model = put_name(p, e->model);
  m->log_dir = put_line(p, e->log_dir);
  m->resumed_from = put_line(p, e->resumed_from);
  m->kernels = put_name(p, e->kernels);
  m->precision = put_name(p, e->precision);
  m->n_params = e->n_params;
  m->n_trainable = e->n_trainable;
  m->max_epochs = e->max_epochs;
  m->total_steps = e->total_steps;
  m->n_train_batches = e->n_train_batches;
  m->n_val_batches = e->n_val_batches;
  m->epoch = e->epoch;
  m->global_step = e->global_step;
  m->lanes = e->lanes;
  m->ranks = e->ranks;
  m->threads = e->threads;
  m->plan_peak_bytes = e->plan_peak_bytes;
}

static void put_summary(struct packer *p, Sp__Pb__Summary *m, const struct sp_event_summary *e) {
  sp__pb__summary__init(m);
  m->n_rows_left_out = e->n_rows_left_out;
  m->n_params = e->n_params;
  m->n_trainable = e->n_trainable;
  m->n_param_bytes = e->n_param_bytes;
  if (!count_ok(p, e->n_rows, SP_EVENT_MAX_ROWS)) {
    return;
  }
  m->rows = packer_alloc(p, e->n_rows, sizeof *m->rows);
  Sp__Pb__SummaryRow *rows = packer_alloc(p, e->n_rows, sizeof *rows);
  if (!m->rows || !rows) {
    return;
  }
  for (size_t i = 0; i < e->n_rows; i++) {
    const struct sp_event_summary_row *row = &e->rows[i];
    sp__pb__summary_row__init(&rows[i]);
    rows[i].name = put_name(p, row->name);
    rows[i].type = put_name(p, row->type);
    rows[i].in_shape = put_name(p, row->in_shape);
    rows[i].out_shape = put_name(p, row->out_shape);
    rows[i].n_params = row->n_params;
    rows[i].frozen = row->frozen;
    m->rows[i] = &rows[i];
  }
  m->n_rows = e->n_rows;
}

static void put_progress(struct packer *p, Sp__Pb__Progress *m, const struct sp_event_progress *e) {
  sp__pb__progress__init(m);
  m->stage = (uint32_t)e->stage;
  m->epoch = e->epoch;
  m->max_epochs = e->max_epochs;
  m->batch = e->batch;
  m->n_batches = e->n_batches;
  m->global_step = e->global_step;
  m->total_steps = e->total_steps;
  m->steps_per_s = put_rate(e->steps_per_s);
  m->items_per_s = put_rate(e->items_per_s);
  m->unit = put_name(p, e->unit);
  m->metrics = put_metrics(p, e->n_metrics, e->metrics, &m->n_metrics);
}

static void put_metrics_event(struct packer *p, Sp__Pb__Metrics *m,
                              const struct sp_event_metrics *e) {
  sp__pb__metrics__init(m);
  m->epoch = e->epoch;
  m->step = e->step;
  m->metrics = put_metrics(p, e->n_metrics, e->metrics, &m->n_metrics);
}

static void put_validation(struct packer *p, Sp__Pb__Validation *m,
                           const struct sp_event_validation *e) {
  sp__pb__validation__init(m);
  m->stage = (uint32_t)e->stage;
  m->epoch = e->epoch;
  m->step = e->step;
  m->n_batches = e->n_batches;
  m->seconds = put_rate(e->seconds);
  m->metrics = put_metrics(p, e->n_metrics, e->metrics, &m->n_metrics);
}

static void put_checkpoint(struct packer *p, Sp__Pb__Checkpoint *m,
                           const struct sp_event_checkpoint *e) {
  sp__pb__checkpoint__init(m);
  m->ok = e->ok;
  m->path = put_line(p, e->path);
  m->error = put_lines(p, e->error);
  m->epoch = e->epoch;
  m->step = e->step;
  m->n_bytes = e->n_bytes;
  m->seconds = put_rate(e->seconds);
}

static void put_stopped(struct packer *p, Sp__Pb__Stopped *m, const struct sp_event_stopped *e) {
  sp__pb__stopped__init(m);
  m->reason = (uint32_t)e->reason;
  m->text = put_line(p, e->text);
  m->epoch = e->epoch;
  m->step = e->step;
}

static void put_result(struct packer *p, Sp__Pb__Result *m, const struct sp_event_result *e) {
  sp__pb__result__init(m);
  m->status = (uint32_t)e->status;
  m->exit = (uint32_t)e->exit;
  m->message = put_line(p, e->message);
  m->ckpt_last = put_line(p, e->ckpt_last);
  m->ckpt_best = put_line(p, e->ckpt_best);
  m->epoch = e->epoch;
  m->step = e->step;
  m->seconds = put_rate(e->seconds);
  if (!count_ok(p, e->n_next, SP_EVENT_MAX_NEXT)) {
    return;
  }
  m->next = packer_alloc(p, e->n_next, sizeof *m->next);
  if (!m->next) {
    return;
  }
  for (size_t i = 0; i < e->n_next; i++) {
    m->next[i] = put_line(p, e->next[i]);
  }
  m->n_next = e->n_next;
}

/* Fills the message of the event's kind; false for a kind that does not exist. */
static bool put_event(struct packer *p, union message *m, const struct sp_event *e) {
  switch (e->kind) {
    case SP_EVENT_HELLO:
      sp__pb__hello__init(&m->hello);
      m->hello.protocol = e->u.hello.protocol;
      m->hello.version = put_name(p, e->u.hello.version);
      m->hello.pid = e->u.hello.pid;
      return true;
    case SP_EVENT_TEXT:
      sp__pb__text__init(&m->text);
      m->text.level = (uint32_t)e->u.text.level;
      m->text.text = put_bytes(p, e->u.text.text, e->u.text.n_bytes, SP_EVENT_MAX_TEXT);
      return true;
    case SP_EVENT_RUN_STARTED:
      put_run_started(p, &m->run_started, &e->u.run_started);
      return true;
    case SP_EVENT_SUMMARY:
      put_summary(p, &m->summary, &e->u.summary);
      return true;
    case SP_EVENT_PROGRESS:
      put_progress(p, &m->progress, &e->u.progress);
      return true;
    case SP_EVENT_METRICS:
      put_metrics_event(p, &m->metrics, &e->u.metrics);
      return true;
    case SP_EVENT_VALIDATION:
      put_validation(p, &m->validation, &e->u.validation);
      return true;
    case SP_EVENT_CHECKPOINT:
      put_checkpoint(p, &m->checkpoint, &e->u.checkpoint);
      return true;
    case SP_EVENT_STOPPED:
      put_stopped(p, &m->stopped, &e->u.stopped);
      return true;
    case SP_EVENT_OUTPUT:
      sp__pb__output__init(&m->output);
      m->output.bytes = put_bytes(p, e->u.output.bytes, e->u.output.n_bytes, SP_EVENT_MAX_OUTPUT);
      return true;
    case SP_EVENT_ERROR:
      sp__pb__error__init(&m->error);
      m->error.status = (uint32_t)e->u.error.status;
      m->error.text = put_lines(p, e->u.error.text);
      return true;
    case SP_EVENT_RESULT:
      put_result(p, &m->result, &e->u.result);
      return true;
  }
  return false;
}

static sp_status pack_message(const ProtobufCMessage *m, uint16_t tag, uint8_t **out_frame,
                              size_t *out_n, struct sp_err *err) {
  size_t n = protobuf_c_message_get_packed_size(m);
  if (n > SP_FRAME_MAX_PAYLOAD) {
    return sp_fail(err, SP_ERANGE, "event: %s packs to %zu bytes, the limit is %d",
                   m->descriptor->short_name, n, SP_FRAME_MAX_PAYLOAD);
  }
  uint8_t *frame = sp_alloc(SP_FRAME_HEADER_BYTES + n);
  if (!frame) {
    return sp_fail(err, SP_ENOMEM, "event: no memory for a frame of %zu bytes", n);
  }
  sp_frame_header_put(frame, tag, (uint32_t)n);
  protobuf_c_message_pack(m, frame + SP_FRAME_HEADER_BYTES);
  *out_frame = frame;
  *out_n = SP_FRAME_HEADER_BYTES + n;
  return SP_OK;
}

sp_status sp_convert_pack(const struct sp_event *event, uint8_t **out_frame, size_t *out_n,
                          struct sp_err *err) {
  struct packer p = {0};
  union message m;
  sp_status status;
  if (!put_event(&p, &m, event)) {
    status = sp_fail(err, SP_EINVAL, "event: there is no kind %d", (int)event->kind);
  } else if (p.failure != SP_OK) {
    status = sp_fail(err, p.failure, "event: %s %s", m.base.descriptor->short_name,
                     p.failure == SP_ENOMEM ? "found no memory" : "has a count over its limit");
  } else {
    status = pack_message(&m.base, (uint16_t)event->kind, out_frame, out_n, err);
  }
  packer_fini(&p);
  return status;
}
