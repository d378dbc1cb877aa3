/* Finds out whether any of n values is an infinity or a NaN. Units, blocks of 64 Ki elements, may
 * store the same 1 from several threads, hence the atomic store.
 */
#include "engine/kernel/finite.h"
#include "engine/kernel/kernel.h"

enum { BLOCK = 65536 };

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
    if (!finite_all(x + at, a->n - at < BLOCK ? a->n - at : BLOCK)) {
      __atomic_store_n(a->out, 1, __ATOMIC_RELAXED);
      return;
    }
  }
}

extern const struct stk_kernel KFN(finite);
const struct stk_kernel KFN(finite) = {"finite", finite_units, NULL, finite_run};
