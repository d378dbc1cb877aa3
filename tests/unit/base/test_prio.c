/* Priorities of background work, as the kernel reports them. */
#include "tests/lib/tt.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/prio.h"

static void test_io_low_priority_lowers_both_and_only_here(void **state) {
  (void)state;
  int nice_before = getpriority(PRIO_PROCESS, 0);
  pid_t pid = fork();
  if (pid == 0) {
    bool good = sp_io_low_priority(NULL) == SP_OK && sp_io_low_priority(NULL) == SP_OK;
    long io = syscall(SYS_ioprio_get, 1, 0);
    int now = getpriority(PRIO_PROCESS, 0);
    int want = nice_before > 10 ? nice_before : 10;
    _exit(!good ? 1 : io != (2 << 13 | 7) ? 2 : now != want ? 3 : 0);
  }
  int status = -1;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  assert_int_equal(getpriority(PRIO_PROCESS, 0), nice_before);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_io_low_priority_lowers_both_and_only_here),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
