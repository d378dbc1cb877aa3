/* A whole job inside a test: a job file's session and its fit loop, driven phase by phase.
 *
 * xj_open does what `stoker fit` does before its first phase, from a job file and overrides; the
 * caller advances the loop, looks at the state, saves and resumes through real checkpoints. What
 * the loop would give to loggers is kept as text, one line per row, so that two runs can be
 * compared. Checkpoint names, progress and logger files are not part of it (tests/e2e has those).
 * Failures fail the test at once; everything goes with xj_close.
 */
#ifndef XJ_JOB_H
#define XJ_JOB_H

#include "tests/lib/tt.h"

#include "engine/trainer/fit.h"
#include "proto/base/buf.h"
#include "worker/ckpt.h"

enum { XJ_ARGS = 32, XJ_HEX = 65 };

struct xj {
  struct sw_setup s;
  struct stk_fit_config c;
  stk_fit *fit;
  struct sp_buf before; /* rows of the part that is resumed; the caller's */
  struct sp_buf rows;   /* "STEP name=value ...\n" of every row for the loggers */
  int64_t stop_after;   /* polls of stop_asked that answer no; -1: all */
  bool done;
};

/* Words of `options`, as on the command line: "--trainer.lanes 3 ..."; no quotes. */
struct xj *xj_open(const char *job_file, const char *options);
void xj_close(struct xj *j);

/* One phase. False when there is nothing left. */
bool xj_advance(struct xj *j);
/* To the end. */
void xj_run(struct xj *j);

/* SHA-256 of everything that the run is: parameters, moments, running statistics, the control page
 * without clocks, and the newest value of every metric. */
void xj_hash(const struct xj *j, char hex[XJ_HEX]);
/* Of parameters, moments and running statistics alone, in declaration order, without pads: for
 * files, since it does not depend on the page's layout. */
void xj_hash_tensors(const struct xj *j, char hex[XJ_HEX]);
/* The next value of `name` in the rows behind *at (NULL: from the first row); false when there is
 * none. */
bool xj_next(const struct xj *j, const char *name, const char **at, double *out_value);
/* `before` and the rows, as text that the caller releases with sp_free. */
char *xj_rows(const struct xj *j);

/* Saves the committed state; the checkpoint's directory into path. */
void xj_save(struct xj *j, char path[PATH_MAX]);
/* Opens the job as xj_open does and goes on from the checkpoint. */
struct xj *xj_resume(const char *job_file, const char *options, const char *checkpoint);

/* For tests that run a job's loop otherwise: the job file's fit_config, without ctx, asked and
 * metrics; and its fresh state, with c->schedules. */
void xj_configure(const struct sw_setup *s, struct stk_fit_config *c);
void xj_begin(struct sw_setup *s, struct stk_fit_config *c);

/* Fails the test with the error's text unless st is SP_OK. */
void xj_check(sp_status st, const struct sp_err *err);

#endif
