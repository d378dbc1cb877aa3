/* Schedules against PyTorch's (tests/golden/schedule.txt, made by make_optim.py), chains, plateau
 * state, refusals. */
#include "tests/lib/tt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/optim/schedule.h"
#include "proto/base/mem.h"

enum { EPOCHS = 60 };

static struct sp_lr_opts item(sp_lr_class kind) {
  return (struct sp_lr_opts){.kind = (int)kind, .interval = SP_LR_BY_EPOCH, .frequency = 1};
}

static struct stk_schedule schedule_of(struct sp_lr_opts *items, size_t n,
                                       struct stk_schedule_state *state) {
  struct stk_schedule s;
  struct sp_err err;
  assert_int_equal(stk_schedule_init(&(struct sp_lr_chain){items, n}, -1, -1, &s, state, &err),
                   SP_OK);
  return s;
}

static double metric(int t) {
  return (double)(t * 7919 % 101) / 101 + 5.0 / (1 + t);
}

/* Compares the first 60 epochs with the golden line `name`. */
static void check_golden(const char *name, struct sp_lr_opts *items, size_t n) {
  char *text = tt_read_file(tt_source("tests/golden/schedule.txt"), NULL);
  struct stk_schedule_state state[STK_SCHEDULE_MAX];
  const struct stk_schedule s = schedule_of(items, n, state);
  char *at = text;
  while (at && strncmp(at, name, strlen(name)) != 0) {
    at = strchr(at, '\n');
    at = at ? at + 1 : NULL;
  }
  assert_non_null(at);
  at += strlen(name);
  for (int t = 0; t < EPOCHS; t++) {
    const double expected = strtod(at, &at), lr = stk_schedule_lr(&s, state, 0.1, 7 * t, t);
    if (!(fabs(lr - expected) <= 1e-12 * expected)) {
      fail_msg("%s, epoch %d: %.17g, not %.17g", name, t, lr, expected);
    }
    if (stk_schedule_wants(&s, 0, SP_LR_BY_EPOCH, t + 1)) {
      stk_schedule_observe(&s, 0, &state[0], metric(t));
    }
  }
  sp_free(text);
}

static void test_schedule_simple_ones_follow_pytorch(void **state) {
  (void)state;
  struct sp_lr_opts constant = item(SP_LR_CONSTANT);
  constant.factor = 0.25;
  constant.total_iters = 10;
  check_golden("constant ", &constant, 1);
  struct sp_lr_opts step = item(SP_LR_STEP);
  step.step_size = 7;
  step.gamma = 0.3;
  check_golden("step ", &step, 1);
  struct sp_lr_opts cosine = item(SP_LR_COSINE);
  cosine.t_max = 20;
  cosine.eta_min = 0.001;
  check_golden("cosine ", &cosine, 1);
  struct sp_lr_opts linear = item(SP_LR_LINEAR_WARMUP);
  linear.start_factor = 0.1;
  linear.end_factor = 0.9;
  linear.total_iters = 8;
  check_golden("linear ", &linear, 1);
  linear.end_factor = 1.0;
  linear.total_iters = 9;
  check_golden("warmup ", &linear, 1);
}

static void test_schedule_chain_follows_sequential(void **state) {
  struct sp_lr_opts items[2] = {item(SP_LR_LINEAR_WARMUP), item(SP_LR_COSINE)};
  (void)state;
  items[0].start_factor = 0.01;
  items[0].end_factor = 1.0;
  items[0].total_iters = 5;
  items[1].begin = 5;
  items[1].t_max = 25;
  items[1].eta_min = 0.002;
  check_golden("sequential ", items, 2);
}

static struct sp_lr_opts plateau(sp_mode mode) {
  struct sp_lr_opts o = item(SP_LR_REDUCE_ON_PLATEAU);
  o.mode = (int)mode;
  o.factor = 0.5;
  o.patience = 3;
  o.threshold = 1e-3;
  o.threshold_mode = SP_THRESHOLD_REL;
  o.eps = 1e-8;
  return o;
}

static void test_schedule_plateau_follows_pytorch(void **state) {
  (void)state;
  struct sp_lr_opts o = plateau(SP_MODE_MIN);
  check_golden("plateau_min ", &o, 1);
  o = plateau(SP_MODE_MAX);
  o.factor = 0.3;
  o.patience = 2;
  o.threshold = 0.05;
  o.threshold_mode = SP_THRESHOLD_ABS;
  o.cooldown = 2;
  o.min_lr = 0.004;
  check_golden("plateau_max ", &o, 1);
}

