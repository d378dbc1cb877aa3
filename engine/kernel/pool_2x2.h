/* Maxima over windows of 2 x 2 side by side without padding, the commonest pooling, row by row, and
 * their gradients: for the kernels of pool.c, and for convolutions that take a pooling in.
 *
 * x is a plane of 2 ow columns or one more, of which the last then belongs to no window.
 */
#ifndef STK_KERNEL_POOL_2X2_H
#define STK_KERNEL_POOL_2X2_H

#include "engine/kernel/kernel.h"
#include "engine/kernel/vec.h"

V_INLINE bool is_2x2(const struct stk_conv_shape *s) {
  return s->kh == 2 && s->kw == 2 && s->stride_h == 2 && s->stride_w == 2 && s->pad_h == 0 &&
         s->pad_w == 0;
}

/* x takes the lead where it is greater, or the first NaN. */
V_INLINE void pool_beats(vreal x, vint at, vreal *best, vint *place) {
  const vmask wins = v_mask_and(v_mask_not(v_le(x, *best)), v_eq(*best, *best));
  *best = v_select(wins, x, *best);
  *place = vi_select(wins, at, *place);
}

/* even[i] = element 2 i, odd[i] = element 2 i + 1 of the 32 in a and b. */
V_INLINE void pool_halves(vreal a, vreal b, vreal *even, vreal *odd) {
#if defined(STK_ISA_AVX512)
  const __m512i first = vi_add(vi_iota(), vi_iota()).v;
  const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(1));
  even->v = _mm512_permutex2var_ps(a.v, first, b.v);
  odd->v = _mm512_permutex2var_ps(a.v, second, b.v);
#elif defined(STK_ISA_AVX2)
#define HALF(X, MASK) \
  _mm256_castpd_ps(   \
      _mm256_permute4x64_pd(_mm256_castps_pd(_mm256_shuffle_ps((X).lo, (X).hi, (MASK))), 0xd8))
  *even = (vreal){HALF(a, 0x88), HALF(b, 0x88)};
  *odd = (vreal){HALF(a, 0xdd), HALF(b, 0xdd)};
#undef HALF
#else
  real in[2 * V_LANES], out[2 * V_LANES];
  v_store(in, a);
  v_store(in + V_LANES, b);
  for (int i = 0; i < 2 * V_LANES; i++) {
    out[i % 2 * V_LANES + i / 2] = in[i];
  }
  *even = v_load(out);
  *odd = v_load(out + V_LANES);
#endif
}

/* The other way: even[0], odd[0], even[1], ... in a and b. */
V_INLINE void pool_weave(vreal even, vreal odd, vreal *a, vreal *b) {
#if defined(STK_ISA_AVX512)
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  a->v = _mm512_permutex2var_ps(even.v, low, odd.v);
  b->v = _mm512_permutex2var_ps(even.v, high, odd.v);
#elif defined(STK_ISA_AVX2)
#define WEAVE(X, Y, HALF) \
  _mm256_permute2f128_ps(_mm256_unpacklo_ps((X), (Y)), _mm256_unpackhi_ps((X), (Y)), (HALF))
  *a = (vreal){WEAVE(even.lo, odd.lo, 0x20), WEAVE(even.lo, odd.lo, 0x31)};
  *b = (vreal){WEAVE(even.hi, odd.hi, 0x20), WEAVE(even.hi, odd.hi, 0x31)};
#undef WEAVE
#else
  real in[2 * V_LANES], out[2 * V_LANES];
  v_store(in, even);
  v_store(in + V_LANES, odd);
  for (int i = 0; i < 2 * V_LANES; i++) {
    out[i] = in[i % 2 * V_LANES + i / 2];
  }
  *a = v_load(out);
  *b = v_load(out + V_LANES);
#endif
}

/* Both halves of the 32 elements of a row from column j, missing ones as +0. */
V_INLINE void pool_pair(const real *row, int64_t j, int64_t w, vreal *even, vreal *odd) {
  const int64_t left = w - j;
  if (left >= 2 * V_LANES) {
    pool_halves(v_load(row + j), v_load(row + j + V_LANES), even, odd);
  } else if (left >= V_LANES) {
    pool_halves(v_load(row + j), v_load_n(row + j + V_LANES, left - V_LANES), even, odd);
  } else {
    pool_halves(v_load_n(row + j, left), v_zero(), even, odd);
  }
}

