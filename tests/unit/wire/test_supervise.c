/* Messages between a job's processes: over a socketpair with descriptors, mixed with events, and
 * from hands that do not mean well. */
#include "tests/lib/tt.h"

#include "proto/base/mem.h"
#include "proto/wire/fd_io.h"
#include "proto/wire/frame.h"
#include "proto/wire/supervise.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct stream {
  int fds[2]; /* written, read */
  sp_event_reader *r;
};

static void stream_open(struct stream *s) {
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s->fds), 0);
  s->r = sp_event_reader_new();
  assert_non_null(s->r);
}

static void stream_close(struct stream *s) {
  sp_event_reader_free(s->r);
  close(s->fds[0]);
  close(s->fds[1]);
}

/* The next message; an event in its place fails the test. */
static const struct sp_supervise *receive(struct stream *s) {
  for (;;) {
    const struct sp_supervise *m;
    const struct sp_event *e;
    assert_int_equal(sp_supervise_next(s->r, &m, &e, NULL), SP_OK);
    assert_null(e);
    if (m) {
      return m;
    }
    bool eof = false;
    assert_int_equal(sp_supervise_fill(s->r, s->fds[1], &eof, NULL), SP_OK);
    assert_false(eof);
  }
}

/* Sends m and gives what arrives. */
static const struct sp_supervise *through(struct stream *s, const struct sp_supervise *m) {
  assert_int_equal(sp_supervise_send(s->fds[0], m, -1, NULL), SP_OK);
  const struct sp_supervise *got = receive(s);
  assert_int_equal(got->kind, m->kind);
  return got;
}

static void test_ready_comes_back_equal(void **state) {
  (void)state;
  const struct sp_pair hparams[] = {{"n_layer", "4"}, {"note", "two\nlines"}};
  struct sp_supervise m = {.kind = SP_SUPERVISE_READY,
                           .u.ready = {.model = "gpt",
                                       .kernels = "avx2",
                                       .precision = "32-true",
                                       .graph_hash = "0123456789abcdef",
                                       .n_params = 10,
                                       .n_trainable = 9,
                                       .lanes = 4,
                                       .threads = 2,
                                       .state_bytes = 4096,
                                       .plan_peak_bytes = -1,
                                       .n_train_batches = 100,
                                       .n_val_batches = -1,
                                       .total_steps = 300,
                                       .max_epochs = 3,
                                       .n_hparams = 2,
                                       .hparams = hparams}};
  struct stream s;
  stream_open(&s);
  const struct sp_ready *r = &through(&s, &m)->u.ready;
  assert_string_equal(r->model, "gpt");
  assert_string_equal(r->graph_hash, "0123456789abcdef");
  assert_int_equal(r->n_trainable, 9);
  assert_int_equal(r->lanes, 4);
  assert_int_equal(r->threads, 2);
  assert_int_equal(r->state_bytes, 4096);
  assert_int_equal(r->plan_peak_bytes, -1);
  assert_int_equal(r->n_train_batches, 100);
  assert_int_equal(r->n_val_batches, -1);
  assert_int_equal(r->total_steps, 300);
  assert_int_equal(r->max_epochs, 3);
  assert_int_equal(r->n_hparams, 2);
  assert_string_equal(r->hparams[0].name, "n_layer");
  assert_string_equal(r->hparams[1].value, "two\nlines");
  stream_close(&s);
}

