/* proto/base/strutil.h: suggestions, strict numbers, human units both ways. */
#include "tests/lib/tt.h"

#include <math.h>
#include <string.h>

#include "proto/base/strutil.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void test_suggest_typos_find_the_option(void **state) {
  (void)state;
  static const char *const names[] = {"max_epochs", "max_steps", "max_time", "lr", "batch_size"};
  assert_string_equal(sp_suggest("max_epoch", names, COUNT(names)), "max_epochs");
  assert_string_equal(sp_suggest("maxepochs", names, COUNT(names)), "max_epochs");
  assert_string_equal(sp_suggest("Max-Steps", names, COUNT(names)), "max_steps");
  assert_string_equal(sp_suggest("rl", names, COUNT(names)), "lr");
  assert_string_equal(sp_suggest("bathc_size", names, COUNT(names)), "batch_size");
}

static void test_suggest_far_word_finds_nothing(void **state) {
  (void)state;
  static const char *const names[] = {"max_epochs", "lr", "x"};
  assert_null(sp_suggest("devices", names, COUNT(names)));
  assert_null(sp_suggest("", names, COUNT(names)));
  assert_null(sp_suggest("q", names, COUNT(names)));
  assert_null(sp_suggest("max_epochs", names, 0));
  char big[200];
  memset(big, 'a', sizeof big - 1);
  big[sizeof big - 1] = '\0';
  assert_null(sp_suggest(big, names, COUNT(names)));
}

static void test_suggest_swapped_letters_cost_one(void **state) {
  (void)state;
  static const char *const names[] = {"sdg", "sgd"};
  assert_string_equal(sp_suggest("gsd", names, COUNT(names)), "sgd");
}

static void test_parse_i64_valid_texts_give_values(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int64_t value;
  } cases[] = {
      {"0", 0},
      {"-0", 0},
      {"+17", 17},
      {"1_000_000", 1000000},
      {"9223372036854775807", INT64_MAX},
      {"-9223372036854775808", INT64_MIN},
      {"007", 7},
  };
  for (size_t i = 0; i < COUNT(cases); i++) {
    int64_t value = 1;
    assert_int_equal(sp_parse_i64(cases[i].text, &value), SP_OK);
    assert_true(value == cases[i].value);
  }
}

static void test_parse_i64_invalid_texts_are_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"",    "-",   "+",    " 1", "1 ", "1.0", "0x10",
                                    "1e3", "--1", "1__0", "1_", "_1", "a"};
  int64_t value = 42;
  for (size_t i = 0; i < COUNT(bad); i++) {
    assert_int_equal(sp_parse_i64(bad[i], &value), SP_EINVAL);
  }
  assert_int_equal(sp_parse_i64("9223372036854775808", &value), SP_ERANGE);
  assert_int_equal(sp_parse_i64("-9223372036854775809", &value), SP_ERANGE);
  assert_int_equal(sp_parse_i64("99999999999999999999999", &value), SP_ERANGE);
  assert_int_equal(value, 42);
}

static void test_parse_f64_valid_texts_give_values(void **state) {
  (void)state;
  static const struct {
    const char *text;
    double value;
  } cases[] = {
      {"1", 1},
      {"-.5", -0.5},
      {"1e-3", 0x1.0624dd2f1a9fcp-10},
      {"2.E+2", 200},
      {"1e-400", 0},
      {"inf", HUGE_VAL},
      {"-.inf", -HUGE_VAL},
      {"0.1", 0x1.999999999999ap-4},
  };
  for (size_t i = 0; i < COUNT(cases); i++) {
    double value = 77;
    assert_int_equal(sp_parse_f64(cases[i].text, &value), SP_OK);
    assert_memory_equal(&value, &cases[i].value, sizeof value);
  }
  double nan_value = 0;
  assert_int_equal(sp_parse_f64("nan", &nan_value), SP_OK);
  assert_true(isnan(nan_value));
}

static void test_parse_f64_invalid_texts_are_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"",    ".",   "e5",       "1e",  "1e+",   "1 ",    " 1",
                                    "0x1", "1,5", "infinity", "+-1", "1.2.3", "nan(1)"};
  double value = 42;
  for (size_t i = 0; i < COUNT(bad); i++) {
    assert_int_equal(sp_parse_f64(bad[i], &value), SP_EINVAL);
  }
  assert_int_equal(sp_parse_f64("1e400", &value), SP_ERANGE);
  assert_true(value == 42);
}

static void test_parse_bytes_units_are_powers(void **state) {
  (void)state;
  static const struct {
    const char *text;
    uint64_t bytes;
  } cases[] = {
      {"0", 0},
      {"4096", 4096},
      {"12B", 12},
      {"64KiB", 65536},
      {"1kB", 1000},
      {"1.5GiB", UINT64_C(3) << 29},
      {"16 GiB", UINT64_C(1) << 34},
      {"2G", UINT64_C(1) << 31},
      {"0.1MB", 100000},
      {"16777215TiB", UINT64_C(16777215) << 40},
  };
  for (size_t i = 0; i < COUNT(cases); i++) {
    uint64_t bytes = 1;
    assert_int_equal(sp_parse_bytes(cases[i].text, &bytes), SP_OK);
    assert_true(bytes == cases[i].bytes);
  }
}

