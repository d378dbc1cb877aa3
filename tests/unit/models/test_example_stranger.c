/* examples/stranger.c: its loss's gradient, its reader, and equal bits of training. */
#include "tests/unit/models/fixture.h"

#include "examples/stranger.c"

static const struct mt_case stranger_case = {.def = &module,
                                             .batch = 9,
                                             .ids = 1,
                                             .has_y = true,
                                             .hparams = {"hidden", "5", "delta", "0.3"},
                                             .x = {STK_F32, 1, {2}},
                                             .y = {STK_F32, 1, {1}}};

static void train(bool fuse, int threads, uint8_t out[32], double *out_loss) {
  const struct mt_variant v = {.isa = STK_ISA_KIND_REF,
                               .real_bits = 32,
                               .fuse = fuse,
                               .in_place = fuse,
                               .threads = threads,
                               .n_lanes = 3};
  struct mt *t = mt_new(&stranger_case, &v);
  double first = mt_train(t, 2);
  *out_loss = mt_train(t, 40);
  assert_true(*out_loss < first);
  stk_state_hash(stk_session_state(t->s), out);
  mt_free(t);
}

static void test_stranger_training_has_one_hash_fused_or_not(void **state) {
  uint8_t plain[32], fused[32];
  double loss;
  (void)state;
  train(false, 1, plain, &loss);
  train(true, 2, fused, &loss);
  assert_memory_equal(plain, fused, sizeof plain);
}

static void test_stranger_host_scalar_starts_at_its_hyperparameter(void **state) {
  const struct mt_variant v = {.isa = STK_ISA_KIND_REF, .real_bits = 32, .threads = 1};
  (void)state;
  struct mt *t = mt_new(&stranger_case, &v);
  mt_train(t, 1);
  assert_true(stk_session_state(t->s)->now->scalars[0] == 0.3);
  mt_free(t);
}

static stk_status open_with(const char *role, const char *key, const char *value, void **out_self,
                            stk_reader_info *info) {
  stk_reader_why why = {{0}};
  const stk_reader_args args = {
      .role = role, .n_options = key ? 1 : 0, .keys = &key, .values = &value};
  return reader.open(&args, out_self, info, &why);
}

static void test_stranger_reader_gives_the_same_sample_for_the_same_id(void **state) {
  stk_reader_info info;
  stk_reader_why why = {{0}};
  float x[4], y[2], x1[2], y1[1], other[4], ignored[2];
  void *a, *b;
  (void)state;
  assert_int_equal(open_with("train", "samples", "10", &a, &info), 0);
  assert_int_equal(info.n_samples, 10);
  const stk_reader_request both = {.ids = (const int64_t[]){7, 3}, .n = 2};
  const stk_reader_request one = {.ids = (const int64_t[]){3}, .n = 1, .epoch = 5};
  assert_int_equal(reader.read(a, &both, x, y, &why), 0);
  assert_int_equal(reader.read(a, &one, x1, y1, &why), 0);
  assert_memory_equal(x + 2, x1, sizeof x1);
  assert_memory_equal(y + 1, y1, sizeof y1);
  assert_int_equal(open_with("val", NULL, NULL, &b, &info), 0);
  assert_int_equal(reader.read(b, &both, other, ignored, &why), 0);
  assert_memory_not_equal(x, other, sizeof x);
  reader.close(a);
  reader.close(b);
}

static void test_stranger_reader_refuses_unknown_options(void **state) {
  stk_reader_info info;
  void *self;
  (void)state;
  assert_int_not_equal(open_with("train", "sample", "10", &self, &info), 0);
  assert_int_not_equal(open_with("train", "samples", "0", &self, &info), 0);
  assert_int_not_equal(open_with("train", "samples", "1x", &self, &info), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_stranger_training_has_one_hash_fused_or_not),
      tt_test(test_stranger_host_scalar_starts_at_its_hyperparameter),
      tt_test(test_stranger_reader_gives_the_same_sample_for_the_same_id),
      tt_test(test_stranger_reader_refuses_unknown_options),
  };
  return cmocka_run_group_tests_name("example_stranger", tests, NULL, NULL);
}
