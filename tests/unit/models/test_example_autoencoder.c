/* examples/autoencoder.c is the built-in autoencoder as a user writes it: same names, same bits. */
#include "tests/unit/models/fixture.h"

#include "engine/models/builtin.h"
#include "examples/autoencoder.c"

static const struct mt_variant variant = {
    .isa = STK_ISA_KIND_REF, .real_bits = 32, .fuse = true, .in_place = true, .threads = 1};

static struct mt_case case_of(const stk_module_def *def) {
  return (struct mt_case){.def = def,
                          .batch = 3,
                          .ids = 1,
                          .hparams = {"in", "20", "hidden", "6", "code", "2"},
                          .x = {STK_F32, 2, {4, 5}},
                          .y = {STK_I32, 0, {0}}};
}

static void test_autoencoder_parameters_have_pytorch_names(void **state) {
  static const char *const names[] = {"encoder.0.weight", "encoder.0.bias",   "encoder.2.weight",
                                      "encoder.2.bias",   "decoder.0.weight", "decoder.0.bias",
                                      "decoder.2.weight", "decoder.2.bias"};
  const struct mt_case c = case_of(STK_MODULE_ENTRY());
  (void)state;
  struct mt *t = mt_new(&c, &variant);
  assert_int_equal(t->m->n_params, 8);
  for (int i = 0; i < 8; i++) {
    assert_string_equal(t->m->params[i]->name, names[i]);
  }
  mt_free(t);
}

static void test_autoencoder_trains_to_the_built_in_ones_bits(void **state) {
  const stk_module_def *const defs[2] = {STK_MODULE_ENTRY(), &stk_model_autoencoder};
  uint8_t hash[2][32];
  (void)state;
  for (int i = 0; i < 2; i++) {
    const struct mt_case c = case_of(defs[i]);
    struct mt *t = mt_new(&c, &variant);
    mt_train(t, 5);
    stk_state_hash(stk_session_state(t->s), hash[i]);
    mt_free(t);
  }
  assert_memory_equal(hash[0], hash[1], sizeof hash[0]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_autoencoder_parameters_have_pytorch_names),
      tt_test(test_autoencoder_trains_to_the_built_in_ones_bits),
  };
  return cmocka_run_group_tests_name("example_autoencoder", tests, NULL, NULL);
}
