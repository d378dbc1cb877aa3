/* Whether values are all finite.
 *
 * 0 times a finite number is a zero, and 0 times any other value is NaN, which no addition removes:
 * one fma a vector, looked at once.
 */
#ifndef STK_KERNEL_FINITE_H
#define STK_KERNEL_FINITE_H

#include "engine/kernel/vec.h"

V_INLINE bool finite_all(const real *x, int64_t n) {
  enum { CHAINS = 4 };
  vreal sum[CHAINS] = {v_zero(), v_zero(), v_zero(), v_zero()};
  int64_t i = 0;
  for (; i + CHAINS * V_LANES <= n; i += CHAINS * V_LANES) {
    for (int k = 0; k < CHAINS; k++) {
      sum[k] = v_fma(v_load(x + i + k * V_LANES), v_zero(), sum[k]);
    }
  }
  for (; i < n; i += V_LANES) {
    sum[0] = v_fma(v_load_n(x + i, n - i < V_LANES ? n - i : V_LANES), v_zero(), sum[0]);
  }
  return v_mask_bits(v_isnan(v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3])))) == 0;
}

#endif
