/* The group page: how the ranks of one generation and their supervisor talk, in one shared region.
 *
 * Plain data at fixed offsets, mapped by the supervisor and by every rank; it holds no pointers and
 * nothing that a commit depends on, so a torn or lost page costs a generation and no step. Who
 * writes what:
 *   supervisor   stk_group_init; stk_group_open while nobody is inside; `stop`; stk_group_abort
 *   lead (0)     `work`, before the barrier that starts it
 *   rank r       rank[r], the lanes that it owns between two barriers, `failure` once
 *
 * Barriers are the only order between ranks: what was written before one is seen after it. Every
 * wait ends with SP_ECANCELED once `abort` is set, or once another generation was opened; an abort
 * is never taken back inside a generation. Killing a process at any instruction leaves the page so
 * that an abort ends all waits.
 */
#ifndef STK_COMM_GROUP_H
#define STK_COMM_GROUP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

enum {
  STK_RANKS_MAX = 64,
  STK_GROUP_VERSION = 1,
  STK_GROUP_LOGS = 64,    /* STK_GRAPH_MAX_LOGS */
  STK_GROUP_SCALARS = 32, /* STK_GRAPH_MAX_HOST */
  STK_GROUP_NAME = 64,    /* bytes of a host scalar's name */
  STK_GROUP_RATES = 32    /* parameter groups */
};

/* "stkgroup" */
#define STK_GROUP_MAGIC UINT64_C(0x70756f72676b7473)

/* What a rank is doing: X(name, text). */
#define STK_GROUP_PHASE_LIST(X)  \
  X(IDLE, "idle")                \
  X(DATA, "data")                \
  X(COMPUTE, "forward/backward") \
  X(REDUCE, "reduce")            \
  X(APPLY, "apply")              \
  X(BARRIER, "barrier")          \
  X(EVALUATE, "evaluate")        \
  X(COMMIT, "commit")            \
  X(SAVE, "save")                \
  X(HOOK, "hook")

typedef enum stk_group_phase {
#define STK_GROUP_PHASE_X(name, text) STK_GROUP_##name,
  STK_GROUP_PHASE_LIST(STK_GROUP_PHASE_X)
#undef STK_GROUP_PHASE_X
      STK_GROUP_PHASE_COUNT
} stk_group_phase;

/* One rank's progress: relaxed stores by the rank, read by the supervisor at any time. Fields of
 * one snapshot may be of two neighbouring moments. */
struct stk_group_rank {
  _Alignas(64) _Atomic int64_t beat_ns; /* CLOCK_MONOTONIC of the last change of phase; 0: none */
  _Atomic int64_t step;                 /* optimizer steps done when the present work began */
  _Atomic int64_t busy_ns;              /* time so far in phases that work, waits left out */
  _Atomic int64_t cpu_ns;               /* CPU time of the process when the present work began */
  _Atomic uint64_t sequence;            /* barriers passed in this generation */
  _Atomic uint32_t phase;               /* stk_group_phase */
  _Atomic int32_t pid;                  /* of who joined; 0: nobody */
};

typedef enum stk_work_kind {
  STK_WORK_NONE,
  STK_WORK_TRAIN,
  STK_WORK_EVAL,
  STK_WORK_LEAVE
} stk_work_kind;

/* What every rank does next. */
struct stk_group_work {
  int32_t kind; /* stk_work_kind */
  int32_t stage;
  int32_t slot, write; /* TRAIN: slot read and written */
  int32_t running;     /* running statistics read; the other copy is written by lane 0 */
  int32_t n_rates, n_scalars, reserved;
  int64_t epoch, batch; /* of the first micro-batch, or of the evaluation batch */
  int64_t n_micro;
  int64_t n_batches;   /* per epoch and lane, for reading ahead; 0: not known */
  int64_t global_step; /* optimizer steps done before this one */
  double rate[STK_GROUP_RATES];
  double scalar[STK_GROUP_SCALARS];
  char scalar_name[STK_GROUP_SCALARS][STK_GROUP_NAME];
};

struct stk_group_acc {
  double sum, weight;
};

