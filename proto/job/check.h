/* What the options of a job must satisfy together, and the values that follow from one another.
 * Private to proto/job: sp_job_load runs both. */
#ifndef SP_JOB_CHECK_H
#define SP_JOB_CHECK_H

#include "proto/job/job.h"

/* Puts numbers where none and auto stand for a rule: max_epochs, devices, lanes, ranks,
 * barebones. */
void sp_check_resolve(struct sp_job *job);

/* Refuses combinations that cannot be. */
SP_NODISCARD sp_status sp_check_job(const struct sp_job *job, struct sp_err *err);

#endif
