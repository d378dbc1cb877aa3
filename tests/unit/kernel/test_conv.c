/* Convolution kernels: exact bits against the specification written out with fmaf, over variants,
 * unit splits and shapes (stride, padding, dilation, groups, ragged channels); bounds against
 * double; gradients by central differences. */
#include "tests/unit/kernel/kt.h"

#include <math.h>
#include <stdio.h>

#include "engine/kernel/kernel.h"

enum { CHUNK = 256 };

/* n, c, h, w, co, kh, kw, stride, pad, dilation (height, width each), groups */
struct shape {
  int64_t n, c, h, w, co, kh, kw, sh, sw, ph, pw, dh, dw, groups;
};

static const struct shape shapes[] = {
    {3, 1, 28, 28, 8, 3, 3, 1, 1, 1, 1, 1, 1, 1}, /* a digit */
    {2, 8, 14, 14, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1},
    {2, 33, 9, 17, 19, 3, 3, 1, 1, 1, 1, 1, 1, 1}, /* two chunks of taps */
    {1, 70, 5, 6, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1},   /* three chunks, narrow rows */
    {2, 3, 23, 21, 7, 7, 7, 2, 2, 3, 3, 1, 1, 1},  /* a stem */
    {2, 5, 11, 13, 4, 1, 1, 2, 2, 0, 0, 1, 1, 1},  /* a strided projection */
    {1, 4, 16, 12, 6, 4, 4, 4, 4, 0, 0, 1, 1, 1},  /* patches */
    {2, 6, 10, 19, 4, 3, 2, 2, 3, 2, 1, 2, 3, 2},  /* everything uneven, two groups */
    {2, 5, 12, 12, 5, 3, 3, 1, 1, 1, 1, 1, 1, 5},  /* depthwise */
    {1, 2, 40, 40, 33, 5, 5, 1, 1, 4, 4, 1, 1, 1}, /* more padding than "same", bands */
    {3, 2, 7, 7, 2, 3, 3, 1, 1, 0, 0, 3, 3, 1},    /* dilation covers the image: one output */
    {1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1},
    {2, 2, 1, 50, 3, 1, 5, 1, 1, 0, 2, 1, 1, 1},    /* one-dimensional */
    {2, 3, 24, 76, 18, 3, 3, 2, 2, 1, 1, 1, 1, 1},  /* strided, even outputs, two vectors a row */
    {1, 2, 5, 5, 2, 2, 2, 3, 3, 0, 0, 1, 1, 1},     /* inputs that no output sees */
    {3, 12, 10, 38, 20, 3, 3, 1, 1, 1, 1, 1, 1, 1}, /* wide; two vectors of channels, one in part */
    {2, 6, 12, 12, 10, 5, 5, 1, 1, 2, 2, 1, 1, 2},  /* five rows, groups of few channels */
    {2, 24, 8, 10, 18, 3, 3, 1, 1, 2, 2, 1, 1, 1},  /* more padding than "same", nine vectors */
};

enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

static struct stk_conv_shape full(const struct shape *s) {
  return (struct stk_conv_shape){.n = s->n,
                                 .c = s->c,
                                 .h = s->h,
                                 .w = s->w,
                                 .co = s->co,
                                 .kh = s->kh,
                                 .kw = s->kw,
                                 .oh = (s->h + 2 * s->ph - s->dh * (s->kh - 1) - 1) / s->sh + 1,
                                 .ow = (s->w + 2 * s->pw - s->dw * (s->kw - 1) - 1) / s->sw + 1,
                                 .stride_h = s->sh,
                                 .stride_w = s->sw,
                                 .pad_h = s->ph,
                                 .pad_w = s->pw,
                                 .dil_h = s->dh,
                                 .dil_w = s->dw,
                                 .groups = s->groups};
}

static int64_t x_count(const struct stk_conv_shape *s) {
  return s->n * s->c * s->h * s->w;
}

static int64_t w_count(const struct stk_conv_shape *s) {
  return s->co * (s->c / s->groups) * s->kh * s->kw;
}

static int64_t y_count(const struct stk_conv_shape *s) {
  return s->n * s->co * s->oh * s->ow;
}

