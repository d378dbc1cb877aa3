/* Barriers over the group page, for processes.
 *
 * `round` is the futex: its low 31 bits count barriers, the top bit says that the generation is
 * over. The last to arrive clears `arrived`, then moves the round on; the others look at the round
 * for a while, then announce themselves in `sleepers` and sleep on it. Both sides announce before
 * they look once more (sequentially consistent), so no wake-up is lost, and an abort changes the
 * word itself, so that it cannot fall between a sleeper's last look and its sleep. Whoever dies
 * between a store and its wake-up leaves sleepers that look again by themselves after LOOK_NS.
 */
#include "engine/comm/group.h"

#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

enum {
  SPIN_CYCLES = 150000, /* of the time-stamp counter: about 50 us, what falling asleep costs */
  LOOK_NS = 50000000
};

#define OVER UINT32_C(0x80000000)

/* Not FUTEX_PRIVATE: the word is shared by processes. */
static void word_wait(_Atomic uint32_t *word, uint32_t value) {
  const struct timespec look = {0, LOOK_NS};
  syscall(SYS_futex, word, FUTEX_WAIT, value, &look, NULL, 0);
}

static void word_wake(_Atomic uint32_t *word) {
  syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void stk_group_open(struct stk_group *g, uint32_t generation, uint32_t n_ranks) {
  for (int32_t r = 0; r < STK_RANKS_MAX; r++) {
    struct stk_group_rank *rank = &g->rank[r];
    atomic_store_explicit(&rank->beat_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&rank->step, 0, memory_order_relaxed);
    atomic_store_explicit(&rank->busy_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&rank->cpu_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&rank->sequence, 0, memory_order_relaxed);
    atomic_store_explicit(&rank->phase, STK_GROUP_IDLE, memory_order_relaxed);
    atomic_store_explicit(&rank->pid, 0, memory_order_relaxed);
  }
  g->work.kind = STK_WORK_NONE;
  atomic_store(&g->failed, 0);
  atomic_store(&g->arrived, 0);
  atomic_store(&g->sleepers, 0);
  atomic_store(&g->round, 0);
  atomic_store(&g->n_ranks, n_ranks);
  atomic_store(&g->generation, generation);
  atomic_store(&g->abort, 0);
}

void stk_group_abort(struct stk_group *g) {
  atomic_store(&g->abort, 1);
  atomic_fetch_or(&g->round, OVER);
  word_wake(&g->round);
}

/* Until the round is another one or the generation is over. */
static void wait_round(struct stk_group *g, uint32_t generation, uint32_t round, bool spin) {
  const uint64_t begin = spin ? __rdtsc() : 0;
  while (atomic_load_explicit(&g->round, memory_order_acquire) == round &&
         !stk_group_is_over(g, generation)) {
    if (spin && __rdtsc() - begin < SPIN_CYCLES) {
      _mm_pause();
      continue;
    }
    atomic_fetch_add(&g->sleepers, 1);
    if (atomic_load(&g->round) == round && !stk_group_is_over(g, generation)) {
      word_wait(&g->round, round);
    }
    atomic_fetch_sub(&g->sleepers, 1);
  }
}

sp_status stk_group_barrier(struct stk_group *g, uint32_t generation, bool spin) {
  const uint32_t n_ranks = atomic_load_explicit(&g->n_ranks, memory_order_relaxed);
  const uint32_t round = atomic_load_explicit(&g->round, memory_order_acquire);
  if ((round & OVER) || stk_group_is_over(g, generation)) {
    return SP_ECANCELED;
  }
  if (atomic_fetch_add_explicit(&g->arrived, 1, memory_order_acq_rel) + 1 == n_ranks) {
    uint32_t seen = round; /* an abort may have changed it: then there is nothing to move on */
    atomic_store_explicit(&g->arrived, 0, memory_order_relaxed);
    if (atomic_compare_exchange_strong(&g->round, &seen, (round + 1) & ~OVER) &&
        atomic_load(&g->sleepers) > 0) {
      word_wake(&g->round);
    }
  } else {
    wait_round(g, generation, round, spin);
  }
  return stk_group_is_over(g, generation) ? SP_ECANCELED : SP_OK;
}
