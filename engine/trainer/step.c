/* A session's work on batches: programs run, lanes' gradients, the step of one rank alone, one
 * evaluation batch. */
#include "engine/trainer/session_own.h"

#include <math.h>
#include <string.h>

#include "engine/exec/fpenv.h"
#include "engine/ops/ops.h"
#include "proto/base/clock.h"
#include "proto/base/fault.h"

/* ---- running */

struct kernel_run {
  const struct stk_kernel *k;
  const void *args;
  uint8_t *scratch;
  size_t scratch_bytes;
};

static void run_units(void *ctx, int64_t lo, int64_t hi, int thread) {
  const struct kernel_run *r = ctx;
  r->k->run(r->args, lo, hi, r->scratch + (size_t)thread * r->scratch_bytes);
}

static void run_kernel(stk_session *s, const struct stk_kernel *k, const void *args) {
  struct kernel_run r = {k, args, s->scratch, s->scratch_bytes};
  stk_pool_run(s->c.pool, run_units, &r, k->units(args, stk_pool_n_threads(s->c.pool)));
}

static double real_at(const stk_session *s, const void *p) {
  return s->c.real_bits == 64 ? *(const double *)p : (double)*(const float *)p;
}

/* Runs instruction by instruction and names the first node whose result is not finite. */
static sp_status run_checked(stk_session *s, stk_program *p, struct sp_err *err) {
  const struct stk_graph *g = stk_program_graph(p);
  for (int64_t i = 0; i < stk_program_n_instrs(p); i++) {
    const struct stk_instr *in = stk_program_instr(p, i);
    stk_program_run_instr(p, s->c.pool, i);
    bool last = i + 1 == stk_program_n_instrs(p) || stk_program_instr(p, i + 1)->node != in->node;
    for (int32_t k = 0; last && in->node < g->n_nodes && k < g->nodes[in->node].n_out; k++) {
      const struct stk_node *n = &g->nodes[in->node];
      const struct stk_value *v = &g->values[n->out[k]];
      int32_t bad = 0;
      struct stk_finite_args a = {stk_program_value(p, n->out[k]), &bad,
                                  stk_shape_numel(&v->shape)};
      if (a.x && v->dtype == g->real) {
        run_kernel(s, s->c.kernels->finite, &a);
      }
      if (bad) {
        char shape[96];
        return sp_fail(err, SP_ENUMERIC,
                       "detect_anomaly: %s%s %s made at %s:%d is the first that is not finite",
                       n->backward ? "the gradient " : "", stk_op_text(n->op),
                       stk_shape_text(&v->shape, shape, sizeof shape),
                       n->at.file ? n->at.file : "?", n->at.line);
      }
    }
  }
  return SP_OK;
}

/* A peer's death ends the wait for it at once, not after a long pass. */
static sp_status run_until_abort(stk_session *s, stk_program *p, struct sp_err *err) {
  const int64_t n = stk_program_n_instrs(p);
  for (int64_t i = 0; i < n; i++) {
    if (stk_group_is_over(s->m.group, s->m.generation)) {
      return stk_ranks_over(s, err);
    }
    stk_program_run_instr(p, s->c.pool, i);
  }
  return SP_OK;
}

static sp_status run_program(stk_session *s, stk_program *p, struct sp_err *err) {
  static const stk_action steps[] = {STK_ACTION_TRAIN_STEP, STK_ACTION_VALIDATE_STEP,
                                     STK_ACTION_TEST_STEP, STK_ACTION_PREDICT_STEP};
  int64_t start = stk_profile_start(s->c.profiler);
  sp_status st = SP_OK;
  if (s->m.group && stk_group_is_over(s->m.group, s->m.generation)) {
    st = stk_ranks_over(s, err);
  } else if (s->c.detect_anomaly) {
    st = run_checked(s, p, err);
  } else if (s->c.profiler) {
    stk_profile_program(s->c.profiler, p, s->c.pool);
  } else if (s->m.group) {
    st = run_until_abort(s, p, err);
  } else {
    stk_program_run(p, s->c.pool);
  }
  stk_profile_stop(s->c.profiler, steps[stk_program_graph(p)->stage], start);
  return st;
}

