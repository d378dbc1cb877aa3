/* Batch norm kernels: equal bits over variants and splits, the stated order of the sums, values and
 * gradients against double. */
#include "tests/unit/kernel/kt.h"

#include <math.h>

struct shape {
  int64_t n, c, inner;
};

static const struct shape shapes[] = {
    {2, 3, 49}, {300, 5, 9}, {1, 2, 2500}, {4, 1, 1024}, {600, 37, 1}, {3, 16, 1}, {1, 1, 17},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };
#define EPS 1e-5
#define MOMENTUM 0.1

struct result {
  float *mean, *rstd, *run_mean, *run_var, *y, *eval, *dgamma, *dbeta, *dx;
};

static int64_t count(const struct shape *s) {
  return s->n * s->c * s->inner;
}

static void inputs(const struct shape *s, float **x, float **g, float **gamma, float **beta) {
  *x = kt_new_shifted(count(s), 4, 1);
  *g = kt_new_shifted(count(s), 4, 2);
  *gamma = kt_new(s->c, 4);
  *beta = kt_new(s->c, 4);
  kt_uniform(*x, count(s), 1, -1, 3);
  kt_uniform(*g, count(s), 2, -1, 1);
  kt_uniform(*gamma, s->c, 3, 0.5f, 2);
  kt_uniform(*beta, s->c, 4, -1, 1);
}

static struct result run(const struct stk_kernels *k, const struct shape *s, kt_split split) {
  float *x, *g, *gamma, *beta;
  inputs(s, &x, &g, &gamma, &beta);
  struct result r;
  float **const small[] = {&r.mean, &r.rstd, &r.run_mean, &r.run_var, &r.dgamma, &r.dbeta};
  for (int i = 0; i < 6; i++) {
    *small[i] = kt_new_shifted(s->c, 4, i);
  }
  float **const big[] = {&r.y, &r.eval, &r.dx};
  for (int i = 0; i < 3; i++) {
    *big[i] = kt_new_shifted(count(s), 4, i);
  }
  float *old_mean = kt_new(s->c, 4), *old_var = kt_new(s->c, 4);
  kt_uniform(old_mean, s->c, 5, -1, 1);
  kt_uniform(old_var, s->c, 6, 1, 2);
  kt_run(k->batchnorm_stats,
         &(struct stk_batchnorm_stats_args){x, r.mean, r.rstd, old_mean, old_var, r.run_mean,
                                            r.run_var, s->n, s->c, s->inner, EPS, MOMENTUM},
         split);
  struct stk_batchnorm_apply_args a = {x,    r.mean, r.rstd,   gamma, beta,  r.y,
                                       s->n, s->c,   s->inner, EPS,   false, true};
  kt_run(k->batchnorm_apply, &a, split);
  a = (struct stk_batchnorm_apply_args){x,    old_mean, old_var,  gamma, beta, r.eval,
                                        s->n, s->c,     s->inner, EPS,   true, false};
  kt_run(k->batchnorm_apply, &a, split);
  kt_run(k->batchnorm_bwd_sums,
         &(struct stk_batchnorm_bwd_sums_args){x, g, r.mean, r.rstd, r.dgamma, r.dbeta, s->n, s->c,
                                               s->inner},
         split);
  kt_run(k->batchnorm_bwd,
         &(struct stk_batchnorm_bwd_args){x, g, r.mean, r.rstd, gamma, r.dgamma, r.dbeta, r.dx,
                                          s->n, s->c, s->inner},
         split);
  return r;
}

