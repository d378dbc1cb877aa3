/* Gradients of maxima over 2 x 2 as lists: for what convolutions do without their zeros.
 *
 * Of four positions at most one has a gradient, and with RELU's mark often none. A channel of an
 * image is a list of (position, gradient) in ascending position.
 *
 * Why no bit differs from a product with the zeros in place: where the other factors are finite, a
 * zero's product is a zero, and adding one changes a chain only where the chain is -0, which it can
 * be only by underflow (it begins at +0). So whoever leaves the zeros out makes sure that those
 * factors are finite and that no result is -0, and else does the work again with the zeros in
 * place.
 */
#ifndef STK_KERNEL_CONV_MAXIMA_H
#define STK_KERNEL_CONV_MAXIMA_H

#include "engine/kernel/finite.h"
#include "engine/kernel/kernel.h"
#include "engine/kernel/vec.h"

enum { MAXIMA_LIST = 1024 + 16 }; /* one more vector than there may be maxima of a channel */

/* A channel of an image: ascending positions in the padded plane, and the gradients there. */
struct maxima_list {
  int32_t at[MAXIMA_LIST];
  real g[MAXIMA_LIST];
};

/* Of one channel of an image. */
struct maxima_shape {
  int64_t oh, ow, pitch; /* outputs of the convolution; positions in a padded row */
  uint64_t *order;       /* [256]: AVX2's compress */
};

#if !defined(STK_ISA_REF)
#include <immintrin.h>

/* Steps and dilations of one, and a list that holds a channel's maxima. */
static bool maxima_fit(const struct stk_conv_shape *s) {
  return s->stride_h == 1 && s->stride_w == 1 && s->dil_h == 1 && s->dil_w == 1 &&
         s->oh * s->ow / 4 + V_LANES <= MAXIMA_LIST;
}

/* order: the numbers of a byte's bits that are set, a byte each, ascending. */
static void maxima_prepare(const struct maxima_shape *m) {
#if defined(STK_ISA_AVX2)
  m->order[0] = 0;
  for (uint32_t bits = 1; bits < 256; bits++) {
    const uint32_t low = (uint32_t)__builtin_ctz(bits);
    m->order[bits] = m->order[bits & (bits - 1)] << 8 | low;
  }
#else
  (void)m;
#endif
}

/* The elements of `mask` go to the end of the list, n long. */
V_INLINE int64_t maxima_append(const struct maxima_shape *m, struct maxima_list *to, int64_t n,
                               vreal g, vint at, vmask mask) {
#if defined(STK_ISA_AVX512)
  (void)m;
  _mm512_storeu_ps(to->g + n, _mm512_maskz_compress_ps(mask.m, g.v));
  _mm512_storeu_si512(to->at + n, _mm512_maskz_compress_epi32(mask.m, at.v));
  return n + __builtin_popcount(mask.m);
#else
  const uint32_t bits = v_mask_bits(mask);
  for (int half = 0; half < 2; half++) {
    const uint32_t here = bits >> 8 * half & 255;
    const __m256i order = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)m->order[here]));
    const __m256i at8 = _mm256_permutevar8x32_epi32(half ? at.hi : at.lo, order);
    _mm256_storeu_ps(to->g + n, _mm256_permutevar8x32_ps(half ? g.hi : g.lo, order));
    _mm256_storeu_si256((__m256i *)(void *)(to->at + n), at8);
    n += __builtin_popcount(here);
  }
  return n;
#endif
}

V_INLINE vmask maxima_mask(vreal g, vint col, vint width) {
  return v_mask_and(vi_ltu(col, width), v_ne(g, v_zero()));
}

/* The n <= 8 elements, and zeros after them, in both halves. */
V_INLINE vint maxima_twice_int(const int32_t *p, int64_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i half =
      _mm256_maskload_epi32(p, _mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)n), lane));
#if defined(STK_ISA_AVX512)
  return (vint){_mm512_broadcast_i32x8(half)};
#else
  return (vint){half, half};
#endif
}

V_INLINE vreal maxima_twice(const real *p, int64_t n) {
  const vint bits = maxima_twice_int((const int32_t *)(const void *)p, n);
#if defined(STK_ISA_AVX512)
  return (vreal){_mm512_castsi512_ps(bits.v)};
#else
  return (vreal){_mm256_castsi256_ps(bits.lo), _mm256_castsi256_ps(bits.hi)};
#endif
}

/* Two rows of outputs, whose maxima are up to eight: once for either row. */
static void maxima_fill_pairs(const struct maxima_shape *m, const real *g, const int32_t *argmax,
                              struct maxima_list *to, int32_t *start) {
  const int64_t ow = m->ow, cols = ow / 2;
  const vint width = vi_set1((int32_t)ow);
  const vmask low = v_mask_n(8);
  const vint second = vi_select(low, vi_set1(0), width);
  const vint padding = vi_select(low, vi_set1(0), vi_set1((int32_t)m->pitch));
  int64_t n = 0;
  for (int64_t i = 0; i < m->oh / 2; i++) {
    const vreal value = maxima_twice(g + i * cols, cols);
    const vint place = maxima_twice_int(argmax + i * cols, cols);
    const vint col = vi_sub(vi_sub(place, vi_set1((int32_t)(2 * i * ow))), second);
    const vint at = vi_add(vi_add(col, padding), vi_set1((int32_t)(2 * i * m->pitch)));
    const vmask mask = maxima_mask(value, col, width);
    start[2 * i] = (int32_t)n;
    start[2 * i + 1] = (int32_t)n + __builtin_popcount(v_mask_bits(mask) & 255);
    n = maxima_append(m, to, n, value, at, mask);
  }
  start[m->oh] = (int32_t)n;
}

static void maxima_fill(const struct maxima_shape *m, const real *g, const int32_t *argmax,
                        struct maxima_list *to, int32_t *start) {
  const int64_t ow = m->ow, cols = ow / 2;
  const vint width = vi_set1((int32_t)ow);
  int64_t n = 0;
  if (cols <= 8) {
    maxima_fill_pairs(m, g, argmax, to, start);
    return;
  }
  for (int64_t row = 0; row < m->oh; row++) {
    const int64_t from = row / 2 * cols;
    const vint first = vi_set1((int32_t)(row * ow));
    const vint padded = vi_set1((int32_t)(row * m->pitch));
    start[row] = (int32_t)n;
    for (int64_t j = 0; j < cols; j += V_LANES) {
      const int64_t here = cols - j < V_LANES ? cols - j : V_LANES;
      const vreal value = v_load_n(g + from + j, here); /* zeros beyond the row */
      const vint col = vi_sub(vi_load_n(argmax + from + j, here), first);
      n = maxima_append(m, to, n, value, vi_add(col, padded), maxima_mask(value, col, width));
    }
  }
  start[m->oh] = (int32_t)n;
}

V_INLINE __m256i maxima_minus_zeros(__m256 x) {
  return _mm256_cmpeq_epi32(_mm256_castps_si256(x), _mm256_set1_epi32(INT32_MIN));
}

#endif

#endif
