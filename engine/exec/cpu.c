/* CPU detection and count: see cpu.h. */
#include "engine/exec/cpu.h"

#include <cpuid.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  PATH_BYTES = 1024,
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

static bool read_line(const char *path, char *line, int bytes) {
  FILE *f = fopen(path, "re");
  if (!f) {
    return false;
  }
  const bool ok = fgets(line, bytes, f) != NULL;
  fclose(f);
  return ok;
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
  char path[PATH_BYTES + 32], quota[64], period[64];
  if (v2) {
    snprintf(path, sizeof path, "%s/cpu.max", dir);
    if (!read_line(path, quota, sizeof quota)) {
      return 0;
    }
    const char *second = strchr(quota, ' ');
    return second ? whole_cpus(quota, second) : 0;
  }
  snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", dir);
  if (!read_line(path, quota, sizeof quota)) {
    return 0;
  }
  snprintf(path, sizeof path, "%s/cpu.cfs_period_us", dir);
  return read_line(path, period, sizeof period) ? whole_cpus(quota, period) : 0;
}

/* The strictest quota of `group` and its ancestors in one hierarchy. A container may see its own
 * group as the root of the mount while /proc names it from outside: missing steps are skipped. */
static int quota_of(const char *mount, const char *group, bool v2) {
  char dir[PATH_BYTES];
  const int n = snprintf(dir, sizeof dir, "%s%s", mount, group);
  if (n < 0 || (size_t)n >= sizeof dir) {
    return quota_at(mount, v2);
  }
  const size_t root = strlen(mount);
  int least = 0;
  for (;;) {
    least = stricter(least, quota_at(dir, v2));
    char *slash = strrchr(dir + root, '/');
    if (!slash) {
      return least;
    }
    *slash = '\0';
  }
}

/* One line of /proc/self/cgroup: "id:controllers:path"; v2 has id 0 and no controllers. */
static int quota_of_line(const char *root, char *line) {
  static const char *const v1[] = {"cpu", "cpu,cpuacct", "cpuacct,cpu"};
  static const char *const v2[] = {"", "/unified"};
  line[strcspn(line, "\n")] = '\0';
  char *controllers = strchr(line, ':');
  char *group = controllers ? strchr(controllers + 1, ':') : NULL;
  if (!group) {
    return 0;
  }
  *group++ = '\0';
  controllers++;
  char mount[PATH_BYTES];
  int least = 0;
  if (*controllers == '\0') {
    for (size_t i = 0; i < sizeof v2 / sizeof *v2; i++) {
      snprintf(mount, sizeof mount, "%s/sys/fs/cgroup%s", root, v2[i]);
      least = stricter(least, quota_of(mount, group, true));
    }
    return least;
  }
  for (size_t i = 0; i < sizeof v1 / sizeof *v1; i++) {
    if (strcmp(controllers, v1[i]) == 0) {
      snprintf(mount, sizeof mount, "%s/sys/fs/cgroup/%s", root, i == 0 ? "cpu" : controllers);
      least = quota_of(mount, group, false);
    }
  }
  return least;
}

int stk_cpu_quota(const char *root) {
  char path[PATH_BYTES], line[PATH_BYTES];
  snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
  FILE *f = fopen(path, "re");
  if (!f) {
    return 0;
  }
  int least = 0;
  while (fgets(line, sizeof line, f)) {
    least = stricter(least, quota_of_line(root, line));
  }
  fclose(f);
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
