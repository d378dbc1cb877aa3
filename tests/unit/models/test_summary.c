/* engine/nn/summary.h: rows, depths, counts, frozen layers, parameters of the module's own. */
#include "tests/lib/tt.h"

#include <string.h>

#include "engine/models/builtin.h"
#include "engine/nn/summary.h"
#include "proto/base/mem.h"

static stk_status own_setup(stk_module *m, void *self) {
  const int64_t dims[] = {3};
  (void)self;
  stk_param_add(m, "scale", 1, dims, (stk_init){STK_INIT_ONES, 0, 0});
  stk_param_add(m, "scale2", 1, dims, (stk_init){STK_INIT_ONES, 0, 0});
  stk_nn_add(m, "head.out", stk_nn_linear(m, 3, 2, true));
  return 0;
}

static stk_t own_step(const void *self, const stk_batch *b) {
  (void)self;
  return b->x;
}

static const stk_module_def own = {.abi = STK_ABI,
                                   .size = sizeof own,
                                   .name = "own",
                                   .self_size = 8,
                                   .setup = own_setup,
                                   .training_step = own_step};

static const struct want {
  const char *name, *type;
  int64_t n_params;
  bool frozen;
} mlp_all[] = {{"net", "Sequential", 8 * 4 + 8 + 3 * 8 + 3, false},
               {"net.0", "Linear", 8 * 4 + 8, true},
               {"net.1", "ReLU", 0, false},
               {"net.2", "Linear", 3 * 8 + 3, false}},
  own_all[] = {{"scale", "Parameter", 3, true},
               {"scale2", "Parameter", 3, true},
               {"head", "Module", 8, true},
               {"head.out", "Linear", 8, true}};

/* The summary of a module whose first n_frozen parameters are frozen. */
static void expect(const stk_module_def *def, const char *hidden, int n_frozen, int64_t depth,
                   const struct want *want, size_t n_want) {
  const stk_sample x = {STK_F32, 1, {4}};
  struct stk_module *m;
  struct sp_err err = {0};
  struct stk_summary_row *rows;
  size_t n;
  uint8_t frozen[8] = {0};
  memset(frozen, 1, (size_t)n_frozen);
  assert_int_equal(stk_module_new(def, &m, &err), SP_OK);
  if (hidden) {
    assert_int_equal(stk_module_set_hparam(m, "hidden", hidden, &err), SP_OK);
    assert_int_equal(stk_module_set_hparam(m, "classes", "3", &err), SP_OK);
  }
  assert_int_equal(stk_module_setup(m, &x, &err), SP_OK);
  assert_int_equal(stk_module_leaves(m, frozen, &err), SP_OK);
  assert_int_equal(stk_module_summary(m, depth, &rows, &n, &err), SP_OK);
  assert_int_equal(n, n_want);
  for (size_t i = 0; i < n; i++) {
    assert_string_equal(rows[i].name, want[i].name);
    assert_string_equal(rows[i].type, want[i].type);
    assert_int_equal(rows[i].n_params, want[i].n_params);
    assert_int_equal(rows[i].frozen, want[i].frozen);
  }
  sp_free(rows);
  stk_module_free(m);
}

static void test_summary_depth_one_counts_everything_below(void **state) {
  (void)state;
  expect(&stk_model_mlp, "8", 2, 1, mlp_all, 1);
}

static void test_summary_all_depths_list_layers_in_order(void **state) {
  (void)state;
  expect(&stk_model_mlp, "8", 2, -1, mlp_all, 4);
  expect(&stk_model_mlp, "8", 2, 2, mlp_all, 4);
}

static void test_summary_depth_zero_has_no_rows(void **state) {
  (void)state;
  expect(&stk_model_mlp, "8", 2, 0, NULL, 0);
}

static void test_summary_names_without_a_layer_are_modules(void **state) {
  (void)state;
  expect(&own, NULL, 4, -1, own_all, 4);
  expect(&own, NULL, 4, 1, own_all, 3);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_summary_depth_one_counts_everything_below),
      tt_test(test_summary_all_depths_list_layers_in_order),
      tt_test(test_summary_depth_zero_has_no_rows),
      tt_test(test_summary_names_without_a_layer_are_modules),
  };
  return cmocka_run_group_tests_name("summary", tests, NULL, NULL);
}
