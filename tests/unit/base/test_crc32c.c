/* proto/base/crc32c.h against RFC 3720's examples; instruction and table agree. */
#include "tests/lib/tt.h"

#include <string.h>

#include "proto/base/crc32c.h"

static void test_crc32c_rfc_examples_match(void **state) {
  (void)state;
  unsigned char bytes[32];
  memset(bytes, 0, sizeof bytes);
  assert_int_equal(sp_crc32c(0, bytes, 32), 0x8a9136aa);
  memset(bytes, 0xff, sizeof bytes);
  assert_int_equal(sp_crc32c(0, bytes, 32), 0x62a8ab43);
  for (unsigned i = 0; i < 32; i++) {
    bytes[i] = (unsigned char)i;
  }
  assert_int_equal(sp_crc32c(0, bytes, 32), 0x46dd794e);
  assert_int_equal(sp_crc32c(0, "123456789", 9), 0xe3069283);
}

static void test_crc32c_empty_keeps_value(void **state) {
  (void)state;
  assert_int_equal(sp_crc32c(0, "", 0), 0);
  assert_int_equal(sp_crc32c(77, "", 0), 77);
}

static void fill(unsigned char *bytes, size_t n) {
  uint32_t x = 12345;
  for (size_t i = 0; i < n; i++) {
    x = x * 1664525 + 1013904223;
    bytes[i] = (unsigned char)(x >> 24);
  }
}

static void test_crc32c_fast_equals_portable_at_all_sizes(void **state) {
  (void)state;
  static unsigned char bytes[3 * 8192 * 2 + 100];
  fill(bytes, sizeof bytes);
  static const size_t sizes[] = {1, 7, 8, 9, 63, 1000, 24575, 24576, 24577, sizeof bytes - 3};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    for (size_t offset = 0; offset < 3; offset++) {
      assert_int_equal(sp_crc32c(9, bytes + offset, sizes[i]),
                       sp_crc32c_portable(9, bytes + offset, sizes[i]));
    }
  }
}

static void test_crc32c_in_pieces_equals_whole(void **state) {
  (void)state;
  static unsigned char bytes[60000];
  fill(bytes, sizeof bytes);
  uint32_t whole = sp_crc32c(0, bytes, sizeof bytes);
  uint32_t pieces = sp_crc32c(sp_crc32c(0, bytes, 25001), bytes + 25001, sizeof bytes - 25001);
  assert_int_equal(pieces, whole);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_crc32c_rfc_examples_match),
      tt_test(test_crc32c_empty_keeps_value),
      tt_test(test_crc32c_fast_equals_portable_at_all_sizes),
      tt_test(test_crc32c_in_pieces_equals_whole),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
