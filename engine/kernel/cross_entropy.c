/* Cross-entropy of logits and class ids: loss per row, their mean, the gradient of the mean.
 *
 * The forward saves the log of the sum of exponentials per row; the backward rebuilds probabilities
 * from it and may write over the logits. Ignored rows have loss and gradient +0 and do not count.
 * Label smoothing is PyTorch's: the target has 1 - s + s / n, every other class s / n.
 * docs/numerics.md, "Softmax and cross-entropy".
 */
#include "engine/kernel/kernel.h"
#include "engine/kernel/rows.h"
#include "engine/kernel/vec.h"
#include "engine/kernel/vec/fn.h"

#include <string.h>

static int64_t xent_units(const void *args, int n_threads) {
  const struct stk_xent_args *a = args;
  (void)n_threads;
  return ceil_div(a->rows, rows_per_unit(a->n));
}

static void xent_row(const struct stk_xent_args *a, int64_t r) {
  const real *x = (const real *)a->x + r * a->n;
  const real max = row_max(x, a->n);
  const real lse = max + r_log(row_sum_exp(x, max, a->n));
  real loss = (real)0;
  if (a->target[r] != a->ignore) {
    loss = lse - x[a->target[r]];
    if (a->smoothing != 0) {
      const real others = lse - v_reduce(x, a->n) / (real)a->n;
      loss = r_fma((real)a->smoothing, others, (real)(1 - a->smoothing) * loss);
    }
  }
  ((real *)a->loss)[r] = loss;
  ((real *)a->lse)[r] = lse;
}

static void xent_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_xent_args *a = args;
  const int64_t per = rows_per_unit(a->n);
  (void)scratch;
  for (int64_t r = lo * per; r < min64(hi * per, a->rows); r++) {
    xent_row(a, r);
  }
}

static int64_t xent_mean_units(const void *args, int n_threads) {
  (void)args;
  (void)n_threads;
  return 1;
}

static void xent_mean_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_xent_mean_args *a = args;
  real *out = a->out;
  int64_t count = 0;
  (void)scratch;
  if (lo >= hi) {
    return;
  }
  for (int64_t r = 0; r < a->rows; r++) {
    count += a->target[r] != a->ignore;
  }
  out[0] = count > 0 ? v_reduce(a->loss, a->rows) / (real)count : (real)0;
  out[1] = (real)count;
}

static int64_t xent_bwd_units(const void *args, int n_threads) {
  const struct stk_xent_bwd_args *a = args;
  (void)n_threads;
  return ceil_div(a->rows, rows_per_unit(a->n));
}

static void xent_bwd_row(const struct stk_xent_bwd_args *a, int64_t r, real weight) {
  const real *x = (const real *)a->x + r * a->n;
  real *dx = (real *)a->dx + r * a->n;
  const int32_t target = a->target[r];
  if (target == a->ignore) {
    memset(dx, 0, (size_t)a->n * sizeof(real));
    return;
  }
  const real lse = ((const real *)a->lse)[r];
  const real other = (real)(a->smoothing / (double)a->n);
  const real own = (real)(1 - a->smoothing + a->smoothing / (double)a->n);
  const real at_target = (r_exp(x[target] - lse) - own) * weight;
  const vreal m = v_set1(lse), q = v_set1(other), w = v_set1(weight);
  for (int64_t i = 0; i < a->n; i += V_LANES) {
    const int64_t n = min64(a->n - i, V_LANES);
    store_some(dx + i, v_mul(v_sub(v_exp(v_sub(load_some(x + i, n), m)), q), w), n);
  }
  dx[target] = at_target;
}

static void xent_bwd_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_xent_bwd_args *a = args;
  const int64_t per = rows_per_unit(a->n);
  const real weight = ((const real *)a->g)[0] / ((const real *)a->mean)[1];
  (void)scratch;
  for (int64_t r = lo * per; r < min64(hi * per, a->rows); r++) {
    xent_bwd_row(a, r, weight);
  }
}

extern const struct stk_kernel KFN(xent), KFN(xent_mean), KFN(xent_bwd);
const struct stk_kernel KFN(xent) = {"xent", xent_units, NULL, xent_run};
const struct stk_kernel KFN(xent_mean) = {"xent_mean", xent_mean_units, NULL, xent_mean_run};
const struct stk_kernel KFN(xent_bwd) = {"xent_bwd", xent_bwd_units, NULL, xent_bwd_run};
