/* Convolution: forward, and the gradient of its input.
 *
 * Both are one matrix product per image with the GEMM rule (chunks of 256 along k, one fma chain
 * from +0 in each, chunk sums added in order): y[co][pixel] with k = (c, kh, kw), and
 * dx[c][pixel] with k = (co, kh, kw) over those taps whose output position is whole, i.e.
 * (ih + pad_h - kh * dil_h) divides by stride_h, and the same for the width. Padded taps take part
 * as zeros. Bias is added to the complete sum, then RELU. docs/numerics.md, "Convolution".
 *
 * No im2col: the image is copied once, padded and split into stride phases (conv_plane.h), so that
 * a tap is one distance in it, and 16 neighbouring outputs are one vector load away. `pass` is the
 * common form: a table of taps (distance in the planes, distance in the weights) and a table of
 * tiles (16 outputs each). The register tile is ROWS output channels by 16 pixels, or a few tiles
 * of pixels where there are few channels. dx has one pass per stride phase of the input, over the
 * padded gradient. A unit is a band of rows of one image, with all groups. Where maxima over 2 x 2
 * are asked for, a unit's outputs are pooled before the next one's are made, and its gradients
 * spread out as they are copied to the planes (pool_2x2.h), or their zeros left out
 * (conv_dx_maxima.h).
 */
#include "engine/kernel/carve.h"
#include "engine/kernel/conv_dx_maxima.h"
#include "engine/kernel/conv_plane.h"
#include "engine/kernel/pool_2x2.h"

enum {
  CHUNK = 256,
  BAND_REALS = 48 * 1024,   /* aim for the padded planes of a unit */
  NEXT_REALS = 8 * 1024,    /* asked for ahead */
  PACKED_REALS = 64 * 1024, /* weights that every call may copy into the order of their use */
  MIN_UNITS = 16,
  MIN_BAND = 4,
  SCATTER = 0, /* tile.n: the outputs are where the map says */
/* BLOCK_TILES: tiles whose chunk sums are kept while k advances */
#if defined(STK_ISA_AVX512)
  ROWS = 8,
  BLOCK_TILES = 12,
#else
  ROWS = 6,
  BLOCK_TILES = 8,
#endif
};

struct tap {
  int32_t x, w;
};

struct tile {
  int32_t q;   /* first position in the padded planes */
  int32_t out; /* first output */
  int32_t n;   /* outputs to store; V_LANES may store a surplus that later tiles overwrite */
};

/* Outputs (i, j) of rows x cols at out0 + i * out_row + j * out_col. */
struct grid {
  int64_t rows, cols, pitch;
  int64_t out0, out_row, out_col;
};

struct pass {
  const real *x;
  const real *w;
  int64_t w_row;      /* between the weights of two output channels */
  const real *packed; /* all of them in the order of use (pack_all); NULL: chunk by chunk */
  real *pack;         /* room for one panel's chunk */
  const real *bias;
  bool relu;
  real *y;
  int64_t y_row, rows;
  const struct tap *taps;
  int64_t n_taps;
  const struct tile *tiles;
  int64_t n_tiles;
  const int32_t *map; /* 16 outputs per tile, -1: none */
  real *totals;       /* rows x BLOCK_TILES * 16 */
};

/* STATEMENT for each constant I below COUNT, itself constant after inlining: a register tile is an
 * array, and stays in registers only if no loop indexes it. */
#define EACH_CASE(INDEX, COUNT, ...) \
  if ((INDEX) < (COUNT)) {           \
    enum { I = (INDEX) };            \
    __VA_ARGS__;                     \
  }
#define EACH_FOUR(FIRST, COUNT, ...)         \
  EACH_CASE((FIRST), COUNT, __VA_ARGS__)     \
  EACH_CASE((FIRST) + 1, COUNT, __VA_ARGS__) \
  EACH_CASE((FIRST) + 2, COUNT, __VA_ARGS__) \
  EACH_CASE((FIRST) + 3, COUNT, __VA_ARGS__)
#define EACH_EIGHT(COUNT, ...)     \
  EACH_FOUR(0, COUNT, __VA_ARGS__) \
  EACH_FOUR(4, COUNT, __VA_ARGS__)
#define EACH(COUNT, ...)            \
  EACH_EIGHT(COUNT, __VA_ARGS__)    \
  EACH_FOUR(8, COUNT, __VA_ARGS__)  \
  EACH_FOUR(12, COUNT, __VA_ARGS__) \
  EACH_FOUR(16, COUNT, __VA_ARGS__) \
  EACH_FOUR(20, COUNT, __VA_ARGS__)

