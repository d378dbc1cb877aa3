/* Monitors of callbacks and schedules that nothing will ever log, found before the training. */
#ifndef SW_MONITORS_H
#define SW_MONITORS_H

#include "worker/setup.h"

/* SP_EINVAL names the monitor, what is logged, and what is missing. A module with run hooks may log
 * anything, so its monitors are only looked up when they are needed. */
SP_NODISCARD sp_status sw_monitors_check(struct sw_setup *s, struct sp_err *err);

#endif
