/* The recompute pass: less memory, by as much as it was told, and the same training graph. That
 * results do not change is tests/exact/test_conformance.c. */
#include "tests/lib/tt.h"

#include "engine/plan/plan.h"
#include "engine/trainer/session.h"
#include "proto/base/mem.h"
#include "worker/setup.h"

static struct stk_program_report report_of(const char *recompute) {
  const char *args[] = {"--trainer.recompute", recompute};
  struct sp_err err = {0};
  struct stk_program_report report;
  stk_program *program;
  struct sw_setup *s = sp_alloc(sizeof *s);
  assert_non_null(s);
  if (sw_setup_open(tt_source("tests/golden/dumps/gpt.yaml"), args, 2, STK_TRAIN, s, &err) ||
      stk_session_program(s->session, STK_TRAIN, s->job->data.batch_size, &program, &err)) {
    fail_msg("%s", err.text);
  }
  stk_program_report(program, &report);
  sw_setup_close(s);
  sp_free(s);
  return report;
}

static void test_recompute_cheap_takes_less_memory_and_no_product_more(void **state) {
  (void)state;
  struct stk_program_report all = report_of("none"), some = report_of("auto");
  assert_true(some.act_bound < all.act_bound);
  assert_true(some.n_instrs > all.n_instrs);
  assert_true(some.flops == all.flops);
}

static void test_recompute_to_a_small_budget_repeats_products(void **state) {
  (void)state;
  struct stk_program_report cheap = report_of("auto"), least = report_of("1");
  assert_true(least.flops > cheap.flops);
  assert_true(least.act_bound < cheap.act_bound);
}

static void test_recompute_within_the_budget_changes_nothing(void **state) {
  (void)state;
  struct stk_program_report all = report_of("none"), same = report_of("1GB");
  assert_int_equal(same.n_instrs, all.n_instrs);
  assert_int_equal(same.act_bound, all.act_bound);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_recompute_cheap_takes_less_memory_and_no_product_more),
      tt_test(test_recompute_to_a_small_budget_repeats_products),
      tt_test(test_recompute_within_the_budget_changes_nothing),
  };
  return cmocka_run_group_tests_name("recompute", tests, NULL, NULL);
}
