/* Convolution: gradients of weights and bias.
 *
 * dw[co][c][kh][kw] sums over k = (n, oh, ow) by the GEMM rule: chunks of 256 along the global k,
 * one fma chain from +0 in each, chunk sums added in order; db is the same with ones in place of x.
 * docs/numerics.md, "Convolution".
 *
 * 16 output channels are one vector, a tap is a row of the register tile: per position one vector
 * of g and one broadcast of x for each tap. g is transposed a band of rows at a time and x is read
 * from padded planes (conv_plane.h); db is a tap whose plane holds ones. The chains' state is kept
 * across bands, so images and chunks need not line up. A gradient of maxima is transposed as it is
 * and spread out then, where conv_dw_maxima.h does not do without the zeros.
 *
 * A unit is UNIT_TAPS taps of 16 output channels of a group; units of one run that share those
 * channels are done together. Where those are few, units are stretches of k instead: then every
 * chunk's sums are kept, and added up by a second kernel.
 */
#include "engine/kernel/conv_dw_maxima.h"
#include "engine/kernel/conv_plane.h"
#include "engine/kernel/transpose.h"

enum {
  CHUNK = STK_CONV_DW_CHUNK,
  UNIT_TAPS = 12,
  MOST_TAPS = 96,         /* done together */
  BAND_REALS = 16 * 1024, /* aim for the padded planes */
  BAND_OUTPUTS = 256,     /* aim for the transposed g, in vectors */
  CHUNK_UNITS = 32,
  NEXT_REALS = 8 * 1024, /* asked for ahead */
  SUM_TAPS = 8,          /* a unit of conv_dw_sum */
#if defined(STK_ISA_AVX512)
  ROWS = 12,
#else
  ROWS = 6,
#endif
};

