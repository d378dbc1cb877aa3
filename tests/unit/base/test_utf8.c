/* What may go on a terminal, and how the rest is repaired. */
#include "tests/lib/tt.h"

#include "proto/base/utf8.h"

#include <string.h>

static bool clean(const char *s) {
  return sp_utf8_clean(s, strlen(s), false);
}

static void test_clean_well_formed_text_passes(void **state) {
  (void)state;
  assert_true(clean(""));
  assert_true(clean("plain ascii ~"));
  assert_true(clean("\u00a0 \u00e9 \u20ac \U0001f600 \U0010ffff"));
}

static void test_clean_malformed_text_fails(void **state) {
  (void)state;
  const char *const bad[] = {"\x80",
                             "\xC0\xAF",
                             "\xC1\xBF",
                             "\xE0\x80\x80",
                             "\xED\xA0\x80",
                             "\xF0\x80\x80\x80",
                             "\xF4\x90\x80\x80",
                             "\xF5\x80\x80\x80",
                             "\xE2\x82",
                             "\xE2\x28\xA1",
                             "\xFF"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_false(clean(bad[i]));
  }
}

static void test_clean_controls_fail(void **state) {
  (void)state;
  assert_false(clean("\x1b[2J"));
  assert_false(clean("\x7f"));
  assert_false(clean("\xC2\x9B"));
  assert_false(clean("two\nlines"));
  assert_false(sp_utf8_clean("a\0b", 3, true));
}

static void test_clean_lines_allows_newline_and_tab_only(void **state) {
  (void)state;
  assert_true(sp_utf8_clean("a\n\tb", 4, true));
  assert_false(sp_utf8_clean("a\rb", 3, true));
}

static void test_scrub_replaces_each_bad_byte(void **state) {
  (void)state;
  char out[32];
  size_t n = sp_utf8_scrub(out, 31, "a\x1b[m\xE2\x82z", 7, false);
  assert_string_equal(out, "a?[m??z");
  assert_int_equal(n, 7);
}

static void test_scrub_at_the_limit_cuts_between_characters(void **state) {
  (void)state;
  char out[8];
  size_t n = sp_utf8_scrub(out, 4, "ab\u20ac", 5, false);
  assert_string_equal(out, "ab");
  assert_int_equal(n, 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_clean_well_formed_text_passes),
      tt_test(test_clean_malformed_text_fails),
      tt_test(test_clean_controls_fail),
      tt_test(test_clean_lines_allows_newline_and_tab_only),
      tt_test(test_scrub_replaces_each_bad_byte),
      tt_test(test_scrub_at_the_limit_cuts_between_characters),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
