/* Register tile for AVX-512, f32: 12 rows x 2 vectors of 16: 24 accumulators, 2 for B, 6 for A.
 *
 * The loop over k is tile_loop.h's. Accumulator (row r, vector v) is zmm(2 r + v), B's line zmm24
 * and zmm25, and A's elements are broadcast into zmm26 .. zmm31 in turn: a broadcast inside the
 * multiply-add would be a load for each of them, more than CPUs with two such units can load. */
#ifndef STK_KERNEL_GEMM_TILE_AVX512_H
#define STK_KERNEL_GEMM_TILE_AVX512_H

#include <immintrin.h>

#define GEMM_OWN_LOOP

enum { GEMM_MR = 12, GEMM_VL = 16, GEMM_NV = 2 };

#define GEMM_ROWS(X, p) \
  X(1, p) X(2, p) X(3, p) X(4, p) X(5, p) X(6, p) X(7, p) X(8, p) X(9, p) X(10, p) X(11, p) X(12, p)

typedef __m512 tv;
typedef __mmask16 tv_mask;

V_INLINE tv tv_zero(void) {
  return _mm512_setzero_ps();
}

V_INLINE tv tv_load(const real *p) {
  return _mm512_loadu_ps(p);
}

V_INLINE void tv_store(real *p, tv x) {
  _mm512_storeu_ps(p, x);
}

V_INLINE tv tv_all(const real *p) {
  return _mm512_set1_ps(*p);
}

V_INLINE tv tv_add(tv x, tv y) {
  return _mm512_add_ps(x, y);
}

V_INLINE tv tv_fma(tv x, tv y, tv z) {
  return _mm512_fmadd_ps(x, y, z);
}

/* x < 0 ? 0 : x */
V_INLINE tv tv_relu(tv x) {
  return _mm512_max_ps(_mm512_setzero_ps(), x);
}

/* The first n lanes; n may be negative or beyond 16. */
V_INLINE tv_mask tv_first(int64_t n) {
  const uint32_t lanes = n < 0 ? 0 : n > GEMM_VL ? GEMM_VL : (uint32_t)n;
  return (tv_mask)((1u << lanes) - 1u);
}

V_INLINE tv tv_load_some(const real *p, tv_mask m) {
  return _mm512_maskz_loadu_ps(m, p);
}

V_INLINE void tv_store_some(real *p, tv_mask m, tv x) {
  _mm512_mask_storeu_ps(p, m, x);
}

#define GEMM_V "%%zmm" /* a register without its number, its bytes, and the two of B's line */
#define GEMM_V_BYTES "64"
#define GEMM_RIGHT_1 GEMM_V "24"
#define GEMM_RIGHT_2 GEMM_V "25"

/* Rows 0 .. mr-1 of one step in k; A(row) is the address of the row's element. */
#define GEMM_STEP_1(FMA, A) FMA(A(0), "26", "0", "1")
#define GEMM_STEP_2(FMA, A) GEMM_STEP_1(FMA, A) FMA(A(1), "27", "2", "3")
#define GEMM_STEP_3(FMA, A) GEMM_STEP_2(FMA, A) FMA(A(2), "28", "4", "5")
#define GEMM_STEP_4(FMA, A) GEMM_STEP_3(FMA, A) FMA(A(3), "29", "6", "7")
#define GEMM_STEP_5(FMA, A) GEMM_STEP_4(FMA, A) FMA(A(4), "30", "8", "9")
#define GEMM_STEP_6(FMA, A) GEMM_STEP_5(FMA, A) FMA(A(5), "31", "10", "11")
#define GEMM_STEP_7(FMA, A) GEMM_STEP_6(FMA, A) FMA(A(6), "26", "12", "13")
#define GEMM_STEP_8(FMA, A) GEMM_STEP_7(FMA, A) FMA(A(7), "27", "14", "15")
#define GEMM_STEP_9(FMA, A) GEMM_STEP_8(FMA, A) FMA(A(8), "28", "16", "17")
#define GEMM_STEP_10(FMA, A) GEMM_STEP_9(FMA, A) FMA(A(9), "29", "18", "19")
#define GEMM_STEP_11(FMA, A) GEMM_STEP_10(FMA, A) FMA(A(10), "30", "20", "21")
#define GEMM_STEP_12(FMA, A) GEMM_STEP_11(FMA, A) FMA(A(11), "31", "22", "23")

#define GEMM_A_LINE "48" /* bytes of a line of A's panel, and of B's */
#define GEMM_B_LINE "128"

#define GEMM_ZEROS                                                                            \
  ".irp i,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23\n\tvpxord %%zmm\\i, " \
  "%%zmm\\i, %%zmm\\i\n\t.endr\n\t"

#define GEMM_CLOBBERS                                                                           \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",      \
      "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", \
      "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", \
      "xmm31", "cc", "memory"

#endif
