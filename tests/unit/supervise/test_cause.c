/* worker/supervise/cause.h: classes and sentences. Wait statuses are the kernel's: a signal number,
 * or an exit status times 256. */
#include "tests/lib/tt.h"

#include <signal.h>
#include <string.h>

#include "worker/supervise/cause.h"

static void is(const struct sw_cause *c, sw_cause_kind kind, int number, const char *text) {
  assert_string_equal(c->text, text);
  assert_int_equal(c->kind, kind);
  assert_int_equal(c->number, number);
}

static void test_cause_of_a_signal_names_it(void **state) {
  (void)state;
  struct sw_cause c;
  sw_cause_of_exit(&c, "rank 1", SIGKILL, false, NULL);
  is(&c, SW_CAUSE_SIGNAL, SIGKILL, "rank 1 was killed by signal 9 (SIGKILL); nothing here sent it");
  sw_cause_of_exit(&c, "rank 0", SIGSEGV | 0x80, false, " \n"); /* with a core */
  is(&c, SW_CAUSE_SIGNAL, SIGSEGV,
     "rank 0 was killed by signal 11 (SIGSEGV); if the model is a module of your own, look there "
     "first");
}

static void test_cause_oom_is_only_a_kill(void **state) {
  (void)state;
  struct sw_cause c;
  sw_cause_of_exit(&c, "the persister", SIGKILL, true, NULL);
  is(&c, SW_CAUSE_OOM, SIGKILL,
     "the persister was killed by signal 9 (SIGKILL) by the kernel, because memory had run out");
  sw_cause_of_exit(&c, "rank 0", SIGTERM, true, NULL);
  assert_int_equal(c.kind, SW_CAUSE_SIGNAL);
}

static void test_cause_of_an_exit_tells_zero_apart(void **state) {
  (void)state;
  struct sw_cause c;
  sw_cause_of_exit(&c, "rank 2", 3 << 8, false, "assertion failed:\n  x > 0\n");
  is(&c, SW_CAUSE_EXIT, 3,
     "rank 2 ended by itself with exit status 3; its last words: assertion failed:   x > 0");
  sw_cause_of_exit(&c, "rank 2", 0, false, "");
  is(&c, SW_CAUSE_EXIT, 0, "rank 2 ended by itself with exit status 0 before its work was done");
}

static void test_cause_keeps_the_end_of_long_words(void **state) {
  (void)state;
  struct sw_cause c;
  char words[2000];
  memset(words, 'a', sizeof words);
  for (size_t i = 1; i < sizeof words - 1; i += 2) {
    memcpy(words + i, "\xC3\xA4", 2); /* characters of two bytes */
  }
  memcpy(words + sizeof words - 5, "end\n", 5);
  sw_cause_of_exit(&c, "rank 0", SIGABRT, false, words);
  size_t n = strlen(c.text);
  assert_string_equal(c.text + n - 3, "end");
  const char *at = strstr(c.text, "...");
  assert_non_null(at);
  assert_int_equal((unsigned char)at[3], 0xC3); /* cut on a character's border */
  assert_true(strlen(at + 3) <= SW_CAUSE_WORDS);
}

static void test_cause_of_an_error_and_of_a_kill(void **state) {
  (void)state;
  struct sw_cause c;
  sw_cause_of_error(&c, "rank 1", SP_ENUMERIC, "loss is nan");
  is(&c, SW_CAUSE_ERROR, SP_ENUMERIC, "rank 1 failed: loss is nan");
  sw_cause_of_error(&c, "rank 1", SP_ENUMERIC, NULL);
  is(&c, SW_CAUSE_ERROR, SP_ENUMERIC, "rank 1 failed: not finite");
  sw_cause_of_kill(&c, "rank 3", SW_CAUSE_STOPPED, "stood still for 1.0 s (SIGSTOP)");
  is(&c, SW_CAUSE_STOPPED, SIGSTOP,
     "rank 3 stood still for 1.0 s (SIGSTOP), and was killed for it");
}

static void test_cause_names_are_the_chronicle_s(void **state) {
  (void)state;
  assert_string_equal(sw_cause_name(SW_CAUSE_OOM), "oom");
  assert_string_equal(sw_cause_name(SW_CAUSE_ERROR), "error");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_cause_of_a_signal_names_it),
      tt_test(test_cause_oom_is_only_a_kill),
      tt_test(test_cause_of_an_exit_tells_zero_apart),
      tt_test(test_cause_keeps_the_end_of_long_words),
      tt_test(test_cause_of_an_error_and_of_a_kill),
      tt_test(test_cause_names_are_the_chronicle_s),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
