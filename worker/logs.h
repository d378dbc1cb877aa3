/* The run's log directory and the loggers in it.
 *
 * A fresh run gets a new version directory. A resumed one goes on in the directory of the run that
 * it resumes, each file rewound to the position committed with the resumed step, so that a run that
 * was cut and resumed has the rows of a whole one; unless that directory is gone or the job's
 * logger now names another place: then it gets a new version too. Lightning's layout:
 * save_dir/name/version_N.
 *
 * A logger that fails does not end a training: it is told once. One thread; sw_logs_close frees.
 */
#ifndef SW_LOGS_H
#define SW_LOGS_H

#include "engine/trainer/loggers/logger.h"
#include <limits.h>

#include "engine/state/control.h"
#include "proto/job/job.h"
#include "worker/emit.h"

struct sw_logs {
  struct sw_emit *e;
  char *dir;                                  /* of the run */
  bool goes_on;                               /* it is the resumed run's */
  struct stk_logger *of[STK_CONTROL_LOGGERS]; /* by sp_logger_class; NULL: none */
  bool warned;
};

/* Refuses loggers that would write the same file, or that name a directory other than the first
 * one's: before anything is made. */
SP_NODISCARD sp_status sw_logs_check(const struct sp_job *job, struct sp_err *err);

struct sw_logs_spec {
  const struct sp_job *job;
  const struct stk_hparam_text *hparams; /* the module's */
  size_t n_hparams;
  const char *run_dir;     /* the run goes on in this directory; "": resumed decides */
  const char *resumed;     /* the checkpoint's path, "" for a fresh run */
  const int64_t *position; /* what was committed with it, by kind; all 0 for a fresh run */
};

/* Opens the directory and its loggers. *out is to be closed whatever is returned. */
SP_NODISCARD sp_status sw_logs_open(const struct sw_logs_spec *spec, struct sw_emit *e,
                                    struct sw_logs *out, struct sp_err *err);

/* The directory that holds the job's run directories: save_dir/name. */
void sw_logs_place(const struct sp_job *job, char out[PATH_MAX]);

/* The directory in which a run that resumes from this checkpoint goes on; false: in a new one. */
bool sw_logs_goes_on(const struct sp_job *job, const char *resumed, char out_dir[PATH_MAX]);

void sw_logs_put(struct sw_logs *l, int64_t step, int32_t n, const char *const *names,
                 const double *values);

/* What the next commit keeps: the position of each kind, 0 where there is none. */
void sw_logs_positions(const struct sw_logs *l, int64_t out[STK_CONTROL_LOGGERS]);

void sw_logs_close(struct sw_logs *l, stk_log_end end);

/* The directory of the run that a checkpoint belongs to (the one that holds `checkpoints`, else the
 * one that its manifest names), absolute; false when it is gone. */
bool sw_run_dir_of(const char *ckpt, char out[PATH_MAX]);

#endif
