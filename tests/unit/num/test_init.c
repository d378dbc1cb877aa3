/* engine/num/init.h: values depend on seed, name and element alone, and are distributed rightly. */
#include "tests/lib/tt.h"

#include <math.h>
#include <string.h>

#include "engine/num/init.h"
#include "engine/num/philox.h"

static const struct stk_fill standard = {.kind = STK_FILL_NORMAL, .a = 0, .b = 1};

/* A separate implementation of docs/numerics.md (with libm) agrees but for the last bits. */
static void test_fill_known_values_stay(void **state) {
  (void)state;
  const double normal[6] = {0x1.09e787296bap-1,    0x1.8247016da3065p-5, -0x1.151f6eaace687p-1,
                            -0x1.d0b23096de9a2p-1, 0x1.6e36cc787bdb6p-1, 0x1.0634025404c4p+1};
  const double uniform[6] = {0x1.b45ca89db6db6p-6, -0x1.1c239d236db6dp-5, 0x1.51bd201b6db6dp-8,
                             0x1.80d4743b6db6dp-7, -0x1.d9f7cb0249249p-6, -0x1.6324436b6db6dp-6};
  double got[6];
  stk_fill_f64(&standard, 42, "encoder.0.weight", 0, 6, got);
  assert_memory_equal(got, normal, sizeof got);
  const struct stk_fill fan = stk_fill_fan_in_uniform(784);
  stk_fill_f64(&fan, 42, "encoder.0.weight", 0, 6, got);
  assert_memory_equal(got, uniform, sizeof got);
}

static void test_name_hash_is_fnv1a(void **state) {
  (void)state;
  assert_true(stk_name_hash("") == 0xcbf29ce484222325ull);
  assert_true(stk_name_hash("a") == 0xaf63dc4c8601ec8cull);
  assert_true(stk_name_hash("foobar") == 0x85944171f73967e8ull);
}

static void test_fill_in_pieces_is_the_same(void **state) {
  (void)state;
  const struct stk_fill fills[] = {
      standard,
      {.kind = STK_FILL_UNIFORM, .a = -2, .b = 5},
      {.kind = STK_FILL_CONSTANT, .a = 3},
      {.kind = STK_FILL_TRUNC_NORMAL, .a = 0, .b = 1, .low = -0.5, .high = 0.5}};
  for (size_t k = 0; k < sizeof fills / sizeof *fills; k++) {
    double whole[600], pieces[600];
    stk_fill_f64(&fills[k], 1, "w", 0, 600, whole);
    for (uint64_t i = 0; i < 600; i += 7) {
      stk_fill_f64(&fills[k], 1, "w", i, i + 7 < 600 ? 7 : 600 - i, pieces + i);
    }
    assert_memory_equal(whole, pieces, sizeof whole);
  }
}

static void test_fill_f32_is_the_rounded_f64(void **state) {
  (void)state;
  double wide[700];
  float narrow[700];
  stk_fill_f64(&standard, 9, "decoder.bias", 3, 700, wide);
  stk_fill_f32(&standard, 9, "decoder.bias", 3, 700, narrow);
  for (int i = 0; i < 700; i++) {
    assert_true(narrow[i] == (float)wide[i]);
  }
}

/* Whatever the CPU: fills may use its fma, the generator here calls libm's. */
static void test_fill_normal_is_the_generators_numbers(void **state) {
  (void)state;
  enum { N = 40000 };
  static double got[N];
  const struct stk_fill fill = {.kind = STK_FILL_NORMAL, .a = 0.25, .b = 0.02};
  const uint64_t hash = stk_name_hash("w");
  stk_fill_f64(&fill, 7, "w", 0, N, got);
  for (uint64_t block = 0; block < N / 4; block++) {
    uint32_t counter[4], word[4];
    double z[4];
    stk_philox_counter(STK_PHILOX_INIT, 0, 0, 0, block, counter);
    counter[2] = (uint32_t)hash;
    counter[3] = (uint32_t)(hash >> 32);
    stk_philox(7, counter, word);
    stk_philox_normal2(word[0], word[1], z);
    stk_philox_normal2(word[2], word[3], z + 2);
    for (int i = 0; i < 4; i++) {
      z[i] = fma(fill.b, z[i], fill.a);
    }
    assert_memory_equal(got + 4 * block, z, sizeof z);
  }
}

