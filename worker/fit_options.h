/* Options of a job as the fit loop's configuration: limits, callbacks, where checkpoints go.
 *
 * The host and the schedules are the caller's to fill in. Strings are the job's.
 */
#ifndef SW_FIT_OPTIONS_H
#define SW_FIT_OPTIONS_H

#include "engine/trainer/fit.h"
#include "worker/setup.h"

struct sw_fit_options {
  const struct sw_setup *s; /* borrowed */
  struct stk_fit_config c;
  int64_t total_steps; /* -1: unlimited */
  const char *dirpath; /* of checkpoints, NULL: in the run's directory */
};

SP_NODISCARD sp_status sw_fit_options_read(const struct sw_setup *s, struct sw_fit_options *out,
                                           struct sp_err *err);

#endif
