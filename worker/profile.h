/* What trainer.profiler measured, told and written down at the end of a verb. */
#ifndef SW_PROFILE_H
#define SW_PROFILE_H

#include "worker/emit.h"
#include "worker/setup.h"

/* Prints the report of a verb ("fit") and, where dir is not NULL, writes it there as
 * VERB-profile-0.txt: stage, name and rank, as Lightning does. Nothing without a profiler. */
void sw_profile_report(const struct sw_setup *s, struct sw_emit *e, const char *verb,
                       const char *dir);

#endif
