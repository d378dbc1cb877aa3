/* engine/trainer/profiler.h: times add up by a clock that the test turns, and a profiled program
 * computes what a plain one does. */
#include "tests/unit/models/fixture.h"

#include <stdio.h>
#include <string.h>

#include "engine/models/builtin.h"
#include "engine/trainer/profiler.h"
#include "proto/base/mem.h"

static void test_profiler_off_reads_no_clock(void **state) {
  (void)state;
  assert_int_equal(stk_profile_start(NULL), 0);
  stk_profile_stop(NULL, STK_ACTION_BATCH, 0);
}

static void test_profiler_report_orders_actions_by_total(void **state) {
  (void)state;
  struct sp_manual_clock clock;
  struct stk_profiler p;
  struct sp_buf out;
  sp_manual_clock_init(&clock);
  stk_profiler_init(&p, &clock.clock);
  for (int i = 0; i < 2; i++) {
    int64_t start = stk_profile_start(&p);
    sp_manual_clock_advance(&clock, 250000000);
    stk_profile_stop(&p, STK_ACTION_BATCH, start);
  }
  int64_t start = stk_profile_start(&p);
  sp_manual_clock_advance(&clock, 1500000000);
  stk_profile_stop(&p, STK_ACTION_VALIDATION, start);
  sp_buf_init(&out, 1 << 16);
  stk_profiler_report(&p, "FIT", &out);
  static const char want[] =
      "FIT Profiler Report\n"
      "-------------------------------------------------------------------------------------\n"
      "| Action                       |     Mean (s) |  Num calls |    Total (s) |       % |\n"
      "-------------------------------------------------------------------------------------\n"
      "| Total                        |            - |          3 |            2 |  100.00 |\n"
      "| run_validation               |          1.5 |          1 |          1.5 |   75.00 |\n"
      "| run_training_batch           |         0.25 |          2 |          0.5 |   25.00 |\n"
      "-------------------------------------------------------------------------------------\n";
  assert_string_equal(sp_buf_text(&out), want);
  sp_buf_free(&out);
}

/* A clock that every look moves on by a nanosecond. */
struct ticking {
  struct sp_clock clock;
  int64_t *ns;
};

static struct sp_mono tick(const struct sp_clock *clock) {
  const struct ticking *t = (const struct ticking *)clock;
  return (struct sp_mono){++*t->ns};
}

static void test_profiled_program_counts_instructions_and_keeps_the_bits(void **state) {
  (void)state;
  static const struct mt_case c = {.def = &stk_model_mlp,
                                   .batch = 5,
                                   .ids = 3,
                                   .has_y = true,
                                   .hparams = {"hidden", "7", "classes", "3", "dropout", "0.1"},
                                   .x = {STK_F32, 1, {4}},
                                   .y = {STK_I32, 0, {0}}};
  static const struct mt_variant v = {
      .isa = STK_ISA_KIND_REF, .real_bits = 32, .fuse = true, .in_place = true, .threads = 2};
  int64_t ns = 0, calls = 0, spent = 0;
  const struct ticking clock = {.clock = {.mono = tick}, .ns = &ns};
  struct stk_profiler p;
  struct sp_err err = {0};
  stk_program *program;
  stk_profiler_init(&p, &clock.clock);
  struct mt *t = mt_new(&c, &v);
  mt_gradient(t);
  size_t bytes = (size_t)stk_session_state(t->s)->layout.section_bytes;
  uint8_t *plain = sp_alloc(bytes);
  assert_non_null(plain);
  memcpy(plain, t->grad, bytes);
  memset(t->grad, 0, bytes);
  mt_check(stk_session_program(t->s, STK_TRAIN, c.batch, &program, &err), &err);
  stk_profile_program(&p, program, t->pool);
  assert_memory_equal(t->grad, plain, bytes);
  double flops = 0.0;
  for (int i = 0; i < STK_PROFILER_KERNELS; i++) {
    calls += p.kernel[0][i].calls + p.kernel[1][i].calls;
    spent += p.kernel[0][i].ns + p.kernel[1][i].ns;
    flops += p.kernel[0][i].flops + p.kernel[1][i].flops;
  }
  assert_int_equal(calls, stk_program_n_instrs(program));
  assert_int_equal(spent, calls); /* one look at the clock per instruction */
  assert_true(flops > 0.0);
  struct sp_buf out;
  sp_buf_init(&out, 1 << 16);
  stk_profiler_report(&p, "FIT", &out);
  assert_non_null(strstr(sp_buf_text(&out), "| matmul (backward) "));
  sp_buf_free(&out);
  sp_free(plain);
  mt_free(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_profiler_off_reads_no_clock),
      tt_test(test_profiler_report_orders_actions_by_total),
      tt_test(test_profiled_program_counts_instructions_and_keeps_the_bits),
  };
  return cmocka_run_group_tests_name("profiler", tests, NULL, NULL);
}
