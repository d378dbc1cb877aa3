/* The worker's end in words and as an exit code. Wait statuses are the kernel's: a signal number,
 * or an exit code times 256. */
#include "tests/lib/tt.h"

#include "client/death.h"

#include <signal.h>
#include <string.h>

static void says(struct sc_death d, const char *part) {
  struct sp_buf b;
  sp_buf_init(&b, 4096);
  sc_death_put(&d, &b);
  if (!strstr(sp_buf_text(&b), part)) {
    assert_string_equal(sp_buf_text(&b), part);
  }
  sp_buf_free(&b);
}

static void test_signal_is_named(void **state) {
  (void)state;
  says((struct sc_death){.wait_status = SIGSEGV}, "killed by SIGSEGV (Segmentation fault)");
  says((struct sc_death){.wait_status = SIGKILL}, "when memory runs out");
}

static void test_exit_without_a_result_is_told(void **state) {
  (void)state;
  says((struct sc_death){.wait_status = 3 << 8}, "exit status 3");
}

static void test_exit_code_crash_in_a_run_is_job_failed(void **state) {
  (void)state;
  struct sc_death d = {.wait_status = SIGSEGV, .ran = true};
  assert_int_equal(sc_death_exit(&d), SP_EXIT_JOB_FAILED);
}

static void test_exit_code_killed_from_outside_is_job_lost(void **state) {
  (void)state;
  struct sc_death d = {.wait_status = SIGKILL, .ran = true};
  assert_int_equal(sc_death_exit(&d), SP_EXIT_JOB_LOST);
}

static void test_exit_code_killed_here_is_canceled(void **state) {
  (void)state;
  struct sc_death d = {.wait_status = SIGKILL, .ran = true, .killed_here = true};
  assert_int_equal(sc_death_exit(&d), SP_EXIT_JOB_CANCELED);
  says(d, "stopped at once");
}

static void test_exit_code_before_the_run_is_failed(void **state) {
  (void)state;
  struct sc_death d = {.wait_status = 127 << 8};
  assert_int_equal(sc_death_exit(&d), SP_EXIT_FAILED);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_signal_is_named),
      tt_test(test_exit_without_a_result_is_told),
      tt_test(test_exit_code_crash_in_a_run_is_job_failed),
      tt_test(test_exit_code_killed_from_outside_is_job_lost),
      tt_test(test_exit_code_killed_here_is_canceled),
      tt_test(test_exit_code_before_the_run_is_failed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
