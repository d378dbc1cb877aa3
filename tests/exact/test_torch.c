/* Right numbers: whole jobs against PyTorch's float64 and float32 runs of them, from the same
 * weights and in the same order (tests/golden/torch, written by tests/golden/make_torch.py).
 *
 * In 64-true every step's loss and, at the end, every parameter and running statistic agree to 1e-9
 * relative; in 32-true every loss to 1e-4.
 */
#include "tests/exact/job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/mem.h"

enum { SAMPLED = 4 };

static const char *file_of(const char *job, const char *extension) {
  char path[128];
  snprintf(path, sizeof path, "tests/golden/torch/%s.%s", job, extension);
  return tt_source(path);
}

/* What follows "KEY " at the start of a line; NULL when there is no such line. */
static char *find_line(const char *text, const char *key) {
  size_t n = strlen(key);
  for (const char *at = text; at; at = strchr(at, '\n')) {
    at += *at == '\n';
    if (strncmp(at, key, n) == 0 && at[n] == ' ') {
      return (char *)(uintptr_t)at + n;
    }
  }
  return NULL;
}

static void check_near(double got, double want, double scale, double tolerance, const char *job,
                       const char *what, int64_t i) {
  if (!(fabs(got - want) <= tolerance * scale)) {
    fail_msg("%s: %s %lld is %.17g, PyTorch says %.17g (off by %.3g relative)", job, what,
             (long long)i, got, want, fabs(got - want) / scale);
  }
}

/* Every loss of the run, and that there are as many as PyTorch made. */
static void check_losses(const struct xj *j, const char *text, const char *key, double tolerance,
                         const char *job) {
  char *at = find_line(text, key);
  assert_non_null(at);
  for (int64_t i = 0; i < j->n_losses; i++) {
    double want = strtod(at, &at);
    check_near(j->losses[i], want, fabs(want), tolerance, job, key, i);
  }
  assert_int_equal(*at, '\n');
  assert_true(j->n_losses >= 50);
}

/* The tensor's norm and sampled elements, relative to its largest sampled or mean magnitude. */
static void check_tensor(const char *text, const char *job, const char *name, const double *x,
                         int64_t n) {
  const int64_t picked[SAMPLED] = {0, n / 3, n / 2, n - 1};
  char key[192];
  double sum = 0;
  snprintf(key, sizeof key, "weight %s", name);
  char *at = find_line(text, key);
  if (!at) {
    fail_msg("%s: PyTorch has no %s", job, name);
  }
  for (int64_t i = 0; i < n; i++) {
    sum += x[i] * x[i];
  }
  double norm = strtod(at, &at), scale = norm / sqrt((double)n);
  check_near(sqrt(sum), norm, norm, 1e-9, job, name, -1);
  for (int i = 0; i < SAMPLED; i++) {
    double want = strtod(at, &at);
    check_near(x[picked[i]], want, fmax(fabs(want), scale), 1e-9, job, name, picked[i]);
  }
}

static void check_weights(struct xj *j, const char *text, const char *job) {
  struct stk_state *state = stk_session_state(j->s.session);
  const struct stk_module *m = j->s.module;
  for (int32_t i = 0; i < m->n_params; i++) {
    const uint8_t *p = stk_state_read_slot(state) + state->layout.param_offset[i];
    check_tensor(text, job, m->params[i]->name, (const double *)(const void *)p,
                 stk_shape_numel(&m->params[i]->shape));
  }
  for (int32_t i = 0; i < m->n_running; i++) {
    const uint8_t *p = state->running[state->now->running] + state->layout.running_offset[i];
    if (!strstr(m->running[i].name, "num_batches_tracked")) {
      check_tensor(text, job, m->running[i].name, (const double *)(const void *)p,
                   stk_shape_numel(&m->running[i].shape));
    }
  }
}

static void follow(const char *job) {
  char *text = tt_read_file(file_of(job, "txt"), NULL);
  struct xj *j = xj_open(file_of(job, "yaml"), "--trainer.precision 64-true");
  xj_run(j);
  check_losses(j, text, "f64 loss", 1e-9, job);
  check_weights(j, text, job);
  xj_close(j);
  j = xj_open(file_of(job, "yaml"), "");
  xj_run(j);
  check_losses(j, text, "f32 loss", 1e-4, job);
  xj_close(j);
  sp_free(text);
}

static void test_autoencoder_follows_pytorch(void **state) {
  (void)state;
  follow("autoencoder");
}

static void test_cnn_with_batch_norm_follows_pytorch(void **state) {
  (void)state;
  follow("cnn");
}

static void test_gpt_follows_pytorch(void **state) {
  (void)state;
  follow("gpt");
}

static void test_sgd_follows_pytorch(void **state) {
  (void)state;
  follow("sgd");
}

static void test_sgd_nesterov_with_step_schedule_follows_pytorch(void **state) {
  (void)state;
  follow("sgd_nesterov");
}

static void test_sgd_dampened_on_plateau_follows_pytorch(void **state) {
  (void)state;
  follow("sgd_dampened");
}

static void test_adam_clipped_by_value_follows_pytorch(void **state) {
  (void)state;
  follow("adam");
}

static void test_adamw_groups_over_windows_follow_pytorch(void **state) {
  (void)state;
  follow("adamw_groups");
}

static void test_three_lanes_follow_pytorch(void **state) {
  (void)state;
  follow("lanes");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_autoencoder_follows_pytorch),
      tt_test(test_cnn_with_batch_norm_follows_pytorch),
      tt_test(test_gpt_follows_pytorch),
      tt_test(test_sgd_follows_pytorch),
      tt_test(test_sgd_nesterov_with_step_schedule_follows_pytorch),
      tt_test(test_sgd_dampened_on_plateau_follows_pytorch),
      tt_test(test_adam_clipped_by_value_follows_pytorch),
      tt_test(test_adamw_groups_over_windows_follow_pytorch),
      tt_test(test_three_lanes_follow_pytorch),
  };
  return cmocka_run_group_tests_name("torch", tests, NULL, NULL);
}
