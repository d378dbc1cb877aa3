/* Numbers as people read them. */
#include "tests/lib/tt.h"

#include "client/format.h"

#include <math.h>
#include <string.h>

static void count(int64_t value, const char *want) {
  char text[SC_NUMBER];
  sc_format_count(value, text);
  assert_string_equal(text, want);
}

static void test_count_groups_thousands(void **state) {
  (void)state;
  count(0, "0");
  count(999, "999");
  count(1234567, "1,234,567");
  count(INT64_MIN, "-9,223,372,036,854,775,808");
}

static void rate(double value, const char *want) {
  char text[SC_NUMBER];
  sc_format_rate(value, text);
  assert_string_equal(text, want);
}

static void test_rate_has_three_digits(void **state) {
  (void)state;
  rate(0.5234, "0.52");
  rate(7.314, "7.31");
  rate(9.996, "10.0");
  rate(99.96, "100");
  rate(999.4, "999");
  rate(999.6, "1.00k");
  rate(18234, "18.2k");
  rate(1.76e6, "1.76M");
}

static void test_rate_that_is_none_is_a_dash(void **state) {
  (void)state;
  rate(0, "-");
  rate(-1, "-");
  rate(NAN, "-");
  rate(INFINITY, "-");
}

static void seconds(double value, const char *want) {
  char text[SC_NUMBER];
  sc_format_clock(value, text);
  assert_string_equal(text, want);
}

static void test_clock_grows_with_the_time(void **state) {
  (void)state;
  seconds(0, "0:00");
  seconds(41.6, "0:42");
  seconds(725, "12:05");
  seconds(3723, "1:02:03");
  seconds(3 * 86400 + 3723, "3d 01:02:03");
  seconds(-1, "-");
  seconds(NAN, "-");
  seconds(1e300, "-");
}

static void test_metric_has_four_digits(void **state) {
  (void)state;
  char text[SC_NUMBER];
  sc_format_metric(2.31249, text);
  assert_string_equal(text, "2.312");
  sc_format_metric(-NAN, text);
  assert_string_equal(text, "nan");
}

static void test_columns_and_prefix_count_characters(void **state) {
  (void)state;
  const char *text = "a\u20acb";
  assert_int_equal(sc_columns(text, strlen(text)), 3);
  assert_int_equal(sc_prefix(text, strlen(text), 2), 4);
  assert_int_equal(sc_prefix(text, strlen(text), 9), 5);
  assert_int_equal(sc_prefix(text, strlen(text), 0), 0);
}

static void test_without_subject_leaves_what_is_said(void **state) {
  (void)state;
  assert_string_equal(sc_without_subject("rank 1 was killed", "rank 1"), "killed");
  assert_string_equal(sc_without_subject("rank 1 exited", "rank 1"), "exited");
  assert_string_equal(sc_without_subject("rank 12 exited", "rank 1"), "rank 12 exited");
  assert_string_equal(sc_without_subject("rank 1", "rank 1"), "rank 1");
  assert_string_equal(sc_without_subject("killed", "rank 1"), "killed");
  assert_string_equal(sc_without_subject(" x", ""), " x");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_count_groups_thousands),
      tt_test(test_rate_has_three_digits),
      tt_test(test_rate_that_is_none_is_a_dash),
      tt_test(test_clock_grows_with_the_time),
      tt_test(test_metric_has_four_digits),
      tt_test(test_columns_and_prefix_count_characters),
      tt_test(test_without_subject_leaves_what_is_said),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
