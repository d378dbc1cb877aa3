/* Register tile for AVX2 + FMA, f32: 6 rows x 2 vectors of 8 (12 accumulators, 2 for B, 1 for A).
 * */
#ifndef STK_KERNEL_GEMM_TILE_AVX2_H
#define STK_KERNEL_GEMM_TILE_AVX2_H

#include <immintrin.h>

enum { GEMM_MR = 6, GEMM_VL = 8 };

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

#endif
