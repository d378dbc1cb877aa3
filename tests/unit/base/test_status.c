/* proto/base/status.h: texts are bounded and terminated, context goes in front. */
#include "tests/lib/tt.h"

#include <errno.h>
#include <string.h>

#include "proto/base/status.h"

static void test_fail_with_err_sets_status_and_text(void **state) {
  (void)state;
  struct sp_err err;
  assert_int_equal(sp_fail(&err, SP_EINVAL, "line %d", 7), SP_EINVAL);
  assert_int_equal(err.status, SP_EINVAL);
  assert_string_equal(err.text, "line 7");
}

static void test_fail_without_err_returns_status(void **state) {
  (void)state;
  assert_int_equal(sp_fail(NULL, SP_EPERM, "unused"), SP_EPERM);
}

static void test_fail_long_text_is_cut_and_terminated(void **state) {
  (void)state;
  struct sp_err err;
  char text[SP_ERR_TEXT * 2];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  assert_int_equal(sp_fail(&err, SP_EINVAL, "%s", text), SP_EINVAL);
  assert_int_equal(strlen(err.text), SP_ERR_TEXT - 1);
}

static void test_fail_errno_enospc_maps_and_appends_reason(void **state) {
  (void)state;
  struct sp_err err;
  errno = ENOSPC;
  assert_int_equal(sp_fail_errno(&err, "writing %s", "f"), SP_ENOSPC);
  assert_string_equal(err.text, "writing f: No space left on device");
  assert_int_equal(errno, ENOSPC);
}

static void test_wrap_puts_context_in_front(void **state) {
  (void)state;
  struct sp_err err;
  assert_int_equal(sp_fail(&err, SP_ENOENT, "no file"), SP_ENOENT);
  assert_int_equal(sp_wrap(&err, "job %d", 3), SP_ENOENT);
  assert_string_equal(err.text, "job 3: no file");
}

static void test_wrap_full_text_stays_bounded(void **state) {
  (void)state;
  struct sp_err err = {.status = SP_EIO};
  memset(err.text, 'x', sizeof err.text - 1);
  assert_int_equal(sp_wrap(&err, "context"), SP_EIO);
  assert_int_equal(strlen(err.text), SP_ERR_TEXT - 1);
  assert_memory_equal(err.text, "context: x", 10);
}

static void test_status_text_unknown_number_is_not_null(void **state) {
  (void)state;
  assert_string_equal(sp_status_text(SP_EMODULE), "the user's module failed");
  assert_string_equal(sp_status_text((sp_status)99), "unknown status");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_fail_with_err_sets_status_and_text),
      cmocka_unit_test(test_fail_without_err_returns_status),
      cmocka_unit_test(test_fail_long_text_is_cut_and_terminated),
      cmocka_unit_test(test_fail_errno_enospc_maps_and_appends_reason),
      cmocka_unit_test(test_wrap_puts_context_in_front),
      cmocka_unit_test(test_wrap_full_text_stays_bounded),
      cmocka_unit_test(test_status_text_unknown_number_is_not_null),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
