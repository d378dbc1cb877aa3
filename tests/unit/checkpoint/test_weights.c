/* Fine-tuning: name maps, conversions, strictness, all before the first byte is copied. */
#include "tests/lib/tt.h"

#include "engine/checkpoint/load.h"
#include "engine/checkpoint/rename.h"
#include "proto/base/mem.h"
#include "tests/unit/checkpoint/plan.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const float ones[] = {1.0f, 2.0f};
static const uint16_t halves[] = {0x3c00, 0xc000, 0x0001, 0x7c00}; /* 1, -2, 2^-24, inf */
static const uint16_t brains[] = {0x3f80, 0xc000};
static const double doubles[] = {0.1, 1e300};

static const char *write_foreign(const char *name) {
  struct stk_st_entry entries[] = {
      {.name = "their.a.w", .dtype = STK_ST_F32, .rank = 1, .dims = {2}},
      {.name = "their.h", .dtype = STK_ST_F16, .rank = 1, .dims = {4}},
      {.name = "their.b", .dtype = STK_ST_BF16, .rank = 1, .dims = {2}},
      {.name = "their.d", .dtype = STK_ST_F64, .rank = 1, .dims = {2}},
  };
  const void *data[] = {ones, halves, brains, doubles};
  const char *path = tt_tmpfile(name);
  assert_int_equal(stk_st_write_file(path, entries, data, 4, NULL, 0, NULL), SP_OK);
  return path;
}

static const struct stk_ckpt_rename map[] = {{"their.", "our."}, {"their.a.", "other."}};

static void test_weights_are_renamed_and_converted(void **state) {
  (void)state;
  double w[2];
  float h[4];
  float b[2];
  float d[2];
  struct stk_ckpt_target targets[] = {
      {"other.w", STK_ST_F64, 1, {2}, w, false},
      {"our.h", STK_ST_F32, 1, {4}, h, false},
      {"our.b", STK_ST_F32, 1, {2}, b, false},
      {"our.d", STK_ST_F32, 1, {2}, d, false},
  };
  struct stk_weights_report report;
  struct sp_err err = {0};
  sp_status st =
      stk_weights_load(write_foreign("a.safetensors"), map, 2, true, targets, 4, &report, &err);
  assert_string_equal(err.text, "");
  assert_int_equal(st, SP_OK);
  assert_int_equal(report.n_loaded, 4);
  assert_true(w[0] == 1.0 && w[1] == 2.0);
  assert_true(h[0] == 1.0f && h[1] == -2.0f && h[2] == 0x1p-24f && h[3] > 3.4e38f);
  assert_true(b[0] == 1.0f && b[1] == -2.0f);
  assert_true(d[0] == 0.1f && d[1] > 3.4e38f);
}

static void expect_name(const char *theirs, const char *ours) {
  static const struct stk_ckpt_rename rules[] = {{"h.*.w", "blocks.*.weight"},
                                                 {"h.0.*", "first.*"},
                                                 {"module.", ""},
                                                 {"*.b", "*.bias"},
                                                 {"x*x", "y*y"}};
  char *name = stk_ckpt_rename(theirs, rules, sizeof rules / sizeof *rules);
  assert_string_equal(name, ours);
  sp_free(name);
}

static void test_weights_rules_rename_whole_names_or_prefixes(void **state) {
  (void)state;
  expect_name("h.12.w", "blocks.12.weight");
  expect_name("h.12.w2", "h.12.w2");
  expect_name("h.0.b", "first.b");         /* four letters and two: the longer rule */
  expect_name("h.0.w", "blocks.0.weight"); /* four letters each: the first rule */
  expect_name("ln.b", "ln.bias");
  expect_name("module.h.1.w", "h.1.w"); /* one rule, once */
  expect_name("module.", "");
  expect_name("xx", "yy");
  expect_name("x", "x"); /* the head and the tail must not overlap */
}

static void test_weights_strict_names_what_does_not_fit(void **state) {
  (void)state;
  float a[2] = {7, 7};
  float extra[1] = {7};
  struct stk_ckpt_target targets[] = {
      {"their.a.w", STK_ST_F32, 1, {2}, a, false},
      {"head.weight", STK_ST_F32, 1, {1}, extra, false},
  };
  struct stk_weights_report report;
  struct sp_err err = {0};
  const char *path = write_foreign("b.safetensors");
  assert_int_equal(stk_weights_load(path, NULL, 0, true, targets, 2, &report, &err), SP_EMISMATCH);
  assert_non_null(strstr(err.text, "head.weight"));
  assert_non_null(strstr(err.text, "their."));
  assert_true(a[0] == 7.0f);
  assert_int_equal(stk_weights_load(path, NULL, 0, false, targets, 2, &report, &err), SP_OK);
  assert_true(a[0] == 1.0f && extra[0] == 7.0f);
  assert_int_equal(report.n_missing, 1);
  assert_int_equal(report.n_unexpected, 3);
  assert_string_equal(report.first_missing, "head.weight");
}

