/* A session: the programs of a job over its state, and what one optimizer step or one evaluation
 * batch does with them, by one process or by several ranks that share the state's regions.
 *
 * It knows lanes, accumulation, clipping and the optimizer, but nothing of epochs, loops or files:
 * the loops call it. A program exists per (stage, batch size) and is made when first needed (a
 * ragged last batch makes a second one); after that, steps allocate nothing. One thread calls; the
 * pool's threads help.
 */
#ifndef STK_TRAINER_SESSION_H
#define STK_TRAINER_SESSION_H

#include <stdatomic.h>

#include "engine/comm/group.h"
#include "engine/exec/pool.h"
#include "engine/nn/module.h"
#include "engine/optim/optimizer.h"
#include "engine/plan/plan.h"
#include "engine/state/audit.h"
#include "engine/trainer/profiler.h"

struct stk_session_config {
  struct stk_module *module;
  stk_sample x, y; /* of one sample */
  bool has_y;
  const struct stk_kernels *kernels;
  stk_pool *pool;
  int32_t real_bits; /* 32 or 64 */
  int32_t n_lanes;
  int32_t n_slots; /* 2 or 3; 0: 2 */
  int64_t accumulate;
  uint64_t seed;
  const struct sp_optimizer_opts *optimizer; /* borrowed */
  double clip_norm, clip_value;              /* 0: off */
  bool fuse, in_place;                       /* passes */
  int64_t recompute; /* bytes of activations to keep, or STK_RECOMPUTE_OFF, STK_RECOMPUTE_CHEAP */
  bool detect_anomaly;
  bool audit;                    /* keep what stk_session_audit needs */
  bool tune_threads;             /* steps may take fewer threads where that is faster */
  struct stk_profiler *profiler; /* borrowed; NULL: none */
  const struct stk_memory *memory;
};

/* One batch of one lane. */
struct stk_lane_batch {
  void *x, *y;
  int64_t n;      /* samples; 0: the lane has none */
  uint64_t index; /* batch index within the run, for random numbers */
};

/* Gives lane's micro-batch `micro` of the window; pointers live until the next call. */
typedef sp_status (*stk_batch_fn)(void *ctx, int32_t lane, int64_t micro,
                                  struct stk_lane_batch *out, struct sp_err *err);

typedef struct stk_session stk_session;

SP_NODISCARD sp_status stk_session_new(const struct stk_session_config *config, stk_session **out_s,
                                       struct sp_err *err);
void stk_session_free(stk_session *s);

struct stk_state *stk_session_state(stk_session *s);
const struct stk_session_config *stk_session_config_of(const stk_session *s);

/* Buffers of one section of parameters each that a process alone has: the partial sums of the lane
 * tree and, with accumulation, the micro-batch's. */
int32_t stk_session_grad_buffers(const stk_session *s);

/* The program of a stage and batch size; made when it is not there. SP_ENOENT: the module lacks
 * that step. */
SP_NODISCARD sp_status stk_session_program(stk_session *s, stk_stage stage, int64_t batch,
                                           stk_program **out_p, struct sp_err *err);

/* Bytes that programs made so far hold in this process alone. */
int64_t stk_session_own_bytes(const stk_session *s);

/* Takes the page faults that a first step would have, in that memory and in the state's slots, a
 * little at a time until *stop. Changes nothing; not while anything else uses the session. */
void stk_session_warm(const stk_session *s, const atomic_bool *stop);

/* The committed-to-be value of a host scalar; NULL: no program made so far has one of this name. */
double *stk_session_scalar(stk_session *s, const char *name);

/* Ids in x and y must be below these, over all programs made so far; 0: there is no limit. */
void stk_session_id_limits(const stk_session *s, int64_t *out_x, int64_t *out_y);

/* What the last window or batch logged, per lane: values of the graph's log entries. */
struct stk_logged {
  const struct stk_graph *graph; /* names and flags; NULL: nothing ran */
  struct stk_acc *lanes;         /* [n_lanes][STK_GRAPH_MAX_LOGS]: this window's last micro-batch */
};

/* Who computes. A session that has not joined is alone, without a group. */
struct stk_membership {
  struct stk_group *group; /* mapped, of this session's lanes; NULL: alone and not watched */
  uint32_t generation;     /* that the supervisor opened */
  int32_t rank, n_ranks;   /* rank 0 leads; n_ranks <= lanes */
  int32_t n_threads;       /* with which each rank computes; 0: the pool's */
  int32_t n_cpus;          /* that all ranks together may use; 0: as many as this process */
  int32_t pid;             /* of this process, for the progress page */
};

