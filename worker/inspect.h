/* What the verbs that show and do not train have in common: their options, a job, their end. */
#ifndef SW_INSPECT_H
#define SW_INSPECT_H

#include "worker/emit.h"
#include "worker/setup.h"

enum { SW_OUTPUT_LIMIT = 256 << 20 };

/* Takes `name VALUE` out of argv; NULL when it is not there. */
const char *sw_take_option(int *argc, char **argv, const char *name);

/* Takes -o table|json (-ojson, --output=json) out of argv. */
SP_NODISCARD sp_status sw_json_asked(int *argc, char **argv, bool *out_json, struct sp_err *err);

/* argv: the job file, then its options. */
SP_NODISCARD sp_status sw_open_job(int argc, char **argv, struct sw_setup *s, struct sp_err *err);

/* Ends a verb with err's status; closes and frees s (NULL: none). Returns the exit code. */
int sw_finish(struct sw_emit *e, struct sw_setup *s, const struct sp_err *err);

#endif
