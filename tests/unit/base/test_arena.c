/* proto/base/arena.h: alignment, large requests, the cap, and giving everything back. */
#include "tests/lib/tt.h"

#include <stdint.h>
#include <string.h>

#include "proto/base/arena.h"

static void test_arena_small_requests_are_aligned_and_zeroed(void **state) {
  (void)state;
  struct sp_arena a = {0};
  for (size_t n = 0; n < 200; n++) {
    unsigned char *p = sp_arena_alloc(&a, n);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % 16, 0);
    for (size_t i = 0; i < n; i++) {
      assert_int_equal(p[i], 0);
    }
    memset(p, 0xff, n);
  }
  sp_arena_clear(&a);
}

static void test_arena_large_request_leaves_block_in_use(void **state) {
  (void)state;
  struct sp_arena a = {0};
  char *first = sp_arena_strdup(&a, "first");
  char *large = sp_arena_alloc(&a, 1 << 20);
  char *second = sp_arena_strdup(&a, "second");
  assert_non_null(large);
  assert_ptr_equal(second, first + 16);
  assert_string_equal(first, "first");
  sp_arena_clear(&a);
}

static void test_arena_over_cap_is_null(void **state) {
  (void)state;
  struct sp_arena a = {.cap_bytes = 4096};
  assert_non_null(sp_arena_alloc(&a, 100));
  assert_null(sp_arena_alloc(&a, 4096));
  assert_null(sp_arena_array(&a, SIZE_MAX / 2, 4));
  assert_null(sp_arena_alloc(&a, SIZE_MAX));
  sp_arena_clear(&a);
}

static void test_arena_cleared_is_empty_and_usable(void **state) {
  (void)state;
  struct sp_arena a = {0};
  assert_non_null(sp_arena_alloc(&a, 100000));
  sp_arena_clear(&a);
  assert_int_equal(a.held_bytes, 0);
  assert_int_equal(tt_live_blocks(), 0);
  assert_string_equal(sp_arena_strndup(&a, "abcdef", 3), "abc");
  sp_arena_clear(&a);
}

static void test_arena_without_memory_is_null(void **state) {
  (void)state;
  struct sp_arena a = {0};
  tt_fail_alloc(1);
  assert_null(sp_arena_alloc(&a, 8));
  assert_non_null(sp_arena_alloc(&a, 8));
  sp_arena_clear(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_arena_small_requests_are_aligned_and_zeroed),
      tt_test(test_arena_large_request_leaves_block_in_use),
      tt_test(test_arena_over_cap_is_null),
      tt_test(test_arena_cleared_is_empty_and_usable),
      tt_test(test_arena_without_memory_is_null),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