/* Host scalars as the program's graph numbers them. */
static void set_scalars(stk_session *s, const struct stk_cached *p) {
  for (int32_t i = 0; i < p->graph->n_hosts; i++) {
    double v = s->state->now->scalars[p->scalar[i]];
    if (s->c.real_bits == 64) {
      ((double *)(void *)s->host)[i] = v;
    } else {
      ((float *)(void *)s->host)[i] = (float)v;
    }
  }
}

static void acc_add(const struct stk_log_entry *e, struct stk_acc *a, double value, double weight) {
  if (weight == 0.0) {
    return;
  }
  if (a->weight == 0.0) {
    a->sum = e->flags & (STK_REDUCE_MIN | STK_REDUCE_MAX | STK_REDUCE_SUM) ? value : value * weight;
  } else if (e->flags & STK_REDUCE_MIN) {
    a->sum = value < a->sum ? value : a->sum;
  } else if (e->flags & STK_REDUCE_MAX) {
    a->sum = value > a->sum ? value : a->sum;
  } else {
    a->sum += e->flags & STK_REDUCE_SUM ? value : value * weight;
  }
  a->weight += weight;
}

/* Adds what a run of p logged to `acc`, and sets `step` to it. Either may be NULL. */
static void collect(const stk_session *s, const stk_program *p, int64_t n, struct stk_acc *acc,
                    struct stk_acc *step) {
  const struct stk_graph *g = stk_program_graph(p);
  for (int32_t i = 0; i < g->n_logs; i++) {
    const struct stk_log_entry *e = &g->logs[i];
    double value = real_at(s, stk_program_value(p, e->value));
    double weight = e->weight >= 0 ? real_at(s, stk_program_value(p, e->weight)) : (double)n;
    if (acc) {
      acc_add(e, &acc[i], value, weight);
    }
    if (step) {
      step[i] = (struct stk_acc){0};
      acc_add(e, &step[i], value, weight);
    }
  }
}

/* ---- one optimizer step */

static void add_into(stk_session *s, uint8_t *y, const uint8_t *x) {
  int64_t start = stk_profile_start(s->c.profiler);
  struct stk_accumulate_args a = {x, y, s->reduce.n};
  run_kernel(s, s->c.kernels->accumulate, &a);
  stk_profile_stop(s->c.profiler, STK_ACTION_REDUCE, start);
}

/* Makes p ready for one batch of a lane. */
static void bind_batch(stk_session *s, const struct stk_cached *made, stk_stage stage, int32_t lane,
                       const struct stk_lane_batch *b) {
  struct stk_state *st = s->state;
  set_scalars(s, made);
  s->rng.batch = b->index;
  s->rng.lane = (uint32_t)lane;
  s->rng.stage = stage;
  stk_program_bind(made->program, STK_BASE_X, b->x);
  stk_program_bind(made->program, STK_BASE_Y, b->y);
  stk_program_bind(made->program, STK_BASE_PARAM, stk_state_read_slot(st));
  stk_program_bind(made->program, STK_BASE_RUNNING, st->running[st->now->running]);
}

/* Running statistics are lane 0's: its later micro-batches go on from what the first one left. */
static void bind_outputs(stk_session *s, stk_program *p, int32_t lane, int64_t micro,
                         uint8_t *into) {
  uint8_t *run_out = lane == 0 ? s->state->running[s->state->write] : s->running_out;
  stk_program_bind(p, STK_BASE_GRAD, micro == 0 ? into : s->micro);
  stk_program_bind(p, STK_BASE_RUNNING_OUT, run_out);
  if (micro > 0) {
    stk_program_bind(p, STK_BASE_RUNNING, run_out);
  }
}

