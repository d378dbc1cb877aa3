/* Memory asked for in large pages, and shared memory mapped beforehand. */
#include "tests/lib/tt.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/exec/pages.h"
#include "proto/base/mem.h"

enum { PAGE = 4096, BYTES = 32 << 20 };

static bool is_zero(const char *p, size_t bytes) {
  return p[0] == 0 && memcmp(p, p + 1, bytes - 1) == 0;
}

static void test_alloc_is_zeroed_and_aligned_at_any_size(void **state) {
  const size_t sizes[] = {1, PAGE, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, (9 << 20) + 12345};
  (void)state;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    char *p = stk_pages_alloc(sizes[i]);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % PAGE, 0);
    assert_true(sizes[i] == 1 ? *p == 0 : is_zero(p, sizes[i]));
    memset(p, 7, sizes[i]);
    sp_free_aligned(p);
  }
}

static long faults(void) {
  struct rusage u;
  assert_int_equal(getrusage(RUSAGE_SELF, &u), 0);
  return u.ru_minflt;
}

static long write_all(char *p) {
  const long before = faults();
  for (size_t at = 0; at < BYTES; at += PAGE) {
    p[at] = 2;
  }
  return faults() - before;
}

/* As after a fork: memory that others have written, mapped anew. */
static void test_touch_leaves_few_faults_for_the_writes(void **state) {
  (void)state;
  stk_pool *pool = NULL;
  int fd = memfd_create("tt-pages", MFD_CLOEXEC);
  assert_true(fd >= 0);
  assert_int_equal(ftruncate(fd, BYTES), 0);
  assert_int_equal(stk_pool_new(2, false, &pool, NULL), SP_OK);
  char *p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  assert_true(p != MAP_FAILED);
  memset(p, 1, BYTES);
  assert_int_equal(munmap(p, BYTES), 0);

  p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  assert_true(p != MAP_FAILED);
  stk_pages_touch(pool, p, BYTES);
  for (size_t at = 0; at < BYTES; at += PAGE) {
    assert_int_equal(p[at], 1);
  }
  assert_true(write_all(p) < BYTES / PAGE / 16);
  stk_pages_touch(pool, p, 0);
  stk_pages_touch(pool, NULL, 0);
  assert_int_equal(munmap(p, BYTES), 0);
  close(fd);
  stk_pool_free(pool);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_alloc_is_zeroed_and_aligned_at_any_size),
      tt_test(test_touch_leaves_few_faults_for_the_writes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
