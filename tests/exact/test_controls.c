/* Negative controls: what the tests beside this one compare would go red. Each case makes one small
 * mistake in an otherwise equal run and asserts that the hash is another; the same machinery
 * without the mistake gives the same hash.
 *
 * One sample swapped with another, of the same batch and of another; two lanes' sums added in
 * another order; parameters of step s with the optimizer state of s - 1; one element that one
 * kernel wrote once off by one ulp, for kernels of every family. A kernel is replaced in a copy of
 * its table and in the instructions of the training program.
 */
#include "tests/exact/job.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/kernel/gemm.h"
#include "proto/base/mem.h"

enum { N_SAMPLES = 24, PIXELS = 16, HEADER = 16 };

static const char *const digits_job =
    "seed_everything: 5\n"
    "model: {class: autoencoder, hidden: 12, code: 3}\n"
    "data: {kind: idx, batch_size: 8}\n"
    "optimizer: {class: adam, lr: 0.01}\n"
    "trainer: {max_steps: 6}\n";

static const char *job_path(const char *text) {
  static char path[PATH_MAX];
  snprintf(path, sizeof path, "%s", tt_tmpfile("job.yaml"));
  tt_write_file(path, text, strlen(text));
  return path;
}

static void run_and_hash(struct xj *j, char hex[XJ_HEX]) {
  xj_run(j);
  xj_hash(j, hex);
  xj_close(j);
}

/* ---- samples */

/* Images of made-up pixels, samples a and b exchanged. */
static const char *write_images(int64_t a, int64_t b) {
  uint8_t file[HEADER + N_SAMPLES * PIXELS] = {0, 0, 8, 3, 0, 0, 0, N_SAMPLES,
                                               0, 0, 0, 4, 0, 0, 0, 4};
  uint8_t *pixels = file + HEADER, kept[PIXELS];
  for (int i = 0; i < N_SAMPLES * PIXELS; i++) {
    pixels[i] = (uint8_t)(i * i * 7 + i / 3);
  }
  memcpy(kept, pixels + a * PIXELS, PIXELS);
  memmove(pixels + a * PIXELS, pixels + b * PIXELS, PIXELS);
  memcpy(pixels + b * PIXELS, kept, PIXELS);
  const char *path = tt_tmpfile("train-images-idx3-ubyte");
  tt_write_file(path, file, sizeof file);
  return path;
}

static struct xj *open_images(int64_t a, int64_t b) {
  char options[PATH_MAX + 16];
  snprintf(options, sizeof options, "--data.path %s", write_images(a, b));
  return xj_open(job_path(digits_job), options);
}

/* The first two samples of the first batch and one of the second. */
static void test_two_samples_swapped_another_hash(void **state) {
  char whole[XJ_HEX], again[XJ_HEX], inside[XJ_HEX], across[XJ_HEX];
  int64_t first[8], second[8];
  (void)state;
  struct xj *j = open_images(0, 0);
  const struct stk_sampler *order = stk_loader_sampler(j->s.train_loader);
  assert_int_equal(stk_sampler_batch(order, 0, 0, 0, first), 8);
  assert_int_equal(stk_sampler_batch(order, 0, 0, 1, second), 8);
  run_and_hash(j, whole);
  run_and_hash(open_images(0, 0), again);
  assert_string_equal(again, whole);
  run_and_hash(open_images(first[0], first[1]), inside);
  assert_string_not_equal(inside, whole);
  run_and_hash(open_images(first[0], second[0]), across);
  assert_string_not_equal(across, whole);
}

/* ---- replaced kernels */

static struct {
  struct stk_kernels table; /* the session's, with one kernel replaced */
  struct stk_kernel kernel; /* the replacement */
  const struct stk_kernel *real;
  size_t output; /* offset of the pointer to what it writes, in its args */
  bool armed;
  _Atomic int64_t n_calls; /* of any thread */
  const void *kept;        /* the lane's sum that waits */
} odd;

