/* Memory that is left, in trees made for the test. */
#include "tests/lib/tt.h"

#include <string.h>

#include "engine/exec/room.h"

static const char *tree(const char *name, const char *cgroup) {
  const char *root = tt_tmpfile(name);
  tt_put_file(root, "proc/meminfo",
              "MemTotal:       16000 kB\nMemFree:         100 kB\nMemAvailable:    8000 kB\n");
  tt_put_file(root, "proc/self/cgroup", cgroup);
  return root;
}

static void test_room_is_what_the_kernel_says_is_available(void **state) {
  (void)state;
  assert_int_equal(stk_room_bytes(tree("plain", "0::/\n")), 8000 * 1024);
  assert_true(stk_room_bytes("") > 0);
}

static void test_room_v2_is_the_least_that_an_ancestor_leaves(void **state) {
  (void)state;
  const char *root = tree("v2", "0::/a/b\n");
  tt_put_file(root, "sys/fs/cgroup/a/memory.max", "5000000\n");
  tt_put_file(root, "sys/fs/cgroup/a/memory.current", "4000000\n");
  tt_put_file(root, "sys/fs/cgroup/a/memory.stat", "anon 7\ninactive_file 300000\nfile 9\n");
  tt_put_file(root, "sys/fs/cgroup/a/b/memory.max", "max\n");
  tt_put_file(root, "sys/fs/cgroup/a/b/memory.current", "3000000\n");
  assert_int_equal(stk_room_bytes(root), 1300000);
}

static void test_room_v1_reads_limit_and_usage(void **state) {
  (void)state;
  const char *root = tree("v1", "9:cpu:/other\n5:memory:/job\n");
  tt_put_file(root, "sys/fs/cgroup/cpu/other/memory.limit_in_bytes", "1\n");
  tt_put_file(root, "sys/fs/cgroup/cpu/other/memory.usage_in_bytes", "1\n");
  tt_put_file(root, "sys/fs/cgroup/memory/job/memory.limit_in_bytes", "2000000\n");
  tt_put_file(root, "sys/fs/cgroup/memory/job/memory.usage_in_bytes", "1500000\n");
  tt_put_file(root, "sys/fs/cgroup/memory/job/memory.stat", "total_inactive_file 1000\n");
  assert_int_equal(stk_room_bytes(root), 501000);
}

static void test_room_of_a_full_group_or_an_unknown_machine_is_none(void **state) {
  (void)state;
  const char *root = tree("full", "0::/\n");
  tt_put_file(root, "sys/fs/cgroup/memory.max", "1000\n");
  tt_put_file(root, "sys/fs/cgroup/memory.current", "4000\n");
  assert_int_equal(stk_room_bytes(root), 0);
  assert_int_equal(stk_room_bytes(tt_tmpfile("nothing")), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_room_is_what_the_kernel_says_is_available),
      cmocka_unit_test(test_room_v2_is_the_least_that_an_ancestor_leaves),
      cmocka_unit_test(test_room_v1_reads_limit_and_usage),
      cmocka_unit_test(test_room_of_a_full_group_or_an_unknown_machine_is_none),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
