/* Conversion of elements: exact quotients, in place, out of range. */
#include "tests/lib/tt.h"

#include "engine/data/convert.h"

#include <string.h>

enum { N = 1500 };

static void test_convert_every_u8_is_the_quotient(void **state) {
  (void)state;
  uint8_t in[256];
  float f32[256];
  double f64[256];
  for (int i = 0; i < 256; i++) {
    in[i] = (uint8_t)i;
  }
  assert_int_equal(stk_convert(STK_U8, in, STK_TARGET_F32, f32, 256), -1);
  assert_int_equal(stk_convert(STK_U8, in, STK_TARGET_F64, f64, 256), -1);
  for (int i = 0; i < 256; i++) {
    volatile float a = (float)i;
    volatile double b = i;
    assert_true(f32[i] == a / 255.0f);
    assert_true(f64[i] == b / 255.0);
  }
}

static void test_convert_source_may_end_where_the_destination_ends(void **state) {
  (void)state;
  static double room[N];
  static const struct {
    stk_dtype from;
    size_t bytes;
    enum stk_target to;
  } cases[] = {
      {STK_U8, 1, STK_TARGET_F32},  {STK_U8, 1, STK_TARGET_F64},  {STK_U8, 1, STK_TARGET_I32},
      {STK_U16, 2, STK_TARGET_I32}, {STK_F32, 4, STK_TARGET_F64}, {STK_U32, 4, STK_TARGET_I32},
  };
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    static uint8_t source[N * 4];
    static double apart[N];
    for (size_t i = 0; i < sizeof source; i++) {
      source[i] = (uint8_t)(i * 7 % 61);
    }
    size_t end = N * stk_target_bytes(cases[c].to);
    uint8_t *inside = (uint8_t *)room + end - N * cases[c].bytes;
    memcpy(inside, source, N * cases[c].bytes);
    assert_int_equal(stk_convert(cases[c].from, inside, cases[c].to, room, N), -1);
    assert_int_equal(stk_convert(cases[c].from, source, cases[c].to, apart, N), -1);
    assert_memory_equal(room, apart, end);
  }
}

static void test_convert_u32_above_i32_gives_its_index(void **state) {
  (void)state;
  const uint32_t in[] = {0, INT32_MAX, (uint32_t)INT32_MAX + 1, 5};
  int32_t out[4];
  assert_int_equal(stk_convert(STK_U32, in, STK_TARGET_I32, out, 4), 2);
  assert_int_equal(stk_convert(STK_U32, in, STK_TARGET_I32, out, 2), -1);
  assert_int_equal(out[1], INT32_MAX);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_convert_every_u8_is_the_quotient),
      cmocka_unit_test(test_convert_source_may_end_where_the_destination_ends),
      cmocka_unit_test(test_convert_u32_above_i32_gives_its_index),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
