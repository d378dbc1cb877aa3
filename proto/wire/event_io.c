/* Events over descriptors: frames written whole, and the incremental reader. */
#include "proto/wire/event_io.h"

#include "proto/base/mem.h"
#include "proto/wire/convert.h"
#include "proto/wire/frame.h"
#include "proto/wire/message.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct sp_event_reader {
  struct sp_splitter splitter;
  struct sp_convert current; /* what the last event handed out points into */
};

/* One write that cannot raise SIGPIPE on a socket; plain files and pipes are written as they are.
 * */
static ssize_t write_some(int fd, const uint8_t *bytes, size_t n) {
  ssize_t done = send(fd, bytes, n, MSG_NOSIGNAL);
  return done < 0 && errno == ENOTSOCK ? write(fd, bytes, n) : done;
}

static sp_status write_frame(int fd, const uint8_t *bytes, size_t n, struct sp_err *err) {
  while (n > 0) {
    ssize_t done = write_some(fd, bytes, n);
    if (done >= 0) {
      bytes += done;
      n -= (size_t)done;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      struct pollfd p = {.fd = fd, .events = POLLOUT};
      (void)poll(&p, 1, -1);
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return sp_fail(err, SP_ECANCELED, "event: the reader is gone");
    } else if (errno != EINTR) {
      return sp_fail_errno(err, "event: write");
    }
  }
  return SP_OK;
}

sp_status sp_event_send(int fd, const struct sp_event *event, struct sp_err *err) {
  uint8_t *frame;
  size_t n;
  sp_status status = sp_convert_pack(event, &frame, &n, err);
  if (status != SP_OK) {
    return status;
  }
  status = write_frame(fd, frame, n, err);
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
    sp_convert_clear(&r->current);
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

sp_status sp_event_reader_next(sp_event_reader *r, const struct sp_event **out_event,
                               struct sp_err *err) {
  sp_convert_clear(&r->current);
  for (;;) {
    struct sp_frame frame;
    bool have;
    sp_status status = sp_splitter_next(&r->splitter, &frame, &have, err);
    if (status != SP_OK) {
      return status;
    }
    if (!have) {
      *out_event = NULL;
      return SP_OK;
    }
    if (!sp_message_descriptor(frame.tag)) {
      continue;
    }
    status = sp_convert_unpack(&r->current, &frame, err);
    if (status != SP_OK) {
      r->splitter.failed = true;
      return status;
    }
    *out_event = &r->current.event;
    return SP_OK;
  }
}

bool sp_event_reader_torn(const sp_event_reader *r) {
  return r->splitter.n_buf > r->splitter.head;
}
