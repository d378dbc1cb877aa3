/* Large pages by advice, and faults taken together: see pages.h. */
#include "engine/exec/pages.h"

#include <stdint.h>
#include <sys/mman.h>

#include "proto/base/mem.h"

enum { PAGE = 4096, LARGE = 2 << 20, AROUND = 64 << 10, UNIT = 16 * AROUND, PORTION = 256 << 10 };

void *stk_pages_alloc(size_t bytes) {
  if (bytes < 2 * (size_t)LARGE) {
    return sp_alloc_aligned(PAGE, bytes);
  }
  void *p = sp_alloc_aligned(LARGE, bytes);
  if (p) { /* the end is of small pages: what lies behind it is not ours to advise on */
    (void)madvise(p, bytes / LARGE * LARGE, MADV_HUGEPAGE);
  }
  return p;
}

struct range {
  const volatile char *p;
  size_t bytes;
};

static void touch_units(void *ctx, int64_t lo, int64_t hi, int thread) {
  const struct range *r = ctx;
  const size_t from = (size_t)lo * UNIT, to = (size_t)hi * UNIT;
  (void)thread;
  for (size_t at = from; at < to && at < r->bytes; at += AROUND) {
    (void)r->p[at];
  }
}

void stk_pages_touch(stk_pool *pool, const void *p, size_t bytes) {
  struct range r = {p, bytes};
  if (p) {
    stk_pool_run(pool, touch_units, &r, (int64_t)((bytes + UNIT - 1) / UNIT));
  }
}

void stk_pages_populate(void *p, size_t bytes, bool writes, const atomic_bool *stop) {
  uint8_t *at = (uint8_t *)p - (uintptr_t)p % PAGE, *end = (uint8_t *)p + bytes;
  const int advice = writes ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
  bool goes = p && bytes > 0;
  while (goes && at < end && !atomic_load_explicit(stop, memory_order_relaxed)) {
    size_t n = (size_t)(end - at) < PORTION ? (size_t)(end - at) : PORTION;
    goes = madvise(at, n, advice) == 0;
    at += n;
  }
}