/* From now on this session is rank m->rank: between steps, after an abort too (the caller then
 * reloads the state, stk_state_reload). With more than one rank, gradients stand in regions
 * "grad-<rank>-<buffer>" (and "grad-sums" with clipping) of config.memory, whose size never
 * changes; alone they are private. SP_EINVAL, SP_ENOMEM, or the memory's status: the session is
 * alone then. */
SP_NODISCARD sp_status stk_session_join(stk_session *s, const struct stk_membership *m,
                                        struct sp_err *err);

/* The lanes of this rank: [lo, hi). */
void stk_session_lanes(const stk_session *s, int32_t *out_lo, int32_t *out_hi);

struct stk_batch_at {
  stk_stage stage;
  int64_t epoch; /* 0 in evaluation */
  int32_t lane;
  int64_t batch;
};

/* Gives a follower the batch at `at`; it will probably want `then` next. */
struct stk_follow {
  sp_status (*batch)(void *ctx, const struct stk_batch_at *at, const struct stk_batch_at *then,
                     struct stk_lane_batch *out, struct sp_err *err);
  void *ctx;
};

/* The life of a rank other than 0: does its part of what the lead does until the lead dismisses it
 * (SP_OK), the generation is aborted, by another rank's failure too (SP_ECANCELED), or something
 * fails here: the lead's call returns that as well, with "rank R: " before the text. */
SP_NODISCARD sp_status stk_session_follow(stk_session *s, const struct stk_follow *f,
                                          struct sp_err *err);

/* The lead lets its followers go: their stk_session_follow returns SP_OK. */
SP_NODISCARD sp_status stk_session_dismiss(stk_session *s, struct sp_err *err);

/* For who watches: what this rank does from here on, until the next step or batch, is the loop's
 * and its hooks', which may take long. */
void stk_session_leave_step(stk_session *s);

/* The optimizer's groups, to make rates for. */
const struct stk_optimizer *stk_session_optimizer(const stk_session *s);

/* One optimizer step over all lanes: n_micro micro-batches per lane, gradients reduced, clipped,
 * applied into the write slot (stk_state_choose). On success `now` names the new slot (not
 * committed yet: that is the loop's). `epoch_acc`: when not NULL every micro-batch is added there
 * too ([n_lanes][STK_GRAPH_MAX_LOGS]). Among ranks the lead calls, followers do their lanes and
 * slices; the batches of epoch and batch in `now` are meant. SP_ECANCELED after an abort: nothing
 * is committed, `now` is to be reloaded. */
struct stk_window {
  stk_batch_fn batch;
  void *ctx;
  int64_t n_micro;
  int64_t n_batches; /* per epoch and lane, for followers that read ahead; 0: not known */
  const double *lr;  /* learning rate per parameter group */
  struct stk_acc *epoch_acc;
};
struct stk_window_result {
  struct stk_logged logged;
  double loss;      /* mean over lanes of the last micro-batch, before accumulation's division */
  double grad_norm; /* NaN without norm clipping */
  int64_t samples;
};
SP_NODISCARD sp_status stk_session_train(stk_session *s, const struct stk_window *w,
                                         struct stk_window_result *out, struct sp_err *err);

/* The digest of `now`, after a step and what the loop did with it; config.audit. The lead's. */
void stk_session_audit(stk_session *s, struct stk_audit *out);

/* One forward batch of one lane of an evaluation stage; adds to acc [STK_GRAPH_MAX_LOGS]. predict:
 * *out_result is the step's result, valid until the next call; may be NULL. */
SP_NODISCARD sp_status stk_session_eval(stk_session *s, stk_stage stage, int32_t lane,
                                        const struct stk_lane_batch *b, struct stk_acc *acc,
                                        const struct stk_graph **out_graph, const void **out_result,
                                        struct sp_err *err);

/* One evaluation batch of all lanes, batch number `index` of the stage: adds to acc
 * [n_lanes][STK_GRAPH_MAX_LOGS], zeroed before. `batch` gives this rank's lanes (micro 0);
 * followers give theirs. */
SP_NODISCARD sp_status stk_session_eval_batch(stk_session *s, stk_stage stage, int64_t index,
                                              stk_batch_fn batch, void *ctx, struct stk_acc *acc,
                                              const struct stk_graph **out_graph,
                                              struct sp_err *err);

/* Adds b's values, which come later, to a's. */
struct stk_acc stk_acc_join(const struct stk_log_entry *e, struct stk_acc a, struct stk_acc b);

/* The value of a log entry accumulated over lanes in the lane tree: mean, sum, min, max or exp of
 * the mean. NaN when nothing was accumulated. acc is [n_lanes][STK_GRAPH_MAX_LOGS]. */
double stk_acc_value(const struct stk_log_entry *e, const struct stk_acc *acc, int32_t entry,
                     int32_t n_lanes);

#endif
