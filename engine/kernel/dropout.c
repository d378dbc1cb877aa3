/* Dropout: y = x / (1 - p) where the element's random word says keep, else +0; its own backward.
 *
 * The word is Philox's for (seed, stage, batch, lane, ordinal, element) (engine/num/philox.h), so
 * the mask is never stored. 1 / (1 - p) is computed in double and rounded once. A unit is a block
 * of 16 Ki elements. docs/numerics.md, "Dropout".
 */
#include "engine/kernel/kernel.h"
#include "engine/kernel/vec/philox.h"

enum { BLOCK = 16384, DRAW = 64 };

struct mask {
  uint64_t key;
  uint32_t counter[4];
  vint threshold;
  vreal scale;
};

V_INLINE vreal dropped(const struct mask *m, const uint32_t *words, vreal x) {
  const vint word = vi_load((const int32_t *)(const void *)words);
  return v_select(vi_ltu(word, m->threshold), v_zero(), v_mul(x, m->scale));
}

static int64_t dropout_units(const void *args, int n_threads) {
  const struct stk_dropout_args *a = args;
  (void)n_threads;
  return (a->n + BLOCK - 1) / BLOCK;
}

static void dropout_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_dropout_args *a = args;
  const real *x = a->x;
  real *y = a->y;
  (void)scratch;
  struct mask m = {.key = a->rng->seed,
                   .threshold = vi_set1((int32_t)stk_philox_drop_threshold(a->p)),
                   .scale = v_set1((real)(1.0 / (1.0 - a->p)))};
  const int64_t to = hi * BLOCK < a->n ? hi * BLOCK : a->n;
  for (int64_t i = lo * BLOCK; i < to; i += DRAW) {
    uint32_t words[DRAW];
    stk_philox_counter((stk_philox_stream)a->rng->stage, a->rng->batch, a->rng->lane, a->ordinal,
                       (uint64_t)i / 4, m.counter);
    v_philox64(m.key, m.counter, words);
    for (int64_t j = 0; j < DRAW && i + j < to; j += V_LANES) {
      const int64_t n = to - i - j;
      if (n >= V_LANES) {
        v_store(y + i + j, dropped(&m, words + j, v_load(x + i + j)));
      } else {
        v_store_n(y + i + j, dropped(&m, words + j, v_load_n(x + i + j, n)), n);
      }
    }
  }
}

extern const struct stk_kernel KFN(dropout);
const struct stk_kernel KFN(dropout) = {"dropout", dropout_units, NULL, dropout_run};
