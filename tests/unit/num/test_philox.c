/* engine/num/philox.h: the paper's vectors, the packing, and the numbers made of the words. */
#include "tests/lib/tt.h"

#include <math.h>
#include <string.h>

#include "engine/num/dmath.h"
#include "engine/num/philox.h"

/* Random123's known answers for philox4x32, 10 rounds. */
static const struct {
  uint32_t counter[4];
  uint64_t key;
  uint32_t out[4];
} known[] = {
    {{0, 0, 0, 0}, 0, {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}},
    {{0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu},
     0xffffffffffffffffull,
     {0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}},
    {{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u},
     0x299f31d0a4093822ull,
     {0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}},
};

static void test_philox_known_counters_give_the_papers_words(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    uint32_t out[4];
    stk_philox(known[i].key, known[i].counter, out);
    assert_memory_equal(out, known[i].out, sizeof out);
  }
}

static void test_philox_in_place_is_the_same(void **state) {
  (void)state;
  uint32_t words[4];
  memcpy(words, known[2].counter, sizeof words);
  stk_philox(known[2].key, words, words);
  assert_memory_equal(words, known[2].out, sizeof words);
}

static void test_counter_packing_keeps_every_part(void **state) {
  (void)state;
  uint32_t c[4];
  stk_philox_counter(STK_PHILOX_PREDICT, 0x123456789abcull, 0xfedc, 0x155555, 0xabcdef0123ull, c);
  assert_int_equal(c[0], 0xcdef0123u);
  assert_int_equal(c[1], 0xabu | 0x155555u << 8 | 3u << 29);
  assert_int_equal(c[2], 0x56789abcu);
  assert_int_equal(c[3], 0x1234u | 0xfedcu << 16);
}

static void test_uniform_takes_the_top_24_bits(void **state) {
  (void)state;
  assert_true(stk_philox_uniform(0xffu) == 0.0f);
  assert_true(stk_philox_uniform(0x80000000u) == 0.5f);
  assert_true(stk_philox_uniform(0xffffffffu) == 1.0f - 0x1p-24f);
}

static void test_drop_threshold_scales_and_rounds_down(void **state) {
  (void)state;
  assert_int_equal(stk_philox_drop_threshold(0.0), 0);
  assert_int_equal(stk_philox_drop_threshold(0.5), 0x80000000u);
  assert_int_equal(stk_philox_drop_threshold(0.1), 429496729);
}

static void test_normal_moments_are_standard(void **state) {
  (void)state;
  enum { N = 200000 };
  double sum = 0, square = 0, fourth = 0;
  for (uint32_t i = 0; i < N; i++) {
    uint32_t c[4] = {i, 0, 0, 0};
    double z[4];
    stk_philox(7, c, c);
    stk_philox_normal2(c[0], c[1], z);
    stk_philox_normal2(c[2], c[3], z + 2);
    for (int j = 0; j < 4; j++) {
      sum += z[j];
      square += z[j] * z[j];
      fourth += z[j] * z[j] * z[j] * z[j];
    }
  }
  const double n = 4.0 * N;
  assert_true(fabs(sum / n) < 5 / sqrt(n));
  assert_true(fabs(square / n - 1) < 5 * sqrt(2 / n));
  assert_true(fabs(fourth / n - 3) < 5 * sqrt(96 / n));
}

/* Box and Muller as docs/numerics.md states them, by the functions one by one. */
static void test_normal_is_its_formula_bit_for_bit(void **state) {
  (void)state;
  for (uint32_t k = 0; k < 200000; k++) {
    const uint32_t a = k * 2654435761u, b = k < 4096 ? k << 20 : ~k * 40503u * 65599u;
    double z[2];
    stk_philox_normal2(a, b, z);
    const double r = sqrt(-2.0 * stk_log_d(((double)a + 1.0) * 0x1p-32));
    const double turn = (double)b * 0x1p-31;
    const double want[2] = {r * stk_cospi_d(turn), r * stk_sinpi_d(turn)};
    assert_memory_equal(z, want, sizeof z);
  }
}

static void test_normal_extreme_words_are_finite(void **state) {
  (void)state;
  double z[2];
  stk_philox_normal2(0, 0, z);
  assert_true(z[0] > 6.66 && z[0] < 6.67);
  assert_true(z[1] == 0.0);
  stk_philox_normal2(0xffffffffu, 0x12345678u, z);
  assert_true(z[0] == 0.0 && z[1] == 0.0);
}

static void test_below_is_uniform_over_small_ranges(void **state) {
  (void)state;
  enum { N = 60000, RANGE = 6 };
  double count[RANGE] = {0};
  for (uint32_t i = 0; i < N; i++) {
    const uint32_t c[4] = {i << 4, 1, 2, 3};
    const uint32_t v = stk_philox_below(11, c, RANGE);
    assert_true(v < RANGE);
    count[v]++;
  }
  double chi = 0;
  for (int i = 0; i < RANGE; i++) {
    chi += (count[i] - N / RANGE) * (count[i] - N / RANGE) / (N / RANGE);
  }
  assert_true(chi < 20.5); /* 5 degrees of freedom: p = 0.001 */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_philox_known_counters_give_the_papers_words),
      cmocka_unit_test(test_philox_in_place_is_the_same),
      cmocka_unit_test(test_counter_packing_keeps_every_part),
      cmocka_unit_test(test_uniform_takes_the_top_24_bits),
      cmocka_unit_test(test_drop_threshold_scales_and_rounds_down),
      cmocka_unit_test(test_normal_moments_are_standard),
      cmocka_unit_test(test_normal_is_its_formula_bit_for_bit),
      cmocka_unit_test(test_normal_extreme_words_are_finite),
      cmocka_unit_test(test_below_is_uniform_over_small_ranges)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
