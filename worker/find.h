/* Which checkpoint a path or --ckpt_path means. */
#ifndef SW_FIND_H
#define SW_FIND_H

#include <limits.h>

#include "worker/emit.h"
#include "worker/setup.h"

enum { SW_REJECTED_MAX = 8, SW_REJECTED_WHY = 512 };

/* Checkpoints that were passed over because they are damaged, the newest ones. */
struct sw_rejected {
  size_t n;
  struct {
    char path[PATH_MAX], why[SW_REJECTED_WHY];
  } at[SW_REJECTED_MAX];
};

/* Resolves --ckpt_path: a path (see sw_ckpt_resolve), or "last" or "best" of the newest run of this
 * job's log directory. Where the newest is wanted, every checksum of it is compared, and of each
 * checkpoint that is passed over because it is damaged a warning says name and reason. A checkpoint
 * that is named is taken as it is, or fails when it is read. rejected (NULL: nobody wants them)
 * gets those that were passed over added, whether one is found or not. */
SP_NODISCARD sp_status sw_find_whole_ckpt(struct sw_emit *e, const struct sp_job *job,
                                          const char *which, struct sw_rejected *rejected,
                                          char out[PATH_MAX], struct sp_err *err);

/* A checkpoint's own path or a file: itself. A directory above checkpoints: its newest run's newest
 * valid one. SP_ENOENT: there is none. */
SP_NODISCARD sp_status sw_ckpt_resolve(const char *path, char out[PATH_MAX], struct sp_err *err);

/* Called with the directory that holds a checkpoint and what is known of it. */
typedef sp_status sw_ckpt_fn(void *ctx, const char *dir, const struct stk_ckpt_info *info,
                             struct sp_err *err);

/* Every checkpoint in a directory or up to four levels below it, newer runs and steps first. */
SP_NODISCARD sp_status sw_ckpt_each(const char *path, sw_ckpt_fn *fn, void *ctx,
                                    struct sp_err *err);

#endif
