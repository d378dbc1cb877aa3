/* metrics.csv on disk. */
#include "tests/lib/tt.h"

#include "engine/trainer/loggers/csv.h"
#include "proto/base/mem.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char *make_directory(const char *name) {
  const char *path = tt_tmpfile(name);
  assert_int_equal(mkdir(path, 0755), 0);
  return path;
}

static struct stk_logger *open_csv(const char *directory) {
  struct stk_logger *l = NULL;
  assert_int_equal(stk_csv_open(directory, &l, NULL), SP_OK);
  return l;
}

static void log_one(struct stk_logger *l, int64_t step, const char *name, double value) {
  struct stk_log_values v = {.step = step, .n = 1, .names = &name, .values = &value};
  assert_int_equal(stk_logger_log(l, &v, NULL), SP_OK);
}

static void table_is(const char *directory, const char *want) {
  char path[512];
  size_t n = 0;
  snprintf(path, sizeof path, "%s/metrics.csv", directory);
  char *text = tt_read_file(path, &n);
  assert_string_equal(text, want);
  sp_free(text);
}

static void test_log_new_key_widens_the_table(void **state) {
  (void)state;
  const char *directory = make_directory("widen");
  struct stk_logger *l = open_csv(directory);
  log_one(l, 1, "train_loss", 2.5);
  log_one(l, 2, "train_loss", 1.5);
  log_one(l, 2, "acc", 0.75);
  assert_int_equal(stk_logger_position(l), 3);
  assert_int_equal(stk_logger_finalize(l, STK_LOG_SUCCESS, NULL), SP_OK);
  stk_logger_free(l);
  table_is(directory, "acc,step,train_loss\n,1,2.5\n,2,1.5\n0.75,2,\n");
}

static void test_rewind_after_a_widening_gives_the_unbroken_table(void **state) {
  (void)state;
  const char *directory = make_directory("rewind");
  struct stk_logger *l = open_csv(directory);
  log_one(l, 1, "loss", 2.5);
  int64_t committed = stk_logger_position(l);
  log_one(l, 2, "acc", 99);
  stk_logger_free(l);
  l = open_csv(directory);
  assert_int_equal(stk_logger_position(l), 2);
  assert_int_equal(stk_logger_rewind(l, committed, NULL), SP_OK);
  log_one(l, 2, "acc", 0.5);
  stk_logger_free(l);
  table_is(directory, "acc,loss,step\n,2.5,1\n0.5,,2\n");
}

static void test_rewind_to_nothing_keeps_the_header(void **state) {
  (void)state;
  const char *directory = make_directory("nothing");
  struct stk_logger *l = open_csv(directory);
  log_one(l, 1, "loss", 2.5);
  assert_int_equal(stk_logger_rewind(l, 0, NULL), SP_OK);
  stk_logger_free(l);
  table_is(directory, "loss,step\n");
}

static void test_rewind_beyond_the_table_is_a_mismatch(void **state) {
  (void)state;
  struct stk_logger *l = open_csv(make_directory("beyond"));
  assert_int_equal(stk_logger_rewind(l, 1, NULL), SP_EMISMATCH);
  stk_logger_free(l);
}

static void test_open_torn_last_line_is_cut(void **state) {
  (void)state;
  const char *directory = make_directory("torn");
  char path[512];
  snprintf(path, sizeof path, "%s/metrics.csv", directory);
  tt_write_file(path, "loss,step\n1,1\n2,", 16);
  struct stk_logger *l = open_csv(directory);
  assert_int_equal(stk_logger_position(l), 1);
  log_one(l, 2, "loss", 3);
  stk_logger_free(l);
  table_is(directory, "loss,step\n1,1\n3,2\n");
}

static void test_open_foreign_header_is_corrupt(void **state) {
  (void)state;
  const char *directory = make_directory("foreign");
  char path[512];
  snprintf(path, sizeof path, "%s/metrics.csv", directory);
  tt_write_file(path, "a,a\n", 4);
  struct stk_logger *l = NULL;
  assert_int_equal(stk_csv_open(directory, &l, NULL), SP_ECORRUPT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_log_new_key_widens_the_table),
      tt_test(test_rewind_after_a_widening_gives_the_unbroken_table),
      tt_test(test_rewind_to_nothing_keeps_the_header),
      tt_test(test_rewind_beyond_the_table_is_a_mismatch),
      tt_test(test_open_torn_last_line_is_cut),
      tt_test(test_open_foreign_header_is_corrupt),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