static int64_t sums_count(const struct stk_conv_shape *s) {
  const int64_t taps = s->c / s->groups * s->kh * s->kw + 1;
  const int64_t chunks = (s->n * s->oh * s->ow + CHUNK - 1) / CHUNK;
  return chunks * s->groups * ((s->co / s->groups + 15) / 16) * taps * 16;
}

/* The GEMM rule, a term at a time, in float and in double without chunks. */
struct sum {
  float chain, total;
  double exact, magnitude;
  int64_t k;
};

static void add(struct sum *s, float a, float b) {
  if (s->k > 0 && s->k % CHUNK == 0) {
    s->total = s->k == CHUNK ? s->chain : s->total + s->chain;
    s->chain = 0.0f;
  }
  s->chain = fmaf(a, b, s->chain);
  s->exact += (double)a * (double)b;
  s->magnitude += fabs((double)a * (double)b);
  s->k++;
}

static float sum_of(const struct sum *s) {
  return s->k <= CHUNK ? s->chain : s->total + s->chain;
}

static float at(const float *x, int64_t i, int64_t j, int64_t h, int64_t w) {
  return i < 0 || j < 0 || i >= h || j >= w ? 0.0f : x[i * w + j];
}

static void check_bound(const struct sum *s, const char *what) {
  const double error = fabs((double)sum_of(s) - s->exact);
  if (isfinite(s->magnitude) && !(error <= 0x1p-24 * 40.0 * s->magnitude + 1e-30)) {
    fail_msg("%s: error %g of magnitude %g", what, error, s->magnitude);
  }
}

static void naive_forward(const struct stk_conv_shape *s, const float *x, const float *w,
                          const float *bias, bool relu, float *y) {
  const int64_t cg = s->c / s->groups, og = s->co / s->groups;
  for (int64_t i = 0; i < y_count(s); i++) {
    const int64_t ow = i % s->ow, oh = i / s->ow % s->oh, co = i / (s->ow * s->oh) % s->co;
    const int64_t n = i / (s->ow * s->oh * s->co);
    struct sum sum = {0};
    for (int64_t k = 0; k < cg * s->kh * s->kw; k++) {
      const int64_t kw = k % s->kw, kh = k / s->kw % s->kh, c = co / og * cg + k / (s->kw * s->kh);
      add(&sum, w[co * cg * s->kh * s->kw + k],
          at(x + (n * s->c + c) * s->h * s->w, oh * s->stride_h - s->pad_h + kh * s->dil_h,
             ow * s->stride_w - s->pad_w + kw * s->dil_w, s->h, s->w));
    }
    check_bound(&sum, "forward");
    const float value = bias ? sum_of(&sum) + bias[co] : sum_of(&sum);
    y[i] = relu && value < 0.0f ? 0.0f : value;
  }
}

static void naive_dx(const struct stk_conv_shape *s, const float *g, const float *w, float *dx) {
  const int64_t cg = s->c / s->groups, og = s->co / s->groups;
  for (int64_t i = 0; i < x_count(s); i++) {
    const int64_t iw = i % s->w, ih = i / s->w % s->h, c = i / (s->w * s->h) % s->c;
    const int64_t n = i / (s->w * s->h * s->c);
    struct sum sum = {0};
    for (int64_t k = 0; k < og * s->kh * s->kw; k++) {
      const int64_t kw = k % s->kw, kh = k / s->kw % s->kh, co = c / cg * og + k / (s->kw * s->kh);
      const int64_t down = ih + s->pad_h - kh * s->dil_h, right = iw + s->pad_w - kw * s->dil_w;
      if (down % s->stride_h == 0 && right % s->stride_w == 0) {
        add(&sum, w[((co * cg + c % cg) * s->kh + kh) * s->kw + kw],
            at(g + (n * s->co + co) * s->oh * s->ow, down / s->stride_h, right / s->stride_w, s->oh,
               s->ow));
      }
    }
    check_bound(&sum, "dx");
    dx[i] = sum_of(&sum);
  }
}

