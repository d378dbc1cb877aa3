/* The files of `stoker init`. */
#include "tests/lib/tt.h"

#include "client/template.h"
#include "proto/job/job.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

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

static void test_job_file_loads(void **state) {
  (void)state;
  struct sp_job *job = NULL;
  struct sp_err err = {.text = ""};
  struct sp_buf b;
  sp_buf_init(&b, 1 << 16);
  sc_template_put_job(&b, "digits");
  sp_status status = sp_job_parse("digits.yaml", b.data, b.length, NULL, 0, &job, &err);
  assert_string_equal(err.text, "");
  assert_int_equal(status, SP_OK);
  assert_string_equal(sp_job_model_module(job), "./digits.so");
  sp_job_free(job);
  sp_buf_free(&b);
}

/* The documented build line's compiler on the public headers alone, warnings being errors. */
static void test_module_compiles_against_the_public_headers(void **state) {
  (void)state;
  const char *path = tt_tmpfile("digits.c");
  char include[512];
  struct sp_buf b;
  sp_buf_init(&b, 1 << 16);
  sc_template_put_module(&b, "digits");
  tt_write_file(path, b.data, b.length);
  sp_buf_free(&b);
  snprintf(include, sizeof include, "-I%s", tt_source("engine/include"));
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    execlp("cc", "cc", "-std=c17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", include, path,
           (char *)NULL);
    _exit(77);
  }
  int status = 0;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
    print_message("skipped: there is no cc\n");
    skip();
  }
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_name_ok_identifiers_only),
      tt_test(test_put_leaves_no_placeholder),
      tt_test(test_job_file_loads),
      tt_test(test_module_compiles_against_the_public_headers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
