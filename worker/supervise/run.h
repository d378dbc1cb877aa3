/* Where a run begins: anew, from a checkpoint, or where another supervisor of it ended.
 *
 * A run that goes on keeps its directory and its nonce. What was committed lies in its regions,
 * when they still stand: no reboot since (boot id), directory there, and every process of before
 * gone, which the regions' lock proves. Else its newest whole checkpoint is taken, else the
 * beginning.
 */
#ifndef SW_SUPERVISE_RUN_H
#define SW_SUPERVISE_RUN_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/base/clock.h"
#include "proto/job/job.h"
#include "worker/find.h"

enum { SW_BOOT_ID = 64 };

struct sw_run {
  char dir[PATH_MAX]; /* absolute; "": not made yet */
  char ckpt_dir[PATH_MAX];
  char slots_dir[PATH_MAX];
  char resumed[PATH_MAX]; /* checkpoint that the state comes from, "" */
  uint64_t nonce;
  uint32_t generation; /* newest that was ever written; 0: none */
  bool from_slots;     /* the regions stand */
  bool goes_on;        /* in a directory of before */
  int lock_fd;         /* of dir; -1: not locked yet */
  struct sp_wall started;
  struct sw_rejected rejected; /* on the way to `resumed` */
};

/* Decides by the job's resume and ckpt_path, and makes regions where none go on. Says what it found
 * where that is not what the user would expect. */
SP_NODISCARD sp_status sw_run_begin(struct sw_emit *e, const struct sp_job *job, struct sw_run *out,
                                    struct sp_err *err);

/* Locks the run's directory for this process. SP_EEXIST: another supervisor has it. */
SP_NODISCARD sp_status sw_run_lock(struct sw_run *run, struct sp_err *err);

/* Of this boot, "" when the system does not say. */
void sw_run_boot_id(char out[SW_BOOT_ID]);

#endif
