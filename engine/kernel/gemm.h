/* Matrix products with a fixed order of operations: C = act(A.B + bias), or C += A.B.
 *
 * The arithmetic, element by element (docs/numerics.md, "Matrix products"); nothing else can be
 * seen in the bits:
 *   1. k ascends in chunks of STK_GEMM_CHUNK. In a chunk: acc = +0, then acc = fma(a, b, acc).
 *   2. product = chunk 0; product = product + chunk 1, + chunk 2, ... With k = 0 it is +0.
 *   3. accumulate: x = c_old + product; otherwise x = product.
 *   4. bias: x = x + bias[j] (per column) or x + bias[i] (per row).
 *   5. relu: x = x < 0 ? 0 : x, so NaN stays NaN and -0 stays -0.
 * fma is IEEE fusedMultiplyAdd in the element type under the engine's rounding and denormal mode
 * (exec/fpenv.h). The sign and payload of a NaN are not specified. C is neither read (without
 * accumulate) nor touched outside its m x n elements, and overlaps no operand.
 *
 * Matrices are row-major: A is m x k with row stride lda (ta: stored k x m), B is k x n with row
 * stride ldb (tb: stored n x k), C is m x n with row stride ldc. Strides are in elements. A sum
 * over the rows of B is a product with a row of ones: m = 1, ta, lda = 0 and a single 1 in A.
 *
 * Batches have two levels: product (o, i), o < batch_outer, i < batch_inner, takes its operands at
 * o * x_outer + i * x_inner. A stride of 0 broadcasts an operand; C's products must be disjoint. A
 * count of 0 means no product; a single one has both counts 1.
 */
#ifndef STK_KERNEL_GEMM_H
#define STK_KERNEL_GEMM_H

#include <stdbool.h>

#include "engine/kernel/kernel.h"

enum { STK_GEMM_CHUNK = 256 };

enum stk_gemm_bias { STK_GEMM_BIAS_NONE, STK_GEMM_BIAS_COLUMN, STK_GEMM_BIAS_ROW };
enum stk_gemm_act { STK_GEMM_ACT_NONE, STK_GEMM_ACT_RELU };

struct stk_gemm_args {
  const void *a, *b; /* elements of the variant's type */
  void *c;
  const void *bias; /* n (column) or m (row) elements, unless BIAS_NONE */
  int64_t m, n, k;
  int64_t lda, ldb, ldc;
  int64_t batch_outer, batch_inner;
  int64_t a_outer, a_inner; /* element strides between the batch's products */
  int64_t b_outer, b_inner;
  int64_t c_outer, c_inner;
  int64_t bias_outer, bias_inner;
  bool ta, tb, accumulate;
  enum stk_gemm_bias bias_kind;
  enum stk_gemm_act act;
  int32_t split_m, split_n; /* units of one product; 0 means 1 */
};

/* Chooses split_m and split_n for a number of threads: few units, so that little is packed twice.
 * Call it once, when everything else in args is set. Speed only; never visible in the result. */
void stk_gemm_split(struct stk_gemm_args *args, int n_threads);

#endif