static int64_t min64(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static int64_t max64(int64_t a, int64_t b) {
  return a > b ? a : b;
}

static int64_t floor_div(int64_t a, int64_t b) {
  return a >= 0 ? a / b : -plane_ceil_div(-a, b);
}

/* ---- tiles */

static int64_t count_by_rows(const struct grid *g) {
  return max64(g->rows, 0) * plane_ceil_div(max64(g->cols, 0), V_LANES);
}

static int64_t count_flat(const struct grid *g) {
  return g->rows > 0 && g->cols > 0 ? plane_ceil_div((g->rows - 1) * g->pitch + g->cols, V_LANES)
                                    : 0;
}

/* Flat tiles waste less on short rows, and pay for it when they are stored. */
static bool grid_by_rows(const struct grid *g, int64_t n_taps) {
  return g->out_col == 1 && g->out_row == g->cols &&
         count_by_rows(g) * n_taps <= count_flat(g) * (n_taps + 16);
}

static int64_t grid_tiles_most(const struct grid *g) {
  return max64(count_by_rows(g), count_flat(g));
}

/* Rows in vectors: the last vector of a wide row overlaps the one before it; a narrow row's surplus
 * falls on rows that are stored later. */
static int64_t tiles_by_rows(const struct grid *g, struct tile *tiles) {
  const int64_t end = g->out0 + g->rows * g->cols;
  int64_t t = 0;
  for (int64_t i = 0; i < g->rows; i++) {
    for (int64_t j = 0; j < g->cols; j += V_LANES) {
      const int64_t first = max64(min64(j, g->cols - V_LANES), 0);
      const int64_t out = g->out0 + i * g->cols + first;
      tiles[t++] = (struct tile){
          .q = (int32_t)(i * g->pitch + first),
          .out = (int32_t)out,
          .n = (int32_t)(out + V_LANES <= end ? V_LANES : min64(g->cols, V_LANES)),
      };
    }
  }
  return t;
}

/* Positions in the planes in vectors, the padding between rows included. */
static int64_t tiles_flat(const struct grid *g, struct tile *tiles, int32_t *map) {
  const int64_t n = count_flat(g);
  for (int64_t q = 0; q < n * V_LANES; q++) {
    const int64_t i = q / g->pitch, j = q % g->pitch;
    const bool inside = i < g->rows && j < g->cols;
    map[q] = inside ? (int32_t)(g->out0 + i * g->out_row + j * g->out_col) : -1;
  }
  for (int64_t t = 0; t < n; t++) {
    tiles[t] = (struct tile){.q = (int32_t)(t * V_LANES), .out = 0, .n = SCATTER};
  }
  return n;
}

static int64_t grid_fill(const struct grid *g, int64_t n_taps, struct tile *tiles, int32_t *map) {
  return grid_by_rows(g, n_taps) ? tiles_by_rows(g, tiles) : tiles_flat(g, tiles, map);
}

/* ---- the register tile */

V_INLINE void chain_row(vreal *acc, int vecs, real w, const vreal *x) {
  const vreal wv = v_set1(w);
  EACH_FOUR(0, vecs, acc[I] = v_fma(wv, x[I], acc[I]));
}

/* acc[r * vecs + v] = the chain of output channel r and tile v over n taps; w: packed. */
V_INLINE void chain(vreal *acc, int rows, int vecs, const real *x, const struct tile *tiles,
                    const real *w, const struct tap *taps, int64_t n) {
  const real *at[4] = {0};
  EACH(rows * vecs, acc[I] = v_zero());
  EACH_FOUR(0, vecs, at[I] = x + tiles[I].q);
  for (int64_t k = 0; k < n; k++) {
    const int64_t dx = taps[k].x;
    vreal xv[4];
    EACH_FOUR(0, vecs, xv[I] = v_load(at[I] + dx));
    EACH_EIGHT(rows, chain_row(acc + I * vecs, vecs, w[I], xv));
    w += rows;
  }
}

static void scatter(real *y, const int32_t *map, vreal x) {
  real lane[V_LANES];
  v_store(lane, x);
  for (int i = 0; i < V_LANES; i++) {
    if (map[i] >= 0) {
      y[map[i]] = lane[i];
    }
  }
}

/* Bias, RELU and stores of complete sums: whole vectors, straight from the register tile. */
V_INLINE void finish_whole(const struct pass *p, int rows, int64_t row, int64_t out, vreal *acc,
                           int step) {
  real *y = p->y + row * p->y_row + out;
  if (p->bias) {
    const real *bias = p->bias + row;
    EACH_EIGHT(rows, acc[I * step] = v_add(acc[I * step], v_set1(bias[I])));
  }
  if (p->relu) {
    EACH_EIGHT(rows, acc[I * step] = v_max(v_zero(), acc[I * step]));
  }
  EACH_EIGHT(rows, v_store(y + I * p->y_row, acc[I * step]));
}

/* The same for tiles that are stored in part, from the sums in p->totals. */
static __attribute__((noinline)) void finish_parts(const struct pass *p, int rows, int64_t row,
                                                   int64_t t, int vecs, const real *totals) {
  for (int v = 0; v < vecs; v++) {
    const struct tile *tile = p->tiles + t + v;
    for (int r = 0; r < rows; r++) {
      real *y = p->y + (row + r) * p->y_row;
      vreal x = v_load(totals + (r * BLOCK_TILES + v) * V_LANES);
      if (p->bias) {
        x = v_add(x, v_set1(p->bias[row + r]));
      }
      if (p->relu) {
        x = v_max(v_zero(), x);
      }
      if (tile->n == SCATTER) {
        scatter(y, p->map + (t + v) * V_LANES, x);
      } else {
        v_store_n(y + tile->out, x, tile->n);
      }
    }
  }
}

/* One chunk (taps k0 .. k1-1) of `rows` output channels from `row` and `vecs` tiles from t. A tile
 * that is stored whole has only such tiles before it. */
V_INLINE void tile_chunk(const struct pass *p, const real *w, int rows, int vecs, int64_t row,
                         int64_t t, int64_t slot, int64_t k0, int64_t k1) {
  vreal acc[ROWS * 4];
  chain(acc, rows, vecs, p->x, p->tiles + t, w, p->taps + k0, k1 - k0);
  real *totals = p->totals + (row * BLOCK_TILES + slot) * V_LANES;
#define TOTAL (totals + (I / vecs * BLOCK_TILES + I % vecs) * V_LANES)
  if (k0 > 0) {
    EACH(rows * vecs, acc[I] = v_add(v_load(TOTAL), acc[I]));
  }
  const bool last = k1 == p->n_taps;
  if (last && p->tiles[t + vecs - 1].n == V_LANES) {
    EACH_FOUR(0, vecs, finish_whole(p, rows, row, p->tiles[t + I].out, acc + I, vecs));
    return;
  }
  EACH(rows * vecs, v_store(TOTAL, acc[I]));
  if (last) {
    finish_parts(p, rows, row, t, vecs, totals);
  }
#undef TOTAL
}

V_INLINE void block_chunk(const struct pass *p, const real *w, int rows, int vecs, int64_t row,
                          int64_t t0, int64_t t1, int64_t k0, int64_t k1) {
  int64_t t = t0;
  for (; t + vecs <= t1; t += vecs) {
    tile_chunk(p, w, rows, vecs, row, t, t - t0, k0, k1);
  }
  if (vecs > 2 && t + 2 <= t1) {
    tile_chunk(p, w, rows, 2, row, t, t - t0, k0, k1);
    t += 2;
  }
  if (vecs > 1) {
    for (; t < t1; t++) {
      tile_chunk(p, w, rows, 1, row, t, t - t0, k0, k1);
    }
  }
}

#if defined(STK_ISA_AVX512)
enum { VECS1 = 4, VECS2 = 4, VECS3 = 4, VECS4 = 4, VECS_MORE = 3 };
#else
enum { VECS1 = 4, VECS2 = 2, VECS3 = 2, VECS4 = 1, VECS_MORE = 1 };
#endif

#define ROWS_CASE(ROWS_HERE, VECS)                           \
  case ROWS_HERE:                                            \
    block_chunk(p, w, ROWS_HERE, VECS, row, t0, t1, k0, k1); \
    break;

static void rows_chunk(const struct pass *p, const real *w, int64_t rows, int64_t row, int64_t t0,
                       int64_t t1, int64_t k0, int64_t k1) {
  switch (rows) {
    ROWS_CASE(1, VECS1)
    ROWS_CASE(2, VECS2)
    ROWS_CASE(3, VECS3)
    ROWS_CASE(4, VECS4)
    ROWS_CASE(5, VECS_MORE)
    ROWS_CASE(6, VECS_MORE)
#if defined(STK_ISA_AVX512)
    ROWS_CASE(7, VECS_MORE)
    ROWS_CASE(8, VECS_MORE)
#endif
    default:
      break;
  }
}

/* Weights of `rows` output channels from `row` and taps k0 .. k1-1: tap by tap, one after the
 * other. */
static void pack_chunk(const struct pass *p, int64_t row, int64_t rows, int64_t k0, int64_t k1,
                       real *to) {
  for (int64_t k = k0; k < k1; k++) {
    const real *from = p->w + row * p->w_row + p->taps[k].w;
    for (int64_t r = 0; r < rows; r++) {
      *to++ = from[r * p->w_row];
    }
  }
}

static int64_t panel_rows(const struct pass *p, int64_t row, int64_t panels_left) {
  return plane_ceil_div(p->rows - row, panels_left);
}

/* All weights, panel by panel: rows * n_taps of them. */
static void pack_all(const struct pass *p, real *to) {
  const int64_t panels = plane_ceil_div(p->rows, ROWS);
  int64_t row = 0;
  for (int64_t i = 0; i < panels; i++) {
    const int64_t rows = panel_rows(p, row, panels - i);
    pack_chunk(p, row, rows, 0, p->n_taps, to + row * p->n_taps);
    row += rows;
  }
}

static const real *panel_weights(const struct pass *p, int64_t row, int64_t rows, int64_t k0,
                                 int64_t k1) {
  if (p->packed) {
    return p->packed + row * p->n_taps + k0 * rows;
  }
  pack_chunk(p, row, rows, k0, k1, p->pack);
  return p->pack;
}

static void pass_run(const struct pass *p) {
  const int64_t panels = plane_ceil_div(p->rows, ROWS);
  for (int64_t t0 = 0; t0 < p->n_tiles; t0 += BLOCK_TILES) {
    const int64_t t1 = min64(t0 + BLOCK_TILES, p->n_tiles);
    int64_t k0 = 0;
    do {
      const int64_t k1 = min64(k0 + CHUNK, p->n_taps);
      int64_t row = 0;
      for (int64_t i = 0; i < panels; i++) {
        const int64_t rows = panel_rows(p, row, panels - i);
        rows_chunk(p, panel_weights(p, row, rows, k0, k1), rows, row, t0, t1, k0, k1);
        row += rows;
      }
      k0 = k1;
    } while (k0 < p->n_taps);
  }
}

/* ---- units */

struct bands {
  int64_t rows; /* of one band: a multiple of step, or all */
  int64_t n;    /* bands of one image */
};

/* Cuts `height` rows so that a band's planes stay near BAND_REALS and small batches still make
 * enough units. */
static struct bands bands_of(int64_t height, int64_t step, int64_t reals_per_row, int64_t extra,
                             int64_t images) {
  const int64_t most = max64(BAND_REALS / max64(reals_per_row, 1) - extra, 1);
  int64_t n = plane_ceil_div(height, most * step);
  n = max64(n, min64(plane_ceil_div(MIN_UNITS, max64(images, 1)),
                     plane_ceil_div(height, max64(MIN_BAND, step))));
  const int64_t rows = plane_ceil_div(plane_ceil_div(height, max64(n, 1)), step) * step;
  return (struct bands){rows, plane_ceil_div(height, max64(rows, 1))};
}

static int64_t tap_span(int64_t k, int64_t dil) {
  return (k - 1) * dil;
}

struct room {
  real *planes, *totals;
  real *y;      /* a band's outputs before they are pooled */
  real *packed; /* every weight, or NULL where they are too many to copy for one call */
  real *pack;   /* one panel's chunk */
  struct tap *taps;
  struct tile *tiles;
  int32_t *map;
  size_t bytes;
};

static real *carve_packed(struct carve *c, const struct stk_conv_shape *s) {
  const int64_t n = s->co * (s->c / s->groups) * s->kh * s->kw;
  return n <= PACKED_REALS ? carve(c, n, sizeof(real)) : NULL;
}

/* ---- forward */

static struct bands forward_bands(const struct stk_conv_args *a, struct plane *pl) {
  const struct stk_conv_shape *s = &a->s;
  const int64_t extra = tap_span(s->kh, s->dil_h) / s->stride_h;
  const int64_t pitch = s->ow + tap_span(s->kw, s->dil_w) / s->stride_w;
  const int64_t planes = s->c / s->groups * s->stride_h * s->stride_w * pitch;
  const int64_t outputs = s->co / s->groups * s->ow;
  const struct bands b = a->argmax ? bands_of(s->oh, 2, max64(planes, outputs), extra, s->n)
                                   : bands_of(s->oh, 1, planes, extra, s->n);
  plane_set(pl, s->stride_h, s->stride_w, b.rows + extra, pitch);
  pl->col0 = -s->pad_w;
  return b;
}

static int64_t forward_taps(const struct stk_conv_shape *s, const struct plane *pl,
                            struct tap *taps) {
  int64_t k = 0;
  for (int64_t c = 0; c < s->c / s->groups; c++) {
    for (int64_t i = 0; i < s->kh; i++) {
      for (int64_t j = 0; j < s->kw; j++, k++) {
        taps[k] = (struct tap){
            .x = (int32_t)(c * pl->channel + plane_at(pl, i * s->dil_h, j * s->dil_w)),
            .w = (int32_t)k,
        };
      }
    }
  }
  return k;
}

static struct grid forward_grid(const struct stk_conv_shape *s, const struct plane *pl,
                                int64_t rows) {
  return (struct grid){rows, s->ow, pl->pitch, 0, s->ow, 1};
}

static struct room forward_room(const struct stk_conv_args *a, void *scratch) {
  const struct stk_conv_shape *s = &a->s;
  struct plane pl;
  const struct bands b = forward_bands(a, &pl);
  const struct grid g = forward_grid(s, &pl, b.rows);
  const int64_t channels = s->c / s->groups, n_taps = channels * s->kh * s->kw;
  const int64_t n_tiles = grid_tiles_most(&g);
  struct carve c = {scratch, 0};
  struct room r;
  r.planes = carve(&c, channels * pl.channel + PLANE_SLACK, sizeof(real));
  r.taps = carve(&c, n_taps, sizeof(struct tap));
  r.tiles = carve(&c, n_tiles, sizeof(struct tile));
  r.map = carve(&c, n_tiles * V_LANES, sizeof(int32_t));
  r.totals = carve(&c, s->co / s->groups * BLOCK_TILES * V_LANES, sizeof(real));
  r.y = carve(&c, a->argmax ? s->co / s->groups * b.rows * s->ow : 0, sizeof(real));
  r.packed = carve_packed(&c, s);
  r.pack = carve(&c, ROWS * CHUNK, sizeof(real));
  r.bytes = c.at;
  return r;
}

static int64_t conv_units(const void *args, int n_threads) {
  const struct stk_conv_args *a = args;
  struct plane pl;
  (void)n_threads;
  return a->s.n * forward_bands(a, &pl).n;
}

static size_t conv_scratch(const void *args) {
  const struct stk_conv_args *a = args;
  return forward_room(a, NULL).bytes;
}

/* The maxima of `rows` rows from row `from` of `outputs` channels, of which the first is channel
 * `plane` of all images. */
static void conv_pool(const struct stk_conv_args *a, const struct pass *p, int64_t plane,
                      int64_t from, int64_t rows) {
  const int64_t oh = a->s.oh / 2, ow = a->s.ow / 2;
  for (int64_t co = 0; co < p->rows; co++) {
    const int64_t at = ((plane + co) * oh + from / 2) * ow;
    pool_max_2x2(p->y + co * p->y_row, a->s.ow, (real *)a->y + at, a->argmax + at, from / 2,
                 rows / 2, ow, a->mark);
  }
}

static void conv_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_conv_args *a = args;
  const struct stk_conv_shape *s = &a->s;
  const struct room room = forward_room(a, scratch);
  struct plane pl;
  const struct bands b = forward_bands(a, &pl);
  const int64_t channels = s->c / s->groups, outputs = s->co / s->groups;
  const int64_t extra = pl.rows - b.rows;
  struct pass p = {.x = room.planes,
                   .w_row = channels * s->kh * s->kw,
                   .relu = a->relu,
                   .y_row = a->argmax ? b.rows * s->ow : s->oh * s->ow,
                   .rows = outputs,
                   .taps = room.taps,
                   .n_taps = forward_taps(s, &pl, room.taps),
                   .tiles = room.tiles,
                   .map = room.map,
                   .totals = room.totals,
                   .pack = room.pack};
  const int64_t group_weights = outputs * p.w_row;
  for (int64_t g = 0; room.packed && g < s->groups; g++) {
    p.w = (const real *)a->w + g * group_weights;
    pack_all(&p, room.packed + g * group_weights);
  }
  int64_t rows_before = 0;
  for (int64_t u = lo; u < hi; u++) {
    const int64_t n = u / b.n, from = u % b.n * b.rows;
    const int64_t rows = min64(b.rows, s->oh - from);
    if (rows != rows_before) {
      const struct grid g = forward_grid(s, &pl, rows);
      p.n_tiles = grid_fill(&g, p.n_taps, room.tiles, room.map);
      rows_before = rows;
    }
    pl.row0 = from * s->stride_h - s->pad_h;
    for (int64_t g = 0; g < s->groups; g++) {
      const real *x = (const real *)a->x + (n * s->c + g * channels) * s->h * s->w;
      plane_load(&pl, room.planes, (struct image){x, s->h, s->w}, channels, rows + extra, (real)0);
      if (u + 1 < hi && b.n == 1) {
        plane_prefetch(x + s->c * s->h * s->w, min64(channels * s->h * s->w, NEXT_REALS));
      }
      p.w = (const real *)a->w + g * group_weights;
      p.packed = room.packed ? room.packed + g * group_weights : NULL;
      p.bias = a->bias ? (const real *)a->bias + g * outputs : NULL;
      p.y = a->argmax ? room.y : (real *)a->y + (n * s->co + g * outputs) * p.y_row + from * s->ow;
      pass_run(&p);
      if (a->argmax) {
        conv_pool(a, &p, n * s->co + g * outputs, from, rows);
      }
    }
  }
}

