/* Sample order: lanes, padding, drop_last, shuffle. */
#include "tests/lib/tt.h"

#include "engine/data/sampler.h"

#include <string.h>

enum { ROOM = 64 };

static int64_t all_ids(const struct stk_sampler *s, int64_t epoch, int64_t lane, int64_t *out) {
  int64_t n = 0;
  for (int64_t b = 0; b < stk_sampler_n_batches(s, lane); b++) {
    n += stk_sampler_batch(s, epoch, lane, b, out + n);
  }
  return n;
}

static void test_sampler_sequential_lanes_stride_over_positions(void **state) {
  (void)state;
  const struct stk_sampler s = {.n = 10, .n_lanes = 3, .batch_size = 2, .pad = true};
  int64_t ids[ROOM];
  assert_int_equal(all_ids(&s, 0, 1, ids), 4);
  const int64_t want[] = {1, 4, 7, 0};
  assert_memory_equal(ids, want, sizeof want);
}

static void test_sampler_training_pads_every_lane_to_the_same_count(void **state) {
  (void)state;
  for (int64_t n = 1; n <= 12; n++) {
    for (int64_t lanes = 1; lanes <= 5; lanes++) {
      const struct stk_sampler s = {
          .n = n, .n_lanes = lanes, .batch_size = 3, .pad = true, .shuffle = true, .seed = 3};
      int64_t count[ROOM] = {0};
      int64_t total = 0;
      for (int64_t lane = 0; lane < lanes; lane++) {
        int64_t ids[ROOM];
        int64_t m = all_ids(&s, 4, lane, ids);
        assert_int_equal(m, (n + lanes - 1) / lanes);
        total += m;
        for (int64_t i = 0; i < m; i++) {
          assert_true(ids[i] >= 0 && ids[i] < n);
          count[ids[i]]++;
        }
      }
      for (int64_t i = 0; i < n; i++) {
        assert_true(count[i] >= total / n && count[i] <= total / n + 1);
      }
    }
  }
}

static void test_sampler_evaluation_visits_each_sample_once(void **state) {
  (void)state;
  const struct stk_sampler s = {.first = 100, .n = 7, .n_lanes = 3, .batch_size = 2};
  int64_t count[7] = {0};
  for (int64_t lane = 0; lane < 3; lane++) {
    int64_t ids[ROOM];
    int64_t m = all_ids(&s, 0, lane, ids);
    for (int64_t i = 0; i < m; i++) {
      count[ids[i] - 100]++;
    }
  }
  for (int i = 0; i < 7; i++) {
    assert_int_equal(count[i], 1);
  }
  assert_int_equal(stk_sampler_n_steps(&s), 2);
  assert_int_equal(stk_sampler_n_batches(&s, 2), 1);
}

static void test_sampler_evaluation_lane_beyond_the_samples_has_no_batch(void **state) {
  (void)state;
  const struct stk_sampler s = {.n = 2, .n_lanes = 4, .batch_size = 2};
  int64_t ids[2];
  assert_int_equal(stk_sampler_n_batches(&s, 1), 1);
  assert_int_equal(stk_sampler_n_batches(&s, 3), 0);
  assert_int_equal(stk_sampler_batch(&s, 0, 3, 0, ids), 0);
}

static void test_sampler_drop_last_drops_only_a_ragged_batch(void **state) {
  (void)state;
  struct stk_sampler s = {.n = 7, .n_lanes = 1, .batch_size = 3, .pad = true};
  int64_t ids[3];
  assert_int_equal(stk_sampler_n_batches(&s, 0), 3);
  assert_int_equal(stk_sampler_batch(&s, 0, 0, 2, ids), 1);
  assert_int_equal(ids[0], 6);
  s.drop_last = true;
  assert_int_equal(stk_sampler_n_batches(&s, 0), 2);
  assert_int_equal(stk_sampler_batch(&s, 0, 0, 2, ids), 0);
  s.n = 6;
  assert_int_equal(stk_sampler_n_batches(&s, 0), 2);
  s.n = 2;
  assert_int_equal(stk_sampler_n_batches(&s, 0), 0);
}

static void test_sampler_shuffle_depends_on_seed_and_epoch(void **state) {
  (void)state;
  struct stk_sampler s = {.n = 40, .n_lanes = 1, .batch_size = 40, .shuffle = true, .pad = true};
  int64_t a[40];
  int64_t b[40];
  int64_t again[40];
  stk_sampler_batch(&s, 0, 0, 0, a);
  stk_sampler_batch(&s, 1, 0, 0, b);
  stk_sampler_batch(&s, 0, 0, 0, again);
  assert_memory_equal(a, again, sizeof a);
  assert_memory_not_equal(a, b, sizeof a);
  s.seed = 1;
  stk_sampler_batch(&s, 0, 0, 0, again);
  assert_memory_not_equal(a, again, sizeof a);
}

static void test_sampler_order_does_not_depend_on_the_batch_size(void **state) {
  (void)state;
  struct stk_sampler s = {.n = 23, .n_lanes = 2, .batch_size = 4, .shuffle = true, .pad = true};
  int64_t a[ROOM];
  int64_t b[ROOM];
  assert_int_equal(all_ids(&s, 2, 1, a), 12);
  s.batch_size = 5;
  assert_int_equal(all_ids(&s, 2, 1, b), 12);
  assert_memory_equal(a, b, 12 * sizeof *a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sampler_sequential_lanes_stride_over_positions),
      cmocka_unit_test(test_sampler_training_pads_every_lane_to_the_same_count),
      cmocka_unit_test(test_sampler_evaluation_visits_each_sample_once),
      cmocka_unit_test(test_sampler_evaluation_lane_beyond_the_samples_has_no_batch),
      cmocka_unit_test(test_sampler_drop_last_drops_only_a_ragged_batch),
      cmocka_unit_test(test_sampler_shuffle_depends_on_seed_and_epoch),
      cmocka_unit_test(test_sampler_order_does_not_depend_on_the_batch_size),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
