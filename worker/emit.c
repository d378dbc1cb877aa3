/* Events to the command that started this worker. */
#include "worker/emit.h"

#include <stdio.h>
#include <string.h>

void sw_emit_flush(struct sw_emit *e) {
  if (e->box && !e->gone && sp_outbox_flush(e->box, e->fd, NULL)) {
    e->gone = true;
  }
}

void sw_emit_drain(struct sw_emit *e) {
  if (e->box && !e->gone && sp_outbox_drain(e->box, e->fd, NULL)) {
    e->gone = true;
  }
}

void sw_emit_event(struct sw_emit *e, const struct sp_event *ev) {
  if (e->box && !e->gone) {
    sp_outbox_add(e->box, ev);
    sw_emit_flush(e);
    return;
  }
  if (!e->gone && sp_event_send(e->fd, ev, NULL) == SP_ECANCELED) {
    e->gone = true;
  }
}

void sw_emit_text(struct sw_emit *e, enum sp_text_level level, const char *fmt, ...) {
  char text[2048];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  struct sp_event ev = {.kind = SP_EVENT_TEXT, .u.text = {level, text, strlen(text)}};
  sw_emit_event(e, &ev);
}

void sw_emit_output(struct sw_emit *e, const struct sp_buf *b) {
  sw_emit_drain(e);
  if (!e->gone && sp_event_send_output(e->fd, b->data, b->length, NULL) == SP_ECANCELED) {
    e->gone = true;
  }
}

int sw_emit_result(struct sw_emit *e, const struct sp_err *err, bool ran,
                   struct sp_event_result *r) {
  if (err->status) {
    struct sp_event ev = {.kind = SP_EVENT_ERROR, .u.error = {err->status, err->text}};
    sw_emit_event(e, &ev);
    r->status = err->status;
    r->exit = sp_exit_of_status(err->status, ran);
  }
  struct sp_event ev = {.kind = SP_EVENT_RESULT, .u.result = *r};
  sw_emit_event(e, &ev);
  return (int)r->exit;
}
