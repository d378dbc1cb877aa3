/* Groups, slices, scalars and clipping of an optimizer. */
#include "tests/lib/tt.h"

#include <math.h>
#include <string.h>

#include "engine/optim/optimizer.h"

static double betas[2] = {0.9, 0.999};

static const struct stk_optim_tensor tensors[] = {
    {"embed.weight", 0, 100}, {"h.0.weight", 112, 64}, {"h.0.bias", 176, 8},
    {"h.1.weight", 192, 64},  {"h.1.bias", 256, 8},    {"head.weight", 272, 32},
};
enum { TENSORS = sizeof tensors / sizeof *tensors };

static struct sp_optimizer_opts adamw(void) {
  return (struct sp_optimizer_opts){.given = true,
                                    .kind = SP_OPTIM_ADAMW,
                                    .lr = 0.1,
                                    .weight_decay = 0.01,
                                    .betas = {betas, 2},
                                    .eps = 1e-8};
}

static struct stk_optimizer *made(const struct sp_optimizer_opts *opts) {
  struct stk_optimizer *o = NULL;
  struct sp_err err = {0};
  if (stk_optimizer_new(opts, tensors, TENSORS, &o, &err) != SP_OK) {
    fail_msg("%s", err.text);
  }
  return o;
}

static void check_slice(const struct stk_optimizer *o, size_t i, int64_t offset, int64_t n,
                        int group) {
  assert_true(i < o->n_slices);
  assert_int_equal(o->slice[i].offset, offset);
  assert_int_equal(o->slice[i].n, n);
  assert_int_equal(o->slice[i].group, group);
}

static void test_optimizer_one_group_is_one_slice(void **state) {
  const struct sp_optimizer_opts opts = adamw();
  struct stk_optimizer *o = made(&opts);
  (void)state;
  assert_int_equal(o->n_slices, 1);
  check_slice(o, 0, 0, 304, 0);
  assert_int_equal(o->n_moments, 2);
  stk_optimizer_free(o);
}

static void test_optimizer_first_matching_group_wins(void **state) {
  struct sp_group_opts groups[] = {{"*.bias", NAN, 0.0}, {"h.*", 0.5, NAN}};
  struct sp_optimizer_opts opts = adamw();
  (void)state;
  opts.groups = groups;
  opts.n_groups = 2;
  struct stk_optimizer *o = made(&opts);
  const int32_t expected[TENSORS] = {0, 2, 1, 2, 1, 0};
  assert_memory_equal(o->group_of, expected, sizeof expected);
  assert_int_equal(o->n_slices, 6);
  assert_true(o->group[1].lr == 0.1 && o->group[1].weight_decay == 0.0);
  assert_true(o->group[2].lr == 0.5 && o->group[2].weight_decay == 0.01);
  stk_optimizer_free(o);
}

static void test_optimizer_frozen_parameters_have_no_slice(void **state) {
  const char *freeze[] = {"h.0.*"};
  struct sp_optimizer_opts opts = adamw();
  (void)state;
  opts.freeze = (struct sp_strings){freeze, 1};
  struct stk_optimizer *o = made(&opts);
  assert_int_equal(o->n_slices, 2);
  check_slice(o, 0, 0, 100, 0);
  check_slice(o, 1, 192, 112, 0);
  assert_int_equal(o->group_of[1], STK_OPTIM_FROZEN);
  stk_optimizer_free(o);
}

static void test_optimizer_without_eps_leaves_pads_alone(void **state) {
  struct sp_optimizer_opts opts = adamw();
  (void)state;
  opts.eps = 0.0;
  struct stk_optimizer *o = made(&opts);
  assert_int_equal(o->n_slices, 4);
  check_slice(o, 1, 112, 72, 0);
  stk_optimizer_free(o);
}

static void test_optimizer_bad_values_are_refused(void **state) {
  struct sp_group_opts typo[] = {{"*.bais", NAN, 0.0}};
  const char *freeze[] = {"encoder.*"};
  struct sp_optimizer_opts bad[5] = {adamw(), adamw(), adamw(), adamw(), adamw()};
  const char *const texts[5] = {"*.bais", "encoder.*", "lr", "betas", "nesterov"};
  (void)state;
  bad[0].groups = typo;
  bad[0].n_groups = 1;
  bad[1].freeze = (struct sp_strings){freeze, 1};
  bad[2].lr = -1;
  bad[3].betas = (struct sp_floats){betas, 1};
  bad[4].kind = SP_OPTIM_SGD;
  bad[4].nesterov = true;
  for (int i = 0; i < 5; i++) {
    struct stk_optimizer *o = NULL;
    struct sp_err err;
    assert_int_equal(stk_optimizer_new(&bad[i], tensors, TENSORS, &o, &err), SP_EINVAL);
    assert_non_null(strstr(err.text, texts[i]));
    assert_null(o);
  }
}