static void test_parse_bytes_invalid_texts_are_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"",    "KiB", "-1",  "1.5",   "1.5B",
                                    "1XB", "1 ",  ".5G", "1GiBx", "1g"};
  uint64_t bytes;
  for (size_t i = 0; i < COUNT(bad); i++) {
    assert_int_equal(sp_parse_bytes(bad[i], &bytes), SP_EINVAL);
  }
  assert_int_equal(sp_parse_bytes("16777216TiB", &bytes), SP_ERANGE);
  assert_int_equal(sp_parse_bytes("99999999999999999999", &bytes), SP_ERANGE);
}

static void test_parse_duration_forms_give_nanoseconds(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int64_t seconds;
  } cases[] = {
      {"90s", 90},        {"1h30m", 5400},        {"1d12h", 129600},      {"2w", 1209600},
      {"01:02:03", 3723}, {"2-01:00:00", 176400}, {"00:12:00:00", 43200}, {"1.5h", 5400},
      {"0s", 0},          {"99:59:59", 359999},   {"1m1000ms", 61},
  };
  for (size_t i = 0; i < COUNT(cases); i++) {
    int64_t ns = -1;
    assert_int_equal(sp_parse_duration(cases[i].text, &ns), SP_OK);
    assert_true(ns == cases[i].seconds * 1000000000);
  }
  int64_t ns;
  assert_int_equal(sp_parse_duration("250us", &ns), SP_OK);
  assert_int_equal(ns, 250000);
}

static void test_parse_duration_invalid_texts_are_refused(void **state) {
  (void)state;
  static const char *const bad[] = {
      "",         "5",        "h",       "-1s",       "30m1h",         "1h1h", "1x", "1:2:3",
      "00:60:00", "00:00:60", "1-1:1:1", "12:34:56x", "1:00:00:00:00", ".5h",  "1 h"};
  int64_t ns;
  for (size_t i = 0; i < COUNT(bad); i++) {
    assert_int_equal(sp_parse_duration(bad[i], &ns), SP_EINVAL);
  }
  assert_int_equal(sp_parse_duration("999999999-00:00:00", &ns), SP_ERANGE);
  assert_int_equal(sp_parse_duration("300000w", &ns), SP_ERANGE);
}

static void test_format_bytes_keeps_three_digits(void **state) {
  (void)state;
  static const struct {
    uint64_t bytes;
    const char *text;
  } cases[] = {
      {0, "0 B"},
      {1023, "1023 B"},
      {1536, "1.50 KiB"},
      {UINT64_C(159) << 27, "19.9 GiB"},
      {(UINT64_C(1) << 30) - 1, "1.00 GiB"},
      {UINT64_MAX, "16.0 EiB"},
  };
  for (size_t i = 0; i < COUNT(cases); i++) {
    char text[SP_UNIT_TEXT];
    sp_format_bytes(cases[i].bytes, text);
    assert_string_equal(text, cases[i].text);
  }
}

static void test_format_duration_shows_two_units_at_most(void **state) {
  (void)state;
  static const struct {
    int64_t ns;
    const char *text;
  } cases[] = {
      {0, "0 ns"},
      {-5, "0 ns"},
      {740000, "740 us"},
      {1250000000, "1.25 s"},
      {INT64_C(42000000000), "42.0 s"},
      {INT64_C(59960000000), "1m00s"},
      {INT64_C(90000000000), "1m30s"},
      {INT64_C(7500000000000), "2h05m"},
      {INT64_C(273600000000000), "3d04h"},
  };
  for (size_t i = 0; i < COUNT(cases); i++) {
    char text[SP_UNIT_TEXT];
    sp_format_duration(cases[i].ns, text);
    assert_string_equal(text, cases[i].text);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_suggest_typos_find_the_option),
      tt_test(test_suggest_far_word_finds_nothing),
      tt_test(test_suggest_swapped_letters_cost_one),
      tt_test(test_parse_i64_valid_texts_give_values),
      tt_test(test_parse_i64_invalid_texts_are_refused),
      tt_test(test_parse_f64_valid_texts_give_values),
      tt_test(test_parse_f64_invalid_texts_are_refused),
      tt_test(test_parse_bytes_units_are_powers),
      tt_test(test_parse_bytes_invalid_texts_are_refused),
      tt_test(test_parse_duration_forms_give_nanoseconds),
      tt_test(test_parse_duration_invalid_texts_are_refused),
      tt_test(test_format_bytes_keeps_three_digits),
      tt_test(test_format_duration_shows_two_units_at_most),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
