/* struct stk_run: what run hooks see (stoker/module.h), and the metrics table of the control page.
 */
#ifndef STK_TRAINER_RUN_H
#define STK_TRAINER_RUN_H

#include <stoker/module.h>

#include "engine/state/control.h"

struct stk_host;
struct stk_session;

struct stk_run {
  struct stk_control *control;
  const struct stk_host *host;
  struct stk_session *session;   /* has the host scalars */
  const struct stk_graph *graph; /* of training: names of logs */
  int64_t batch_idx;
  int64_t window; /* batches of the current accumulation window */
};

/* The newest value of a name; sets are dropped when the table is full. */
void stk_metric_set(struct stk_control *c, const char *name, double value);
bool stk_metric_get(const struct stk_control *c, const char *name, double *out_value);

#endif
