/* Packing: a block of an operand as panels, each `width` elements wide and contiguous in k.
 *
 * An operand is seen as elements (i, p), i along C's rows (A) or columns (B), p along k. In a
 * panel, element (i, p) of the block lies at panel[p * width + i]; panel q of a block starts at q *
 * width * kc. B's last panel is padded with zeros; A's is not, since its tiles read only the rows
 * that exist. A panel of A may write up to GEMM_PACK_SLACK elements beyond its end, which belong to
 * the next panel or to slack behind the last: pack in ascending order.
 *
 * gemm_source.pack replaces the strided reader: an operand that exists nowhere (im2col) is packed
 * from what it is made of.
 */
#ifndef STK_KERNEL_GEMM_PACK_H
#define STK_KERNEL_GEMM_PACK_H

#include "engine/kernel/gemm/tile.h"

enum { GEMM_PACK_SLACK = 16 };

struct gemm_source {
  const real *p;
  int64_t i_stride, k_stride; /* of element (i, p) from p; one of them is 1 */
  /* Or, if not NULL: fills one panel with elements (i0 .. i0+n-1, p0 .. p0+kc-1), n <= width, and
   * zeros in columns n .. width-1. */
  void (*pack)(const void *ctx, int64_t i0, int64_t n, int64_t width, int64_t p0, int64_t kc,
               real *panel);
  const void *ctx;
  int64_t i0; /* added to the i that pack sees */
};

/* The same operand from its i-th row or column on. */
V_INLINE struct gemm_source gemm_source_from(struct gemm_source s, int64_t i) {
  if (s.pack) {
    s.i0 += i;
  } else {
    s.p += i * s.i_stride;
  }
  return s;
}

#if defined(STK_ISA_REF)

V_INLINE void gemm_pack_rows(const real *x, int64_t stride, int64_t n, int64_t width, int64_t kc,
                             real *panel) {
  for (int64_t p = 0; p < kc; p++) {
    for (int64_t i = 0; i < width; i++) {
      panel[p * width + i] = i < n ? x[i * stride + p] : 0;
    }
  }
}

V_INLINE void gemm_pack_line(const real *x, int64_t n, int64_t width, real *line) {
  for (int64_t i = 0; i < width; i++) {
    line[i] = i < n ? x[i] : 0;
  }
}

#else

/* Four elements of row i in the low half, of row i + 4 in the high one; rows from n on are zero. */
V_INLINE __m256 gemm_load_rows(const real *x, int64_t stride, int i, int64_t n) {
  const __m128 low = i < n ? _mm_loadu_ps(x + i * stride) : _mm_setzero_ps();
  const __m128 high = i + 4 < n ? _mm_loadu_ps(x + (i + 4) * stride) : _mm_setzero_ps();
  return _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
}

/* Columns 0 .. 7 of a panel, the first n of them real, the others zero. Stores are whole vectors:
 * columns beyond the panel's width spill into the next line, which must be written later. */
V_INLINE void gemm_pack_rows8(const real *x, int64_t stride, int64_t n, int64_t width, int64_t kc,
                              real *panel) {
  int64_t p = 0;
  for (; p + 4 <= kc; p += 4) {
    const __m256 x0 = gemm_load_rows(x + p, stride, 0, n), x1 = gemm_load_rows(x + p, stride, 1, n);
    const __m256 x2 = gemm_load_rows(x + p, stride, 2, n), x3 = gemm_load_rows(x + p, stride, 3, n);
    const __m256 low01 = _mm256_unpacklo_ps(x0, x1), high01 = _mm256_unpackhi_ps(x0, x1);
    const __m256 low23 = _mm256_unpacklo_ps(x2, x3), high23 = _mm256_unpackhi_ps(x2, x3);
    real *line = panel + p * width;
    _mm256_storeu_ps(line, _mm256_shuffle_ps(low01, low23, 0x44));
    _mm256_storeu_ps(line + width, _mm256_shuffle_ps(low01, low23, 0xee));
    _mm256_storeu_ps(line + 2 * width, _mm256_shuffle_ps(high01, high23, 0x44));
    _mm256_storeu_ps(line + 3 * width, _mm256_shuffle_ps(high01, high23, 0xee));
  }
  for (; p < kc; p++) {
    for (int64_t i = 0; i < 8; i++) {
      panel[p * width + i] = i < n ? x[i * stride + p] : 0;
    }
  }
}

