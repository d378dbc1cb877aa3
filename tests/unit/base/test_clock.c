/* proto/base/clock.h: the manual clock, the system's, and the text of a time. */
#include "tests/lib/tt.h"

#include "proto/base/clock.h"

static void test_manual_clock_moves_only_when_told(void **state) {
  (void)state;
  struct sp_manual_clock c;
  sp_manual_clock_init(&c);
  struct sp_mono start = sp_mono_now(&c.clock);
  assert_int_equal(sp_mono_between(start, sp_mono_now(&c.clock)), 0);
  sp_manual_clock_advance(&c, 3 * SP_NS_PER_S);
  assert_int_equal(sp_mono_between(start, sp_mono_now(&c.clock)), 3 * SP_NS_PER_S);
  assert_int_equal(sp_wall_now(&c.clock).ns, 3 * SP_NS_PER_S);
}

static void test_system_clock_does_not_go_back(void **state) {
  (void)state;
  struct sp_mono last = sp_mono_now(sp_clock_system());
  for (int i = 0; i < 1000; i++) {
    struct sp_mono now = sp_mono_now(sp_clock_system());
    assert_true(sp_mono_between(last, now) >= 0);
    last = now;
  }
  assert_true(sp_wall_now(sp_clock_system()).ns > INT64_C(1600000000) * SP_NS_PER_S);
}

static void test_wall_text_is_iso_utc(void **state) {
  (void)state;
  char text[SP_WALL_TEXT];
  sp_wall_text((struct sp_wall){0}, text);
  assert_string_equal(text, "1970-01-01T00:00:00.000Z");
  sp_wall_text((struct sp_wall){INT64_C(1709210096) * SP_NS_PER_S + 123999999}, text);
  assert_string_equal(text, "2024-02-29T12:34:56.123Z");
}

static void test_wall_text_out_of_range_is_a_question_mark(void **state) {
  (void)state;
  char text[SP_WALL_TEXT];
  sp_wall_text((struct sp_wall){-1}, text);
  assert_string_equal(text, "?");
  sp_wall_text((struct sp_wall){INT64_MAX}, text);
  assert_string_equal(text, "2262-04-11T23:47:16.854Z");
}

static void test_wall_text_ns_comes_back_exactly(void **state) {
  (void)state;
  static const int64_t times[] = {0, 1, 951782399999999999, 1709210096123456789,
                                  INT64_C(9183110399999999999)};
  char text[SP_WALL_TEXT];
  for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
    struct sp_wall t = {-1};
    sp_wall_text_ns((struct sp_wall){times[i]}, text);
    assert_int_equal(sp_wall_parse_ns(text, &t), SP_OK);
    assert_int_equal(t.ns, times[i]);
  }
  sp_wall_text_ns((struct sp_wall){1709210096123456789}, text);
  assert_string_equal(text, "2024-02-29T12:34:56.123456789Z");
}

static void test_wall_parse_anything_else_is_invalid(void **state) {
  (void)state;
  static const char *const texts[] = {"",
                                      "?",
                                      "2024-02-29T12:34:56.123Z",
                                      "2024-02-30T12:34:56.123456789Z",
                                      "2024-13-01T12:34:56.123456789Z",
                                      "2024-02-29T24:00:00.000000000Z",
                                      "2024-02-29T12:34:56.123456789",
                                      "2024-02-29T12:34:56.123456789Zx",
                                      "2024-02-29T12:34:56.-12345678Z",
                                      " 2024-02-29T12:34:56.12345678Z",
                                      "1969-12-31T23:59:59.000000000Z",
                                      "9999-12-31T23:59:59.000000000Z"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    struct sp_wall t;
    assert_int_equal(sp_wall_parse_ns(texts[i], &t), SP_EINVAL);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_manual_clock_moves_only_when_told),
      tt_test(test_system_clock_does_not_go_back),
      tt_test(test_wall_text_is_iso_utc),
      tt_test(test_wall_text_out_of_range_is_a_question_mark),
      tt_test(test_wall_text_ns_comes_back_exactly),
      tt_test(test_wall_parse_anything_else_is_invalid),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
