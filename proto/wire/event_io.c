/* Events over descriptors: frames written whole, and the incremental reader. */
#include "proto/wire/event_io.h"

#include "proto/base/mem.h"
#include "proto/wire/fd_io.h"
#include "proto/wire/reader.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

sp_status sp_event_send(int fd, const struct sp_event *event, struct sp_err *err) {
  uint8_t *frame;
  size_t n;
  sp_status status = sp_convert_pack(event, &frame, &n, err);
  if (status != SP_OK) {
    return status;
  }
  status = sp_fd_send_frame(fd, frame, n, -1, err);
  sp_free(frame);
  return status;
}

sp_status sp_event_send_output(int fd, const void *bytes, size_t n, struct sp_err *err) {
  const char *p = bytes;
  while (n > 0) {
    size_t part = n < SP_EVENT_MAX_OUTPUT ? n : SP_EVENT_MAX_OUTPUT;
    struct sp_event e = {.kind = SP_EVENT_OUTPUT, .u.output = {p, part}};
    sp_status status = sp_event_send(fd, &e, err);
    if (status != SP_OK) {
      return status;
    }
    p += part;
    n -= part;
  }
  return SP_OK;
}

sp_status sp_event_send_text(int fd, enum sp_text_level level, struct sp_err *err, const char *fmt,
                             ...) {
  char text[SP_EVENT_MAX_STRING];
  va_list args;
  va_start(args, fmt);
  int length = vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  if (length < 0) {
    return sp_fail(err, SP_EINVAL, "event: text cannot be formatted");
  }
  struct sp_event e = {.kind = SP_EVENT_TEXT, .u.text = {level, text, strlen(text)}};
  return sp_event_send(fd, &e, err);
}

sp_event_reader *sp_event_reader_new(void) {
  return sp_alloc(sizeof(sp_event_reader));
}

void sp_event_reader_free(sp_event_reader *r) {
  if (r) {
    for (int i = 0; i < r->n_passed; i++) {
      close(r->passed[i]);
    }
    sp_convert_clear(&r->current);
    sp_unpacked_clear(&r->memory);
    sp_splitter_fini(&r->splitter);
    sp_free(r);
  }
}

sp_status sp_event_reader_fill(sp_event_reader *r, int fd, bool *out_eof, struct sp_err *err) {
  uint8_t bytes[SP_FRAME_MAX_FEED];
  ssize_t n = read(fd, bytes, sizeof bytes);
  if (n < 0 && errno != ECONNRESET) {
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
      *out_eof = false;
      return SP_OK;
    }
    return sp_fail_errno(err, "event: read");
  }
  *out_eof = n <= 0;
  return n > 0 ? sp_splitter_feed(&r->splitter, bytes, (size_t)n, err) : SP_OK;
}

sp_status sp_event_reader_feed(sp_event_reader *r, const void *bytes, size_t n,
                               struct sp_err *err) {
  return sp_splitter_feed(&r->splitter, bytes, n, err);
}

sp_status sp_reader_frame(sp_event_reader *r, bool (*known)(unsigned tag),
                          struct sp_frame *out_frame, bool *out_have, struct sp_err *err) {
  sp_convert_clear(&r->current);
  sp_unpacked_clear(&r->memory);
  for (;;) {
    sp_status status = sp_splitter_next(&r->splitter, out_frame, out_have, err);
    if (status != SP_OK || !*out_have || known(out_frame->tag)) {
      return status;
    }
  }
}

static bool is_event(unsigned tag) {
  return sp_event_fields(tag) != NULL;
}

sp_status sp_event_reader_next(sp_event_reader *r, const struct sp_event **out_event,
                               struct sp_err *err) {
  struct sp_frame frame;
  bool have;
  *out_event = NULL;
  sp_status status = sp_reader_frame(r, is_event, &frame, &have, err);
  if (status != SP_OK || !have) {
    return status;
  }
  status = sp_convert_unpack(&r->current, &frame, err);
  if (status != SP_OK) {
    r->splitter.failed = true;
    return status;
  }
  *out_event = &r->current.event;
  return SP_OK;
}

size_t sp_event_reader_pending(const sp_event_reader *r) {
  return r->splitter.n_buf - r->splitter.head;
}

bool sp_event_reader_torn(const sp_event_reader *r) {
  return sp_event_reader_pending(r) > 0;
}
