/* Register tile for AVX2 + FMA, f32: 6 rows x 2 vectors of 8: 12 accumulators, 2 for B, 2 for A.
 *
 * The loop over k is tile_loop.h's. Accumulator (row r, vector v) is ymm(2 r + v), B's line ymm12
 * and ymm13, and A's elements are broadcast into ymm14 and ymm15 in turn.
 */
#ifndef STK_KERNEL_GEMM_TILE_AVX2_H
#define STK_KERNEL_GEMM_TILE_AVX2_H

#include <immintrin.h>

#define GEMM_OWN_LOOP

enum { GEMM_MR = 6, GEMM_VL = 8, GEMM_NV = 2 };

#define GEMM_ROWS(X, p) X(1, p) X(2, p) X(3, p) X(4, p) X(5, p) X(6, p)

typedef __m256 tv;
typedef __m256i tv_mask;

V_INLINE tv tv_zero(void) {
  return _mm256_setzero_ps();
}

V_INLINE tv tv_load(const real *p) {
  return _mm256_loadu_ps(p);
}

V_INLINE void tv_store(real *p, tv x) {
  _mm256_storeu_ps(p, x);
}

V_INLINE tv tv_all(const real *p) {
  return _mm256_broadcast_ss(p);
}

V_INLINE tv tv_add(tv x, tv y) {
  return _mm256_add_ps(x, y);
}

V_INLINE tv tv_fma(tv x, tv y, tv z) {
  return _mm256_fmadd_ps(x, y, z);
}

/* x < 0 ? 0 : x */
V_INLINE tv tv_relu(tv x) {
  return _mm256_max_ps(_mm256_setzero_ps(), x);
}

/* The first n lanes; n may be negative or beyond 8. */
V_INLINE tv_mask tv_first(int64_t n) {
  const int32_t lanes = n < 0 ? 0 : n > GEMM_VL ? GEMM_VL : (int32_t)n;
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

V_INLINE tv tv_load_some(const real *p, tv_mask m) {
  return _mm256_maskload_ps(p, m);
}

V_INLINE void tv_store_some(real *p, tv_mask m, tv x) {
  _mm256_maskstore_ps(p, m, x);
}

#define GEMM_V "%%ymm" /* a register without its number, its bytes, and the two of B's line */
#define GEMM_V_BYTES "32"
#define GEMM_RIGHT_1 GEMM_V "12"
#define GEMM_RIGHT_2 GEMM_V "13"

/* Rows 0 .. mr-1 of one step in k; A(row) is the address of the row's element. */
#define GEMM_STEP_1(FMA, A) FMA(A(0), "14", "0", "1")
#define GEMM_STEP_2(FMA, A) GEMM_STEP_1(FMA, A) FMA(A(1), "15", "2", "3")
#define GEMM_STEP_3(FMA, A) GEMM_STEP_2(FMA, A) FMA(A(2), "14", "4", "5")
#define GEMM_STEP_4(FMA, A) GEMM_STEP_3(FMA, A) FMA(A(3), "15", "6", "7")
#define GEMM_STEP_5(FMA, A) GEMM_STEP_4(FMA, A) FMA(A(4), "14", "8", "9")
#define GEMM_STEP_6(FMA, A) GEMM_STEP_5(FMA, A) FMA(A(5), "15", "10", "11")

#define GEMM_A_LINE "24" /* bytes of a line of A's panel, and of B's */
#define GEMM_B_LINE "64"

#define GEMM_ZEROS \
  ".irp i,0,1,2,3,4,5,6,7,8,9,10,11\n\tvxorps %%xmm\\i, %%xmm\\i, %%xmm\\i\n\t.endr\n\t"

#define GEMM_CLOBBERS                                                                      \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
      "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc", "memory"

#endif
