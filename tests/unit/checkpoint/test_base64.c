/* Base64: RFC 4648's vectors, and texts that no encoder writes. */
#include "tests/lib/tt.h"

#include "engine/checkpoint/base64.h"

#include <string.h>

static void test_base64_vectors_of_the_rfc_hold_both_ways(void **state) {
  (void)state;
  static const char *const vectors[][2] = {
      {"", ""},
      {"f", "Zg=="},
      {"fo", "Zm8="},
      {"foo", "Zm9v"},
      {"foob", "Zm9vYg=="},
      {"fooba", "Zm9vYmE="},
      {"foobar", "Zm9vYmFy"},
  };
  for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
    struct sp_buf b;
    uint8_t out[16];
    size_t n;
    sp_buf_init(&b, 100);
    stk_base64_put(&b, (const uint8_t *)vectors[i][0], strlen(vectors[i][0]));
    assert_string_equal(sp_buf_text(&b), vectors[i][1]);
    assert_true(stk_base64_get(vectors[i][1], strlen(vectors[i][1]), out, &n));
    assert_int_equal(n, strlen(vectors[i][0]));
    assert_memory_equal(out, vectors[i][0], n);
    sp_buf_free(&b);
  }
}

static void test_base64_other_texts_are_refused(void **state) {
  (void)state;
  static const char *const bad[] = {
      "Z", "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zg==Zg==", "Zm9-", "Zm 9", "=m9v", "Z=9v"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    uint8_t out[16];
    size_t n;
    if (stk_base64_get(bad[i], strlen(bad[i]), out, &n)) {
      fail_msg("'%s' was accepted", bad[i]);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_base64_vectors_of_the_rfc_hold_both_ways),
      tt_test(test_base64_other_texts_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
