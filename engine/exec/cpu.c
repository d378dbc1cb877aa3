/* CPU detection and count: see cpu.h. */
#include "engine/exec/cpu.h"

#include <cpuid.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/exec/cgroup.h"

enum {
  XCR0_AVX = 0x06,   /* xmm, ymm */
  XCR0_AVX512 = 0xe6 /* and opmask, upper zmm, zmm 16-31 */
};

static bool bit(unsigned word, int i) {
  return word >> i & 1;
}

/* Register state that the operating system saves (XCR0), 0 where it cannot be asked. */
static unsigned saved_state(unsigned leaf1_ecx) {
  if (!bit(leaf1_ecx, 27)) {
    return 0;
  }
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

static void detect_name(struct stk_cpu *cpu) {
  char text[49] = "";
  unsigned r[12];
  if ((unsigned)__get_cpuid_max(0x80000000u, NULL) >= 0x80000004u) {
    for (unsigned i = 0; i < 3; i++) {
      __cpuid(0x80000002u + i, r[4 * i], r[4 * i + 1], r[4 * i + 2], r[4 * i + 3]);
    }
    memcpy(text, r, sizeof r);
  } else if (__get_cpuid(0, &r[3], &r[0], &r[2], &r[1])) {
    memcpy(text, r, 12);
  }
  const char *from = text + strspn(text, " ");
  size_t n = strlen(from);
  while (n > 0 && from[n - 1] == ' ') {
    n--;
  }
  snprintf(cpu->name, sizeof cpu->name, "%.*s", (int)n, n ? from : "");
  if (n == 0) {
    snprintf(cpu->name, sizeof cpu->name, "unknown");
  }
}

void stk_cpu_detect(struct stk_cpu *out_cpu) {
  struct stk_cpu cpu = {.best = STK_ISA_KIND_REF};
  unsigned a, b, c, d;
  detect_name(&cpu);
  if (__get_cpuid(1, &a, &b, &c, &d)) {
    const int family = a >> 8 & 15, model = a >> 4 & 15;
    cpu.stepping = a & 15;
    cpu.family = family == 15 ? family + (int)(a >> 20 & 255) : family;
    cpu.model = family == 15 || family == 6 ? model + (int)(a >> 16 & 15) * 16 : model;
    const unsigned state = saved_state(c);
    const bool avx = bit(c, 28) && (state & XCR0_AVX) == XCR0_AVX;
    cpu.fma = avx && bit(c, 12);
    if (avx && __get_cpuid_count(7, 0, &a, &b, &c, &d)) {
      cpu.avx2 = bit(b, 5);
      cpu.avx512 = (state & XCR0_AVX512) == XCR0_AVX512 && bit(b, 16) && bit(b, 17) && bit(b, 30) &&
                   bit(b, 31);
    }
  }
  if (cpu.avx2 && cpu.fma) {
    cpu.best = cpu.avx512 ? STK_ISA_KIND_AVX512 : STK_ISA_KIND_AVX2;
  }
  *out_cpu = cpu;
}

const char *stk_isa_name(stk_isa isa) {
  switch (isa) {
    case STK_ISA_KIND_AVX2:
      return "avx2";
    case STK_ISA_KIND_AVX512:
      return "avx512";
    case STK_ISA_KIND_REF:
      break;
  }
  return "ref";
}

/* The smaller of two limits where 0 is none. */
static int stricter(int x, int y) {
  return x == 0 ? y : y == 0 || x < y ? x : y;
}

/* CPUs, rounded up, that quota per period gives; 0 for none ("max", -1, or nonsense). */
static int whole_cpus(const char *quota, const char *period) {
  const long long q = strtoll(quota, NULL, 10), p = strtoll(period, NULL, 10);
  if (q <= 0 || p <= 0 || q / p >= 1 << 20) {
    return 0;
  }
  return (int)((q + p - 1) / p);
}

static int quota_at(const char *dir, bool v2) {
  char quota[64], period[64];
  if (v2) {
    const char *second =
        stk_cgroup_line(dir, "cpu.max", quota, sizeof quota) ? strchr(quota, ' ') : NULL;
    return second ? whole_cpus(quota, second) : 0;
  }
  return stk_cgroup_line(dir, "cpu.cfs_quota_us", quota, sizeof quota) &&
                 stk_cgroup_line(dir, "cpu.cfs_period_us", period, sizeof period)
             ? whole_cpus(quota, period)
             : 0;
}

static void look_at_quota(void *ctx, const char *dir, bool v2) {
  int *least = ctx;
  *least = stricter(*least, quota_at(dir, v2));
}

int stk_cpu_quota(const char *root) {
  int least = 0;
  stk_cgroup_each(root, "cpu", look_at_quota, &least);
  return least;
}

int stk_cpu_count(void) {
  cpu_set_t mask;
  int n = 1;
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) {
    n = CPU_COUNT(&mask);
  }
  n = stricter(n, stk_cpu_quota(""));
  return n > 0 ? n : 1;
}