/* One panel of an operand that is contiguous in k: a transpose, the last eight columns first. */
V_INLINE void gemm_pack_rows(const real *x, int64_t stride, int64_t n, int64_t width, int64_t kc,
                             real *panel) {
  for (int64_t i = (width - 1) / 8 * 8; i >= 0; i -= 8) {
    const real *from = x + i * stride;
    if (n - i >= 8) {
      gemm_pack_rows8(from, stride, 8, width, kc, panel + i);
    } else if (n - i == width % 8) {
      gemm_pack_rows8(from, stride, width % 8, width, kc, panel + i);
    } else {
      gemm_pack_rows8(from, stride, n - i, width, kc, panel + i);
    }
  }
}

/* One line of a panel from n contiguous elements, zeros after them. */
V_INLINE void gemm_pack_line(const real *x, int64_t n, int64_t width, real *line) {
#if defined(STK_ISA_AVX512)
  for (int64_t i = 0; i < width; i += GEMM_VL) {
    tv_store_some(line + i, tv_first(width - i), tv_load_some(x + i, tv_first(n - i)));
  }
#else
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    _mm256_storeu_ps(line + i, _mm256_loadu_ps(x + i));
  }
  for (; i + 4 <= n; i += 4) {
    _mm_storeu_ps(line + i, _mm_loadu_ps(x + i));
  }
  for (; i + 2 <= n; i += 2) {
    _mm_storel_pi((__m64 *)(void *)(line + i),
                  _mm_loadl_pi(_mm_setzero_ps(), (const __m64 *)(const void *)(x + i)));
  }
  for (; i < width; i++) {
    line[i] = i < n ? x[i] : 0;
  }
#endif
}

#endif

/* Packs elements (i0 .. i0+n-1, p0 .. p0+kc-1) into ceil(n / width) panels of kc lines each. */
V_INLINE void gemm_pack(const struct gemm_source *s, int64_t i0, int64_t n, const int64_t width,
                        int64_t p0, int64_t kc, real *panels) {
  if (s->pack) {
    for (int64_t i = 0; i < n; i += width) {
      const int64_t left = n - i < width ? n - i : width;
      s->pack(s->ctx, s->i0 + i0 + i, left, width, p0, kc, panels + i * kc);
    }
    return;
  }
  const real *x = s->p + i0 * s->i_stride + p0 * s->k_stride;
  if (s->i_stride != 1) {
    for (int64_t i = 0; i < n; i += width) {
      const int64_t left = n - i < width ? n - i : width;
      gemm_pack_rows(x + i * s->i_stride, s->i_stride, left, width, kc, panels + i * kc);
    }
    return;
  }
  /* Eight lines of every panel in turn: whole cache lines are read and written, and a power-of-two
   * stride costs no conflicts. */
  for (int64_t p8 = 0; p8 < kc; p8 += 8) {
    const int64_t end = kc - p8 < 8 ? kc : p8 + 8;
    for (int64_t i = 0; i < n; i += width) {
      const int64_t left = n - i < width ? n - i : width;
      for (int64_t p = p8; p < end; p++) {
        const real *from = x + p * s->k_stride + i;
        real *line = panels + i * kc + p * width;
        if (left == width) {
          gemm_pack_line(from, width, width, line);
        } else {
          gemm_pack_line(from, left, width, line);
        }
      }
    }
  }
}

#endif
