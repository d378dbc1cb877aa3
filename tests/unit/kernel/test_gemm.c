/* The gemm kernel: its specification as a scalar loop, and equality of every variant, cut and
 * thread count with it. */
#include "tests/unit/kernel/kt.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/exec/pool.h"
#include "engine/kernel/gemm.h"
#include "proto/base/mem.h"

enum { PLAIN, ACCUMULATE, BIAS_RELU, ROW_BIAS, EVERYTHING, MODES };

struct shape {
  int64_t m, n, k;
};

/* One product: operands, C's old content, and the result that is expected. */
struct problem {
  struct stk_gemm_args args;
  int64_t c_size;
  float *c_old, *want;
};

/* gemm.h, literally. */
static float specified(const struct stk_gemm_args *g, int64_t i, int64_t j, float c_old,
                       int64_t chunk) {
  const float *a = g->a, *b = g->b, *bias = g->bias;
  float product = 0;
  for (int64_t p0 = 0; p0 < g->k; p0 += chunk) {
    float acc = 0;
    for (int64_t p = p0; p < g->k && p < p0 + chunk; p++) {
      acc = fmaf(g->ta ? a[p * g->lda + i] : a[i * g->lda + p],
                 g->tb ? b[j * g->ldb + p] : b[p * g->ldb + j], acc);
    }
    product = p0 == 0 ? acc : product + acc;
  }
  float x = g->accumulate ? c_old + product : product;
  if (g->bias_kind != STK_GEMM_BIAS_NONE) {
    x = x + bias[g->bias_kind == STK_GEMM_BIAS_COLUMN ? j : i];
  }
  return g->act == STK_GEMM_ACT_RELU && x < 0 ? 0 : x;
}

static float *fill(int64_t n, uint32_t seed) {
  float *x = kt_new(n, sizeof *x);
  kt_uniform(x, n, seed, -1, 1);
  return x;
}

/* Row strides exceed the rows by `gap`; what lies between C's rows must stay as it was. */
static struct problem problem_new(struct shape s, bool ta, bool tb, int mode, int64_t gap) {
  struct problem p = {0};
  struct stk_gemm_args *g = &p.args;
  *g = (struct stk_gemm_args){.m = s.m, .n = s.n, .k = s.k, .batch_outer = 1, .batch_inner = 1};
  g->ta = ta;
  g->tb = tb;
  g->lda = (ta ? s.m : s.k) + gap;
  g->ldb = (tb ? s.k : s.n) + gap;
  g->ldc = s.n + gap;
  g->a = fill((ta ? s.k : s.m) * g->lda, 1);
  g->b = fill((tb ? s.n : s.k) * g->ldb, 2);
  g->accumulate = mode == ACCUMULATE || mode == EVERYTHING;
  g->act = mode == BIAS_RELU || mode == EVERYTHING ? STK_GEMM_ACT_RELU : STK_GEMM_ACT_NONE;
  g->bias_kind = mode == ROW_BIAS                          ? STK_GEMM_BIAS_ROW
                 : mode == BIAS_RELU || mode == EVERYTHING ? STK_GEMM_BIAS_COLUMN
                                                           : STK_GEMM_BIAS_NONE;
  g->bias = fill(s.m + s.n, 3);
  p.c_size = s.m * g->ldc;
  p.c_old = fill(p.c_size, 4);
  p.want = fill(p.c_size, 4);
  for (int64_t i = 0; i < s.m; i++) {
    for (int64_t j = 0; j < s.n; j++) {
      float *c = p.want + i * g->ldc + j;
      *c = specified(g, i, j, *c, STK_GEMM_CHUNK);
    }
  }
  return p;
}