static void test_batchnorm_any_variant_and_split_equal_bits(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  (void)state;
  for (int i = 0; i < SHAPES; i++) {
    const struct shape *s = &shapes[i];
    const struct result a = run(v[0].kernels, s, KT_WHOLE);
    for (int k = 0; k < n; k++) {
      for (int split = 0; split < KT_SPLITS; split++) {
        const struct result b = run(v[k].kernels, s, (kt_split)split);
        kt_equal(b.mean, a.mean, s->c, "mean");
        kt_equal(b.rstd, a.rstd, s->c, "rstd");
        kt_equal(b.run_mean, a.run_mean, s->c, "running mean");
        kt_equal(b.run_var, a.run_var, s->c, "running variance");
        kt_equal(b.y, a.y, count(s), "y");
        kt_equal(b.eval, a.eval, count(s), "evaluation");
        kt_equal(b.dgamma, a.dgamma, s->c, "dgamma");
        kt_equal(b.dbeta, a.dbeta, s->c, "dbeta");
        kt_equal(b.dx, a.dx, count(s), "dx");
      }
    }
    kt_reset("batchnorm");
  }
}

/* The order of the sums, written a second time from the page. */
static float lanes_sum(const float *x, int64_t n) {
  float total = 0;
  for (int64_t at = 0; at < n; at += 1024) {
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

static float channel_sum(const float *x, const struct shape *s, int64_t c, int64_t chunk) {
  float total = 0;
  for (int64_t at = 0; at < s->n; at += chunk) {
    float chain = 0;
    for (int64_t i = at; i < s->n && i < at + chunk; i++) {
      chain += lanes_sum(x + (i * s->c + c) * s->inner, s->inner);
    }
    total = at == 0 ? chain : total + chain;
  }
  return total;
}

static void test_batchnorm_sums_follow_the_stated_order(void **state) {
  bool another_order_shows = false;
  (void)state;
  for (int i = 0; i < SHAPES; i++) {
    const struct shape *s = &shapes[i];
    float *x, *g, *gamma, *beta;
    inputs(s, &x, &g, &gamma, &beta);
    struct kt_variant v[KT_VARIANTS];
    kt_variants(v);
    const struct result r = run(v[0].kernels, s, KT_WHOLE);
    for (int64_t c = 0; c < s->c; c++) {
      const float mean = channel_sum(x, s, c, 256) / (float)(s->n * s->inner);
      const float dbeta = channel_sum(g, s, c, 256);
      kt_equal(&r.mean[c], &mean, 1, "mean");
      kt_equal(&r.dbeta[c], &dbeta, 1, "dbeta");
      const float other = channel_sum(g, s, c, 100);
      another_order_shows |= kt_differs(&other, &dbeta, 1);
    }
    kt_reset("order");
  }
  assert_true(another_order_shows);
}

static void test_batchnorm_values_near_double(void **state) {
  (void)state;
  for (int i = 0; i < SHAPES; i++) {
    const struct shape *s = &shapes[i];
    struct kt_variant v[KT_VARIANTS];
    kt_variants(v);
    float *x, *g, *gamma, *beta;
    inputs(s, &x, &g, &gamma, &beta);
    const struct result r = run(v[0].kernels, s, KT_WHOLE);
    float *old = kt_new(s->c, 4);
    kt_uniform(old, s->c, 6, 1, 2);
    const double total = (double)(s->n * s->inner);
    for (int64_t c = 0; c < s->c; c++) {
      double sum = 0, square = 0;
      for (int64_t k = 0; k < s->n * s->inner; k++) {
        sum += (double)x[(k / s->inner * s->c + c) * s->inner + k % s->inner];
      }
      for (int64_t k = 0; k < s->n * s->inner; k++) {
        const int64_t at = (k / s->inner * s->c + c) * s->inner + k % s->inner;
        const double d = (double)x[at] - sum / total;
        square += d * d;
      }
      const double rstd = 1 / sqrt(square / total + EPS);
      const double running = 0.9 * (double)old[c] + 0.1 * square / (total > 1 ? total - 1 : 1);
      kt_near(&r.rstd[c], &rstd, 1, 0, 1e-5, "rstd");
      kt_near(&r.run_var[c], &running, 1, 0, 1e-5, "running variance");
      const int64_t at = c * s->inner;
      double y = ((double)x[at] - sum / total) * rstd * (double)gamma[c] + (double)beta[c];
      y = y < 0 ? 0 : y;
      kt_near(&r.y[at], &y, 1, 1e-5, 1e-5, "y");
    }
    kt_reset("values");
  }
}

static double loss(const struct shape *s, double *x, const double *g, const double *gamma,
                   const double *beta) {
  const struct stk_kernels *k = kt_f64();
  double mean[64], rstd[64], sum = 0;
  double *y = kt_new(count(s), 8);
  kt_run(k->batchnorm_stats,
         &(struct stk_batchnorm_stats_args){x, mean, rstd, NULL, NULL, NULL, NULL, s->n, s->c,
                                            s->inner, EPS, MOMENTUM},
         KT_WHOLE);
  kt_run(k->batchnorm_apply,
         &(struct stk_batchnorm_apply_args){x, mean, rstd, gamma, beta, y, s->n, s->c, s->inner,
                                            EPS, false, false},
         KT_WHOLE);
  for (int64_t i = 0; i < count(s); i++) {
    sum += y[i] * g[i];
  }
  return sum;
}

static void test_batchnorm_gradients_match_central_differences(void **state) {
  const struct stk_kernels *k = kt_f64();
  (void)state;
  for (int i = 0; i < SHAPES; i++) {
    const struct shape *s = &shapes[i];
    float *fx, *fg, *fgamma, *fbeta;
    inputs(s, &fx, &fg, &fgamma, &fbeta);
    double *x = kt_new(count(s), 8), *g = kt_new(count(s), 8), *dx = kt_new(count(s), 8);
    double *gamma = kt_new(s->c, 8), *beta = kt_new(s->c, 8);
    double mean[64], rstd[64], dgamma[64], dbeta[64];
    kt_widen(x, fx, count(s));
    kt_widen(g, fg, count(s));
    kt_widen(gamma, fgamma, s->c);
    kt_widen(beta, fbeta, s->c);
    loss(s, x, g, gamma, beta);
    kt_run(k->batchnorm_stats,
           &(struct stk_batchnorm_stats_args){x, mean, rstd, NULL, NULL, NULL, NULL, s->n, s->c,
                                              s->inner, EPS, MOMENTUM},
           KT_WHOLE);
    kt_run(k->batchnorm_bwd_sums,
           &(struct stk_batchnorm_bwd_sums_args){x, g, mean, rstd, dgamma, dbeta, s->n, s->c,
                                                 s->inner},
           KT_WHOLE);
    kt_run(k->batchnorm_bwd,
           &(struct stk_batchnorm_bwd_args){x, g, mean, rstd, gamma, dgamma, dbeta, dx, s->n, s->c,
                                            s->inner},
           KT_WHOLE);
    for (uint32_t probe = 0; probe < 6; probe++) {
      double *const at_of[3] = {x, gamma, beta}, *const grad_of[3] = {dx, dgamma, dbeta};
      const uint32_t room = (uint32_t)(probe % 3 == 0 ? count(s) : s->c);
      const uint32_t j = kt_random(9, probe) % room;
      double *p = at_of[probe % 3] + j;
      const double here = *p, h = 1e-4;
      *p = here + h;
      const double up = loss(s, x, g, gamma, beta);
      *p = here - h;
      const double down = loss(s, x, g, gamma, beta);
      *p = here;
      const double expected = (up - down) / (2 * h);
      kt_near64(grad_of[probe % 3] + j, &expected, 1, 1e-5, 1e-5, "gradient");
    }
    kt_reset("gradients");
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_batchnorm_any_variant_and_split_equal_bits),
      cmocka_unit_test(test_batchnorm_sums_follow_the_stated_order),
      cmocka_unit_test(test_batchnorm_values_near_double),
      cmocka_unit_test(test_batchnorm_gradients_match_central_differences),
  };
  return cmocka_run_group_tests(tests, kt_setup, NULL);
}
