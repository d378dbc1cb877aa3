/* CPU detection, and quotas of cgroups v1 and v2 in trees made for the test. */
#include "tests/lib/tt.h"

#include <string.h>

#include "engine/exec/cpu.h"

static void test_cpu_best_needs_all_of_its_features(void **state) {
  (void)state;
  struct stk_cpu cpu;
  stk_cpu_detect(&cpu);
  assert_true(strlen(cpu.name) > 0);
  assert_int_equal(cpu.fma, __builtin_cpu_supports("fma") != 0);
  assert_int_equal(cpu.avx2, __builtin_cpu_supports("avx2") != 0);
  assert_true(cpu.best == STK_ISA_KIND_REF || (cpu.avx2 && cpu.fma));
  assert_true(cpu.best != STK_ISA_KIND_AVX512 || cpu.avx512);
}

static void test_isa_name_each_differs(void **state) {
  (void)state;
  assert_string_equal(stk_isa_name(STK_ISA_KIND_REF), "ref");
  assert_string_equal(stk_isa_name(STK_ISA_KIND_AVX2), "avx2");
  assert_string_equal(stk_isa_name(STK_ISA_KIND_AVX512), "avx512");
}

static void test_cpu_count_is_positive(void **state) {
  (void)state;
  assert_true(stk_cpu_count() >= 1);
}

static void test_cpu_quota_v2_takes_the_strictest_ancestor_rounded_up(void **state) {
  (void)state;
  const char *root = tt_tmpfile("v2");
  tt_put_file(root, "proc/self/cgroup", "0::/a/b\n");
  tt_put_file(root, "sys/fs/cgroup/cpu.max", "max 100000\n");
  tt_put_file(root, "sys/fs/cgroup/a/cpu.max", "150000 100000\n");
  tt_put_file(root, "sys/fs/cgroup/a/b/cpu.max", "400000 100000\n");
  assert_int_equal(stk_cpu_quota(root), 2);
}

static void test_cpu_quota_v1_reads_quota_and_period(void **state) {
  (void)state;
  const char *root = tt_tmpfile("v1");
  tt_put_file(root, "proc/self/cgroup", "5:memory:/x\n3:cpu,cpuacct:/job\n0::/\n");
  tt_put_file(root, "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "300000\n");
  tt_put_file(root, "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
  assert_int_equal(stk_cpu_quota(root), 3);
}

/* In a container, /proc names the group from outside while the mount shows it as the root. */
static void test_cpu_quota_in_container_is_found_at_the_mount(void **state) {
  (void)state;
  const char *root = tt_tmpfile("inside");
  tt_put_file(root, "proc/self/cgroup", "0::/docker/0123\n");
  tt_put_file(root, "sys/fs/cgroup/cpu.max", "100000 100000\n");
  assert_int_equal(stk_cpu_quota(root), 1);
}

static void test_cpu_quota_none_or_nonsense_is_zero(void **state) {
  (void)state;
  const char *root = tt_tmpfile("none");
  assert_int_equal(stk_cpu_quota(root), 0);
  tt_put_file(root, "proc/self/cgroup", "nonsense\n1:\n0::/a\n1:cpu:/a\n");
  tt_put_file(root, "sys/fs/cgroup/a/cpu.max", "zero\n");
  tt_put_file(root, "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1\n");
  tt_put_file(root, "sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
  assert_int_equal(stk_cpu_quota(root), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_cpu_best_needs_all_of_its_features),
      cmocka_unit_test(test_isa_name_each_differs),
      cmocka_unit_test(test_cpu_count_is_positive),
      cmocka_unit_test(test_cpu_quota_v2_takes_the_strictest_ancestor_rounded_up),
      cmocka_unit_test(test_cpu_quota_v1_reads_quota_and_period),
      cmocka_unit_test(test_cpu_quota_in_container_is_found_at_the_mount),
      cmocka_unit_test(test_cpu_quota_none_or_nonsense_is_zero),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
