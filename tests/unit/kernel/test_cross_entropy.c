/* xent, xent_mean, xent_bwd: equal bits, a bound in double, differences, ignored rows, in place. */
#include "tests/unit/kernel/kt.h"

#include <math.h>
#include <string.h>

struct shape {
  int64_t rows, n;
  double smoothing;
};

static const struct shape shapes[] = {
    {1, 1, 0}, {64, 10, 0}, {70, 256, 0.1}, {33, 257, 0}, {3, 5000, 0.2}, {2, 50304, 0},
};
enum { SHAPES = sizeof shapes / sizeof *shapes, IGNORE = -100 };

struct result {
  float *x, *loss, *lse, *mean, *g, *dx;
  int32_t *target;
};

static struct result run(const struct stk_kernels *k, const struct shape *s, kt_split split,
                         bool in_place) {
  const int64_t n = s->rows * s->n;
  struct result r = {
      kt_new_shifted(n, 4, 1), kt_new(s->rows, 4), kt_new(s->rows, 4), kt_new(2, 4), kt_new(1, 4),
      kt_new_shifted(n, 4, 3), kt_new(s->rows, 4)};
  kt_uniform(r.x, n, 1, -6, 6);
  r.g[0] = 0.75f;
  for (int64_t i = 0; i < s->rows; i++) {
    r.target[i] = i % 5 == 3 ? IGNORE : (int32_t)(kt_random(2, (uint32_t)i) % (uint64_t)s->n);
  }
  const struct stk_xent_args f = {r.x,     r.target, r.loss, r.lse,
                                  s->rows, s->n,     IGNORE, s->smoothing};
  const struct stk_xent_mean_args m = {r.loss, r.target, r.mean, s->rows, IGNORE};
  kt_run(k->xent, &f, split);
  kt_run(k->xent_mean, &m, split);
  if (in_place) {
    memcpy(r.dx, r.x, (size_t)n * 4);
  }
  const struct stk_xent_bwd_args b = {
      in_place ? r.dx : r.x, r.lse, r.g, r.mean, r.target, r.dx, s->rows, s->n, IGNORE,
      s->smoothing};
  kt_run(k->xent_bwd, &b, split);
  return r;
}

static void test_xent_any_variant_split_and_place_equal_bits(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  (void)state;
  for (int i = 0; i < SHAPES; i++) {
    const struct shape *s = &shapes[i];
    const struct result want = run(v[0].kernels, s, KT_WHOLE, false);
    for (int at = 0; at < n; at++) {
      for (int split = 0; split < KT_SPLITS; split++) {
        const struct result got = run(v[at].kernels, s, (kt_split)split, split == KT_SINGLE);
        kt_equal(want.loss, got.loss, s->rows, v[at].name);
        kt_equal(want.lse, got.lse, s->rows, v[at].name);
        kt_equal(want.mean, got.mean, 2, v[at].name);
        kt_equal(want.dx, got.dx, s->rows * s->n, v[at].name);
      }
    }
    kt_reset("xent");
  }
}

static double lse_of(const float *x, int64_t n) {
  double max = -INFINITY, sum = 0;
  for (int64_t i = 0; i < n; i++) {
    max = fmax(max, (double)x[i]);
  }
  for (int64_t i = 0; i < n; i++) {
    sum += exp((double)x[i] - max);
  }
  return max + log(sum);
}

static void test_xent_against_double_within_bound(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n_variants = kt_variants(v);
  (void)state;
  for (int i = 0; i < SHAPES; i++) {
    const struct shape *s = &shapes[i];
    const struct result r = run(v[n_variants - 1].kernels, s, KT_WHOLE, false);
    double *dx = kt_new(s->n, 8), total = 0, count = 0;
    for (int64_t row = 0; row < s->rows; row++) {
      count += r.target[row] != IGNORE;
    }
    for (int64_t row = 0; row < s->rows; row++) {
      const float *x = r.x + row * s->n;
      const double lse = lse_of(x, s->n), e = s->smoothing;
      double loss = 0;
      for (int64_t c = 0; c < s->n; c++) {
        const double q = e / (double)s->n + (c == r.target[row] ? 1 - e : 0);
        loss += q * (lse - (double)x[c]);
        dx[c] = (exp((double)x[c] - lse) - q) * 0.75 / count;
      }
      if (r.target[row] == IGNORE) {
        memset(dx, 0, (size_t)s->n * 8);
        loss = 0;
      }
      total += loss;
      kt_near(r.loss + row, &loss, 1, 4e-6, 2e-6, "loss");
      kt_near(r.dx + row * s->n, dx, s->n, 1e-6, 2e-6, "dx");
    }
    const double mean[2] = {total / count, count};
    kt_near(r.mean, mean, 2, 2e-6, 2e-6, "mean");
    kt_reset("bound");
  }
}

