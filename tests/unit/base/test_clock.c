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

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_manual_clock_moves_only_when_told),
      tt_test(test_system_clock_does_not_go_back),
      tt_test(test_wall_text_is_iso_utc),
      tt_test(test_wall_text_out_of_range_is_a_question_mark),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
