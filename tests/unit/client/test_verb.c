/* The table of verbs. */
#include "tests/lib/tt.h"

#include "client/verb.h"

#include <string.h>

static void test_find_every_verb_of_the_manual(void **state) {
  (void)state;
  static const char *const names[] = {"fit",   "validate", "test",   "predict",      "init",
                                      "check", "plan",     "order",  "init-weights", "ckpt",
                                      "help",  "doctor",   "version"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    assert_non_null(sc_verb_find(names[i]));
  }
  assert_null(sc_verb_find("Fit"));
}

static void test_suggest_typo_is_corrected(void **state) {
  (void)state;
  assert_string_equal(sc_verb_suggest("validat"), "validate");
  assert_null(sc_verb_suggest("zzzzzzzz"));
}

static void test_overview_lists_every_verb(void **state) {
  (void)state;
  struct sp_buf b;
  sp_buf_init(&b, 1 << 16);
  sc_verb_put_overview(&b);
  size_t n = 0;
  const struct sc_verb *verbs = sc_verbs(&n);
  for (size_t i = 0; i < n; i++) {
    assert_non_null(strstr(sp_buf_text(&b), verbs[i].summary));
  }
  sp_buf_free(&b);
}

static void test_help_begins_with_the_usage(void **state) {
  (void)state;
  static const char want[] = "usage: stoker ckpt ls|show|verify|hash PATH\n";
  struct sp_buf b;
  sp_buf_init(&b, 1 << 16);
  sc_verb_put_help(&b, sc_verb_find("ckpt"));
  assert_memory_equal(b.data, want, sizeof want - 1);
  assert_non_null(strstr(sp_buf_text(&b), "SHA-256"));
  sp_buf_free(&b);
}

static void test_help_of_a_job_verb_lists_the_sections(void **state) {
  (void)state;
  struct sp_buf b;
  sp_buf_init(&b, 1 << 16);
  sc_verb_put_help(&b, sc_verb_find("fit"));
  assert_non_null(strstr(sp_buf_text(&b), "\n  lr_scheduler "));
  sp_buf_free(&b);
}

static void test_args_want_json_in_its_spellings(void **state) {
  (void)state;
  assert_true(sc_args_want_json((char *const[]){"ls", "-o", "json", NULL}));
  assert_true(sc_args_want_json((char *const[]){"--output=json", NULL}));
  assert_false(sc_args_want_json((char *const[]){"-o", "table", NULL}));
  assert_false(sc_args_want_json((char *const[]){"-o", NULL}));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_find_every_verb_of_the_manual),
      tt_test(test_suggest_typo_is_corrected),
      tt_test(test_overview_lists_every_verb),
      tt_test(test_help_begins_with_the_usage),
      tt_test(test_help_of_a_job_verb_lists_the_sections),
      tt_test(test_args_want_json_in_its_spellings),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