static double mean64(double *x, const int32_t *target, int64_t rows, int64_t n, double smoothing,
                     double *lse, double mean[2]) {
  double loss[16];
  const struct stk_xent_args f = {x, target, loss, lse, rows, n, IGNORE, smoothing};
  const struct stk_xent_mean_args m = {loss, target, mean, rows, IGNORE};
  kt_run(kt_f64()->xent, &f, KT_WHOLE);
  kt_run(kt_f64()->xent_mean, &m, KT_WHOLE);
  return mean[0];
}

static void test_xent_bwd_matches_central_differences(void **state) {
  enum { ROWS = 4, N = 19 };
  const int32_t target[ROWS] = {3, IGNORE, 0, 18};
  const double h = 1e-6, g = 1;
  (void)state;
  for (int smooth = 0; smooth < 2; smooth++) {
    double x[ROWS * N], dx[ROWS * N], lse[ROWS], mean[2], ignored[ROWS], pair[2];
    for (int i = 0; i < ROWS * N; i++) {
      x[i] = 3 * (kt_random(1, (uint32_t)i) * 0x1p-32);
    }
    mean64(x, target, ROWS, N, 0.3 * smooth, lse, mean);
    const struct stk_xent_bwd_args b = {x,  lse,  &g, mean,   target,
                                        dx, ROWS, N,  IGNORE, 0.3 * smooth};
    kt_run(kt_f64()->xent_bwd, &b, KT_WHOLE);
    for (int i = 0; i < ROWS * N; i++) {
      const double old = x[i];
      x[i] = old + h;
      const double up = mean64(x, target, ROWS, N, 0.3 * smooth, ignored, pair);
      x[i] = old - h;
      const double down = mean64(x, target, ROWS, N, 0.3 * smooth, ignored, pair);
      x[i] = old;
      const double slope = (up - down) / (2 * h);
      kt_near64(&dx[i], &slope, 1, 1e-8, 1e-7, "dx");
    }
  }
}

static void test_xent_all_rows_ignored_gives_zeros(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  const float zeros[8] = {0};
  (void)state;
  for (int at = 0; at < n; at++) {
    const int32_t target[2] = {IGNORE, IGNORE};
    float x[8] = {1, 2, 3, 4, 5, 6, 7, 8}, loss[2], lse[2], mean[2], g = 1, dx[8];
    const struct stk_xent_args f = {x, target, loss, lse, 2, 4, IGNORE, 0};
    const struct stk_xent_mean_args m = {loss, target, mean, 2, IGNORE};
    const struct stk_xent_bwd_args b = {x, lse, &g, mean, target, dx, 2, 4, IGNORE, 0};
    kt_run(v[at].kernels->xent, &f, KT_WHOLE);
    kt_run(v[at].kernels->xent_mean, &m, KT_WHOLE);
    kt_run(v[at].kernels->xent_bwd, &b, KT_WHOLE);
    assert_memory_equal(mean, zeros, sizeof mean);
    assert_memory_equal(loss, zeros, sizeof loss);
    assert_memory_equal(dx, zeros, sizeof dx);
  }
}

/* Negative control: label smoothing is seen. */
static void test_xent_smoothing_differs(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const struct shape a = {4, 30, 0}, b = {4, 30, 0.1};
  (void)state;
  kt_variants(v);
  const struct result plain = run(v[0].kernels, &a, KT_WHOLE, false);
  const struct result smooth = run(v[0].kernels, &b, KT_WHOLE, false);
  assert_true(kt_differs(plain.loss, smooth.loss, 4));
  assert_true(kt_differs(plain.dx, smooth.dx, 120));
  kt_reset("control");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_xent_any_variant_split_and_place_equal_bits),
      cmocka_unit_test(test_xent_against_double_within_bound),
      cmocka_unit_test(test_xent_bwd_matches_central_differences),
      cmocka_unit_test(test_xent_all_rows_ignored_gives_zeros),
      cmocka_unit_test(test_xent_smoothing_differs),
  };
  return cmocka_run_group_tests(tests, kt_setup, NULL);
}
