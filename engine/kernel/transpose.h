/* Transposes of 32-bit elements, eight by eight, for kernels that keep channels side by side. */
#ifndef STK_KERNEL_TRANSPOSE_H
#define STK_KERNEL_TRANSPOSE_H

#include "engine/kernel/vec.h"

#if !defined(STK_ISA_REF)
#include <immintrin.h>

/* Rows become columns. */
V_INLINE void transpose_registers(__m256 a[8]) {
  __m256 b[8];
  for (int i = 0; i < 8; i += 2) {
    b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
    b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
    a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xee);
    a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
    a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee);
  }
  for (int i = 0; i < 4; i++) {
    b[i] = _mm256_permute2f128_ps(a[i], a[i + 4], 0x20);
    b[i + 4] = _mm256_permute2f128_ps(a[i], a[i + 4], 0x31);
  }
  for (int i = 0; i < 8; i++) {
    a[i] = b[i];
  }
}

/* to[k * to_stride + r] = from[r * stride + k] for r in 0..7 and k < n <= 8; other k up to 7 give
 * +0. */
V_INLINE void transpose8(float *to, int64_t to_stride, const float *from, int64_t stride,
                         int64_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)n), lane);
  __m256 a[8];
  for (int i = 0; i < 8; i++) {
    const float *row = from + i * stride;
    a[i] = n == 8 ? _mm256_loadu_ps(row) : _mm256_maskload_ps(row, mask);
  }
  transpose_registers(a);
  for (int i = 0; i < 8; i++) {
    _mm256_storeu_ps(to + i * to_stride, a[i]);
  }
}
#endif

/* transpose8 for the rows of which 8 are there, n columns; returns their number. */
V_INLINE int64_t transpose_eights(void *to, int64_t to_stride, const void *from, int64_t stride,
                                  int64_t rows, int64_t n) {
  int64_t r = 0;
#if defined(STK_ISA_REF)
  (void)to, (void)to_stride, (void)from, (void)stride, (void)rows, (void)n;
#else
  for (; r + 8 <= rows; r += 8) {
    float *column = (float *)to + r;
    const float *row = (const float *)from + r * stride;
    int64_t k = 0;
    for (; k + 8 <= n; k += 8) {
      transpose8(column + k * to_stride, to_stride, row + k, stride, 8);
    }
    if (k < n) {
      transpose8(column + k * to_stride, to_stride, row + k, stride, n - k);
    }
  }
#endif
  return r;
}

/* to[k * to_stride + r] = from[r * stride + k] for r < rows, k < n; up to 7 rows of `to` more are
 * written where there are eight rows. */
static inline void transpose(real *to, int64_t to_stride, const real *from, int64_t stride,
                             int64_t rows, int64_t n) {
  for (int64_t r = transpose_eights(to, to_stride, from, stride, rows, n); r < rows; r++) {
    for (int64_t k = 0; k < n; k++) {
      to[k * to_stride + r] = from[r * stride + k];
    }
  }
}

#endif
