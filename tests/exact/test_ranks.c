/* One result, whatever ranks compute it: as many as there are lanes or fewer, with one thread or
 * two, changing on the way, and killed at any moment. All must end with the hash of the state that
 * one rank alone ends with: parameters, moments, running statistics, counters, accumulators and
 * every metric.
 *
 * The job has batch norm, dropout, clipping by norm, windows of three batches whose last is cut, a
 * ragged last batch, a schedule, validation whose last batch not every lane has, and parameters
 * over several chunks of the flat region, so that every rank has a slice of its own.
 */
#include "tests/exact/ranks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/comm/faults.h"

static const char *const job_text =
    "seed_everything: 9\n"
    "model:\n"
    "  class: sequential\n"
    "  layers:\n"
    "    - {conv2d: {out: 4, kernel: 3}}\n"
    "    - batch_norm\n"
    "    - relu\n"
    "    - flatten\n"
    "    - {linear: {out: 600}}\n"
    "    - relu\n"
    "    - {dropout: {p: 0.2}}\n"
    "    - {linear: {out: 5}}\n"
    "data: {kind: synthetic, shape: [1, 14, 13], num_classes: 5, batch_size: 3}\n"
    "optimizer: {class: adamw, lr: 0.002}\n"
    "lr_scheduler:\n"
    "  - {class: step, interval: step, step_size: 3, gamma: 0.5}\n"
    "trainer: {max_epochs: 2, accumulate_grad_batches: 3, gradient_clip_val: 0.5,\n"
    "          val_check_interval: 3}\n";

static const char *write_job(void) {
  const char *path = tt_tmpfile("ranks.yaml");
  tt_write_file(path, job_text, strlen(job_text));
  return path;
}

/* Options of a job of so many lanes: 10 training batches per lane and epoch, the last of 2 samples;
 * validation of 3 batches, in the last of which some lanes have nothing. */
static void options_of(int32_t lanes, const char *more, char out[256]) {
  snprintf(out, 256, "--trainer.lanes %d --data.num_samples %d --data.num_val_samples %d %s",
           (int)lanes, (int)(lanes * 29 - 1), (int)(lanes * 6 + 1), more);
}

/* What one rank alone ends with, and told on the way. */
struct truth {
  char hash[XJ_HEX];
  double loss[XR_STEPS];
  int64_t samples[XR_STEPS];
};

static void alone(int32_t lanes, const char *more, struct truth *out) {
  char options[256];
  struct sp_err err = {0};
  options_of(lanes, more, options);
  struct xr *w = xr_open(write_job(), options, 1);
  assert_int_equal(xr_generation(w, 1, NULL, NULL, &err), XR_DONE);
  xr_hash(w, out->hash);
  memcpy(out->loss, w->shared->loss, sizeof out->loss);
  memcpy(out->samples, w->shared->samples, sizeof out->samples);
  assert_true(out->loss[2] > 0.0);
  assert_true(out->samples[2] > 0);
  xr_close(w);
}

static void check_truth(struct xr *w, const struct truth *want, const char *what) {
  char hex[XJ_HEX];
  xr_hash(w, hex);
  if (strcmp(hex, want->hash) != 0) {
    fail_msg("%s: another state after step %d", what, (int)xr_step(w));
  }
  if (memcmp(w->shared->loss, want->loss, sizeof want->loss) != 0 ||
      memcmp(w->shared->samples, want->samples, sizeof want->samples) != 0) {
    fail_msg("%s: another loss or number of samples was told", what);
  }
}

static void check_ranks(int32_t lanes, int32_t most_ranks, const char *more) {
  struct truth want;
  char options[256], what[96];
  struct sp_err err = {0};
  alone(lanes, more, &want);
  options_of(lanes, more, options);
  for (int32_t n = 1; n <= most_ranks; n++) {
    for (int threads = 1; threads <= 2; threads++) {
      struct xr *w = xr_open(write_job(), options, threads);
      assert_int_equal(xr_generation(w, n, NULL, NULL, &err), XR_DONE);
      snprintf(what, sizeof what, "%d lanes, %d ranks, %d threads", (int)lanes, (int)n, threads);
      check_truth(w, &want, what);
      xr_close(w);
    }
  }
}

/* The harness' process alone is the job alone: as tests of jobs have it, without a group page. */
static void test_ranks_one_rank_is_the_job_without_a_group(void **state) {
  (void)state;
  struct truth want;
  char options[256], hex[XJ_HEX];
  alone(4, "", &want);
  options_of(4, "", options);
  struct xj *j = xj_open(write_job(), options);
  xj_run(j);
  uint8_t digest[32];
  stk_state_hash(stk_session_state(j->s.session), digest);
  for (int i = 0; i < 32; i++) {
    snprintf(hex + 2 * i, 3, "%02x", digest[i]);
  }
  assert_string_equal(hex, want.hash);
  xj_close(j);
}

