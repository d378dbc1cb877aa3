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

/* What a log entry is called in rows and metrics, and where in the metrics table: prepared once for
 * a graph, so that a step formats no text. An entry that logs per step and per epoch is "x_step"
 * and "x_epoch"; "x" is its newest value (Lightning's names). */
struct stk_log_name {
  char step[72], epoch[72];
  int32_t at, at_step, at_epoch; /* -1: not there yet */
};
struct stk_log_names {
  const struct stk_graph *graph; /* prepared for this one; NULL: none */
  struct stk_log_name of[STK_GRAPH_MAX_LOGS];
};
void stk_log_names_prepare(struct stk_log_names *n, const struct stk_graph *g);

/* As stk_metric_set; *place remembers where the name is in the table of this page. */
void stk_metric_put(struct stk_control *c, int32_t *place, const char *name, double value);

/* The newest value of a name; sets are dropped when the table is full. */
void stk_metric_set(struct stk_control *c, const char *name, double value);
bool stk_metric_get(const struct stk_control *c, const char *name, double *out_value);

#endif