static void check(const struct problem *p, const struct kt_variant *v, kt_split split,
                  const char *what) {
  struct stk_gemm_args g = p->args;
  float *c = kt_new(p->c_size, sizeof *c);
  memcpy(c, p->c_old, (size_t)p->c_size * sizeof *c);
  g.c = c;
  kt_run(v->kernels->gemm, &g, split);
  char text[200];
  snprintf(text, sizeof text, "%s: %s, %lldx%lldx%lld ta %d tb %d acc %d bias %d act %d, cut %dx%d",
           what, v->name, (long long)g.m, (long long)g.n, (long long)g.k, g.ta, g.tb, g.accumulate,
           (int)g.bias_kind, (int)g.act, g.split_m, g.split_n);
  kt_equal(c, p->want, p->c_size, text);
}

/* All variants, transpositions and modes. */
static void check_shape(struct shape s, int64_t gap) {
  struct kt_variant variants[KT_VARIANTS];
  const int n = kt_variants(variants);
  for (int t = 0; t < 4; t++) {
    for (int mode = 0; mode < MODES; mode++) {
      const struct problem p = problem_new(s, t & 1, t & 2, mode, gap);
      for (int v = 0; v < n; v++) {
        check(&p, &variants[v], KT_WHOLE, "shape");
      }
      kt_reset("shape");
    }
  }
}

static void test_gemm_small_shapes_equal_the_specification(void **state) {
  (void)state;
  static const struct shape shapes[] = {
      {1, 1, 1},   {1, 1, 300}, {1, 17, 5},  {1, 100, 70}, {2, 33, 9},  {3, 3, 3},   {5, 7, 11},
      {6, 16, 8},  {7, 15, 9},  {8, 32, 16}, {12, 32, 7},  {13, 31, 1}, {14, 33, 2}, {18, 8, 64},
      {24, 24, 3}, {25, 10, 4}, {64, 3, 64}, {3, 64, 64},  {37, 65, 2}, {40, 9, 40}, {11, 130, 12},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    check_shape(shapes[i], (int64_t)(i % 3));
  }
}

static void test_gemm_chunk_edges_equal_the_specification(void **state) {
  (void)state;
  static const int64_t ks[] = {0, 1, 255, 256, 257, 512, 600};
  for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
    check_shape((struct shape){7, 19, ks[i]}, 1);
    check_shape((struct shape){19, 5, ks[i]}, 0);
  }
}

/* Several row blocks, column blocks, spans and groups; the baseline without fma would take seconds.
 * */
static void test_gemm_blocked_shapes_equal_the_specification(void **state) {
  (void)state;
  static const struct shape shapes[] = {
      {270, 70, 40},  {300, 30, 300},  {530, 20, 33},
      {20, 300, 100}, {270, 20, 1030}, {9, 1100, 1100},
  };
  struct kt_variant variants[KT_VARIANTS];
  const int n = kt_variants(variants);
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    for (int t = 0; t < 4; t++) {
      const int mode = (int)(i + (size_t)t) % 2 ? ACCUMULATE : BIAS_RELU;
      const struct problem p = problem_new(shapes[i], t & 1, t & 2, mode, 3);
      for (int v = n > 1 ? 1 : 0; v < n; v++) {
        check(&p, &variants[v], KT_WHOLE, "blocked");
      }
      kt_reset("blocked");
    }
  }
}

static void test_gemm_any_cut_gives_the_same_bits(void **state) {
  (void)state;
  struct kt_variant variants[KT_VARIANTS];
  const int n = kt_variants(variants);
  for (int mode = 0; mode < MODES; mode++) {
    struct problem p = problem_new((struct shape){61, 103, 300}, mode & 1, mode & 2, mode, 2);
    for (int32_t split = 1; split < 20; split += 3) {
      p.args.split_m = split;
      p.args.split_n = 1 + (split * 7) % 5;
      for (int v = n > 1 ? 1 : 0; v < n; v++) {
        for (int s = 0; s < KT_SPLITS; s++) {
          check(&p, &variants[v], (kt_split)s, "cut");
        }
      }
    }
    kt_reset("cut");
  }
}