static void test_ranks_four_lanes_any_ranks_and_threads_give_the_same_bits(void **state) {
  (void)state;
  check_ranks(4, 4, "");
}

static void test_ranks_three_and_seven_lanes_give_the_same_bits(void **state) {
  (void)state;
  check_ranks(3, 3, "");
  check_ranks(7, 3, "");
}

static void test_ranks_without_clipping_give_the_same_bits(void **state) {
  (void)state;
  check_ranks(4, 3, "--trainer.gradient_clip_val 0 --trainer.accumulate_grad_batches 1");
}

static void test_ranks_clipping_by_value_and_frozen_layers_give_the_same_bits(void **state) {
  (void)state;
  check_ranks(4, 2,
              "--trainer.gradient_clip_algorithm value --trainer.gradient_clip_val 0.001 "
              "--optimizer.freeze [layers.0.*] --optimizer.class sgd --optimizer.momentum 0.9");
}

/* Looking at every node, and timing every kernel, in lead and followers. */
static void test_ranks_with_anomalies_looked_for_and_profiled_give_the_same_bits(void **state) {
  (void)state;
  check_ranks(4, 2, "--trainer.detect_anomaly true --trainer.profiler simple");
}

static void test_ranks_that_change_every_two_steps_give_the_same_bits(void **state) {
  (void)state;
  static const int32_t path[] = {2, 4, 1, 3, 2, 1, 4, 3};
  struct truth want;
  char options[256];
  struct sp_err err = {0};
  alone(4, "", &want);
  options_of(4, "", options);
  struct xr *w = xr_open(write_job(), options, 1);
  enum xr_end end = XR_STOPPED;
  int n = 0;
  for (; end == XR_STOPPED; n++) {
    assert_true(n < 20);
    atomic_store(&w->shared->stop_at, xr_step(w) + 2);
    end = xr_generation(w, path[n % 8], NULL, NULL, &err);
  }
  assert_int_equal(end, XR_DONE);
  assert_true(n >= 4);
  check_truth(w, &want, "ranks that change");
  xr_close(w);
}

/* ---- kills */

/* Goes on until the job is done; a generation that lost a process is followed by one of the
 * survivors and new ones. */
static void run_through(struct xr *w, int32_t n_ranks, void (*tick)(struct xr *w, void *ctx),
                        void *ctx) {
  struct sp_err err = {0};
  for (int i = 0; i < 500; i++) {
    const int64_t before = xr_step(w);
    const enum xr_end end = xr_generation(w, n_ranks, tick, ctx, &err);
    if (end == XR_FAILED) {
      fail_msg("generation %u: %s", w->generation, err.text);
    }
    assert_true(xr_step(w) >= before);
    if (end == XR_DONE) {
      return;
    }
  }
  fail_msg("no end after %u generations", w->generation);
}

struct killer {
  uint32_t random;
  int left;        /* kills to come */
  int64_t at_step; /* the next one comes after this step, */
  int wait;        /* so many looks later */
  bool two;        /* two at once */
};

static uint32_t next_random(struct killer *k) {
  k->random = k->random * 1664525u + 1013904223u;
  return k->random >> 16;
}

/* Kills a random rank a random time after a random step, every third step on average. */
static void kill_sometimes(struct xr *w, void *ctx) {
  struct killer *k = ctx;
  const uint32_t n_ranks = atomic_load(&w->group->n_ranks);
  if (k->left == 0 || xr_step(w) < k->at_step || k->wait-- > 0) {
    return;
  }
  if (xr_kill(w, (int32_t)(next_random(k) % n_ranks))) {
    k->left--;
  }
  if (k->two) {
    (void)xr_kill(w, (int32_t)(next_random(k) % n_ranks));
  }
  k->at_step = xr_step(w) + next_random(k) % 6;
  k->wait = (int)(next_random(k) % 16);
}

static void check_random_kills(uint32_t seed, int32_t n_ranks, int kills, bool two) {
  struct truth want;
  char options[256], what[64];
  static const char *const longer = "--trainer.max_epochs 20";
  struct killer k = {.random = seed, .left = kills, .two = two};
  alone(4, longer, &want);
  options_of(4, longer, options);
  struct xr *w = xr_open(write_job(), options, 1);
  run_through(w, n_ranks, kill_sometimes, &k);
  assert_true(w->n_died >= kills);
  snprintf(what, sizeof what, "seed %u, %d killed", seed, w->n_died);
  check_truth(w, &want, what);
  xr_close(w);
}

static void test_ranks_killed_at_random_give_the_same_bits(void **state) {
  (void)state;
  check_random_kills(1, 2, 12, false);
  check_random_kills(2, 4, 10, false);
  check_random_kills(3, 3, 6, true);
}

