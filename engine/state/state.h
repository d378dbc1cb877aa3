/* The state of a job: everything that must survive, in a few regions.
 *
 *   slot A, B [, C]     parameters and optimizer state; a step reads one and writes another
 *   running A, B [, C]  running statistics of batch norms, of the slot with the same letter
 *   control A, B        the control page: counters, phase, callbacks, accumulators, module state
 *   orders, kept        what is to be published (order.h), a page to go on from (trainer/fit.c)
 *
 * 1. Layout follows declaration order, never the plan: tensor i of a section starts at
 * param_offset[i], 64-byte aligned, pads zero. A slot is [parameters | first moment | second
 * moment], as many sections as the optimizer has.
 * 2. The control page is the only commit point: it names the slot that holds the committed step. A
 * third slot lets a save read one while steps go on. A commit writes the other page and then stores
 * its sequence number with release; a kill at any instruction leaves the older page whole, and with
 * it the slot that it names.
 * 3. Frozen parameters stand in all slots with the same bits and are never written.
 *
 * Memory comes from the supervisor (a memfd per region), so that it outlives a process. One thread.
 */
#ifndef STK_STATE_STATE_H
#define STK_STATE_STATE_H

#include "engine/exec/pool.h"
#include "engine/state/order.h"
#include "proto/base/status.h"

struct stk_module;

/* Where memory comes from. The engine never frees it; it is zeroed, page-aligned, and the same for
 * the same name. */
struct stk_memory {
  sp_status (*get)(void *ctx, const char *name, size_t bytes, void **out_p, struct sp_err *err);
  void *ctx;
};

struct stk_layout {
  int64_t *param_offset;   /* bytes, in a section */
  int64_t section_bytes;   /* of parameters: a multiple of 64 */
  int32_t n_sections;      /* 1: parameters; 2: + momentum; 3: + second moment */
  int64_t *running_offset; /* bytes */
  int64_t running_bytes;
  int32_t real_bytes; /* 4 or 8 */
};

enum { STK_SLOTS_MAX = 3 };

struct stk_state {
  struct stk_layout layout;
  int32_t n_slots;
  int32_t write; /* the slot that the next step writes: stk_state_choose */
  uint8_t *slot[STK_SLOTS_MAX];
  uint8_t *running[STK_SLOTS_MAX];
  struct stk_control *control[2];
  struct stk_order *orders[2];
  struct stk_control *kept;
  struct stk_control *now;      /* a private copy: what the next commit writes */
  struct stk_journal *journal;  /* of now */
  struct stk_control *identity; /* scratch of stk_state_identity */
  size_t control_bytes;         /* of the page as checkpoints hold it */
  size_t page_bytes;            /* with the journal */
};

/* Where the tensor after one of `bytes` at `offset` starts: the layout's one rule. */
static inline int64_t stk_state_next_offset(int64_t offset, int64_t bytes) {
  return (offset + bytes + 63) / 64 * 64;
}

struct stk_state_spec {
  int32_t real_bytes; /* 4 or 8 */
  int32_t n_sections;
  int32_t n_lanes; /* this and the module's state size fix the control page's size */
  int32_t n_slots; /* 2 or 3 */
};

/* Lays out and gets the memory. Nothing is written into it: what stands there is taken by
 * stk_state_reload. */
SP_NODISCARD sp_status stk_state_new(const struct stk_module *m, const struct stk_state_spec *spec,
                                     const struct stk_memory *memory, struct stk_state **out_s,
                                     struct sp_err *err);
void stk_state_free(struct stk_state *s);

/* Takes the newest committed page into `now`; false when none was ever committed (now stands as it
 * is). SP_ECORRUPT-like damage cannot be seen here: regions belong to one run. */
bool stk_state_reload(struct stk_state *s);

/* The newest committed page, NULL when there is none. Whoever is not the committer must expect it
 * to change: copy it, and look at its seq again. */
const struct stk_control *stk_state_committed(const struct stk_state *s);

/* Chooses the slot that the next step writes: neither the committed one nor `pinned` (-1: none).
 * False when there is none: two slots, and the other one is being saved. */
bool stk_state_choose(struct stk_state *s, int32_t pinned);

/* The page that an order saves, control_bytes long. */
static inline struct stk_control *stk_state_order_page(struct stk_order *o) {
  return (struct stk_control *)(void *)(o + 1);
}

/* Publishes `now` as the newest committed page. */
void stk_state_commit(struct stk_state *s);

/* Commits `journal` alone: the newest committed page once more, with this journal. In the middle of
 * a phase, whose results are not to be committed yet. */
void stk_state_commit_journal(struct stk_state *s);

/* Initial parameters by name, running statistics at their start, moments zero; all slots alike.
 * pool may be NULL; the values do not depend on it. */
void stk_state_init(struct stk_state *s, const struct stk_module *m, uint64_t seed, stk_pool *pool);

/* What stands in slot A, its first `bytes`, and in running copy A goes into all the others. */
void stk_state_mirror(struct stk_state *s, int64_t bytes);

/* The control page as far as the job's spec decides it, control_bytes bytes: without sequence
 * number, slots, clocks, the loggers' positions and what was published under which name (disks
 * decide that); NaNs are one value. Valid until the next call. */
const void *stk_state_identity(const struct stk_state *s);

/* SHA-256 of the whole committed state: parameters, moments, running statistics and the identity of
 * the control page. NaNs count as one value. */
void stk_state_hash(const struct stk_state *s, uint8_t out[32]);

static inline uint8_t *stk_state_read_slot(const struct stk_state *s) {
  return s->slot[s->now->slot];
}
static inline uint8_t *stk_state_write_slot(const struct stk_state *s) {
  return s->slot[s->write];
}

#endif
