/* Max and average pooling over windows of a plane, and their gradients.
 *
 * Max takes the first maximum in (kh, kw) order and remembers its place h * W + w in the input
 * plane; the first NaN beats every number; padding never wins. Average adds the window's elements
 * in (kh, kw) order from +0, padding as zeros, and divides by kh * kw. Backward starts from +0 and
 * adds in ascending output index: g to the remembered place, or g / (kh * kw) to every element of
 * the window. docs/numerics.md, "Pooling".
 *
 * Forward works on padded planes split into stride phases (conv_plane.h), 16 neighbouring outputs
 * at a time; 2 x 2 maxima without padding (pool_2x2.h) read the input itself. A unit is a few
 * planes.
 */
#include "engine/kernel/conv_plane.h"
#include "engine/kernel/pool_2x2.h"

enum { UNIT = 16384 };

static int64_t planes_per_unit(const struct stk_conv_shape *s) {
  const int64_t size = s->h * s->w;
  return size >= UNIT ? 1 : UNIT / (size > 0 ? size : 1);
}

static int64_t units_of(const struct stk_conv_shape *s) {
  return plane_ceil_div(s->n * s->c, planes_per_unit(s));
}

static int64_t end_of(const struct stk_conv_shape *s, int64_t hi) {
  const int64_t end = hi * planes_per_unit(s), all = s->n * s->c;
  return end < all ? end : all;
}

/* ---- forward */

/* Scratch of one call. base and first are per position of a flat walk over the outputs: the place
 * of the window's corner in the input plane (maybe outside), and of its first element inside. at
 * and step are per element of the window: its distance in the padded plane, and in the input. */
struct room {
  real *plane, *value;
  int32_t *base, *first, *place;
  int32_t *at, *step;
  int64_t positions; /* a multiple of V_LANES */
  int64_t window;
  size_t bytes;
};

static void plane_of(const struct stk_conv_shape *s, struct plane *pl) {
  const int64_t down = (s->kh - 1) / s->stride_h, right = (s->kw - 1) / s->stride_w;
  plane_set(pl, s->stride_h, s->stride_w, s->oh + down, s->ow + right);
  pl->row0 = -s->pad_h;
  pl->col0 = -s->pad_w;
}

static struct room room_of(const struct stk_conv_shape *s, const struct plane *pl, char *scratch) {
  struct room r = {.positions = plane_ceil_div(s->oh * pl->pitch, V_LANES) * V_LANES,
                   .window = s->kh * s->kw};
  const int64_t plane = plane_ceil_div(pl->channel + PLANE_SLACK, 16) * 16;
  r.bytes = (size_t)(plane + r.positions) * sizeof(real) +
            (size_t)(3 * r.positions + 2 * r.window) * sizeof(int32_t);
  if (scratch) {
    r.plane = (real *)(void *)scratch;
    r.value = r.plane + plane;
    r.base = (int32_t *)(void *)(r.value + r.positions);
    r.first = r.base + r.positions;
    r.place = r.first + r.positions;
    r.at = r.place + r.positions;
    r.step = r.at + r.window;
  }
  return r;
}

static void room_fill(const struct stk_conv_shape *s, const struct plane *pl, struct room *r) {
  for (int64_t q = 0; q < r->positions; q++) {
    const int64_t row = q / pl->pitch * s->stride_h - s->pad_h;
    const int64_t col = q % pl->pitch * s->stride_w - s->pad_w;
    r->base[q] = (int32_t)(row * s->w + col);
    r->first[q] = (int32_t)((row > 0 ? row : 0) * s->w + (col > 0 ? col : 0));
  }
  for (int64_t k = 0; k < r->window; k++) {
    r->at[k] = (int32_t)plane_at(pl, k / s->kw, k % s->kw);
    r->step[k] = (int32_t)(k / s->kw * s->w + k % s->kw);
  }
}

/* Outputs of the 16 positions from q. */
V_INLINE vreal max_at(const struct room *r, int64_t q, vint *out_place) {
  vreal best = v_set1((real)-__builtin_inf());
  vint place = vi_load(r->first + q);
  const vint base = vi_load(r->base + q);
  for (int64_t k = 0; k < r->window; k++) {
    const vreal x = v_load(r->plane + r->at[k] + q);
    pool_beats(x, vi_add(base, vi_set1(r->step[k])), &best, &place);
  }
  *out_place = place;
  return best;
}

V_INLINE vreal mean_at(const struct room *r, int64_t q) {
  vreal sum = v_zero();
  for (int64_t k = 0; k < r->window; k++) {
    sum = v_add(sum, v_load(r->plane + r->at[k] + q));
  }
  return v_div(sum, v_set1((real)r->window));
}

/* y and argmax (NULL: mean) at positions 0 .. count-1. */
static void pool_flat(const struct room *r, real *y, int32_t *argmax, int64_t count) {
  for (int64_t q = 0; q < count; q += V_LANES) {
    const int64_t n = count - q < V_LANES ? count - q : V_LANES;
    vint place;
    const vreal value = argmax ? max_at(r, q, &place) : mean_at(r, q);
    if (n == V_LANES) {
      v_store(y + q, value);
    } else {
      v_store_n(y + q, value, n);
    }
    if (argmax && n == V_LANES) {
      vi_store(argmax + q, place);
    } else if (argmax) {
      vi_store_n(argmax + q, place, n);
    }
  }
}