static void naive_dw(const struct stk_conv_shape *s, const float *x, const float *g, float *dw,
                     float *db) {
  const int64_t cg = s->c / s->groups, og = s->co / s->groups, plane = s->oh * s->ow;
  for (int64_t i = 0; i < w_count(s) + s->co; i++) {
    const bool bias = i >= w_count(s);
    const int64_t kw = i % s->kw, kh = i / s->kw % s->kh, c = i / (s->kw * s->kh) % cg;
    const int64_t co = bias ? i - w_count(s) : i / (s->kw * s->kh * cg);
    struct sum sum = {0};
    for (int64_t k = 0; k < s->n * plane; k++) {
      const int64_t n = k / plane, oh = k % plane / s->ow, ow = k % s->ow;
      const float *image = x + (n * s->c + co / og * cg + c) * s->h * s->w;
      add(&sum,
          bias ? 1.0f
               : at(image, oh * s->stride_h - s->pad_h + kh * s->dil_h,
                    ow * s->stride_w - s->pad_w + kw * s->dil_w, s->h, s->w),
          g[(n * s->co + co) * plane + k % plane]);
    }
    check_bound(&sum, "dw");
    *(bias ? db + co : dw + i) = sum_of(&sum);
  }
}

struct data {
  struct stk_conv_shape s;
  float *x, *w, *bias, *g;
};

static struct data data_of(int i) {
  struct data d = {.s = full(&shapes[i])};
  d.x = kt_new_shifted(x_count(&d.s), 4, 1);
  d.w = kt_new_shifted(w_count(&d.s), 4, 3);
  d.bias = kt_new(d.s.co, 4);
  d.g = kt_new_shifted(y_count(&d.s), 4, 5);
  kt_uniform(d.x, x_count(&d.s), 1, -1, 1);
  kt_uniform(d.w, w_count(&d.s), 2, -1, 1);
  kt_uniform(d.bias, d.s.co, 3, -1, 1);
  kt_uniform(d.g, y_count(&d.s), 4, -1, 1);
  return d;
}

#define FOR_EACH_RUN(V, SPLIT)                  \
  struct kt_variant variants[KT_VARIANTS];      \
  const int n_variants = kt_variants(variants); \
  for (int V = 0; V < n_variants; V++)          \
    for (int SPLIT = 0; SPLIT < KT_SPLITS; SPLIT++)

static void label(char *to, size_t n, const char *variant, int shape, int split) {
  snprintf(to, n, "%s, shape %d, split %d", variant, shape, split);
}

static void test_conv_any_shape_has_the_specified_bits(void **state) {
  (void)state;
  for (int i = 0; i < N_SHAPES; i++) {
    const struct data d = data_of(i);
    const int64_t n = y_count(&d.s);
    float *plain = kt_new(n, 4), *full_y = kt_new(n, 4);
    naive_forward(&d.s, d.x, d.w, NULL, false, plain);
    naive_forward(&d.s, d.x, d.w, d.bias, true, full_y);
    FOR_EACH_RUN(v, split) {
      char what[80];
      label(what, sizeof what, variants[v].name, i, split);
      float *y = kt_new_shifted(n, 4, 7);
      struct stk_conv_args a = {.s = d.s, .x = d.x, .w = d.w, .y = y};
      kt_run(variants[v].kernels->conv, &a, (kt_split)split);
      kt_equal(y, plain, n, what);
      a.bias = d.bias;
      a.relu = true;
      kt_run(variants[v].kernels->conv, &a, (kt_split)split);
      kt_equal(y, full_y, n, what);
    }
    kt_reset("conv");
  }
}

static void test_conv_dx_any_shape_has_the_specified_bits(void **state) {
  (void)state;
  for (int i = 0; i < N_SHAPES; i++) {
    const struct data d = data_of(i);
    const int64_t n = x_count(&d.s);
    float *expected = kt_new(n, 4);
    naive_dx(&d.s, d.g, d.w, expected);
    FOR_EACH_RUN(v, split) {
      char what[80];
      label(what, sizeof what, variants[v].name, i, split);
      float *dx = kt_new_shifted(n, 4, 7);
      const struct stk_conv_dx_args a = {.s = d.s, .g = d.g, .w = d.w, .dx = dx};
      kt_run(variants[v].kernels->conv_dx, &a, (kt_split)split);
      kt_equal(dx, expected, n, what);
    }
    kt_reset("conv_dx");
  }
}

