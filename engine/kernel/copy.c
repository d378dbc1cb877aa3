/* Strided copies (permute, slice, concat, expand) and fills.
 *
 * The bits move as they are, so nothing here is arithmetic. Dimensions that are contiguous in both
 * operands are merged first; then one of three loops runs over the rows of the innermost dimension:
 * contiguous to contiguous, a transpose in square blocks, or element by element. Units are ranges
 * of the flat element index (of block rows, in a transpose).
 */
#include "engine/kernel/kernel.h"
#include "engine/kernel/vec.h"

#include <string.h>

enum { UNIT = 16384, FILL_UNIT = 65536, BLOCK = 16 };

/* The copy with merged dimensions, outer first; at least one. */
struct shape {
  int64_t dim[STK_COPY_RANK], x[STK_COPY_RANK], y[STK_COPY_RANK];
  int rank;
  int across; /* the dimension with x stride 1 in a transpose, else -1 */
  int64_t n;
};

static struct shape merge(const struct stk_copy_args *a) {
  struct shape s = {.rank = 0, .across = -1, .n = 1};
  for (int i = 0; i < STK_COPY_RANK; i++) {
    const int64_t dim = a->dim[i], x = a->x_stride[i], y = a->y_stride[i];
    s.n *= dim;
    if (dim == 1) {
      continue;
    }
    const int top = s.rank - 1;
    if (top >= 0 && s.x[top] == x * dim && s.y[top] == y * dim) {
      s.dim[top] *= dim;
      s.x[top] = x;
      s.y[top] = y;
      continue;
    }
    s.dim[s.rank] = dim;
    s.x[s.rank] = x;
    s.y[s.rank++] = y;
  }
  if (s.rank == 0) {
    s.dim[0] = s.x[0] = s.y[0] = 1;
    s.rank = 1;
  }
  const int last = s.rank - 1;
  if (s.y[last] == 1 && s.x[last] > 1 && s.dim[last] >= 8) {
    for (int i = 0; i < last; i++) {
      if (s.x[i] == 1 && s.dim[i] >= 8) {
        s.across = i;
      }
    }
  }
  return s;
}

static int64_t transpose_blocks(const struct shape *s) {
  return (s->dim[s->across] + BLOCK - 1) / BLOCK;
}

static int64_t copy_units(const void *args, int n_threads) {
  const struct shape s = merge(args);
  (void)n_threads;
  if (s.n == 0) {
    return 0;
  }
  if (s.across >= 0) {
    return s.n / s.dim[s.rank - 1] / s.dim[s.across] * transpose_blocks(&s);
  }
  return (s.n + UNIT - 1) / UNIT;
}

/* One row of n elements of `size` bytes. */
static void copy_row(const char *x, int64_t x_stride, char *y, int64_t y_stride, int64_t n,
                     size_t size) {
  if (x_stride == 1 && y_stride == 1) {
    memcpy(y, x, (size_t)n * size);
  } else if (size == 4) {
    const uint32_t *from = (const uint32_t *)(const void *)x;
    uint32_t *to = (uint32_t *)(void *)y;
    for (int64_t i = 0; i < n; i++) {
      to[i * y_stride] = from[i * x_stride];
    }
  } else {
    const uint64_t *from = (const uint64_t *)(const void *)x;
    uint64_t *to = (uint64_t *)(void *)y;
    for (int64_t i = 0; i < n; i++) {
      to[i * y_stride] = from[i * x_stride];
    }
  }
}

static void copy_rows(const struct stk_copy_args *a, const struct shape *s, int64_t from,
                      int64_t to) {
  const size_t size = (size_t)a->elem_bytes;
  const int last = s->rank - 1;
  while (from < to) {
    int64_t rest = from / s->dim[last], x = a->x_off, y = a->y_off;
    const int64_t column = from % s->dim[last];
    const int64_t left = s->dim[last] - column;
    const int64_t n = left < to - from ? left : to - from;
    for (int i = last - 1; i >= 0; i--) {
      const int64_t index = rest % s->dim[i];
      rest /= s->dim[i];
      x += index * s->x[i];
      y += index * s->y[i];
    }
    x += column * s->x[last];
    y += column * s->y[last];
    copy_row((const char *)a->x + (size_t)x * size, s->x[last], (char *)a->y + (size_t)y * size,
             s->y[last], n, size);
    from += n;
  }
}