static void test_schedule_plateau_counts_nan_as_bad(void **state) {
  struct sp_lr_opts o = plateau(SP_MODE_MIN);
  struct stk_schedule_state st[STK_SCHEDULE_MAX];
  const struct stk_schedule s = schedule_of(&o, 1, st);
  (void)state;
  for (int i = 0; i < 4; i++) {
    stk_schedule_observe(&s, 0, &st[0], NAN);
  }
  assert_int_equal(st[0].reductions, 1);
  assert_true(stk_schedule_lr(&s, st, 0.5, 0, 0) == 0.25);
}

static void test_schedule_by_step_with_frequency_and_begin(void **state) {
  struct sp_lr_opts o = item(SP_LR_STEP);
  struct stk_schedule_state st[STK_SCHEDULE_MAX];
  (void)state;
  o.interval = SP_LR_BY_STEP;
  o.step_size = 2;
  o.gamma = 0.5;
  o.frequency = 10;
  o.begin = 5;
  const struct stk_schedule s = schedule_of(&o, 1, st);
  assert_true(stk_schedule_lr(&s, st, 1.0, 4, 100) == 1.0);
  assert_true(stk_schedule_lr(&s, st, 1.0, 24, 100) == 1.0);
  assert_true(stk_schedule_lr(&s, st, 1.0, 25, 100) == 0.5);
  assert_true(stk_schedule_lr(&s, st, 1.0, 45, 100) == 0.25);
}

static void test_schedule_cosine_lasts_to_the_end_of_the_run(void **state) {
  struct sp_lr_opts o = item(SP_LR_COSINE);
  struct stk_schedule_state st[STK_SCHEDULE_MAX];
  struct stk_schedule s;
  struct sp_err err;
  const struct sp_lr_chain chain = {&o, 1};
  (void)state;
  o.interval = SP_LR_BY_STEP;
  o.t_max = SP_INT_NONE;
  o.begin = 20;
  assert_int_equal(stk_schedule_init(&chain, 120, 3, &s, st, &err), SP_OK);
  assert_true(stk_schedule_lr(&s, st, 1.0, 120, 0) == 0.0);
  assert_true(stk_schedule_lr(&s, st, 1.0, 70, 0) == 0.5);
  assert_int_equal(stk_schedule_init(&chain, -1, 3, &s, st, &err), SP_EINVAL);
  assert_non_null(strstr(err.text, "t_max"));
}

static void test_schedule_bad_values_are_refused(void **state) {
  struct stk_schedule_state st[STK_SCHEDULE_MAX];
  struct stk_schedule s;
  struct sp_lr_opts many[STK_SCHEDULE_MAX + 1];
  struct sp_lr_opts bad[5] = {item(SP_LR_STEP), item(SP_LR_COSINE), item(SP_LR_LINEAR_WARMUP),
                              plateau(SP_MODE_MIN), item(SP_LR_CONSTANT)};
  (void)state;
  bad[3].factor = 1.0;
  bad[4].frequency = 0;
  for (int i = 0; i < 5; i++) {
    struct sp_err err;
    const struct sp_lr_chain chain = {&bad[i], 1};
    assert_int_equal(stk_schedule_init(&chain, 1, 1, &s, st, &err), SP_EINVAL);
    assert_non_null(strstr(err.text, "lr_scheduler 0"));
  }
  for (int i = 0; i <= STK_SCHEDULE_MAX; i++) {
    many[i] = item(SP_LR_CONSTANT);
  }
  const struct sp_lr_chain chain = {many, STK_SCHEDULE_MAX + 1};
  assert_int_equal(stk_schedule_init(&chain, 1, 1, &s, st, NULL), SP_EINVAL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_schedule_simple_ones_follow_pytorch),
      cmocka_unit_test(test_schedule_chain_follows_sequential),
      cmocka_unit_test(test_schedule_plateau_follows_pytorch),
      cmocka_unit_test(test_schedule_plateau_counts_nan_as_bad),
      cmocka_unit_test(test_schedule_by_step_with_frequency_and_begin),
      cmocka_unit_test(test_schedule_cosine_lasts_to_the_end_of_the_run),
      cmocka_unit_test(test_schedule_bad_values_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
