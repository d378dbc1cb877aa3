/* proto/base/sha256.h against FIPS 180-4's examples; extensions and portable code agree. */
#include "tests/lib/tt.h"

#include <string.h>

#include "proto/base/sha256.h"

static void check_hex(const char *text, const char *want) {
  uint8_t digest[SP_SHA256_BYTES];
  char hex[SP_SHA256_HEX];
  sp_sha256_of(text, strlen(text), digest);
  sp_sha256_hex(digest, hex);
  assert_string_equal(hex, want);
}

static void test_sha256_standard_examples_match(void **state) {
  (void)state;
  check_hex("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  check_hex("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  check_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void test_sha256_million_a_matches(void **state) {
  (void)state;
  struct sp_sha256 s;
  uint8_t digest[SP_SHA256_BYTES];
  char hex[SP_SHA256_HEX];
  char piece[1000];
  memset(piece, 'a', sizeof piece);
  sp_sha256_init(&s);
  for (int i = 0; i < 1000; i++) {
    sp_sha256_update(&s, piece, sizeof piece);
  }
  sp_sha256_final(&s, digest);
  sp_sha256_hex(digest, hex);
  assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void test_sha256_fast_equals_portable_at_all_lengths(void **state) {
  (void)state;
  uint8_t bytes[300];
  for (size_t i = 0; i < sizeof bytes; i++) {
    bytes[i] = (uint8_t)(i * 37 + 11);
  }
  for (size_t n = 0; n <= sizeof bytes; n++) {
    struct sp_sha256 portable;
    uint8_t fast[SP_SHA256_BYTES];
    uint8_t slow[SP_SHA256_BYTES];
    sp_sha256_of(bytes, n, fast);
    sp_sha256_init_portable(&portable);
    sp_sha256_update(&portable, bytes, n / 3);
    sp_sha256_update(&portable, bytes + n / 3, n - n / 3);
    sp_sha256_final(&portable, slow);
    assert_memory_equal(fast, slow, sizeof fast);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_sha256_standard_examples_match),
      tt_test(test_sha256_million_a_matches),
      tt_test(test_sha256_fast_equals_portable_at_all_lengths),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
