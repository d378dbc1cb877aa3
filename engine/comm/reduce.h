/* Gradients of lanes become a step: the sum over parts in tree order, divided by the number of
 * lanes, and the optimizer, in one pass over a slice of the flat region.
 *
 * The region is cut at chunks of STK_STATE_CHUNK elements, and a rank does the chunks of its share
 * for all parts, wherever they stand; nobody else writes these elements. Two parts are added by the
 * optimizer itself, as it reads them; of more, a unit of work is a block that stays in the cache
 * between the additions and the optimizer. So every gradient is read once and none is written back.
 * With clipping by norm it is two passes: stk_reduce_sums leaves the mean in part 0 and the squares
 * of each chunk in `sums`, then stk_reduce_apply is told so.
 *
 * Which rank or thread does which chunk cannot be seen in the result (docs/numerics.md, "Lanes").
 * The pool's thread calls; everything is borrowed.
 */
#ifndef STK_COMM_REDUCE_H
#define STK_COMM_REDUCE_H

#include "engine/comm/tree.h"
#include "engine/exec/pool.h"
#include "engine/optim/optimizer.h"

struct stk_reduce {
  const struct stk_kernels *kernels;
  stk_pool *pool;
  int32_t real_bytes; /* 4 or 8 */
  int32_t n_lanes;    /* what the sum is divided by; with one part it is the mean already */
  int64_t n;          /* elements of the region */
  int32_t n_parts;
  void *const *part; /* [n_parts]: n elements each, 64-byte aligned */
  const struct stk_tree_add *adds;
  double *sums;     /* [chunks], shared by the ranks; for stk_reduce_sums */
  uint8_t *scratch; /* stk_reduce_scratch_bytes() for each thread of the pool */

  /* Made by stk_reduce_prepare: additions that happen in place, then one chain for the rest. */
  int32_t n_in_place;
  int32_t in_part[STK_CHAIN_IN];
  struct stk_chain_args chain;
};

struct stk_apply {
  const struct stk_optimizer *optimizer;
  const struct stk_optim_scalars *scalars; /* per group */
  const uint8_t *from;                     /* the slot read, and the one written */
  uint8_t *to;
  int64_t section_bytes;
  int32_t n_sections;
};

/* A multiple of 64. */
size_t stk_reduce_scratch_bytes(void);

static inline int64_t stk_reduce_chunks(int64_t n) {
  return (n + STK_STATE_CHUNK - 1) / STK_STATE_CHUNK;
}

/* To be called when everything above the line is set, and again when that changes. */
void stk_reduce_prepare(struct stk_reduce *r);

/* Chunks [lo, hi): part[0] = the mean, sums[chunk] = its squares. */
void stk_reduce_sums(const struct stk_reduce *r, int64_t lo, int64_t hi);

/* Chunks [lo, hi) of the next slot. is_reduced: part[0] is the mean already. */
void stk_reduce_apply(const struct stk_reduce *r, const struct stk_apply *a, bool is_reduced,
                      int64_t lo, int64_t hi);

#endif
