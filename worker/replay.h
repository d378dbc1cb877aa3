/* Doing a part of a job again, in order to look at every step of it: from the beginning or from a
 * checkpoint, by as many ranks as wanted, with nothing written anywhere.
 *
 * The ranks are forked before any thread starts and share anonymous memory; they end with this
 * process. There is no supervisor: a rank that dies ends the replay. One thread calls.
 */
#ifndef SW_REPLAY_H
#define SW_REPLAY_H

#include "worker/fit_options.h"

struct sw_replay;

struct sw_replay_spec {
  const char *job_file;
  const char *const *args; /* options after it; trainer.ranks is how many ranks do the work */
  size_t n_args;
};

/* Loads and compiles the job. *out is freed by sw_replay_free. */
SP_NODISCARD sp_status sw_replay_new(const struct sw_replay_spec *spec, struct sw_replay **out,
                                     struct sp_err *err);
void sw_replay_free(struct sw_replay *r); /* accepts NULL */

/* Borrowed: the job, kernels, model. */
const struct sw_setup *sw_replay_setup(const struct sw_replay *r);

/* Called after every step, step counting from 0; false: that was enough. */
typedef bool sw_replay_fn(void *ctx, int64_t step, const struct stk_audit *a);

/* From a checkpoint ("": from the beginning, as the job says) until fn has enough or the job is
 * over, once. */
SP_NODISCARD sp_status sw_replay_run(struct sw_replay *r, const char *checkpoint, sw_replay_fn *fn,
                                     void *ctx, struct sp_err *err);

#endif
