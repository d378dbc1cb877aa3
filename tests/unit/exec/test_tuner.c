/* The tuner against machines whose best number of threads is known. */
#include "tests/lib/tt.h"

#include "engine/exec/tuner.h"

typedef int64_t (*machine)(int threads);

static int64_t shares_badly(int threads) {
  return 100000 + 50000 * threads;
}

static int64_t shares_well(int threads) {
  return 4000000 / threads + 1000;
}

static int64_t best_at_eight(int threads) {
  return 8000000 / threads + 125000 * threads;
}

static int64_t all_the_same(int threads) {
  return 1000000 + threads;
}

/* Runs n steps; how many were with other than `expected` threads. */
static int run(struct stk_tuner *t, machine m, int n, int expected) {
  int others = 0;
  for (int i = 0; i < n; i++) {
    const int64_t hiccup = i % 5 == 3 ? 3000000 : 0;
    assert_in_range(t->now, 1, t->most);
    others += t->now != expected;
    stk_tuner_took(t, m(t->now) + hiccup);
  }
  return others;
}

static void check(machine m, int most, int expected) {
  struct stk_tuner t;
  stk_tuner_init(&t, most);
  assert_int_equal(t.now, most);
  run(&t, m, 200, expected);
  assert_int_equal(t.now, expected);
  assert_true(run(&t, m, 20000, expected) <= 20000 / 100);
  assert_int_equal(t.best, expected);
}

static void test_tuner_finds_the_best_number(void **state) {
  (void)state;
  check(shares_badly, 2, 1);
  check(shares_badly, 64, 1);
  check(shares_badly, 7, 1);
  check(shares_well, 2, 2);
  check(shares_well, 64, 64);
  check(shares_well, 7, 7);
  check(best_at_eight, 64, 8);
  check(best_at_eight, 8, 8);
}

static void test_tuner_stays_with_all_where_nothing_is_won(void **state) {
  (void)state;
  check(all_the_same, 16, 16);
}

static void test_tuner_follows_a_machine_that_changes(void **state) {
  struct stk_tuner t;
  (void)state;
  stk_tuner_init(&t, 16);
  run(&t, shares_badly, 300, 1);
  assert_int_equal(t.best, 1);
  run(&t, shares_well, 10000, 16);
  assert_int_equal(t.best, 16);
  run(&t, best_at_eight, 10000, 8);
  assert_int_equal(t.best, 8);
}

static int64_t long_steps(int threads) {
  return 50000000 + threads;
}

static void test_tuner_tries_nothing_where_steps_are_long(void **state) {
  struct stk_tuner t;
  (void)state;
  stk_tuner_init(&t, 8);
  assert_int_equal(run(&t, long_steps, 10000, 8), 0);
  stk_tuner_init(&t, 1);
  assert_int_equal(run(&t, shares_badly, 100, 1), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_tuner_finds_the_best_number),
      tt_test(test_tuner_stays_with_all_where_nothing_is_won),
      tt_test(test_tuner_follows_a_machine_that_changes),
      tt_test(test_tuner_tries_nothing_where_steps_are_long),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
