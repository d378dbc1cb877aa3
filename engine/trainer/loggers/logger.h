/* Loggers: where metrics of a run go. One interface, one struct per kind.
 *
 * Only the supervisor side calls a logger, from one thread, in step order. After each committed
 * step the loop keeps position(), a small number that the control page holds; on resume rewind()
 * drops everything logged after it, so that a line is in the files exactly once whatever was
 * killed. What position counts is the logger's own business (bytes for event files, rows for
 * CSV). Time is the caller's: a logger reads no clock. A failed call leaves the file at the last
 * position.
 */
#ifndef STK_TRAINER_LOGGERS_LOGGER_H
#define STK_TRAINER_LOGGERS_LOGGER_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

/* One hyper-parameter as text, in the order of the file; numbers and booleans look like such. */
struct stk_hparam_text {
  const char *key; /* "lr", "model.hidden" */
  const char *value;
};

struct stk_log_values {
  int64_t step;
  double wall_s; /* seconds since 1970 UTC */
  size_t n;
  const char *const *names; /* "epoch" may be one of them */
  const double *values;
};

typedef enum stk_log_end { STK_LOG_SUCCESS, STK_LOG_FAILED, STK_LOG_INTERRUPTED } stk_log_end;

struct stk_logger;

struct stk_logger_class {
  const char *name;
  sp_status (*log_metrics)(struct stk_logger *l, const struct stk_log_values *v,
                           struct sp_err *err);
  sp_status (*log_hparams)(struct stk_logger *l, const struct stk_hparam_text *hparams, size_t n,
                           double wall_s, struct sp_err *err);
  int64_t (*position)(const struct stk_logger *l);
  sp_status (*rewind)(struct stk_logger *l, int64_t position, struct sp_err *err);
  sp_status (*finalize)(struct stk_logger *l, stk_log_end end, struct sp_err *err);
  void (*release)(struct stk_logger *l);
};

/* The head of every logger. */
struct stk_logger {
  const struct stk_logger_class *class;
};

SP_NODISCARD sp_status stk_logger_log(struct stk_logger *l, const struct stk_log_values *v,
                                      struct sp_err *err);
SP_NODISCARD sp_status stk_logger_log_hparams(struct stk_logger *l,
                                              const struct stk_hparam_text *hparams, size_t n,
                                              double wall_s, struct sp_err *err);
int64_t stk_logger_position(const struct stk_logger *l);
SP_NODISCARD sp_status stk_logger_rewind(struct stk_logger *l, int64_t position,
                                         struct sp_err *err);
/* Makes everything durable; the logger can still be released only. */
SP_NODISCARD sp_status stk_logger_finalize(struct stk_logger *l, stk_log_end end,
                                           struct sp_err *err);
void stk_logger_free(struct stk_logger *l); /* accepts NULL */

#endif
