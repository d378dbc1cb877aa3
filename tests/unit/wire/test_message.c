/* The budget of unpacking. */
#include "tests/lib/tt.h"

#include "proto/base/mem.h"
#include "proto/wire/convert.h"
#include "proto/wire/message.h"

static void test_unpack_empty_submessages_stop_at_the_budget(void **state) {
  (void)state;
  const size_t n = 512 * 1024;
  uint8_t *bytes = sp_alloc(n);
  for (size_t i = 0; i < n; i += 2) {
    bytes[i] = 0x0A; /* Summary.rows, length 0 */
  }
  ProtobufCMessage *message = NULL;
  assert_int_equal(
      sp_message_unpack(sp_event_fields(SP_EVENT_SUMMARY)->descriptor, bytes, n, &message, NULL),
      SP_ECORRUPT);
  assert_null(message);
  sp_free(bytes);
}

static void test_unpack_truncated_fails(void **state) {
  (void)state;
  const uint8_t bytes[] = {0x12, 0x05, 'a'}; /* Hello.version of five bytes, one there */
  ProtobufCMessage *message = NULL;
  assert_int_equal(sp_message_unpack(sp_event_fields(SP_EVENT_HELLO)->descriptor, bytes,
                                     sizeof bytes, &message, NULL),
                   SP_ECORRUPT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_unpack_empty_submessages_stop_at_the_budget),
      tt_test(test_unpack_truncated_fails),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
