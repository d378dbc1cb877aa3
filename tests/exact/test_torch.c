/* Right numbers: whole jobs against PyTorch's float64 and float32 runs of them, from the same
 * weights and in the same order (tests/golden/torch, written by tests/golden/make_torch.py).
 *
 * In 64-true every step's loss, every validation's metrics and, at the end, every parameter and
 * running statistic agree to 1e-9 relative; in 32-true what is logged to 1e-4.
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

/* Every value that the run logged under `name`, and that there are as many as PyTorch made. */
static void check_logged(const struct xj *j, const char *text, const char *precision,
                         const char *name, double tolerance, const char *job) {
  char key[96];
  const char *row = NULL;
  double got;
  int64_t i = 0;
  snprintf(key, sizeof key, "%s %s", precision, strcmp(name, "train_loss") == 0 ? "loss" : name);
  char *at = find_line(text, key);
  assert_int_equal(at != NULL, xj_next(j, name, &row, &got));
  for (row = NULL; at && xj_next(j, name, &row, &got); i++) {
    double want = strtod(at, &at);
    check_near(got, want, fabs(want), tolerance, job, key, i);
  }
  assert_true(!at || *at == '\n');
}

static void check_all_logged(const struct xj *j, const char *text, const char *precision,
                             double tolerance, const char *job) {
  static const char *const names[] = {"train_loss", "val_loss", "val_acc", "val_perplexity"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    check_logged(j, text, precision, names[i], tolerance, job);
  }
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
  check_all_logged(j, text, "f64", 1e-9, job);
  check_weights(j, text, job);
  xj_close(j);
  j = xj_open(file_of(job, "yaml"), "");
  xj_run(j);
  check_all_logged(j, text, "f32", 1e-4, job);
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

static void test_sequential_follows_pytorch(void **state) {
  (void)state;
  follow("sequential");
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
      tt_test(test_sequential_follows_pytorch),
      tt_test(test_sgd_follows_pytorch),
      tt_test(test_sgd_nesterov_with_step_schedule_follows_pytorch),
      tt_test(test_sgd_dampened_on_plateau_follows_pytorch),
      tt_test(test_adam_clipped_by_value_follows_pytorch),
      tt_test(test_adamw_groups_over_windows_follow_pytorch),
      tt_test(test_three_lanes_follow_pytorch),
  };
  return cmocka_run_group_tests_name("torch", tests, NULL, NULL);
}
