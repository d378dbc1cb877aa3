/* Learning-rate schedules: PyTorch's, as pure functions.
 *
 * A job has a list of schedules (struct sp_lr_opts). Each sees its own count, (n - begin) /
 * frequency where n is the number of optimizer steps or epochs done, and does nothing before
 * `begin`. They are applied to the group's base rate in list order:
 *
 *   constant           lr = lr * factor        while count < total_iters
 *   step               lr = lr * gamma^(count / step_size)
 *   cosine             lr = eta_min + (lr - eta_min) * (1 + cos(pi count / t_max)) / 2
 *   linear_warmup      lr = lr * (start + (end - start) * (min(count, n) / n)), n = total_iters
 *   reduce_on_plateau  for each reduction: lr = max(lr * factor, min_lr), unless that changes lr by
 *                      no more than eps
 *
 * So a warm-up of W, then a cosine with begin = W, is SequentialLR with the milestone W. All in
 * double with engine/num/dmath.h (docs/numerics.md, "Schedules"). Only reduce_on_plateau has state:
 * plain data for the control page, one per item, zero for the others. No threads, no allocation.
 */
#ifndef STK_OPTIM_SCHEDULE_H
#define STK_OPTIM_SCHEDULE_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/options.h"
#include "proto/base/status.h"

enum { STK_SCHEDULE_MAX = 8 };

struct stk_schedule_state {
  double best;      /* of the monitored metric */
  int64_t bad;      /* observations since best */
  int64_t cooldown; /* observations still to ignore */
  int64_t reductions;
};

struct stk_schedule {
  struct sp_lr_opts item[STK_SCHEDULE_MAX]; /* t_max resolved; strings are the job's */
  size_t n;
};

/* Checks and copies the job's schedules and sets the n states to their beginning. run_steps and
 * run_epochs are the length of the whole run, < 0 if unknown: cosine with t_max unset lasts to its
 * end. SP_EINVAL names the schedule and the value. */
SP_NODISCARD sp_status stk_schedule_init(const struct sp_lr_chain *chain, int64_t run_steps,
                                         int64_t run_epochs, struct stk_schedule *out_schedule,
                                         struct stk_schedule_state out_state[STK_SCHEDULE_MAX],
                                         struct sp_err *err);

/* The rate of a group with base rate `base` for the optimizer step after `steps` steps, in the
 * epoch after `epochs` epochs. */
double stk_schedule_lr(const struct stk_schedule *s, const struct stk_schedule_state *state,
                       double base, int64_t steps, int64_t epochs);

/* True if item i is reduce_on_plateau and wants its metric now, at the end of optimizer step (or
 * epoch, by its interval) number `done`, counted from 1. */
bool stk_schedule_wants(const struct stk_schedule *s, size_t i, sp_lr_interval at, int64_t done);

/* Gives item i's state the monitored value. A NaN is never better. */
void stk_schedule_observe(const struct stk_schedule *s, size_t i, struct stk_schedule_state *state,
                          double value);

#endif
