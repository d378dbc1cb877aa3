/* Asking a supervisor, blocking, within a deadline. */
#include "proto/wire/control.h"

#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "proto/base/sock.h"
#include "proto/wire/fd_io.h"

#include <poll.h>
#include <unistd.h>

/* Waits until fd can be read; SP_ECANCELED when the deadline is over. */
static sp_status await(int fd, int64_t deadline_ns, struct sp_err *err) {
  for (;;) {
    int64_t left_ns = deadline_ns - sp_mono_now(sp_clock_system()).ns;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (left_ns <= 0) {
      return sp_fail(err, SP_ECANCELED, "the supervisor did not answer in time");
    }
    if (poll(&p, 1, (int)(left_ns / 1000000) + 1) > 0) {
      return SP_OK;
    }
  }
}

static sp_status receive(int fd, int64_t deadline_ns, sp_event_reader *r,
                         const struct sp_control **out_answer, struct sp_err *err) {
  for (bool eof = false;;) {
    sp_status status = sp_control_next(r, out_answer, err);
    if (status != SP_OK || *out_answer) {
      return status;
    }
    if (eof) {
      return sp_fail(err, SP_EIO, "the supervisor went away before it answered");
    }
    status = await(fd, deadline_ns, err);
    if (status == SP_OK) {
      status = sp_event_reader_fill(r, fd, &eof, err);
    }
    if (status != SP_OK) {
      return status;
    }
  }
}

static sp_status check_answer(const struct sp_control *answer, struct sp_err *err) {
  if (answer->kind == SP_CONTROL_REFUSED) {
    return sp_fail(err, answer->u.refused.status, "%s", answer->u.refused.text);
  }
  if (sp_control_is_request(answer)) {
    return sp_fail(err, SP_ECORRUPT, "control: the supervisor answers with a request");
  }
  return SP_OK;
}

sp_status sp_control_call(const char *run_dir, const struct sp_control *request, int timeout_ms,
                          sp_event_reader *r, const struct sp_control **out_answer,
                          struct sp_err *err) {
  int64_t deadline_ns = sp_mono_now(sp_clock_system()).ns + timeout_ms * INT64_C(1000000);
  struct sp_control whole = *request;
  uint8_t *frame = NULL;
  size_t n = 0;
  int fd = -1;
  whole.id = 1;
  *out_answer = NULL;
  sp_status status = sp_sock_connect(run_dir, SP_CONTROL_SOCKET, &fd, err);
  if (status == SP_OK) {
    status = sp_control_pack(&whole, &frame, &n, err);
  }
  if (status == SP_OK) {
    status = sp_fd_send_frame(fd, frame, n, -1, err);
    if (status == SP_ECANCELED) {
      status = SP_OK; /* hung up on: what it said before that is worth reading */
    }
  }
  if (status == SP_OK) {
    status = receive(fd, deadline_ns, r, out_answer, err);
  }
  if (status == SP_OK) {
    status = check_answer(*out_answer, err);
  }
  if (fd >= 0) {
    close(fd);
  }
  sp_free(frame);
  return status;
}
