/* LearningRateMonitor's names (Lightning's): lr-Adam; lr-Adam-1 for the second Adam; lr-Adam/pg1,
 * lr-Adam/pg2 when the optimizer has several parameter groups, or the group's own name; the
 * momentum of a group is lr-SGD/pg1-momentum, its weight decay lr-SGD/pg1-weight_decay. Pure.
 */
#ifndef STK_TRAINER_CALLBACKS_LR_MONITOR_H
#define STK_TRAINER_CALLBACKS_LR_MONITOR_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

enum stk_lr_quantity { STK_LR_RATE, STK_LR_MOMENTUM, STK_LR_WEIGHT_DECAY };

struct stk_lr_series {
  const char *optimizer; /* class name: "Adam" */
  int64_t ordinal;       /* among the job's optimizers of that class, from 0 */
  int64_t group;         /* from 0 */
  int64_t n_groups;
  const char *group_name; /* NULL: pg<group + 1> */
  enum stk_lr_quantity quantity;
};

/* SP_ERANGE when the name does not fit name_bytes; out_name is terminated in any case. */
SP_NODISCARD sp_status stk_lr_monitor_name(const struct stk_lr_series *series, char *out_name,
                                           size_t name_bytes, struct sp_err *err);

#endif
