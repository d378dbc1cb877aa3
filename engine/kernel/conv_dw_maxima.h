/* Gradients of weights from the gradient of maxima over 2 x 2, without its zeros
 * (conv_maxima.h): an output channel's chains, one for each tap, go on by its list, a broadcast of
 * g against kw * channels neighbours of x for each row of the kernel. x is a padded plane with its
 * channels side by side. Where x is not finite, or a chain is -0 when its chunk ends, the chunks
 * are done again with the zeros in place.
 */
#ifndef STK_KERNEL_CONV_DW_MAXIMA_H
#define STK_KERNEL_CONV_DW_MAXIMA_H

#include "engine/kernel/carve.h"
#include "engine/kernel/conv_maxima.h"
#include "engine/kernel/conv_plane.h"
#include "engine/kernel/transpose.h"

enum {
  DW_MAXIMA_CHANNELS = 16, /* of the output, together */
  DW_MAXIMA_SEGMENT = 256, /* most kw * channels */
  DW_MAXIMA_WIDTH = 1024,  /* most chains of a channel */
  DW_MAXIMA_REALS = 32 * 1024,
  DW_MAXIMA_AHEAD = 8 * 1024, /* reals asked for ahead */
};

/* One call's layout. */
struct dw_maxima {
  const struct stk_conv_dw_args *a;
  int64_t channels, outputs; /* of a group */
  int64_t segment, vecs;     /* neighbours of x in a row of the kernel; in vectors of 8 */
  int64_t width;             /* chains of an output channel: kh * vecs * 8 */
  int64_t positions, cells;  /* of an image's channel: outputs, maxima */
  struct maxima_shape shape;
  real *x;                  /* padded, its channels side by side */
  int64_t image;            /* its reals */
  real *chains, *ones;      /* [DW_MAXIMA_CHANNELS][width], and the bias's */
  struct maxima_list *list; /* [DW_MAXIMA_CHANNELS] */
  int32_t *start;           /* [DW_MAXIMA_CHANNELS][oh + 1]: in the list, of each row of outputs */
  int64_t *next;            /* [DW_MAXIMA_CHANNELS]: in the list */
  int32_t *tap;             /* [segment]: of the kernel's first row */
  size_t bytes;
};

/* Output channels `co` .. co + n_co - 1 of a group over k0 .. k1 - 1, whole chunks. */
struct dw_maxima_job {
  int64_t group, co, n_co, k0, k1;
  real *sums; /* of chunk 0 */
  int64_t per_chunk;
};

#if defined(STK_ISA_REF)

V_INLINE bool dw_maxima_fit(const struct stk_conv_dw_args *a) {
  (void)a;
  return false;
}

V_INLINE struct dw_maxima dw_maxima_of(const struct stk_conv_dw_args *a, char *scratch) {
  (void)scratch;
  return (struct dw_maxima){.a = a};
}

V_INLINE bool dw_maxima_run(const struct dw_maxima *m, const struct dw_maxima_job *j) {
  (void)m, (void)j;
  return false;
}

#else

/* ---- layout */

static bool dw_maxima_fit(const struct stk_conv_dw_args *a) {
  const struct stk_conv_shape *s = &a->s;
  const int64_t channels = s->c / s->groups, segment = s->kw * channels;
  const int64_t plane = (s->oh + s->kh - 1) * (s->ow + s->kw - 1);
  return a->argmax && a->sums && maxima_fit(s) && segment <= DW_MAXIMA_SEGMENT &&
         s->kh * plane_ceil_div(segment, 8) * 8 <= DW_MAXIMA_WIDTH &&
         plane * channels <= DW_MAXIMA_REALS;
}