static int64_t min64(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static int64_t max64(int64_t a, int64_t b) {
  return a > b ? a : b;
}

/* How one call's work is laid out; the same for all units. */
struct plan {
  struct plane plane;
  int64_t channels, outputs; /* of a group */
  int64_t window, taps;      /* kh * kw; taps of a group, db's included */
  int64_t blocks, unit_taps; /* vectors of output channels; units of one vector */
  int64_t band, extra;       /* output rows loaded at a time; input rows per phase beyond them */
  int64_t positions, last;   /* of an image, of all */
  int64_t chunks, per_chunk; /* of k; vectors of one chunk in `sums` */
};

static struct plan plan_of(const struct stk_conv_dw_args *a) {
  const struct stk_conv_shape *s = &a->s;
  struct plan p = {.channels = s->c / s->groups, .outputs = s->co / s->groups};
  p.window = s->kh * s->kw;
  p.taps = p.channels * p.window + (a->db ? 1 : 0);
  p.blocks = plane_ceil_div(p.outputs, V_LANES);
  p.unit_taps = plane_ceil_div(p.taps, UNIT_TAPS);
  p.extra = (s->kh - 1) * s->dil_h / s->stride_h;
  const int64_t pitch = s->ow + (s->kw - 1) * s->dil_w / s->stride_w;
  const int64_t loaded = min64(p.channels, MOST_TAPS / p.window + 2);
  const int64_t per_row = loaded * s->stride_h * s->stride_w * pitch;
  p.band = min64(max64(BAND_REALS / max64(per_row, 1) - p.extra, 4), s->oh);
  p.band = min64(p.band, max64(BAND_OUTPUTS / max64(s->ow, 1), 1));
  p.band = a->argmax ? max64(p.band / 2 * 2, 2) : p.band;
  p.positions = s->oh * s->ow;
  p.last = s->n * p.positions;
  p.chunks = plane_ceil_div(p.last, CHUNK);
  p.per_chunk = s->groups * p.blocks * p.taps;
  plane_set(&p.plane, s->stride_h, s->stride_w, p.band + p.extra, pitch);
  p.plane.col0 = -s->pad_w;
  return p;
}

struct room {
  real *planes, *ones, *g, *state; /* state: chains, then totals, MOST_TAPS x 16 each */
  real *maxima;                    /* a band's gradients of maxima, transposed */
  int32_t *places;                 /* and theirs */
  int32_t *q;                      /* position in the planes of each output of a band */
  size_t bytes;
};

static struct room room_of(const struct stk_conv_dw_args *a, const struct plan *p, char *scratch) {
  const int64_t loaded = min64(p->channels, MOST_TAPS / p->window + 2);
  const int64_t planes = plane_ceil_div(loaded * p->plane.channel + PLANE_SLACK, 16) * 16;
  const int64_t ones = plane_ceil_div(p->plane.phase + PLANE_SLACK, 16) * 16;
  const int64_t g = (p->band * a->s.ow + V_LANES) * V_LANES, state = 2 * MOST_TAPS * V_LANES;
  const int64_t maxima = a->argmax ? (p->band * a->s.ow / 4 + V_LANES) * V_LANES : 0;
  struct room r = {.bytes = (size_t)(planes + ones + g + state + maxima) * sizeof(real) +
                            (size_t)(maxima + p->band * a->s.ow) * sizeof(int32_t)};
  if (scratch) {
    r.planes = (real *)(void *)scratch;
    r.ones = r.planes + planes;
    r.g = r.ones + ones;
    r.state = r.g + g;
    r.maxima = r.state + state;
    r.places = (int32_t *)(void *)(r.maxima + maxima);
    r.q = r.places + maxima;
  }
  return r;
}

static void transpose_places(int32_t *to, const int32_t *from, int64_t stride, int64_t rows,
                             int64_t n) {
  for (int64_t r = transpose_eights(to, V_LANES, from, stride, rows, n); r < rows; r++) {
    for (int64_t k = 0; k < n; k++) {
      to[k * V_LANES + r] = from[r * stride + k];
    }
  }
}

/* Vectors of g for rows row .. row + rows - 1 of the outputs, from those of their maxima. */
static void spread(const struct stk_conv_shape *s, const struct room *room, int64_t row,
                   int64_t rows) {
  const int64_t ow = s->ow;
  const int32_t w = (int32_t)ow;
  for (int64_t i = 0; i < rows * ow / 4; i++) {
    const int64_t at = i / (ow / 2) * 2 * ow + i % (ow / 2) * 2;
    real *to = room->g + at * V_LANES;
    const vreal g = v_add(v_zero(), v_load(room->maxima + i * V_LANES));
    const vint place =
        vi_sub(vi_load(room->places + i * V_LANES), vi_set1((int32_t)(row * ow + at)));
    v_store(to, v_select(vi_eq(place, vi_set1(0)), g, v_zero()));
    v_store(to + V_LANES, v_select(vi_eq(place, vi_set1(1)), g, v_zero()));
    v_store(to + ow * V_LANES, v_select(vi_eq(place, vi_set1(w)), g, v_zero()));
    v_store(to + (ow + 1) * V_LANES, v_select(vi_eq(place, vi_set1(w + 1)), g, v_zero()));
  }
}

/* chain[r] goes on over n positions: x[r] + q[k] against vector k of g. */
V_INLINE void tile(real *chains, int rows, const real *const *x, const int32_t *q, const real *g,
                   int64_t n) {
  vreal acc[ROWS];
  const real *at[ROWS];
  for (int r = 0; r < rows; r++) {
    acc[r] = v_load(chains + r * V_LANES);
    at[r] = x[r];
  }
  for (int64_t k = 0; k < n; k++) {
    const vreal gv = v_load(g + k * V_LANES);
    const int64_t position = q[k];
    for (int r = 0; r < rows; r++) {
      acc[r] = v_fma(v_set1(at[r][position]), gv, acc[r]);
    }
  }
  for (int r = 0; r < rows; r++) {
    v_store(chains + r * V_LANES, acc[r]);
  }
}

#define TILE_CASE(ROWS_HERE)             \
  case ROWS_HERE:                        \
    tile(chains, ROWS_HERE, x, q, g, n); \
    break;

static void tile_rows(real *chains, int64_t rows, const real *const *x, const int32_t *q,
                      const real *g, int64_t n) {
  switch (rows) {
    TILE_CASE(1)
    TILE_CASE(2)
    TILE_CASE(3)
    TILE_CASE(4)
    TILE_CASE(5)
    TILE_CASE(6)
#if defined(STK_ISA_AVX512)
    TILE_CASE(7)
    TILE_CASE(8)
    TILE_CASE(9)
    TILE_CASE(10)
    TILE_CASE(11)
    TILE_CASE(12)
#endif
    default:
      break;
  }
}

/* Where a kernel's rows are three neighbouring taps and outputs come in pairs of neighbours, four
 * elements of x serve the six products of a row and a pair. A register tile is some such rows,
 * consecutive in the state, and maybe the tap of ones after them. AVX2 has the registers for it
 * where half a vector is all there is. */
#if defined(STK_ISA_AVX2)
typedef __m256 tvec;
#define T_LOAD _mm256_loadu_ps
#define T_STORE _mm256_storeu_ps
#define T_SET1 _mm256_set1_ps
#define T_FMA _mm256_fmadd_ps
#define T_ADD _mm256_add_ps
enum { TRIPLES = 3, TRIPLES_OUTPUTS = 8 };
#else
typedef vreal tvec;
#define T_LOAD v_load
#define T_STORE v_store
#define T_SET1 v_set1
#define T_FMA v_fma
#define T_ADD v_add
enum { TRIPLES = 4, TRIPLES_OUTPUTS = V_LANES };
#endif

V_INLINE void tile3(real *chains, int rows, bool ones, const real *const *x, const int32_t *q,
                    const real *g, int64_t n) {
  tvec acc[3 * TRIPLES], sum = T_SET1(0);
  const real *at[TRIPLES];
  for (int r = 0; r < 3 * rows; r++) {
    acc[r] = T_LOAD(chains + r * V_LANES);
  }
  for (int r = 0; r < rows; r++) {
    at[r] = x[3 * r];
  }
  if (ones) {
    sum = T_LOAD(chains + 3 * rows * V_LANES);
  }
  for (int64_t k = 0; k < n; k += 2) {
    const tvec g0 = T_LOAD(g + k * V_LANES), g1 = T_LOAD(g + (k + 1) * V_LANES);
    const int64_t position = q[k];
    for (int r = 0; r < rows; r++) {
      const real *from = at[r] + position;
      const tvec x1 = T_SET1(from[1]), x2 = T_SET1(from[2]);
      acc[3 * r] = T_FMA(T_SET1(from[0]), g0, acc[3 * r]);
      acc[3 * r + 1] = T_FMA(x1, g0, acc[3 * r + 1]);
      acc[3 * r + 2] = T_FMA(x2, g0, acc[3 * r + 2]);
      acc[3 * r] = T_FMA(x1, g1, acc[3 * r]);
      acc[3 * r + 1] = T_FMA(x2, g1, acc[3 * r + 1]);
      acc[3 * r + 2] = T_FMA(T_SET1(from[3]), g1, acc[3 * r + 2]);
    }
    if (ones) {
      sum = T_ADD(T_ADD(sum, g0), g1);
    }
  }
  for (int r = 0; r < 3 * rows; r++) {
    T_STORE(chains + r * V_LANES, acc[r]);
  }
  if (ones) {
    T_STORE(chains + 3 * rows * V_LANES, sum);
  }
}

#define TILE3_CASE(ROWS_HERE)                    \
  case 2 * (ROWS_HERE):                          \
    tile3(chains, ROWS_HERE, false, x, q, g, n); \
    break;                                       \
  case 2 * (ROWS_HERE) + 1:                      \
    tile3(chains, ROWS_HERE, true, x, q, g, n);  \
    break;

static void tile3_rows(real *chains, int64_t rows, bool ones, const real *const *x,
                       const int32_t *q, const real *g, int64_t n) {
  switch (2 * rows + ones) {
    TILE3_CASE(1)
    TILE3_CASE(2)
    TILE3_CASE(3)
#if !defined(STK_ISA_AVX2)
    TILE3_CASE(4)
#endif
    default:
      break;
  }
}

/* Taps from .. from + n - 1 of output channels `co` .. of group `group`, over k0 .. k1 - 1. */
struct job {
  int64_t group, co, n_co;
  int64_t from, n;
  int64_t triples; /* rows of three of them that tile3 may take */
  int64_t k0, k1;
  real *sums; /* of chunk 0, for these taps; NULL: totals are kept */
};

/* Jobs begin at multiples of three taps. */
static int64_t triples_of(const struct stk_conv_shape *s, const struct plan *p,
                          const struct job *j) {
  const bool fit = s->kw == 3 && s->stride_w == 1 && s->dil_w == 1 && s->ow % 2 == 0 &&
                   j->n_co <= TRIPLES_OUTPUTS;
  return fit ? min64(j->n, p->channels * p->window - j->from) / 3 : 0;
}

static void segment(const struct job *j, const real *const *x, const int32_t *q,
                    const struct room *room, const real *g, int64_t n) {
  int64_t t = 0;
  for (int64_t left = j->triples; left > 0;) {
    const int64_t rows = plane_ceil_div(left, plane_ceil_div(left, TRIPLES));
    const bool ones = left == rows && j->n == t + 3 * rows + 1;
    tile3_rows(room->state + t * V_LANES, rows, ones, x + t, q, g, n);
    t += 3 * rows + ones;
    left -= rows;
  }
  const int64_t panels = plane_ceil_div(j->n - t, ROWS);
  for (int64_t i = 0; i < panels; i++) {
    const int64_t rows = plane_ceil_div(j->n - t, panels - i);
    tile_rows(room->state + t * V_LANES, rows, x + t, q, g, n);
    t += rows;
  }
}

/* The chunk is complete: its sums go to the totals, which begin with the first chunk's, or are
 * kept. */
static void flush(const struct plan *p, const struct job *j, real *state, int64_t chunk) {
  real *totals = j->sums ? j->sums + chunk * p->per_chunk * V_LANES : state + MOST_TAPS * V_LANES;
  for (int64_t t = 0; t < j->n; t++) {
    const vreal sum = v_load(state + t * V_LANES);
    real *total = totals + t * V_LANES;
    v_store(total, chunk == 0 || j->sums ? sum : v_add(v_load(total), sum));
    v_store(state + t * V_LANES, v_zero());
  }
}

static void store(const struct stk_conv_dw_args *a, const struct plan *p, const struct job *j,
                  const real *totals) {
  const int64_t per_out = p->channels * p->window;
  const int64_t first = j->group * p->outputs + j->co;
  for (int64_t t = 0; t < j->n; t++) {
    const int64_t tap = j->from + t;
    for (int64_t i = 0; i < j->n_co; i++) {
      const real value = totals[t * V_LANES + i];
      if (tap == per_out) {
        ((real *)a->db)[first + i] = value;
      } else {
        ((real *)a->dw)[(first + i) * per_out + tap] = value;
      }
    }
  }
}

static void job_pointers(const struct stk_conv_shape *s, const struct plan *p, const struct job *j,
                         const struct room *room, const real **x) {
  const int64_t c0 = j->from / p->window;
  for (int64_t t = 0; t < j->n; t++) {
    const int64_t tap = j->from + t, c = tap / p->window, at = tap % p->window;
    x[t] = c == p->channels ? room->ones
                            : room->planes + (c - c0) * p->plane.channel +
                                  plane_at(&p->plane, at / s->kw * s->dil_h, at % s->kw * s->dil_w);
  }
}

/* The chains go on over positions i .. end - 1 of the band that begins at k. */
static void job_band(const struct plan *p, const struct job *j, const real *const *x,
                     const struct room *room, int64_t k, int64_t i, int64_t end) {
  while (i < end) {
    const int64_t count = min64(end - i, CHUNK - (k + i) % CHUNK);
    segment(j, x, room->q + i, room, room->g + i * V_LANES, count);
    i += count;
    if ((k + i) % CHUNK == 0 || k + i == p->last) {
      flush(p, j, room->state, (k + i - 1) / CHUNK);
    }
  }
}

/* g of `rows` rows from `row` of image n, transposed. */
static void job_gradients(const struct stk_conv_dw_args *a, const struct plan *p,
                          const struct job *j, const struct room *room, int64_t n, int64_t row,
                          int64_t rows) {
  const int64_t ow = a->s.ow, plane = n * a->s.co + j->group * p->outputs + j->co;
  if (a->argmax) {
    const int64_t maxima = p->positions / 4, at = plane * maxima + row * ow / 4;
    transpose(room->maxima, V_LANES, (const real *)a->g + at, maxima, j->n_co, rows * ow / 4);
    transpose_places(room->places, a->argmax + at, maxima, j->n_co, rows * ow / 4);
    spread(&a->s, room, row, rows);
  } else {
    const real *g = (const real *)a->g + plane * p->positions + row * ow;
    transpose(room->g, V_LANES, g, p->positions, j->n_co, rows * ow);
  }
}

static void gradients_prefetch(const struct stk_conv_dw_args *a, const struct plan *p,
                               const struct job *j, int64_t n) {
  const int64_t plane = n * a->s.co + j->group * p->outputs + j->co;
  const int64_t positions = a->argmax ? p->positions / 4 : p->positions;
  const int64_t reals = min64(j->n_co * positions, NEXT_REALS);
  plane_prefetch((const real *)a->g + plane * positions, reals);
  if (a->argmax) {
    plane_prefetch((const real *)(const void *)(a->argmax + plane * positions), reals);
  }
}

static void job_run(const struct stk_conv_dw_args *a, struct plan *p, const struct job *j,
                    const struct room *room) {
  const struct stk_conv_shape *s = &a->s;
  const int64_t c0 = j->from / p->window;
  const int64_t c1 = min64(plane_ceil_div(j->from + j->n, p->window), p->channels);
  const real *x[MOST_TAPS];
  job_pointers(s, p, j, room, x);
  plane_fill(room->state, MOST_TAPS * V_LANES, (real)0);
  plane_fill(room->g, (p->band * s->ow + V_LANES) * V_LANES, (real)0);
  for (int64_t n = j->k0 / max64(p->positions, 1); n * p->positions < j->k1; n++) {
    const real *image = (const real *)a->x + (n * s->c + j->group * p->channels + c0) * s->h * s->w;
    if ((n + 1) * p->positions < j->k1) {
      plane_prefetch(image + s->c * s->h * s->w, min64((c1 - c0) * s->h * s->w, NEXT_REALS));
      gradients_prefetch(a, p, j, n + 1);
    }
    for (int64_t row = 0; row < s->oh; row += p->band) {
      const int64_t rows = min64(p->band, s->oh - row), k = n * p->positions + row * s->ow;
      const int64_t begin = max64(j->k0 - k, 0), end = min64(j->k1 - k, rows * s->ow);
      if (begin >= end) {
        continue;
      }
      p->plane.row0 = row * s->stride_h - s->pad_h;
      plane_load(&p->plane, room->planes, (struct image){image, s->h, s->w}, c1 - c0,
                 rows + p->extra, (real)0);
      job_gradients(a, p, j, room, n, row, rows);
      job_band(p, j, x, room, k, begin, end);
    }
  }
}

/* Everything over some chunks of k. */
static void chunks_run(const struct stk_conv_dw_args *a, struct plan *p, const struct room *room,
                       const struct dw_maxima *maxima, int64_t lo, int64_t hi) {
  for (int64_t block = 0; block < a->s.groups * p->blocks; block++) {
    struct job j = {.group = block / p->blocks, .co = block % p->blocks * V_LANES};
    j.k0 = lo * CHUNK;
    j.k1 = min64(hi * CHUNK, p->last);
    j.n_co = min64(V_LANES, p->outputs - j.co);
    const struct dw_maxima_job sparse = {.group = j.group,
                                         .co = j.co,
                                         .n_co = j.n_co,
                                         .k0 = j.k0,
                                         .k1 = j.k1,
                                         .sums = (real *)a->sums + block * p->taps * V_LANES,
                                         .per_chunk = p->per_chunk};
    if (maxima && dw_maxima_run(maxima, &sparse)) {
      continue;
    }
    for (; j.from < p->taps; j.from += j.n) {
      j.n = min64(MOST_TAPS, p->taps - j.from);
      j.triples = triples_of(&a->s, p, &j);
      j.sums = (real *)a->sums + (block * p->taps + j.from) * V_LANES;
      job_run(a, p, &j, room);
    }
  }
}

static int64_t chunks_per_unit(const struct plan *p) {
  return max64(plane_ceil_div(p->chunks, CHUNK_UNITS), 1);
}

static int64_t dw_units(const void *args, int n_threads) {
  const struct stk_conv_dw_args *a = args;
  const struct plan p = plan_of(a);
  (void)n_threads;
  return a->sums ? plane_ceil_div(p.chunks, chunks_per_unit(&p))
                 : a->s.groups * p.blocks * p.unit_taps;
}

static size_t dw_scratch(const void *args) {
  const struct plan p = plan_of(args);
  const size_t bytes = (room_of(args, &p, NULL).bytes + 63) / 64 * 64;
  return dw_maxima_fit(args) ? bytes + dw_maxima_of(args, NULL).bytes : bytes;
}

static void dw_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_conv_dw_args *a = args;
  const struct stk_conv_shape *s = &a->s;
  struct plan p = plan_of(a);
  const struct room room = room_of(a, &p, scratch);
  plane_fill(room.ones, p.plane.phase + PLANE_SLACK, (real)1);
  for (int64_t i = 0; i < p.band; i++) {
    for (int64_t j = 0; j < s->ow; j++) {
      room.q[i * s->ow + j] = (int32_t)(i * p.plane.pitch + j);
    }
  }
  if (a->sums) {
    const int64_t each = chunks_per_unit(&p);
    char *const rest = (char *)scratch + (room.bytes + 63) / 64 * 64;
    const bool fit = dw_maxima_fit(a);
    const struct dw_maxima m = fit ? dw_maxima_of(a, rest) : (struct dw_maxima){.a = a};
    chunks_run(a, &p, &room, fit ? &m : NULL, lo * each, min64(hi * each, p.chunks));
    return;
  }
  for (int64_t u = lo; u < hi;) {
    const int64_t block = u / p.unit_taps, first = u % p.unit_taps;
    const int64_t together =
        min64(min64(hi - u, p.unit_taps - first), (int64_t)MOST_TAPS / UNIT_TAPS);
    struct job j = {.group = block / p.blocks, .co = block % p.blocks * V_LANES, .k1 = p.last};
    j.from = first * UNIT_TAPS;
    j.n_co = min64(V_LANES, p.outputs - j.co);
    j.n = min64(together * UNIT_TAPS, p.taps - j.from);
    j.triples = triples_of(s, &p, &j);
    job_run(a, &p, &j, &room);
    if (p.last == 0) {
      flush(&p, &j, room.state, 0);
    }
    store(a, &p, &j, room.state + MOST_TAPS * V_LANES);
    u += together;
  }
}