extern const struct stk_kernel KFN(conv);
const struct stk_kernel KFN(conv) = {"conv", conv_units, conv_scratch, conv_run};

/* ---- gradient of the input */

/* Where a stride phase of the input finds its taps and tiles. */
struct phase {
  int64_t tap, n_taps, tile, n_tiles;
};

static int64_t dx_low(int64_t pad, int64_t k, int64_t dil, int64_t stride) {
  return floor_div(pad - tap_span(k, dil), stride);
}

/* Rows of the padded gradient that `rows` input rows (a multiple of the stride, or the rest) need
 * beyond rows / stride. */
static int64_t dx_extra(int64_t pad, int64_t k, int64_t dil, int64_t stride) {
  return floor_div(pad + stride - 1, stride) - dx_low(pad, k, dil, stride);
}

static struct bands dx_bands(const struct stk_conv_shape *s, struct plane *pl) {
  const int64_t extra = dx_extra(s->pad_h, s->kh, s->dil_h, s->stride_h);
  const int64_t pitch =
      plane_ceil_div(s->w, s->stride_w) + dx_extra(s->pad_w, s->kw, s->dil_w, s->stride_w);
  const int64_t channels = s->co / s->groups;
  const struct bands b = bands_of(s->h, s->stride_h, channels * pitch, extra, s->n);
  plane_set(pl, 1, 1, plane_ceil_div(b.rows, s->stride_h) + extra, pitch);
  pl->col0 = dx_low(s->pad_w, s->kw, s->dil_w, s->stride_w);
  return b;
}