static sp_status lane_gradient(stk_session *s, const struct stk_window *w, int32_t lane,
                               uint8_t *into, const struct stk_graph **out_graph,
                               struct sp_err *err) {
  const int64_t acc = (int64_t)lane * STK_GRAPH_MAX_LOGS;
  s->lane[lane] = (struct stk_lane_sum){0};
  for (int64_t k = 0; k < w->n_micro; k++) {
    struct stk_lane_batch b = {0};
    const struct stk_cached *made;
    stk_session_beat(s, STK_GROUP_DATA);
    sp_status st = w->batch(w->ctx, lane, k, &b, err);
    st = st ? st : stk_session_get(s, STK_TRAIN, b.n, &made, err);
    if (st) {
      return st;
    }
    stk_session_beat(s, STK_GROUP_COMPUTE);
    bind_batch(s, made, STK_TRAIN, lane, &b);
    bind_outputs(s, made->program, lane, k, into);
    st = run_program(s, made->program, err);
    if (st) {
      return st;
    }
    if (k > 0) {
      add_into(s, into, s->micro);
    }
    collect(s, made->program, b.n, w->epoch_acc ? w->epoch_acc + acc : NULL, s->step_acc + acc);
    s->lane[lane].samples += b.n;
    s->lane[lane].loss = real_at(s, stk_program_value(made->program, made->graph->loss));
    *out_graph = made->graph;
  }
  return SP_OK;
}

static sp_status fault(int code, struct sp_err *err) {
  return code ? sp_fail(err, SP_EIO, "fault %d in a step", code) : SP_OK;
}

sp_status stk_step_lanes(stk_session *s, const struct stk_window *w,
                         const struct stk_graph **out_graph, struct sp_err *err) {
  int32_t start[STK_SESSION_LEVELS], depth = 0;
  const int64_t began = sp_mono_now(sp_clock_system()).ns;
  sp_status st = fault(SP_FAULT("step.begin"), err);
  if (s->c.tune_threads) {
    stk_pool_limit(s->c.pool, s->tuner.now);
  }
  for (int32_t lane = s->lane_lo; lane < s->lane_hi && !st; lane++) {
    st = lane_gradient(s, w, lane, s->grad[depth], out_graph, err);
    start[depth++] = lane;
    while (!st && depth >= 2 && stk_tree_joins(s->c.n_lanes, start[depth - 2], lane + 1)) {
      add_into(s, s->grad[depth - 2], s->grad[depth - 1]);
      depth--;
    }
    if (!st && lane == s->lane_lo) {
      st = fault(SP_FAULT("step.lane"), err);
    }
  }
  stk_tuner_took(&s->tuner, sp_mono_now(sp_clock_system()).ns - began);
  return st ? st : fault(SP_FAULT("step.reduce"), err);
}

double stk_step_scale(stk_session *s, double *out_norm) {
  return stk_optim_grad_scale(s->reduce.sums, stk_reduce_chunks(s->reduce.n), s->c.clip_norm,
                              out_norm);
}

void stk_step_apply(stk_session *s, const double *lr, double grad_scale) {
  const struct stk_state *st = s->state;
  const int64_t start = stk_profile_start(s->c.profiler);
  for (size_t g = 0; g < s->optimizer->n_groups; g++) {
    stk_optimizer_scalars(s->optimizer, g, lr[g], st->now->global_step + 1, grad_scale,
                          s->c.clip_value, &s->group_scalars[g]);
  }
  const struct stk_apply a = {.optimizer = s->optimizer,
                              .scalars = s->group_scalars,
                              .from = stk_state_read_slot(st),
                              .to = stk_state_write_slot(st),
                              .section_bytes = st->layout.section_bytes,
                              .n_sections = st->layout.n_sections};
  stk_session_beat(s, STK_GROUP_APPLY);
  stk_reduce_apply(&s->reduce, &a, s->c.clip_norm > 0.0, s->chunk_lo, s->chunk_hi);
  stk_profile_stop(s->c.profiler, STK_ACTION_OPTIMIZER, start);
  if (s->digests) {
    const int64_t digesting = stk_profile_start(s->c.profiler);
    stk_audit_slot(st, s->c.kernels, s->c.pool, a.to, s->chunk_lo, s->chunk_hi, s->digests);
    stk_profile_stop(s->c.profiler, STK_ACTION_AUDIT, digesting);
  }
}

