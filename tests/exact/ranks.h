/* Ranks of a job as real processes inside a test, without the programs around them.
 *
 * The test's process plays supervisor and zygote: it prepares the job (threads come after a fork),
 * owns the shared regions, forks ranks, opens generations, and aborts them when a process dies.
 * Rank 0 runs the fit loop, the others follow; a process that survives a generation stays and gets
 * another rank in the next one. Failures of the harness fail the test at once.
 */
#ifndef XR_RANKS_H
#define XR_RANKS_H

#include "tests/exact/job.h"

#include <sys/types.h>

#include "tests/lib/regions.h"

enum { XR_SEATS = 8, XR_STEPS = 64 };

/* What parent and ranks tell each other; in shared memory. */
struct xr_seat {
  _Atomic uint32_t command, answer; /* a generation's number; ~0: leave */
  _Atomic int32_t rank, n_ranks;
  _Atomic int32_t status;  /* sp_status of the answer */
  _Atomic int32_t is_done; /* the loop has nothing left */
  char text[SP_ERR_TEXT];
};

struct xr_shared {
  struct xr_seat seat[XR_SEATS];
  double loss[XR_STEPS]; /* what the loop told of its first steps */
  int64_t samples[XR_STEPS];
  _Atomic int64_t stop_at;   /* the lead stops at the first edge after so many steps; -1: never */
  _Atomic int64_t bad_epoch; /* followers' data of this epoch cannot be read; -1: all can */
};

struct xr {
  struct sw_setup s;
  struct stk_fit_config c;
  struct xr_shared *shared;
  struct stk_group *group;
  int n_threads; /* of each rank */
  uint32_t generation;
  bool is_killed[XR_SEATS];    /* and not waited for yet */
  pid_t pid[XR_SEATS];         /* 0: empty */
  int32_t rank[XR_SEATS];      /* in the generation that runs */
  const char *fault[XR_SEATS]; /* STOKER_FAULT of the next process that gets this rank; then NULL */
  int n_died;                  /* processes so far */
  struct tt_regions regions;
};

enum xr_end { XR_DONE, XR_STOPPED, XR_LOST, XR_FAILED };

/* The job, fresh, committed as step 0. Options as for xj_open. */
struct xr *xr_open(const char *job_file, const char *options, int n_threads);
/* Ends what still runs. */
void xr_close(struct xr *w);

/* One generation of n_ranks: to the end of the job (XR_DONE), to where it was asked to stop
 * (XR_STOPPED), until a process died (XR_LOST; the others have left), or until something failed
 * (XR_FAILED; *err is the lead's answer). tick, called often, may kill. */
enum xr_end xr_generation(struct xr *w, int32_t n_ranks, void (*tick)(struct xr *w, void *ctx),
                          void *ctx, struct sp_err *err);

/* SIGKILL to whoever has this rank; false when there is nobody, or it was killed already. */
bool xr_kill(struct xr *w, int32_t rank);

/* Steps in the newest committed page. */
int64_t xr_step(const struct xr *w);

/* Of the newest committed state: parameters, moments, running statistics, page. */
void xr_hash(struct xr *w, char hex[XJ_HEX]);

#endif