/* The taps of input phase (r, c): those whose output position is whole. */
static int64_t dx_taps(const struct stk_conv_shape *s, const struct plane *pl, int64_t r, int64_t c,
                       struct tap *taps) {
  const int64_t low = dx_low(s->pad_h, s->kh, s->dil_h, s->stride_h);
  const int64_t window = s->kh * s->kw, per_out = s->c / s->groups * window;
  int64_t n = 0;
  for (int64_t co = 0; co < s->co / s->groups; co++) {
    for (int64_t i = 0; i < s->kh; i++) {
      const int64_t down = r + s->pad_h - i * s->dil_h;
      for (int64_t j = 0; j < s->kw; j++) {
        const int64_t right = c + s->pad_w - j * s->dil_w;
        if (down % s->stride_h == 0 && right % s->stride_w == 0) {
          const int64_t at =
              (down / s->stride_h - low) * pl->pitch + right / s->stride_w - pl->col0;
          taps[n++] = (struct tap){.x = (int32_t)(co * pl->channel + at),
                                   .w = (int32_t)(co * per_out + i * s->kw + j)};
        }
      }
    }
  }
  return n;
}

/* The positions of input phase (r, c) in a band of `rows` rows. */
static struct grid dx_grid(const struct stk_conv_shape *s, const struct plane *pl, int64_t r,
                           int64_t c, int64_t rows) {
  return (struct grid){.rows = floor_div(rows - r + s->stride_h - 1, s->stride_h),
                       .cols = floor_div(s->w - c + s->stride_w - 1, s->stride_w),
                       .pitch = pl->pitch,
                       .out0 = r * s->w + c,
                       .out_row = s->stride_h * s->w,
                       .out_col = s->stride_w};
}

