/* Records and messages byte by byte. */
#include "tests/lib/tt.h"

#include "engine/trainer/loggers/tfencode.h"

#include <string.h>

static struct sp_buf buffer(void) {
  struct sp_buf b;
  sp_buf_init(&b, 1 << 16);
  return b;
}

static void test_masked_crc_of_a_known_length_matches(void **state) {
  (void)state;
  /* The first record of every TensorBoard file: length 24, CRC a3 7f 4b 22. */
  const uint8_t length[8] = {24};
  assert_int_equal(stk_tf_masked_crc(length, sizeof length), 0x224b7fa3);
}

static void test_record_frames_the_bytes(void **state) {
  (void)state;
  struct sp_buf b = buffer();
  stk_tf_record(&b, "abc", 3);
  assert_int_equal(b.length, 8 + 4 + 3 + 4);
  assert_memory_equal(b.data, "\3\0\0\0\0\0\0\0", 8);
  assert_memory_equal(b.data + 12, "abc", 3);
  uint32_t crc = stk_tf_masked_crc("abc", 3);
  assert_int_equal((uint8_t)b.data[15], crc & 0xFF);
  assert_int_equal((uint8_t)b.data[18], crc >> 24);
  sp_buf_free(&b);
}

static void test_file_version_is_what_tensorboard_expects(void **state) {
  (void)state;
  struct sp_buf b = buffer();
  stk_tf_file_version(&b, 1.0);
  static const char want[] =
      "\x09\0\0\0\0\0\0\xf0\x3f\x1a\x0d"
      "brain.Event:2";
  assert_int_equal(b.length, sizeof want - 1);
  assert_memory_equal(b.data, want, sizeof want - 1);
  sp_buf_free(&b);
}

static void test_scalars_encode_time_step_and_values(void **state) {
  (void)state;
  static const char *const names[] = {"a"};
  static const double values[] = {0.5};
  struct stk_log_values v = {.step = 300, .wall_s = 1.0, .n = 1, .names = names, .values = values};
  struct sp_buf b = buffer();
  stk_tf_scalars(&b, &v);
  static const char want[] =
      "\x09\0\0\0\0\0\0\xf0\x3f" /* wall_time */
      "\x10\xac\x02"             /* step */
      "\x2a\x0a"                 /* summary */
      "\x0a\x08"                 /* value */
      "\x0a\x01"
      "a"
      "\x15\0\0\0\x3f";
  assert_int_equal(b.length, sizeof want - 1);
  assert_memory_equal(b.data, want, sizeof want - 1);
  sp_buf_free(&b);
}

static void test_scalars_without_memory_mark_the_buffer(void **state) {
  (void)state;
  static const char *const names[] = {"a"};
  static const double values[] = {0.5};
  struct stk_log_values v = {.n = 1, .names = names, .values = values};
  struct sp_buf b = buffer();
  tt_fail_alloc(1);
  stk_tf_scalars(&b, &v);
  assert_int_equal(sp_buf_check(&b, "event", NULL), SP_ENOMEM);
  sp_buf_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_masked_crc_of_a_known_length_matches),
      tt_test(test_record_frames_the_bytes),
      tt_test(test_file_version_is_what_tensorboard_expects),
      tt_test(test_scalars_encode_time_step_and_values),
      tt_test(test_scalars_without_memory_mark_the_buffer),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