static void test_fill_other_seed_or_name_differs(void **state) {
  (void)state;
  double a[64], b[64], c[64];
  stk_fill_f64(&standard, 1, "w", 0, 64, a);
  stk_fill_f64(&standard, 2, "w", 0, 64, b);
  stk_fill_f64(&standard, 1, "v", 0, 64, c);
  for (int i = 0; i < 64; i++) {
    assert_true(a[i] != b[i] && a[i] != c[i]);
  }
}

static void test_fill_moments_match(void **state) {
  (void)state;
  enum { N = 100000 };
  static double v[N];
  const struct stk_fill fills[] = {{.kind = STK_FILL_NORMAL, .a = 1, .b = 2},
                                   {.kind = STK_FILL_UNIFORM, .a = -1, .b = 3}};
  const double deviation[] = {2, 1.1547005383792515};
  for (int k = 0; k < 2; k++) {
    stk_fill_f64(&fills[k], 77, "blocks.3.attn.weight", 0, N, v);
    double sum = 0, square = 0;
    for (int i = 0; i < N; i++) {
      sum += v[i];
      square += (v[i] - 1) * (v[i] - 1);
    }
    assert_true(fabs(sum / N - 1) < 5 * deviation[k] / sqrt(N));
    assert_true(fabs(sqrt(square / N) / deviation[k] - 1) < 5 / sqrt(2.0 * N));
  }
}

static void test_fill_trunc_normal_stays_inside(void **state) {
  (void)state;
  static double v[20000];
  const struct stk_fill fill = {.kind = STK_FILL_TRUNC_NORMAL, .b = 1, .low = -2, .high = 0.25};
  stk_fill_f64(&fill, 5, "w", 0, 20000, v);
  int clamped = 0;
  for (int i = 0; i < 20000; i++) {
    assert_true(v[i] >= -2 && v[i] <= 0.25);
    clamped += v[i] == -2 || v[i] == 0.25;
  }
  assert_int_equal(clamped, 0);
}

static void test_fill_trunc_normal_impossible_range_is_clamped(void **state) {
  (void)state;
  double v[5];
  const struct stk_fill fill = {.kind = STK_FILL_TRUNC_NORMAL, .b = 1, .low = 50, .high = 51};
  stk_fill_f64(&fill, 5, "w", 0, 5, v);
  for (int i = 0; i < 5; i++) {
    assert_true(v[i] == 50);
  }
}

static void test_fans_follow_pytorch(void **state) {
  (void)state;
  const int64_t conv[] = {16, 8, 3, 5};
  int64_t in = 0, out = 0;
  assert_true(stk_fill_fans(4, conv, &in, &out));
  assert_int_equal(in, 120);
  assert_int_equal(out, 240);
  assert_true(stk_fill_fans(2, conv, &in, &out));
  assert_int_equal(in, 8);
  assert_int_equal(out, 16);
  assert_false(stk_fill_fans(1, conv, &in, &out));
  assert_true(stk_fill_xavier_uniform(1, 2, 4).b == 1);
  assert_true(stk_fill_kaiming_normal(2, 16).b == 0.5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_fill_known_values_stay),
      cmocka_unit_test(test_name_hash_is_fnv1a),
      cmocka_unit_test(test_fill_in_pieces_is_the_same),
      cmocka_unit_test(test_fill_f32_is_the_rounded_f64),
      cmocka_unit_test(test_fill_normal_is_the_generators_numbers),
      cmocka_unit_test(test_fill_other_seed_or_name_differs),
      cmocka_unit_test(test_fill_moments_match),
      cmocka_unit_test(test_fill_trunc_normal_stays_inside),
      cmocka_unit_test(test_fill_trunc_normal_impossible_range_is_clamped),
      cmocka_unit_test(test_fans_follow_pytorch)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