static struct room dx_room(const struct stk_conv_shape *s, void *scratch, struct phase **phases) {
  struct plane pl;
  const struct bands b = dx_bands(s, &pl);
  const struct grid g = dx_grid(s, &pl, 0, 0, b.rows); /* no phase has more positions */
  const int64_t n_phases = s->stride_h * s->stride_w;
  const int64_t n_tiles = n_phases * grid_tiles_most(&g);
  const int64_t channels = s->co / s->groups;
  struct carve c = {scratch, 0};
  struct room r;
  r.planes = carve(&c, channels * pl.channel + PLANE_SLACK, sizeof(real));
  r.taps = carve(&c, channels * s->kh * s->kw, sizeof(struct tap));
  r.tiles = carve(&c, n_tiles, sizeof(struct tile));
  r.map = carve(&c, n_tiles * V_LANES, sizeof(int32_t));
  r.totals = carve(&c, s->c / s->groups * BLOCK_TILES * V_LANES, sizeof(real));
  *phases = carve(&c, n_phases, sizeof(struct phase));
  r.packed = carve_packed(&c, s);
  r.pack = carve(&c, ROWS * CHUNK, sizeof(real));
  r.bytes = c.at;
  return r;
}

static void dx_tiles(const struct stk_conv_shape *s, const struct plane *pl, int64_t rows,
                     const struct room *room, struct phase *phases) {
  int64_t tile = 0;
  for (int64_t i = 0; i < s->stride_h * s->stride_w; i++) {
    const struct grid g = dx_grid(s, pl, i / s->stride_w, i % s->stride_w, rows);
    phases[i].tile = tile;
    phases[i].n_tiles =
        grid_fill(&g, phases[i].n_taps, room->tiles + tile, room->map + tile * V_LANES);
    tile += phases[i].n_tiles;
  }
}

