/* layernorm, its dx and its parameter gradients: equal bits, a bound in double, differences. */
#include "tests/unit/kernel/kt.h"

#include <math.h>

struct shape {
  int64_t rows, n;
  bool gamma, beta;
};

static const struct shape shapes[] = {
    {1, 1, true, true},    {3, 15, true, true},   {5, 16, false, false},  {700, 128, true, true},
    {9, 768, true, false}, {2, 1030, true, true}, {257, 33, false, true}, {513, 65, true, true},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

struct result {
  float *x, *g, *gamma, *beta, *y, *mean, *rstd, *dx, *dgamma, *dbeta;
};

static struct result run(const struct stk_kernels *k, const struct shape *s, kt_split split) {
  const int64_t n = s->rows * s->n;
  struct result r = {
      kt_new_shifted(n, 4, 1),    kt_new_shifted(n, 4, 2), kt_new(s->n, 4),    kt_new(s->n, 4),
      kt_new_shifted(n, 4, 3),    kt_new(s->rows, 4),      kt_new(s->rows, 4), kt_new(n, 4),
      kt_new_shifted(s->n, 4, 1), kt_new(s->n, 4)};
  kt_uniform(r.x, n, 1, -1, 3);
  kt_uniform(r.g, n, 2, -1, 1);
  kt_uniform(r.gamma, s->n, 3, 0.5f, 1.5f);
  kt_uniform(r.beta, s->n, 4, -1, 1);
  const void *gamma = s->gamma ? r.gamma : NULL, *beta = s->beta ? r.beta : NULL;
  const struct stk_layernorm_args f = {r.x, gamma, beta, r.y, r.mean, r.rstd, s->rows, s->n, 1e-5};
  const struct stk_layernorm_bwd_args b = {r.x, r.g, gamma, r.mean, r.rstd, r.dx, s->rows, s->n};
  const struct stk_layernorm_dparam_args p = {r.x,      r.g,     r.mean,  r.rstd,
                                              r.dgamma, r.dbeta, s->rows, s->n};
  kt_run(k->layernorm, &f, split);
  kt_run(k->layernorm_bwd, &b, split);
  kt_run(k->layernorm_dparam, &p, split);
  return r;
}

static void test_layernorm_any_variant_and_split_equal_bits(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  (void)state;
  for (int i = 0; i < SHAPES; i++) {
    const struct shape *s = &shapes[i];
    const struct result want = run(v[0].kernels, s, KT_WHOLE);
    for (int at = 0; at < n; at++) {
      for (int split = 0; split < KT_SPLITS; split++) {
        const struct result got = run(v[at].kernels, s, (kt_split)split);
        kt_equal(want.y, got.y, s->rows * s->n, v[at].name);
        kt_equal(want.mean, got.mean, s->rows, v[at].name);
        kt_equal(want.rstd, got.rstd, s->rows, v[at].name);
        kt_equal(want.dx, got.dx, s->rows * s->n, v[at].name);
        kt_equal(want.dgamma, got.dgamma, s->n, v[at].name);
        kt_equal(want.dbeta, got.dbeta, s->n, v[at].name);
      }
    }
    kt_reset("layernorm");
  }
}

/* One row in double. */
static void naive_row(const struct result *r, const struct shape *s, int64_t row, double *y,
                      double *dx, double *dgamma, double *dbeta) {
  const float *x = r->x + row * s->n, *g = r->g + row * s->n;
  double mean = 0, var = 0, s1 = 0, s2 = 0;
  const double count = (double)s->n;
  for (int64_t i = 0; i < s->n; i++) {
    mean += (double)x[i] / count;
  }
  for (int64_t i = 0; i < s->n; i++) {
    var += ((double)x[i] - mean) * ((double)x[i] - mean) / count;
  }
  const double rstd = 1 / sqrt(var + 1e-5);
  for (int64_t i = 0; i < s->n; i++) {
    const double h = (double)g[i] * (s->gamma ? (double)r->gamma[i] : 1);
    const double normal = ((double)x[i] - mean) * rstd;
    s1 += h / count;
    s2 += h * normal / count;
    y[i] = normal * (s->gamma ? (double)r->gamma[i] : 1) + (s->beta ? (double)r->beta[i] : 0);
    dgamma[i] += (double)g[i] * normal;
    dbeta[i] += (double)g[i];
  }
  for (int64_t i = 0; i < s->n; i++) {
    const double h = (double)g[i] * (s->gamma ? (double)r->gamma[i] : 1);
    dx[i] = rstd * (h - s1 - ((double)x[i] - mean) * rstd * s2);
  }
}

static void test_layernorm_against_double_within_bound(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n_variants = kt_variants(v);
  (void)state;
  for (int i = 0; i < SHAPES; i++) {
    const struct shape *s = &shapes[i];
    const struct result r = run(v[n_variants - 1].kernels, s, KT_WHOLE);
    double *y = kt_new(s->n, 8), *dx = kt_new(s->n, 8), *dgamma = kt_new(s->n, 8);
    double *dbeta = kt_new(s->n, 8);
    for (int64_t j = 0; j < s->n; j++) {
      dgamma[j] = dbeta[j] = 0;
    }
    for (int64_t row = 0; row < s->rows; row++) {
      naive_row(&r, s, row, y, dx, dgamma, dbeta);
      kt_near(r.y + row * s->n, y, s->n, 2e-6, 2e-6, "y");
      kt_near(r.dx + row * s->n, dx, s->n, s->n == 1 ? 1e-3 : 4e-6, 4e-6, "dx");
    }
    kt_near(r.dgamma, dgamma, s->n, 1e-5 * sqrt((double)s->rows), 1e-5, "dgamma");
    kt_near(r.dbeta, dbeta, s->n, 1e-6 * sqrt((double)s->rows), 1e-5, "dbeta");
    kt_reset("bound");
  }
}

enum { ROWS = 3, N = 21 };

static double loss64(double *x, double *gamma, const double *g) {
  double y[ROWS * N], mean[ROWS], rstd[ROWS], sum = 0;
  const struct stk_layernorm_args f = {x, gamma, NULL, y, mean, rstd, ROWS, N, 1e-5};
  kt_run(kt_f64()->layernorm, &f, KT_WHOLE);
  for (int i = 0; i < ROWS * N; i++) {
    sum += y[i] * g[i];
  }
  return sum;
}

static double slope_at(double *x, double *gamma, const double *g, double *moved) {
  const double old = *moved, h = 1e-6;
  *moved = old + h;
  const double up = loss64(x, gamma, g);
  *moved = old - h;
  const double down = loss64(x, gamma, g);
  *moved = old;
  return (up - down) / (2 * h);
}

static void test_layernorm_gradients_match_central_differences(void **state) {
  double x[ROWS * N], g[ROWS * N], dx[ROWS * N], y[ROWS * N];
  double gamma[N], dgamma[N], dbeta[N], mean[ROWS], rstd[ROWS];
  (void)state;
  for (int i = 0; i < ROWS * N; i++) {
    x[i] = kt_random(1, (uint32_t)i) * 0x1p-32;
    g[i] = kt_random(2, (uint32_t)i) * 0x1p-32 - 0.5;
    gamma[i % N] = 0.5 + kt_random(3, (uint32_t)i % N) * 0x1p-32;
  }
  const struct stk_layernorm_args f = {x, gamma, NULL, y, mean, rstd, ROWS, N, 1e-5};
  const struct stk_layernorm_bwd_args b = {x, g, gamma, mean, rstd, dx, ROWS, N};
  const struct stk_layernorm_dparam_args p = {x, g, mean, rstd, dgamma, dbeta, ROWS, N};
  kt_run(kt_f64()->layernorm, &f, KT_WHOLE);
  kt_run(kt_f64()->layernorm_bwd, &b, KT_WHOLE);
  kt_run(kt_f64()->layernorm_dparam, &p, KT_WHOLE);
  for (int i = 0; i < ROWS * N; i++) {
    const double slope = slope_at(x, gamma, g, &x[i]);
    kt_near64(&dx[i], &slope, 1, 1e-7, 1e-7, "dx");
  }
  for (int i = 0; i < N; i++) {
    const double slope = slope_at(x, gamma, g, &gamma[i]);
    kt_near64(&dgamma[i], &slope, 1, 1e-7, 1e-7, "dgamma");
  }
  kt_reset("differences");
}

/* Negative control: another epsilon is seen. */
static void test_layernorm_other_epsilon_differs(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const struct shape s = {2, 40, true, true};
  (void)state;
  kt_variants(v);
  const struct result r = run(v[0].kernels, &s, KT_WHOLE);
  float *y = kt_new(80, 4);
  const struct stk_layernorm_args f = {r.x, r.gamma, r.beta, y, r.mean, r.rstd, 2, 40, 1e-4};
  kt_run(v[0].kernels->layernorm, &f, KT_WHOLE);
  assert_true(kt_differs(r.y, y, 80));
  kt_reset("control");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_layernorm_any_variant_and_split_equal_bits),
      cmocka_unit_test(test_layernorm_against_double_within_bound),
      cmocka_unit_test(test_layernorm_gradients_match_central_differences),
      cmocka_unit_test(test_layernorm_other_epsilon_differs),
  };
  return cmocka_run_group_tests(tests, kt_setup, NULL);
}
