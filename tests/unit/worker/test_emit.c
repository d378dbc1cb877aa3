/* The end of a verb: what Result says after a stop, and after an error. */
#include "tests/lib/tt.h"

#include "worker/emit.h"

#include <sys/socket.h>
#include <unistd.h>

/* Ends a verb with err and r; fills the kinds of the events sent (at most four) and the last one.
 */
static int end(const struct sp_err *err, struct sp_event_result *r, int kinds[4],
               struct sp_event_result *out_last) {
  int fds[2], n = 0;
  bool eof = false;
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  struct sw_emit e = {.fd = fds[0]};
  int code = sw_emit_result(&e, err, true, r);
  close(fds[0]);
  struct sp_event_reader *reader = sp_event_reader_new();
  assert_non_null(reader);
  while (!eof) {
    const struct sp_event *ev = NULL;
    struct sp_err why = {0};
    assert_int_equal(sp_event_reader_fill(reader, fds[1], &eof, &why), SP_OK);
    while (sp_event_reader_next(reader, &ev, &why) == SP_OK && ev) {
      assert_true(n < 4);
      kinds[n++] = (int)ev->kind;
      if (ev->kind == SP_EVENT_RESULT) {
        *out_last = ev->u.result;
      }
    }
  }
  sp_event_reader_free(reader);
  close(fds[1]);
  return code;
}

static void test_result_of_a_stop_is_canceled_without_an_error(void **state) {
  (void)state;
  const struct sp_err none = {0};
  struct sp_event_result r = {.status = SP_ECANCELED, .exit = SP_EXIT_JOB_CANCELED}, last = {0};
  int kinds[4] = {0};
  assert_int_equal(end(&none, &r, kinds, &last), 11);
  assert_int_equal(kinds[0], SP_EVENT_RESULT);
  assert_int_equal(kinds[1], 0);
  assert_int_equal(last.status, SP_ECANCELED);
  assert_int_equal(last.exit, SP_EXIT_JOB_CANCELED);
}

static void test_result_of_an_error_follows_the_error(void **state) {
  (void)state;
  struct sp_err err = {0};
  (void)sp_fail(&err, SP_ENOSPC, "full");
  struct sp_event_result r = {.status = SP_ECANCELED, .exit = SP_EXIT_JOB_CANCELED}, last = {0};
  int kinds[4] = {0};
  assert_int_equal(end(&err, &r, kinds, &last), 10);
  assert_int_equal(kinds[0], SP_EVENT_ERROR);
  assert_int_equal(kinds[1], SP_EVENT_RESULT);
  assert_int_equal(last.status, SP_ENOSPC);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_result_of_a_stop_is_canceled_without_an_error),
      tt_test(test_result_of_an_error_follows_the_error),
  };
  return cmocka_run_group_tests_name("worker/emit", tests, NULL, NULL);
}
