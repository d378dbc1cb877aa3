/* examples/maxout.c and stoker/custom.h: the op's gradient, equal bits whatever computes the rest,
 * and tables that are refused. */
#include "tests/unit/models/fixture.h"

#include "examples/maxout.c"

#include <math.h>
#include <string.h>

#include "engine/nn/module.h"

static const struct mt_case maxout_case = {
    .def = &module,
    .batch = 7,
    .ids = 3,
    .has_y = true,
    .hparams = {"hidden", "5", "pieces", "3", "classes", "3"},
    .x = {STK_F32, 1, {4}},
    .y = {STK_I32, 0, {0}}};

static double loss_with(struct mt *t, uint8_t *p, int64_t i, double value) {
  double was = mt_real(t, p, i);
  mt_set_real(t, p, i, value);
  mt_gradient(t);
  mt_set_real(t, p, i, was);
  return t->loss;
}

static void test_maxout_gradients_match_central_differences(void **state) {
  (void)state;
  const struct mt_variant v = {
      .isa = STK_ISA_KIND_REF, .real_bits = 64, .fuse = true, .in_place = true, .threads = 1};
  struct mt *t = mt_new(&maxout_case, &v);
  const struct stk_layout *l = &stk_session_state(t->s)->layout;
  uint8_t *p = stk_state_read_slot(stk_session_state(t->s)) + l->param_offset[0];
  for (int64_t i = 0; i < 5 * 3 * 4; i++) {
    mt_gradient(t);
    double analytic = mt_real(t, t->grad + l->param_offset[0], i), at = mt_real(t, p, i);
    double numeric = (loss_with(t, p, i, at + 1e-6) - loss_with(t, p, i, at - 1e-6)) / 2e-6;
    assert_true(fabs(numeric - analytic) < 1e-7);
  }
  mt_free(t);
}

static void trained_hash(const struct mt_variant *v, uint8_t out[32]) {
  struct mt *t = mt_new(&maxout_case, v);
  double first = mt_train(t, 2), last = mt_train(t, 40);
  assert_true(last < first);
  stk_state_hash(stk_session_state(t->s), out);
  mt_free(t);
}

static void test_maxout_training_has_one_hash_in_all_variants(void **state) {
  (void)state;
  static const struct mt_variant variants[] = {
      {.isa = STK_ISA_KIND_REF, .real_bits = 32, .threads = 1, .n_lanes = 2},
      {.isa = STK_ISA_KIND_REF, .real_bits = 32, .fuse = true, .threads = 3, .n_lanes = 2},
      {.isa = STK_ISA_KIND_AVX2,
       .real_bits = 32,
       .fuse = true,
       .in_place = true,
       .threads = 2,
       .n_lanes = 2}};
  uint8_t first[32], other[32];
  trained_hash(&variants[0], first);
  for (size_t i = 1; i < sizeof variants / sizeof *variants; i++) {
    if (mt_can_run(&variants[i])) {
      trained_hash(&variants[i], other);
      assert_memory_equal(first, other, sizeof first);
    }
  }
}

/* ---- tables */

static struct stk_graph *graph;

static stk_t leaf(stk_dtype real) {
  const struct stk_graph_spec spec = {.stage = STK_TRAIN, .real = real};
  const struct stk_shape s = {.rank = 2, .dim = {2, 6}};
  struct sp_err err = {0};
  stk_graph_free(graph);
  assert_int_equal(stk_graph_new(&spec, &graph, &err), SP_OK);
  return stk_symbol(graph, stk_graph_leaf(graph, STK_ROLE_X, 0, real, &s));
}

static void expect_refused(const stk_custom_op *op, stk_dtype real, int64_t pieces,
                           const char *says) {
  const stk_custom_attrs attrs = {.i = {pieces}};
  stk_t x = leaf(real);
  assert_true(stk_custom(op, &x, &attrs).id < 0);
  if (!strstr(graph->err.text, says)) {
    fail_msg("'%s' does not say '%s'", graph->err.text, says);
  }
}

static stk_status wild_shape(const stk_custom_shape *in, const stk_custom_attrs *attrs,
                             stk_custom_shape *out, stk_custom_why *why) {
  (void)in;
  (void)attrs;
  (void)why;
  out->rank = STK_MAX_RANK + 1;
  return 0;
}

static stk_status empty_shape(const stk_custom_shape *in, const stk_custom_attrs *attrs,
                              stk_custom_shape *out, stk_custom_why *why) {
  (void)attrs;
  (void)why;
  *out = *in;
  out->dims[0] = 0;
  return 0;
}

static void test_custom_tables_that_break_the_contract_are_refused(void **state) {
  (void)state;
  stk_custom_op op = maxout;
  expect_refused(&maxout, STK_F32, 4, "maxout: the last dimension must be a multiple of 4");
  expect_refused(NULL, STK_F32, 2, "another engine");
  op.abi++;
  expect_refused(&op, STK_F32, 2, "another engine");
  op = maxout;
  op.flags = STK_CUSTOM_F64;
  expect_refused(&op, STK_F32, 2, "does not promise equal bits");
  op.flags = STK_CUSTOM_EXACT;
  expect_refused(&op, STK_F64, 2, "32-true");
  op = maxout;
  op.n_in = 4;
  expect_refused(&op, STK_F32, 2, "1 to 3 inputs");
  op = maxout;
  op.shape = wild_shape;
  expect_refused(&op, STK_F32, 2, "its shape rule gives no shape");
  op.shape = empty_shape;
  expect_refused(&op, STK_F32, 2, "empty tensor");
  stk_graph_free(graph);
  graph = NULL;
}

/* The name and attributes are part of what two traces and a checkpoint compare. */
static void test_custom_name_and_attributes_change_the_graph_hash(void **state) {
  (void)state;
  stk_custom_op renamed = maxout;
  renamed.name = "maxout2";
  const stk_custom_op *ops[] = {&maxout, &renamed, &maxout};
  uint64_t hash[3];
  for (int i = 0; i < 3; i++) {
    const stk_custom_attrs attrs = {.i = {2}, .f = {i == 2 ? 0.5 : 0.0}};
    stk_t x = leaf(STK_F32);
    assert_true(stk_custom(ops[i], &x, &attrs).id >= 0);
    hash[i] = stk_graph_hash(graph);
  }
  assert_true(hash[0] != hash[1] && hash[0] != hash[2]);
  stk_graph_free(graph);
  graph = NULL;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_maxout_gradients_match_central_differences),
      tt_test(test_maxout_training_has_one_hash_in_all_variants),
      tt_test(test_custom_tables_that_break_the_contract_are_refused),
      tt_test(test_custom_name_and_attributes_change_the_graph_hash),
  };
  return cmocka_run_group_tests_name("example_maxout", tests, NULL, NULL);
}