static void pool_plane(const struct stk_pool_args *a, const struct plane *pl, const struct room *r,
                       int64_t index) {
  const struct stk_conv_shape *s = &a->s;
  real *y = (real *)a->y + index * s->oh * s->ow;
  int32_t *argmax = a->max ? a->argmax + index * s->oh * s->ow : NULL;
  if (pl->pitch == s->ow) {
    pool_flat(r, y, argmax, s->oh * s->ow);
    return;
  }
  pool_flat(r, r->value, argmax ? r->place : NULL, (s->oh - 1) * pl->pitch + s->ow);
  for (int64_t i = 0; i < s->oh; i++) {
    for (int64_t j = 0; j < s->ow; j++) {
      y[i * s->ow + j] = r->value[i * pl->pitch + j];
    }
    for (int64_t j = 0; argmax && j < s->ow; j++) {
      argmax[i * s->ow + j] = r->place[i * pl->pitch + j];
    }
  }
}

static int64_t pool_units(const void *args, int n_threads) {
  const struct stk_pool_args *a = args;
  (void)n_threads;
  return units_of(&a->s);
}

static size_t pool_scratch(const void *args) {
  const struct stk_pool_args *a = args;
  struct plane pl;
  plane_of(&a->s, &pl);
  return room_of(&a->s, &pl, NULL).bytes;
}

static void pool_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_pool_args *a = args;
  const struct stk_conv_shape *s = &a->s;
  struct plane pl;
  plane_of(s, &pl);
  struct room room = room_of(s, &pl, scratch);
  room_fill(s, &pl, &room);
  const real pad = a->max ? (real)-__builtin_inf() : (real)0;
  const int64_t end = end_of(s, hi), out = s->oh * s->ow;
  for (int64_t p = lo * planes_per_unit(s); p < end; p++) {
    if (a->max && is_2x2(s)) {
      pool_max_2x2((const real *)a->x + p * s->h * s->w, s->w, (real *)a->y + p * out,
                   a->argmax + p * out, 0, s->oh, s->ow, false);
      continue;
    }
    const struct image im = {(const real *)a->x + p * s->h * s->w, s->h, s->w};
    plane_load(&pl, room.plane, im, 1, pl.rows, pad);
    pool_plane(a, &pl, &room, p);
  }
}

extern const struct stk_kernel KFN(pool);
const struct stk_kernel KFN(pool) = {"pool", pool_units, pool_scratch, pool_run};

/* ---- backward */

/* 32 elements, or what is left of the plane. */
V_INLINE void store_rows(real *to, const vreal *x, int64_t left) {
  if (left >= 2 * V_LANES) {
    v_store(to, x[0]);
    v_store(to + V_LANES, x[1]);
  } else {
    v_store_n(to, x[0], left < V_LANES ? left : V_LANES);
    v_store_n(to + V_LANES, x[1], left < V_LANES ? 0 : left - V_LANES);
  }
}

/* Windows of 2 x 2 that cover the plane: every row is written once. A row's surplus falls on what
 * is stored later: the upper rows of two go first. */
static void unpool_max_2x2(const struct stk_conv_shape *s, const real *g, const int32_t *argmax,
                           real *dx) {
  const int64_t all = s->h * s->w;
  for (int64_t row = 0; row < s->h; row += 2) {
    const int64_t out = row / 2 * s->ow;
    for (int half = 0; half < 2; half++) {
      for (int64_t j = 0; j < s->ow; j += V_LANES) {
        const int64_t n = s->ow - j < V_LANES ? s->ow - j : V_LANES;
        const int64_t at = (row + half) * s->w + 2 * j;
        const struct pool_rows r = unpool_2x2(g + out + j, argmax + out + j, row, j, s->ow, n);
        store_rows(dx + at, half ? r.bottom : r.top, all - at);
      }
    }
  }
}

static void unpool_max(const struct stk_conv_shape *s, const real *g, const int32_t *argmax,
                       real *dx) {
  for (int64_t o = 0; o < s->oh * s->ow; o++) {
    dx[argmax[o]] += g[o];
  }
}

static void unpool_mean(const struct stk_conv_shape *s, const real *g, real *dx) {
  const real window = (real)(s->kh * s->kw);
  for (int64_t oh = 0; oh < s->oh; oh++) {
    const int64_t row = oh * s->stride_h - s->pad_h;
    const int64_t row1 = row + s->kh < s->h ? row + s->kh : s->h;
    for (int64_t ow = 0; ow < s->ow; ow++) {
      const real share = g[oh * s->ow + ow] / window;
      const int64_t col = ow * s->stride_w - s->pad_w;
      const int64_t col1 = col + s->kw < s->w ? col + s->kw : s->w;
      for (int64_t i = row > 0 ? row : 0; i < row1; i++) {
        for (int64_t j = col > 0 ? col : 0; j < col1; j++) {
          dx[i * s->w + j] += share;
        }
      }
    }
  }
}

static int64_t unpool_units(const void *args, int n_threads) {
  const struct stk_pool_bwd_args *a = args;
  (void)n_threads;
  return units_of(&a->s);
}

static void unpool_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_pool_bwd_args *a = args;
  const struct stk_conv_shape *s = &a->s;
  const int64_t in = s->h * s->w, out = s->oh * s->ow, end = end_of(s, hi);
  (void)scratch;
  for (int64_t p = lo * planes_per_unit(s); p < end; p++) {
    real *dx = (real *)a->dx + p * in;
    const real *g = (const real *)a->g + p * out;
    if (a->max && is_2x2(s) && s->h == 2 * s->oh && s->w == 2 * s->ow) {
      unpool_max_2x2(s, g, a->argmax + p * out, dx);
      continue;
    }
    plane_fill(dx, in, (real)0);
    if (a->max) {
      unpool_max(s, g, a->argmax + p * out, dx);
    } else {
      unpool_mean(s, g, dx);
    }
  }
}

extern const struct stk_kernel KFN(pool_bwd);
const struct stk_kernel KFN(pool_bwd) = {"pool_bwd", unpool_units, NULL, unpool_run};
