/* The files of `stoker init`. */
#include "tests/lib/tt.h"

#include "client/template.h"

#include <string.h>

static void test_name_ok_identifiers_only(void **state) {
  (void)state;
  assert_true(sc_template_name_ok("my_model2"));
  assert_false(sc_template_name_ok(""));
  assert_false(sc_template_name_ok("2nd"));
  assert_false(sc_template_name_ok("a-b"));
  assert_false(sc_template_name_ok("../x"));
  assert_false(sc_template_name_ok("a b"));
  char longest[SC_TEMPLATE_NAME + 1];
  memset(longest, 'a', SC_TEMPLATE_NAME);
  longest[SC_TEMPLATE_NAME] = '\0';
  assert_false(sc_template_name_ok(longest));
  longest[SC_TEMPLATE_NAME - 1] = '\0';
  assert_true(sc_template_name_ok(longest));
}

static void test_put_leaves_no_placeholder(void **state) {
  (void)state;
  struct sp_buf b;
  sp_buf_init(&b, 1 << 16);
  sc_template_put_module(&b, "digits");
  sc_template_put_job(&b, "digits");
  assert_int_equal(sp_buf_check(&b, "template", NULL), SP_OK);
  assert_null(strstr(b.data, "NAME"));
  assert_null(strstr(b.data, "BUILD"));
  assert_non_null(strstr(b.data, "-o digits.so digits.c"));
  assert_non_null(strstr(b.data, "module: ./digits.so"));
  sp_buf_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    tt_test(test_name_ok_identifiers_only),
    tt_test(test_put_leaves_no_placeholder),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
