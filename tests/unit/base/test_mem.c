/* proto/base/mem.h: zeroed, aligned, overflow-checked; and tt.h's allocator, which rests on it. */
#include "tests/lib/tt.h"

#include <stdint.h>
#include <string.h>

#include "proto/base/mem.h"

static void test_alloc_is_zeroed(void **state) {
  (void)state;
  unsigned char *p = sp_alloc(4096);
  assert_non_null(p);
  for (size_t i = 0; i < 4096; i++) {
    assert_int_equal(p[i], 0);
  }
  sp_free(p);
}

static void test_alloc_zero_bytes_is_unique(void **state) {
  (void)state;
  void *a = sp_alloc(0);
  void *b = sp_alloc(0);
  assert_non_null(a);
  assert_ptr_not_equal(a, b);
  sp_free(a);
  sp_free(b);
}

static void test_alloc_array_overflow_is_null(void **state) {
  (void)state;
  assert_null(sp_alloc_array(SIZE_MAX / 2, 3));
  assert_null(sp_resize_array(NULL, SIZE_MAX / 2, 3));
  assert_null(sp_alloc(SIZE_MAX));
}

static void test_strndup_copies_at_most_n(void **state) {
  (void)state;
  char *s = sp_strndup("abcdef", 3);
  assert_string_equal(s, "abc");
  sp_free(s);
}

static void test_alloc_aligned_is_aligned_and_zeroed(void **state) {
  (void)state;
  for (size_t align = 1; align <= 65536; align *= 2) {
    unsigned char *p = sp_alloc_aligned(align, 100);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % align, 0);
    for (size_t i = 0; i < 100; i++) {
      assert_int_equal(p[i], 0);
    }
    memset(p, 0xff, 100);
    sp_free_aligned(p);
  }
  assert_null(sp_alloc_aligned(64, SIZE_MAX - 8));
}

static void test_fail_alloc_fails_only_the_nth(void **state) {
  (void)state;
  tt_fail_alloc(2);
  void *a = sp_alloc(1);
  void *b = sp_alloc(1);
  void *c = sp_alloc(1);
  assert_non_null(a);
  assert_null(b);
  assert_non_null(c);
  assert_true(tt_alloc_failed());
  assert_int_equal(tt_live_blocks(), 2);
  sp_free(a);
  sp_free(c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_alloc_is_zeroed),
      tt_test(test_alloc_zero_bytes_is_unique),
      tt_test(test_alloc_array_overflow_is_null),
      tt_test(test_strndup_copies_at_most_n),
      tt_test(test_alloc_aligned_is_aligned_and_zeroed),
      tt_test(test_fail_alloc_fails_only_the_nth),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