static void test_conv_dw_any_shape_has_the_specified_bits(void **state) {
  (void)state;
  for (int i = 0; i < N_SHAPES; i++) {
    const struct data d = data_of(i);
    const int64_t n = w_count(&d.s);
    float *expected = kt_new(n, 4), *expected_db = kt_new(d.s.co, 4);
    naive_dw(&d.s, d.x, d.g, expected, expected_db);
    FOR_EACH_RUN(v, split) {
      char what[80];
      label(what, sizeof what, variants[v].name, i, split);
      float *dw = kt_new_shifted(n, 4, 1), *db = kt_new_shifted(d.s.co, 4, 1);
      struct stk_conv_dw_args a = {.s = d.s, .x = d.x, .g = d.g, .dw = dw, .db = db};
      kt_run(variants[v].kernels->conv_dw, &a, (kt_split)split);
      kt_equal(dw, expected, n, what);
      kt_equal(db, expected_db, d.s.co, what);
      a.dw = kt_new(n, 4);
      a.db = NULL;
      kt_run(variants[v].kernels->conv_dw, &a, (kt_split)split);
      kt_equal(a.dw, expected, n, what);
      a.dw = kt_new_shifted(n, 4, 1);
      a.db = kt_new_shifted(d.s.co, 4, 1);
      a.sums = kt_new(sums_count(&d.s), 4);
      kt_run(variants[v].kernels->conv_dw, &a, (kt_split)split);
      kt_run(variants[v].kernels->conv_dw_sum, &a, (kt_split)split);
      kt_equal(a.dw, expected, n, what);
      kt_equal(a.db, expected_db, d.s.co, what);
    }
    kt_reset("conv_dw");
  }
}

/* Maxima over 2 x 2 of y: the first one of each window, and where it is. */
static void naive_maxima(const struct stk_conv_shape *s, const float *y, float *max, int32_t *at) {
  const int64_t ph = s->oh / 2, pw = s->ow / 2;
  for (int64_t o = 0; o < s->n * s->co * ph * pw; o++) {
    const int64_t plane = o / (ph * pw), row = o / pw % ph * 2, col = o % pw * 2;
    for (int64_t k = 0; k < 4; k++) {
      const int64_t place = (row + k / 2) * s->ow + col + k % 2;
      const float value = y[plane * s->oh * s->ow + place];
      if (k == 0 || value > max[o]) {
        max[o] = value;
        at[o] = (int32_t)place;
      }
    }
  }
}

static int64_t maxima_count(const struct stk_conv_shape *s) {
  return s->n * s->co * (s->oh / 2) * (s->ow / 2);
}

static void test_conv_pooled_has_the_bits_of_pooling_afterwards(void **state) {
  (void)state;
  for (int i = 0; i < N_SHAPES; i++) {
    const struct data d = data_of(i);
    const int64_t n = maxima_count(&d.s);
    float *y = kt_new(y_count(&d.s), 4), *max = kt_new(n, 4);
    int32_t *at = kt_new(n, 4);
    naive_forward(&d.s, d.x, d.w, d.bias, true, y);
    naive_maxima(&d.s, y, max, at);
    FOR_EACH_RUN(v, split) {
      char what[80];
      label(what, sizeof what, variants[v].name, i, split);
      float *got = kt_new_shifted(n, 4, 7);
      int32_t *got_at = kt_new_shifted(n, 4, 3);
      struct stk_conv_args a = {d.s, d.x, d.w, d.bias, got, true, got_at, false};
      kt_run(variants[v].kernels->conv, &a, (kt_split)split);
      kt_equal(got, max, n, what);
      assert_memory_equal(got_at, at, (size_t)n * sizeof *at);
      a.mark = true;
      kt_run(variants[v].kernels->conv, &a, (kt_split)split);
      kt_equal(got, max, n, what);
      for (int64_t o = 0; o < n; o++) {
        assert_int_equal(got_at[o], max[o] > 0 ? at[o] : -1);
      }
    }
    kt_reset("pooled conv");
  }
}