static int64_t dx_units(const void *args, int n_threads) {
  const struct stk_conv_dx_args *a = args;
  struct plane pl;
  (void)n_threads;
  return a->s.n * dx_bands(&a->s, &pl).n;
}

static size_t dx_scratch(const void *args) {
  const struct stk_conv_dx_args *a = args;
  struct phase *phases;
  const size_t bytes = dx_room(&a->s, NULL, &phases).bytes;
  return dx_maxima_fit(a) ? bytes + dx_maxima_of(a, NULL).bytes : bytes;
}

/* Every phase of one group. packed: the group's weights, in the order of phases, or NULL. */
static void dx_group(const struct stk_conv_shape *s, struct pass *p, const struct room *room,
                     const struct phase *phases, const real *packed) {
  for (int64_t i = 0; i < s->stride_h * s->stride_w; i++) {
    p->packed = packed ? packed + phases[i].tap * p->rows : NULL;
    p->taps = room->taps + phases[i].tap;
    p->n_taps = phases[i].n_taps;
    p->tiles = room->tiles + phases[i].tile;
    p->n_tiles = phases[i].n_tiles;
    p->map = room->map + phases[i].tile * V_LANES;
    pass_run(p);
  }
}

static void dx_pack(const struct stk_conv_shape *s, struct pass *p, const struct room *room,
                    const struct phase *phases, real *to) {
  for (int64_t i = 0; i < s->stride_h * s->stride_w; i++) {
    p->taps = room->taps + phases[i].tap;
    p->n_taps = phases[i].n_taps;
    pack_all(p, to + phases[i].tap * p->rows);
  }
}

