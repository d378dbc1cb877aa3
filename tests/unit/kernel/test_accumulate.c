/* y += x: one addition an element, equal in every variant and split. */
#include "tests/unit/kernel/kt.h"

static void test_accumulate_any_variant_adds_once(void **state) {
  static const int64_t sizes[] = {1, 16, 31, 16384, 40005};
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  (void)state;
  for (int i = 0; i < 5; i++) {
    float *x = kt_new_shifted(sizes[i], 4, 1), *expected = kt_new(sizes[i], 4);
    kt_uniform(x, sizes[i], 1, -1, 1);
    kt_uniform(expected, sizes[i], 2, -1, 1);
    for (int64_t j = 0; j < sizes[i]; j++) {
      expected[j] += x[j];
    }
    for (int k = 0; k < n; k++) {
      for (int split = 0; split < KT_SPLITS; split++) {
        float *y = kt_new_shifted(sizes[i], 4, 2);
        kt_uniform(y, sizes[i], 2, -1, 1);
        kt_run(v[k].kernels->accumulate, &(struct stk_accumulate_args){x, y, sizes[i]},
               (kt_split)split);
        kt_equal(y, expected, sizes[i], v[k].name);
      }
    }
    kt_reset("accumulate");
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_accumulate_any_variant_adds_once),
  };
  return cmocka_run_group_tests(tests, kt_setup, NULL);
}
