/* The regions of a run: named memory in files, mapped by all its processes.
 *
 * One directory per run, <base>/stoker-<uid>-<nonce>, 0700, its files 0600 and wholly allocated, so
 * that a full file system is an error when a region is made and never a SIGBUS later. The directory
 * outlives every process of the run: what was committed is found there by whoever comes next. Its
 * lock says whether anybody may still write: the zygote and all that it forks hold it shared.
 *
 * One thread. Mappings last as long as the process.
 */
#ifndef SW_SUPERVISE_REGIONS_H
#define SW_SUPERVISE_REGIONS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/state/state.h"

enum { SW_REGIONS_MAX = 1024, SW_REGION_NAME = 24 };

struct sw_region {
  char name[SW_REGION_NAME];
  void *p;
  size_t bytes;
  bool made; /* by this process: its contents are zero */
};

struct sw_regions {
  char dir[PATH_MAX];
  int dir_fd, lock_fd; /* -1: none */
  struct sw_region at[SW_REGIONS_MAX];
  int32_t n;
};

/* $STOKER_SLOTS_DIR, else /dev/shm. */
const char *sw_regions_base(void);

/* Makes the directory of a new run. */
SP_NODISCARD sp_status sw_regions_make(const char *base, uint64_t nonce, char out_dir[PATH_MAX],
                                       struct sp_err *err);

/* Opens the directory of a run: SP_ENOENT when it is gone, SP_EPERM when it is another user's. */
SP_NODISCARD sp_status sw_regions_open(const char *dir, struct sw_regions *out, struct sp_err *err);
void sw_regions_close(struct sw_regions *r); /* accepts one that was never opened, zeroed */

/* Holds the directory as one of its processes; inherited by forks. */
SP_NODISCARD sp_status sw_regions_hold(struct sw_regions *r, struct sp_err *err);

/* Waits until no process holds the directory: SP_EPERM names nobody, but says that one still does.
 */
SP_NODISCARD sp_status sw_regions_fence(const char *dir, int64_t patience_ns, struct sp_err *err);

/* Memory for an engine: a region that is not there is made, one that is must have the size. */
struct stk_memory sw_regions_memory(struct sw_regions *r);

/* Maps a region that somebody made; SP_ENOENT when nobody did. */
SP_NODISCARD sp_status sw_regions_map(struct sw_regions *r, const char *name,
                                      struct sw_region **out, struct sp_err *err);

/* Notes in the directory which run it belongs to (a link "run"). */
SP_NODISCARD sp_status sw_regions_own(const char *dir, const char *run_dir, struct sp_err *err);

/* Removes directories of this user in base that nobody will ever go on from: older than a minute,
 * held by no process, and of no run, or of one that `wanted` does not want them for. */
void sw_regions_sweep(const char *base, bool (*wanted)(const char *run_dir, const char *dir));

/* Removes the directory and everything in it; what is not there is no failure. */
void sw_regions_remove(const char *dir);

#endif
