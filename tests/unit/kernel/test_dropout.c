/* Dropout kernel: equal bits, the mask of engine/num/philox.h, the share that is dropped. */
#include "tests/unit/kernel/kt.h"

#include <math.h>

#include "engine/num/philox.h"

enum { N = 40007 };

static const struct stk_rng_ctx rng = {
    .seed = 0x123456789abcdefull, .batch = 77, .stage = 0, .lane = 3};

static void test_dropout_any_variant_keeps_philox_mask(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  static const double ps[] = {0.0, 0.1, 0.5, 0.999};
  (void)state;
  for (int p = 0; p < 4; p++) {
    float *x = kt_new_shifted(N, 4, 1), *expected = kt_new(N, 4);
    kt_uniform(x, N, 1, 1, 2);
    for (int64_t i = 0; i < N; i++) {
      uint32_t counter[4], word[4];
      stk_philox_counter(STK_PHILOX_TRAIN, rng.batch, rng.lane, 9, (uint64_t)i / 4, counter);
      stk_philox(rng.seed, counter, word);
      const bool keep = word[i % 4] >= stk_philox_drop_threshold(ps[p]);
      expected[i] = keep ? x[i] * (float)(1.0 / (1.0 - ps[p])) : 0.0f;
    }
    for (int k = 0; k < n; k++) {
      for (int split = 0; split < KT_SPLITS; split++) {
        float *y = kt_new_shifted(N, 4, 2);
        const struct stk_dropout_args a = {x, y, N, ps[p], &rng, 9};
        kt_run(v[k].kernels->dropout, &a, (kt_split)split);
        kt_equal(y, expected, N, v[k].name);
      }
    }
    kt_reset("dropout");
  }
}

static void test_dropout_share_is_p(void **state) {
  (void)state;
  double *x = kt_new(N, 8), *y = kt_new(N, 8);
  int dropped = 0;
  for (int i = 0; i < N; i++) {
    x[i] = 1;
  }
  kt_run(kt_f64()->dropout, &(struct stk_dropout_args){x, y, N, 0.3, &rng, 1}, KT_WHOLE);
  for (int i = 0; i < N; i++) {
    dropped += y[i] == 0;
  }
  assert_true(fabs(dropped - 0.3 * N) < 4 * sqrt(0.21 * N));
  kt_reset("share");
}

static void test_dropout_another_ordinal_has_another_mask(void **state) {
  (void)state;
  struct kt_variant v[KT_VARIANTS];
  kt_variants(v);
  float *x = kt_new(N, 4), *a = kt_new(N, 4), *b = kt_new(N, 4);
  kt_uniform(x, N, 1, 1, 2);
  kt_run(v[0].kernels->dropout, &(struct stk_dropout_args){x, a, N, 0.5, &rng, 1}, KT_WHOLE);
  kt_run(v[0].kernels->dropout, &(struct stk_dropout_args){x, b, N, 0.5, &rng, 2}, KT_WHOLE);
  assert_true(kt_differs(a, b, N));
  kt_reset("ordinal");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_dropout_any_variant_keeps_philox_mask),
      cmocka_unit_test(test_dropout_share_is_p),
      cmocka_unit_test(test_dropout_another_ordinal_has_another_mask),
  };
  return cmocka_run_group_tests(tests, kt_setup, NULL);
}
