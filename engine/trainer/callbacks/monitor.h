/* The direction of a monitored value, shared by the callbacks that compare scores.
 *
 * "Better" is strict, as in Lightning (torch.lt, torch.gt): equal scores are no improvement and a
 * NaN is never better than anything.
 */
#ifndef STK_TRAINER_CALLBACKS_MONITOR_H
#define STK_TRAINER_CALLBACKS_MONITOR_H

#include <math.h>
#include <stdbool.h>

enum stk_monitor_mode { STK_MONITOR_MIN = 0, STK_MONITOR_MAX = 1 };

static inline bool stk_monitor_better(enum stk_monitor_mode mode, double a, double b) {
  return mode == STK_MONITOR_MIN ? a < b : a > b;
}

/* The score that every other beats. */
static inline double stk_monitor_worst(enum stk_monitor_mode mode) {
  return mode == STK_MONITOR_MIN ? (double)INFINITY : -(double)INFINITY;
}

#endif
