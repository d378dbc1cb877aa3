/* Accumulators of logged values: f64 sums and weights per lane in batch order, combined in the lane
 * tree. */
#include <math.h>

#include "engine/num/dmath.h"
#include "engine/trainer/session.h"

struct stk_acc stk_acc_join(const struct stk_log_entry *e, struct stk_acc a, struct stk_acc b) {
  if (a.weight == 0.0 || b.weight == 0.0) {
    return a.weight == 0.0 ? b : a;
  }
  struct stk_acc r = {.weight = a.weight + b.weight};
  if (e->flags & STK_REDUCE_MIN) {
    r.sum = a.sum < b.sum ? a.sum : b.sum;
  } else if (e->flags & STK_REDUCE_MAX) {
    r.sum = a.sum > b.sum ? a.sum : b.sum;
  } else {
    r.sum = a.sum + b.sum;
  }
  return r;
}

/* The lane tree: splits at the largest power of two below n. */
static struct stk_acc tree(const struct stk_log_entry *e, const struct stk_acc *acc, int32_t entry,
                           int32_t lo, int32_t n) {
  if (n == 1) {
    return acc[(int64_t)lo * STK_GRAPH_MAX_LOGS + entry];
  }
  int32_t half = 1;
  while (half * 2 < n) {
    half *= 2;
  }
  return stk_acc_join(e, tree(e, acc, entry, lo, half), tree(e, acc, entry, lo + half, n - half));
}

double stk_acc_value(const struct stk_log_entry *e, const struct stk_acc *acc, int32_t entry,
                     int32_t n_lanes) {
  struct stk_acc all = tree(e, acc, entry, 0, n_lanes);
  if (all.weight == 0.0) {
    return (double)NAN;
  }
  if (e->flags & (STK_REDUCE_SUM | STK_REDUCE_MIN | STK_REDUCE_MAX)) {
    return all.sum;
  }
  double mean = all.sum / all.weight;
  return e->exp ? stk_exp_d(mean) : mean;
}