static void test_messages_of_a_rank_come_back_equal(void **state) {
  (void)state;
  struct stream s;
  stream_open(&s);
  struct sp_supervise m = {.kind = SP_SUPERVISE_JOIN,
                           .u.join = {7, 1, 2, "/runs/a", "/runs/a/checkpoints", ""}};
  const struct sp_join *join = &through(&s, &m)->u.join;
  assert_int_equal(join->generation, 7);
  assert_int_equal(join->rank, 1);
  assert_int_equal(join->n_ranks, 2);
  assert_string_equal(join->run_dir, "/runs/a");
  assert_string_equal(join->ckpt_dir, "/runs/a/checkpoints");
  assert_string_equal(join->resumed_from, "");
  m = (struct sp_supervise){.kind = SP_SUPERVISE_HELLO, .u.hello = {1234, 3}};
  assert_int_equal(through(&s, &m)->u.hello.rank, 3);
  m.u.hello.rank = -1; /* the spare's */
  assert_int_equal(through(&s, &m)->u.hello.rank, -1);
  m = (struct sp_supervise){.kind = SP_SUPERVISE_JOINED, .u.joined = {7}};
  assert_int_equal(through(&s, &m)->u.joined.generation, 7);
  m = (struct sp_supervise){.kind = SP_SUPERVISE_OPEN, .u.open = {8}};
  assert_int_equal(through(&s, &m)->u.open.generation, 8);
  m = (struct sp_supervise){.kind = SP_SUPERVISE_LEFT, .u.left = {7, 57, 58}};
  const struct sp_left *left = &through(&s, &m)->u.left;
  assert_int_equal(left->step, 57);
  assert_int_equal(left->sequence, 58);
  m = (struct sp_supervise){.kind = SP_SUPERVISE_FINISHED,
                            .u.finished = {SP_STOP_EARLY, "val_loss did not improve"}};
  assert_int_equal(through(&s, &m)->u.finished.stop, SP_STOP_EARLY);
  m = (struct sp_supervise){.kind = SP_SUPERVISE_FAILED,
                            .u.failed = {SP_EMODULE, "training_step:\nshapes"}};
  assert_string_equal(through(&s, &m)->u.failed.text, "training_step:\nshapes");
  m = (struct sp_supervise){.kind = SP_SUPERVISE_LEAVE};
  through(&s, &m);
  m = (struct sp_supervise){.kind = SP_SUPERVISE_QUIT};
  through(&s, &m);
  stream_close(&s);
}

static void test_receipt_of_the_largest_size_comes_back_equal(void **state) {
  (void)state;
  static uint8_t blob[SP_SUPERVISE_MAX_RECEIPT + 1];
  for (size_t i = 0; i < sizeof blob; i++) {
    blob[i] = (uint8_t)(i * 31 >> 3);
  }
  struct sp_supervise m = {.kind = SP_SUPERVISE_RECEIPT,
                           .u.receipt = {blob, SP_SUPERVISE_MAX_RECEIPT}};
  struct stream s;
  stream_open(&s);
  const struct sp_receipt *r = &through(&s, &m)->u.receipt;
  assert_int_equal(r->n_bytes, SP_SUPERVISE_MAX_RECEIPT);
  assert_memory_equal(r->blob, blob, SP_SUPERVISE_MAX_RECEIPT);
  m.u.receipt.n_bytes++;
  assert_int_equal(sp_supervise_send(s.fds[0], &m, -1, NULL), SP_ERANGE);
  stream_close(&s);
}

static void test_descriptors_arrive_in_order_beside_their_messages(void **state) {
  (void)state;
  struct stream s;
  stream_open(&s);
  for (int i = 0; i < 3; i++) {
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(write(pipes[1], &i, sizeof i), sizeof i);
    struct sp_supervise m = {.kind = SP_SUPERVISE_FORK, .u.fork = {.rank = i, .slot = -1}};
    assert_int_equal(sp_supervise_send(s.fds[0], &m, pipes[0], NULL), SP_OK);
    close(pipes[0]);
    close(pipes[1]);
  }
  for (int i = 0; i < 3; i++) {
    assert_int_equal(receive(&s)->u.fork.rank, i);
  }
  for (int i = 0; i < 3; i++) {
    int fd = sp_supervise_take_fd(s.r);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    int got = -1;
    assert_int_equal(read(fd, &got, sizeof got), sizeof got);
    assert_int_equal(got, i);
    close(fd);
  }
  assert_int_equal(sp_supervise_take_fd(s.r), -1);
  stream_close(&s);
}

/* Reads the write end's fate: true when no reader is left. */
static bool is_abandoned(int fd) {
  return send(fd, "x", 1, MSG_NOSIGNAL) < 0;
}