/* What one lane brought: written by its rank, read by the lead after the barrier. */
struct stk_group_lane {
  _Alignas(64) double loss; /* of the last micro-batch */
  int64_t samples;          /* of the window or batch; 0: the lane had none */
  struct stk_group_acc
      epoch[STK_GROUP_LOGS]; /* in: the lead's sums so far; out: with this window's */
  struct stk_group_acc step[STK_GROUP_LOGS]; /* the last micro-batch's, or the evaluation batch's */
};

struct stk_group {
  uint64_t magic;
  uint32_t version, n_lanes;
  uint64_t bytes; /* of the whole page */
  _Atomic uint32_t generation, n_ranks;

  /* The barrier, see barrier.c; nobody else touches these four. */
  _Alignas(64) _Atomic uint32_t round; /* futex */
  _Atomic uint32_t arrived, sleepers;
  _Atomic uint32_t abort; /* through stk_group_abort, which also wakes who sleeps */

  _Alignas(64) _Atomic uint32_t stop; /* asked from outside; the lead looks at step edges */

  /* The first failure of a rank in this generation. */
  _Atomic uint32_t failed; /* 0: none; 1: being written; 2: the fields below are whole */
  int32_t failed_rank, failed_status;
  char failed_text[SP_ERR_TEXT];

  struct stk_group_work work;
  struct stk_group_rank rank[STK_RANKS_MAX];
  struct stk_group_lane lane[]; /* n_lanes */
};

/* Bytes of the region for so many lanes. */
size_t stk_group_bytes(int32_t n_lanes);

/* Makes the page in zeroed or old memory of stk_group_bytes(n_lanes) bytes: generation 0, aborted,
 * so that nobody waits in it before stk_group_open. By whoever creates the region. */
void stk_group_init(struct stk_group *g, int32_t n_lanes);

/* SP_ECORRUPT unless `bytes` of mapped memory are a page that this build can use for n_lanes. */
SP_NODISCARD sp_status stk_group_check(const struct stk_group *g, size_t bytes, int32_t n_lanes,
                                       struct sp_err *err);

/* Begins a generation of n_ranks (1 .. STK_RANKS_MAX): barrier, abort, failure and progress are
 * new; `stop` stays. Only while no process of an older one can touch the page (each has left or was
 * reaped). */
void stk_group_open(struct stk_group *g, uint32_t generation, uint32_t n_ranks);

/* Ends every wait of this generation, now and later. Any process, any time, any number of times. */
void stk_group_abort(struct stk_group *g);

static inline bool stk_group_aborted(const struct stk_group *g) {
  return atomic_load_explicit(&g->abort, memory_order_acquire) != 0;
}

/* True once the generation was aborted or another one was opened. */
static inline bool stk_group_is_over(const struct stk_group *g, uint32_t generation) {
  return stk_group_aborted(g) ||
         atomic_load_explicit(&g->generation, memory_order_relaxed) != generation;
}

/* Notes the first failure (later ones are dropped) and aborts. */
void stk_group_fail(struct stk_group *g, int32_t rank, sp_status status, const char *text);

/* The failure that ended the generation, as "rank R: text". SP_ECANCELED without one: a death, a
 * change of ranks, a stop. */
sp_status stk_group_failure(const struct stk_group *g, struct sp_err *err);

/* Waits until all n_ranks of `generation` are here, or until the generation is aborted or over
 * (SP_ECANCELED). spin: look for a while before sleeping; false where there are fewer CPUs than
 * threads that compute. */
SP_NODISCARD sp_status stk_group_barrier(struct stk_group *g, uint32_t generation, bool spin);

/* The rank changes its phase: a clock read and a few relaxed stores. */
void stk_group_beat(struct stk_group_rank *r, stk_group_phase phase);

/* The rank begins work after `step` steps: also notes its CPU time (a system call). */
void stk_group_beat_work(struct stk_group_rank *r, int64_t step, stk_group_phase phase);

/* "forward/backward"; "?" outside. Never NULL. */
const char *stk_group_phase_text(uint32_t phase);

#endif
