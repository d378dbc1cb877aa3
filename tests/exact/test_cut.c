/* A run that is cut and resumed is the whole run: at every edge between two phases of the fit loop,
 * and inside a validation, through a real checkpoint, under other threads, kernels and passes than
 * the first part had.
 *
 * What must agree: the hash of the whole state, and the rows for the loggers (the first part's and
 * the second part's together are the whole run's: nothing twice, nothing missing). The job has a
 * ragged last batch, dropout, windows of three batches of which the last has one, clipping by norm,
 * Adam's two moments, a schedule, validation inside and at the end of the epoch; a second job has
 * batch norm's running statistics. One, three and four lanes.
 */
#include "tests/exact/job.h"

#include <stdio.h>
#include <string.h>

#include "proto/base/mem.h"

enum { MAX_PHASES = 256 };

static const char *const dropout_job =
    "seed_everything: 3\n"
    "model: {class: mlp, hidden: \"12\", dropout: 0.2}\n"
    "data: {kind: synthetic, shape: [9], num_samples: 52, num_val_samples: 33, batch_size: 8}\n"
    "optimizer: {class: adamw, lr: 0.01}\n"
    "lr_scheduler:\n"
    "  - {class: step, interval: step, step_size: 4, gamma: 0.5}\n"
    "  - {class: reduce_on_plateau, monitor: val_loss, patience: 0, threshold: 0.5}\n"
    "trainer: {max_epochs: 2, accumulate_grad_batches: 3, gradient_clip_val: 0.5,\n"
    "          val_check_interval: 0.5}\n";

static const char *const batch_norm_job =
    "seed_everything: 4\n"
    "model: {class: cnn, conv1: 2, conv2: 3, batch_norm: true}\n"
    "data: {kind: synthetic, shape: [8, 8], num_samples: 40, num_val_samples: 20, batch_size: 16}\n"
    "optimizer: {class: sgd, lr: 0.05, momentum: 0.9}\n"
    "trainer: {max_epochs: 2, accumulate_grad_batches: 2, num_sanity_val_steps: 0}\n";

/* What the second parts are computed with. */
static const char *const elsewhere[] = {"--trainer.threads 1",
                                        "--trainer.threads 2 --trainer.passes [-fuse]",
                                        "--trainer.threads 3 --trainer.kernels ref",
                                        "--trainer.threads 2 --trainer.passes [-in_place]"};

struct whole {
  char hash[XJ_HEX];
  char *rows;
  int n_phases;
  int phase[MAX_PHASES]; /* stk_phase after so many advances */
};

static void check_resumed(const char *job, const char *options, struct xj *first, int cut,
                          const struct whole *w) {
  char checkpoint[PATH_MAX], hash[XJ_HEX], all[512];
  int phase = stk_session_state(first->s.session)->now->phase;
  xj_save(first, checkpoint);
  snprintf(all, sizeof all, "%s %s", options, elsewhere[cut % 4]);
  struct xj *rest = xj_resume(job, all, checkpoint);
  xj_run(rest);
  xj_hash(rest, hash);
  sp_buf_puts(&rest->before, first->rows.data ? first->rows.data : "");
  char *rows = xj_rows(rest);
  if (strcmp(hash, w->hash) != 0) {
    fail_msg("%s: cut after %d phases, before phase %d: another state", options, cut, phase);
  }
  if (strcmp(rows, w->rows) != 0) {
    fail_msg("%s: cut after %d phases, before phase %d: other rows:\n%s\nnot\n%s", options, cut,
             phase, rows, w->rows);
  }
  sp_free(rows);
  xj_close(rest);
}

static struct xj *run_to(const char *job, const char *options, int cut) {
  struct xj *j = xj_open(job, options);
  for (int i = 0; i < cut; i++) {
    assert_true(xj_advance(j));
  }
  return j;
}

/* Stops after the second batch of the validation that comes next. */
static void check_inside_validation(const char *job, const char *options, int cut,
                                    const struct whole *w) {
  struct xj *first = run_to(job, options, cut);
  first->stop_after = 1;
  xj_advance(first);
  assert_int_equal(stk_session_state(first->s.session)->now->phase, w->phase[cut]);
  check_resumed(job, options, first, cut, w);
  xj_close(first);
}

static void check_every_phase(const char *text, const char *options) {
  char job[PATH_MAX];
  bool seen[STK_PHASE_COUNT] = {false};
  struct whole w = {0};
  snprintf(job, sizeof job, "%s", tt_tmpfile("job.yaml"));
  tt_write_file(job, text, strlen(text));
  struct xj *j = xj_open(job, options);
  do {
    assert_true(w.n_phases < MAX_PHASES);
    int phase = stk_session_state(j->s.session)->now->phase;
    w.phase[w.n_phases++] = phase;
    seen[phase] = true;
  } while (xj_advance(j));
  xj_hash(j, w.hash);
  w.rows = xj_rows(j);
  for (int phase = STK_PHASE_TRAIN_START; phase < STK_PHASE_DONE; phase++) {
    assert_true(seen[phase]);
  }
  for (int cut = 1; cut < w.n_phases; cut++) {
    struct xj *first = run_to(job, options, cut);
    check_resumed(job, options, first, cut, &w);
    xj_close(first);
    if (w.phase[cut] == STK_PHASE_VALIDATE && j->c.n_val_batches > 2) {
      check_inside_validation(job, options, cut, &w);
    }
  }
  sp_free(w.rows);
  xj_close(j);
}

static void test_cut_at_every_phase_one_lane_is_the_whole_run(void **state) {
  (void)state;
  check_every_phase(dropout_job, "--trainer.lanes 1");
}

static void test_cut_at_every_phase_three_lanes_is_the_whole_run(void **state) {
  (void)state;
  check_every_phase(dropout_job, "--trainer.lanes 3 --data.num_samples 154");
}

static void test_cut_at_every_phase_four_lanes_is_the_whole_run(void **state) {
  (void)state;
  check_every_phase(dropout_job, "--trainer.lanes 4 --data.num_samples 206");
}

static void test_cut_at_every_phase_with_batch_norm_is_the_whole_run(void **state) {
  (void)state;
  check_every_phase(batch_norm_job, "--trainer.lanes 3");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_cut_at_every_phase_one_lane_is_the_whole_run),
      tt_test(test_cut_at_every_phase_three_lanes_is_the_whole_run),
      tt_test(test_cut_at_every_phase_four_lanes_is_the_whole_run),
      tt_test(test_cut_at_every_phase_with_batch_norm_is_the_whole_run),
  };
  return cmocka_run_group_tests_name("cut", tests, NULL, NULL);
}