struct pooled {
  const struct stk_kernel *kernel;
  const struct stk_gemm_args *args;
  unsigned char *scratch;
  size_t bytes;
};

static void run_pooled(void *ctx, int64_t lo, int64_t hi, int thread) {
  const struct pooled *p = ctx;
  p->kernel->run(p->args, lo, hi, p->scratch + (size_t)thread * p->bytes);
}

static void test_gemm_any_thread_count_gives_the_same_bits(void **state) {
  (void)state;
  struct kt_variant variants[KT_VARIANTS];
  const struct kt_variant *v = &variants[kt_variants(variants) - 1];
  struct problem p = problem_new((struct shape){130, 210, 520}, true, true, EVERYTHING, 0);
  for (int threads = 1; threads <= 3; threads++) {
    stk_pool *pool;
    assert_int_equal(stk_pool_new(threads, false, &pool, NULL), SP_OK);
    stk_gemm_split(&p.args, threads);
    float *c = kt_new(p.c_size, sizeof *c);
    memcpy(c, p.c_old, (size_t)p.c_size * sizeof *c);
    p.args.c = c;
    struct pooled run = {.kernel = v->kernels->gemm, .args = &p.args};
    run.bytes = (run.kernel->scratch(&p.args) + 63) / 64 * 64;
    run.scratch = kt_new((int64_t)run.bytes * threads, 1);
    stk_pool_run(pool, run_pooled, &run, run.kernel->units(&p.args, threads));
    kt_equal(c, p.want, p.c_size, "threads");
    stk_pool_free(pool);
  }
  kt_reset("threads");
}

static void test_gemm_batch_takes_both_levels_of_strides(void **state) {
  (void)state;
  struct kt_variant variants[KT_VARIANTS];
  const int n = kt_variants(variants);
  enum { OUTER = 3, INNER = 2, M = 9, N = 21, K = 33 };
  const float *a = fill(OUTER * INNER * M * K, 1), *b = fill(INNER * K * N, 2);
  const float *bias = fill(OUTER * N, 3);
  float *want = kt_new(OUTER * INNER * M * N, sizeof *want);
  struct stk_gemm_args g = {.a = a, .b = b, .bias = bias, .m = M, .n = N, .k = K};
  g.lda = INNER * K; /* inner products are interleaved in A's and C's rows, like heads */
  g.ldb = N;
  g.ldc = INNER * N;
  g.bias_kind = STK_GEMM_BIAS_COLUMN;
  for (int64_t o = 0; o < OUTER; o++) {
    for (int64_t in = 0; in < INNER; in++) {
      struct stk_gemm_args one = g;
      one.a = a + o * M * INNER * K + in * K;
      one.b = b + in * K * N;
      one.bias = bias + o * N;
      for (int64_t i = 0; i < M; i++) {
        for (int64_t j = 0; j < N; j++) {
          want[(o * M + i) * INNER * N + in * N + j] = specified(&one, i, j, 0, STK_GEMM_CHUNK);
        }
      }
    }
  }
  g.batch_outer = OUTER;
  g.batch_inner = INNER;
  g.a_outer = M * INNER * K;
  g.a_inner = K;
  g.b_inner = K * N;
  g.c_outer = M * INNER * N;
  g.c_inner = N;
  g.bias_outer = N;
  for (int v = 0; v < n; v++) {
    for (g.split_m = 1; g.split_m < 3; g.split_m++) {
      float *c = kt_new(OUTER * INNER * M * N, sizeof *c);
      g.c = c;
      kt_run(variants[v].kernels->gemm, &g, KT_UNEVEN);
      kt_equal(c, want, OUTER * INNER * M * N, variants[v].name);
    }
  }
  kt_reset("batch");
}

