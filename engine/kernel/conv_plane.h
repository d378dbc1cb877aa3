/* Padded copies of image planes, for the kernels of conv.c, conv_dw.c and pool.c.
 *
 * A window of the source (rows from row0, columns from col0, both may lie outside the image) is
 * copied channel by channel, everything outside the image as `pad`. With strides the window is cut
 * into stride_h * stride_w phases, phase (a, b) holding the source rows row0 + a + i * stride_h and
 * the columns col0 + b + j * stride_w. So the neighbour of output (i, j) at a fixed displacement is
 * at a fixed distance from i * pitch + j, whatever the stride: kernels load 16 of them at once.
 * A copy writes, and readers may read, up to PLANE_SLACK elements past the last channel.
 */
#ifndef STK_KERNEL_CONV_PLANE_H
#define STK_KERNEL_CONV_PLANE_H

#include "engine/kernel/kernel.h"
#include "engine/kernel/vec.h"

#if !defined(STK_ISA_REF)
#include <immintrin.h>
#endif

enum { PLANE_SLACK = 64 };

struct plane {
  int64_t row0, col0;
  int64_t stride_h, stride_w;
  int64_t rows, pitch;    /* of one phase */
  int64_t phase, channel; /* elements of one phase, of one channel (all phases) */
};

struct image {
  const real *p;
  int64_t h, w;
};

V_INLINE int64_t plane_ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

V_INLINE void plane_set(struct plane *pl, int64_t stride_h, int64_t stride_w, int64_t rows,
                        int64_t pitch) {
  const int64_t phase = rows * pitch + (stride_w > 1 ? V_LANES : 0); /* phases fill side by side */
  *pl = (struct plane){0, 0, stride_h, stride_w, rows, pitch, phase, stride_h * stride_w * phase};
}

/* The distance of the element displaced by (dh, dw) >= 0 from the window's first. */
V_INLINE int64_t plane_at(const struct plane *pl, int64_t dh, int64_t dw) {
  const int64_t phase = dh % pl->stride_h * pl->stride_w + dw % pl->stride_w;
  return phase * pl->phase + dh / pl->stride_h * pl->pitch + dw / pl->stride_w;
}

V_INLINE void plane_fill(real *to, int64_t n, real value) {
  for (int64_t i = 0; i < n; i++) {
    to[i] = value;
  }
}

/* n elements at distance `step`; at step 1 whole vectors are written. */
V_INLINE void plane_copy(real *to, const real *from, int64_t n, int64_t step) {
  int64_t i = 0;
  if (step == 1) {
    for (; i + V_LANES <= n; i += V_LANES) {
      v_store(to + i, v_load(from + i));
    }
    if (i < n) {
      v_store(to + i, v_load_n(from + i, n - i));
    }
  } else {
    for (; i < n; i++) {
      to[i] = from[step * i];
    }
  }
}

/* One row of one phase: `row` of the image from column col, every stride_w-th. */
V_INLINE void plane_row(const struct plane *pl, real *to, struct image im, int64_t row, int64_t col,
                        real pad) {
  if (row < 0 || row >= im.h) {
    plane_fill(to, pl->pitch, pad);
    return;
  }
  const int64_t step = pl->stride_w;
  int64_t left = col < 0 ? plane_ceil_div(-col, step) : 0;
  int64_t end = col < im.w ? plane_ceil_div(im.w - col, step) : 0;
  left = left < pl->pitch ? left : pl->pitch;
  end = end < pl->pitch ? end : pl->pitch;
  end = end > left ? end : left;
  plane_fill(to, left, pad);
  plane_copy(to + left, im.p + row * im.w + col + left * step, end - left, step);
  plane_fill(to + end, pl->pitch - end, pad);
}

/* even[i] = from[2 i], odd[i] = from[2 i + 1] of w elements; up to 8 more are written. */
V_INLINE void plane_halves(real *even, real *odd, const real *from, int64_t w) {
#if defined(STK_ISA_REF)
  for (int64_t i = 0; i < w; i++) {
    (i % 2 ? odd : even)[i / 2] = from[i];
  }
#else
  for (int64_t i = 0; i < w; i += V_LANES) {
    float tail[V_LANES];
    const float *at = from + i;
    if (w - i < V_LANES) {
      v_store(tail, v_load_n(at, w - i));
      at = tail;
    }
    const __m256 a = _mm256_loadu_ps(at), b = _mm256_loadu_ps(at + 8);
    const __m256d e = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88));
    const __m256d o = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0xdd));
    _mm256_storeu_ps(even + i / 2, _mm256_castpd_ps(_mm256_permute4x64_pd(e, 0xd8)));
    _mm256_storeu_ps(odd + i / 2, _mm256_castpd_ps(_mm256_permute4x64_pd(o, 0xd8)));
  }
#endif
}

/* plane_row of both column phases with stride 2; the image reaches into the window from the left
 * (col0 <= 0) and ends in it. */
V_INLINE void plane_row2(const struct plane *pl, real *phase, struct image im, int64_t row,
                         real pad) {
  real *const half[2] = {phase, phase + pl->phase};
  if (row < 0 || row >= im.h) {
    plane_fill(half[0], pl->pitch, pad);
    plane_fill(half[1], pl->pitch, pad);
    return;
  }
  const int64_t t = -pl->col0;
  real *const even = half[t % 2], *const odd = half[(t + 1) % 2];
  const int64_t even_at = t / 2, odd_at = (t + 1) / 2;
  plane_fill(even, even_at, pad);
  plane_fill(odd, odd_at, pad);
  plane_halves(even + even_at, odd + odd_at, im.p + row * im.w, im.w);
  const int64_t even_end = even_at + (im.w + 1) / 2, odd_end = odd_at + im.w / 2;
  plane_fill(even + even_end, pl->pitch - even_end, pad);
  plane_fill(odd + odd_end, pl->pitch - odd_end, pad);
}

/* Copies rows 0 .. rows-1 of every phase of `channels` consecutive channels. Rows ascend within a
 * phase, so that a row's surplus is overwritten by what follows; what lies after the phase's last
 * row may keep some. */
V_INLINE void plane_load(const struct plane *pl, real *to, struct image im, int64_t channels,
                         int64_t rows, real pad) {
  const int64_t reach = 2 * pl->pitch + pl->col0; /* image columns in a window of stride 2 */
  const bool halves = pl->stride_w == 2 && pl->col0 <= 0 && im.w <= reach;
  for (int64_t c = 0; c < channels; c++) {
    for (int64_t a = 0; a < pl->stride_h; a++) {
      real *phase = to + c * pl->channel + a * pl->stride_w * pl->phase;
      for (int64_t i = 0; i < rows; i++) {
        const int64_t row = pl->row0 + a + i * pl->stride_h;
        if (halves) {
          plane_row2(pl, phase + i * pl->pitch, im, row, pad);
          continue;
        }
        for (int64_t b = 0; b < pl->stride_w; b++) {
          plane_row(pl, phase + b * pl->phase + i * pl->pitch, im, row, pl->col0 + b, pad);
        }
      }
    }
    im.p += im.h * im.w;
  }
}

#endif
