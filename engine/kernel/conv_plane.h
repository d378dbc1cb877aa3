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

/* Whole vectors of `value`: up to 15 elements more than n. */
V_INLINE void plane_fill_over(real *to, int64_t n, real value) {
  if (n > 0) {
    v_store(to, v_set1(value));
  }
  for (int64_t i = V_LANES; i < n; i += V_LANES) {
    v_store(to + i, v_set1(value));
  }
}

/* Asks for n reals that a later image needs, while this one is computed: between two images the
 * CPU's own prefetch has forgotten them. */
V_INLINE void plane_prefetch(const real *p, int64_t n) {
  for (int64_t i = 0; i < n; i += 64 / (int64_t)sizeof(real)) {
    __builtin_prefetch(p + i, 0, 2);
  }
}

/* The lanes i .. i + 15 of a row that lie from `left` to end - 1. */
V_INLINE vmask plane_inside(int64_t i, int64_t left, int64_t end) {
  const int64_t first = left - i < 0 ? 0 : left - i < V_LANES ? left - i : V_LANES;
  const int64_t last = end - i < 0 ? 0 : end - i < V_LANES ? end - i : V_LANES;
  return v_mask_and(v_mask_n(last), v_mask_not(v_mask_n(first)));
}

V_INLINE vreal plane_masked(const real *from, vmask inside, real pad) {
  const vreal x = v_load_mask(from, inside);
  return pad == 0 ? x : v_select(inside, x, v_set1(pad));
}

/* rows x pitch elements; the columns from `left` to end - 1 are from[0], from[1], ..., rows of
 * `from` being `width` apart, the others `pad`. A row's surplus is overwritten by the next one. */
V_INLINE void plane_rows(real *to, int64_t pitch, int64_t rows, const real *from, int64_t width,
                         int64_t left, int64_t end, real pad) {
  from -= left;
  if (pitch <= V_LANES) {
    const vmask inside = plane_inside(0, left, end);
    for (int64_t i = 0; i < rows; i++) {
      v_store(to + i * pitch, plane_masked(from + i * width, inside, pad));
    }
    return;
  }
  const vmask first = plane_inside(0, left, end);
  const int64_t last_at = (pitch - 1) / V_LANES * V_LANES;
  const vmask last = plane_inside(last_at, left, end);
  for (int64_t i = 0; i < rows; i++) {
    v_store(to, plane_masked(from, first, pad));
    for (int64_t j = V_LANES; j < last_at; j += V_LANES) {
      const bool whole = j >= left && j + V_LANES <= end;
      v_store(to + j,
              whole ? v_load(from + j) : plane_masked(from + j, plane_inside(j, left, end), pad));
    }
    v_store(to + last_at, plane_masked(from + last_at, last, pad));
    to += pitch;
    from += width;
  }
}

/* plane_load of one phase of one channel without strides along the width. `row` is the image's row
 * of the first one, stride_h apart. */
V_INLINE void plane_load1(const struct plane *pl, real *to, struct image im, int64_t row,
                          int64_t rows, real pad) {
  const int64_t step = pl->stride_h, pitch = pl->pitch;
  int64_t above = row < 0 ? plane_ceil_div(-row, step) : 0;
  int64_t below = row < im.h ? plane_ceil_div(im.h - row, step) : 0;
  above = above < rows ? above : rows;
  below = below < rows ? below : rows;
  below = below > above ? below : above;
  int64_t left = pl->col0 < 0 ? -pl->col0 : 0, end = im.w - pl->col0;
  left = left < pitch ? left : pitch;
  end = end < pitch ? end : pitch;
  end = end > left ? end : left;
  plane_fill_over(to, above * pitch, pad);
  plane_rows(to + above * pitch, pitch, below - above,
             im.p + (row + above * step) * im.w + pl->col0 + left, step * im.w, left, end, pad);
  plane_fill_over(to + below * pitch, (rows - below) * pitch, pad);
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
  for (int64_t i = left; i < end; i++) {
    to[i] = im.p[row * im.w + col + i * step];
  }
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
      if (pl->stride_w == 1) {
        plane_load1(pl, phase, im, pl->row0 + a, rows, pad);
        continue;
      }
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
