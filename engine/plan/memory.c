/* Placing intervals into one arena: largest first, each into the lowest gap that fits it best among
 * those it overlaps.
 *
 * Quadratic in the number of intervals, at plan time only. Reference: greedy by size (Pisarchyk and
 * Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020).
 */
#include <stdlib.h>

#include "engine/plan/plan.h"
#include "proto/base/mem.h"

enum { ALIGN = 64 };

static int64_t rounded(int64_t bytes) {
  return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static int by_size(const void *a, const void *b) {
  const struct stk_interval *x = *(struct stk_interval *const *)a,
                            *y = *(struct stk_interval *const *)b;
  if (x->bytes != y->bytes) {
    return x->bytes < y->bytes ? 1 : -1;
  }
  return x->first < y->first   ? -1
         : x->first > y->first ? 1
         : x->last < y->last   ? -1
                               : x->last > y->last;
}

static int by_offset(const void *a, const void *b) {
  const struct stk_interval *x = *(struct stk_interval *const *)a,
                            *y = *(struct stk_interval *const *)b;
  return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* The best gap for v among the placed intervals (sorted by offset) that are alive with it. */
static int64_t best_gap(const struct stk_interval *v, struct stk_interval *const *placed,
                        int32_t n) {
  int64_t end = 0, best = -1, best_room = 0, need = rounded(v->bytes);
  for (int32_t i = 0; i < n; i++) {
    const struct stk_interval *p = placed[i];
    if (p->last < v->first || v->last < p->first) {
      continue;
    }
    int64_t room = p->offset - end;
    if (room >= need && (best < 0 || room < best_room)) {
      best = end;
      best_room = room;
    }
    int64_t after = p->offset + rounded(p->bytes);
    end = after > end ? after : end;
  }
  return best >= 0 ? best : end;
}

static int64_t live_bound(const struct stk_interval *v, int32_t n) {
  int64_t bound = 0;
  for (int32_t i = 0; i < n; i++) { /* the maximum is reached where some interval begins */
    int64_t sum = 0;
    for (int32_t k = 0; k < n; k++) {
      sum += v[k].first <= v[i].first && v[i].first <= v[k].last ? rounded(v[k].bytes) : 0;
    }
    bound = sum > bound ? sum : bound;
  }
  return bound;
}

int64_t stk_memory_place(struct stk_interval *v, int32_t n, int64_t *out_bound) {
  struct stk_interval **order = sp_alloc_array((size_t)n + 1, sizeof(struct stk_interval *));
  struct stk_interval **placed = sp_alloc_array((size_t)n + 1, sizeof(struct stk_interval *));
  int64_t total = -1;
  if (order && placed) {
    total = 0;
    for (int32_t i = 0; i < n; i++) {
      order[i] = &v[i];
    }
    qsort(order, (size_t)n, sizeof(struct stk_interval *), by_size);
    for (int32_t i = 0; i < n; i++) {
      order[i]->offset = best_gap(order[i], placed, i);
      placed[i] = order[i];
      qsort(placed, (size_t)i + 1, sizeof(struct stk_interval *), by_offset);
      int64_t end = order[i]->offset + rounded(order[i]->bytes);
      total = end > total ? end : total;
    }
    if (out_bound) {
      *out_bound = live_bound(v, n);
    }
  }
  sp_free(order);
  sp_free(placed);
  return total;
}
