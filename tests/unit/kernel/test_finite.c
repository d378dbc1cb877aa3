/* The finite check: every place and every kind of value, in every variant. */
#include "tests/unit/kernel/kt.h"

#include <float.h>
#include <math.h>

enum { N = 66000 };

static int32_t check(const struct stk_kernels *k, const float *x, int64_t n) {
  int32_t out = 0;
  kt_run(k->finite, &(struct stk_finite_args){x, &out, n}, KT_UNEVEN);
  return out;
}

static void test_finite_extreme_numbers_pass(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  float *x = kt_new_shifted(N, 4, 1);
  (void)state;
  for (int i = 0; i < N; i++) {
    x[i] = i % 3 == 0 ? FLT_MAX : i % 3 == 1 ? -FLT_MAX : 1e-40f;
  }
  for (int k = 0; k < n; k++) {
    assert_int_equal(check(v[k].kernels, x, N), 0);
  }
  kt_reset("finite");
}

static void test_finite_one_bad_value_anywhere_shows(void **state) {
  static const int64_t places[] = {0, 5, 16, 31, 32, 63, 65535, 65536, N - 1};
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  float *x = kt_new(N, 4);
  (void)state;
  kt_uniform(x, N, 1, -1, 1);
  for (int k = 0; k < n; k++) {
    for (int i = 0; i < 9; i++) {
      static const float bad[] = {INFINITY, -INFINITY, NAN};
      const float kept = x[places[i]];
      for (int b = 0; b < 3; b++) {
        x[places[i]] = bad[b];
        assert_int_equal(check(v[k].kernels, x, N), 1);
      }
      x[places[i]] = kept;
    }
    assert_int_equal(check(v[k].kernels, x, N), 0);
  }
  kt_reset("finite");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_finite_extreme_numbers_pass),
      cmocka_unit_test(test_finite_one_bad_value_anywhere_shows),
  };
  return cmocka_run_group_tests(tests, kt_setup, NULL);
}
