/* The control page: one plain struct that says where a job stands. Versioned; a field is only
 * appended.
 *
 * Counters are explicit (reference: Lightning's loop progress), and the phase says what comes next,
 * so that a resume starts there instead of guessing from counters.
 */
#ifndef STK_STATE_CONTROL_H
#define STK_STATE_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/graph/graph.h"
#include "engine/optim/schedule.h"
#include "engine/trainer/callbacks/early_stopping.h"
#include "engine/trainer/callbacks/model_checkpoint.h"

enum {
  STK_CONTROL_VERSION = 2,
  STK_CONTROL_EARLY = 4,
  STK_CONTROL_CKPT = 4,
  STK_CONTROL_METRICS = 128,
  STK_CONTROL_LOGGERS = 2
};

/* What the fit loop does next. */
typedef enum stk_phase {
  STK_PHASE_START,  /* nothing has run */
  STK_PHASE_SANITY, /* sanity check */
  STK_PHASE_TRAIN_START,
  STK_PHASE_EPOCH_START,
  STK_PHASE_BATCH,    /* the next accumulation window, its hooks and logging */
  STK_PHASE_VALIDATE, /* validation inside or at the end of the epoch, from its beginning */
  STK_PHASE_EPOCH_END,
  STK_PHASE_DONE,
  STK_PHASE_COUNT
} stk_phase;

/* Accumulator of one logged name: over one lane, in batch order. */
struct stk_acc {
  double sum, weight; /* reductions min and max keep the value in sum */
};

/* Newest value of a logged name (Lightning's callback_metrics). */
struct stk_metric_value {
  char name[72];
  double value;
};

struct stk_control {
  uint64_t seq; /* stored last, with release; 0: never committed */
  uint32_t version, bytes;
  int32_t slot, running; /* which copy is committed */
  int32_t phase;         /* stk_phase */
  int32_t should_stop;   /* stop at the next edge where Lightning would */
  int32_t stop_reason;   /* of the loop, for reports */
  int32_t epoch_over;    /* on_train_batch_start returned -1 */
  int64_t epoch;         /* epochs completed */
  int64_t batch;         /* batches of this epoch done (per lane) */
  int64_t global_step;   /* optimizer steps */
  int64_t total_batches; /* training batches of lane 0 ever: num_batches_tracked, x-axis of time */
  int64_t val_runs;      /* validations completed */
  int64_t elapsed_ns;    /* training time before this process (max_time); a clock: not hashed */
  double scalars[STK_GRAPH_MAX_HOST]; /* host scalars, in the order in which programs named them */
  struct stk_schedule_state schedules[STK_SCHEDULE_MAX];
  struct stk_early_stopping early[STK_CONTROL_EARLY];
  struct stk_model_checkpoint ckpt[STK_CONTROL_CKPT];
  int32_t n_metrics, n_lanes, n_scalars, reserved;
  struct stk_metric_value metrics[STK_CONTROL_METRICS];
  int64_t log_position[STK_CONTROL_LOGGERS]; /* of each kind of logger; 0: none */
  uint32_t module_offset, module_bytes;      /* the module's state, from the page's start */
  uint32_t acc_offset,
      n_acc; /* struct stk_acc [n_lanes][STK_GRAPH_MAX_LOGS] of the training epoch */
};

/* Behind the part of the page that a checkpoint holds and that the state's hash covers: what is
 * committed with a step and means something only while the run's regions stand. */
struct stk_journal {
  uint64_t rows_head;   /* bytes of metric rows emitted so far (worker/rows.h) */
  uint64_t order_seq;   /* number of the newest order to publish; 0: none yet */
  uint64_t settled_seq; /* orders up to this one have been answered, and the page knows how */
  int32_t is_kept;      /* the kept page stands (engine/trainer/fit.c) */
  int32_t phase_rows;   /* rows of the phase that is being done which are below rows_head already */
};

static inline void *stk_control_module(struct stk_control *c) {
  return (uint8_t *)c + c->module_offset;
}
static inline struct stk_acc *stk_control_acc(struct stk_control *c, int32_t lane) {
  return (struct stk_acc *)(void *)((uint8_t *)c + c->acc_offset) +
         (size_t)lane * STK_GRAPH_MAX_LOGS;
}

#endif
