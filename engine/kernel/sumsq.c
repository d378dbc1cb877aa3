/* Sum of squares per state chunk, in double: the first half of clipping by global norm.
 *
 * Within a chunk of 64 Ki elements, lane j of 16 adds the squares of elements j, j + 16, ... in
 * ascending order from +0, in double (a float's square is exact there; with 64-bit reals the square
 * is rounded, then added); then the tree of v_sum. A unit is one chunk. The caller adds the chunks'
 * sums in index order. docs/numerics.md, "Global norm".
 */
#include "engine/kernel/kernel.h"
#include "engine/kernel/vec.h"

enum { QUAD = 4 };

typedef double quad __attribute__((vector_size(32)));
typedef real quad_real __attribute__((vector_size(QUAD * sizeof(real)), aligned(sizeof(real))));

/* A macro: baseline x86-64 has no way to return a quad. */
#define LOAD_QUAD(x) __builtin_convertvector(*(const quad_real *)(const void *)(x), quad)

static double chunk(const real *x, int64_t n) {
  quad acc0 = {0}, acc1 = {0}, acc2 = {0}, acc3 = {0};
  int64_t i = 0;
  for (; i + V_LANES <= n; i += V_LANES) {
    const quad a = LOAD_QUAD(x + i), b = LOAD_QUAD(x + i + 4);
    const quad c = LOAD_QUAD(x + i + 8), d = LOAD_QUAD(x + i + 12);
    acc0 += a * a;
    acc1 += b * b;
    acc2 += c * c;
    acc3 += d * d;
  }
  double lane[V_LANES];
  for (int j = 0; j < QUAD; j++) {
    lane[j] = acc0[j];
    lane[4 + j] = acc1[j];
    lane[8 + j] = acc2[j];
    lane[12 + j] = acc3[j];
  }
  for (int j = 0; i + j < n; j++) {
    const double value = (double)x[i + j];
    lane[j] += value * value;
  }
  for (int half = V_LANES / 2; half > 0; half /= 2) {
    for (int j = 0; j < half; j++) {
      lane[j] += lane[j + half];
    }
  }
  return lane[0];
}

static int64_t sumsq_units(const void *args, int n_threads) {
  const struct stk_sumsq_args *a = args;
  (void)n_threads;
  return (a->n + STK_STATE_CHUNK - 1) / STK_STATE_CHUNK;
}

static void sumsq_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_sumsq_args *a = args;
  const real *g = a->g;
  (void)scratch;
  for (int64_t u = lo; u < hi; u++) {
    const int64_t at = u * STK_STATE_CHUNK;
    a->sum[u] = chunk(g + at, a->n - at < STK_STATE_CHUNK ? a->n - at : STK_STATE_CHUNK);
  }
}

extern const struct stk_kernel KFN(sumsq);
const struct stk_kernel KFN(sumsq) = {"sumsq", sumsq_units, NULL, sumsq_run};
