/* vec.h and vec/fn.h: every variant gives ref's bits, and ref gives what docs/numerics.md says. */
#include "tests/lib/tt.h"

#include <math.h>
#include <string.h>
#include <xmmintrin.h>

#include "engine/kernel/vecfn.h"
#include "engine/num/philox.h"
#include "tests/unit/kernel/hardest.h"

enum { N = 40000 };

static const char *const f32_variants[] = {"reffma_f32", "avx2_f32", "avx512_f32"};

static float as_float(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static uint32_t as_bits(float x) { /* every NaN is one */
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return x != x ? 0x7fc00000u : bits;
}

/* The first index where the bits differ, or -1. */
static int first_difference(const float *a, const float *b, int n) {
  for (int i = 0; i < n; i++) {
    if (as_bits(a[i]) != as_bits(b[i])) {
      return i;
    }
  }
  return -1;
}

static const uint32_t edges[] = {
    0x00000000u, 0x80000000u, 0x00000001u, 0x80000001u, 0x007fffffu, 0x807fffffu, 0x00800000u,
    0x80800000u, 0x00800001u, 0x7f7fffffu, 0xff7fffffu, 0x7f800000u, 0xff800000u, 0x7fc00000u,
    0xffc00000u, 0x7f800001u, 0x3f800000u, 0xbf800000u, 0x3f7fffffu, 0x3f800001u, 0x42b17217u,
    0x42b17218u, 0x42b17219u, 0xc2aeac4fu, 0xc2aeac50u, 0xc2aeac51u, 0xc2cff1b4u, 0xc2cff1b5u,
    0x41102cb3u, 0x41102cb4u, 0x407ad444u, 0x407ad445u, 0x33800000u, 0xb3800000u, 0x33000000u,
    0x34000000u, 0x40000000u, 0xc0000000u, 0x3f000000u, 0x38000000u, 0x38000001u, 0xb8000000u};

/* Edges (each seed pairs them anew), then random bits, then numbers of the size that networks have.
 */
static void make_inputs(float *x, int n, uint32_t seed) {
  const int n_edges = (int)(sizeof edges / sizeof *edges);
  for (int i = 0; i < n; i += 4) {
    const uint32_t counter[4] = {(uint32_t)i, seed, 0, 0};
    uint32_t word[4];
    stk_philox(1, counter, word);
    for (int j = 0; j < 4 && i + j < n; j++) {
      const int at = i + j;
      x[at] = at < n_edges ? as_float(edges[(at + 3 * (int)seed) % n_edges])
              : at < n / 2 ? as_float(word[j])
                           : (stk_philox_uniform(word[j]) - 0.5f) * 30.0f;
    }
  }
}

static float input[3][N], want[N], got[N];

static int setup(void **state) {
  (void)state;
  _mm_setcsr(0x9fc0); /* FTZ, DAZ, round to nearest, masked */
  for (uint32_t k = 0; k < 3; k++) {
    make_inputs(input[k], N, k);
  }
  for (size_t v = 0; v < sizeof f32_variants / sizeof *f32_variants; v++) {
    if (!stk_vecfn_runs_here(f32_variants[v])) {
      print_message("skipped everywhere: this CPU cannot run %s\n", f32_variants[v]);
    }
  }
  return 0;
}

/* NULL where this CPU lacks it. */
static const struct stk_vecfn_table *variant(const char *name) {
  if (!stk_vecfn_runs_here(name)) {
    return NULL;
  }
  const struct stk_vecfn_table *t = stk_vecfn_get(name);
  assert_non_null(t);
  return t;
}

static void assert_same(const char *variant_name, const char *function) {
  const int at = first_difference(want, got, N);
  if (at >= 0) {
    fail_msg("%s %s(%a, %a): %a, ref has %a", variant_name, function, (double)input[0][at],
             (double)input[1][at], (double)got[at], (double)want[at]);
  }
}

static void test_functions_every_variant_equals_ref(void **state) {
  (void)state;
  const struct stk_vecfn_table *ref = stk_vecfn_get("ref_f32");
  for (size_t v = 0; v < sizeof f32_variants / sizeof *f32_variants; v++) {
    const struct stk_vecfn_table *t = variant(f32_variants[v]);
    for (int f = 0; t != NULL && t->fn[f].name != NULL; f++) {
      ref->fn[f].run(input[0], want, N);
      t->fn[f].run(input[0], got, N);
      assert_same(t->variant, t->fn[f].name);
    }
  }
}

static void test_scalars_equal_vectors(void **state) {
  (void)state;
  const char *const all[] = {"ref_f32", "reffma_f32", "avx2_f32", "avx512_f32"};
  for (size_t v = 0; v < sizeof all / sizeof *all; v++) {
    const struct stk_vecfn_table *t = variant(all[v]);
    for (int f = 0; t != NULL && t->fn[f].name != NULL; f++) {
      if (t->fn[f].scalar != NULL) {
        t->fn[f].run(input[0], want, N);
        t->fn[f].scalar(input[0], got, N);
        assert_same(t->variant, t->fn[f].name);
      }
    }
  }
}

static void test_two_operand_functions_every_variant_equals_ref(void **state) {
  (void)state;
  const struct stk_vecfn_table *ref = stk_vecfn_get("ref_f32");
  for (size_t v = 0; v < sizeof f32_variants / sizeof *f32_variants; v++) {
    const struct stk_vecfn_table *t = variant(f32_variants[v]);
    for (int f = 0; t != NULL && t->fn2[f].name != NULL; f++) {
      ref->fn2[f].run(input[0], input[1], want, N);
      t->fn2[f].run(input[0], input[1], got, N);
      assert_same(t->variant, t->fn2[f].name);
    }
    if (t != NULL) {
      ref->fma(input[0], input[1], input[2], want, N);
      t->fma(input[0], input[1], input[2], got, N);
      assert_same(t->variant, "fma");
    }
  }
}

static void test_ragged_lengths_write_only_their_elements(void **state) {
  (void)state;
  for (size_t v = 0; v < sizeof f32_variants / sizeof *f32_variants; v++) {
    const struct stk_vecfn_table *t = variant(f32_variants[v]);
    for (int n = 0; t != NULL && n <= 40; n++) {
      float y[64];
      for (int i = 0; i < 64; i++) {
        y[i] = 77.0f;
      }
      t->fn[0].run(input[0] + 1000, y, n);
      t->fn[0].run(input[0] + 1000, want, 64);
      assert_int_equal(first_difference(y, want, n), -1);
      for (int i = n; i < 64; i++) {
        assert_true(y[i] == 77.0f);
      }
    }
  }
}

static void test_other_operations_every_variant_equals_ref(void **state) {
  (void)state;
  const struct stk_vecfn_table *ref = stk_vecfn_get("ref_f32");
  float x[64];
  int32_t ids[16];
  for (int i = 0; i < 64; i++) {
    x[i] = i % 7 == 0 ? 0.0f : (float)((i * 37) % 41) * 0.75f - 12.0f;
  }
  for (int i = 0; i < 16; i++) {
    ids[i] = (i * 11) % 32;
  }
  for (size_t v = 0; v < sizeof f32_variants / sizeof *f32_variants; v++) {
    const struct stk_vecfn_table *t = variant(f32_variants[v]);
    for (int n = 0; t != NULL && n <= 16; n++) {
      assert_true(t->probe(x, ids, n) == ref->probe(x, ids, n));
      assert_true(t->hmax(x + n) == ref->hmax(x + n));
    }
  }
}

/* The sum, written again from docs/numerics.md. */
static float sum_of_page(const float *x, int n) {
  float total = 0;
  for (int c = 0; c == 0 || c < n; c += 1024) {
    float lane[16] = {0};
    for (int i = c; i < n && i < c + 1024; i++) {
      lane[i % 16] += x[i];
    }
    for (int half = 8; half > 0; half /= 2) {
      for (int i = 0; i < half; i++) {
        lane[i] += lane[i + half];
      }
    }
    total = c == 0 ? lane[0] : total + lane[0];
  }
  return total;
}

static void test_sum_follows_the_page(void **state) {
  (void)state;
  const float *x = input[0] + N / 2;
  const int lengths[] = {0, 1, 15, 16, 17, 1023, 1024, 1025, 2048, 5000, 19999};
  const char *const all[] = {"ref_f32", "reffma_f32", "avx2_f32", "avx512_f32"};
  for (size_t v = 0; v < sizeof all / sizeof *all; v++) {
    const struct stk_vecfn_table *t = variant(all[v]);
    for (size_t k = 0; t != NULL && k < sizeof lengths / sizeof *lengths; k++) {
      const float page = sum_of_page(x, lengths[k]);
      assert_true(t->sum(x, lengths[k]) == (double)page);
      assert_true(t->sum_with(x, lengths[k]) == (double)page);
    }
  }
}

static void test_philox_vector_equals_scalar(void **state) {
  (void)state;
  const char *const all[] = {"ref_f32", "reffma_f32", "avx2_f32", "avx512_f32"};
  const uint32_t counter[4] = {0xfffffff0u, 0x85a308d3u, 0x13198a2eu, 0x03707344u};
  const uint64_t key = 0x299f31d0a4093822ull;
  for (size_t v = 0; v < sizeof all / sizeof *all; v++) {
    const struct stk_vecfn_table *t = variant(all[v]);
    uint32_t words[64];
    if (t == NULL) {
      continue;
    }
    t->philox(key, counter, words);
    for (uint32_t i = 0; i < 16; i++) {
      const uint32_t c[4] = {counter[0] + i, counter[1], counter[2], counter[3]};
      uint32_t block[4];
      stk_philox(key, c, block);
      assert_memory_equal(words + 4 * i, block, sizeof block);
    }
  }
}

static void check_hard(const char *function, const struct hard *rows, size_t n) {
  const char *const all[] = {"ref_f32", "reffma_f32", "avx2_f32", "avx512_f32"};
  for (size_t v = 0; v < sizeof all / sizeof *all; v++) {
    const struct stk_vecfn_table *t = variant(all[v]);
    for (int f = 0; t != NULL && t->fn[f].name != NULL; f++) {
      for (size_t i = 0; strcmp(t->fn[f].name, function) == 0 && i < n; i++) {
        const float x = as_float(rows[i].x);
        float y;
        t->fn[f].run(&x, &y, 1);
        assert_int_equal(as_bits(y), rows[i].y);
      }
    }
  }
}

static void test_hardest_inputs_are_correctly_rounded(void **state) {
  (void)state;
#define CHECK_HARD(f) check_hard(#f, hard_##f, sizeof hard_##f / sizeof *hard_##f)
  CHECK_HARD(exp);
  CHECK_HARD(log);
  CHECK_HARD(tanh);
  CHECK_HARD(sigmoid);
  CHECK_HARD(erf);
  CHECK_HARD(softplus);
}

static void assert_value(const char *function, uint32_t x, uint32_t y) {
  const struct hard row = {x, y};
  check_hard(function, &row, 1);
}

static void test_edges_have_their_stated_results(void **state) {
  (void)state;
  const uint32_t inf = 0x7f800000u, minus_inf = 0xff800000u, nan = 0x7fc00000u;
  const uint32_t one = 0x3f800000u, minus_zero = 0x80000000u, denormal = 0x00400000u;
  assert_value("exp", inf, inf);
  assert_value("exp", minus_inf, 0);
  assert_value("exp", nan, nan);
  assert_value("exp", denormal, one);
  assert_value("exp", 0x42b17218u, inf);         /* the first that overflows */
  assert_value("exp", 0x42b17217u, 0x7f7fff84u); /* the last that does not */
  assert_value("exp", 0xc2aeac4fu, 0x00800026u); /* the last that is normal */
  assert_value("exp", 0xc2aeac50u, 0);
  assert_value("log", 0, minus_inf);
  assert_value("log", minus_zero, minus_inf);
  assert_value("log", denormal, minus_inf);
  assert_value("log", 0xbf800000u, nan);
  assert_value("log", inf, inf);
  assert_value("log", one, 0);
  assert_value("tanh", minus_zero, minus_zero);
  assert_value("tanh", minus_inf, 0xbf800000u);
  assert_value("tanh", nan, nan);
  assert_value("sigmoid", minus_inf, 0);
  assert_value("sigmoid", inf, one);
  assert_value("sigmoid", nan, nan);
  assert_value("sigmoid", 0, 0x3f000000u);
  assert_value("erf", minus_zero, minus_zero);
  assert_value("erf", inf, one);
  assert_value("erf", nan, nan);
  assert_value("softplus", inf, inf);
  assert_value("softplus", minus_inf, 0);
  assert_value("softplus", nan, nan);
}

static void test_double_variants_are_equal_and_near_libm(void **state) {
  (void)state;
  static double x[N / 4], a[N / 4], b[N / 4];
  const struct stk_vecfn_table *ref = stk_vecfn_get("ref_f64");
  for (int i = 0; i < N / 4; i++) {
    x[i] = (double)input[1][N - 1 - i] * (1 + 0x1p-30);
  }
  const struct stk_vecfn_table *t = variant("reffma_f64");
  for (int f = 0; ref->fn[f].name != NULL; f++) {
    ref->fn[f].run(x, a, N / 4);
    if (t != NULL) {
      t->fn[f].run(x, b, N / 4);
      for (int i = 0; i < N / 4; i++) {
        assert_true(a[i] == b[i] || (a[i] != a[i] && b[i] != b[i]));
      }
    }
    for (int i = 0; i < N / 4 && strcmp(ref->fn[f].name, "tanh") == 0; i++) {
      assert_true(fabs(a[i] - tanh(x[i])) <= 4 * 0x1p-53);
    }
  }
}

static void test_comparison_one_ulp_off_is_seen(void **state) {
  (void)state;
  const struct stk_vecfn_table *ref = stk_vecfn_get("ref_f32");
  ref->fn[0].run(input[0], want, N);
  memcpy(got, want, sizeof got);
  assert_int_equal(first_difference(want, got, N), -1);
  got[N - 3] = nextafterf(got[N - 3], INFINITY);
  assert_int_equal(first_difference(want, got, N), N - 3);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_functions_every_variant_equals_ref),
      cmocka_unit_test(test_scalars_equal_vectors),
      cmocka_unit_test(test_two_operand_functions_every_variant_equals_ref),
      cmocka_unit_test(test_ragged_lengths_write_only_their_elements),
      cmocka_unit_test(test_other_operations_every_variant_equals_ref),
      cmocka_unit_test(test_sum_follows_the_page),
      cmocka_unit_test(test_philox_vector_equals_scalar),
      cmocka_unit_test(test_hardest_inputs_are_correctly_rounded),
      cmocka_unit_test(test_edges_have_their_stated_results),
      cmocka_unit_test(test_double_variants_are_equal_and_near_libm),
      cmocka_unit_test(test_comparison_one_ulp_off_is_seen)};
  return cmocka_run_group_tests(tests, setup, NULL);
}