static struct dw_maxima dw_maxima_of(const struct stk_conv_dw_args *a, char *scratch) {
  const struct stk_conv_shape *s = &a->s;
  struct dw_maxima m = {.a = a, .channels = s->c / s->groups, .outputs = s->co / s->groups};
  struct carve c = {scratch, 0};
  m.segment = s->kw * m.channels;
  m.vecs = plane_ceil_div(m.segment, 8);
  m.width = s->kh * m.vecs * 8;
  m.positions = s->oh * s->ow;
  m.cells = m.positions / 4;
  m.shape = (struct maxima_shape){s->oh, s->ow, s->ow + s->kw - 1, NULL};
  m.image = (s->oh + s->kh - 1) * m.shape.pitch * m.channels + PLANE_SLACK + 8 * m.channels;
  m.x = carve(&c, m.image, sizeof(real));
  m.chains = carve(&c, DW_MAXIMA_CHANNELS * m.width, sizeof(real));
  m.ones = carve(&c, DW_MAXIMA_CHANNELS, sizeof(real));
  m.list = carve(&c, DW_MAXIMA_CHANNELS, sizeof *m.list);
  m.start = carve(&c, DW_MAXIMA_CHANNELS * (s->oh + 1), sizeof(int32_t));
  m.next = carve(&c, DW_MAXIMA_CHANNELS, sizeof(int64_t));
  m.tap = carve(&c, m.segment, sizeof(int32_t));
  m.shape.order = carve(&c, 256, sizeof *m.shape.order);
  m.bytes = c.at;
  if (scratch) {
    maxima_prepare(&m.shape);
    for (int64_t i = 0; i < m.segment; i++) {
      m.tap[i] = (int32_t)(i % m.channels * s->kh * s->kw + i / m.channels);
    }
  }
  return m;
}

/* ---- an image */

static int64_t dw_maxima_channel(const struct dw_maxima *m, const struct dw_maxima_job *j,
                                 int64_t image) {
  return image * m->a->s.co + j->group * m->outputs + j->co;
}

/* x with its channels side by side. The padding around it is +0 from the start; what is written
 * beyond a row is +0 too, or is written again with the next row. */
static void dw_maxima_beside(const struct dw_maxima *m, const real *x) {
  const struct stk_conv_shape *s = &m->a->s;
  real *to = m->x + (s->pad_h * m->shape.pitch + s->pad_w) * m->channels;
  for (int64_t i = 0; i < s->h; i++) {
    const real *row = x + i * s->w;
    for (int64_t j = 0; m->channels == 1 && j < s->w; j += V_LANES) {
      v_store(to + j, s->w - j < V_LANES ? v_load_n(row + j, s->w - j) : v_load(row + j));
    }
    if (m->channels > 1) {
      transpose(to, m->channels, row, s->h * s->w, m->channels, s->w);
    }
    to += m->shape.pitch * m->channels;
  }
}

/* False: x is not finite. */
static bool dw_maxima_load(const struct dw_maxima *m, const struct dw_maxima_job *j, int64_t n) {
  const struct stk_conv_shape *s = &m->a->s;
  const int64_t size = m->channels * s->h * s->w, channel = dw_maxima_channel(m, j, n);
  const real *x = (const real *)m->a->x + (n * s->c + j->group * m->channels) * s->h * s->w;
  const real *g = (const real *)m->a->g + channel * m->cells;
  const int32_t *argmax = m->a->argmax + channel * m->cells;
  if ((n + 1) * m->positions < j->k1) {
    const int64_t ahead =
        j->n_co * m->cells < DW_MAXIMA_AHEAD ? j->n_co * m->cells : DW_MAXIMA_AHEAD;
    plane_prefetch(x + s->c * s->h * s->w, size < DW_MAXIMA_AHEAD ? size : DW_MAXIMA_AHEAD);
    plane_prefetch(g + s->co * m->cells, ahead);
    plane_prefetch((const real *)(const void *)(argmax + s->co * m->cells), ahead);
  }
  if (!finite_all(x, size)) {
    return false;
  }
  dw_maxima_beside(m, x);
  for (int64_t c = 0; c < j->n_co; c++) {
    m->next[c] = 0;
    maxima_fill(&m->shape, g + c * m->cells, argmax + c * m->cells, m->list + c,
                m->start + c * (s->oh + 1));
  }
  return true;
}

/* ---- chains */

/* The chains of `n_c` output channels from c on, of `rows` rows of the kernel from r and `vecs`
 * vectors from v, go on by entries from .. to - 1 of what comes next in each list. */
struct dw_maxima_tile {
  int64_t c, r, v, from, to;
  bool ones;
};