/* Registers the replacement for the kernel at `member` of the table. */
static void replace(struct xj *j, size_t member,
                    void (*run)(const void *, int64_t, int64_t, void *)) {
  struct stk_session_config *c =
      (struct stk_session_config *)(uintptr_t)stk_session_config_of(j->s.session);
  const struct stk_kernel **slot;
  stk_program *p;
  struct sp_err err = {0};
  odd.table = *c->kernels;
  slot = (const struct stk_kernel **)(void *)((uint8_t *)&odd.table + member);
  odd.real = *slot;
  odd.kernel = *odd.real;
  odd.kernel.run = run;
  *slot = &odd.kernel;
  c->kernels = &odd.table;
  xj_check(stk_session_program(j->s.session, STK_TRAIN, j->s.job->data.batch_size, &p, &err), &err);
  for (int64_t i = 0; i < stk_program_n_instrs(p); i++) {
    struct stk_instr *in = (struct stk_instr *)(uintptr_t)stk_program_instr(p, i);
    in->kernel = in->kernel == odd.real ? &odd.kernel : in->kernel;
  }
}

/* ---- lanes */

static int64_t one_unit(const void *args, int n_threads) {
  (void)args;
  (void)n_threads;
  return 1;
}

static void add_whole(const struct stk_accumulate_args *a) {
  odd.real->run(a, 0, odd.real->units(a, 1), NULL);
}

/* Of the two additions of three lanes, sum of 0 and 1, then with 2: when armed, 0 and 2, then with
 * 1. */
static void run_accumulate(const void *args, int64_t lo, int64_t hi, void *scratch) {
  struct stk_accumulate_args a = *(const struct stk_accumulate_args *)args;
  (void)lo;
  (void)hi;
  (void)scratch;
  if (!odd.armed) {
    add_whole(&a);
  } else if (!odd.kept) {
    float *copy = sp_alloc_aligned(64, (size_t)a.n * sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, a.x, (size_t)a.n * sizeof *copy);
    odd.kept = copy;
  } else {
    add_whole(&a);
    a.x = odd.kept;
    add_whole(&a);
    sp_free_aligned((void *)(uintptr_t)odd.kept);
    odd.kept = NULL;
    odd.armed = false;
  }
}

static void hash_of_lanes(bool armed, char hex[XJ_HEX]) {
  struct xj *j = xj_open(tt_source("tests/exact/jobs/autoencoder.yaml"), "--trainer.threads 1");
  replace(j, offsetof(struct stk_kernels, accumulate), run_accumulate);
  odd.kernel.units = one_unit;
  odd.armed = armed;
  run_and_hash(j, hex);
  assert_false(odd.armed);
}

static void test_lane_sums_in_another_order_another_hash(void **state) {
  char whole[XJ_HEX], other[XJ_HEX];
  (void)state;
  hash_of_lanes(false, whole);
  hash_of_lanes(true, other);
  assert_string_not_equal(other, whole);
}

/* ---- slots */

static void hash_after_mixing(const char *job, bool mix, char hex[XJ_HEX]) {
  struct xj *j = xj_open(tt_source(job), "");
  struct stk_state *s = stk_session_state(j->s.session);
  while (s->now->global_step < 2) {
    assert_true(xj_advance(j));
  }
  if (mix) {
    size_t section = (size_t)s->layout.section_bytes;
    memcpy(stk_state_read_slot(s) + section, stk_state_write_slot(s) + section,
           section * (size_t)(s->layout.n_sections - 1));
  }
  run_and_hash(j, hex);
}

static void test_optimizer_state_of_the_step_before_another_hash(void **state) {
  static const char *const jobs[] = {"tests/exact/jobs/autoencoder.yaml",
                                     "tests/exact/jobs/cnn.yaml"};
  char whole[XJ_HEX], other[XJ_HEX];
  (void)state;
  for (int i = 0; i < 2; i++) {
    hash_after_mixing(jobs[i], false, whole);
    hash_after_mixing(jobs[i], true, other);
    assert_string_not_equal(other, whole);
  }
}

/* ---- one ulp */

/* The first element that is not zero, of the piece that begins the work. */
static void run_off_by_one_ulp(const void *args, int64_t lo, int64_t hi, void *scratch) {
  float *out;
  odd.real->run(args, lo, hi, scratch);
  if (lo == 0 && odd.armed) {
    memcpy(&out, (const uint8_t *)args + odd.output, sizeof out);
    while (*out == 0.0f) {
      out++;
    }
    *out = nextafterf(*out, HUGE_VALF);
    odd.n_calls++;
  }
}

