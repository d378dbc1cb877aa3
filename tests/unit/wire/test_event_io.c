/* Events over a socketpair and a pipe. */
#include "tests/lib/tt.h"

#include "proto/base/mem.h"
#include "proto/wire/event_io.h"
#include "proto/wire/frame.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void sockets(int out_fds[2]) {
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, out_fds), 0);
}

/* The next event, reading from fd until there is one; NULL at the end of the stream. */
static const struct sp_event *receive(sp_event_reader *r, int fd) {
  bool eof = false;
  for (;;) {
    const struct sp_event *e = NULL;
    assert_int_equal(sp_event_reader_next(r, &e, NULL), SP_OK);
    if (e || eof) {
      return e;
    }
    assert_int_equal(sp_event_reader_fill(r, fd, &eof, NULL), SP_OK);
  }
}

static void test_send_text_arrives(void **state) {
  (void)state;
  int fds[2];
  sockets(fds);
  assert_int_equal(sp_event_send_text(fds[0], SP_TEXT_WARNING, NULL, "lane %d", 3), SP_OK);
  close(fds[0]);
  sp_event_reader *r = sp_event_reader_new();
  const struct sp_event *e = receive(r, fds[1]);
  assert_int_equal(e->kind, SP_EVENT_TEXT);
  assert_int_equal(e->u.text.level, SP_TEXT_WARNING);
  assert_int_equal(e->u.text.n_bytes, 6);
  assert_memory_equal(e->u.text.text, "lane 3", 6);
  assert_null(receive(r, fds[1]));
  assert_false(sp_event_reader_torn(r));
  sp_event_reader_free(r);
  close(fds[1]);
}

static void test_send_over_a_pipe_arrives(void **state) {
  (void)state;
  int fds[2];
  assert_int_equal(pipe(fds), 0);
  assert_int_equal(sp_event_send_text(fds[1], SP_TEXT_INFO, NULL, "x"), SP_OK);
  close(fds[1]);
  sp_event_reader *r = sp_event_reader_new();
  assert_non_null(receive(r, fds[0]));
  sp_event_reader_free(r);
  close(fds[0]);
}

static void test_send_output_longer_than_one_event_arrives_in_order(void **state) {
  (void)state;
  enum { N = SP_EVENT_MAX_OUTPUT + 1000 };
  int fd = open(tt_tmpfile("output"), O_RDWR | O_CREAT | O_TRUNC, 0600);
  assert_true(fd >= 0);
  uint8_t *sent = sp_alloc(N);
  uint8_t *got = sp_alloc(N);
  for (size_t i = 0; i < N; i++) {
    sent[i] = (uint8_t)(i * 31 >> 3);
  }
  assert_int_equal(sp_event_send_output(fd, sent, N, NULL), SP_OK);
  lseek(fd, 0, SEEK_SET);
  sp_event_reader *r = sp_event_reader_new();
  size_t n = 0;
  for (const struct sp_event *e; (e = receive(r, fd)) != NULL; n += e->u.output.n_bytes) {
    assert_true(n + e->u.output.n_bytes <= N);
    memcpy(got + n, e->u.output.bytes, e->u.output.n_bytes);
  }
  assert_int_equal(n, N);
  assert_memory_equal(sent, got, N);
  sp_event_reader_free(r);
  sp_free(sent);
  sp_free(got);
  close(fd);
}

static void test_send_to_a_closed_peer_is_canceled(void **state) {
  (void)state;
  int fds[2];
  sockets(fds);
  close(fds[1]);
  assert_int_equal(sp_event_send_text(fds[0], SP_TEXT_INFO, NULL, "x"), SP_ECANCELED);
  close(fds[0]);
}

static void test_next_unknown_kind_is_skipped(void **state) {
  (void)state;
  uint8_t bytes[SP_FRAME_HEADER_BYTES];
  sp_event_reader *r = sp_event_reader_new();
  sp_frame_header_put(bytes, 4000, 0);
  assert_int_equal(sp_event_reader_feed(r, bytes, sizeof bytes, NULL), SP_OK);
  sp_frame_header_put(bytes, SP_EVENT_METRICS, 0);
  assert_int_equal(sp_event_reader_feed(r, bytes, sizeof bytes, NULL), SP_OK);
  const struct sp_event *e = NULL;
  assert_int_equal(sp_event_reader_next(r, &e, NULL), SP_OK);
  assert_int_equal(e->kind, SP_EVENT_METRICS);
  sp_event_reader_free(r);
}

static void test_next_after_a_bad_event_fails_for_good(void **state) {
  (void)state;
  uint8_t bytes[SP_FRAME_HEADER_BYTES];
  sp_event_reader *r = sp_event_reader_new();
  const struct sp_event *e = NULL;
  sp_frame_header_put(bytes, SP_EVENT_STOPPED, 0);
  assert_int_equal(sp_event_reader_feed(r, bytes, sizeof bytes, NULL), SP_OK);
  assert_int_equal(sp_event_reader_next(r, &e, NULL), SP_ECORRUPT);
  assert_int_equal(sp_event_reader_next(r, &e, NULL), SP_ECORRUPT);
  sp_event_reader_free(r);
}

static void test_torn_inside_a_frame_is_true(void **state) {
  (void)state;
  sp_event_reader *r = sp_event_reader_new();
  assert_int_equal(sp_event_reader_feed(r, "\x05", 1, NULL), SP_OK);
  assert_true(sp_event_reader_torn(r));
  sp_event_reader_free(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_send_text_arrives),
      tt_test(test_send_over_a_pipe_arrives),
      tt_test(test_send_output_longer_than_one_event_arrives_in_order),
      tt_test(test_send_to_a_closed_peer_is_canceled),
      tt_test(test_next_unknown_kind_is_skipped),
      tt_test(test_next_after_a_bad_event_fails_for_good),
      tt_test(test_torn_inside_a_frame_is_true),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
