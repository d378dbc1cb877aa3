/* Sums of squares: the stated order in double, equal in every variant and split. */
#include "tests/unit/kernel/kt.h"

static double chunk_sum(const float *x, int64_t n) {
  double lane[16] = {0};
  for (int64_t i = 0; i < n; i++) {
    lane[i % 16] += (double)x[i] * (double)x[i];
  }
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; i++) {
      lane[i] += lane[i + half];
    }
  }
  return lane[0];
}

static void test_sumsq_any_variant_follows_the_stated_order(void **state) {
  static const int64_t sizes[] = {1, 15, 17, 1000, 65536, 65537, 200001};
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  (void)state;
  for (int i = 0; i < 7; i++) {
    const int64_t size = sizes[i], chunks = (size + STK_STATE_CHUNK - 1) / STK_STATE_CHUNK;
    float *x = kt_new_shifted(size, 4, 1);
    kt_uniform(x, size, 1, -3, 3);
    for (int k = 0; k < n; k++) {
      for (int split = 0; split < KT_SPLITS; split++) {
        double *sum = kt_new(chunks, 8);
        kt_run(v[k].kernels->sumsq, &(struct stk_sumsq_args){x, sum, size}, (kt_split)split);
        for (int64_t c = 0; c < chunks; c++) {
          const int64_t at = c * STK_STATE_CHUNK;
          const double expected =
              chunk_sum(x + at, size - at < STK_STATE_CHUNK ? size - at : STK_STATE_CHUNK);
          assert_memory_equal(&sum[c], &expected, sizeof expected);
        }
      }
    }
    kt_reset("sumsq");
  }
}

static void test_sumsq_double_equals_with_and_without_fma(void **state) {
  enum { SIZE = 70001 };
  float *x = kt_new(SIZE, 4);
  double *wide = kt_new(SIZE, 8), *a = kt_new(2, 8), *b = kt_new(2, 8);
  (void)state;
  if (!__builtin_cpu_supports("fma")) {
    skip();
  }
  kt_uniform(x, SIZE, 1, -3, 3);
  for (int i = 0; i < SIZE; i++) {
    wide[i] = (double)x[i] / 3; /* squares that need rounding */
  }
  const struct stk_kernels *plain = stk_kernels_get(STK_ISA_KIND_REF, 64, false);
  kt_run(plain->sumsq, &(struct stk_sumsq_args){wide, a, SIZE}, KT_WHOLE);
  kt_run(kt_f64()->sumsq, &(struct stk_sumsq_args){wide, b, SIZE}, KT_WHOLE);
  assert_memory_equal(a, b, 2 * sizeof *a);
  kt_reset("sumsq");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sumsq_any_variant_follows_the_stated_order),
      cmocka_unit_test(test_sumsq_double_equals_with_and_without_fma),
  };
  return cmocka_run_group_tests(tests, kt_setup, NULL);
}
