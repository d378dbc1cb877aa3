/* The index of the first maximum of each row; a NaN counts as larger than any number (PyTorch).
 *
 * Units are groups of rows. Comparisons only, so there is no arithmetic to specify.
 */
#include "engine/kernel/kernel.h"
#include "engine/kernel/rows.h"
#include "engine/kernel/vec.h"

static int64_t argmax_units(const void *args, int n_threads) {
  const struct stk_argmax_args *a = args;
  (void)n_threads;
  return ceil_div(a->rows, rows_per_unit(a->n));
}

/* The first element that is `value`, or a NaN where nan is set; -1 where there is none. */
static int64_t first_of(const real *x, int64_t count, real value, bool nan) {
  const vreal want = v_set1(value);
  for (int64_t i = 0; i < count; i += V_LANES) {
    const int64_t n = min64(count - i, V_LANES);
    const vreal v = load_some(x + i, n);
    const vmask hit = nan ? v_isnan(v) : v_eq(v, want);
    const uint32_t bits = v_mask_bits(v_mask_and(hit, v_mask_n(n)));
    if (bits) {
      return i + __builtin_ctz(bits);
    }
  }
  return -1;
}

static void argmax_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_argmax_args *a = args;
  const int64_t per = rows_per_unit(a->n);
  (void)scratch;
  for (int64_t r = lo * per; r < min64(hi * per, a->rows); r++) {
    const real *x = (const real *)a->x + r * a->n;
    int64_t at = first_of(x, a->n, (real)0, true);
    if (at < 0) {
      at = first_of(x, a->n, row_max(x, a->n), false);
    }
    a->y[r] = (int32_t)at;
  }
}

extern const struct stk_kernel KFN(argmax);
const struct stk_kernel KFN(argmax) = {"argmax", argmax_units, NULL, argmax_run};
