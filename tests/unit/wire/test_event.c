/* Exit codes and names. */
#include "tests/lib/tt.h"

#include "proto/wire/event.h"

static void test_exit_of_status_before_the_run_names_the_class(void **state) {
  (void)state;
  assert_int_equal(sp_exit_of_status(SP_OK, false), 0);
  assert_int_equal(sp_exit_of_status(SP_EINVAL, false), 2);
  assert_int_equal(sp_exit_of_status(SP_EUNSUPPORTED, false), 2);
  assert_int_equal(sp_exit_of_status(SP_ENOENT, false), 3);
  assert_int_equal(sp_exit_of_status(SP_EPERM, false), 4);
  assert_int_equal(sp_exit_of_status(SP_EMISMATCH, false), 6);
  assert_int_equal(sp_exit_of_status(SP_EIO, false), 1);
  assert_int_equal(sp_exit_of_status(SP_EMODULE, false), 2);
}

static void test_exit_of_status_in_the_run_is_job_failed(void **state) {
  (void)state;
  assert_int_equal(sp_exit_of_status(SP_OK, true), 0);
  assert_int_equal(sp_exit_of_status(SP_EIO, true), 10);
  assert_int_equal(sp_exit_of_status(SP_EINVAL, true), 10);
  assert_int_equal(sp_exit_of_status(SP_EMODULE, true), 10);
  assert_int_equal(sp_exit_of_status(SP_ECANCELED, true), 11);
}

static void test_stage_name_unknown_is_a_question_mark(void **state) {
  (void)state;
  assert_string_equal(sp_stage_name(SP_STAGE_SANITY), "sanity check");
  assert_string_equal(sp_stage_name((enum sp_stage)77), "?");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_exit_of_status_before_the_run_names_the_class),
      tt_test(test_exit_of_status_in_the_run_is_job_failed),
      tt_test(test_stage_name_unknown_is_a_question_mark),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
