/* A small state that is a function of the step, saved and recognised again. */
#ifndef TESTS_CRASH_SAVED_H
#define TESTS_CRASH_SAVED_H

#include "engine/checkpoint/load.h"

enum { CR_VALUES = 40, CR_TENSORS = 4 };

struct cr_state {
  float values[CR_TENSORS][CR_VALUES];
  struct stk_ckpt_tensor tensors[CR_TENSORS];
};

/* Fills s, which the plan refers to. */
struct stk_ckpt_plan cr_plan(struct cr_state *s, const char *parent, int64_t step,
                             uint64_t shard_bytes);

/* Saves and publishes, or fails the test. */
void cr_save(const char *parent, int64_t step, uint64_t shard_bytes);

/* Whether an open checkpoint has the values of its step. */
bool cr_is_of_step(const struct stk_ckpt *ck, struct sp_err *why);

/* The step of the checkpoint that a path leads to, after comparing everything; -1: it is not whole.
 */
int64_t cr_whole_step(const char *path, struct sp_err *err);

#endif
