/* Layer normalisation over the last dimension (Ba, Kiros, Hinton 2016): forward, dx, dgamma, dbeta.
 *
 * A row's sums are the engine's sum; the variance is the mean of (x - mean)^2, a second pass. The
 * parameter gradients are column sums over rows in chunks of 256, as a matrix product with ones
 * would give. Units are groups of rows, and blocks of columns for the parameter gradients.
 * docs/numerics.md, "Layer norm".
 */
#include "engine/kernel/kernel.h"
#include "engine/kernel/rows.h"
#include "engine/kernel/vec.h"

enum { CHUNK = 256, COLUMNS = 32 };

static int64_t layernorm_units(const void *args, int n_threads) {
  const struct stk_layernorm_args *a = args;
  (void)n_threads;
  return ceil_div(a->rows, rows_per_unit(a->n));
}

/* (x - m)^2 of 16 elements, or of n and +0. */
V_INLINE vreal squared_distance(const real *x, vreal m, int64_t n) {
  const vreal d = v_sub(load_some(x, n), m);
  return keep_some(v_mul(d, d), n);
}

static void layernorm_row(const struct stk_layernorm_args *a, int64_t r) {
  const real *x = (const real *)a->x + r * a->n, *gamma = a->gamma, *beta = a->beta;
  real *y = (real *)a->y + r * a->n;
  const real mean = v_reduce(x, a->n) / (real)a->n;
  const vreal m = v_set1(mean);
  real sum;
  V_REDUCE_WITH(sum, a->n, i, n, squared_distance(x + i, m, n));
  const real rstd = (real)1 / r_sqrt(sum / (real)a->n + (real)a->eps);
  const vreal s = v_set1(rstd);
  for (int64_t i = 0; i < a->n; i += V_LANES) {
    const int64_t n = min64(a->n - i, V_LANES);
    vreal v = v_mul(v_sub(load_some(x + i, n), m), s);
    if (gamma && beta) {
      v = v_fma(v, load_some(gamma + i, n), load_some(beta + i, n));
    } else if (gamma) {
      v = v_mul(v, load_some(gamma + i, n));
    } else if (beta) {
      v = v_add(v, load_some(beta + i, n));
    }
    store_some(y + i, v, n);
  }
  ((real *)a->mean)[r] = mean;
  ((real *)a->rstd)[r] = rstd;
}

static void layernorm_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_layernorm_args *a = args;
  const int64_t per = rows_per_unit(a->n);
  (void)scratch;
  for (int64_t r = lo * per; r < min64(hi * per, a->rows); r++) {
    layernorm_row(a, r);
  }
}

static int64_t layernorm_bwd_units(const void *args, int n_threads) {
  const struct stk_layernorm_bwd_args *a = args;
  (void)n_threads;
  return ceil_div(a->rows, rows_per_unit(a->n));
}

/* g * gamma, or g. */
V_INLINE vreal weighted(const real *g, const real *gamma, int64_t i, int64_t n) {
  const vreal v = load_some(g + i, n);
  return gamma ? v_mul(v, load_some(gamma + i, n)) : v;
}

static void layernorm_bwd_row(const struct stk_layernorm_bwd_args *a, int64_t r) {
  const real *x = (const real *)a->x + r * a->n, *g = (const real *)a->g + r * a->n;
  const real *gamma = a->gamma;
  real *dx = (real *)a->dx + r * a->n;
  const vreal mean = v_set1(((const real *)a->mean)[r]), rstd = v_set1(((const real *)a->rstd)[r]);
  real sum_h, sum_hx;
  V_REDUCE_WITH(sum_h, a->n, i, n, weighted(g, gamma, i, n));
  V_REDUCE_WITH(sum_hx, a->n, i, n,
                v_mul(weighted(g, gamma, i, n), v_mul(v_sub(load_some(x + i, n), mean), rstd)));
  const vreal s1 = v_set1(sum_h / (real)a->n), s2 = v_set1(sum_hx / (real)a->n);
  for (int64_t i = 0; i < a->n; i += V_LANES) {
    const int64_t n = min64(a->n - i, V_LANES);
    const vreal h = weighted(g, gamma, i, n);
    const vreal normal = v_mul(v_sub(load_some(x + i, n), mean), rstd);
    store_some(dx + i, v_mul(rstd, v_fnma(normal, s2, v_sub(h, s1))), n);
  }
}