/* Row `row` of a plane at `to`, between its padding; g and argmax are of its maxima. What is
 * written beyond the row is +0, and the next row comes later. */
V_INLINE void dx_unpool_row(const struct plane *pl, const real *g, const int32_t *argmax,
                            int64_t row, int64_t ow, real *to) {
  const int64_t left = -pl->col0, right = left + 2 * ow;
  plane_fill_over(to, left, (real)0);
  for (int64_t j = 0; j < ow; j += V_LANES) {
    const int64_t n = min64(ow - j, V_LANES);
    const struct pool_rows r = unpool_2x2(g + j, argmax + j, row / 2 * 2, j, ow, n);
    v_store(to + left + 2 * j, row % 2 ? r.bottom[0] : r.top[0]);
    v_store(to + left + 2 * j + V_LANES, row % 2 ? r.bottom[1] : r.top[1]);
  }
  plane_fill_over(to + right, pl->pitch - right, (real)0);
}

/* Rows `row`, which is even, and row + 1, where a row's maxima are one vector. */
V_INLINE void dx_unpool_both(const struct plane *pl, const real *g, const int32_t *argmax,
                             int64_t row, int64_t ow, real *to) {
  const int64_t left = -pl->col0, right = left + 2 * ow;
  const struct pool_rows r = unpool_2x2(g, argmax, row, 0, ow, ow);
  for (int half = 0; half < 2; half++) {
    plane_fill_over(to, left, (real)0);
    v_store(to + left, half ? r.bottom[0] : r.top[0]);
    v_store(to + left + V_LANES, half ? r.bottom[1] : r.top[1]);
    plane_fill_over(to + right, pl->pitch - right, (real)0);
    to += pl->pitch;
  }
}

/* The planes of a band, from the gradients of maxima of `channels` channels. Rows ascend, so that a
 * row's surplus is overwritten. */
