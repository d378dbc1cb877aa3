/* Counting equal ids: accuracy. Both results are exact counts or one division of them, so that the
 * order of counting cannot be seen; one unit.
 */
#include "engine/kernel/kernel.h"
#include "engine/kernel/vec.h"

static int64_t units(const void *args, int n_threads) {
  (void)args;
  (void)n_threads;
  return 1;
}

static void run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_match_args *a = args;
  int64_t hits = 0, count = 0;
  (void)scratch;
  if (lo >= hi) {
    return;
  }
  for (int64_t i = 0; i < a->n; i++) {
    count += a->b[i] >= 0;
    hits += a->b[i] >= 0 && a->a[i] == a->b[i];
  }
  *(real *)a->count = (real)count;
  *(real *)a->share = count ? (real)hits / (real)count : (real)0;
}

extern const struct stk_kernel KFN(match);
const struct stk_kernel KFN(match) = {.name = "match", .units = units, .run = run};
