/* Signals to the command and what the worker gets. */
#include "tests/lib/tt.h"

#include "client/stop.h"

#include <signal.h>

static void test_first_asks_second_tells_third_kills(void **state) {
  (void)state;
  enum sc_stop_state s = SC_STOP_NONE;
  assert_int_equal(sc_stop_signal(&s, SIGINT, true), SC_STOP_DO_ASK);
  assert_int_equal(sc_stop_signal(&s, SIGTERM, true), SC_STOP_DO_TELL);
  assert_int_equal(sc_stop_signal(&s, SIGHUP, true), SC_STOP_DO_NOTHING);
  assert_int_equal(sc_stop_signal(&s, SIGINT, true), SC_STOP_DO_KILL);
  assert_int_equal(sc_stop_signal(&s, SIGINT, true), SC_STOP_DO_NOTHING);
}

static void test_hangup_asks_but_never_kills(void **state) {
  (void)state;
  enum sc_stop_state s = SC_STOP_NONE;
  assert_int_equal(sc_stop_signal(&s, SIGHUP, true), SC_STOP_DO_ASK);
  assert_int_equal(sc_stop_signal(&s, SIGHUP, true), SC_STOP_DO_NOTHING);
  assert_int_equal(sc_stop_signal(&s, SIGINT, true), SC_STOP_DO_TELL);
}

static void test_verb_that_trains_nothing_ends_at_the_first(void **state) {
  (void)state;
  enum sc_stop_state s = SC_STOP_NONE;
  assert_int_equal(sc_stop_signal(&s, SIGHUP, false), SC_STOP_DO_KILL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_first_asks_second_tells_third_kills),
      tt_test(test_hangup_asks_but_never_kills),
      tt_test(test_verb_that_trains_nothing_ends_at_the_first),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
