/* proto/base/fault.h: actions at the right passage, refusal of malformed lists and of plain builds.
 */
#include "tests/lib/tt.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/fault.h"

static void test_fault_check_without_list_is_ok(void **state) {
  (void)state;
  unsetenv("STOKER_FAULT");
  assert_int_equal(sp_fault_check(NULL), SP_OK);
  assert_int_equal(SP_FAULT("any"), 0);
}

#ifdef STOKER_FAULTS

/* Each test names other points and other positions: passages are counted per position. */
static void test_fault_errno_happens_at_its_passage_only(void **state) {
  (void)state;
  setenv("STOKER_FAULT", "a:2:errno=ENOSPC", 1);
  assert_int_equal(SP_FAULT("b"), 0);
  assert_int_equal(SP_FAULT("a"), 0);
  assert_int_equal(SP_FAULT("a"), ENOSPC);
  assert_int_equal(SP_FAULT("a"), 0);
  unsetenv("STOKER_FAULT");
}

static void test_fault_hit_zero_happens_every_time(void **state) {
  (void)state;
  setenv("STOKER_FAULT", "unused:1:kill9,c:0:errno=EIO", 1);
  assert_int_equal(SP_FAULT("c"), EIO);
  assert_int_equal(SP_FAULT("c"), EIO);
  unsetenv("STOKER_FAULT");
}

static void test_fault_kill9_kills_the_process(void **state) {
  (void)state;
  setenv("STOKER_FAULT", "x:9:sleep=1ms,x:9:sleep=1ms,d:1:kill9", 1);
  pid_t pid = fork();
  if (pid == 0) {
    (void)SP_FAULT("d");
    _exit(0);
  }
  int status = 0;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  unsetenv("STOKER_FAULT");
}

static void test_fault_malformed_lists_are_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"a",          "a:1",         ":1:kill9",        "a:x:kill9",
                                    "a:-1:kill9", "a:1:explode", "a:1:errno=EWHAT", "a:1:sleep=9"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    struct sp_err err;
    setenv("STOKER_FAULT", bad[i], 1);
    assert_int_equal(sp_fault_check(&err), SP_EINVAL);
    assert_non_null(strstr(err.text, bad[i]));
  }
  setenv("STOKER_FAULT", "a:1:kill9,b:0:errno=EIO,c:2:sleep=3ms", 1);
  assert_int_equal(sp_fault_check(NULL), SP_OK);
  unsetenv("STOKER_FAULT");
}

#else

static void test_fault_check_plain_build_refuses_any_list(void **state) {
  (void)state;
  struct sp_err err;
  setenv("STOKER_FAULT", "a:1:kill9", 1);
  assert_int_equal(sp_fault_check(&err), SP_EUNSUPPORTED);
  assert_int_equal(SP_FAULT("a"), 0);
  unsetenv("STOKER_FAULT");
}

#endif

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_fault_check_without_list_is_ok),
#ifdef STOKER_FAULTS
      tt_test(test_fault_errno_happens_at_its_passage_only),
      tt_test(test_fault_hit_zero_happens_every_time),
      tt_test(test_fault_kill9_kills_the_process),
      tt_test(test_fault_malformed_lists_are_refused),
#else
      tt_test(test_fault_check_plain_build_refuses_any_list),
#endif
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