extern const struct stk_kernel KFN(conv_dw);
const struct stk_kernel KFN(conv_dw) = {"conv_dw", dw_units, dw_scratch, dw_run};

/* ---- sums of chunks */

static int64_t sum_units(const void *args, int n_threads) {
  const struct plan p = plan_of(args);
  (void)n_threads;
  return plane_ceil_div(p.per_chunk, SUM_TAPS);
}

static void sum_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_conv_dw_args *a = args;
  const struct plan p = plan_of(a);
  (void)scratch;
  for (int64_t v = lo * SUM_TAPS; v < min64(hi * SUM_TAPS, p.per_chunk);) {
    const int64_t block = v / p.taps;
    struct job j = {.group = block / p.blocks, .co = block % p.blocks * V_LANES};
    real totals[SUM_TAPS * V_LANES];
    j.from = v % p.taps;
    j.n = min64(min64(SUM_TAPS, hi * SUM_TAPS - v), p.taps - j.from);
    j.n_co = min64(V_LANES, p.outputs - j.co);
    for (int64_t i = 0; i < j.n; i++) {
      const real *sums = (const real *)a->sums + (v + i) * V_LANES;
      vreal total = p.chunks > 0 ? v_load(sums) : v_zero();
      for (int64_t c = 1; c < p.chunks; c++) {
        total = v_add(total, v_load(sums + c * p.per_chunk * V_LANES));
      }
      v_store(totals + i * V_LANES, total);
    }
    store(a, &p, &j, totals);
    v += j.n;
  }
}

extern const struct stk_kernel KFN(conv_dw_sum);
const struct stk_kernel KFN(conv_dw_sum) = {"conv_dw_sum", sum_units, NULL, sum_run};
