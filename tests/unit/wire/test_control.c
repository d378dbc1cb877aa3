/* Control messages there and back, what is refused, and asking somebody who answers badly. */
#include "tests/lib/tt.h"

#include "proto/base/mem.h"
#include "proto/base/sock.h"
#include "proto/wire/control.h"
#include "proto/wire/fd_io.h"
#include "proto/wire/frame.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* m through a reader; the result lives as long as it does. */
static const struct sp_control *through(sp_event_reader *r, const struct sp_control *m) {
  uint8_t *frame;
  size_t n;
  const struct sp_control *got;
  assert_int_equal(sp_control_pack(m, &frame, &n, NULL), SP_OK);
  assert_int_equal(sp_event_reader_feed(r, frame, n, NULL), SP_OK);
  assert_int_equal(sp_control_next(r, &got, NULL), SP_OK);
  assert_non_null(got);
  assert_int_equal(got->kind, m->kind);
  assert_int_equal(got->id, m->id);
  sp_free(frame);
  return got;
}

static void test_requests_come_back_equal(void **state) {
  (void)state;
  sp_event_reader *r = sp_event_reader_new();
  struct sp_control m = {.kind = SP_CONTROL_STATUS_REQUEST, .id = 1};
  assert_true(sp_control_is_request(through(r, &m)));
  m = (struct sp_control){.kind = SP_CONTROL_SCALE, .id = 2, .u.scale = {3}};
  assert_int_equal(through(r, &m)->u.scale.ranks, 3);
  m = (struct sp_control){.kind = SP_CONTROL_STOP, .id = INT64_MAX, .u.stop = {true}};
  const struct sp_control *got = through(r, &m);
  assert_true(got->u.stop.now);
  assert_true(sp_control_is_request(got));
  sp_event_reader_free(r);
}

static void test_answers_come_back_equal(void **state) {
  (void)state;
  sp_event_reader *r = sp_event_reader_new();
  struct sp_control m = {.kind = SP_CONTROL_DONE, .id = 7, .u.done = {"2 ranks from step 58"}};
  assert_string_equal(through(r, &m)->u.done.text, "2 ranks from step 58");
  m = (struct sp_control){.kind = SP_CONTROL_REFUSED, .u.refused = {SP_ERANGE, "two\nlines"}};
  const struct sp_control *got = through(r, &m);
  assert_int_equal(got->u.refused.status, SP_ERANGE);
  assert_string_equal(got->u.refused.text, "two\nlines");
  assert_false(sp_control_is_request(got));
  m = (struct sp_control){.kind = SP_CONTROL_STATUS,
                          .u.status = {"running", 77, 58, 1, -1, 2, 3, 4, 5, 6}};
  const struct sp_control_status *s = &through(r, &m)->u.status;
  assert_string_equal(s->state, "running");
  assert_int_equal(s->pid, 77);
  assert_int_equal(s->step, 58);
  assert_int_equal(s->epoch, 1);
  assert_int_equal(s->total_steps, -1);
  assert_int_equal(s->generation, 2);
  assert_int_equal(s->ranks, 3);
  assert_int_equal(s->lanes, 4);
  assert_int_equal(s->deaths, 5);
  assert_int_equal(s->recoveries, 6);
  sp_event_reader_free(r);
}

/* The status of a frame of these bytes, and again: a violation is final. */
static sp_status next_of(uint16_t tag, const void *bytes, size_t n) {
  uint8_t header[SP_FRAME_HEADER_BYTES];
  const struct sp_control *m;
  sp_event_reader *r = sp_event_reader_new();
  sp_frame_header_put(header, tag, (uint32_t)n);
  assert_int_equal(sp_event_reader_feed(r, header, sizeof header, NULL), SP_OK);
  assert_int_equal(sp_event_reader_feed(r, bytes, n, NULL), SP_OK);
  sp_status status = sp_control_next(r, &m, NULL);
  assert_true((status == SP_OK) == (m != NULL));
  assert_int_equal(sp_control_next(r, &m, NULL), status);
  sp_event_reader_free(r);
  return status;
}

static void test_next_hostile_messages_are_refused(void **state) {
  (void)state;
  assert_int_equal(next_of(SP_CONTROL_SCALE, "\x10\x02", 2), SP_OK);
  /* Scale{ranks 0} and {ranks 1025} */
  assert_int_equal(next_of(SP_CONTROL_SCALE, "", 0), SP_ECORRUPT);
  assert_int_equal(next_of(SP_CONTROL_SCALE, "\x10\x81\x08", 3), SP_ECORRUPT);
  /* Stop{id -1} */
  assert_int_equal(next_of(SP_CONTROL_STOP, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11),
                   SP_ECORRUPT);
  /* Refused without a status */
  assert_int_equal(next_of(SP_CONTROL_REFUSED, "", 0), SP_ECORRUPT);
  /* Done{text ESC} */
  assert_int_equal(next_of(SP_CONTROL_DONE, "\x12\x01\x1b", 3), SP_ECORRUPT);
  /* Tags of other streams, and of none */
  assert_int_equal(next_of(SP_EVENT_METRICS, "", 0), SP_ECORRUPT);
  assert_int_equal(next_of(SP_SUPERVISE_LEAVE, "", 0), SP_ECORRUPT);
  assert_int_equal(next_of(SP_CONTROL_STATUS + 1, "", 0), SP_ECORRUPT);
}

