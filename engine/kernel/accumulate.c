/* y = y + x over flat memory: accumulation windows and the lane tree (docs/numerics.md, "Lanes").
 *
 * One IEEE addition per element, y on the left. A unit is a block of 16 Ki elements.
 */
#include "engine/kernel/kernel.h"
#include "engine/kernel/vec.h"

enum { BLOCK = 16384 };

static int64_t accumulate_units(const void *args, int n_threads) {
  const struct stk_accumulate_args *a = args;
  (void)n_threads;
  return (a->n + BLOCK - 1) / BLOCK;
}

static void accumulate_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_accumulate_args *a = args;
  const real *x = a->x;
  real *y = a->y;
  (void)scratch;
  const int64_t to = hi * BLOCK < a->n ? hi * BLOCK : a->n;
  int64_t i = lo * BLOCK;
  for (; i + V_LANES <= to; i += V_LANES) {
    v_store(y + i, v_add(v_load(y + i), v_load(x + i)));
  }
  if (i < to) {
    v_store_n(y + i, v_add(v_load_n(y + i, to - i), v_load_n(x + i, to - i)), to - i);
  }
}

extern const struct stk_kernel KFN(accumulate);
const struct stk_kernel KFN(accumulate) = {"accumulate", accumulate_units, NULL, accumulate_run};
