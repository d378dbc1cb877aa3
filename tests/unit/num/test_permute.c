/* engine/num/permute.h: bijections that depend on the seed and the epoch, and look random. */
#include "tests/lib/tt.h"

#include <string.h>

#include "engine/num/permute.h"
#include "proto/base/mem.h"

static void assert_bijection(uint64_t seed, uint64_t epoch, uint64_t n) {
  struct stk_permutation p;
  stk_permutation_init(&p, seed, epoch, n);
  uint8_t *seen = sp_alloc(n);
  assert_non_null(seen);
  for (uint64_t i = 0; i < n; i++) {
    const uint64_t to = stk_permutation_at(&p, i);
    assert_true(to < n);
    assert_int_equal(seen[to], 0);
    seen[to] = 1;
  }
  sp_free(seen);
}

static void test_permutation_every_small_n_is_a_bijection(void **state) {
  (void)state;
  for (uint64_t n = 1; n <= 600; n++) {
    assert_bijection(42, n, n);
  }
}

static void test_permutation_large_n_is_a_bijection(void **state) {
  (void)state;
  assert_bijection(1, 0, 60000);
  assert_bijection(1, 1, 65536);
  assert_bijection(1, 2, 65537);
  assert_bijection(1, 3, 1000003);
}

static void test_permutation_largest_n_stays_inside(void **state) {
  (void)state;
  struct stk_permutation p;
  stk_permutation_init(&p, 3, 4, STK_PERMUTE_MAX);
  for (uint64_t i = 0; i < 1000; i++) {
    assert_true(stk_permutation_at(&p, STK_PERMUTE_MAX - 1 - i) < STK_PERMUTE_MAX);
  }
}

static int same_places(uint64_t seed_a, uint64_t epoch_a, uint64_t seed_b, uint64_t epoch_b) {
  int same = 0;
  for (uint64_t i = 0; i < 1000; i++) {
    same += stk_permute(seed_a, epoch_a, 1000, i) == stk_permute(seed_b, epoch_b, 1000, i);
  }
  return same;
}

static void test_permutation_other_seed_or_epoch_differs(void **state) {
  (void)state;
  assert_int_equal(same_places(1, 1, 1, 1), 1000);
  assert_true(same_places(1, 1, 1, 2) < 10);
  assert_true(same_places(1, 1, 2, 1) < 10);
  assert_true(same_places(1, 1, 1 | 1ull << 32, 1) < 10);
}

/* Over many epochs, where a position goes is uniform (chi-square per position, then in total). */
static void assert_places_uniform(uint64_t n) {
  enum { BINS = 16 };
  const uint64_t epochs = 1600;
  double total = 0;
  for (uint64_t i = 0; i < n; i += n / 16) {
    double count[BINS] = {0};
    for (uint64_t e = 0; e < epochs; e++) {
      count[stk_permute(99, e, n, i) * BINS / n]++;
    }
    for (int b = 0; b < BINS; b++) {
      const double expected = (double)epochs / BINS;
      total += (count[b] - expected) * (count[b] - expected) / expected;
    }
  }
  /* 16 positions x 15 degrees of freedom: mean 240, standard deviation 22 */
  assert_true(total > 240 - 90 && total < 240 + 90);
}

static void test_permutation_places_are_uniform(void **state) {
  (void)state;
  assert_places_uniform(256);
  assert_places_uniform(10000);
  assert_places_uniform(65536);
}

/* The distance between the places of neighbours is uniform too: no structure is left over. */
static void test_permutation_neighbours_are_independent(void **state) {
  (void)state;
  enum { BINS = 32, N = 100000 };
  struct stk_permutation p;
  stk_permutation_init(&p, 5, 0, N);
  double count[BINS] = {0};
  uint64_t before = stk_permutation_at(&p, 0);
  for (uint64_t i = 1; i < N; i++) {
    const uint64_t place = stk_permutation_at(&p, i);
    count[(place + N - before) % N * BINS / N]++;
    before = place;
  }
  double chi = 0;
  for (int b = 0; b < BINS; b++) {
    const double expected = (N - 1.0) / BINS;
    chi += (count[b] - expected) * (count[b] - expected) / expected;
  }
  assert_true(chi < 61.1); /* 31 degrees of freedom: p = 0.001 */
}

static void test_permutation_known_values_stay(void **state) {
  (void)state;
  const uint64_t table[] = {80, 31, 68, 43, 93, 55, 87, 24};
  const uint64_t network[] = {59307, 50792, 21830, 8989, 34096, 42585, 23693, 21450};
  for (uint64_t i = 0; i < 8; i++) {
    assert_int_equal(stk_permute(1234, 5, 100, i), table[i]);
    assert_int_equal(stk_permute(1234, 5, 60000, i), network[i]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {tt_test(test_permutation_every_small_n_is_a_bijection),
                                     tt_test(test_permutation_large_n_is_a_bijection),
                                     tt_test(test_permutation_largest_n_stays_inside),
                                     tt_test(test_permutation_other_seed_or_epoch_differs),
                                     tt_test(test_permutation_places_are_uniform),
                                     tt_test(test_permutation_neighbours_are_independent),
                                     tt_test(test_permutation_known_values_stay)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
