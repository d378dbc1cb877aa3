/* How many units a matrix product is cut into for a number of threads.
 *
 * A unit packs what it reads, so cuts cost repeated packing; too few leave threads idle at the end.
 * A model in fused multiply-adds weighs both: the busiest thread's units, each with its arithmetic,
 * what it reads, its hand-out, and a reserve for threads that are slowed down, which shrinks as
 * units get smaller. An operand that a unit reads in place (gemm/block.h decides by the instruction
 * set; here is about what it does) costs less than one it packs, so units share B's columns out
 * rather than pack them once each. Plan time only: no result depends on it.
 */
#include "engine/kernel/gemm.h"

enum {
  PACK_COST = 12,  /* of one element */
  LINE_COST = 2,   /* of one of A's that is read in place, k along its line */
  ACROSS_COST = 8, /* the same, k across its lines */
  /* A is packed for more columns than these, lines only where they are longer than that. */
  ACROSS_COLUMNS = 64,
  LINE_COLUMNS = 480,
  LINE_LENGTH = 512,
  UNIT_COST = 40000, /* handing out one unit, and its threads' caches: two microseconds */
  TILE_ROWS = 12,    /* cuts are worth it at whole register tiles of any instruction set */
  TILE_COLUMNS = 32,
  MAX_ROUNDS = 8,
  RESERVE = 8 /* one round keeps 1/8 in reserve, two 1/16, ... */
};

static int64_t min64(int64_t x, int64_t y) {
  return x < y ? x : y;
}

static int64_t ceil_div(int64_t x, int64_t y) {
  return (x + y - 1) / y;
}

static int64_t part_size(int64_t size, int64_t parts, int64_t tile) {
  return min64(size, ceil_div(ceil_div(size, parts), tile) * tile);
}

/* Of one element of A in a unit of n columns. */
static double a_cost(const struct stk_gemm_args *g, int64_t n) {
  if (g->ta) {
    return n > ACROSS_COLUMNS ? PACK_COST : ACROSS_COST;
  }
  return n > LINE_COLUMNS && g->lda > LINE_LENGTH ? PACK_COST : LINE_COST;
}

static double split_cost(const struct stk_gemm_args *g, int64_t split_m, int64_t split_n,
                         int64_t products, int n_threads) {
  const int64_t m = part_size(g->m, split_m, TILE_ROWS);
  const int64_t n = part_size(g->n, split_n, TILE_COLUMNS);
  const double k = (double)(g->k > 0 ? g->k : 1);
  const double reads = a_cost(g, n) * (double)m + PACK_COST * (double)n;
  const double unit = (double)m * (double)n * k + reads * k + UNIT_COST;
  const int64_t units = products * ceil_div(g->m, m) * ceil_div(g->n, n);
  const double rounds = (double)ceil_div(units, n_threads);
  const double spread = n_threads > 1 ? 1 + 1 / (RESERVE * rounds) : 1;
  return rounds * unit * spread;
}

void stk_gemm_split(struct stk_gemm_args *args, int n_threads) {
  const int64_t products = args->batch_outer * args->batch_inner;
  args->split_m = 1;
  args->split_n = 1;
  if (n_threads <= 1 || products <= 0 || args->m <= 0 || args->n <= 0) {
    return;
  }
  double best = split_cost(args, 1, 1, products, n_threads);
  const int64_t most_m = ceil_div(args->m, TILE_ROWS), most_n = ceil_div(args->n, TILE_COLUMNS);
  for (int64_t round = 1; round <= MAX_ROUNDS; round++) {
    const int64_t parts = ceil_div(round * n_threads, products);
    for (int64_t split_m = 1; split_m <= min64(parts, most_m); split_m++) {
      const int64_t split_n = min64(ceil_div(parts, split_m), most_n);
      const double cost = split_cost(args, split_m, split_n, products, n_threads);
      if (cost < best) {
        best = cost;
        args->split_m = (int32_t)split_m;
        args->split_n = (int32_t)split_n;
      }
    }
  }
}
