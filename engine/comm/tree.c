/* The lane tree: see tree.h. */
#include "engine/comm/tree.h"

#include <assert.h>
#include <stddef.h>

int32_t stk_tree_split(int32_t lo, int32_t hi) {
  int32_t half = 1;
  while (half * 2 < hi - lo) {
    half *= 2;
  }
  return lo + half;
}

bool stk_tree_is_node(int32_t n_lanes, int32_t lo, int32_t hi) {
  int32_t at = 0, end = n_lanes;
  while (lo >= at && hi <= end && lo < hi) {
    if (lo == at && hi == end) {
      return true;
    }
    if (end - at == 1) {
      return false;
    }
    const int32_t mid = stk_tree_split(at, end);
    if (lo < mid) {
      end = mid;
    } else {
      at = mid;
    }
  }
  return false;
}

/* Pushes lane after lane of [lo, hi) and joins siblings; start[] is where each standing sum begins.
 * Inside a range of a tree of 2^31 lanes at most 2 * 31 stand. */
static int32_t take_lanes(int32_t n_lanes, int32_t lo, int32_t hi, struct stk_tree_part *out_parts,
                          int32_t *out_deepest) {
  int32_t start[64], depth = 0, deepest = 0;
  for (int32_t lane = lo; lane < hi; lane++) {
    start[depth++] = lane;
    deepest = depth > deepest ? depth : deepest;
    while (depth >= 2 && stk_tree_joins(n_lanes, start[depth - 2], lane + 1)) {
      depth--;
    }
  }
  for (int32_t i = 0; out_parts && i < depth; i++) {
    out_parts[i].lo = start[i];
    out_parts[i].hi = i + 1 < depth ? start[i + 1] : hi;
    out_parts[i].buffer = i;
  }
  *out_deepest = deepest;
  return depth;
}

int32_t stk_tree_buffers(int32_t n_lanes, int32_t lo, int32_t hi) {
  int32_t deepest;
  (void)take_lanes(n_lanes, lo, hi, NULL, &deepest);
  return deepest;
}

int32_t stk_tree_parts(int32_t n_lanes, int32_t n_ranks, struct stk_tree_part *out_parts) {
  int32_t n = 0;
  for (int32_t rank = 0; rank < n_ranks; rank++) {
    int64_t lo, hi;
    int32_t deepest;
    stk_tree_share(n_lanes, rank, n_ranks, &lo, &hi);
    const int32_t had = n;
    n += take_lanes(n_lanes, (int32_t)lo, (int32_t)hi, out_parts + n, &deepest);
    for (int32_t i = had; i < n; i++) {
      out_parts[i].rank = rank;
    }
  }
  return n;
}

struct adding {
  const struct stk_tree_part *parts;
  struct stk_tree_add *adds;
  int32_t part, add; /* next of each */
};

/* Sums the node [lo, hi) into its first part, whose index is returned. Parts come in order, so the
 * next one is where the node begins. */
static int32_t add_node(struct adding *a, int32_t lo, int32_t hi) {
  if (a->parts[a->part].hi == hi) {
    return a->part++;
  }
  const int32_t mid = stk_tree_split(lo, hi);
  const int32_t into = add_node(a, lo, mid);
  const int32_t from = add_node(a, mid, hi);
  a->adds[a->add++] = (struct stk_tree_add){into, from};
  return into;
}

void stk_tree_adds(int32_t n_lanes, const struct stk_tree_part *parts, int32_t n_parts,
                   struct stk_tree_add *out_adds) {
  struct adding a = {parts, out_adds, 0, 0};
  (void)add_node(&a, 0, n_lanes);
  assert(a.part == n_parts);
  (void)n_parts;
}
