/* argmax: the first maximum, ties, signed zeros, infinities, NaN, any row length and split. */
#include "tests/unit/kernel/kt.h"

#include <math.h>

static int32_t naive(const float *x, int64_t n) {
  int64_t best = 0;
  for (int64_t i = 1; i < n && !isnan(x[best]); i++) {
    best = isnan(x[i]) || x[i] > x[best] ? i : best;
  }
  return (int32_t)best;
}

static void test_argmax_any_length_and_split_finds_first(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n_variants = kt_variants(v);
  (void)state;
  for (int at = 0; at < n_variants * KT_SPLITS; at++) {
    for (int64_t n = 1; n < 200; n = n * 3 / 2 + 1) {
      const int64_t rows = 300;
      float *x = kt_new_shifted(rows * n, 4, 1);
      int32_t *y = kt_new(rows, 4);
      for (int64_t i = 0; i < rows * n; i++) {
        x[i] = (float)(kt_random(1, (uint32_t)i) % 40) - 20; /* many ties */
      }
      const struct stk_argmax_args a = {x, y, rows, n};
      kt_run(v[at / KT_SPLITS].kernels->argmax, &a, (kt_split)(at % KT_SPLITS));
      for (int64_t r = 0; r < rows; r++) {
        assert_int_equal(y[r], naive(x + r * n, n));
      }
      kt_reset("argmax");
    }
  }
}

static void test_argmax_special_values(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n_variants = kt_variants(v);
  const float x[4][5] = {{-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY},
                         {1, NAN, 3, NAN, INFINITY},
                         {-1, -0.0f, 0.0f, 0.0f, -2},
                         {0, INFINITY, 5, INFINITY, 1}};
  const int32_t want[4] = {0, 1, 1, 1};
  (void)state;
  for (int at = 0; at < n_variants; at++) {
    int32_t y[4];
    const struct stk_argmax_args a = {x, y, 4, 5};
    kt_run(v[at].kernels->argmax, &a, KT_WHOLE);
    assert_memory_equal(y, want, sizeof y);
  }
}

/* Negative control: moving the maximum moves the answer. */
static void test_argmax_moved_maximum_moves_answer(void **state) {
  struct kt_variant v[KT_VARIANTS];
  float x[100] = {0};
  int32_t y;
  (void)state;
  kt_variants(v);
  const struct stk_argmax_args a = {x, &y, 1, 100};
  for (int i = 99; i >= 0; i--) {
    x[i] = 1;
    kt_run(v[0].kernels->argmax, &a, KT_WHOLE);
    assert_int_equal(y, i);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_argmax_any_length_and_split_finds_first),
      cmocka_unit_test(test_argmax_special_values),
      cmocka_unit_test(test_argmax_moved_maximum_moves_answer),
  };
  return cmocka_run_group_tests(tests, kt_setup, NULL);
}
