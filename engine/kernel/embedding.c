/* Embedding lookup and its gradient.
 *
 * The gradient adds rows of g into dw one by one in ascending position; units are blocks of dw
 * (a range of the vocabulary by a block of columns), each of which starts its block and then scans
 * all positions for rows of its own, so the order of additions is the same however units run.
 * Ids were checked by the loader. docs/numerics.md, "Embedding".
 */
#include "engine/kernel/kernel.h"
#include "engine/kernel/rows.h"
#include "engine/kernel/vec.h"

#include <string.h>

enum { UNIT = 16384, BLOCK_BYTES = 262144, COLUMNS = 256, COLUMNS_SMALL = 64 };

static int64_t positions_per_unit(const struct stk_embedding_args *a) {
  return a->dim >= UNIT ? 1 : UNIT / (a->dim > 0 ? a->dim : 1);
}

static int64_t embedding_units(const void *args, int n_threads) {
  const struct stk_embedding_args *a = args;
  (void)n_threads;
  return ceil_div(a->n, positions_per_unit(a));
}

static void embedding_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_embedding_args *a = args;
  const int64_t per = positions_per_unit(a);
  (void)scratch;
  for (int64_t i = lo * per; i < min64(hi * per, a->n); i++) {
    memcpy((real *)a->y + i * a->dim, (const real *)a->w + a->ids[i] * a->dim,
           (size_t)a->dim * sizeof(real));
  }
}

/* How dw is cut. */
struct cut {
  int64_t columns, column_blocks; /* width of a block, blocks across */
  int64_t rows, row_blocks;
};

static struct cut cut_of(const struct stk_embedding_bwd_args *a) {
  const bool small = a->vocab * a->dim * (int64_t)sizeof(real) <= BLOCK_BYTES;
  struct cut c;
  c.columns = min64(a->dim, small ? COLUMNS_SMALL : COLUMNS);
  c.columns = c.columns > 0 ? c.columns : 1;
  c.column_blocks = ceil_div(a->dim, c.columns);
  c.rows = BLOCK_BYTES / (int64_t)sizeof(real) / c.columns;
  c.row_blocks = ceil_div(a->vocab, c.rows);
  return c;
}

static int64_t embedding_bwd_units(const void *args, int n_threads) {
  const struct cut c = cut_of(args);
  (void)n_threads;
  return c.column_blocks * c.row_blocks;
}

static void add_row(real *y, const real *g, int64_t n) {
  int64_t i = 0;
  for (; i + V_LANES <= n; i += V_LANES) {
    v_store(y + i, v_add(v_load(y + i), v_load(g + i)));
  }
  if (i < n) {
    v_store_n(y + i, v_add(v_load_n(y + i, n - i), v_load_n(g + i, n - i)), n - i);
  }
}

/* Rows first_row.. of dw, columns first.., n wide: start values, then every position's row. */
static void embedding_bwd_block(const struct stk_embedding_bwd_args *a, int64_t first_row,
                                int64_t rows, int64_t first, int64_t n) {
  const real *g = (const real *)a->g + first;
  real *dw = (real *)a->dw + first;
  for (int64_t r = first_row; r < first_row + rows && a->from != a->dw; r++) {
    if (a->from) {
      memcpy(dw + r * a->dim, (const real *)a->from + r * a->dim + first, (size_t)n * sizeof(real));
    } else {
      memset(dw + r * a->dim, 0, (size_t)n * sizeof(real));
    }
  }
  const vint low = vi_set1((int32_t)first_row), count = vi_set1((int32_t)rows);
  for (int64_t i = 0; i < a->n; i += V_LANES) {
    const int64_t left = min64(a->n - i, V_LANES);
    const vint ids = vi_load_n(a->ids + i, left);
    const vmask mine = v_mask_and(vi_ltu(vi_sub(ids, low), count), v_mask_n(left));
    for (uint32_t bits = v_mask_bits(mine); bits != 0; bits &= bits - 1) {
      const int64_t at = i + __builtin_ctz(bits);
      add_row(dw + a->ids[at] * a->dim, g + at * a->dim, n);
    }
  }
}

static void embedding_bwd_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_embedding_bwd_args *a = args;
  const struct cut c = cut_of(a);
  (void)scratch;
  for (int64_t unit = lo; unit < hi; unit++) {
    const int64_t first = unit % c.column_blocks * c.columns;
    const int64_t row = unit / c.column_blocks * c.rows;
    embedding_bwd_block(a, row, min64(c.rows, a->vocab - row), first,
                        min64(c.columns, a->dim - first));
  }
}

extern const struct stk_kernel KFN(embedding), KFN(embedding_bwd);
const struct stk_kernel KFN(embedding) = {"embedding", embedding_units, NULL, embedding_run};
const struct stk_kernel KFN(embedding_bwd) = {"embedding_bwd", embedding_bwd_units, NULL,
                                              embedding_bwd_run};