V_INLINE void dw_maxima_chain(const struct dw_maxima *m, const struct dw_maxima_tile *t, int n_c,
                              int rows, int vecs) {
  const int64_t channels = m->channels, step = m->shape.pitch * channels;
  real *chains = m->chains + t->c * m->width + (t->r * m->vecs + t->v) * 8;
  const struct maxima_list *list = m->list + t->c;
  const real *x[3];
  const char *entry[4];
  __m256 acc[12];
  real sum[4];
  for (int r = 0; r < rows; r++) {
    x[r] = m->x + (t->r + r) * step + t->v * 8;
  }
  for (int c = 0; c < n_c; c++) {
    entry[c] = (const char *)(list[c].at + m->next[t->c + c] + t->from);
    sum[c] = m->ones[t->c + c];
    for (int i = 0; i < rows * vecs; i++) {
      acc[c * rows * vecs + i] =
          _mm256_loadu_ps(chains + c * m->width + (i / vecs * m->vecs + i % vecs) * 8);
    }
  }
  for (int64_t k = 0; k < t->to - t->from; k++) {
    for (int c = 0; c < n_c; c++) {
      const int32_t *at = (const int32_t *)(const void *)entry[c] + k;
      const real g =
          *(const real *)(const void *)((const char *)at + offsetof(struct maxima_list, g));
      const int64_t from = *at * channels;
      sum[c] += g;
      for (int i = 0; i < rows * vecs; i++) {
        const __m256 xv = _mm256_loadu_ps(x[i / vecs] + from + i % vecs * 8);
        acc[c * rows * vecs + i] = _mm256_fmadd_ps(xv, _mm256_set1_ps(g), acc[c * rows * vecs + i]);
      }
    }
  }
  for (int c = 0; c < n_c; c++) {
    if (t->ones) {
      m->ones[t->c + c] = sum[c];
    }
    for (int i = 0; i < rows * vecs; i++) {
      _mm256_storeu_ps(chains + c * m->width + (i / vecs * m->vecs + i % vecs) * 8,
                       acc[c * rows * vecs + i]);
    }
  }
}

#define DW_MAXIMA_CASE(TOGETHER, ROWS_HERE, VECS_HERE)     \
  case ((TOGETHER)*4 + (ROWS_HERE)) * 8 + (VECS_HERE):     \
    dw_maxima_chain(m, t, TOGETHER, ROWS_HERE, VECS_HERE); \
    break;

static void dw_maxima_tile(const struct dw_maxima *m, const struct dw_maxima_tile *t, int64_t n_c,
                           int64_t rows, int64_t vecs) {
  switch (t->from < t->to ? (n_c * 4 + rows) * 8 + vecs : 0) {
    DW_MAXIMA_CASE(1, 1, 1)
    DW_MAXIMA_CASE(1, 1, 2)
    DW_MAXIMA_CASE(1, 1, 3)
    DW_MAXIMA_CASE(1, 1, 4)
    DW_MAXIMA_CASE(1, 2, 1)
    DW_MAXIMA_CASE(1, 2, 2)
    DW_MAXIMA_CASE(1, 2, 3)
    DW_MAXIMA_CASE(1, 2, 4)
    DW_MAXIMA_CASE(1, 3, 1)
    DW_MAXIMA_CASE(1, 3, 2)
    DW_MAXIMA_CASE(1, 3, 3)
    DW_MAXIMA_CASE(1, 3, 4)
    DW_MAXIMA_CASE(4, 3, 1)
    DW_MAXIMA_CASE(2, 3, 2)
    default:
      break;
  }
}

/* How many entries of channel c's list, from the next one on, lie before output `k`. */
static int64_t dw_maxima_before(const struct dw_maxima *m, int64_t c, int64_t k) {
  const int64_t ow = m->a->s.ow, row = k / ow;
  const int32_t *start = m->start + c * (m->a->s.oh + 1);
  const vint bound = vi_set1((int32_t)(row * m->shape.pitch + k % ow));
  int64_t n = start[row];
  for (int64_t i = n; k % ow > 0 && i < start[row + 1]; i += V_LANES) {
    const int64_t left = start[row + 1] - i < V_LANES ? start[row + 1] - i : V_LANES;
    const vint at = vi_load_n(m->list[c].at + i, left);
    n += __builtin_popcount(v_mask_bits(v_mask_and(vi_lt(at, bound), v_mask_n(left))));
  }
  return n - m->next[c];
}

/* All chains of the channels go on to output `k` of the image. Where a channel has few chains, some
 * channels' advance together as far as the shortest of their lists, so that the chains do not wait
 * for each fma's result. */
