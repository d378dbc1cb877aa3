/* Memory asked for in large pages; memory that is mapped and made present beforehand. */
#include "tests/lib/tt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/exec/pages.h"
#include "proto/base/mem.h"

enum { PAGE = 4096, BYTES = 32 << 20, PAGES = 200, FRESH_BYTES = PAGES * PAGE };

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

/* Memory that somebody has written, in a file. */
static int shared_memory(void) {
  int fd = memfd_create("tt-pages", MFD_CLOEXEC);
  assert_true(fd >= 0);
  assert_int_equal(ftruncate(fd, BYTES), 0);
  char *p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  assert_true(p != MAP_FAILED);
  memset(p, 1, BYTES);
  assert_int_equal(munmap(p, BYTES), 0);
  return fd;
}

/* As after a fork: memory that others have written, mapped anew. */
static void test_touch_leaves_few_faults_for_the_writes(void **state) {
  (void)state;
  stk_pool *pool = NULL;
  int fd = shared_memory();
  assert_int_equal(stk_pool_new(2, false, &pool, NULL), SP_OK);
  char *p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
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

static uint8_t *map_fresh(void) {
  void *p = mmap(NULL, FRESH_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(p != MAP_FAILED);
  return p;
}

/* How many of the pages at p this process has mapped: a sanitizer's own faults do not count. */
static int n_mapped(const void *p, int n_pages) {
  static uint64_t entry[BYTES / PAGE];
  const size_t bytes = (size_t)n_pages * sizeof *entry;
  int n = 0, fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  assert_true(fd >= 0);
  assert_int_equal(pread(fd, entry, bytes, (off_t)((uintptr_t)p / PAGE * sizeof *entry)), bytes);
  for (int i = 0; i < n_pages; i++) {
    n += entry[i] >> 63 != 0; /* present */
  }
  close(fd);
  return n;
}

/* By a kernel that populates and shows what is mapped. */
static bool is_supported(void) {
  uint8_t *p = map_fresh();
  bool is = (madvise(p, PAGE, MADV_POPULATE_WRITE) == 0 || errno != EINVAL) &&
            access("/proc/self/pagemap", R_OK) == 0;
  munmap(p, FRESH_BYTES);
  return is;
}

static void test_populate_makes_every_page_present_and_changes_nothing(void **state) {
  (void)state;
  if (!is_supported()) {
    skip(); /* before Linux 5.14 */
  }
  atomic_bool stop = false;
  uint8_t *p = map_fresh();
  memset(p + 3 * PAGE, 7, 10);
  assert_int_equal(n_mapped(p, PAGES), 1);
  stk_pages_populate(p + 3 * PAGE + 5, FRESH_BYTES - 4 * PAGE - 5, true,
                     &stop); /* not the last one */
  assert_int_equal(n_mapped(p, PAGES), PAGES - 4);
  for (int i = 0; i < 10; i++) {
    assert_int_equal(p[3 * PAGE + i], 7);
  }
  assert_int_equal(p[4 * PAGE], 0);
  munmap(p, FRESH_BYTES);
}

/* As after a fork: the slots of a run, mapped anew. */
static void test_populate_of_shared_memory_maps_it_and_changes_nothing(void **state) {
  (void)state;
  if (!is_supported()) {
    skip();
  }
  atomic_bool stop = false;
  int fd = shared_memory();
  char *p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  assert_true(p != MAP_FAILED);
  assert_int_equal(n_mapped(p, BYTES / PAGE), 0);
  stk_pages_populate(p, BYTES, false, &stop);
  assert_int_equal(n_mapped(p, BYTES / PAGE), BYTES / PAGE);
  for (size_t at = 0; at < BYTES; at += PAGE) {
    assert_int_equal(p[at], 1);
  }
  assert_int_equal(munmap(p, BYTES), 0);
  close(fd);
}

static void test_populate_that_is_told_to_stop_does(void **state) {
  (void)state;
  if (!is_supported()) {
    skip();
  }
  atomic_bool stop = true;
  uint8_t *p = map_fresh();
  stk_pages_populate(p, FRESH_BYTES, true, &stop);
  assert_int_equal(n_mapped(p, PAGES), 0);
  stop = false;
  stk_pages_populate(NULL, FRESH_BYTES, true, &stop);
  stk_pages_populate(p, 0, true, &stop);
  assert_int_equal(n_mapped(p, PAGES), 0);
  munmap(p, FRESH_BYTES);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_alloc_is_zeroed_and_aligned_at_any_size),
      tt_test(test_touch_leaves_few_faults_for_the_writes),
      tt_test(test_populate_makes_every_page_present_and_changes_nothing),
      tt_test(test_populate_of_shared_memory_maps_it_and_changes_nothing),
      tt_test(test_populate_that_is_told_to_stop_does),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
