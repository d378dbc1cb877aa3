/* The fit loop: Lightning's, as a struct with an explicit phase (engine/state/control.h) and a
 * function that takes it one phase on. Between any two phases everything that matters is committed,
 * so a job can stop there and go on later, with the same bits.
 *
 * START -> SANITY -> TRAIN_START -> EPOCH_START -> BATCH -> [VALIDATE] -> BATCH ... -> EPOCH_END ->
 * EPOCH_START ... -> DONE. A batch phase is one optimizer step, a whole accumulation window, with
 * its hooks and logging. Hooks run in the order of Lightning's loop (docs/from-lightning.md). What
 * leaves the loop (metrics, progress, checkpoints) goes through struct stk_host, behind which the
 * supervisor stands. One thread.
 */
#ifndef STK_TRAINER_FIT_H
#define STK_TRAINER_FIT_H

#include "engine/data/loader.h"
#include "engine/optim/schedule.h"
#include "engine/trainer/session.h"

/* Why the loop ended. */
typedef enum stk_stop {
  STK_STOP_NONE,   /* its limits were reached */
  STK_STOP_EARLY,  /* EarlyStopping */
  STK_STOP_TIME,   /* max_time */
  STK_STOP_MODULE, /* stk_run_stop */
  STK_STOP_SIGNAL, /* asked from outside: not done, goes on from here */
  STK_STOP_LEAVE   /* another process, or this one anew, takes the loop over where it stands */
} stk_stop;

/* What the outside wants of the loop at an edge. */
typedef enum stk_ask { STK_ASK_NOTHING, STK_ASK_STOP, STK_ASK_LEAVE } stk_ask;

struct stk_progress {
  stk_stage stage;
  bool sanity;
  int64_t epoch, batch, n_batches, global_step;
  int64_t samples; /* of the last batch phase, all lanes */
};

/* What the loop needs from outside. All are called from the loop's thread. */
struct stk_host {
  void *ctx;
  stk_ask (*asked)(void *ctx); /* polled at every phase edge */
  int64_t (*now_ns)(
      void *ctx); /* monotonic; decisions by the clock are journalled in the control page */
  void (*progress)(void *ctx, const struct stk_progress *p, int32_t n, const char *const *names,
                   const double *values);
  /* Rows for the loggers; step is Lightning's x-axis. */
  void (*metrics)(void *ctx, int64_t step, int32_t n, const char *const *names,
                  const double *values);
  void (*evaluated)(void *ctx, stk_stage stage, bool sanity, int64_t n_batches, int32_t n,
                    const char *const *names, const double *values);
  /* The order was committed: carries it out, now or later, and answers in it (order.h). NULL:
   * nothing is published, every order counts as done. */
  void (*ordered)(void *ctx, struct stk_order *order);
  /* Returns when the order has an answer; SP_ECANCELED when the loop is to be left instead. NULL:
   * `ordered` answers before it returns. */
  sp_status (*wait)(void *ctx, const struct stk_order *order, struct sp_err *err);
  bool (*exists)(void *ctx, const char *name);
  void (*say)(void *ctx, const char *text); /* a sentence for the user */
  /* The state after optimizer step `step`, from 0 on, which is committed next; the session must
   * have been made for it (stk_session_config.audit). NULL: no audit. */
  void (*audited)(void *ctx, int64_t step, const struct stk_audit *a);
  /* How far the rows that were given to `metrics` reach: committed with the page. NULL: nobody
   * counts them. */
  uint64_t (*rows_head)(void *ctx);
};

struct stk_fit_early {
  struct stk_early_stopping_options options;
  const char *monitor;
  bool strict, at_epoch_end;
};

struct stk_fit_ckpt {
  struct stk_model_checkpoint_options options;
};

/* LearningRateMonitor: rows of their own when a step that is logged begins, and when an epoch
 * begins. */
struct stk_fit_lr_monitor {
  bool on_step, on_epoch;
  bool momentum, weight_decay;
  const char *prefix; /* of names; NULL: none */
};

struct stk_fit_config {
  int64_t max_epochs, max_steps; /* -1: no limit */
  int64_t min_epochs, min_steps; /* 0: none */
  int64_t max_time_ns;           /* 0: none */
  int64_t n_train_batches;       /* per epoch and lane, after limits */
  int64_t n_val_batches;         /* 0: no validation */
  int64_t val_every;             /* validate after every so many batches; 0: never */
  bool val_across_epochs;        /* val_every counts over epochs */
  int64_t val_epochs;            /* check_val_every_n_epoch */
  int64_t sanity_batches;
  int64_t log_every;
  struct stk_fit_lr_monitor lr_monitor;
  struct stk_schedule schedules; /* its initial states are in the control page already */
  struct stk_fit_early early[STK_CONTROL_EARLY];
  int32_t n_early;
  struct stk_fit_ckpt ckpt[STK_CONTROL_CKPT];
  int32_t n_ckpt;
  struct stk_loader *train, *val; /* borrowed; val NULL: none */
  struct stk_host host;
};

typedef struct stk_fit stk_fit;

/* What callbacks begin with, in a page that was not resumed (seq 0). */
void stk_fit_first_page(const struct stk_fit_config *config, struct stk_control *now);

/* The session's state is fresh or loaded. */
SP_NODISCARD sp_status stk_fit_new(const struct stk_fit_config *config, stk_session *s,
                                   stk_fit **out_f, struct sp_err *err);
void stk_fit_free(stk_fit *f);

/* Takes the loop one phase on and commits. *out_done when nothing is left. An error leaves the last
 * committed state. */
SP_NODISCARD sp_status stk_fit_advance(stk_fit *f, bool *out_done, struct sp_err *err);

/* Runs to the end, or to the first phase edge after a stop was asked for; then every order has its
 * answer. STK_STOP_LEAVE: all stands as committed, orders may be open. */
SP_NODISCARD sp_status stk_fit_run(stk_fit *f, stk_stop *out_why, struct sp_err *err);

/* Publishes the committed step under `name` and waits for the answer; between phases. */
SP_NODISCARD sp_status stk_fit_save(stk_fit *f, const char *name, struct sp_err *err);

/* Evaluation alone: the validate and test verbs. Accumulates over n_batches of every lane and
 * reports through host.evaluated, and what is logged per step through host.metrics (not in the
 * sanity check); names and values of the metrics are also returned (borrowed until the next call).
 */
struct stk_eval_config {
  stk_stage stage;
  bool sanity;
  int64_t n_batches;
  struct stk_loader *loader;
  const struct stk_host *host;
  int64_t first_row; /* x-axis of the first batch's on_step values */
};
struct stk_eval_result {
  int32_t n; /* entries that are logged per epoch */
  char names[STK_GRAPH_MAX_LOGS][72];
  double values[STK_GRAPH_MAX_LOGS];
  const struct stk_log_entry *entries[STK_GRAPH_MAX_LOGS];
  bool stopped; /* a stop was asked for: the values are of a part */
};
SP_NODISCARD sp_status stk_evaluate(stk_session *s, const struct stk_eval_config *c,
                                    struct stk_eval_result *out, struct sp_err *err);

#endif