static sp_status train_alone(stk_session *s, const struct stk_window *w,
                             struct stk_window_result *r, struct sp_err *err) {
  if (s->m.group) {
    stk_group_beat_work(&s->m.group->rank[0], s->state->now->global_step, STK_GROUP_DATA);
  }
  sp_status st = stk_step_lanes(s, w, &r->logged.graph, err);
  if (st) {
    return st;
  }
  double scale = 1.0;
  if (s->c.clip_norm > 0.0) {
    const int64_t start = stk_profile_start(s->c.profiler);
    stk_session_beat(s, STK_GROUP_REDUCE);
    stk_reduce_sums(&s->reduce, s->chunk_lo, s->chunk_hi);
    scale = stk_step_scale(s, &r->grad_norm);
    stk_profile_stop(s->c.profiler, STK_ACTION_CLIP, start);
  }
  stk_step_apply(s, w->lr, scale);
  st = fault(SP_FAULT("step.applied"), err);
  stk_session_beat(s, STK_GROUP_COMMIT);
  return st;
}

sp_status stk_session_train(stk_session *s, const struct stk_window *w,
                            struct stk_window_result *out, struct sp_err *err) {
  struct stk_window_result r = {.logged.lanes = s->step_acc, .grad_norm = (double)NAN};
  struct stk_state *state = s->state;
  const struct stk_membership alone = {.n_ranks = 1};
  stk_fp_enter();
  sp_status st = s->is_joined ? SP_OK : stk_session_join(s, &alone, err);
  if (!st) {
    st = stk_session_is_alone(s) ? train_alone(s, w, &r, err) : stk_ranks_train(s, w, &r, err);
  }
  if (st) {
    return st;
  }
  double losses = 0.0;
  for (int32_t lane = 0; lane < s->c.n_lanes; lane++) {
    losses += s->lane[lane].loss;
    r.samples += s->lane[lane].samples;
  }
  r.loss = losses / s->c.n_lanes;
  state->now->slot = state->write;
  state->now->running = state->layout.running_bytes ? state->write : 0;
  if (!stk_state_choose(state, -1)) {
    return sp_fail(err, SP_EINTERNAL, "no slot is free for the next step");
  }
  state->now->global_step++;
  *out = r;
  return SP_OK;
}

void stk_session_leave_step(stk_session *s) {
  stk_session_beat(s, STK_GROUP_HOOK);
}

/* ---- evaluation */

sp_status stk_session_eval(stk_session *s, stk_stage stage, int32_t lane,
                           const struct stk_lane_batch *b, struct stk_acc *acc,
                           const struct stk_graph **out_graph, const void **out_result,
                           struct sp_err *err) {
  const struct stk_cached *made;
  sp_status st = stk_session_get(s, stage, b->n, &made, err);
  if (st) {
    return st;
  }
  stk_fp_enter();
  bind_batch(s, made, stage, lane, b);
  st = run_program(s, made->program, err);
  if (st) {
    return st;
  }
  collect(s, made->program, b->n, acc, NULL);
  if (out_graph) {
    *out_graph = made->graph;
  }
  if (out_result) {
    const int32_t result = made->graph->loss;
    *out_result = result >= 0 ? stk_program_value(made->program, result) : NULL;
  }
  return SP_OK;
}

sp_status stk_step_eval(stk_session *s, stk_stage stage, stk_batch_fn batch, void *ctx,
                        struct stk_acc *acc, const struct stk_graph **out_graph,
                        struct sp_err *err) {
  sp_status st = SP_OK;
  for (int32_t lane = s->lane_lo; lane < s->lane_hi && !st; lane++) {
    struct stk_lane_batch b = {0};
    stk_session_beat(s, STK_GROUP_DATA);
    st = batch(ctx, lane, 0, &b, err);
    stk_session_beat(s, STK_GROUP_EVALUATE);
    if (!st && b.n > 0) {
      st = stk_session_eval(s, stage, lane, &b, acc + (int64_t)lane * STK_GRAPH_MAX_LOGS, out_graph,
                            NULL, err);
    }
    if (!st && lane == s->lane_lo) {
      st = fault(SP_FAULT("eval.lane"), err);
    }
  }
  return st;
}

sp_status stk_session_eval_batch(stk_session *s, stk_stage stage, int64_t index, stk_batch_fn batch,
                                 void *ctx, struct stk_acc *acc, const struct stk_graph **out_graph,
                                 struct sp_err *err) {
  if (!stk_session_is_alone(s)) {
    return stk_ranks_eval(s, stage, index, batch, ctx, acc, out_graph, err);
  }
  sp_status st = stk_step_eval(s, stage, batch, ctx, acc, out_graph, err);
  stk_session_beat(s, STK_GROUP_IDLE);
  return st;
}