/* Gradients of maxima, with some minus zeros, at places that ties and relu make common. */
static void fill_maxima(const struct stk_conv_shape *s, float *g, int32_t *at, float *spread) {
  const int64_t pw = s->ow / 2, ph = s->oh / 2;
  kt_uniform(g, maxima_count(s), 6, -1, 1);
  for (int64_t i = 0; i < y_count(s); i++) {
    spread[i] = 0.0f;
  }
  for (int64_t o = 0; o < maxima_count(s); o++) {
    const uint32_t kind = kt_random(7, (uint32_t)o);
    const int64_t row = o / pw % ph * 2 + kind % 2, col = o % pw * 2 + kind / 2 % 2;
    g[o] = kind % 11 == 0 ? -0.0f : g[o];
    at[o] = (int32_t)(row * s->ow + col);
    if (kind % 13 == 0) {
      at[o] = -1; /* nowhere */
    } else {
      spread[o / (ph * pw) * s->oh * s->ow + at[o]] += g[o];
    }
  }
}

/* What keeps a zero's product from being without effect: factors that are not finite, and products
 * so small that a chain is -0 until a zero is added. */
enum harm { NO_HARM, NOT_FINITE, UNDERFLOW, N_HARMS };

static void do_harm(const struct data *d, enum harm harm, float *g, float *spread) {
  if (harm == NOT_FINITE) {
    d->x[x_count(&d->s) / 2] = INFINITY;
    d->w[w_count(&d->s) / 2] = -INFINITY;
  }
  for (int64_t k = 0; harm == UNDERFLOW && k < x_count(&d->s); k++) {
    d->x[k] = 1e-30f;
  }
  for (int64_t k = 0; harm == UNDERFLOW && k < w_count(&d->s); k++) {
    d->w[k] = 1e-30f;
  }
  for (int64_t k = 0; harm == UNDERFLOW && k < maxima_count(&d->s); k++) {
    g[k] = g[k] == 0.0f ? g[k] : -1e-30f;
  }
  for (int64_t k = 0; harm == UNDERFLOW && k < y_count(&d->s); k++) {
    spread[k] = spread[k] == 0.0f ? spread[k] : -1e-30f;
  }
}

static void check_maxima_gradients(const struct data *d, int i, enum harm harm) {
  const int64_t n_x = x_count(&d->s), n_w = w_count(&d->s), n = maxima_count(&d->s);
  float *g = kt_new_shifted(n, 4, 3), *spread = kt_new(y_count(&d->s), 4);
  int32_t *at = kt_new_shifted(n, 4, 5);
  float *dx = kt_new(n_x, 4), *dw = kt_new(n_w, 4), *db = kt_new(d->s.co, 4);
  fill_maxima(&d->s, g, at, spread);
  do_harm(d, harm, g, spread);
  naive_dx(&d->s, spread, d->w, dx);
  naive_dw(&d->s, d->x, spread, dw, db);
  FOR_EACH_RUN(v, split) {
    char what[80];
    label(what, sizeof what, variants[v].name, i, split);
    float *got = kt_new_shifted(n_x, 4, 7), *got_db = kt_new(d->s.co, 4);
    const struct stk_conv_dx_args x = {d->s, g, d->w, got, at};
    kt_run(variants[v].kernels->conv_dx, &x, (kt_split)split);
    kt_equal(got, dx, n_x, what);
    for (int with_sums = 0; with_sums < 2; with_sums++) {
      struct stk_conv_dw_args w = {d->s, d->x, g, kt_new(n_w, 4), got_db, NULL, at};
      w.sums = with_sums ? kt_new(sums_count(&d->s), 4) : NULL;
      kt_run(variants[v].kernels->conv_dw, &w, (kt_split)split);
      if (with_sums) {
        kt_run(variants[v].kernels->conv_dw_sum, &w, (kt_split)split);
      }
      kt_equal(w.dw, dw, n_w, what);
      kt_equal(w.db, db, d->s.co, what);
    }
  }
}

static void test_conv_gradients_of_maxima_have_the_bits_of_spread_ones(void **state) {
  int tried = 0;
  (void)state;
  for (int k = 0; k < N_SHAPES * N_HARMS; k++) {
    const int i = k / N_HARMS;
    const struct data d = data_of(i);
    const struct stk_conv_shape *s = &d.s;
    if (s->oh % 2 == 0 && s->ow % 2 == 0 && s->pad_h <= s->dil_h * (s->kh - 1) &&
        s->pad_w <= s->dil_w * (s->kw - 1)) {
      check_maxima_gradients(&d, i, (enum harm)(k % N_HARMS));
      tried++;
    }
    kt_reset("gradients of maxima");
  }
  assert_true(tried >= 5 * N_HARMS);
}