static void test_descriptors_never_taken_are_closed_with_the_reader(void **state) {
  (void)state;
  struct stream s;
  stream_open(&s);
  int pair[2];
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  struct sp_supervise m = {.kind = SP_SUPERVISE_FORK, .u.fork = {.slot = -1}};
  for (int i = 0; i < 20; i++) { /* more than the reader keeps */
    assert_int_equal(sp_supervise_send(s.fds[0], &m, pair[1], NULL), SP_OK);
  }
  close(pair[1]);
  for (int i = 0; i < 20; i++) {
    receive(&s);
  }
  assert_false(is_abandoned(pair[0]));
  stream_close(&s);
  assert_true(is_abandoned(pair[0]));
  close(pair[0]);
}

static void test_next_gives_messages_and_events_in_order(void **state) {
  (void)state;
  struct stream s;
  stream_open(&s);
  struct sp_supervise joined = {.kind = SP_SUPERVISE_JOINED, .u.joined = {4}};
  uint8_t unknown[SP_FRAME_HEADER_BYTES];
  sp_frame_header_put(unknown, 127, 0);
  assert_int_equal(sp_event_send_text(s.fds[0], SP_TEXT_WARNING, NULL, "first"), SP_OK);
  assert_int_equal(write(s.fds[0], unknown, sizeof unknown), sizeof unknown);
  assert_int_equal(sp_supervise_send(s.fds[0], &joined, -1, NULL), SP_OK);
  bool eof = false;
  assert_int_equal(sp_supervise_fill(s.r, s.fds[1], &eof, NULL), SP_OK);
  const struct sp_supervise *m;
  const struct sp_event *e;
  assert_int_equal(sp_supervise_next(s.r, &m, &e, NULL), SP_OK);
  assert_null(m);
  assert_memory_equal(e->u.text.text, "first", 5);
  assert_int_equal(sp_supervise_next(s.r, &m, &e, NULL), SP_OK);
  assert_null(e);
  assert_int_equal(m->u.joined.generation, 4);
  assert_int_equal(sp_supervise_next(s.r, &m, &e, NULL), SP_OK);
  assert_true(!m && !e);
  stream_close(&s);
}

static void test_event_reader_skips_messages(void **state) {
  (void)state;
  struct stream s;
  stream_open(&s);
  struct sp_supervise joined = {.kind = SP_SUPERVISE_JOINED, .u.joined = {4}};
  assert_int_equal(sp_supervise_send(s.fds[0], &joined, -1, NULL), SP_OK);
  assert_int_equal(sp_event_send_text(s.fds[0], SP_TEXT_INFO, NULL, "x"), SP_OK);
  bool eof = false;
  assert_int_equal(sp_event_reader_fill(s.r, s.fds[1], &eof, NULL), SP_OK);
  const struct sp_event *e = NULL;
  assert_int_equal(sp_event_reader_next(s.r, &e, NULL), SP_OK);
  assert_int_equal(e->kind, SP_EVENT_TEXT);
  stream_close(&s);
}

/* The status of a frame of these bytes, and again: a violation is final. */
static sp_status next_of(uint16_t tag, const void *bytes, size_t n) {
  uint8_t header[SP_FRAME_HEADER_BYTES];
  sp_frame_header_put(header, tag, (uint32_t)n);
  sp_event_reader *r = sp_event_reader_new();
  assert_int_equal(sp_event_reader_feed(r, header, sizeof header, NULL), SP_OK);
  assert_int_equal(sp_event_reader_feed(r, bytes, n, NULL), SP_OK);
  const struct sp_supervise *m;
  const struct sp_event *e;
  sp_status status = sp_supervise_next(r, &m, &e, NULL);
  assert_true(status == SP_OK ? m != NULL : !m && !e);
  assert_int_equal(sp_supervise_next(r, &m, &e, NULL), status);
  sp_event_reader_free(r);
  return status;
}

