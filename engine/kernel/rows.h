/* What the row kernels share: cutting rows into units, partial vectors, maximum and exponentials.
 */
#ifndef STK_KERNEL_ROWS_H
#define STK_KERNEL_ROWS_H

#include "engine/kernel/vec.h"
#include "engine/kernel/vec/fn.h"

enum { ROWS_UNIT = 8192 };

V_INLINE int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

V_INLINE int64_t min64(int64_t a, int64_t b) {
  return a < b ? a : b;
}

/* Rows of n elements that make one unit. */
V_INLINE int64_t rows_per_unit(int64_t n) {
  return n >= ROWS_UNIT ? 1 : ROWS_UNIT / (n > 0 ? n : 1);
}

/* 16 elements, or the n that exist and +0. */
V_INLINE vreal load_some(const real *x, int64_t n) {
  return n == V_LANES ? v_load(x) : v_load_n(x, n);
}

V_INLINE void store_some(real *x, vreal v, int64_t n) {
  if (n == V_LANES) {
    v_store(x, v);
  } else {
    v_store_n(x, v, n);
  }
}

/* v with +0 in the lanes from n on. */
V_INLINE vreal keep_some(vreal v, int64_t n) {
  return n == V_LANES ? v : v_select(v_mask_n(n), v, v_zero());
}

/* The largest element; a NaN is passed over, and -infinity is the answer where nothing else is. */
V_INLINE real row_max(const real *x, int64_t n) {
  const vreal lowest = v_set1(-(real)__builtin_inf());
  vreal m0 = lowest, m1 = lowest, m2 = lowest, m3 = lowest;
  int64_t i = 0;
  for (; i + 4 * V_LANES <= n; i += 4 * V_LANES) {
    m0 = v_max(v_load(x + i), m0);
    m1 = v_max(v_load(x + i + 16), m1);
    m2 = v_max(v_load(x + i + 32), m2);
    m3 = v_max(v_load(x + i + 48), m3);
  }
  for (; i + V_LANES <= n; i += V_LANES) {
    m0 = v_max(v_load(x + i), m0);
  }
  if (i < n) {
    m1 = v_max(v_select(v_mask_n(n - i), v_load_n(x + i, n - i), lowest), m1);
  }
  return v_hmax(v_max(v_max(m0, m1), v_max(m2, m3)));
}

/* exp(x - m) of 16 elements, or of n and +0. */
V_INLINE vreal exp_less(const real *x, vreal m, int64_t n) {
  return keep_some(v_exp(v_sub(load_some(x, n), m)), n);
}

/* The sum of exp(x - m) over a row. */
V_INLINE real row_sum_exp(const real *x, real max, int64_t count) {
  const vreal m = v_set1(max);
  real sum;
  V_REDUCE_WITH(sum, count, i, n, exp_less(x + i, m, n));
  return sum;
}

#endif
