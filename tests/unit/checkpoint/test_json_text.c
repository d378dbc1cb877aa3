/* The header reader's strings and numbers; what the writer writes, it reads. */
#include "tests/lib/tt.h"

#include "engine/checkpoint/json_text.h"

#include <string.h>

static void test_json_text_escapes_are_decoded(void **state) {
  (void)state;
  const char *text = " \"a\\n\\u00e9\\ud83d\\ude00\\/\" ";
  struct stk_json j = {.p = text, .end = text + strlen(text)};
  struct sp_buf b;
  sp_buf_init(&b, 100);
  assert_true(stk_json_string(&j, 100, &b));
  assert_string_equal(sp_buf_text(&b), "a\n\xc3\xa9\xf0\x9f\x98\x80/");
  assert_true(stk_json_end(&j));
  sp_buf_free(&b);
}

static void test_json_text_written_strings_are_read_back(void **state) {
  (void)state;
  static const char *const strings[] = {"", "plain", "\"\\/\b\f\n\r\t\x01\x1f", "\xf4\x8f\xbf\xbf"};
  for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
    struct sp_buf written;
    struct sp_buf read;
    sp_buf_init(&written, 1000);
    sp_buf_init(&read, 1000);
    stk_json_put_string(&written, strings[i]);
    struct stk_json j = {.p = written.data, .end = written.data + written.length};
    assert_true(stk_json_string(&j, 100, &read));
    assert_true(stk_json_end(&j));
    assert_string_equal(sp_buf_text(&read), strings[i]);
    sp_buf_free(&written);
    sp_buf_free(&read);
  }
}

static void test_json_text_utf8_is_rfc_3629(void **state) {
  (void)state;
  static const char *const bad[] = {"\x80",
                                    "\xc1\xbf",
                                    "\xc3",
                                    "\xe0\x9f\xbf",
                                    "\xed\xa0\x80",
                                    "\xf0\x8f\xbf\xbf",
                                    "\xf5\x80\x80\x80",
                                    "\xf4\x90\x80\x80",
                                    "\xe2\x82"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_false(stk_json_is_utf8(bad[i], strlen(bad[i])));
  }
  assert_true(stk_json_is_utf8("\xc2\x80\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", 12));
}

static void test_json_text_string_limit_is_kept(void **state) {
  (void)state;
  const char *text = "\"abcd\"";
  struct sp_buf b;
  sp_buf_init(&b, 100);
  struct stk_json fits = {.p = text, .end = text + 6};
  struct stk_json too_long = {.p = text, .end = text + 6};
  assert_true(stk_json_string(&fits, 4, &b));
  assert_false(stk_json_string(&too_long, 3, &b));
  sp_buf_free(&b);
}

static void test_json_text_integers_are_plain_and_bounded(void **state) {
  (void)state;
  int64_t v;
  const char *largest = "9223372036854775807";
  struct stk_json good = {.p = largest, .end = largest + 19};
  assert_true(stk_json_integer(&good, &v));
  assert_true(v == INT64_MAX);
  static const char *const bad[] = {"", "-1", "+1", "00", "9223372036854775808", "x"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct stk_json j = {.p = bad[i], .end = bad[i] + strlen(bad[i])};
    assert_false(stk_json_integer(&j, &v));
    assert_non_null(j.why);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_json_text_escapes_are_decoded),
      tt_test(test_json_text_written_strings_are_read_back),
      tt_test(test_json_text_utf8_is_rfc_3629),
      tt_test(test_json_text_string_limit_is_kept),
      tt_test(test_json_text_integers_are_plain_and_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
