/* reduce: equal bits everywhere, the stated order of additions, and a bound against double sums. */
#include "tests/unit/kernel/kt.h"

#include <math.h>
#include <stdio.h>

struct shape {
  int64_t outer, axis, inner;
  double scale;
};

static const struct shape shapes[] = {
    {1, 1, 1, 1},    {1, 15, 1, 1},    {1, 16, 1, 2},   {3, 17, 1, 1},     {2, 1023, 1, 1},
    {2, 1024, 1, 1}, {2, 1025, 1, .5}, {1, 5000, 1, 1}, {700, 33, 1, 1},   {1, 1, 2, 1},
    {1, 255, 3, 1},  {1, 256, 64, 1},  {1, 257, 65, 3}, {2, 600, 130, .1}, {5, 9, 200, 1},
    {300, 4, 7, 1},  {1, 0, 1, 1},     {1, 0, 20, 1},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static float *run(const struct stk_kernels *k, const struct shape *s, kt_split split) {
  float *x = kt_new_shifted(s->outer * s->axis * s->inner, 4, 1);
  float *y = kt_new_shifted(s->outer * s->inner, 4, 3);
  kt_uniform(x, s->outer * s->axis * s->inner, 1, -1, 1);
  const struct stk_reduce_args a = {x, y, s->outer, s->axis, s->inner, s->scale};
  kt_run(k->reduce, &a, split);
  return y;
}

static void test_reduce_any_variant_and_split_equal_bits(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  (void)state;
  for (int i = 0; i < SHAPES; i++) {
    const float *want = run(v[0].kernels, &shapes[i], KT_WHOLE);
    for (int at = 0; at < n; at++) {
      for (int split = 0; split < KT_SPLITS; split++) {
        const float *got = run(v[at].kernels, &shapes[i], (kt_split)split);
        kt_equal(want, got, shapes[i].outer * shapes[i].inner, v[at].name);
      }
    }
    kt_reset("reduce");
  }
}

/* The order of additions, written a second time from the page. */
static float lanes_sum(const float *x, int64_t n) {
  float total = 0;
  for (int64_t at = 0; at < n || at == 0; at += 1024) {
    float lane[16] = {0};
    for (int64_t i = at; i < n && i < at + 1024; i++) {
      lane[i % 16] += x[i];
    }
    for (int half = 8; half > 0; half /= 2) {
      for (int i = 0; i < half; i++) {
        lane[i] += lane[i + half];
      }
    }
    total = at == 0 ? lane[0] : total + lane[0];
  }
  return total;
}

static float column_sum(const float *x, int64_t n, int64_t stride) {
  float total = 0;
  for (int64_t at = 0; at < n; at += 256) {
    float sum = 0;
    for (int64_t i = at; i < n && i < at + 256; i++) {
      sum += x[i * stride];
    }
    total = at == 0 ? sum : total + sum;
  }
  return total;
}

static void test_reduce_ref_follows_stated_order(void **state) {
  struct kt_variant v[KT_VARIANTS];
  (void)state;
  kt_variants(v);
  for (int i = 0; i < SHAPES; i++) {
    const struct shape *s = &shapes[i];
    const int64_t n = s->outer * s->axis * s->inner;
    const float *got = run(v[0].kernels, s, KT_WHOLE);
    float *x = kt_new(n, 4), *want = kt_new(s->outer * s->inner, 4);
    kt_uniform(x, n, 1, -1, 1);
    for (int64_t o = 0; o < s->outer; o++) {
      for (int64_t j = 0; j < s->inner; j++) {
        const float *from = x + o * s->axis * s->inner + j;
        const float sum =
            s->inner == 1 ? lanes_sum(from, s->axis) : column_sum(from, s->axis, s->inner);
        want[o * s->inner + j] = sum * (float)s->scale;
      }
    }
    kt_equal(want, got, s->outer * s->inner, "stated order");
    kt_reset("reduce");
  }
}

static void test_reduce_against_double_within_bound(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  (void)state;
  for (int i = 0; i < SHAPES; i++) {
    const struct shape *s = &shapes[i];
    const int64_t count = s->outer * s->axis * s->inner;
    const float *got = run(v[n - 1].kernels, s, KT_WHOLE);
    float *x = kt_new(count, 4);
    double *want = kt_new(s->outer * s->inner, 8);
    kt_uniform(x, count, 1, -1, 1);
    for (int64_t o = 0; o < s->outer; o++) {
      for (int64_t j = 0; j < s->inner; j++) {
        double sum = 0;
        for (int64_t at = 0; at < s->axis; at++) {
          sum += (double)x[(o * s->axis + at) * s->inner + j];
        }
        want[o * s->inner + j] = sum * s->scale;
      }
    }
    kt_near(got, want, s->outer * s->inner, 1e-6 * sqrt((double)s->axis + 1) * 4, 1e-6, "bound");
    kt_reset("reduce");
  }
}

/* Negative control: another order of the same additions gives other bits. */
static void test_reduce_other_order_differs(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const struct shape s = {1, 5000, 1, 1};
  (void)state;
  kt_variants(v);
  const float *got = run(v[0].kernels, &s, KT_WHOLE);
  float *x = kt_new(5000, 4), plain = 0;
  kt_uniform(x, 5000, 1, -1, 1);
  for (int64_t i = 0; i < 5000; i++) {
    plain += x[i];
  }
  assert_true(kt_differs(&plain, got, 1));
  kt_reset("reduce");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_reduce_any_variant_and_split_equal_bits),
      cmocka_unit_test(test_reduce_ref_follows_stated_order),
      cmocka_unit_test(test_reduce_against_double_within_bound),
      cmocka_unit_test(test_reduce_other_order_differs),
  };
  return cmocka_run_group_tests(tests, kt_setup, NULL);
}