struct control {
  const char *job, *kernel;
  size_t member, output;
};

#define CONTROL(job, member, type, field)                                           \
  {                                                                                 \
    "tests/exact/jobs/" job ".yaml", #member, offsetof(struct stk_kernels, member), \
        offsetof(struct type, field)                                                \
  }

static const struct control controls[] = {
    CONTROL("mlp", gemm, stk_gemm_args, c),
    CONTROL("mlp", chain, stk_chain_args, out),
    CONTROL("mlp", dropout, stk_dropout_args, y),
    CONTROL("mlp", xent_bwd, stk_xent_bwd_args, dx),
    CONTROL("mlp", reduce, stk_reduce_args, y),
    CONTROL("mlp", accumulate, stk_accumulate_args, y),
    CONTROL("mlp", optim, stk_optim_args, p_out),
    CONTROL("mlp", optim, stk_optim_args, m_out),
    CONTROL("mlp", optim, stk_optim_args, v_out),
    CONTROL("cnn", conv, stk_conv_args, y),
    CONTROL("cnn", conv_dx, stk_conv_dx_args, dx),
    CONTROL("cnn", conv_dw, stk_conv_dw_args, sums),
    CONTROL("cnn", conv_dw_sum, stk_conv_dw_args, dw),
    CONTROL("cnn", pool, stk_pool_args, y),
    CONTROL("cnn", pool_bwd, stk_pool_bwd_args, dx),
    CONTROL("cnn", batchnorm_stats, stk_batchnorm_stats_args, run_mean_out),
    CONTROL("cnn", batchnorm_apply, stk_batchnorm_apply_args, y),
    CONTROL("cnn", batchnorm_bwd_sums, stk_batchnorm_bwd_sums_args, dgamma),
    CONTROL("cnn", batchnorm_bwd, stk_batchnorm_bwd_args, dx),
    CONTROL("gpt", embedding, stk_embedding_args, y),
    CONTROL("gpt", embedding_bwd, stk_embedding_bwd_args, dw),
    CONTROL("gpt", layernorm, stk_layernorm_args, y),
    CONTROL("gpt", layernorm_bwd, stk_layernorm_bwd_args, dx),
    CONTROL("gpt", layernorm_dparam, stk_layernorm_dparam_args, dgamma),
    CONTROL("gpt", attention, stk_attention_args, o),
    CONTROL("gpt", attention_bwd, stk_attention_bwd_args, dv),
    CONTROL("gpt", xent, stk_xent_args, lse),
};

static void hash_of_control(const struct control *c, bool armed, char hex[XJ_HEX]) {
  struct xj *j = xj_open(tt_source(c->job), "");
  replace(j, c->member, run_off_by_one_ulp);
  odd.output = c->output;
  odd.armed = armed;
  odd.n_calls = 0;
  run_and_hash(j, hex);
  if (armed && odd.n_calls == 0) {
    fail_msg("%s never ran %s", c->job, c->kernel);
  }
}

static void test_one_kernel_off_by_one_ulp_another_hash(void **state) {
  char whole[XJ_HEX], other[XJ_HEX];
  const char *job = "";
  (void)state;
  for (size_t i = 0; i < sizeof controls / sizeof *controls; i++) {
    if (strcmp(controls[i].job, job) != 0) {
      job = controls[i].job;
      hash_of_control(&controls[i], false, whole);
    }
    hash_of_control(&controls[i], true, other);
    if (strcmp(other, whole) == 0) {
      fail_msg("%s: %s off by one ulp gives the same hash", job, controls[i].kernel);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_two_samples_swapped_another_hash),
      tt_test(test_lane_sums_in_another_order_another_hash),
      tt_test(test_optimizer_state_of_the_step_before_another_hash),
      tt_test(test_one_kernel_off_by_one_ulp_another_hash),
  };
  return cmocka_run_group_tests_name("controls", tests, NULL, NULL);
}
