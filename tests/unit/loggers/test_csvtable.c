/* The text of a metrics table. */
#include "tests/lib/tt.h"

#include "engine/trainer/loggers/csvtable.h"

#include <math.h>
#include <string.h>

static void add(struct stk_csv_columns *c, const char *name) {
  bool added = false;
  assert_int_equal(stk_csv_column_add(c, name, &added, NULL), SP_OK);
  assert_true(added);
}

static struct sp_buf buffer(void) {
  struct sp_buf b;
  sp_buf_init(&b, 1 << 16);
  return b;
}

static void test_header_is_sorted_and_quoted(void **state) {
  (void)state;
  struct stk_csv_columns c = {0};
  struct sp_buf b = buffer();
  add(&c, "step");
  add(&c, "acc, \"top\"");
  add(&c, "epoch");
  stk_csv_put_header(&b, &c);
  assert_string_equal(sp_buf_text(&b), "\"acc, \"\"top\"\"\",epoch,step\n");
  struct stk_csv_columns back = {0};
  assert_int_equal(stk_csv_header_parse(b.data, b.length - 1, &back, NULL), SP_OK);
  assert_int_equal(back.n, 3);
  assert_string_equal(back.names[0], "acc, \"top\"");
  stk_csv_columns_fini(&back);
  stk_csv_columns_fini(&c);
  sp_buf_free(&b);
}

static void test_column_with_a_newline_is_made_harmless(void **state) {
  (void)state;
  struct stk_csv_columns c = {0};
  add(&c, "a\nb");
  assert_string_equal(c.names[0], "a_b");
  stk_csv_columns_fini(&c);
}

static void test_row_numbers_read_back_equal(void **state) {
  (void)state;
  static const char *const names[] = {"a", "b", "d", "e"};
  const double values[] = {0.1, 1.0 / 3, NAN, 3};
  struct stk_log_values v = {.step = 7, .n = 4, .names = names, .values = values};
  struct stk_csv_columns c = {0};
  struct sp_buf b = buffer();
  add(&c, "a");
  add(&c, "b");
  add(&c, "c");
  add(&c, "d");
  add(&c, "e");
  add(&c, "step");
  stk_csv_put_row(&b, &c, &v);
  assert_string_equal(sp_buf_text(&b), "0.1,0.3333333333333333,,nan,3,7\n");
  stk_csv_columns_fini(&c);
  sp_buf_free(&b);
}

static void test_moved_row_leaves_new_columns_empty(void **state) {
  (void)state;
  struct stk_csv_columns from = {0};
  struct stk_csv_columns to = {0};
  struct sp_buf b = buffer();
  add(&from, "b");
  add(&from, "step");
  add(&to, "a");
  add(&to, "b");
  add(&to, "step");
  add(&to, "z");
  assert_int_equal(stk_csv_put_moved_row(&b, "0.5,3", 5, &from, &to, NULL), SP_OK);
  assert_string_equal(sp_buf_text(&b), ",0.5,3,\n");
  assert_int_equal(stk_csv_put_moved_row(&b, "0.5", 3, &from, &to, NULL), SP_ECORRUPT);
  assert_int_equal(stk_csv_put_moved_row(&b, "1,2,3", 5, &from, &to, NULL), SP_ECORRUPT);
  stk_csv_columns_fini(&from);
  stk_csv_columns_fini(&to);
  sp_buf_free(&b);
}

static void test_header_parse_malformed_is_corrupt(void **state) {
  (void)state;
  struct stk_csv_columns c = {0};
  assert_int_equal(stk_csv_header_parse("\"a", 2, &c, NULL), SP_ECORRUPT);
  assert_int_equal(stk_csv_header_parse("\"a\"b", 4, &c, NULL), SP_ECORRUPT);
  assert_int_equal(stk_csv_header_parse("a,a", 3, &c, NULL), SP_ECORRUPT);
  assert_int_equal(c.n, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_header_is_sorted_and_quoted),
      tt_test(test_column_with_a_newline_is_made_harmless),
      tt_test(test_row_numbers_read_back_equal),
      tt_test(test_moved_row_leaves_new_columns_empty),
      tt_test(test_header_parse_malformed_is_corrupt),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
