/* Gradient of a convolution's input from the gradient of maxima over 2 x 2, without its zeros
 * (conv_maxima.h): each of them is scattered, times the weights, over a padded image with its
 * channels side by side.
 *
 * An element's chain runs over (co, kh, kw). So output channels ascend and positions descend: what
 * lies further down or right meets an element under an earlier row or column of the kernel. All of
 * the chain is one chunk of 256. Where an image's result has a -0, it is done again with the zeros
 * in place.
 */
#ifndef STK_KERNEL_CONV_DX_MAXIMA_H
#define STK_KERNEL_CONV_DX_MAXIMA_H

#include "engine/kernel/carve.h"
#include "engine/kernel/conv_maxima.h"
#include "engine/kernel/conv_plane.h"
#include "engine/kernel/transpose.h"

enum { DX_MAXIMA_CHAIN = 256, DX_MAXIMA_REALS = 32 * 1024, DX_MAXIMA_COLUMNS = 3 };

/* One call's layout. */
struct dx_maxima {
  const struct stk_conv_dx_args *a;
  int64_t channels, outputs; /* of a group */
  int64_t beside;            /* channels side by side: a multiple of 8 */
  int64_t image;             /* reals of the padded image */
  struct maxima_shape shape;
  bool is_finite; /* the weights are */
  real *out;      /* [padded rows][pitch][beside] */
  real *w;        /* [co][kh][kw][beside] */
  struct maxima_list *list;
  int32_t *start; /* [oh + 1] */
  size_t bytes;
};

#if defined(STK_ISA_REF)

V_INLINE bool dx_maxima_fit(const struct stk_conv_dx_args *a) {
  (void)a;
  return false;
}

V_INLINE struct dx_maxima dx_maxima_of(const struct stk_conv_dx_args *a, char *scratch) {
  (void)scratch;
  return (struct dx_maxima){.a = a};
}

V_INLINE bool dx_maxima_run(const struct dx_maxima *m, int64_t n) {
  (void)m, (void)n;
  return false;
}

#else

/* Few channels would leave most of each vector idle. */
static bool dx_maxima_fit(const struct stk_conv_dx_args *a) {
  const struct stk_conv_shape *s = &a->s;
  const int64_t channels = s->c / s->groups, beside = plane_ceil_div(channels, 8) * 8;
  return a->argmax && maxima_fit(s) && s->kw == DX_MAXIMA_COLUMNS && s->w >= 8 &&
         4 * channels >= 3 * beside && s->co / s->groups * s->kh * s->kw <= DX_MAXIMA_CHAIN &&
         (s->oh + s->kh - 1) * (s->ow + s->kw - 1) * beside <= DX_MAXIMA_REALS;
}

static void dx_maxima_weights(const struct dx_maxima *m) {
  const struct stk_conv_shape *s = &m->a->s;
  const int64_t window = s->kh * s->kw;
  plane_fill(m->w, s->co * window * m->beside, (real)0);
  for (int64_t co = 0; co < s->co; co++) {
    for (int64_t c = 0; c < m->channels; c++) {
      for (int64_t i = 0; i < window; i++) {
        m->w[(co * window + i) * m->beside + c] =
            ((const real *)m->a->w)[(co * m->channels + c) * window + i];
      }
    }
  }
}

static struct dx_maxima dx_maxima_of(const struct stk_conv_dx_args *a, char *scratch) {
  const struct stk_conv_shape *s = &a->s;
  struct dx_maxima m = {.a = a, .channels = s->c / s->groups, .outputs = s->co / s->groups};
  struct carve c = {scratch, 0};
  m.beside = plane_ceil_div(m.channels, 8) * 8;
  m.shape = (struct maxima_shape){s->oh, s->ow, s->ow + s->kw - 1, NULL};
  m.image = (s->oh + s->kh - 1) * m.shape.pitch * m.beside;
  m.out = carve(&c, m.image + V_LANES, sizeof(real));
  m.w = carve(&c, s->co * s->kh * s->kw * m.beside, sizeof(real));
  m.list = carve(&c, 1, sizeof *m.list);
  m.start = carve(&c, s->oh + 1, sizeof *m.start);
  m.shape.order = carve(&c, 256, sizeof *m.shape.order);
  m.bytes = c.at;
  if (scratch) {
    maxima_prepare(&m.shape);
    dx_maxima_weights(&m);
    m.is_finite = finite_all(m.w, s->co * s->kh * s->kw * m.beside);
  }
  return m;
}

