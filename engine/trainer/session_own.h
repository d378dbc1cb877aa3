/* What the files of a session share (session.c, step.c, ranks.c); nobody else includes this. */
#ifndef STK_TRAINER_SESSION_OWN_H
#define STK_TRAINER_SESSION_OWN_H

#include "engine/comm/group.h"
#include "engine/comm/reduce.h"
#include "engine/exec/tuner.h"
#include "engine/trainer/session.h"

enum { STK_SESSION_PROGRAMS = 64, STK_SESSION_LEVELS = 64 };

struct stk_cached {
  stk_stage stage;
  int64_t batch;
  struct stk_graph *graph;
  stk_program *program;
  int32_t scalar[STK_GRAPH_MAX_HOST]; /* the page's index of each host scalar of the graph */
};

/* What a lane brought to a window. */
struct stk_lane_sum {
  double loss; /* of the last micro-batch */
  int64_t samples;
};

struct stk_session {
  struct stk_session_config c;
  struct stk_state *state;
  struct stk_cached programs[STK_SESSION_PROGRAMS];
  int32_t n_programs;
  struct stk_rng_ctx rng;
  struct stk_optimizer *optimizer;
  struct stk_optim_tensor *tensors;
  struct stk_optim_scalars *group_scalars;   /* per parameter group, of the step in progress */
  char scalar_names[STK_GRAPH_MAX_HOST][64]; /* host scalars in the page's order */
  int32_t n_scalars;
  int64_t x_limit, y_limit; /* ids of a batch are below these; 0: any */
  uint8_t *frozen;
  uint8_t *running_out; /* where lanes other than 0 leave their running statistics */
  uint8_t *host;        /* host scalars as reals */
  uint8_t *scratch;     /* for kernels outside programs */
  size_t scratch_bytes;
  struct stk_lane_sum *lane; /* [n_lanes] */
  struct stk_acc *step_acc;  /* [n_lanes][STK_GRAPH_MAX_LOGS] */
  uint32_t *digests; /* of the chunks of the slot written last, all ranks'; NULL: no audit */

  /* Membership: stk_session_join. Alone, the gradients are private memory, made when a step first
   * needs them; with other ranks they are regions that all map. */
  struct stk_membership m;
  bool is_joined, spin;
  int32_t lane_lo, lane_hi;
  int64_t chunk_lo, chunk_hi;        /* of the flat region: what this rank steps */
  uint8_t *grad[STK_SESSION_LEVELS]; /* partial sums of this rank's lanes */
  int32_t n_grad;
  bool own_grad;     /* they are private */
  int32_t n_touched; /* steps whose shared memory was mapped beforehand, up to n_slots */
  uint8_t *micro; /* gradients of micro-batches after the first; NULL when accumulate is 1 */
  struct stk_tree_part *parts;
  struct stk_tree_add *adds;
  void **part_at;
  double *own_sums;          /* squares per chunk, alone */
  struct stk_acc *epoch_acc; /* of a follower: as stk_window's */
  struct stk_reduce reduce;
  struct stk_tuner tuner;
};

/* session.c */
SP_NODISCARD sp_status stk_session_get(stk_session *s, stk_stage stage, int64_t batch,
                                       const struct stk_cached **out, struct sp_err *err);

/* step.c */
/* Gradients of the lanes of this rank into its parts, and what they log. */
SP_NODISCARD sp_status stk_step_lanes(stk_session *s, const struct stk_window *w,
                                      const struct stk_graph **out_graph, struct sp_err *err);
/* grad_scale from the chunks' squares. */
double stk_step_scale(stk_session *s, double *out_norm);
/* This rank's chunks of the write slot. */
void stk_step_apply(stk_session *s, const double *lr, double grad_scale);
/* One evaluation batch over this rank's lanes, added to acc [n_lanes][STK_GRAPH_MAX_LOGS]. */
SP_NODISCARD sp_status stk_step_eval(stk_session *s, stk_stage stage, stk_batch_fn batch, void *ctx,
                                     struct stk_acc *acc, const struct stk_graph **out_graph,
                                     struct sp_err *err);

/* ranks.c */
/* The step of the lead and of a follower, between the barrier that starts it and the one that ends
 * it, both included. */
SP_NODISCARD sp_status stk_ranks_train(stk_session *s, const struct stk_window *w,
                                       struct stk_window_result *r, struct sp_err *err);
SP_NODISCARD sp_status stk_ranks_eval(stk_session *s, stk_stage stage, int64_t index,
                                      stk_batch_fn batch, void *ctx, struct stk_acc *acc,
                                      const struct stk_graph **out_graph, struct sp_err *err);
/* What a rank says that finds its generation over. */
sp_status stk_ranks_over(const stk_session *s, struct sp_err *err);
void stk_ranks_free(stk_session *s);

static inline bool stk_session_is_alone(const stk_session *s) {
  return s->m.n_ranks <= 1;
}

static inline void stk_session_beat(stk_session *s, stk_group_phase phase) {
  if (s->m.group) {
    stk_group_beat(&s->m.group->rank[s->m.rank], phase);
  }
}

#endif
