/* Thousands of runs against a model of processes: random deaths, late events, stops, scales and
 * failing disks, all drawn from a seed. STOKER_SIM=FROM:COUNT asks for other seeds.
 */
#include "tests/lib/tt.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/supervise/world.h"

enum { SEEDS = 300 };

struct sums {
  int ends[SW_END_CANCELED + 1];
  long opened, deaths, hangs, acked, failed_orders, scaled, strays, unknown, spares;
};

static void seeds(uint64_t *from, uint64_t *count) {
  const char *asked = getenv("STOKER_SIM");
  unsigned long long a = 1, n = SEEDS;
  if (asked && sscanf(asked, "%llu:%llu", &a, &n) < 1) {
    fail_msg("STOKER_SIM is not FROM:COUNT: %s", asked);
  }
  *from = a;
  *count = n;
}

static void run_all(enum world_mode mode, struct sums *sums) {
  static struct world_report r;
  uint64_t from, count;
  *sums = (struct sums){0};
  seeds(&from, &count);
  for (uint64_t seed = from; seed < from + count; seed++) {
    world_run(seed, mode, &r);
    if (r.violation) {
      world_print(&r);
      fail_msg("mode %d, seed %llu (STOKER_SIM=%llu:1): %s", (int)mode, (unsigned long long)seed,
               (unsigned long long)seed, r.violation);
    }
    sums->ends[r.end]++;
    sums->opened += r.n_opened;
    sums->deaths += r.n_deaths;
    sums->hangs += r.n_hangs;
    sums->acked += r.n_acked;
    sums->failed_orders += r.n_failed_orders;
    sums->scaled += r.n_scaled;
    sums->strays += r.n_strays;
    sums->unknown += r.n_unknown;
    sums->spares += r.n_spares;
  }
  print_message(
      "mode %d, seeds %llu..%llu: finished %d, start errors %d, job errors %d, poisoned "
      "%d, budget %d, canceled %d; %ld generations, %ld deaths, %ld hangs, %ld orders "
      "(%ld failed), %ld scales, %ld strays, %ld unknown, %ld spares\n",
      (int)mode, (unsigned long long)from, (unsigned long long)(from + count - 1),
      sums->ends[SW_END_FINISHED], sums->ends[SW_END_START_ERROR], sums->ends[SW_END_JOB_ERROR],
      sums->ends[SW_END_POISONED], sums->ends[SW_END_BUDGET], sums->ends[SW_END_CANCELED],
      sums->opened, sums->deaths, sums->hangs, sums->acked, sums->failed_orders, sums->scaled,
      sums->strays, sums->unknown, sums->spares);
}

static void test_core_runs_calm_all_finish(void **state) {
  (void)state;
  struct sums s;
  run_all(WORLD_CALM, &s);
  for (int end = 0; end <= SW_END_CANCELED; end++) {
    assert_true(end == SW_END_FINISHED || s.ends[end] == 0);
  }
  assert_true(s.acked > 0 && s.failed_orders == 0);
}

static void test_core_runs_with_kills_hold_every_invariant(void **state) {
  (void)state;
  struct sums s;
  run_all(WORLD_KILLS, &s);
  assert_true(s.hangs > 0 && s.strays > 0 && s.spares > 0 && s.ends[SW_END_FINISHED] > 0);
  assert_int_equal(s.ends[SW_END_JOB_ERROR] + s.ends[SW_END_START_ERROR], 0);
}

static void test_core_runs_in_a_storm_hold_every_invariant(void **state) {
  (void)state;
  struct sums s;
  run_all(WORLD_STORM, &s);
  assert_true(s.ends[SW_END_FINISHED] > 0 && s.ends[SW_END_BUDGET] > 0);
}

static void test_core_runs_on_bad_disks_never_end_for_it(void **state) {
  (void)state;
  struct sums s;
  run_all(WORLD_DISK, &s);
  assert_true(s.failed_orders > 0 && s.acked > 2 * s.failed_orders);
  assert_true(s.ends[SW_END_FINISHED] > 0);
}

static void test_core_runs_that_scale_hold_every_invariant(void **state) {
  (void)state;
  struct sums s;
  run_all(WORLD_SCALE, &s);
  assert_true(s.scaled > 0 && s.ends[SW_END_FINISHED] > 0);
}

static void test_core_runs_that_are_stopped_end(void **state) {
  (void)state;
  struct sums s;
  run_all(WORLD_STOP, &s);
  assert_true(s.ends[SW_END_FINISHED] > 0 && s.ends[SW_END_CANCELED] > 0);
}

static void test_core_runs_with_a_poisoned_step_end_so(void **state) {
  (void)state;
  struct sums s;
  uint64_t from, count;
  seeds(&from, &count);
  run_all(WORLD_POISON, &s);
  assert_int_equal(s.ends[SW_END_POISONED], count);
}

static void test_core_runs_with_an_error_of_the_job_end_so(void **state) {
  (void)state;
  struct sums s;
  uint64_t from, count;
  seeds(&from, &count);
  run_all(WORLD_ERROR, &s);
  assert_int_equal(s.ends[SW_END_JOB_ERROR], count);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_core_runs_calm_all_finish),
      tt_test(test_core_runs_with_kills_hold_every_invariant),
      tt_test(test_core_runs_in_a_storm_hold_every_invariant),
      tt_test(test_core_runs_on_bad_disks_never_end_for_it),
      tt_test(test_core_runs_that_scale_hold_every_invariant),
      tt_test(test_core_runs_that_are_stopped_end),
      tt_test(test_core_runs_with_a_poisoned_step_end_so),
      tt_test(test_core_runs_with_an_error_of_the_job_end_so),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
