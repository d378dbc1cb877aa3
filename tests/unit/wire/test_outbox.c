/* Events for a reader that stands still. */
#include "tests/lib/tt.h"

#include "proto/wire/event_io.h"
#include "proto/wire/outbox.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct line {
  sp_outbox *box;
  sp_event_reader *reader;
  int fds[2];
};

static void begin(struct line *l, size_t limit) {
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, l->fds), 0);
  l->box = sp_outbox_new(limit);
  l->reader = sp_event_reader_new();
}

static void end(struct line *l) {
  sp_outbox_free(l->box);
  sp_event_reader_free(l->reader);
  close(l->fds[0]);
  close(l->fds[1]);
}

static void add_text(struct line *l, const char *text) {
  sp_outbox_add(l->box, &(struct sp_event){.kind = SP_EVENT_TEXT,
                                           .u.text = {SP_TEXT_INFO, text, strlen(text)}});
}

static void add_progress(struct line *l, enum sp_stage stage, int64_t step) {
  struct sp_event_metric loss = {"loss", 0.5};
  sp_outbox_add(l->box, &(struct sp_event){.kind = SP_EVENT_PROGRESS,
                                           .u.progress = {.stage = stage,
                                                          .max_epochs = -1,
                                                          .n_batches = -1,
                                                          .total_steps = -1,
                                                          .global_step = step,
                                                          .unit = "samples",
                                                          .n_metrics = 1,
                                                          .metrics = &loss}});
}

static void flush(struct line *l) {
  assert_int_equal(sp_outbox_flush(l->box, l->fds[0], NULL), SP_OK);
}

/* The next event, after everything that fits was written; NULL: none waits. */
static const struct sp_event *receive(struct line *l) {
  for (;;) {
    const struct sp_event *e = NULL;
    bool eof = false;
    flush(l);
    assert_int_equal(sp_event_reader_next(l->reader, &e, NULL), SP_OK);
    (void)fcntl(l->fds[1], F_SETFL, O_NONBLOCK);
    char byte;
    if (e || (recv(l->fds[1], &byte, 1, MSG_PEEK) < 0 && sp_outbox_is_empty(l->box))) {
      return e;
    }
    assert_int_equal(sp_event_reader_fill(l->reader, l->fds[1], &eof, NULL), SP_OK);
  }
}

/* Until the socket takes nothing more, and some wait. */
static void fill(struct line *l) {
  char text[4000];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  while (sp_outbox_is_empty(l->box)) {
    add_text(l, text);
    flush(l);
  }
}

static void skip_fill(struct line *l, const struct sp_event **out) {
  do {
    *out = receive(l);
  } while (*out && (*out)->kind == SP_EVENT_TEXT && (*out)->u.text.text[0] == 'x');
}

static void test_outbox_events_arrive_in_order(void **state) {
  (void)state;
  struct line l;
  begin(&l, 0);
  add_text(&l, "one");
  add_progress(&l, SP_STAGE_TRAIN, 7);
  add_text(&l, "two");
  assert_false(sp_outbox_is_empty(l.box));
  assert_memory_equal(receive(&l)->u.text.text, "one", 3);
  assert_int_equal(receive(&l)->u.progress.global_step, 7);
  assert_memory_equal(receive(&l)->u.text.text, "two", 3);
  assert_null(receive(&l));
  assert_int_equal(sp_outbox_bytes(l.box), 0);
  end(&l);
}

/* A writer that waited would never come back from fill. */
static void test_outbox_progress_takes_the_place_of_the_one_that_waits(void **state) {
  (void)state;
  struct line l;
  const struct sp_event *e;
  begin(&l, 0);
  fill(&l);
  size_t bytes = sp_outbox_bytes(l.box);
  for (int64_t step = 0; step < 100000; step++) {
    add_progress(&l, SP_STAGE_TRAIN, step);
    add_progress(&l, SP_STAGE_VALIDATE, 0);
  }
  assert_in_range(sp_outbox_bytes(l.box), bytes, bytes + 400);
  add_text(&l, "the end");
  skip_fill(&l, &e);
  assert_int_equal(e->u.progress.global_step, 99999);
  assert_int_equal(receive(&l)->u.progress.stage, SP_STAGE_VALIDATE);
  assert_memory_equal(receive(&l)->u.text.text, "the end", 7);
  assert_null(receive(&l));
  end(&l);
}

static void test_outbox_over_its_limit_drops_the_oldest_and_says_so(void **state) {
  (void)state;
  struct line l;
  const struct sp_event *e;
  const char *left_out = " messages were left out while nobody read them";
  int n = 0;
  begin(&l, 20000);
  fill(&l);
  sp_outbox_add(l.box, &(struct sp_event){.kind = SP_EVENT_ERROR, .u.error = {SP_EIO, "kept"}});
  for (int i = 0; i < 5000; i++) {
    add_text(&l, "a message that nobody reads");
    assert_in_range(sp_outbox_bytes(l.box), 1, 20000);
  }
  sp_outbox_add(l.box, &(struct sp_event){.kind = SP_EVENT_RESULT, .u.result = {.status = SP_EIO}});
  skip_fill(&l, &e);
  assert_non_null(memmem(e->u.text.text, e->u.text.n_bytes, left_out, strlen(left_out)));
  assert_string_equal(receive(&l)->u.error.text, "kept");
  while ((e = receive(&l))->kind == SP_EVENT_TEXT) {
    n++;
  }
  assert_in_range(n, 100, 800);
  assert_int_equal(e->kind, SP_EVENT_RESULT);
  assert_null(receive(&l));
  end(&l);
}

static void test_outbox_over_a_pipe_never_waits(void **state) {
  (void)state;
  struct line l;
  int fds[2];
  begin(&l, 0);
  assert_int_equal(pipe(fds), 0);
  for (int i = 0; i < 100000; i++) {
    add_text(&l, "a message that nobody reads");
    assert_int_equal(sp_outbox_flush(l.box, fds[1], NULL), SP_OK);
  }
  assert_false(sp_outbox_is_empty(l.box));
  close(fds[0]);
  close(fds[1]);
  end(&l);
}

static void test_outbox_whose_reader_is_gone_says_so(void **state) {
  (void)state;
  struct line l;
  struct sp_err err = {0};
  begin(&l, 0);
  fill(&l);
  close(l.fds[1]);
  l.fds[1] = -1;
  assert_int_equal(sp_outbox_flush(l.box, l.fds[0], &err), SP_ECANCELED);
  assert_int_equal(sp_outbox_drain(l.box, l.fds[0], &err), SP_ECANCELED);
  end(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_outbox_events_arrive_in_order),
      tt_test(test_outbox_progress_takes_the_place_of_the_one_that_waits),
      tt_test(test_outbox_over_its_limit_drops_the_oldest_and_says_so),
      tt_test(test_outbox_over_a_pipe_never_waits),
      tt_test(test_outbox_whose_reader_is_gone_says_so),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
