/* proto/base/buf.h: contents, the cap, and sticky failures. */
#include "tests/lib/tt.h"

#include <stdint.h>
#include <string.h>

#include "proto/base/buf.h"
#include "proto/base/mem.h"

static void test_buf_appends_of_all_kinds_join(void **state) {
  (void)state;
  struct sp_buf b;
  sp_buf_init(&b, 1 << 20);
  assert_string_equal(sp_buf_text(&b), "");
  sp_buf_puts(&b, "a");
  sp_buf_putc(&b, 'b');
  sp_buf_append(&b, "cd", 2);
  sp_buf_append(&b, NULL, 0);
  sp_buf_printf(&b, "%d-%s", 7, "x");
  assert_string_equal(sp_buf_text(&b), "abcd7-x");
  assert_int_equal(b.length, 7);
  assert_int_equal(sp_buf_check(&b, "b", NULL), SP_OK);
  sp_buf_free(&b);
}

static void test_buf_many_appends_keep_every_byte(void **state) {
  (void)state;
  struct sp_buf b;
  sp_buf_init(&b, SIZE_MAX);
  for (int i = 0; i < 10000; i++) {
    sp_buf_printf(&b, "%04d", i);
  }
  assert_int_equal(b.length, 40000);
  assert_memory_equal(b.data + 4 * 1234, "1234", 4);
  assert_int_equal(b.data[b.length], 0);
  sp_buf_free(&b);
}

static void test_buf_over_limit_fails_and_keeps_contents(void **state) {
  (void)state;
  struct sp_buf b;
  struct sp_err err;
  sp_buf_init(&b, 5);
  sp_buf_puts(&b, "12345");
  assert_int_equal(sp_buf_check(&b, "b", NULL), SP_OK);
  sp_buf_putc(&b, '6');
  sp_buf_clear(&b);
  sp_buf_puts(&b, "123");
  sp_buf_puts(&b, "456");
  sp_buf_puts(&b, "4");
  assert_string_equal(sp_buf_text(&b), "123");
  assert_int_equal(sp_buf_check(&b, "frame", &err), SP_ERANGE);
  assert_string_equal(err.text, "frame: more than the limit of 5 bytes");
  assert_null(sp_buf_take(&b));
  sp_buf_free(&b);
}

static void test_buf_without_memory_fails_once_and_for_all(void **state) {
  (void)state;
  struct sp_buf b;
  sp_buf_init(&b, 1000);
  tt_fail_alloc(1);
  sp_buf_puts(&b, "x");
  sp_buf_puts(&b, "y");
  assert_int_equal(sp_buf_check(&b, "b", NULL), SP_ENOMEM);
  assert_string_equal(sp_buf_text(&b), "");
  sp_buf_free(&b);
}

static void test_buf_take_hands_contents_over(void **state) {
  (void)state;
  struct sp_buf b;
  sp_buf_init(&b, 100);
  char *empty = sp_buf_take(&b);
  assert_string_equal(empty, "");
  sp_buf_puts(&b, "text");
  char *text = sp_buf_take(&b);
  assert_string_equal(text, "text");
  assert_int_equal(b.length, 0);
  sp_free(empty);
  sp_free(text);
}

static void test_buf_consume_and_truncate_cut_the_ends(void **state) {
  (void)state;
  struct sp_buf b;
  sp_buf_init(&b, 100);
  sp_buf_puts(&b, "abcdef");
  sp_buf_consume(&b, 2);
  assert_string_equal(sp_buf_text(&b), "cdef");
  sp_buf_truncate(&b, 3);
  assert_string_equal(sp_buf_text(&b), "cde");
  sp_buf_consume(&b, 3);
  assert_string_equal(sp_buf_text(&b), "");
  sp_buf_free(&b);
}

static void test_buf_extend_gives_zeroed_room(void **state) {
  (void)state;
  static const char zeros[64];
  struct sp_buf b;
  sp_buf_init(&b, 100);
  sp_buf_puts(&b, "0123456789abcdef");
  sp_buf_truncate(&b, 1);
  char *room = sp_buf_extend(&b, 64);
  assert_memory_equal(room, zeros, 64);
  assert_int_equal(b.length, 65);
  assert_null(sp_buf_extend(&b, 36));
  sp_buf_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_buf_appends_of_all_kinds_join),
      tt_test(test_buf_many_appends_keep_every_byte),
      tt_test(test_buf_over_limit_fails_and_keeps_contents),
      tt_test(test_buf_without_memory_fails_once_and_for_all),
      tt_test(test_buf_take_hands_contents_over),
      tt_test(test_buf_consume_and_truncate_cut_the_ends),
      tt_test(test_buf_extend_gives_zeroed_room),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