/* to[c * y_row + r] = from[r * x_row + c] for 16 x 16 elements at most, through a block in the
 * cache, so that every line of either side is touched once whatever the strides. */
#define DEFINE_TRANSPOSE(NAME, TYPE)                                                       \
  static void NAME(const TYPE *from, int64_t x_row, TYPE *to, int64_t y_row, int64_t rows, \
                   int64_t columns) {                                                      \
    TYPE block[BLOCK][BLOCK];                                                              \
    for (int64_t r = 0; r < rows; r++) {                                                   \
      memcpy(block[r], from + r * x_row, (size_t)columns * sizeof(TYPE));                  \
    }                                                                                      \
    for (int64_t c = 0; c < columns; c++) {                                                \
      for (int64_t r = 0; r < rows; r++) {                                                 \
        to[c * y_row + r] = block[r][c];                                                   \
      }                                                                                    \
    }                                                                                      \
  }
DEFINE_TRANSPOSE(transpose4, uint32_t)
DEFINE_TRANSPOSE(transpose8, uint64_t)

/* Up to 16 rows of y (dimension `across`) by the whole innermost dimension. */
static void copy_transposed(const struct stk_copy_args *a, const struct shape *s, int64_t unit) {
  const int last = s->rank - 1, across = s->across;
  const int64_t blocks = transpose_blocks(s), first = unit % blocks * BLOCK;
  const int64_t columns = s->dim[across] - first < BLOCK ? s->dim[across] - first : BLOCK;
  int64_t rest = unit / blocks, x = a->x_off + first, y = a->y_off + first * s->y[across];
  for (int i = last - 1; i >= 0; i--) {
    if (i != across) {
      x += rest % s->dim[i] * s->x[i];
      y += rest % s->dim[i] * s->y[i];
      rest /= s->dim[i];
    }
  }
  for (int64_t at = 0; at < s->dim[last]; at += BLOCK) {
    const int64_t rows = s->dim[last] - at < BLOCK ? s->dim[last] - at : BLOCK;
    const int64_t from = x + at * s->x[last], to = y + at;
    if (a->elem_bytes == 4) {
      transpose4((const uint32_t *)a->x + from, s->x[last], (uint32_t *)a->y + to, s->y[across],
                 rows, columns);
    } else {
      transpose8((const uint64_t *)a->x + from, s->x[last], (uint64_t *)a->y + to, s->y[across],
                 rows, columns);
    }
  }
}

static void copy_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_copy_args *a = args;
  const struct shape s = merge(a);
  (void)scratch;
  if (s.across < 0) {
    copy_rows(a, &s, lo * UNIT, hi * UNIT < s.n ? hi * UNIT : s.n);
    return;
  }
  for (int64_t unit = lo; unit < hi; unit++) {
    copy_transposed(a, &s, unit);
  }
}

static int64_t fill_units(const void *args, int n_threads) {
  const struct stk_fill_args *a = args;
  (void)n_threads;
  return (a->n + FILL_UNIT - 1) / FILL_UNIT;
}

static void fill_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_fill_args *a = args;
  const int64_t from = lo * FILL_UNIT, to = hi * FILL_UNIT < a->n ? hi * FILL_UNIT : a->n;
  real *y = (real *)a->y + from;
  const int64_t n = to - from;
  (void)scratch;
  if (a->value == 0) {
    memset(y, 0, (size_t)n * sizeof(real));
    return;
  }
  for (int64_t i = 0; i < n; i++) {
    y[i] = (real)a->value;
  }
}

extern const struct stk_kernel KFN(copy), KFN(fill);
const struct stk_kernel KFN(copy) = {"copy", copy_units, NULL, copy_run};
const struct stk_kernel KFN(fill) = {"fill", fill_units, NULL, fill_run};