static void test_next_hostile_fields_are_refused(void **state) {
  (void)state;
  assert_int_equal(next_of(SP_SUPERVISE_JOINED, "\x08\x04", 2), SP_OK);
  /* Joined{generation -1} */
  assert_int_equal(next_of(SP_SUPERVISE_JOINED, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11),
                   SP_ECORRUPT);
  /* RankHello{rank 1024} */
  assert_int_equal(next_of(SP_SUPERVISE_HELLO, "\x10\x80\x08", 3), SP_ECORRUPT);
  /* Join without ranks */
  assert_int_equal(next_of(SP_SUPERVISE_JOIN, "\x08\x01", 2), SP_ECORRUPT);
  /* Failed without a status */
  assert_int_equal(next_of(SP_SUPERVISE_FAILED, "", 0), SP_ECORRUPT);
  /* Finished{stop 6} */
  assert_int_equal(next_of(SP_SUPERVISE_FINISHED, "\x08\x06", 2), SP_ECORRUPT);
  /* Ready without lanes */
  assert_int_equal(next_of(SP_SUPERVISE_READY, "", 0), SP_ECORRUPT);
  /* Forked{error ESC} */
  assert_int_equal(next_of(SP_SUPERVISE_FORKED, "\x22\x01\x1b", 3), SP_ECORRUPT);
  /* Fork cut short */
  assert_int_equal(next_of(SP_SUPERVISE_FORK, "\x08", 1), SP_ECORRUPT);
}

static void test_pack_of_no_kind_is_invalid(void **state) {
  (void)state;
  uint8_t *bytes = NULL;
  size_t n = 0;
  struct sp_supervise m = {.kind = (enum sp_supervise_kind)(SP_SUPERVISE_OPEN + 1)};
  assert_int_equal(sp_supervise_pack(&m, &bytes, &n, NULL), SP_EINVAL);
  m.kind = (enum sp_supervise_kind)SP_EVENT_TEXT;
  assert_int_equal(sp_supervise_pack(&m, &bytes, &n, NULL), SP_EINVAL);
}

static void test_send_to_a_closed_peer_is_canceled(void **state) {
  (void)state;
  struct stream s;
  stream_open(&s);
  close(s.fds[1]);
  struct sp_supervise m = {.kind = SP_SUPERVISE_LEAVE};
  assert_int_equal(sp_supervise_send(s.fds[0], &m, -1, NULL), SP_ECANCELED);
  assert_int_equal(sp_supervise_send(s.fds[0], &m, s.fds[0], NULL), SP_ECANCELED);
  s.fds[1] = dup(s.fds[0]);
  stream_close(&s);
}

static void test_pack_and_next_with_each_allocation_failing_report_no_memory(void **state) {
  (void)state;
  const struct sp_pair hparams[] = {{"bad \x1b name", "1"}};
  struct sp_supervise m = {.kind = SP_SUPERVISE_READY,
                           .u.ready = {.lanes = 1, .n_hparams = 1, .hparams = hparams}};
  for (long n = 1;; n++) {
    sp_event_reader *r = sp_event_reader_new();
    const struct sp_supervise *got = NULL;
    const struct sp_event *e = NULL;
    uint8_t *bytes = NULL;
    size_t n_bytes = 0;
    tt_fail_alloc(n);
    sp_status status = sp_supervise_pack(&m, &bytes, &n_bytes, NULL);
    if (status == SP_OK) {
      status = sp_event_reader_feed(r, bytes, n_bytes, NULL);
    }
    if (status == SP_OK) {
      status = sp_supervise_next(r, &got, &e, NULL);
    }
    bool failed = tt_alloc_failed();
    sp_event_reader_free(r);
    sp_free(bytes);
    assert_true(failed ? status != SP_OK && !got : status == SP_OK);
    if (!failed) {
      break;
    }
  }
  tt_fail_alloc(0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_ready_comes_back_equal),
      tt_test(test_messages_of_a_rank_come_back_equal),
      tt_test(test_receipt_of_the_largest_size_comes_back_equal),
      tt_test(test_descriptors_arrive_in_order_beside_their_messages),
      tt_test(test_descriptors_never_taken_are_closed_with_the_reader),
      tt_test(test_next_gives_messages_and_events_in_order),
      tt_test(test_event_reader_skips_messages),
      tt_test(test_next_hostile_fields_are_refused),
      tt_test(test_pack_of_no_kind_is_invalid),
      tt_test(test_send_to_a_closed_peer_is_canceled),
      tt_test(test_pack_and_next_with_each_allocation_failing_report_no_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