static void test_optimizer_any_failed_allocation_is_reported(void **state) {
  const struct sp_optimizer_opts opts = adamw();
  (void)state;
  for (long n = 1;; n++) {
    struct stk_optimizer *o = NULL;
    tt_fail_alloc(n);
    const sp_status status = stk_optimizer_new(&opts, tensors, TENSORS, &o, NULL);
    if (!tt_alloc_failed()) {
      stk_optimizer_free(o);
      break;
    }
    assert_int_equal(status, SP_ENOMEM);
    assert_int_equal(tt_live_blocks(), 0);
  }
}

static void test_optimizer_scalars_of_a_step(void **state) {
  const struct sp_optimizer_opts opts = adamw();
  struct stk_optimizer *o = made(&opts);
  struct stk_optim_scalars s;
  (void)state;
  stk_optimizer_scalars(o, 0, 0.05, 3, 0.5, 2.0, &s);
  assert_true(s.lr == 0.05 && s.weight_decay == 0.01 && s.grad_scale == 0.5 && s.clip_value == 2);
  assert_true(fabs(s.bias1 - (1 - 0.9 * 0.9 * 0.9)) < 1e-15);
  assert_true(fabs(s.bias2 - (1 - 0.999 * 0.999 * 0.999)) < 1e-15);
  assert_int_equal(s.first, 0);
  stk_optimizer_scalars(o, 0, 0.05, 1, 1.0, 0.0, &s);
  assert_int_equal(s.first, 1);
  stk_optimizer_free(o);
}

static void test_optimizer_skipped_tensor_is_in_no_slice(void **state) {
  (void)state;
  const struct stk_optim_tensor t[] = {{"a", 0, 16}, {"b", 16, 16}, {"c", 32, 16}};
  struct sp_optimizer_opts opts = {.kind = SP_OPTIM_SGD, .lr = 0.1};
  struct stk_optimizer *o;
  assert_int_equal(stk_optimizer_new(&opts, t, 3, &o, NULL), SP_OK);
  assert_int_equal(o->n_slices, 1);
  stk_optimizer_skip(o, t, 1);
  assert_int_equal(o->n_slices, 2);
  assert_int_equal(o->slice[0].n, 16);
  assert_int_equal(o->slice[1].offset, 32);
  assert_int_equal(o->group_of[1], STK_OPTIM_FROZEN);
  stk_optimizer_free(o);
}

static void test_optimizer_clipping_scales_by_the_norm_of_the_mean(void **state) {
  const double sums[3] = {9.0, 16.0, 0.0};
  double norm = 0;
  (void)state;
  assert_true(stk_optim_grad_scale(sums, 3, 0.0, &norm) == 1.0);
  assert_true(norm == 5.0);
  assert_true(stk_optim_grad_scale(sums, 3, 10.0, NULL) == 1.0);
  assert_true(stk_optim_grad_scale(sums, 3, 1.0, NULL) == 1.0 / (5.0 + 1e-6));
  const double bad = NAN;
  assert_true(isnan(stk_optim_grad_scale(&bad, 1, 1.0, NULL)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_optimizer_skipped_tensor_is_in_no_slice),
      cmocka_unit_test_setup_teardown(test_optimizer_one_group_is_one_slice, tt_leak_setup,
                                      tt_leak_teardown),
      cmocka_unit_test(test_optimizer_first_matching_group_wins),
      cmocka_unit_test(test_optimizer_frozen_parameters_have_no_slice),
      cmocka_unit_test(test_optimizer_without_eps_leaves_pads_alone),
      cmocka_unit_test(test_optimizer_bad_values_are_refused),
      cmocka_unit_test_setup_teardown(test_optimizer_any_failed_allocation_is_reported,
                                      tt_leak_setup, tt_leak_teardown),
      cmocka_unit_test(test_optimizer_scalars_of_a_step),
      cmocka_unit_test(test_optimizer_clipping_scales_by_the_norm_of_the_mean),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
