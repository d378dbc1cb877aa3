/* Filename templates. */
#include "tests/lib/tt.h"

#include "engine/trainer/callbacks/ckpt_name.h"

static const char *const metric_names[] = {"val/loss", "acc"};
static const double metric_values[] = {0.123456789, 1.0};
static const struct stk_scores scores = {
    .epoch = 2, .step = 1500, .n = 2, .names = metric_names, .values = metric_values};

static void formats(const char *filename, bool auto_insert, const char *want) {
  char name[STK_CKPT_NAME];
  assert_int_equal(stk_ckpt_name_format(filename, auto_insert, &scores, name, NULL), SP_OK);
  assert_string_equal(name, want);
}

static void refuses(const char *filename, sp_status status) {
  char name[STK_CKPT_NAME];
  assert_int_equal(stk_ckpt_name_format(filename, true, &scores, name, NULL), status);
}

static void test_format_default_inserts_names(void **state) {
  (void)state;
  formats("{epoch}-{step}", true, "epoch=2-step=1500");
  formats("{epoch}-{step}", false, "2-1500");
}

static void test_format_fields_take_printf_formats(void **state) {
  (void)state;
  formats("{epoch:03d}-{val/loss:.2f}", false, "002-0.12");
  formats("{val/loss:.3e}", false, "1.235e-01");
  formats("{acc:6.1f}|", false, "   1.0|");
}

static void test_format_slash_becomes_underscore(void **state) {
  (void)state;
  formats("run/{val/loss:.2f}", true, "run_val_loss=0.12");
}

static void test_format_missing_metric_prints_zero(void **state) {
  (void)state;
  formats("{nope}", true, "nope=0");
}

static void test_format_plain_text_is_kept(void **state) {
  (void)state;
  formats("best", true, "best");
}

static void test_format_bad_templates_are_refused(void **state) {
  (void)state;
  refuses("", SP_EINVAL);
  refuses(".hidden", SP_EINVAL);
  refuses("..", SP_EINVAL);
  refuses("{epoch", SP_EINVAL);
  refuses("epoch}", SP_EINVAL);
  refuses("{}", SP_EINVAL);
  refuses("{epoch:s}", SP_EINVAL);
  refuses("{epoch:999d}", SP_EINVAL);
  refuses("{epoch:.2d}", SP_EINVAL);
  refuses("{epoch:.f}", SP_EINVAL);
  refuses("{a{b}}", SP_EINVAL);
}

static void test_format_too_long_is_out_of_range(void **state) {
  (void)state;
  char filename[STK_CKPT_NAME + 1];
  for (size_t i = 0; i < STK_CKPT_NAME; i++) {
    filename[i] = 'x';
  }
  filename[STK_CKPT_NAME] = '\0';
  refuses(filename, SP_ERANGE);
}

static void test_version_adds_a_suffix_from_one_on(void **state) {
  (void)state;
  char name[STK_CKPT_NAME];
  assert_int_equal(stk_ckpt_name_version("last", 0, name, NULL), SP_OK);
  assert_string_equal(name, "last");
  assert_int_equal(stk_ckpt_name_version("last", 2, name, NULL), SP_OK);
  assert_string_equal(name, "last-v2");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_format_default_inserts_names),
      tt_test(test_format_fields_take_printf_formats),
      tt_test(test_format_slash_becomes_underscore),
      tt_test(test_format_missing_metric_prints_zero),
      tt_test(test_format_plain_text_is_kept),
      tt_test(test_format_bad_templates_are_refused),
      tt_test(test_format_too_long_is_out_of_range),
      tt_test(test_version_adds_a_suffix_from_one_on),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