#ifdef STOKER_FAULTS

/* `name` kills the process of `rank` the hit-th time that it comes by. */
static void check_fault(const char *name, int32_t rank, int hit, const struct truth *want) {
  char options[256], fault[96], what[128];
  options_of(4, "", options);
  struct xr *w = xr_open(write_job(), options, 1);
  snprintf(fault, sizeof fault, "%s:%d:kill9", name, hit);
  w->fault[rank] = fault;
  run_through(w, 2, NULL, NULL);
  snprintf(what, sizeof what, "%s in rank %d", fault, (int)rank);
  if (w->n_died != 1) {
    fail_msg("%s: %d processes died, want 1: the point was not hit", what, w->n_died);
  }
  check_truth(w, want, what);
  xr_close(w);
}

static void test_ranks_killed_at_each_fault_point_give_the_same_bits(void **state) {
  (void)state;
  static const char *const names[] = {
#define STK_FAULT_X(name, what) name,
      STK_FAULT_LIST(STK_FAULT_X)
#undef STK_FAULT_X
  };
  struct truth want;
  alone(4, "", &want);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    for (int32_t rank = 0; rank < 2; rank++) {
      check_fault(names[i], rank, 1, &want);
      check_fault(names[i], rank, 4, &want);
    }
  }
}

#endif

/* ---- failures */

static void test_ranks_follower_without_data_ends_the_run_with_its_words(void **state) {
  (void)state;
  char options[256];
  struct sp_err err = {0};
  options_of(4, "", options);
  struct xr *w = xr_open(write_job(), options, 1);
  atomic_store(&w->shared->bad_epoch, 0);
  assert_int_equal(xr_generation(w, 3, NULL, NULL, &err), XR_FAILED);
  assert_int_equal(err.status, SP_EINTERNAL);
  assert_non_null(strstr(err.text, "rank "));
  assert_non_null(strstr(err.text, "no data for stage 0"));
  assert_int_equal(xr_step(w), 0);
  xr_close(w);
}

static void test_ranks_that_diverge_name_the_first_node_that_is_not_finite(void **state) {
  (void)state;
  char options[256];
  struct sp_err err = {0};
  options_of(4, "--trainer.detect_anomaly true --optimizer.lr 1e30", options);
  struct xr *w = xr_open(write_job(), options, 1);
  assert_int_equal(xr_generation(w, 2, NULL, NULL, &err), XR_FAILED);
  assert_int_equal(err.status, SP_ENUMERIC);
  assert_non_null(strstr(err.text, "detect_anomaly: "));
  assert_int_equal(xr_step(w), 1);
  xr_close(w);
}

static void test_ranks_membership_that_cannot_be_is_refused(void **state) {
  (void)state;
  char options[256];
  struct sp_err err = {0};
  options_of(4, "", options);
  struct xr *w = xr_open(write_job(), options, 1);
  static const struct { int32_t rank, n_ranks; } wrong[] = {{0, 0}, {2, 2}, {-1, 2}, {0, 5}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    const struct stk_membership m = {
        .group = w->group, .rank = wrong[i].rank, .n_ranks = wrong[i].n_ranks};
    assert_int_equal(stk_session_join(w->s.session, &m, &err), SP_EINVAL);
  }
  assert_non_null(strstr(err.text, "4 lanes"));
  const struct stk_membership no_group = {.n_ranks = 2};
  assert_int_equal(stk_session_join(w->s.session, &no_group, &err), SP_EINVAL);
  const struct stk_follow nothing = {0};
  assert_int_equal(stk_session_follow(w->s.session, &nothing, &err), SP_EINVAL);
  xr_close(w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_ranks_one_rank_is_the_job_without_a_group),
      tt_test(test_ranks_four_lanes_any_ranks_and_threads_give_the_same_bits),
      tt_test(test_ranks_three_and_seven_lanes_give_the_same_bits),
      tt_test(test_ranks_without_clipping_give_the_same_bits),
      tt_test(test_ranks_clipping_by_value_and_frozen_layers_give_the_same_bits),
      tt_test(test_ranks_with_anomalies_looked_for_and_profiled_give_the_same_bits),
      tt_test(test_ranks_that_change_every_two_steps_give_the_same_bits),
      tt_test(test_ranks_killed_at_random_give_the_same_bits),
#ifdef STOKER_FAULTS
      tt_test(test_ranks_killed_at_each_fault_point_give_the_same_bits),
#endif
      tt_test(test_ranks_follower_without_data_ends_the_run_with_its_words),
      tt_test(test_ranks_that_diverge_name_the_first_node_that_is_not_finite),
      tt_test(test_ranks_membership_that_cannot_be_is_refused),
  };
  return cmocka_run_group_tests_name("ranks", tests, NULL, NULL);
}
