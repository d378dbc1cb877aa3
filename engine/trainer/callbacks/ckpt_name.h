/* Checkpoint names from ModelCheckpoint's filename template.
 *
 * "{epoch}-{step}" becomes "epoch=2-step=1500"; "{val_loss:.2f}" takes a printf-like format, with
 * f, e, g (values), d (whole numbers), a width and a leading 0. With auto_insert the value is
 * preceded by "name=". A metric that does not exist prints 0, as in Lightning. '/' becomes '_':
 * a checkpoint is one entry of its directory. Pure.
 */
#ifndef STK_TRAINER_CALLBACKS_CKPT_NAME_H
#define STK_TRAINER_CALLBACKS_CKPT_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

enum { STK_CKPT_NAME = 192 }; /* bytes of a name with its zero */

/* The values that a moment has: epoch, step, and the monitored metrics. */
struct stk_scores {
  int64_t epoch, step;
  size_t n;
  const char *const *names;
  const double *values;
};

/* The value of a metric; false when it does not exist. "epoch" and "step" exist always. */
bool stk_scores_find(const struct stk_scores *s, const char *name, double *out_value);

/* SP_EINVAL: a template with a bad format, unbalanced braces, a leading dot or nothing in it.
 * SP_ERANGE: the name does not fit. The tail of out_name is zero. */
SP_NODISCARD sp_status stk_ckpt_name_format(const char *filename, bool auto_insert,
                                            const struct stk_scores *scores,
                                            char out_name[STK_CKPT_NAME], struct sp_err *err);

/* "<base>-v<version>"; version 0 is base itself. */
SP_NODISCARD sp_status stk_ckpt_name_version(const char *base, int64_t version,
                                             char out_name[STK_CKPT_NAME], struct sp_err *err);

#endif
