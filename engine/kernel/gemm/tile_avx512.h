/* Register tile for AVX-512, f32: 12 rows x 2 vectors of 16 (24 accumulators, 2 for B; A is an
 * embedded broadcast). */
#ifndef STK_KERNEL_GEMM_TILE_AVX512_H
#define STK_KERNEL_GEMM_TILE_AVX512_H

#include <immintrin.h>

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

#endif
