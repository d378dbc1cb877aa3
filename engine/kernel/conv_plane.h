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

enum { PLANE_SLACK = 64 };

struct plane {
  int64_t row0, col0;
  int64_t stride_h, stride_w;
  int64_t rows, pitch;      /* of one phase */
  int64_t phase, channel;   /* elements of one phase, of one channel (all phases) */
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
  *pl = (struct plane){0, 0, stride_h, stride_w, rows, pitch, rows * pitch,
                       stride_h * stride_w * rows * pitch};
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
  } else if (step == 2) {
    for (; i < n; i++) {
      to[i] = from[2 * i];
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

/* Copies rows 0 .. rows-1 of every phase of `channels` consecutive channels. Ascending, so that a
 * row's surplus is overwritten by what follows it; only PLANE_SLACK keeps some. */
V_INLINE void plane_load(const struct plane *pl, real *to, struct image im, int64_t channels,
                         int64_t rows, real pad) {
  for (int64_t c = 0; c < channels; c++) {
    for (int64_t a = 0; a < pl->stride_h; a++) {
      for (int64_t b = 0; b < pl->stride_w; b++) {
        real *phase = to + c * pl->channel + (a * pl->stride_w + b) * pl->phase;
        for (int64_t i = 0; i < rows; i++) {
          plane_row(pl, phase + i * pl->pitch, im, pl->row0 + a + i * pl->stride_h, pl->col0 + b,
                    pad);
        }
      }
    }
    im.p += im.h * im.w;
  }
}

#endif
