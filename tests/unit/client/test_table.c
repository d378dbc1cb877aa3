/* The model summary, as golden text. */
#include "tests/lib/tt.h"

#include "client/table.h"

static void prints(const struct sp_event_summary *s, const char *want) {
  struct sp_buf b;
  sp_buf_init(&b, 1 << 16);
  sc_table_put(&b, s);
  assert_string_equal(sp_buf_text(&b), want);
  sp_buf_free(&b);
}

static void test_table_aligns_columns(void **state) {
  (void)state;
  const struct sp_event_summary_row rows[] = {
      {"encoder.0", "Linear", "[64, 784]", "[64, 64]", 50240, false},
      {"encoder.1", "ReLU", "[64, 64]", "[64, 64]", 0, false},
      {"e", "Linear", "[64, 64]", "[64, 3]", 195, true},
  };
  struct sp_event_summary s = {
      .n_rows = 3, .rows = rows, .n_params = 50435, .n_trainable = 50240, .n_param_bytes = 201740};
  prints(&s,
         "  Name       Type    Params  In         Out\n"
         "  encoder.0  Linear  50,240  [64, 784]  [64, 64]\n"
         "  encoder.1  ReLU         0  [64, 64]   [64, 64]\n"
         "  e          Linear     195  [64, 64]   [64, 3]   frozen\n"
         "  50,435 parameters, 197 KiB, 195 of them frozen\n");
}

static void test_table_leaves_empty_columns_out(void **state) {
  (void)state;
  const struct sp_event_summary_row rows[] = {{"net", "MLP", "", "", 7, false}};
  struct sp_event_summary s = {.n_rows = 1,
                               .rows = rows,
                               .n_rows_left_out = 12,
                               .n_params = 7,
                               .n_trainable = 7,
                               .n_param_bytes = 28};
  prints(&s,
         "  Name  Type  Params\n"
         "  net   MLP        7\n"
         "  ... and 12 more layers\n"
         "  7 parameters, 28 B\n");
}

static void test_table_without_rows_prints_totals(void **state) {
  (void)state;
  struct sp_event_summary s = {.n_rows = 0};
  prints(&s, "  0 parameters, 0 B\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_table_aligns_columns),
      tt_test(test_table_leaves_empty_columns_out),
      tt_test(test_table_without_rows_prints_totals),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
