/* Sums over one axis: y[o][i] = scale * sum over a of x[o][a][i].
 *
 * inner == 1 is the engine's sum of contiguous elements (v_reduce); a unit is a group of rows.
 * inner > 1 is the matrix product with ones: per column one chain of additions from +0 over chunks
 * of 256, chunk sums added in order; a unit is a block of columns of a group of outer indices.
 * docs/numerics.md, "Sums".
 */
#include "engine/kernel/kernel.h"
#include "engine/kernel/vec.h"

enum { UNIT = 16384, CHUNK = 256, COLUMNS = 64 };

static int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

static int64_t column_blocks(const struct stk_reduce_args *a) {
  return a->inner == 1 ? 1 : ceil_div(a->inner, COLUMNS);
}

/* Outer indices that one unit covers. */
static int64_t outer_group(const struct stk_reduce_args *a) {
  const int64_t width = a->inner < COLUMNS ? a->inner : COLUMNS;
  const int64_t work = (a->axis > 0 ? a->axis : 1) * width;
  return work >= UNIT ? 1 : UNIT / work;
}

static int64_t reduce_units(const void *args, int n_threads) {
  const struct stk_reduce_args *a = args;
  (void)n_threads;
  return ceil_div(a->outer, outer_group(a)) * column_blocks(a);
}

static real scaled(real x, double scale) {
  return scale == 1.0 ? x : x * (real)scale;
}

static void store_scaled(real *y, vreal x, double scale, int64_t n) {
  if (scale != 1.0) {
    x = v_mul(x, v_set1((real)scale));
  }
  v_store_n(y, x, n);
}

/* The sums of 64 whole columns. */
static void columns_full(const real *x, int64_t stride, int64_t axis, double scale, real *y) {
  vreal t0 = v_zero(), t1 = v_zero(), t2 = v_zero(), t3 = v_zero();
  for (int64_t at = 0; at < axis; at += CHUNK) {
    const int64_t end = axis - at < CHUNK ? axis : at + CHUNK;
    vreal s0 = v_zero(), s1 = v_zero(), s2 = v_zero(), s3 = v_zero();
    for (int64_t i = at; i < end; i++) {
      const real *p = x + i * stride;
      s0 = v_add(s0, v_load(p));
      s1 = v_add(s1, v_load(p + 16));
      s2 = v_add(s2, v_load(p + 32));
      s3 = v_add(s3, v_load(p + 48));
    }
    t0 = at == 0 ? s0 : v_add(t0, s0);
    t1 = at == 0 ? s1 : v_add(t1, s1);
    t2 = at == 0 ? s2 : v_add(t2, s2);
    t3 = at == 0 ? s3 : v_add(t3, s3);
  }
  store_scaled(y, t0, scale, 16);
  store_scaled(y + 16, t1, scale, 16);
  store_scaled(y + 32, t2, scale, 16);
  store_scaled(y + 48, t3, scale, 16);
}

/* The sums of n columns, 1..16. */
static void columns_some(const real *x, int64_t stride, int64_t axis, double scale, real *y,
                         int64_t n) {
  vreal total = v_zero();
  for (int64_t at = 0; at < axis; at += CHUNK) {
    const int64_t end = axis - at < CHUNK ? axis : at + CHUNK;
    vreal sum = v_zero();
    for (int64_t i = at; i < end; i++) {
      sum = v_add(sum, v_load_n(x + i * stride, n));
    }
    total = at == 0 ? sum : v_add(total, sum);
  }
  store_scaled(y, total, scale, n);
}

static void reduce_columns(const struct stk_reduce_args *a, int64_t outer, int64_t block) {
  const int64_t first = block * COLUMNS;
  const int64_t n = a->inner - first < COLUMNS ? a->inner - first : COLUMNS;
  const real *x = (const real *)a->x + outer * a->axis * a->inner + first;
  real *y = (real *)a->y + outer * a->inner + first;
  if (n == COLUMNS) {
    columns_full(x, a->inner, a->axis, a->scale, y);
    return;
  }
  for (int64_t i = 0; i < n; i += V_LANES) {
    columns_some(x + i, a->inner, a->axis, a->scale, y + i, n - i < V_LANES ? n - i : V_LANES);
  }
}

static void reduce_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_reduce_args *a = args;
  const int64_t blocks = column_blocks(a), group = outer_group(a);
  (void)scratch;
  for (int64_t unit = lo; unit < hi; unit++) {
    const int64_t first = unit / blocks * group;
    const int64_t end = a->outer - first < group ? a->outer : first + group;
    for (int64_t o = first; o < end; o++) {
      if (a->inner == 1) {
        ((real *)a->y)[o] = scaled(v_reduce((const real *)a->x + o * a->axis, a->axis), a->scale);
      } else {
        reduce_columns(a, o, unit % blocks);
      }
    }
  }
}

extern const struct stk_kernel KFN(reduce);
const struct stk_kernel KFN(reduce) = {"reduce", reduce_units, NULL, reduce_run};
