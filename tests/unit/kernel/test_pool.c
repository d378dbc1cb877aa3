/* Pooling kernels: exact values against the page, first maximum, NaN, padding, gradients. */
#include "tests/unit/kernel/kt.h"

#include <math.h>
#include <stdio.h>

struct shape {
  int64_t n, c, h, w, kh, kw, sh, sw, ph, pw;
};

static const struct shape shapes[] = {
    {5, 8, 28, 28, 2, 2, 2, 2, 0, 0},   {3, 3, 14, 14, 2, 2, 2, 2, 0, 0},
    {2, 3, 33, 31, 3, 3, 2, 2, 1, 1},   {1, 2, 7, 7, 7, 7, 1, 1, 0, 0},
    {2, 2, 9, 20, 3, 2, 1, 3, 1, 0},    {1, 1, 5, 5, 2, 2, 3, 3, 0, 0},
    {1, 1, 1, 1, 1, 1, 1, 1, 0, 0},     {2, 2, 7, 69, 2, 2, 2, 2, 0, 0},
    {1, 1, 130, 140, 3, 3, 1, 1, 1, 1},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static struct stk_conv_shape full(const struct shape *s) {
  return (struct stk_conv_shape){.n = s->n,
                                 .c = s->c,
                                 .h = s->h,
                                 .w = s->w,
                                 .co = s->c,
                                 .kh = s->kh,
                                 .kw = s->kw,
                                 .oh = (s->h + 2 * s->ph - s->kh) / s->sh + 1,
                                 .ow = (s->w + 2 * s->pw - s->kw) / s->sw + 1,
                                 .stride_h = s->sh,
                                 .stride_w = s->sw,
                                 .pad_h = s->ph,
                                 .pad_w = s->pw,
                                 .dil_h = 1,
                                 .dil_w = 1,
                                 .groups = 1};
}

static int64_t inputs(const struct stk_conv_shape *s) {
  return s->n * s->c * s->h * s->w;
}

static int64_t outputs(const struct stk_conv_shape *s) {
  return s->n * s->c * s->oh * s->ow;
}

/* Values of few kinds, so that ties are common. */
static void ties(float *x, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    x[i] = (float)(kt_random(5, (uint32_t)i) % 7) - 3.0f;
  }
}

static void naive(const struct stk_conv_shape *s, const float *x, bool max, float *y, int32_t *at) {
  for (int64_t o = 0; o < outputs(s); o++) {
    const int64_t ow = o % s->ow, oh = o / s->ow % s->oh, plane = o / (s->ow * s->oh);
    float best = 0, sum = 0;
    int32_t place = -1;
    for (int64_t k = 0; k < s->kh * s->kw; k++) {
      const int64_t i = oh * s->stride_h - s->pad_h + k / s->kw;
      const int64_t j = ow * s->stride_w - s->pad_w + k % s->kw;
      const bool inside = i >= 0 && j >= 0 && i < s->h && j < s->w;
      const float value = inside ? x[(plane * s->h + i) * s->w + j] : 0.0f;
      sum += value;
      if (inside && (place < 0 || value > best || (isnan(value) && !isnan(best)))) {
        best = value;
        place = (int32_t)(i * s->w + j);
      }
    }
    y[o] = max ? best : sum / (float)(s->kh * s->kw);
    at[o] = place;
  }
}

static void check_forward(const struct stk_conv_shape *s, const float *x, bool max,
                          const char *what) {
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  float *y = kt_new(outputs(s), 4);
  int32_t *at = kt_new(outputs(s), 4);
  naive(s, x, max, y, at);
  for (int i = 0; i < n; i++) {
    for (int split = 0; split < KT_SPLITS; split++) {
      float *got = kt_new_shifted(outputs(s), 4, 1);
      int32_t *got_at = kt_new_shifted(outputs(s), 4, 1);
      const struct stk_pool_args a = {*s, x, got, max ? got_at : NULL, max};
      kt_run(v[i].kernels->pool, &a, (kt_split)split);
      kt_equal(got, y, outputs(s), what);
      if (max) {
        assert_memory_equal(got_at, at, (size_t)outputs(s) * sizeof *at);
      }
    }
  }
}

static void test_pool_any_shape_takes_the_first_maximum_or_the_mean(void **state) {
  (void)state;
  for (int i = 0; i < SHAPES; i++) {
    const struct stk_conv_shape s = full(&shapes[i]);
    float *x = kt_new_shifted(inputs(&s), 4, 3);
    char what[32];
    snprintf(what, sizeof what, "shape %d", i);
    ties(x, inputs(&s));
    check_forward(&s, x, true, what);
    kt_uniform(x, inputs(&s), 2, -1, 1);
    check_forward(&s, x, false, what);
    kt_reset(what);
  }
}

static void test_pool_max_of_infinities_and_nans(void **state) {
  (void)state;
  const struct stk_conv_shape s = full(&shapes[2]);
  float *x = kt_new(inputs(&s), 4);
  for (int64_t i = 0; i < inputs(&s); i++) {
    const uint32_t kind = kt_random(3, (uint32_t)i) % 9;
    x[i] = kind == 0 ? NAN : kind < 7 ? -INFINITY : 1.0f;
  }
  check_forward(&s, x, true, "infinities");
  kt_reset("infinities");
}

static void test_pool_bwd_adds_in_ascending_output_index(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  (void)state;
  for (int i = 0; i < SHAPES; i++) {
    const struct stk_conv_shape s = full(&shapes[i]);
    float *x = kt_new(inputs(&s), 4), *y = kt_new(outputs(&s), 4), *g = kt_new(outputs(&s), 4);
    float *dx = kt_new(inputs(&s), 4);
    int32_t *at = kt_new(outputs(&s), 4);
    ties(x, inputs(&s));
    naive(&s, x, true, y, at);
    kt_uniform(g, outputs(&s), 4, -1, 1);
    for (int max = 0; max < 2; max++) {
      for (int64_t j = 0; j < inputs(&s); j++) { /* gathered: each input over all outputs */
        float sum = 0;
        const int64_t plane = j / (s.h * s.w), row = j / s.w % s.h, col = j % s.w;
        for (int64_t o = plane * s.oh * s.ow; o < (plane + 1) * s.oh * s.ow; o++) {
          const int64_t down = row - (o / s.ow % s.oh * s.stride_h - s.pad_h);
          const int64_t right = col - (o % s.ow * s.stride_w - s.pad_w);
          const bool covers = down >= 0 && right >= 0 && down < s.kh && right < s.kw;
          if (max ? at[o] == j % (s.h * s.w) : covers) {
            sum += max ? g[o] : g[o] / (float)(s.kh * s.kw);
          }
        }
        dx[j] = sum;
      }
      for (int k = 0; k < n; k++) {
        float *got = kt_new(inputs(&s), 4);
        const struct stk_pool_bwd_args a = {s, g, max ? at : NULL, got, max};
        kt_run(v[k].kernels->pool_bwd, &a, (kt_split)(k % KT_SPLITS));
        kt_equal(got, dx, inputs(&s), max ? "max" : "mean");
      }
      if (s.h * s.w > 10000) {
        break; /* the gathered sum is quadratic */
      }
    }
    kt_reset("pool_bwd");
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_pool_any_shape_takes_the_first_maximum_or_the_mean),
      cmocka_unit_test(test_pool_max_of_infinities_and_nans),
      cmocka_unit_test(test_pool_bwd_adds_in_ascending_output_index),
  };
  return cmocka_run_group_tests(tests, kt_setup, NULL);
}
