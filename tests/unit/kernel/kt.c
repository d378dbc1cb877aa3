/* Kernel tests: see kt.h. */
#include "tests/unit/kernel/kt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xmmintrin.h>

#include "proto/base/mem.h"

enum { GUARD = 512, BLOCKS = 256, FTZ_DAZ = 0x8040 };

static struct {
  unsigned char *base;
  size_t bytes, lead;
} blocks[BLOCKS];
static int n_blocks;

/* Checks and releases the blocks from `first` on. */
static void release_from(int first, const char *what) {
  for (int i = first; i < n_blocks; i++) {
    const unsigned char *base = blocks[i].base;
    for (size_t at = 0; at < blocks[i].lead; at++) {
      if (base[at] != 0xa5) {
        fail_msg("%s: wrote before a buffer (block %d)", what, i);
      }
    }
    for (size_t at = 0; at < GUARD; at++) {
      if (base[blocks[i].lead + blocks[i].bytes + at] != 0xa5) {
        fail_msg("%s: wrote %zu bytes past a buffer (block %d)", what, at, i);
      }
    }
  }
  while (n_blocks > first) {
    sp_free_aligned(blocks[--n_blocks].base);
  }
}

int kt_setup(void **state) {
  (void)state;
  _mm_setcsr(0x1f80 | FTZ_DAZ);
  return 0;
}

int kt_variants(struct kt_variant out[KT_VARIANTS]) {
  static bool told;
  int n = 0;
  out[n++] = (struct kt_variant){"ref", stk_kernels_get(STK_ISA_KIND_REF, 32, false)};
  if (__builtin_cpu_supports("fma")) {
    out[n++] = (struct kt_variant){"ref with fma", stk_kernels_get(STK_ISA_KIND_REF, 32, true)};
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    out[n++] = (struct kt_variant){"avx2", stk_kernels_get(STK_ISA_KIND_AVX2, 32, true)};
  } else if (!told) {
    fprintf(stderr, "skipped: avx2 (this CPU lacks it)\n");
  }
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")) {
    out[n++] = (struct kt_variant){"avx512", stk_kernels_get(STK_ISA_KIND_AVX512, 32, true)};
  } else if (!told) {
    fprintf(stderr, "skipped: avx512 (this CPU lacks it)\n");
  }
  told = true;
  return n;
}

const struct stk_kernels *kt_f64(void) {
  return stk_kernels_get(STK_ISA_KIND_REF, 64, __builtin_cpu_supports("fma"));
}

void kt_run(const struct stk_kernel *kernel, const void *args, kt_split split) {
  assert_non_null(kernel);
  const int64_t units = kernel->units(args, 2);
  const size_t bytes = kernel->scratch ? kernel->scratch(args) : 0;
  const int first = n_blocks;
  void *scratch = bytes ? kt_new((int64_t)bytes, 1) : NULL;
  int64_t done = 0;
  for (int64_t group = 1; done < units; group = split == KT_UNEVEN ? group + 1 : group) {
    int64_t n = split == KT_WHOLE ? units : split == KT_SINGLE ? 1 : group;
    n = n < units - done ? n : units - done;
    const int64_t lo = split == KT_SINGLE ? units - 1 - done : done;
    if (scratch) {
      memset(scratch, 0xff, bytes);
    }
    kernel->run(args, lo, lo + n, scratch);
    done += n;
  }
  release_from(first, kernel->name);
}

void *kt_new_shifted(int64_t n, size_t size, int64_t shift) {
  assert_true(n_blocks < BLOCKS);
  const size_t bytes = (size_t)n * size, lead = GUARD + (size_t)shift * size;
  unsigned char *base = sp_alloc_aligned(64, (lead + bytes + GUARD + 63) / 64 * 64);
  assert_non_null(base);
  memset(base, 0xa5, lead);
  memset(base + lead, 0xff, bytes);
  memset(base + lead + bytes, 0xa5, GUARD);
  blocks[n_blocks].base = base;
  blocks[n_blocks].bytes = bytes;
  blocks[n_blocks++].lead = lead;
  return base + lead;
}

void *kt_new(int64_t n, size_t size) {
  return kt_new_shifted(n, size, 0);
}

void kt_reset(const char *what) {
  release_from(0, what);
}

uint32_t kt_random(uint32_t seed, uint32_t index) {
  uint32_t x = seed * 0x9e3779b9u + index;
  x = (x ^ x >> 16) * 0x7feb352du;
  x = (x ^ x >> 15) * 0x846ca68bu;
  return x ^ x >> 16;
}

void kt_uniform(float *x, int64_t n, uint32_t seed, float lo, float hi) {
  for (int64_t i = 0; i < n; i++) {
    x[i] = lo + (hi - lo) * ((float)(kt_random(seed, (uint32_t)i) >> 8) * 0x1p-24f);
  }
}

void kt_widen(double *to, const float *from, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    to[i] = (double)from[i];
  }
}

static bool same(float a, float b) {
  return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

void kt_equal(const float *a, const float *b, int64_t n, const char *what) {
  for (int64_t i = 0; i < n; i++) {
    if (!same(a[i], b[i])) {
      fail_msg("%s: element %lld of %lld: %a, not %a", what, (long long)i, (long long)n,
               (double)b[i], (double)a[i]);
    }
  }
}

bool kt_differs(const float *a, const float *b, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    if (!same(a[i], b[i])) {
      return true;
    }
  }
  return false;
}

static void near_one(double a, double b, double atol, double rtol, int64_t i, const char *what) {
  if (!(fabs(a - b) <= atol + rtol * fabs(b)) && !(isnan(a) && isnan(b)) && !(a == b)) {
    fail_msg("%s: element %lld is %.9g, expected %.9g", what, (long long)i, a, b);
  }
}

void kt_near(const float *a, const double *b, int64_t n, double atol, double rtol,
             const char *what) {
  for (int64_t i = 0; i < n; i++) {
    near_one((double)a[i], b[i], atol, rtol, i, what);
  }
}

void kt_near64(const double *a, const double *b, int64_t n, double atol, double rtol,
               const char *what) {
  for (int64_t i = 0; i < n; i++) {
    near_one(a[i], b[i], atol, rtol, i, what);
  }
}
