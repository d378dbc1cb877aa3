/* Finds out whether any of n values is an infinity or a NaN.
 *
 * 0 times a finite number is a zero, and 0 times any other value is NaN, which no addition removes:
 * one fma a vector, looked at once a block. Units, blocks of 64 Ki elements, may store the same 1
 * from several threads, hence the atomic store.
 */
#include "engine/kernel/kernel.h"
#include "engine/kernel/vec.h"

enum { BLOCK = 65536 };

static bool all_finite(const real *x, int64_t n) {
  const vreal zero = v_zero();
  vreal even = v_zero(), odd = v_zero();
  int64_t i = 0;
  for (; i + 2 * V_LANES <= n; i += 2 * V_LANES) {
    even = v_fma(v_load(x + i), zero, even);
    odd = v_fma(v_load(x + i + V_LANES), zero, odd);
  }
  for (; i < n; i += V_LANES) {
    even = v_fma(v_load_n(x + i, n - i < V_LANES ? n - i : V_LANES), zero, even);
  }
  return v_mask_bits(v_isnan(v_add(even, odd))) == 0;
}

static int64_t finite_units(const void *args, int n_threads) {
  const struct stk_finite_args *a = args;
  (void)n_threads;
  return (a->n + BLOCK - 1) / BLOCK;
}

static void finite_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_finite_args *a = args;
  const real *x = a->x;
  (void)scratch;
  for (int64_t u = lo; u < hi; u++) {
    const int64_t at = u * BLOCK;
    if (!all_finite(x + at, a->n - at < BLOCK ? a->n - at : BLOCK)) {
      __atomic_store_n(a->out, 1, __ATOMIC_RELAXED);
      return;
    }
  }
}

extern const struct stk_kernel KFN(finite);
const struct stk_kernel KFN(finite) = {"finite", finite_units, NULL, finite_run};
