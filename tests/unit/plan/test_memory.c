/* Placing intervals: never two at one place at one time, close to the lower bound. */
#include "tests/lib/tt.h"

#include "engine/plan/plan.h"

enum { N = 200, ALIGN = 64 };

static uint32_t next(uint32_t *seed) {
  *seed = *seed * 1664525u + 1013904223u;
  return *seed >> 8;
}

static void make(struct stk_interval *v, uint32_t seed) {
  for (int32_t i = 0; i < N; i++) {
    int32_t first = (int32_t)(next(&seed) % 100);
    v[i] = (struct stk_interval){.bytes = next(&seed) % 5000,
                                 .first = first,
                                 .last = first + (int32_t)(next(&seed) % 20),
                                 .offset = -1};
  }
}

static int64_t rounded(int64_t bytes) {
  return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static void test_memory_place_intervals_of_one_time_are_disjoint(void **state) {
  struct stk_interval v[N];
  (void)state;
  for (uint32_t seed = 1; seed <= 20; seed++) {
    make(v, seed);
    int64_t bytes = stk_memory_place(v, N, NULL);
    for (int32_t i = 0; i < N; i++) {
      assert_true(v[i].offset >= 0 && v[i].offset % ALIGN == 0);
      assert_true(v[i].offset + v[i].bytes <= bytes);
      for (int32_t k = 0; k < i; k++) {
        bool meet = v[i].first <= v[k].last && v[k].first <= v[i].last;
        bool apart = v[i].offset + v[i].bytes <= v[k].offset ||
                     v[k].offset + v[k].bytes <= v[i].offset || !v[i].bytes || !v[k].bytes;
        assert_true(!meet || apart);
      }
    }
  }
}

static void test_memory_place_bound_is_the_fullest_position(void **state) {
  struct stk_interval v[N];
  (void)state;
  for (uint32_t seed = 1; seed <= 20; seed++) {
    int64_t bound, fullest = 0;
    make(v, seed);
    int64_t bytes = stk_memory_place(v, N, &bound);
    for (int32_t at = 0; at < 120; at++) {
      int64_t sum = 0;
      for (int32_t i = 0; i < N; i++) {
        sum += v[i].first <= at && at <= v[i].last ? rounded(v[i].bytes) : 0;
      }
      fullest = sum > fullest ? sum : fullest;
    }
    assert_int_equal(bound, fullest);
    assert_true(bytes >= bound && (double)bytes <= 1.4 * (double)bound);
  }
}

static void test_memory_place_nested_lifetimes_need_no_more_than_the_bound(void **state) {
  struct stk_interval v[20];
  int64_t bound;
  (void)state;
  for (int32_t i = 0; i < 20; i++) { /* as forward values that backward uses in reverse */
    v[i] = (struct stk_interval){.bytes = 64 * (i % 3 + 1), .first = i, .last = 40 - i};
  }
  int64_t bytes = stk_memory_place(v, 20, &bound);
  assert_int_equal(bytes, bound);
}

static void test_memory_place_nothing_is_nothing(void **state) {
  int64_t bound = -1;
  (void)state;
  int64_t bytes = stk_memory_place(NULL, 0, &bound);
  assert_int_equal(bytes, 0);
  assert_int_equal(bound, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_memory_place_intervals_of_one_time_are_disjoint),
      tt_test(test_memory_place_bound_is_the_fullest_position),
      tt_test(test_memory_place_nested_lifetimes_need_no_more_than_the_bound),
      tt_test(test_memory_place_nothing_is_nothing),
  };
  return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
