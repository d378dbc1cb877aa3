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
#include "proto/base/mem.h"

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

/* Runs the places "e" (three times) and "f" in a child with that role; its wait status. */
static int child(const char *list, int rank, const char *word) {
  setenv("STOKER_FAULT", list, 1);
  pid_t pid = fork();
  if (pid == 0) {
    sp_fault_set_role(rank, word);
    for (int i = 0; i < 3; i++) {
      if (SP_FAULT("e")) {
        _exit(10 + i);
      }
    }
    _exit(SP_FAULT("f") ? 20 : 0);
  }
  int status = 0;
  assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
  if (WIFSTOPPED(status)) {
    int last = 0;
    kill(pid, SIGCONT);
    assert_int_equal(waitpid(pid, &last, 0), pid);
    assert_true(WIFEXITED(last) && WEXITSTATUS(last) == 0); /* it went on */
  }
  unsetenv("STOKER_FAULT");
  return status;
}

static int child_exit(const char *list, int rank, const char *word) {
  int status = child(list, rank, word);
  assert_true(WIFEXITED(status));
  return WEXITSTATUS(status);
}

static void test_fault_who_decides_whose_passage_it_is(void **state) {
  (void)state;
  assert_int_equal(child_exit("e:1:2:errno=EROFS", 1, NULL), 11);
  assert_int_equal(child_exit("e:1:2:errno=EROFS", 0, NULL), 0);
  assert_int_equal(child_exit("e:1:2:errno=EROFS", -1, "zygote"), 0);
  assert_int_equal(child_exit("e:zygote:3:errno=EDQUOT", -1, "zygote"), 12);
  assert_int_equal(child_exit("e:supervisor:0:errno=EIO", -1, "zygote"), 0);
  assert_int_equal(child_exit("e:*:1:errno=EIO", -1, "persister"), 10);
  assert_int_equal(child_exit("f:1:errno=EIO", 12, NULL), 20);
  assert_int_equal(child_exit("f:12:1:errno=EIO", 12, NULL), 20);
}

static void test_fault_passages_count_from_the_role_on(void **state) {
  (void)state;
  setenv("STOKER_FAULT", "e:*:3:errno=EIO", 1);
  assert_int_equal(SP_FAULT("e"), 0);
  assert_int_equal(SP_FAULT("e"), 0); /* as a zygote does, before it forks */
  assert_int_equal(child_exit("e:*:3:errno=EIO", 0, NULL), 12);
}

static void test_fault_stop_and_abort_are_what_they_say(void **state) {
  (void)state;
  assert_true(WIFSTOPPED(child("e:2:1:stop", 2, NULL)));
  signal(SIGABRT, SIG_IGN);
  int status = child("e:2:1:abort", 2, NULL);
  signal(SIGABRT, SIG_DFL);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void test_fault_trace_lists_passages_and_actions(void **state) {
  (void)state;
  setenv("STOKER_FAULT_TRACE", tt_tmpfile("trace"), 1);
  assert_int_equal(child_exit("f:*:1:errno=EIO", 3, NULL), 20);
  assert_int_equal(child_exit("", -1, "supervisor"), 0);
  unsetenv("STOKER_FAULT_TRACE");
  char *text = tt_read_file(tt_tmpfile("trace"), NULL);
  assert_string_equal(text,
                      "e 3\ne 3\ne 3\nf 3\nf 3 errno=EIO\n"
                      "e supervisor\ne supervisor\ne supervisor\nf supervisor\n");
  sp_free(text);
}

static void test_fault_traced_kill_happens_once_for_all(void **state) {
  (void)state;
  setenv("STOKER_FAULT_TRACE", tt_tmpfile("once"), 1);
  static const char list[] = "e:1:2:kill9,f:1:1:kill9";
  assert_true(WIFSIGNALED(child(list, 1, NULL)));
  assert_true(WIFSIGNALED(child(list, 1, NULL))); /* the second entry */
  assert_int_equal(child_exit(list, 1, NULL), 0);
  unsetenv("STOKER_FAULT_TRACE");
  assert_true(WIFSIGNALED(child(list, 1, NULL))); /* without a trace, every process */
}

static void test_fault_names_come_from_the_object(void **state) {
  (void)state;
  int n_e = 0, n_other = 0;
  struct sp_fault_names names = SP_FAULT_NAMES_HERE();
  for (const char *p = names.first; p < names.end; p += strlen(p) + 1) {
    n_e += strcmp(p, "e") == 0;
    n_other += strcmp(p, "file.fsync") == 0;
  }
  assert_int_equal(n_e, 3); /* as often as it stands in this file */
  assert_int_equal(n_other, 0);
  names = sp_fault_names_base();
  for (const char *p = names.first; p < names.end; p += strlen(p) + 1) {
    n_other += strcmp(p, "file.fsync") == 0;
  }
  assert_true(n_other > 0);
}

static void test_fault_malformed_lists_are_refused(void **state) {
  (void)state;
  static const char *const bad[] = {
      "a",           "a:1",         ":1:kill9",    "a:x:kill9",  "a:-1:kill9",
      "a:1:explode", "a:1:sleep=9", "a:1:2:",      "a::1:kill9", "a:1:errno=EWHAT",
      "a:1:2:3",     "a:0:x:kill9", "a:0:-1:stop", ":0:1:stop",  "a:1:kill9:1",
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    struct sp_err err;
    setenv("STOKER_FAULT", bad[i], 1);
    assert_int_equal(sp_fault_check(&err), SP_EINVAL);
    assert_non_null(strstr(err.text, bad[i]));
  }
  setenv("STOKER_FAULT",
         "a:1:kill9,b:0:errno=EIO,c:2:sleep=3ms,d:*:0:sleep=00:00:01,e:2:stop,f:zygote:3:abort", 1);
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
  struct sp_fault_names names = sp_fault_names_base();
  assert_int_equal(names.end - names.first, 0);
}

#endif

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_fault_check_without_list_is_ok),
#ifdef STOKER_FAULTS
      tt_test(test_fault_errno_happens_at_its_passage_only),
      tt_test(test_fault_hit_zero_happens_every_time),
      tt_test(test_fault_kill9_kills_the_process),
      tt_test(test_fault_who_decides_whose_passage_it_is),
      tt_test(test_fault_passages_count_from_the_role_on),
      tt_test(test_fault_stop_and_abort_are_what_they_say),
      tt_test(test_fault_trace_lists_passages_and_actions),
      tt_test(test_fault_traced_kill_happens_once_for_all),
      tt_test(test_fault_names_come_from_the_object),
      tt_test(test_fault_malformed_lists_are_refused),
#else
      tt_test(test_fault_check_plain_build_refuses_any_list),
#endif
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