static void dx_unpool(const struct stk_conv_dx_args *a, const struct plane *pl, real *to,
                      int64_t channel, int64_t channels) {
  const int64_t ow = a->s.ow / 2, pooled = a->s.oh / 2 * ow;
  for (int64_t c = 0; c < channels; c++) {
    const real *g = (const real *)a->g + (channel + c) * pooled;
    const int32_t *argmax = a->argmax + (channel + c) * pooled;
    for (int64_t i = 0; i < pl->rows;) {
      const int64_t row = pl->row0 + i, at = row / 2 * ow;
      real *plane = to + (c * pl->rows + i) * pl->pitch;
      if (row < 0 || row >= a->s.oh) {
        plane_fill_over(plane, pl->pitch, (real)0);
        i++;
      } else if (row % 2 == 0 && i + 1 < pl->rows && ow <= V_LANES) {
        dx_unpool_both(pl, g + at, argmax + at, row, ow, plane);
        i += 2;
      } else {
        dx_unpool_row(pl, g + at, argmax + at, row, ow, plane);
        i++;
      }
    }
  }
}

static void dx_prefetch(const struct stk_conv_dx_args *a, int64_t channel, int64_t channels) {
  const int64_t plane = a->argmax ? a->s.oh / 2 * (a->s.ow / 2) : a->s.oh * a->s.ow;
  const int64_t reals = min64(channels * plane, NEXT_REALS);
  plane_prefetch((const real *)a->g + channel * plane, reals);
  if (a->argmax) {
    plane_prefetch((const real *)(const void *)(a->argmax + channel * plane), reals);
  }
}

static void dx_dense(const struct stk_conv_dx_args *a, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_conv_shape *s = &a->s;
  struct phase *phases;
  const struct room room = dx_room(s, scratch, &phases);
  struct plane pl;
  const struct bands b = dx_bands(s, &pl);
  const int64_t channels = s->c / s->groups, outputs = s->co / s->groups;
  int64_t n_taps = 0;
  for (int64_t i = 0; i < s->stride_h * s->stride_w; i++) {
    phases[i].tap = n_taps;
    phases[i].n_taps = dx_taps(s, &pl, i / s->stride_w, i % s->stride_w, room.taps + n_taps);
    n_taps += phases[i].n_taps;
  }
  struct pass p = {.x = room.planes,
                   .w_row = s->kh * s->kw,
                   .y_row = s->h * s->w,
                   .rows = channels,
                   .totals = room.totals,
                   .pack = room.pack};
  const int64_t group_weights = outputs * channels * p.w_row;
  for (int64_t g = 0; room.packed && g < s->groups; g++) {
    p.w = (const real *)a->w + g * group_weights;
    dx_pack(s, &p, &room, phases, room.packed + g * group_weights);
  }
  int64_t rows_before = 0;
  for (int64_t u = lo; u < hi; u++) {
    const int64_t n = u / b.n, from = u % b.n * b.rows;
    const int64_t rows = min64(b.rows, s->h - from);
    if (rows != rows_before) {
      dx_tiles(s, &pl, rows, &room, phases);
      rows_before = rows;
    }
    pl.row0 = from / s->stride_h + dx_low(s->pad_h, s->kh, s->dil_h, s->stride_h);
    for (int64_t g = 0; g < s->groups; g++) {
      const int64_t channel = n * s->co + g * outputs;
      const struct image im = {(const real *)a->g + channel * s->oh * s->ow, s->oh, s->ow};
      if (u + 1 < hi && b.n == 1) {
        dx_prefetch(a, channel + s->co, outputs);
      }
      if (a->argmax) {
        dx_unpool(a, &pl, room.planes, channel, outputs);
      } else {
        plane_load(&pl, room.planes, im, outputs, pl.rows, (real)0);
      }
      p.w = (const real *)a->w + g * group_weights;
      p.y = (real *)a->dx + (n * s->c + g * channels) * p.y_row + from * s->w;
      dx_group(s, &p, &room, phases, room.packed ? room.packed + g * group_weights : NULL);
    }
  }
}

/* Where a unit is an image, maxima do without zeros, and images that cannot are done densely. */
static void dx_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_conv_dx_args *a = args;
  struct dx_maxima m = {.is_finite = false};
  if (dx_maxima_fit(a) && dx_units(a, 1) == a->s.n) {
    struct phase *phases;
    m = dx_maxima_of(a, (char *)scratch + dx_room(&a->s, NULL, &phases).bytes);
  }
  if (!m.is_finite) {
    dx_dense(a, lo, hi, scratch);
    return;
  }
  for (int64_t u = lo; u < hi; u++) {
    if (u + 1 < hi) {
      dx_prefetch(a, (u + 1) * a->s.co, a->s.co);
    }
    if (!dx_maxima_run(&m, u)) {
      dx_dense(a, u, u + 1, scratch);
    }
  }
}

extern const struct stk_kernel KFN(conv_dx);
const struct stk_kernel KFN(conv_dx) = {"conv_dx", dx_units, dx_scratch, dx_run};
