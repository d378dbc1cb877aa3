/* What the CPU can do, and how many of them this process may use.
 *
 * An instruction set counts as present only if the operating system saves its registers too
 * (XGETBV). The count honours the affinity mask and the CPU quota of cgroups v1 and v2, rounded up,
 * so a container of 1.5 CPUs gets two threads. Everything here only reads; nothing is cached, so
 * call it at start, not per step.
 */
#ifndef STK_EXEC_CPU_H
#define STK_EXEC_CPU_H

#include <stdbool.h>

#include "engine/kernel/kernel.h"

enum { STK_CPU_NAME_BYTES = 64 };

struct stk_cpu {
  char name[STK_CPU_NAME_BYTES]; /* brand string, or the vendor's, trimmed */
  int family, model, stepping;
  bool fma, avx2, avx512; /* usable: CPU and operating system; avx512 means F+VL+DQ+BW */
  stk_isa best;
};

/* Fills *out_cpu. Cannot fail: an unknown CPU is named "unknown" and has STK_ISA_KIND_REF. */
void stk_cpu_detect(struct stk_cpu *out_cpu);

/* "ref", "avx2", "avx512"; never NULL. */
const char *stk_isa_name(stk_isa isa);

/* CPUs this process may use: min(affinity mask, cgroup quota rounded up), at least 1. */
int stk_cpu_count(void);

/* The quota part of stk_cpu_count for a given tree: `root` goes before /proc and /sys
 * ("" for this machine; a directory in tests). Returns 0 where no quota applies. */
int stk_cpu_quota(const char *root);

#endif
