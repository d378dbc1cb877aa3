/* Run directories. */
#include "tests/lib/tt.h"

#include "engine/trainer/loggers/rundir.h"
#include "proto/base/mem.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void makes(const char *root, const char *version, const char *want) {
  char expected[512];
  char *path = NULL;
  assert_int_equal(stk_rundir_create(root, "logs", version, &path, NULL), SP_OK);
  snprintf(expected, sizeof expected, "%s/logs/%s", root, want);
  assert_string_equal(path, expected);
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  sp_free(path);
}

static void test_create_counts_versions_up(void **state) {
  (void)state;
  const char *root = tt_tmpfile("count");
  makes(root, NULL, "version_0");
  makes(root, NULL, "version_1");
}

static void test_create_goes_on_after_the_greatest(void **state) {
  (void)state;
  const char *root = tt_tmpfile("greatest");
  makes(root, "version_41", "version_41");
  makes(root, "version_x", "version_x");
  makes(root, NULL, "version_42");
}

static void test_create_named_version_twice_is_the_same_directory(void **state) {
  (void)state;
  const char *root = tt_tmpfile("twice");
  makes(root, "mine", "mine");
  makes(root, "mine", "mine");
}

static void test_write_hparams_quotes_what_yaml_would_change(void **state) {
  (void)state;
  const struct stk_hparam_text hparams[] = {
      {"lr", "1e-3"}, {"path", "a b: c"}, {"text", "say \"hi\"\n"}, {"model.hidden", "64"}};
  const char *root = tt_tmpfile("hparams");
  assert_int_equal(mkdir(root, 0755), 0);
  assert_int_equal(stk_rundir_write_hparams(root, hparams, 4, NULL), SP_OK);
  char path[512];
  size_t n = 0;
  snprintf(path, sizeof path, "%s/hparams.yaml", root);
  char *text = tt_read_file(path, &n);
  assert_string_equal(text,
                      "lr: 1e-3\npath: \"a b: c\"\ntext: \"say \\\"hi\\\"\\x0a\"\n"
                      "model.hidden: 64\n");
  sp_free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_create_counts_versions_up),
      tt_test(test_create_goes_on_after_the_greatest),
      tt_test(test_create_named_version_twice_is_the_same_directory),
      tt_test(test_write_hparams_quotes_what_yaml_would_change),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