/* The comparison above can fail: one more rounding, or chunks of another length, shows. */
static void test_conv_another_order_has_other_bits(void **state) {
  (void)state;
  const struct data d = data_of(2);
  const int64_t n = y_count(&d.s), cg = d.s.c, window = d.s.kh * d.s.kw;
  float *a = kt_new(n, 4), *b = kt_new(n, 4);
  naive_forward(&d.s, d.x, d.w, NULL, false, a);
  float *w = kt_new(w_count(&d.s), 4), *x = kt_new(x_count(&d.s), 4);
  for (int64_t i = 0; i < w_count(&d.s); i++) { /* channels in descending order */
    const int64_t co = i / (cg * window), c = i / window % cg;
    w[i] = d.w[(co * cg + cg - 1 - c) * window + i % window];
  }
  const int64_t plane = d.s.h * d.s.w;
  for (int64_t i = 0; i < x_count(&d.s); i++) {
    x[i] = d.x[(i / (plane * cg) * cg + cg - 1 - i / plane % cg) * plane + i % plane];
  }
  naive_forward(&d.s, x, w, NULL, false, b);
  assert_true(kt_differs(a, b, n));
  kt_reset("conv");
}

/* sum(y * g) changes with one weight or input by the gradient the kernels give, in double. */
static void test_conv_gradients_match_central_differences(void **state) {
  (void)state;
  const struct stk_kernels *k = kt_f64();
  for (int i = 0; i < N_SHAPES; i++) {
    const struct data d = data_of(i);
    const struct stk_conv_shape *s = &d.s;
    double *x = kt_new(x_count(s), 8), *w = kt_new(w_count(s), 8), *g = kt_new(y_count(s), 8);
    double *y = kt_new(y_count(s), 8), *dx = kt_new(x_count(s), 8), *dw = kt_new(w_count(s), 8);
    double *db = kt_new(s->co, 8), *bias = kt_new(s->co, 8);
    kt_widen(x, d.x, x_count(s));
    kt_widen(w, d.w, w_count(s));
    kt_widen(g, d.g, y_count(s));
    kt_widen(bias, d.bias, s->co);
    const struct stk_conv_args fwd = {.s = *s, .x = x, .w = w, .bias = bias, .y = y};
    kt_run(k->conv_dx, &(struct stk_conv_dx_args){.s = *s, .g = g, .w = w, .dx = dx}, KT_WHOLE);
    kt_run(k->conv_dw, &(struct stk_conv_dw_args){.s = *s, .x = x, .g = g, .dw = dw, .db = db},
           KT_WHOLE);
    for (uint32_t probe = 0; probe < 9; probe++) {
      double *const at_of[3] = {x, w, bias}, *const grad_of[3] = {dx, dw, db};
      const int64_t count_of[3] = {x_count(s), w_count(s), s->co};
      const int64_t j = kt_random(9, probe) % (uint32_t)count_of[probe % 3];
      double *p = at_of[probe % 3] + j;
      const double here = *p, h = 1e-3;
      double loss[2] = {0, 0};
      for (int side = 0; side < 2; side++) {
        *p = side ? here + h : here - h;
        kt_run(k->conv, &fwd, KT_WHOLE);
        for (int64_t o = 0; o < y_count(s); o++) {
          loss[side] += y[o] * g[o];
        }
      }
      *p = here;
      const double expected = (loss[1] - loss[0]) / (2 * h);
      kt_near64(grad_of[probe % 3] + j, &expected, 1, 1e-8, 1e-8, "gradient");
    }
    kt_reset("gradients");
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_conv_any_shape_has_the_specified_bits),
      cmocka_unit_test(test_conv_dx_any_shape_has_the_specified_bits),
      cmocka_unit_test(test_conv_dw_any_shape_has_the_specified_bits),
      cmocka_unit_test(test_conv_pooled_has_the_bits_of_pooling_afterwards),
      cmocka_unit_test(test_conv_gradients_of_maxima_have_the_bits_of_spread_ones),
      cmocka_unit_test(test_conv_another_order_has_other_bits),
      cmocka_unit_test(test_conv_gradients_match_central_differences),
  };
  return cmocka_run_group_tests(tests, kt_setup, NULL);
}
