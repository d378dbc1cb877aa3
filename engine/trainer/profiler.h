/* profiler: simple. How long each part of the loop took, and each kind of kernel inside the steps.
 *
 * Actions are Lightning's SimpleProfiler's: nested ones are counted in each other, so the shares do
 * not add up to 100. Kernels are instructions of the programs by their op, forward and backward
 * apart; they do not nest. A start or stop is one clock read and two additions, and nothing but a
 * comparison with NULL where no profiler is given. One thread.
 */
#ifndef STK_TRAINER_PROFILER_H
#define STK_TRAINER_PROFILER_H

#include "engine/exec/pool.h"
#include "engine/plan/plan.h"
#include "proto/base/buf.h"
#include "proto/base/clock.h"

/* X(enumerator, text) */
#define STK_ACTION_LIST(X)                    \
  X(SANITY, "sanity_check")                   \
  X(BATCH, "run_training_batch")              \
  X(DATA, "train_dataloader_next")            \
  X(TRAIN_STEP, "training_step_and_backward") \
  X(REDUCE, "reduce_gradients")               \
  X(CLIP, "clip_gradients")                   \
  X(OPTIMIZER, "optimizer_step")              \
  X(BATCH_END, "training_batch_end")          \
  X(VALIDATION, "run_validation")             \
  X(EVAL_DATA, "eval_dataloader_next")        \
  X(VALIDATE_STEP, "validation_step")         \
  X(TEST_STEP, "test_step")                   \
  X(PREDICT_STEP, "predict_step")             \
  X(EPOCH, "training_epoch_start_and_end")    \
  X(HOOKS, "module_hooks")                    \
  X(AUDIT, "audit")                           \
  X(COMMIT, "commit")                         \
  X(SAVE, "save_checkpoint")

typedef enum stk_action {
#define STK_ACTION_X(name, text) STK_ACTION_##name,
  STK_ACTION_LIST(STK_ACTION_X)
#undef STK_ACTION_X
      STK_ACTION_COUNT
} stk_action;

enum { STK_PROFILER_KERNELS = 64 };

struct stk_profile_row {
  int64_t ns, calls;
  double flops;
};

struct stk_profiler {
  const struct sp_clock *clock;
  int64_t started_ns;
  struct stk_profile_row action[STK_ACTION_COUNT];
  struct stk_profile_row kernel[2][STK_PROFILER_KERNELS]; /* forward, backward; by op */
};

/* Starts the total. The clock outlives the profiler. */
void stk_profiler_init(struct stk_profiler *p, const struct sp_clock *clock);

static inline int64_t stk_profile_start(const struct stk_profiler *p) {
  return p ? sp_mono_now(p->clock).ns : 0;
}

static inline void stk_profile_stop(struct stk_profiler *p, stk_action action, int64_t start) {
  if (p) {
    p->action[action].ns += sp_mono_now(p->clock).ns - start;
    p->action[action].calls++;
  }
}

/* Replays a program, timing each instruction. */
void stk_profile_program(struct stk_profiler *p, stk_program *program, stk_pool *pool);

/* Appends both tables, rows by falling total; `title` begins them: "FIT". */
void stk_profiler_report(const struct stk_profiler *p, const char *title, struct sp_buf *out);

#endif
