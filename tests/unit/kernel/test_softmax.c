/* softmax, log-softmax and their gradients: equal bits, a bound in double, differences. */
#include "tests/unit/kernel/kt.h"

#include <math.h>
#include <string.h>

static const int64_t shapes[][2] = {{1, 1}, {3, 15}, {700, 16}, {9, 513}, {2, 1025}, {1, 20011}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

struct result {
  float *x, *y, *g, *dx;
};

static struct result run(const struct stk_kernels *k, const int64_t s[2], bool log,
                         kt_split split) {
  const int64_t n = s[0] * s[1];
  struct result r = {kt_new_shifted(n, 4, 1), kt_new_shifted(n, 4, 2), kt_new(n, 4),
                     kt_new_shifted(n, 4, 3)};
  kt_uniform(r.x, n, 1, -10, 10);
  kt_uniform(r.g, n, 2, -1, 1);
  const struct stk_softmax_args f = {r.x, r.y, s[0], s[1], log};
  const struct stk_softmax_bwd_args b = {r.y, r.g, r.dx, s[0], s[1], log};
  kt_run(k->softmax, &f, split);
  kt_run(k->softmax_bwd, &b, split);
  return r;
}

static void test_softmax_any_variant_and_split_equal_bits(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  (void)state;
  for (int i = 0; i < 2 * SHAPES; i++) {
    const int64_t *s = shapes[i / 2];
    const struct result want = run(v[0].kernels, s, i % 2, KT_WHOLE);
    for (int at = 0; at < n; at++) {
      for (int split = 0; split < KT_SPLITS; split++) {
        const struct result got = run(v[at].kernels, s, i % 2, (kt_split)split);
        kt_equal(want.y, got.y, s[0] * s[1], v[at].name);
        kt_equal(want.dx, got.dx, s[0] * s[1], v[at].name);
      }
    }
    kt_reset("softmax");
  }
}

static void naive_row(const float *x, const float *g, int64_t n, bool log_form, double *y,
                      double *dx) {
  double max = -INFINITY, sum = 0, dot = 0;
  for (int64_t i = 0; i < n; i++) {
    max = fmax(max, (double)x[i]);
  }
  for (int64_t i = 0; i < n; i++) {
    sum += exp((double)x[i] - max);
  }
  for (int64_t i = 0; i < n; i++) {
    const double p = exp((double)x[i] - max) / sum;
    y[i] = log_form ? (double)x[i] - max - log(sum) : p;
    dot += (double)g[i] * (log_form ? 1 : p);
  }
  for (int64_t i = 0; i < n; i++) {
    const double p = exp((double)x[i] - max) / sum;
    dx[i] = log_form ? (double)g[i] - p * dot : p * ((double)g[i] - dot);
  }
}

static void test_softmax_against_double_within_bound(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n_variants = kt_variants(v);
  (void)state;
  for (int i = 0; i < 2 * SHAPES; i++) {
    const int64_t rows = shapes[i / 2][0], n = shapes[i / 2][1];
    const struct result r = run(v[n_variants - 1].kernels, shapes[i / 2], i % 2, KT_WHOLE);
    double *y = kt_new(n, 8), *dx = kt_new(n, 8);
    for (int64_t row = 0; row < rows; row++) {
      naive_row(r.x + row * n, r.g + row * n, n, i % 2, y, dx);
      kt_near(r.y + row * n, y, n, i % 2 ? 4e-6 : 1e-9, 2e-6, "y");
      kt_near(r.dx + row * n, dx, n, 1e-6, 2e-5, "dx");
    }
    kt_reset("bound");
  }
}

static void test_softmax_output_over_input_equal_bits(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int64_t s[2] = {5, 333};
  (void)state;
  const int n = kt_variants(v);
  for (int at = 0; at < n; at++) {
    for (int log = 0; log < 2; log++) {
      const struct result r = run(v[at].kernels, s, log, KT_WHOLE);
      const struct stk_softmax_args f = {r.x, r.x, 5, 333, log};
      kt_run(v[at].kernels->softmax, &f, KT_WHOLE);
      kt_equal(r.y, r.x, 5 * 333, "in place");
      kt_reset("in place");
    }
  }
}

static void test_softmax_bwd_matches_central_differences(void **state) {
  enum { N = 37 };
  const double h = 1e-6;
  (void)state;
  for (int log = 0; log < 2; log++) {
    double x[N], g[N], y[N], dx[N], moved[N];
    for (int i = 0; i < N; i++) {
      x[i] = 4 * (kt_random(1, (uint32_t)i) * 0x1p-32);
      g[i] = kt_random(2, (uint32_t)i) * 0x1p-32 - 0.5;
    }
    const struct stk_softmax_args f = {x, y, 1, N, log}, m = {x, moved, 1, N, log};
    const struct stk_softmax_bwd_args b = {y, g, dx, 1, N, log};
    kt_run(kt_f64()->softmax, &f, KT_WHOLE);
    kt_run(kt_f64()->softmax_bwd, &b, KT_WHOLE);
    for (int i = 0; i < N; i++) {
      const double old = x[i];
      double slope = 0;
      for (int side = 1; side >= -1; side -= 2) {
        x[i] = old + side * h;
        kt_run(kt_f64()->softmax, &m, KT_WHOLE);
        for (int j = 0; j < N; j++) {
          slope += side * moved[j] * g[j] / (2 * h);
        }
      }
      x[i] = old;
      kt_near64(&dx[i], &slope, 1, 1e-8, 1e-7, "dx");
    }
  }
}

static void test_softmax_special_rows(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  (void)state;
  for (int at = 0; at < n; at++) {
    float x[2][20], y[2][20];
    for (int i = 0; i < 20; i++) {
      x[0][i] = i == 18 ? 5 : -INFINITY;
      x[1][i] = i == 17 ? NAN : (float)i;
    }
    const struct stk_softmax_args f = {x, y, 2, 20, false};
    kt_run(v[at].kernels->softmax, &f, KT_WHOLE);
    for (int i = 0; i < 20; i++) {
      assert_true(y[0][i] == (i == 18 ? 1.0f : 0.0f));
      assert_true(isnan(y[1][i]));
    }
  }
}

/* Negative control: one logit more is seen in every probability. */
static void test_softmax_other_row_length_differs(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int64_t a[2] = {1, 40}, b[2] = {1, 41};
  (void)state;
  kt_variants(v);
  assert_true(kt_differs(run(v[0].kernels, a, false, KT_WHOLE).y,
                         run(v[0].kernels, b, false, KT_WHOLE).y, 40));
  kt_reset("control");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_softmax_any_variant_and_split_equal_bits),
      cmocka_unit_test(test_softmax_against_double_within_bound),
      cmocka_unit_test(test_softmax_output_over_input_equal_bits),
      cmocka_unit_test(test_softmax_bwd_matches_central_differences),
      cmocka_unit_test(test_softmax_special_rows),
      cmocka_unit_test(test_softmax_other_row_length_differs),
  };
  return cmocka_run_group_tests(tests, kt_setup, NULL);
}
