/* The lane tree over ranks: who owns which lanes, and in which order sums of them add up.
 *
 * Lanes [lo, hi) are a node of the tree; a node of more than one lane splits at lo plus the largest
 * power of two below hi - lo, and its sum is left + right. The root is all V lanes; its addition is
 * nobody's alone, since the division by V goes with it. Rank r of N
 * owns lanes [r * V / N, (r + 1) * V / N), takes them in order, and adds siblings as soon as it has
 * both: what it is left with are its parts, the largest nodes inside its range, in ascending order,
 * part k in its buffer k. So everybody knows from (V, N) alone where every part stands, and adding
 * parts along the tree gives the bits of one rank. Pure functions; the caller owns all arrays.
 */
#ifndef STK_COMM_TREE_H
#define STK_COMM_TREE_H

#include <stdbool.h>
#include <stdint.h>

struct stk_tree_part {
  int32_t lo, hi; /* lanes */
  int32_t rank, buffer;
};

/* part[into] += part[from]; `into` lies to the left. */
struct stk_tree_add {
  int32_t into, from;
};

/* Rank's share of n things, in whole things: [*out_lo, *out_hi). */
static inline void stk_tree_share(int64_t n, int32_t rank, int32_t n_ranks, int64_t *out_lo,
                                  int64_t *out_hi) {
  *out_lo = n * rank / n_ranks;
  *out_hi = n * (rank + 1) / n_ranks;
}

/* Where a node of two lanes or more splits. */
int32_t stk_tree_split(int32_t lo, int32_t hi);

/* True if [lo, hi) is a node of the tree of n_lanes. */
bool stk_tree_is_node(int32_t n_lanes, int32_t lo, int32_t hi);

/* True if a rank adds up what stands in [lo, hi): a node below the root. */
static inline bool stk_tree_joins(int32_t n_lanes, int32_t lo, int32_t hi) {
  return hi - lo < n_lanes && stk_tree_is_node(n_lanes, lo, hi);
}

/* How many sums stand at once while a rank takes lanes [lo, hi) in order: its buffers. */
int32_t stk_tree_buffers(int32_t n_lanes, int32_t lo, int32_t hi);

/* All parts of all ranks in ascending order of lanes; returns how many, at most n_lanes, which is
 * what out_parts has room for. 1 <= n_ranks <= n_lanes. */
int32_t stk_tree_parts(int32_t n_lanes, int32_t n_ranks, struct stk_tree_part *out_parts);

/* The additions that make the root of n_parts parts, in an order in which both sides are whole:
 * n_parts - 1 of them, the root's last. part[0] ends up with the sum. */
void stk_tree_adds(int32_t n_lanes, const struct stk_tree_part *parts, int32_t n_parts,
                   struct stk_tree_add *out_adds);

#endif
