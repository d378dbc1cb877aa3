/* worker/faults.h: names of both binaries, sorted and unique; refused by a plain build. */
#include "tests/lib/tt.h"

#include <string.h>

#include "proto/base/fault.h"
#include "worker/faults.h"

#ifdef STOKER_FAULTS

static void test_faults_of_both_binaries_are_listed_once(void **state) {
  (void)state;
  struct sp_buf b;
  sp_buf_init(&b, 1 << 16);
  assert_int_equal(SP_FAULT("test.here") + SP_FAULT("test.here"), 0);
  assert_int_equal(sw_faults_list(&b, NULL), SP_OK);
  const char *text = sp_buf_text(&b);
  assert_non_null(strstr(text, "\nfile.fsync\n")); /* libstoker.so */
  const char *here = strstr(text, "\ntest.here\n");
  assert_non_null(here);
  assert_null(strstr(here + 1, "\ntest.here\n"));
  char last[128] = "";
  for (const char *p = text; *p; p += strcspn(p, "\n") + 1) {
    char name[128] = "";
    memcpy(name, p, strcspn(p, "\n"));
    assert_true(strcmp(last, name) < 0);
    memcpy(last, name, sizeof last);
  }
  sp_buf_free(&b);
}

#else

static void test_faults_are_refused_by_a_plain_build(void **state) {
  (void)state;
  struct sp_buf b;
  struct sp_err err;
  sp_buf_init(&b, 1 << 16);
  assert_int_equal(sw_faults_list(&b, &err), SP_EUNSUPPORTED);
  assert_non_null(strstr(err.text, "faults: this build has no fault points"));
  assert_string_equal(sp_buf_text(&b), "");
  sp_buf_free(&b);
}

#endif

int main(void) {
  const struct CMUnitTest tests[] = {
#ifdef STOKER_FAULTS
      tt_test(test_faults_of_both_binaries_are_listed_once),
#else
      tt_test(test_faults_are_refused_by_a_plain_build),
#endif
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