static void dw_maxima_advance(const struct dw_maxima *m, int64_t n_co, int64_t k) {
  const int64_t kh = m->a->s.kh;
  const int64_t together = kh != 3 ? 1 : m->vecs == 1 ? 4 : m->vecs == 2 ? 2 : 1;
  for (int64_t c = 0; c < n_co;) {
    const int64_t n_c = c + together <= n_co ? together : 1;
    int64_t count[4], common = INT64_MAX;
    for (int64_t i = 0; i < n_c; i++) {
      count[i] = dw_maxima_before(m, c + i, k);
      common = count[i] < common ? count[i] : common;
    }
    for (int64_t r = 0; r < kh; r += 3) {
      const int64_t rows = kh - r < 3 ? kh - r : 3;
      for (int64_t v = 0, left = m->vecs; left > 0;) {
        const int64_t vecs = plane_ceil_div(left, plane_ceil_div(left, 4));
        struct dw_maxima_tile t = {c, r, v, 0, common, r == 0 && v == 0};
        dw_maxima_tile(m, &t, n_c, rows, vecs);
        for (int64_t i = 0; i < n_c; i++) {
          t = (struct dw_maxima_tile){c + i, r, v, common, count[i], t.ones};
          dw_maxima_tile(m, &t, 1, rows, vecs);
        }
        v += vecs;
        left -= vecs;
      }
    }
    for (int64_t i = 0; i < n_c; i++) {
      m->next[c + i] += count[i];
    }
    c += n_c;
  }
}

/* The chunk's sums go where conv_dw keeps them, (taps, 16), and the chains to +0. False: one is -0.
 */
static bool dw_maxima_flush(const struct dw_maxima *m, const struct dw_maxima_job *j,
                            int64_t chunk) {
  const struct stk_conv_shape *s = &m->a->s;
  real *sums = j->sums + chunk * j->per_chunk * V_LANES;
  __m256i bad = _mm256_setzero_si256();
  for (int64_t c = 0; c < j->n_co; c += 8) {
    for (int64_t i = 0; i < s->kh * m->vecs; i++) {
      const int64_t row = i / m->vecs, first = i % m->vecs * 8;
      real *chains = m->chains + c * m->width + i * 8;
      __m256 a[8];
      for (int k = 0; k < 8; k++) {
        a[k] = _mm256_loadu_ps(chains + k * m->width);
        _mm256_storeu_ps(chains + k * m->width, _mm256_setzero_ps());
      }
      transpose_registers(a);
      for (int k = 0; k < 8; k++) {
        if (first + k < m->segment) {
          bad = _mm256_or_si256(bad, maxima_minus_zeros(a[k]));
          _mm256_storeu_ps(sums + (m->tap[first + k] + row * s->kw) * V_LANES + c, a[k]);
        }
      }
    }
    if (m->a->db) {
      const __m256 ones = _mm256_loadu_ps(m->ones + c);
      bad = _mm256_or_si256(bad, maxima_minus_zeros(ones));
      _mm256_storeu_ps(sums + m->channels * s->kh * s->kw * V_LANES + c, ones);
    }
    _mm256_storeu_ps(m->ones + c, _mm256_setzero_ps());
  }
  return _mm256_testz_si256(bad, bad);
}

/* False: with the zeros in place, please. */
static bool dw_maxima_run(const struct dw_maxima *m, const struct dw_maxima_job *j) {
  const struct stk_conv_shape *s = &m->a->s;
  const int64_t chunk = STK_CONV_DW_CHUNK;
  plane_fill(m->x, m->image, (real)0);
  plane_fill(m->chains, DW_MAXIMA_CHANNELS * m->width, (real)0);
  plane_fill(m->ones, DW_MAXIMA_CHANNELS, (real)0);
  for (int64_t n = j->k0 / m->positions; n * m->positions < j->k1; n++) {
    const int64_t k = n * m->positions;
    int64_t i = j->k0 > k ? j->k0 - k : 0;
    const int64_t end = j->k1 - k < m->positions ? j->k1 - k : m->positions;
    if (!dw_maxima_load(m, j, n)) {
      return false;
    }
    for (int64_t c = 0; c < j->n_co && i > 0; c++) { /* what another unit does */
      m->next[c] += dw_maxima_before(m, c, i);
    }
    while (i < end) {
      const int64_t rest = chunk - (k + i) % chunk;
      i = end - i < rest ? end : i + rest;
      dw_maxima_advance(m, j->n_co, i);
      if (((k + i) % chunk == 0 || k + i == s->n * m->positions) &&
          !dw_maxima_flush(m, j, (k + i - 1) / chunk)) {
        return false;
      }
    }
  }
  return true;
}

#endif

#endif