static void layernorm_bwd_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_layernorm_bwd_args *a = args;
  const int64_t per = rows_per_unit(a->n);
  (void)scratch;
  for (int64_t r = lo * per; r < min64(hi * per, a->rows); r++) {
    layernorm_bwd_row(a, r);
  }
}

static int64_t layernorm_dparam_units(const void *args, int n_threads) {
  const struct stk_layernorm_dparam_args *a = args;
  (void)n_threads;
  return ceil_div(a->n, COLUMNS);
}

/* The sums of one block of 16 columns: dgamma and dbeta. */
struct dparam {
  vreal gamma, beta;
};

/* Row r of the columns at x and g, of which n exist. */
V_INLINE struct dparam dparam_row(struct dparam sum, const real *x, const real *g, int64_t n,
                                  vreal mean, vreal rstd) {
  const vreal grad = load_some(g, n);
  sum.gamma = v_fma(grad, v_mul(v_sub(load_some(x, n), mean), rstd), sum.gamma);
  sum.beta = v_add(sum.beta, grad);
  return sum;
}

V_INLINE struct dparam dparam_add(struct dparam total, struct dparam sum, bool first) {
  total.gamma = first ? sum.gamma : v_add(total.gamma, sum.gamma);
  total.beta = first ? sum.beta : v_add(total.beta, sum.beta);
  return total;
}

static void dparam_store(const struct stk_layernorm_dparam_args *a, int64_t c, struct dparam sum,
                         int64_t n) {
  if (a->dgamma) {
    store_some((real *)a->dgamma + c, sum.gamma, n);
  }
  if (a->dbeta) {
    store_some((real *)a->dbeta + c, sum.beta, n);
  }
}

/* Columns c..c+31, of which n0 exist in the first half and n1 (0: none) in the second. */
V_INLINE void dparam_columns(const struct stk_layernorm_dparam_args *a, int64_t c, int64_t n0,
                             int64_t n1) {
  const real *mean = a->mean, *rstd = a->rstd;
  const struct dparam none = {v_zero(), v_zero()};
  struct dparam t0 = none, t1 = none;
  for (int64_t at = 0; at < a->rows; at += CHUNK) {
    struct dparam s0 = none, s1 = none;
    for (int64_t r = at; r < min64(at + CHUNK, a->rows); r++) {
      const real *x = (const real *)a->x + r * a->n + c, *g = (const real *)a->g + r * a->n + c;
      const vreal m = v_set1(mean[r]), s = v_set1(rstd[r]);
      s0 = dparam_row(s0, x, g, n0, m, s);
      if (n1 > 0) {
        s1 = dparam_row(s1, x + V_LANES, g + V_LANES, n1, m, s);
      }
    }
    t0 = dparam_add(t0, s0, at == 0);
    t1 = dparam_add(t1, s1, at == 0);
  }
  dparam_store(a, c, t0, n0);
  if (n1 > 0) {
    dparam_store(a, c + V_LANES, t1, n1);
  }
}

static void layernorm_dparam_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_layernorm_dparam_args *a = args;
  (void)scratch;
  for (int64_t unit = lo; unit < hi; unit++) {
    const int64_t c = unit * COLUMNS, n = min64(a->n - c, COLUMNS);
    if (n == COLUMNS) {
      dparam_columns(a, c, V_LANES, V_LANES);
    } else if (n >= V_LANES) {
      dparam_columns(a, c, V_LANES, n - V_LANES);
    } else {
      dparam_columns(a, c, n, 0);
    }
  }
}

extern const struct stk_kernel KFN(layernorm), KFN(layernorm_bwd), KFN(layernorm_dparam);
const struct stk_kernel KFN(layernorm) = {"layernorm", layernorm_units, NULL, layernorm_run};
const struct stk_kernel KFN(layernorm_bwd) = {"layernorm_bwd", layernorm_bwd_units, NULL,
                                              layernorm_bwd_run};
const struct stk_kernel KFN(layernorm_dparam) = {"layernorm_dparam", layernorm_dparam_units, NULL,
                                                 layernorm_dparam_run};
