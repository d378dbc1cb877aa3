/* attention, attention_bwd: equal bits in any variant and split, a bound against the T x T form in
 * double, gradients against central differences, dropout against the scalar generator. */
#include "tests/unit/kernel/kt.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/num/philox.h"

struct shape {
  int64_t batch, heads, t, dim;
  bool causal;
  double dropout;
};

static const struct shape shapes[] = {
    {1, 1, 1, 1, true, 0},     {1, 2, 5, 3, false, 0},     {2, 3, 33, 16, true, 0},
    {1, 2, 64, 32, true, 0},   {1, 1, 65, 40, true, 0},    {1, 1, 130, 17, true, 0},
    {1, 1, 130, 64, false, 0}, {1, 2, 191, 128, true, 0},  {1, 1, 70, 300, true, 0},
    {1, 2, 64, 8, true, 0.25}, {2, 1, 67, 20, false, 0.5}, {1, 1, 129, 16, true, 0.1},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static const struct stk_rng_ctx rng = {.seed = 99, .batch = 7, .stage = 0, .lane = 3};
enum { ORDINAL = 5 };

static double scale_of(const struct shape *s) {
  return 1 / sqrt((double)s->dim);
}

static int64_t elements(const struct shape *s) {
  return s->batch * s->heads * s->t * s->dim;
}

/* q, k, v side by side in one (b, t, 3, h, d) buffer; the others (b, t, h, d) or (b, h, t, d). */
static struct stk_heads packed(void *p, const struct shape *s, int which, size_t size) {
  const int64_t c = s->heads * s->dim;
  return (struct stk_heads){(char *)p + (size_t)(which * c) * size, s->t * 3 * c, 3 * c, s->dim};
}

static struct stk_heads plain(void *p, const struct shape *s) {
  const int64_t c = s->heads * s->dim;
  return (struct stk_heads){p, s->t * c, c, s->dim};
}

static struct stk_heads by_head(void *p, const struct shape *s) {
  return (struct stk_heads){p, s->heads * s->t * s->dim, s->dim, s->t * s->dim};
}

/* Everything one shape computes: gradients are (b, t, 3, h, d) too. */
struct result {
  float *qkv, *o, *lse, *go, *dqkv;
};

static struct result run(const struct stk_kernels *k, const struct shape *s, kt_split split) {
  const int64_t n = elements(s);
  struct result r = {kt_new_shifted(3 * n, 4, 1), kt_new_shifted(n, 4, 2),
                     kt_new(s->batch * s->heads * s->t, 4), kt_new(n, 4),
                     kt_new_shifted(3 * n, 4, 3)};
  kt_uniform(r.qkv, 3 * n, 1, -2, 2);
  kt_uniform(r.go, n, 2, -1, 1);
  const struct stk_attention_args a = {packed(r.qkv, s, 0, 4),
                                       packed(r.qkv, s, 1, 4),
                                       packed(r.qkv, s, 2, 4),
                                       plain(r.o, s),
                                       r.lse,
                                       s->batch,
                                       s->heads,
                                       s->t,
                                       s->dim,
                                       scale_of(s),
                                       s->causal,
                                       s->dropout,
                                       &rng,
                                       ORDINAL};
  const struct stk_attention_bwd_args b = {a.q,
                                           a.k,
                                           a.v,
                                           a.o,
                                           by_head(r.go, s),
                                           packed(r.dqkv, s, 0, 4),
                                           packed(r.dqkv, s, 1, 4),
                                           packed(r.dqkv, s, 2, 4),
                                           r.lse,
                                           s->batch,
                                           s->heads,
                                           s->t,
                                           s->dim,
                                           scale_of(s),
                                           s->causal,
                                           s->dropout,
                                           &rng,
                                           ORDINAL};
  kt_run(k->attention, &a, split);
  kt_run(k->attention_bwd, &b, split);
  return r;
}

static void test_attention_any_variant_and_split_equal_bits(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  (void)state;
  for (int i = 0; i < SHAPES; i++) {
    const struct shape *s = &shapes[i];
    const struct result want = run(v[0].kernels, s, KT_WHOLE);
    for (int at = 0; at < n; at++) {
      for (int split = 0; split < KT_SPLITS; split++) {
        const struct result got = run(v[at].kernels, s, (kt_split)split);
        kt_equal(want.o, got.o, elements(s), v[at].name);
        kt_equal(want.lse, got.lse, s->batch * s->heads * s->t, v[at].name);
        kt_equal(want.dqkv, got.dqkv, 3 * elements(s), v[at].name);
      }
    }
    kt_reset("attention");
  }
}

static double keep_of(const struct shape *s, int64_t bh, int64_t i, int64_t j) {
  uint32_t counter[4], word[4];
  if (s->dropout == 0) {
    return 1;
  }
  const uint64_t e = (uint64_t)((bh * s->t + i) * s->t + j);
  stk_philox_counter(STK_PHILOX_TRAIN, rng.batch, rng.lane, ORDINAL, e / 4, counter);
  stk_philox(rng.seed, counter, word);
  return word[e % 4] >= stk_philox_drop_threshold(s->dropout) ? 1 / (1 - s->dropout) : 0;
}

/* The T x T form in double: o, and where dqkv is not NULL the gradients. x is (b, t, 3, h, d). */
static void naive(const struct shape *s, const double *x, const double *go, double *o,
                  double *dqkv) {
  const int64_t c = s->heads * s->dim, t = s->t, d = s->dim;
  double *p = kt_new(t, 8), *g = kt_new(t, 8);
  for (int64_t i = 0; i < 3 * elements(s) && dqkv; i++) {
    dqkv[i] = 0;
  }
  for (int64_t bh = 0; bh < s->batch * s->heads; bh++) {
    const int64_t base = bh / s->heads * t * 3 * c + bh % s->heads * d;
    const double *q = x + base, *k = q + c, *v = k + c;
    for (int64_t i = 0; i < t; i++) {
      const int64_t n = s->causal ? i + 1 : t;
      const double *gi = go ? go + (bh * t + i) * d : NULL;
      double *oi = o + (bh / s->heads * t + i) * c + bh % s->heads * d;
      double max = -INFINITY, sum = 0, delta = 0;
      for (int64_t j = 0; j < n; j++) {
        p[j] = 0;
        for (int64_t e = 0; e < d; e++) {
          p[j] += q[i * 3 * c + e] * k[j * 3 * c + e];
        }
        p[j] *= scale_of(s);
        max = fmax(max, p[j]);
      }
      for (int64_t j = 0; j < n; j++) {
        p[j] = exp(p[j] - max);
        sum += p[j];
      }
      memset(oi, 0, (size_t)d * 8);
      for (int64_t j = 0; j < n; j++) {
        p[j] /= sum;
        g[j] = 0;
        const double keep = keep_of(s, bh, i, j);
        for (int64_t e = 0; e < d; e++) {
          oi[e] += p[j] * keep * v[j * 3 * c + e];
          g[j] += dqkv ? gi[e] * keep * v[j * 3 * c + e] : 0;
        }
        delta += p[j] * g[j];
        for (int64_t e = 0; e < d && dqkv; e++) {
          dqkv[base + 2 * c + j * 3 * c + e] += p[j] * keep * gi[e];
        }
      }
      for (int64_t j = 0; j < n && dqkv; j++) {
        const double ds = p[j] * (g[j] - delta) * scale_of(s);
        for (int64_t e = 0; e < d; e++) {
          dqkv[base + i * 3 * c + e] += ds * k[j * 3 * c + e];
          dqkv[base + c + j * 3 * c + e] += ds * q[i * 3 * c + e];
        }
      }
    }
  }
}

static void test_attention_against_double_within_bound(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n_variants = kt_variants(v);
  (void)state;
  for (int i = 0; i < SHAPES; i++) {
    const struct shape *s = &shapes[i];
    const int64_t n = elements(s);
    const struct result r = run(v[n_variants - 1].kernels, s, KT_WHOLE);
    double *x = kt_new(3 * n, 8), *go = kt_new(n, 8), *o = kt_new(n, 8), *dqkv = kt_new(3 * n, 8);
    kt_widen(x, r.qkv, 3 * n);
    kt_widen(go, r.go, n);
    naive(s, x, go, o, dqkv);
    kt_near(r.o, o, n, 2e-6, 5e-6, "o");
    kt_near(r.dqkv, dqkv, 3 * n, 2e-5, 2e-5, "dqkv");
    kt_reset("bound");
  }
}

static void forward64(const struct shape *s, double *x, double *o, double *lse) {
  const struct stk_attention_args a = {packed(x, s, 0, 8),
                                       packed(x, s, 1, 8),
                                       packed(x, s, 2, 8),
                                       plain(o, s),
                                       lse,
                                       s->batch,
                                       s->heads,
                                       s->t,
                                       s->dim,
                                       scale_of(s),
                                       s->causal,
                                       s->dropout,
                                       &rng,
                                       ORDINAL};
  kt_run(kt_f64()->attention, &a, KT_WHOLE);
}

/* The gradient of the sum of go * o by one direction of change, in double. */
static void test_attention_bwd_matches_central_differences(void **state) {
  static const struct shape cases[] = {
      {2, 2, 6, 5, true, 0}, {1, 1, 70, 4, false, 0}, {1, 1, 67, 3, true, 0.3}};
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const struct shape *s = &cases[i];
    const int64_t n = elements(s);
    float *draw = kt_new(4 * n, 4);
    double *x = kt_new(3 * n, 8), *go = kt_new(n, 8), *o = kt_new(n, 8), *dx = kt_new(3 * n, 8);
    double *lse = kt_new(s->batch * s->heads * s->t, 8);
    kt_uniform(draw, 4 * n, 3, -1, 1);
    kt_widen(x, draw, 3 * n);
    kt_widen(go, draw + 3 * n, n);
    forward64(s, x, o, lse);
    const struct stk_attention_bwd_args b = {packed(x, s, 0, 8),
                                             packed(x, s, 1, 8),
                                             packed(x, s, 2, 8),
                                             plain(o, s),
                                             plain(go, s),
                                             packed(dx, s, 0, 8),
                                             packed(dx, s, 1, 8),
                                             packed(dx, s, 2, 8),
                                             lse,
                                             s->batch,
                                             s->heads,
                                             s->t,
                                             s->dim,
                                             scale_of(s),
                                             s->causal,
                                             s->dropout,
                                             &rng,
                                             ORDINAL};
    kt_run(kt_f64()->attention_bwd, &b, KT_WHOLE);
    double *moved = kt_new(n, 8);
    for (int64_t at = 0; at<3 * n; at += n> 100 ? 17 : 1) {
      const double h = 1e-6, old = x[at];
      double slope = 0;
      for (int side = 1; side >= -1; side -= 2) {
        x[at] = old + side * h;
        forward64(s, x, moved, lse);
        for (int64_t e = 0; e < n; e++) {
          slope += side * moved[e] * go[e] / (2 * h);
        }
      }
      x[at] = old;
      kt_near64(&dx[at], &slope, 1, 1e-7, 1e-6, "gradient");
    }
    kt_reset("central differences");
  }
}

/* Negative control: an unmasked key changes the result; other dropout draws change it. */
static void test_attention_other_mask_or_ordinal_differs(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const struct shape masked = {1, 1, 20, 8, true, 0}, open = {1, 1, 20, 8, false, 0};
  const struct shape dropped = {1, 1, 20, 8, true, 0.5};
  (void)state;
  kt_variants(v);
  const struct result a = run(v[0].kernels, &masked, KT_WHOLE);
  const struct result b = run(v[0].kernels, &open, KT_WHOLE);
  const struct result c = run(v[0].kernels, &dropped, KT_WHOLE);
  assert_true(kt_differs(a.o, b.o, 19 * 8));
  kt_equal(a.o + 19 * 8, b.o + 19 * 8, 8, "the last query sees every key");
  assert_true(kt_differs(a.o, c.o, 20 * 8));
  kt_reset("control");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_attention_any_variant_and_split_equal_bits),
      cmocka_unit_test(test_attention_against_double_within_bound),
      cmocka_unit_test(test_attention_bwd_matches_central_differences),
      cmocka_unit_test(test_attention_other_mask_or_ordinal_differs),
  };
  return cmocka_run_group_tests(tests, kt_setup, NULL);
}