static void test_weights_optional_may_be_absent(void **state) {
  (void)state;
  float a[2] = {7, 7};
  int64_t count = 9;
  const struct stk_ckpt_rename keep[] = {{"their.a.w", "w"}};
  struct stk_ckpt_target targets[] = {
      {"w", STK_ST_F32, 1, {2}, a, false},
      {"bn.num_batches_tracked", STK_ST_I64, 0, {0}, &count, true},
  };
  struct stk_weights_report report;
  struct sp_err err = {0};
  const char *path = write_foreign("optional.safetensors");
  assert_int_equal(stk_weights_load(path, keep, 1, false, targets, 2, &report, &err), SP_OK);
  assert_int_equal(report.n_missing, 0);
  assert_int_equal(count, 9);
}

static void test_weights_of_another_shape_copy_nothing(void **state) {
  (void)state;
  float a[2] = {7, 7};
  float d[3] = {7, 7, 7};
  struct stk_ckpt_target targets[] = {
      {"their.a.w", STK_ST_F32, 1, {2}, a, false},
      {"their.d", STK_ST_F32, 1, {3}, d, false},
  };
  struct stk_weights_report report;
  struct sp_err err = {0};
  const char *path = write_foreign("c.safetensors");
  assert_int_equal(stk_weights_load(path, NULL, 0, false, targets, 2, &report, &err), SP_EMISMATCH);
  assert_non_null(strstr(err.text, "their.d"));
  assert_true(a[0] == 7.0f);
  targets[1] = (struct stk_ckpt_target){"their.d", STK_ST_I64, 1, {2}, d, false};
  assert_int_equal(stk_weights_load(path, NULL, 0, false, targets, 2, &report, &err), SP_EMISMATCH);
  assert_non_null(strstr(err.text, "does not convert"));
}

static void test_weights_renamed_onto_one_name_are_refused(void **state) {
  (void)state;
  const struct stk_ckpt_rename clash[] = {{"their.b", "x"}, {"their.d", "x"}};
  struct stk_weights_report report;
  assert_int_equal(
      stk_weights_load(write_foreign("d.safetensors"), clash, 2, false, NULL, 0, &report, NULL),
      SP_EMISMATCH);
}

static void test_weights_come_from_a_checkpoint_of_shards(void **state) {
  (void)state;
  struct test_plan p;
  float weight[6];
  make_plan(&p, tt_tmpfile("shards"), 1);
  p.plan.shard_bytes = 30;
  struct stk_ckpt_target target = {"net.weight", STK_ST_F32, 2, {2, 3}, weight, false};
  struct stk_weights_report report;
  const char *path = save_plan(&p);
  assert_int_equal(stk_weights_load(path, NULL, 0, false, &target, 1, &report, NULL), SP_OK);
  assert_memory_equal(weight, p.weight, sizeof weight);
  assert_int_equal(report.n_unexpected, 3);
  char manifest[1024];
  snprintf(manifest, sizeof manifest, "%s/MANIFEST", path);
  assert_int_equal(remove(manifest), 0);
  memset(weight, 0, sizeof weight);
  assert_int_equal(stk_weights_load(path, NULL, 0, false, &target, 1, &report, NULL), SP_OK);
  assert_memory_equal(weight, p.weight, sizeof weight);
}

static void test_weights_index_that_leads_outside_is_refused(void **state) {
  (void)state;
  static const char *const bad[] = {
      "{\"weight_map\": {\"a\": \"../x.safetensors\"}}",
      "{\"weight_map\": {\"a\": 1}}",
      "{\"weight_map\": []}",
      "{",
  };
  const char *dir = tt_tmpfile("hf");
  assert_int_equal(mkdir(dir, 0700), 0);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct stk_weights_report report;
    tt_write_file(tt_tmpfile("hf/model.safetensors.index.json"), bad[i], strlen(bad[i]));
    assert_int_equal(stk_weights_load(dir, NULL, 0, false, NULL, 0, &report, NULL), SP_ECORRUPT);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_weights_are_renamed_and_converted),
      tt_test(test_weights_rules_rename_whole_names_or_prefixes),
      tt_test(test_weights_strict_names_what_does_not_fit),
      tt_test(test_weights_optional_may_be_absent),
      tt_test(test_weights_of_another_shape_copy_nothing),
      tt_test(test_weights_renamed_onto_one_name_are_refused),
      tt_test(test_weights_come_from_a_checkpoint_of_shards),
      tt_test(test_weights_index_that_leads_outside_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