static void test_next_a_frame_that_begins_too_large_is_refused(void **state) {
  (void)state;
  static uint8_t zeros[SP_CONTROL_MAX_FRAME];
  uint8_t header[SP_FRAME_HEADER_BYTES];
  const struct sp_control *m;
  sp_event_reader *r = sp_event_reader_new();
  sp_frame_header_put(header, SP_CONTROL_STOP, 500000);
  assert_int_equal(sp_event_reader_feed(r, header, sizeof header, NULL), SP_OK);
  assert_int_equal(sp_control_next(r, &m, NULL), SP_OK);
  assert_int_equal(sp_event_reader_feed(r, zeros, sizeof zeros, NULL), SP_OK);
  assert_int_equal(sp_control_next(r, &m, NULL), SP_ECORRUPT);
  sp_event_reader_free(r);
}

static void test_call_without_a_supervisor_is_not_found(void **state) {
  (void)state;
  const struct sp_control *answer;
  struct sp_control m = {.kind = SP_CONTROL_STATUS_REQUEST};
  sp_event_reader *r = sp_event_reader_new();
  assert_int_equal(sp_control_call(tt_tmpdir(), &m, 1000, r, &answer, NULL), SP_ENOENT);
  sp_event_reader_free(r);
}

/* Asks a process that accepts one connection and writes these bytes, and then hangs up or waits for
 * the asker to. */
static sp_status call_one_who_says(const void *bytes, size_t n, bool waits, int timeout_ms,
                                   struct sp_err *err) {
  int listener = -1;
  const struct sp_control *answer;
  struct sp_control m = {.kind = SP_CONTROL_STATUS_REQUEST};
  assert_int_equal(sp_sock_listen(tt_tmpdir(), SP_CONTROL_SOCKET, &listener, NULL), SP_OK);
  pid_t child = fork();
  if (child == 0) {
    char byte[64];
    int fd = accept(listener, NULL, NULL);
    bool ok = fd >= 0 && read(fd, byte, sizeof byte) > 0 &&
              (n == 0 || sp_fd_send_frame(fd, bytes, n, -1, NULL) == SP_OK);
    while (ok && waits && read(fd, byte, sizeof byte) > 0) {
    }
    _exit(!ok);
  }
  sp_event_reader *r = sp_event_reader_new();
  sp_status status = sp_control_call(tt_tmpdir(), &m, timeout_ms, r, &answer, err);
  sp_event_reader_free(r);
  close(listener);
  int end = -1;
  assert_int_equal(waitpid(child, &end, 0), child);
  assert_int_equal(end, 0);
  return status;
}

static void test_call_silence_ends_at_the_deadline(void **state) {
  (void)state;
  struct sp_err err;
  assert_int_equal(call_one_who_says("", 0, true, 20, &err), SP_ECANCELED);
  assert_non_null(strstr(err.text, "in time"));
  assert_int_equal(call_one_who_says("\x05", 1, true, 20, &err), SP_ECANCELED);
}

static void test_call_one_who_hangs_up_is_an_error(void **state) {
  (void)state;
  struct sp_err err;
  assert_int_equal(call_one_who_says("", 0, false, 60000, &err), SP_EIO);
  assert_non_null(strstr(err.text, "went away"));
}

static void test_call_garbage_is_corrupt(void **state) {
  (void)state;
  assert_int_equal(call_one_who_says("GET / HTTP/1.1\r\n", 16, true, 60000, NULL), SP_ECORRUPT);
}

static sp_status call_and_answer(const struct sp_control *answer, struct sp_err *err) {
  uint8_t *frame;
  size_t n;
  assert_int_equal(sp_control_pack(answer, &frame, &n, NULL), SP_OK);
  sp_status status = call_one_who_says(frame, n, true, 60000, err);
  sp_free(frame);
  return status;
}

static void test_call_gives_the_answer_or_the_refusal(void **state) {
  (void)state;
  struct sp_err err;
  struct sp_control m = {.kind = SP_CONTROL_DONE, .u.done = {"fine"}};
  assert_int_equal(call_and_answer(&m, &err), SP_OK);
  m = (struct sp_control){.kind = SP_CONTROL_REFUSED, .u.refused = {SP_ERANGE, "too many"}};
  assert_int_equal(call_and_answer(&m, &err), SP_ERANGE);
  assert_string_equal(err.text, "too many");
  m = (struct sp_control){.kind = SP_CONTROL_STOP};
  assert_int_equal(call_and_answer(&m, &err), SP_ECORRUPT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_requests_come_back_equal),
      tt_test(test_answers_come_back_equal),
      tt_test(test_next_hostile_messages_are_refused),
      tt_test(test_next_a_frame_that_begins_too_large_is_refused),
      tt_test(test_call_without_a_supervisor_is_not_found),
      tt_test(test_call_silence_ends_at_the_deadline),
      tt_test(test_call_one_who_hangs_up_is_an_error),
      tt_test(test_call_garbage_is_corrupt),
      tt_test(test_call_gives_the_answer_or_the_refusal),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