/* n entries of a list, the last one first, against `rows` rows of weights at w; `to` is where
 * position 0 meets the first of these rows. */
V_INLINE void dx_maxima_scatter(const struct maxima_list *list, int64_t n, const real *w, int rows,
                                int64_t beside, real *to, int64_t step) {
  enum { COLUMNS = DX_MAXIMA_COLUMNS };
  __m256 weight[3 * COLUMNS];
  for (int i = 0; i < rows * COLUMNS; i++) {
    weight[i] = _mm256_loadu_ps(w + i * beside);
  }
  for (int64_t e = n - 1; e >= 0; e--) {
    real *at = to + list->at[e] * beside;
    const __m256 g = _mm256_set1_ps(list->g[e]);
    for (int row = 0; row < rows; row++, at += step) {
      for (int i = 0; i < COLUMNS; i++) {
        real *element = at + i * beside;
        _mm256_storeu_ps(element,
                         _mm256_fmadd_ps(weight[row * COLUMNS + i], g, _mm256_loadu_ps(element)));
      }
    }
  }
}

static void dx_maxima_channel(const struct dx_maxima *m, int64_t n, const real *w) {
  const int64_t kh = m->a->s.kh, step = m->shape.pitch * m->beside;
  if (m->beside == 8 && kh == 3) {
    dx_maxima_scatter(m->list, n, w, 3, 8, m->out, step);
    return;
  }
  for (int64_t row = 0; row < kh; row++) {
    for (int64_t c = 0; c < m->beside; c += 8) {
      dx_maxima_scatter(m->list, n, w + row * DX_MAXIMA_COLUMNS * m->beside + c, 1, m->beside,
                        m->out + row * step + c, step);
    }
  }
}

/* The image without its padding, channel by channel. False: it has a -0. */
static bool dx_maxima_store(const struct dx_maxima *m, real *dx) {
  const struct stk_conv_shape *s = &m->a->s;
  const int64_t plane = s->h * s->w;
  __m256i bad = _mm256_setzero_si256();
  for (int64_t i = 0; i < s->h; i++) {
    const real *row = m->out + ((i + s->pad_h) * m->shape.pitch + s->pad_w) * m->beside;
    for (int64_t j = 0; j < s->w; j += 8) {
      const int64_t first = j + 8 <= s->w ? j : s->w - 8;
      for (int64_t c = 0; c < m->channels; c += 8) {
        __m256 a[8];
        for (int k = 0; k < 8; k++) {
          a[k] = _mm256_loadu_ps(row + (first + k) * m->beside + c);
          bad = _mm256_or_si256(bad, maxima_minus_zeros(a[k]));
        }
        transpose_registers(a);
        for (int k = 0; k < 8; k++) {
          if (c + k < m->channels) {
            _mm256_storeu_ps(dx + (c + k) * plane + i * s->w + first, a[k]);
          }
        }
      }
    }
  }
  return _mm256_testz_si256(bad, bad);
}

static bool dx_maxima_group(const struct dx_maxima *m, int64_t n, int64_t group) {
  const struct stk_conv_shape *s = &m->a->s;
  const int64_t cells = s->oh * s->ow / 4;
  plane_fill_over(m->out, m->image, (real)0);
  for (int64_t co = group * m->outputs; co < (group + 1) * m->outputs; co++) {
    const int64_t from = (n * s->co + co) * cells;
    maxima_fill(&m->shape, (const real *)m->a->g + from, m->a->argmax + from, m->list, m->start);
    dx_maxima_channel(m, m->start[s->oh], m->w + co * s->kh * s->kw * m->beside);
  }
  return dx_maxima_store(m, (real *)m->a->dx + (n * s->c + group * m->channels) * s->h * s->w);
}

/* Image n. False: with the zeros in place, please. */
static bool dx_maxima_run(const struct dx_maxima *m, int64_t n) {
  bool is_done = true;
  for (int64_t group = 0; group < m->a->s.groups && is_done; group++) {
    is_done = dx_maxima_group(m, n, group);
  }
  return is_done;
}

#endif

#endif
