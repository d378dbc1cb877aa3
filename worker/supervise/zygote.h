/* The zygote: everything loaded, planned and mapped, one thread, ready to fork.
 *
 *   stoker-worker zygote SLOTS-DIR SUPERVISOR-PID FLAGS CHECKPOINT JOB ARGS...
 *
 * Started by the supervisor, with its stream (proto/wire/supervise.h) on descriptor 3. It loads the
 * module and the data, compiles the programs, maps the regions, and, when nothing was committed in
 * them yet, has a child make the first state: from the seed, from the job's weights, or from
 * CHECKPOINT ("" for none). Then it says Ready, and forks ranks and persisters as it is told. What
 * it forks are the supervisor's children (it is a subreaper) and outlive it.
 *
 * FLAGS: a: again, what a first zygote said is not said once more; f: the run does not go on in the
 * checkpoint's directory, so its names are forgotten; - is none.
 */
#ifndef SW_SUPERVISE_ZYGOTE_H
#define SW_SUPERVISE_ZYGOTE_H

#include "engine/comm/group.h"
#include "proto/wire/supervise.h"
#include "worker/fit_options.h"
#include "worker/supervise/regions.h"
#include "worker/supervise/rows.h"

/* What stk_group.stop asks of the lead at the next step edge. */
enum { SW_GROUP_FINISH = 1, SW_GROUP_LEAVE = 2 };

struct sw_zygote {
  struct sw_setup s;
  struct sw_regions regions;
  struct sw_fit_options options;
  struct stk_group *group;
  struct sw_rows *rows;
  int stream; /* to the supervisor */
  int64_t supervisor;
  const char *checkpoint;
  bool again, forget;
  uint64_t run; /* nonce of the run, out of the directory's name */
  sp_event_reader *reader;
};

int sw_zygote_main(int argc, char **argv);

/* What it forks; they never return to it. Rank -1 is the spare. */
_Noreturn void sw_rank_run(struct sw_zygote *z, int stream, int32_t rank);
_Noreturn void sw_persister_run(struct sw_zygote *z, int stream, uint64_t order_seq);

/* In a process that was forked: waits until the supervisor is its parent, and dies with it. */
void sw_zygote_adopt(const struct sw_zygote *z, int64_t intermediate);

/* The supervisor's next message; waits for it. SP_ECANCELED: the supervisor is gone. */
SP_NODISCARD sp_status sw_zygote_read(sp_event_reader *reader, int stream,
                                      const struct sp_supervise **out, struct sp_err *err);

/* Tells the supervisor why this process ends; SP_OK tells nothing. */
void sw_zygote_fail(int stream, const struct sp_err *err);

#endif