static void test_gemm_batch_of_none_touches_nothing(void **state) {
  (void)state;
  struct kt_variant variants[KT_VARIANTS];
  kt_variants(variants);
  struct stk_gemm_args g = {.m = 4, .n = 4, .k = 4, .batch_outer = 0, .batch_inner = 7};
  assert_int_equal(variants[0].kernels->gemm->units(&g, 2), 0);
  assert_int_equal(variants[0].kernels->gemm->scratch(&g), 0);
}

static void test_gemm_with_ones_sums_columns(void **state) {
  (void)state;
  struct kt_variant variants[KT_VARIANTS];
  const int n = kt_variants(variants);
  enum { ROWS = 300, COLUMNS = 77 };
  const float *x = fill(ROWS * COLUMNS, 5);
  float *one = kt_new(1, sizeof *one), *want = kt_new(COLUMNS, sizeof *want);
  *one = 1;
  for (int64_t j = 0; j < COLUMNS; j++) {
    float chunk[2] = {0, 0};
    for (int64_t i = 0; i < ROWS; i++) {
      chunk[i / STK_GEMM_CHUNK] += x[i * COLUMNS + j];
    }
    want[j] = chunk[0] + chunk[1];
  }
  struct stk_gemm_args g = {.a = one, .b = x, .m = 1, .n = COLUMNS, .k = ROWS};
  g.ta = true;
  g.lda = 0;
  g.ldb = g.ldc = COLUMNS;
  g.batch_outer = g.batch_inner = 1;
  for (int v = 0; v < n; v++) {
    float *c = kt_new(COLUMNS, sizeof *c);
    g.c = c;
    kt_run(variants[v].kernels->gemm, &g, KT_WHOLE);
    kt_equal(c, want, COLUMNS, variants[v].name);
  }
  kt_reset("ones");
}

static void test_gemm_special_values_follow_the_specification(void **state) {
  (void)state;
  static const float special[] = {0,         -0.0f, 1,      -1,      INFINITY,
                                  -INFINITY, NAN,   1e-30f, -1e-30f, 3e38f};
  enum { N_SPECIAL = sizeof special / sizeof *special };
  struct kt_variant variants[KT_VARIANTS];
  const int n = kt_variants(variants);
  for (int mode = 0; mode < MODES; mode++) {
    struct problem p = problem_new((struct shape){13, 21, 3}, false, false, mode, 0);
    float *a = kt_new(13 * 3, sizeof *a), *b = kt_new(3 * 21, sizeof *b);
    for (uint32_t i = 0; i < 13 * 3; i++) {
      a[i] = special[kt_random(6, i) % N_SPECIAL];
    }
    for (uint32_t i = 0; i < 3 * 21; i++) {
      b[i] = special[kt_random(7, i) % N_SPECIAL];
    }
    p.args.a = a;
    p.args.b = b;
    for (int64_t i = 0; i < 13; i++) {
      for (int64_t j = 0; j < 21; j++) {
        const int64_t at = i * 21 + j;
        p.want[at] = specified(&p.args, i, j, p.c_old[at], STK_GEMM_CHUNK);
      }
    }
    for (int v = 0; v < n; v++) {
      check(&p, &variants[v], KT_WHOLE, "special values");
    }
    kt_reset("special values");
  }
}

static void test_gemm_other_order_of_k_is_seen(void **state) {
  (void)state;
  const struct problem p = problem_new((struct shape){8, 16, 600}, false, false, PLAIN, 0);
  float *other = kt_new(p.c_size, sizeof *other);
  static const int64_t chunks[] = {128, 255, 512, 600};
  for (size_t q = 0; q < sizeof chunks / sizeof *chunks; q++) {
    for (int64_t at = 0; at < p.c_size; at++) {
      other[at] = specified(&p.args, at / 16, at % 16, 0, chunks[q]);
    }
    assert_true(kt_differs(other, p.want, p.c_size));
  }
  kt_reset("order");
}

/* |error| <= gamma(k + 2) * sum |a b|, the bound of recursive summation, which chunks only improve.
 * */
