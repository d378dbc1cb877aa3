/* EarlyStopping against Lightning's semantics. */
#include "tests/lib/tt.h"

#include "engine/trainer/callbacks/early_stopping.h"

#include <math.h>
#include <string.h>

struct fixture {
  struct stk_early_stopping_options o;
  struct stk_early_stopping s;
};

static struct fixture begin(int64_t patience) {
  struct fixture f = {.o = stk_early_stopping_defaults()};
  f.o.patience = patience;
  stk_early_stopping_init(&f.s, &f.o);
  return f;
}

static enum stk_early_verdict check(struct fixture *f, double value) {
  return stk_early_stopping_check(&f->s, &f->o, value, 7);
}

static void test_check_improvement_starts_waiting_over(void **state) {
  (void)state;
  struct fixture f = begin(2);
  assert_int_equal(check(&f, 1.0), STK_EARLY_IMPROVED);
  assert_int_equal(check(&f, 1.5), STK_EARLY_GO_ON);
  assert_int_equal(check(&f, 0.9), STK_EARLY_IMPROVED);
  assert_int_equal(f.s.wait_count, 0);
  assert_int_equal(check(&f, 0.9), STK_EARLY_GO_ON);
  assert_int_equal(check(&f, 0.9), STK_EARLY_PATIENCE);
  assert_int_equal(f.s.stopped_epoch, 7);
}

static void test_check_mode_max_improves_upwards(void **state) {
  (void)state;
  struct fixture f = begin(1);
  f.o.mode = STK_MONITOR_MAX;
  stk_early_stopping_init(&f.s, &f.o);
  assert_int_equal(check(&f, -5), STK_EARLY_IMPROVED);
  assert_int_equal(check(&f, -4), STK_EARLY_IMPROVED);
  assert_int_equal(check(&f, -4), STK_EARLY_PATIENCE);
}

static void test_check_improvement_by_min_delta_exactly_does_not_count(void **state) {
  (void)state;
  struct fixture f = begin(5);
  f.o.min_delta = -0.25; /* the sign is dropped */
  assert_int_equal(check(&f, 1.0), STK_EARLY_IMPROVED);
  assert_int_equal(check(&f, 0.75), STK_EARLY_GO_ON);
  assert_int_equal(check(&f, 0.74), STK_EARLY_IMPROVED);
}

static void test_check_not_finite_stops_before_thresholds(void **state) {
  (void)state;
  struct fixture f = begin(5);
  f.o.stopping_threshold = 10;
  assert_int_equal(check(&f, -INFINITY), STK_EARLY_NOT_FINITE);
}

static void test_check_nan_without_check_finite_counts_as_no_improvement(void **state) {
  (void)state;
  struct fixture f = begin(2);
  f.o.check_finite = false;
  assert_int_equal(check(&f, NAN), STK_EARLY_GO_ON);
  assert_int_equal(check(&f, NAN), STK_EARLY_PATIENCE);
}

static void test_check_threshold_stops_before_improvement(void **state) {
  (void)state;
  struct fixture f = begin(5);
  f.o.stopping_threshold = 0.5;
  assert_int_equal(check(&f, 0.5), STK_EARLY_IMPROVED);
  assert_int_equal(check(&f, 0.49), STK_EARLY_THRESHOLD);
  assert_true(f.s.best_score == 0.5);
}

static void test_check_divergence_in_both_modes_stops(void **state) {
  (void)state;
  struct fixture f = begin(5);
  f.o.divergence_threshold = 10;
  assert_int_equal(check(&f, 10), STK_EARLY_IMPROVED);
  assert_int_equal(check(&f, 11), STK_EARLY_DIVERGED);
  f.o.mode = STK_MONITOR_MAX;
  stk_early_stopping_init(&f.s, &f.o);
  assert_int_equal(check(&f, 9), STK_EARLY_DIVERGED);
}

static void test_check_patience_zero_stops_at_the_first_miss(void **state) {
  (void)state;
  struct fixture f = begin(0);
  assert_int_equal(check(&f, 1), STK_EARLY_IMPROVED);
  assert_int_equal(check(&f, 1), STK_EARLY_PATIENCE);
}

static void test_text_patience_names_best_and_count(void **state) {
  (void)state;
  struct fixture f = begin(1);
  char text[128];
  check(&f, 0.5);
  check(&f, 0.75);
  stk_early_stopping_text(&f.s, &f.o, "val_loss", 0.75, text, sizeof text);
  assert_string_equal(text, "val_loss did not improve on 0.5 in the last 1 checks (patience 1)");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_check_improvement_starts_waiting_over),
      tt_test(test_check_mode_max_improves_upwards),
      tt_test(test_check_improvement_by_min_delta_exactly_does_not_count),
      tt_test(test_check_not_finite_stops_before_thresholds),
      tt_test(test_check_nan_without_check_finite_counts_as_no_improvement),
      tt_test(test_check_threshold_stops_before_improvement),
      tt_test(test_check_divergence_in_both_modes_stops),
      tt_test(test_check_patience_zero_stops_at_the_first_miss),
      tt_test(test_text_patience_names_best_and_count),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
