/* The last words of a stream. */
#include "tests/lib/tt.h"

#include "client/tail.h"

#include <string.h>

static void says(const struct sc_tail *t, size_t n_lines, const char *want) {
  struct sp_buf b;
  sp_buf_init(&b, 1 << 16);
  sc_tail_put(t, &b, n_lines, "| ");
  assert_string_equal(sp_buf_text(&b), want);
  sp_buf_free(&b);
}

static void test_put_last_lines_without_empty_ones(void **state) {
  (void)state;
  struct sc_tail t = {0};
  sc_tail_add(&t, "one\ntwo\n\nth", 11);
  sc_tail_add(&t, "ree\n\n\n", 6);
  says(&t, 2, "| two\n| three\n");
  says(&t, 9, "| one\n| two\n| three\n");
}

static void test_put_nothing_said_is_nothing(void **state) {
  (void)state;
  struct sc_tail t = {0};
  says(&t, 5, "");
  sc_tail_add(&t, "\n\n", 2);
  says(&t, 5, "");
}

static void test_put_escape_sequences_are_harmless(void **state) {
  (void)state;
  struct sc_tail t = {0};
  sc_tail_add(&t, "\x1b[31mred", 8);
  says(&t, 5, "| ?[31mred\n");
}

static void test_add_more_than_is_kept_marks_the_torn_line(void **state) {
  (void)state;
  static char bytes[2 * SC_TAIL_BYTES];
  struct sc_tail t = {0};
  memset(bytes, 'x', sizeof bytes);
  memcpy(bytes + sizeof bytes - 4, "\nend", 4);
  sc_tail_add(&t, bytes, sizeof bytes - 100);
  sc_tail_add(&t, bytes + sizeof bytes - 100, 100);
  assert_int_equal(t.n, SC_TAIL_BYTES);
  says(&t, 1, "| end\n");
  struct sp_buf b;
  sp_buf_init(&b, 1 << 16);
  sc_tail_put(&t, &b, 5, "");
  assert_memory_equal(b.data, "...xxx", 6);
  sp_buf_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_put_last_lines_without_empty_ones),
      tt_test(test_put_nothing_said_is_nothing),
      tt_test(test_put_escape_sequences_are_harmless),
      tt_test(test_add_more_than_is_kept_marks_the_torn_line),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