static void test_gemm_stays_within_the_bound_of_doubles(void **state) {
  (void)state;
  const struct problem p = problem_new((struct shape){23, 41, 1000}, false, true, PLAIN, 0);
  const float *a = p.args.a, *b = p.args.b;
  for (int64_t i = 0; i < 23; i++) {
    for (int64_t j = 0; j < 41; j++) {
      double exact = 0, size = 0;
      for (int64_t q = 0; q < 1000; q++) {
        const double term = (double)a[i * 1000 + q] * (double)b[j * 1000 + q];
        exact += term;
        size += fabs(term);
      }
      assert_true(fabs((double)p.want[i * 41 + j] - exact) <= 256 * 0x1p-24 * size);
    }
  }
  kt_reset("bound");
}

static void test_gemm_f64_equals_the_specification_in_double(void **state) {
  (void)state;
  enum { M = 11, N = 19, K = 300 };
  const float *a32 = fill(M * K, 1), *b32 = fill(K * N, 2);
  double *a = kt_new(M * K, sizeof *a), *b = kt_new(K * N, sizeof *b);
  double *c = kt_new(M * N, sizeof *c);
  kt_widen(a, a32, M * K);
  kt_widen(b, b32, K * N);
  struct stk_gemm_args g = {.a = a, .b = b, .c = c, .m = M, .n = N, .k = K};
  g.lda = K;
  g.ldb = g.ldc = N;
  g.batch_outer = g.batch_inner = 1;
  kt_run(kt_f64()->gemm, &g, KT_WHOLE);
  for (int64_t i = 0; i < M; i++) {
    for (int64_t j = 0; j < N; j++) {
      double chunk[2] = {0, 0};
      for (int64_t p = 0; p < K; p++) {
        double *acc = &chunk[p / STK_GEMM_CHUNK];
        *acc = fma(a[i * K + p], b[p * N + j], *acc);
      }
      assert_true(c[i * N + j] == chunk[0] + chunk[1]);
    }
  }
  kt_reset("f64");
}

static void test_gemm_split_covers_every_shape(void **state) {
  (void)state;
  for (int64_t m = 1; m < 3000; m = m * 3 + 1) {
    for (int64_t n = 1; n < 3000; n = n * 3 + 2) {
      for (int threads = 1; threads <= 64; threads *= 4) {
        struct stk_gemm_args g = {.m = m, .n = n, .k = 256, .batch_outer = 1, .batch_inner = 1};
        stk_gemm_split(&g, threads);
        assert_true(g.split_m >= 1 && g.split_m <= m);
        assert_true(g.split_n >= 1 && g.split_n <= n);
        assert_true(threads > 1 || g.split_m * g.split_n == 1);
        assert_true(m * n < 1000000 || g.split_m * g.split_n >= threads);
      }
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_gemm_small_shapes_equal_the_specification),
      cmocka_unit_test(test_gemm_chunk_edges_equal_the_specification),
      cmocka_unit_test(test_gemm_blocked_shapes_equal_the_specification),
      cmocka_unit_test(test_gemm_any_cut_gives_the_same_bits),
      cmocka_unit_test(test_gemm_any_thread_count_gives_the_same_bits),
      cmocka_unit_test(test_gemm_batch_takes_both_levels_of_strides),
      cmocka_unit_test(test_gemm_batch_of_none_touches_nothing),
      cmocka_unit_test(test_gemm_with_ones_sums_columns),
      cmocka_unit_test(test_gemm_special_values_follow_the_specification),
      cmocka_unit_test(test_gemm_other_order_of_k_is_seen),
      cmocka_unit_test(test_gemm_stays_within_the_bound_of_doubles),
      cmocka_unit_test(test_gemm_f64_equals_the_specification_in_double),
      cmocka_unit_test(test_gemm_split_covers_every_shape),
  };
  return cmocka_run_group_tests(tests, kt_setup, NULL);
}