/* 16 maxima of the pairs of columns in two rows (even and odd columns of each), the first element
 * of a window starting, and their places: `corner` is the first window's. */
V_INLINE vreal pool_max_16(vreal x00, vreal x01, vreal x10, vreal x11, int64_t corner, int64_t w,
                           bool mark, vint *out_place) {
  const vint at = vi_add(vi_set1((int32_t)corner), vi_add(vi_iota(), vi_iota()));
  vreal best = x00;
  vint place = at;
  pool_beats(x01, vi_add(at, vi_set1(1)), &best, &place);
  pool_beats(x10, vi_add(at, vi_set1((int32_t)w)), &best, &place);
  pool_beats(x11, vi_add(at, vi_set1((int32_t)w + 1)), &best, &place);
  *out_place = mark ? vi_select(v_le(best, v_zero()), vi_set1(-1), place) : place;
  return best;
}

/* n of them, of which `room` have room. */
V_INLINE void pool_store(real *y, int32_t *argmax, vreal best, vint place, int64_t n,
                         int64_t room) {
  if (n >= V_LANES || room >= V_LANES) {
    v_store(y, best);
    vi_store(argmax, place);
  } else {
    v_store_n(y, best, n);
    vi_store_n(argmax, place, n);
  }
}

/* Rows first .. first + rows - 1 of the outputs (rows x ow at y and argmax) of a plane of w columns
 * whose row 2 first is at x. mark: -1 for the place of a maximum <= 0. A surplus falls on later
 * rows, which are stored later. */
V_INLINE void pool_max_2x2(const real *x, int64_t w, real *y, int32_t *argmax, int64_t first,
                           int64_t rows, int64_t ow, bool mark) {
  const bool narrow = ow <= V_LANES; /* a row is one vector: its masks are made once */
  const vmask low = v_mask_n(w < V_LANES ? w : V_LANES);
  const vmask high = v_mask_n(w < V_LANES ? 0 : w < 2 * V_LANES ? w - V_LANES : V_LANES);
  for (int64_t i = 0; i < rows; i++) {
    const real *top = x + 2 * i * w, *bottom = top + w;
    const int64_t out = i * ow, corner = 2 * (first + i) * w;
    vreal x00, x01, x10, x11;
    vint place;
    if (narrow) {
      pool_halves(v_load_mask(top, low), v_load_mask(top + V_LANES, high), &x00, &x01);
      pool_halves(v_load_mask(bottom, low), v_load_mask(bottom + V_LANES, high), &x10, &x11);
      const vreal best = pool_max_16(x00, x01, x10, x11, corner, w, mark, &place);
      pool_store(y + out, argmax + out, best, place, ow, rows * ow - out);
      continue;
    }
    for (int64_t j = 0; j < ow; j += V_LANES) {
      pool_pair(top, 2 * j, w, &x00, &x01);
      pool_pair(bottom, 2 * j, w, &x10, &x11);
      const vreal best = pool_max_16(x00, x01, x10, x11, corner + 2 * j, w, mark, &place);
      pool_store(y + out + j, argmax + out + j, best, place, ow - j, rows * ow - out - j);
    }
  }
}

/* The gradients of rows `row`, which is even, and row + 1 of a plane of 2 ow columns, 32 elements
 * each from column 2 j: g where the maximum was, else +0. g and argmax are of the n <= 16 outputs
 * from j on that these rows hold; beyond them it is +0. */
struct pool_rows {
  vreal top[2], bottom[2];
};

V_INLINE struct pool_rows unpool_2x2(const real *g, const int32_t *argmax, int64_t row, int64_t j,
                                     int64_t ow, int64_t n) {
  const int32_t first = (int32_t)(2 * (row * ow + j)), w = (int32_t)(2 * ow);
  const vreal sum = v_add(v_zero(), v_load_n(g, n));
  /* Where in the window, less its number's share: 0, 1, w or w + 1. */
  const vint at =
      vi_sub(vi_sub(vi_load_n(argmax, n), vi_set1(first)), vi_add(vi_iota(), vi_iota()));
  struct pool_rows r;
#define UNPOOL_AT(PLACE) v_select(vi_eq(at, vi_set1(PLACE)), sum, v_zero())
  pool_weave(UNPOOL_AT(0), UNPOOL_AT(1), &r.top[0], &r.top[1]);
  pool_weave(UNPOOL_AT(w), UNPOOL_AT(w + 1), &r.bottom[0], &r.bottom[1]);
#undef UNPOOL_AT
  return r;
}

#endif
