/* Names of learning-rate series, as Lightning writes them. */
#include "tests/lib/tt.h"

#include "engine/trainer/callbacks/lr_monitor.h"

static void names(struct stk_lr_series series, const char *want) {
  char name[64];
  assert_int_equal(stk_lr_monitor_name(&series, name, sizeof name, NULL), SP_OK);
  assert_string_equal(name, want);
}

static void test_name_single_group_is_the_optimizer(void **state) {
  (void)state;
  names((struct stk_lr_series){.optimizer = "Adam", .n_groups = 1}, "lr-Adam");
  names((struct stk_lr_series){.optimizer = "Adam", .n_groups = 1, .ordinal = 1}, "lr-Adam-1");
}

static void test_name_several_groups_are_numbered_from_one(void **state) {
  (void)state;
  names((struct stk_lr_series){.optimizer = "Adam", .n_groups = 2}, "lr-Adam/pg1");
  names((struct stk_lr_series){.optimizer = "Adam", .n_groups = 2, .group = 1}, "lr-Adam/pg2");
}

static void test_name_group_with_a_name_uses_it(void **state) {
  (void)state;
  names((struct stk_lr_series){.optimizer = "SGD", .n_groups = 2, .group_name = "head"},
        "lr-SGD/head");
  names((struct stk_lr_series){.optimizer = "SGD", .n_groups = 1, .group_name = "head"}, "lr-SGD");
}

static void test_name_other_quantities_come_after_the_group(void **state) {
  (void)state;
  names((struct stk_lr_series){.optimizer = "SGD", .n_groups = 2, .quantity = STK_LR_MOMENTUM},
        "lr-SGD/pg1-momentum");
  names((struct stk_lr_series){.optimizer = "SGD", .n_groups = 1, .quantity = STK_LR_WEIGHT_DECAY},
        "lr-SGD-weight_decay");
}

static void test_name_too_long_is_out_of_range(void **state) {
  (void)state;
  struct stk_lr_series series = {.optimizer = "Adam", .n_groups = 1};
  char name[7];
  assert_int_equal(stk_lr_monitor_name(&series, name, sizeof name, NULL), SP_ERANGE);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_name_single_group_is_the_optimizer),
      tt_test(test_name_several_groups_are_numbered_from_one),
      tt_test(test_name_group_with_a_name_uses_it),
      tt_test(test_name_other_quantities_come_after_the_group),
      tt_test(test_name_too_long_is_out_of_range),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
