/* Softmax and log-softmax over the last dimension, and their gradients from the saved output.
 *
 * A row's maximum is subtracted first; the sum of exponentials is the engine's sum. Units are
 * groups of rows. The output may be the input. docs/numerics.md, "Softmax and cross-entropy".
 */
#include "engine/kernel/kernel.h"
#include "engine/kernel/rows.h"
#include "engine/kernel/vec.h"
#include "engine/kernel/vec/fn.h"

static int64_t softmax_units(const void *args, int n_threads) {
  const struct stk_softmax_args *a = args;
  (void)n_threads;
  return ceil_div(a->rows, rows_per_unit(a->n));
}

V_INLINE vreal exp_less_stored(const real *x, real *y, vreal m, int64_t n) {
  const vreal e = exp_less(x, m, n);
  store_some(y, e, n);
  return e;
}

static void softmax_row(const real *x, real *y, int64_t count) {
  const vreal m = v_set1(row_max(x, count));
  real sum;
  V_REDUCE_WITH(sum, count, i, n, exp_less_stored(x + i, y + i, m, n));
  const vreal scale = v_set1((real)1 / sum);
  for (int64_t i = 0; i < count; i += V_LANES) {
    const int64_t n = min64(count - i, V_LANES);
    store_some(y + i, v_mul(load_some(y + i, n), scale), n);
  }
}

static void log_softmax_row(const real *x, real *y, int64_t count) {
  const real max = row_max(x, count);
  const vreal m = v_set1(max), log_sum = v_set1(r_log(row_sum_exp(x, max, count)));
  for (int64_t i = 0; i < count; i += V_LANES) {
    const int64_t n = min64(count - i, V_LANES);
    store_some(y + i, v_sub(v_sub(load_some(x + i, n), m), log_sum), n);
  }
}

static void softmax_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_softmax_args *a = args;
  const int64_t per = rows_per_unit(a->n);
  (void)scratch;
  for (int64_t r = lo * per; r < min64(hi * per, a->rows); r++) {
    const real *x = (const real *)a->x + r * a->n;
    real *y = (real *)a->y + r * a->n;
    if (a->log) {
      log_softmax_row(x, y, a->n);
    } else {
      softmax_row(x, y, a->n);
    }
  }
}

static int64_t softmax_bwd_units(const void *args, int n_threads) {
  const struct stk_softmax_bwd_args *a = args;
  (void)n_threads;
  return ceil_div(a->rows, rows_per_unit(a->n));
}

static void softmax_bwd_row(const real *y, const real *g, real *dx, int64_t count) {
  real sum;
  V_REDUCE_WITH(sum, count, i, n, v_mul(load_some(g + i, n), load_some(y + i, n)));
  const vreal s = v_set1(sum);
  for (int64_t i = 0; i < count; i += V_LANES) {
    const int64_t n = min64(count - i, V_LANES);
    store_some(dx + i, v_mul(load_some(y + i, n), v_sub(load_some(g + i, n), s)), n);
  }
}

static void log_softmax_bwd_row(const real *y, const real *g, real *dx, int64_t count) {
  const vreal s = v_set1(v_reduce(g, count));
  for (int64_t i = 0; i < count; i += V_LANES) {
    const int64_t n = min64(count - i, V_LANES);
    store_some(dx + i, v_fnma(v_exp(load_some(y + i, n)), s, load_some(g + i, n)), n);
  }
}

static void softmax_bwd_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_softmax_bwd_args *a = args;
  const int64_t per = rows_per_unit(a->n);
  (void)scratch;
  for (int64_t r = lo * per; r < min64(hi * per, a->rows); r++) {
    const real *y = (const real *)a->y + r * a->n, *g = (const real *)a->g + r * a->n;
    real *dx = (real *)a->dx + r * a->n;
    if (a->log) {
      log_softmax_bwd_row(y, g, dx, a->n);
    } else {
      softmax_bwd_row(y, g, dx, a->n);
    }
  }
}

extern const struct stk_kernel KFN(softmax), KFN(softmax_bwd);
const struct stk_kernel KFN(softmax) = {"softmax", softmax_units, NULL, softmax_run};
const struct stk_kernel KFN(softmax_bwd) = {"softmax_bwd", softmax_bwd_units, NULL,
                                            softmax_bwd_run};
