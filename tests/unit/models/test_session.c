/* Sessions over a module that is made for it: host scalars go by name in every stage, parameters
 * without a gradient stay, ids are bounded. */
#include "tests/unit/models/fixture.h"

#include <stdio.h>
#include <string.h>

#include <stoker/stoker.h>

#include "engine/exec/cpu.h"
#include "engine/trainer/ids.h"
#include "proto/base/mem.h"

struct probe {
  stk_param *used, *unused;
  bool computed_ids; /* hyper-parameter */
};

static const stk_hparam hparams[] = {{.name = "computed_ids",
                                      .type = STK_HP_BOOL,
                                      .offset = offsetof(struct probe, computed_ids),
                                      .default_value = "false",
                                      .help = "Look up the index of the largest input."},
                                     {.name = NULL}};

static stk_status probe_setup(stk_module *m, void *self) {
  struct probe *p = self;
  const stk_init ones = {.kind = STK_INIT_ONES};
  p->used = stk_param_add(m, "used", 2, (const int64_t[]){4, 3}, ones);
  p->unused = stk_param_add(m, "unused", 1, (const int64_t[]){40}, ones);
  return 0;
}

static stk_t probe_training(const void *self, const stk_batch *b) {
  const struct probe *p = self;
  stk_t a = stk_host_scalar(b->x.g, "a", 2.0), c = stk_host_scalar(b->x.g, "c", 3.0);
  (void)stk_param_value(p->unused, b->x.g);
  stk_t ids = p->computed_ids ? stk_argmax(b->x) : b->y;
  stk_t rows = stk_embedding(ids, stk_param_value(p->used, b->x.g));
  return stk_add(stk_mean(rows, STK_ALL, false), stk_sub(a, c));
}

/* Names the scalars in another order, and one more. */
static stk_t probe_validation(const void *self, const stk_batch *b) {
  stk_t e = stk_host_scalar(b->x.g, "e", 7.0), c = stk_host_scalar(b->x.g, "c", 3.0);
  stk_t a = stk_host_scalar(b->x.g, "a", 2.0);
  (void)self;
  stk_log("a", a, STK_ON_EPOCH);
  stk_log("c", c, STK_ON_EPOCH);
  stk_log("e", e, STK_ON_EPOCH);
  return stk_mean(b->x, STK_ALL, false);
}

static const stk_module_def probe_def = {.abi = STK_ABI,
                                         .size = sizeof(stk_module_def),
                                         .name = "probe",
                                         .hparams = hparams,
                                         .self_size = sizeof(struct probe),
                                         .setup = probe_setup,
                                         .training_step = probe_training,
                                         .validation_step = probe_validation};

static const struct mt_case plain = {.def = &probe_def,
                                     .batch = 5,
                                     .ids = 4,
                                     .has_y = true,
                                     .x = {STK_F32, 1, {6}},
                                     .y = {STK_I32, 0, {0}}};
static const struct mt_case computed = {.def = &probe_def,
                                        .hparams = {"computed_ids", "true"},
                                        .batch = 5,
                                        .ids = 4,
                                        .has_y = true,
                                        .x = {STK_F32, 1, {6}},
                                        .y = {STK_I32, 0, {0}}};
static const struct mt_variant ref = {.isa = STK_ISA_KIND_REF, .real_bits = 32, .threads = 1};

static void test_session_scalars_go_by_name_in_evaluation(void **state) {
  (void)state;
  struct sp_err err = {0};
  struct mt *t = mt_new(&plain, &ref);
  struct stk_acc acc[STK_GRAPH_MAX_LOGS] = {{0}};
  mt_train(t, 1);
  *stk_session_scalar(t->s, "a") = 20.0;
  *stk_session_scalar(t->s, "c") = 30.0;
  assert_null(stk_session_scalar(t->s, "e")); /* no program has it yet */
  const struct stk_lane_batch b = {t->x, t->y, plain.batch, 0};
  mt_check(stk_session_eval(t->s, STK_VALIDATE, 0, &b, acc, NULL, NULL, &err), &err);
  assert_true(acc[0].sum / acc[0].weight == 20.0);
  assert_true(acc[1].sum / acc[1].weight == 30.0);
  assert_true(acc[2].sum / acc[2].weight == 7.0);
  mt_free(t);
}

static void test_session_resumed_page_keeps_its_scalars(void **state) {
  (void)state;
  struct mt *t = mt_new(&plain, &ref);
  struct stk_control *now = stk_session_state(t->s)->now;
  now->n_scalars = 1; /* as a page that was saved before "c" was known */
  now->scalars[0] = 50.0;
  mt_train(t, 1);
  assert_true(*stk_session_scalar(t->s, "a") == 50.0);
  assert_true(*stk_session_scalar(t->s, "c") == 3.0);
  mt_free(t);
}

/* PyTorch's optimizers skip a parameter whose grad is None: no decay either. */
static void test_session_parameter_without_gradient_is_not_decayed(void **state) {
  (void)state;
  struct mt_variant decayed = ref;
  decayed.weight_decay = 0.5;
  struct mt *t = mt_new(&plain, &decayed);
  struct stk_state *s = stk_session_state(t->s);
  mt_train(t, 3);
  const uint8_t *slot = stk_state_read_slot(s);
  for (int i = 0; i < 40; i++) {
    assert_true(mt_real(t, slot + s->layout.param_offset[1], i) == 1.0);
  }
  assert_true(mt_real(t, slot + s->layout.param_offset[0], 0) < 1.0);
  mt_free(t);
}

static void test_session_id_limits_are_the_tables_rows(void **state) {
  (void)state;
  struct mt *t = mt_new(&plain, &ref);
  int64_t x, y;
  mt_train(t, 1);
  stk_session_id_limits(t->s, &x, &y);
  assert_int_equal(x, 0);
  assert_int_equal(y, 4);
  mt_free(t);
}

static void test_session_computed_ids_beyond_the_table_are_refused(void **state) {
  (void)state;
  struct sp_err err = {0};
  stk_program *p;
  struct mt *t = mt_new(&computed, &ref); /* an argmax over 6 inputs, a table of 4 rows */
  assert_int_equal(stk_session_program(t->s, STK_TRAIN, 5, &p, &err), SP_EMODULE);
  assert_non_null(strstr(err.text, "test_session.c"));
  assert_non_null(strstr(err.text, "embedding takes ids below 4"));
  mt_free(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_session_scalars_go_by_name_in_evaluation),
      tt_test(test_session_resumed_page_keeps_its_scalars),
      tt_test(test_session_parameter_without_gradient_is_not_decayed),
      tt_test(test_session_id_limits_are_the_tables_rows),
      tt_test(test_session_computed_ids_beyond_the_table_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
