/* The digest of a step: what the state is after it, in 32 bytes that anybody can compute again
 * (docs/audit.md).
 *
 * In two halves: ranks digest their own chunks of the slot that was just written, into words that
 * all of them share; the lead does the rest, which is small, and folds everything. A digest does
 * not depend on kernels, threads, ranks, slots, or on what a disk decided (stk_state_identity).
 */
#ifndef STK_STATE_AUDIT_H
#define STK_STATE_AUDIT_H

#include "engine/kernel/kernel.h"
#include "engine/state/state.h"

/* What a digest is folded from, so that a difference can be placed. */
typedef enum stk_audit_part {
  STK_AUDIT_PARAMETERS,
  STK_AUDIT_OPTIMIZER, /* moments */
  STK_AUDIT_RUNNING,   /* running statistics */
  STK_AUDIT_PAGE,      /* counters, metrics, callbacks, the module's state */
  STK_AUDIT_PARTS
} stk_audit_part;

enum { STK_AUDIT_TAG = 4 };

struct stk_audit {
  uint8_t digest[32];
  uint8_t tag[STK_AUDIT_PARTS][STK_AUDIT_TAG]; /* the first bytes of each part's own digest */
};

/* Bytes of the words for stk_audit_slot. */
size_t stk_audit_bytes(const struct stk_state *s);

/* Digests chunks [lo, hi) (of STK_STATE_CHUNK elements) of every section of a slot. The pool's
 * thread calls. */
void stk_audit_slot(const struct stk_state *s, const struct stk_kernels *kernels, stk_pool *pool,
                    const uint8_t *slot, int64_t lo, int64_t hi, uint32_t *words);

/* The digest of `now`: words are of the slot that it names. */
void stk_audit_fold(const struct stk_state *s, const struct stk_kernels *kernels,
                    const uint32_t *words, struct stk_audit *out);

#endif
