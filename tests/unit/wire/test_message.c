/* The budget of unpacking. */
#include "tests/lib/tt.h"

#include "proto/base/mem.h"
#include "proto/wire/event.h"
#include "proto/wire/message.h"

static void test_descriptor_every_event_kind_has_one(void **state) {
  (void)state;
  for (unsigned tag = SP_EVENT_HELLO; tag <= SP_EVENT_RESULT; tag++) {
    assert_non_null(sp_message_descriptor(tag));
  }
  assert_null(sp_message_descriptor(0));
  assert_null(sp_message_descriptor(SP_EVENT_RESULT + 1));
  assert_null(sp_message_descriptor(UINT16_MAX));
}

static void test_unpack_empty_submessages_stop_at_the_budget(void **state) {
  (void)state;
  const size_t n = 512 * 1024;
  uint8_t *bytes = sp_alloc(n);
  for (size_t i = 0; i < n; i += 2) {
    bytes[i] = 0x0A; /* Summary.rows, length 0 */
  }
  ProtobufCMessage *message = NULL;
  assert_int_equal(sp_message_unpack(SP_EVENT_SUMMARY, bytes, n, &message, NULL), SP_ECORRUPT);
  assert_null(message);
  sp_free(bytes);
}

static void test_unpack_truncated_fails(void **state) {
  (void)state;
  const uint8_t bytes[] = {0x12, 0x05, 'a'}; /* Hello.version of five bytes, one there */
  ProtobufCMessage *message = NULL;
  assert_int_equal(sp_message_unpack(SP_EVENT_HELLO, bytes, sizeof bytes, &message, NULL),
                   SP_ECORRUPT);
}

static void test_unpack_unknown_tag_is_unsupported(void **state) {
  (void)state;
  ProtobufCMessage *message = NULL;
  assert_int_equal(sp_message_unpack(999, NULL, 0, &message, NULL), SP_EUNSUPPORTED);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_descriptor_every_event_kind_has_one),
      tt_test(test_unpack_empty_submessages_stop_at_the_budget),
      tt_test(test_unpack_truncated_fails),
      tt_test(test_unpack_unknown_tag_is_unsupported),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
