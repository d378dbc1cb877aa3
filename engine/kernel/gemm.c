/* The gemm kernel: stk_gemm_args (gemm.h) cut into units, each a rectangle of one product of the
 * batch, and each done by gemm_block (gemm/block.h) with the unit's own packing. Units of a product
 * go row by row over its split_m x split_n rectangles; products follow each other in batch order.
 * Nothing is shared between units, so the bits depend on neither cut nor order.
 */
#include "engine/kernel/gemm.h"

#include "engine/kernel/gemm/block.h"

static int64_t gemm_splits(int32_t split) {
  return split > 1 ? split : 1;
}

/* A column of C as a row: vectors run along C, so this is where the elements are. */
static struct gemm_job gemm_transposed(const struct gemm_job *job) {
  struct gemm_job row = *job;
  row.a = job->b;
  row.b = job->a;
  row.m = job->n;
  row.n = job->m;
  row.bias_column = job->bias_row;
  row.bias_row = job->bias_column;
  return row;
}

/* The rectangle of unit u, with whole register tiles but at C's edges. False: nothing is left for
 * it. */
static bool gemm_unit(const struct stk_gemm_args *g, int64_t u, struct gemm_job *out_job) {
  const int64_t split_m = gemm_splits(g->split_m), split_n = gemm_splits(g->split_n);
  const int64_t product = u / (split_m * split_n), part = u % (split_m * split_n);
  const int64_t o = product / g->batch_inner, in = product % g->batch_inner;
  const int64_t mb = gemm_round_up(gemm_ceil(g->m, split_m), GEMM_MR);
  const int64_t nb = gemm_round_up(gemm_ceil(g->n, split_n), GEMM_NR);
  const int64_t i = part / split_n * mb, j = part % split_n * nb;
  if (i >= g->m || j >= g->n) {
    return false;
  }
  const real *bias = g->bias_kind == STK_GEMM_BIAS_NONE ? NULL : (const real *)g->bias;
  if (bias) {
    bias += o * g->bias_outer + in * g->bias_inner;
  }
  struct gemm_job job = {
      .a = {.p = (const real *)g->a + o * g->a_outer + in * g->a_inner,
            .i_stride = g->ta ? 1 : g->lda,
            .k_stride = g->ta ? g->lda : 1},
      .b = {.p = (const real *)g->b + o * g->b_outer + in * g->b_inner,
            .i_stride = g->tb ? g->ldb : 1,
            .k_stride = g->tb ? 1 : g->ldb},
      .m = gemm_min(mb, g->m - i),
      .n = gemm_min(nb, g->n - j),
      .k = g->k,
      .c = (real *)g->c + o * g->c_outer + in * g->c_inner + i * g->ldc + j,
      .ldc = g->ldc,
      .bias_column = g->bias_kind == STK_GEMM_BIAS_COLUMN ? bias + j : NULL,
      .bias_row = g->bias_kind == STK_GEMM_BIAS_ROW ? bias + i : NULL,
      .accumulate = g->accumulate,
      .relu = g->act == STK_GEMM_ACT_RELU,
  };
  job.a = gemm_source_from(job.a, i);
  job.b = gemm_source_from(job.b, j);
  *out_job = g->n == 1 && g->ldc == 1 ? gemm_transposed(&job) : job;
  return true;
}

static int64_t gemm_units(const void *args, int n_threads) {
  const struct stk_gemm_args *g = args;
  (void)n_threads;
  return g->batch_outer * g->batch_inner * gemm_splits(g->split_m) * gemm_splits(g->split_n);
}

/* The first unit of a product is its largest, but a smaller one may be blocked otherwise: the
 * maximum over all. */
static size_t gemm_scratch(const void *args) {
  const struct stk_gemm_args *g = args;
  const int64_t parts = gemm_splits(g->split_m) * gemm_splits(g->split_n);
  size_t most = 0;
  for (int64_t u = 0; u < parts && g->batch_outer * g->batch_inner > 0; u++) {
    struct gemm_job job;
    if (gemm_unit(g, u, &job)) {
      const size_t bytes = gemm_block_scratch(&job);
      most = bytes > most ? bytes : most;
    }
  }
  return most;
}

static void gemm_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  for (int64_t u = lo; u < hi; u++) {
    struct gemm_job job;
    if (gemm_unit(args, u, &job)) {
      gemm_block(&job, scratch);
    }
  }
}

const struct stk_kernel KFN(gemm) = {"gemm", gemm_units, gemm_scratch, gemm_run};
