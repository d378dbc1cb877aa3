/* A session among ranks: membership, the lead's and the followers' half of a step.
 *
 * A step passes three barriers, four with clipping by norm: the work is known; gradients are whole;
 * (the chunks' squares are;) the write slot is. Only then does the lead commit, and a rank that
 * dies before that leaves the committed slot as it was. Results of lanes travel in the group page
 * with the arithmetic of one rank: each lane's sums are formed by its rank alone, in batch order,
 * and combined by the lead in lane order. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/exec/cpu.h"
#include "engine/exec/fpenv.h"
#include "engine/exec/pages.h"
#include "engine/trainer/session_own.h"
#include "proto/base/fault.h"
#include "proto/base/mem.h"

_Static_assert((int)STK_GROUP_LOGS == (int)STK_GRAPH_MAX_LOGS, "group.h repeats graph.h");
_Static_assert((int)STK_GROUP_SCALARS == (int)STK_GRAPH_MAX_HOST, "group.h repeats graph.h");
_Static_assert((int)STK_GROUP_RATES == (int)SP_GROUPS_MAX + 1, "group.h repeats options.h");
_Static_assert(sizeof(struct stk_group_acc) == sizeof(struct stk_acc), "copied as bytes");

enum { LANE_ACC_BYTES = STK_GRAPH_MAX_LOGS * sizeof(struct stk_acc) };

/* ---- membership */

/* What depends on (rank, n_ranks) alone; the rest is kept for the next membership. */
static void leave(stk_session *s) {
  for (int32_t i = 0; s->own_grad && i < s->n_grad; i++) {
    sp_free_aligned(s->grad[i]);
  }
  sp_free(s->own_sums);
  memset(s->grad, 0, sizeof s->grad);
  s->own_sums = NULL;
  s->n_grad = 0;
  s->is_joined = s->own_grad = false;
  s->n_touched = 0;
  s->m = (struct stk_membership){0};
  s->lane_lo = 0;
  s->lane_hi = s->c.n_lanes;
}

void stk_ranks_free(stk_session *s) {
  leave(s);
  sp_free_aligned(s->micro);
  sp_free(s->parts);
  sp_free(s->adds);
  sp_free(s->part_at);
  sp_free(s->epoch_acc);
}

/* What every membership needs, made once. */
static sp_status keep_memory(stk_session *s, struct sp_err *err) {
  const size_t n = (size_t)s->c.n_lanes, bytes = (size_t)s->state->layout.section_bytes;
  if (!s->parts) {
    s->parts = sp_alloc_array(n, sizeof *s->parts);
    s->adds = sp_alloc_array(n, sizeof *s->adds);
    s->part_at = sp_alloc_array(n, sizeof *s->part_at);
    s->epoch_acc = sp_alloc_array(n * STK_GRAPH_MAX_LOGS, sizeof *s->epoch_acc);
    s->micro = s->c.accumulate > 1 ? stk_pages_alloc(bytes) : NULL;
  }
  if (s->parts && s->adds && s->part_at && s->epoch_acc && (s->c.accumulate == 1 || s->micro)) {
    return SP_OK;
  }
  stk_ranks_free(s);
  s->parts = NULL;
  s->adds = NULL;
  s->part_at = NULL;
  s->epoch_acc = NULL;
  s->micro = NULL;
  return sp_fail(err, SP_ENOMEM, "no memory for gradients (%zu bytes each)", bytes);
}

static sp_status check_membership(const stk_session *s, const struct stk_membership *m,
                                  struct sp_err *err) {
  if (m->n_ranks < 1 || m->n_ranks > STK_RANKS_MAX || m->n_ranks > s->c.n_lanes || m->rank < 0 ||
      m->rank >= m->n_ranks || (m->n_ranks > 1 && !m->group)) {
    return sp_fail(err, SP_EINVAL, "rank %d of %d cannot run %d lanes: want 1 to %d ranks",
                   (int)m->rank, (int)m->n_ranks, (int)s->c.n_lanes,
                   (int)(s->c.n_lanes < STK_RANKS_MAX ? s->c.n_lanes : STK_RANKS_MAX));
  }
  return m->group ? stk_group_check(m->group, m->group->bytes, s->c.n_lanes, err) : SP_OK;
}

static sp_status gradient_region(stk_session *s, int32_t rank, int32_t buffer, void **out_p,
                                 struct sp_err *err) {
  const struct stk_memory *memory = s->c.memory;
  char name[48];
  snprintf(name, sizeof name, "grad-%d-%d", (int)rank, (int)buffer);
  return memory->get(memory->ctx, name,
                     (size_t)(s->state->layout.section_bytes + 4095) / 4096 * 4096, out_p, err);
}

static sp_status buffers_alone(stk_session *s, struct sp_err *err) {
  const size_t bytes = (size_t)s->state->layout.section_bytes;
  s->own_grad = true;
  for (int32_t i = 0; i < s->n_grad; i++) {
    s->grad[i] = stk_pages_alloc(bytes);
    if (!s->grad[i]) {
      return sp_fail(err, SP_ENOMEM, "no memory for gradients (%zu bytes each)", bytes);
    }
  }
  s->own_sums = sp_alloc_array((size_t)stk_reduce_chunks(s->reduce.n), sizeof *s->own_sums);
  s->reduce.sums = s->own_sums;
  return s->own_sums ? SP_OK : sp_fail(err, SP_ENOMEM, "no memory for a step");
}

static sp_status buffers_shared(stk_session *s, struct sp_err *err) {
  const struct stk_memory *memory = s->c.memory;
  const size_t bytes = (size_t)stk_reduce_chunks(s->reduce.n) * sizeof(double);
  sp_status st = SP_OK;
  for (int32_t i = 0; i < s->n_grad && !st; i++) {
    void *p = NULL;
    st = gradient_region(s, s->m.rank, i, &p, err);
    s->grad[i] = p;
  }
  for (int32_t i = 0; i < s->reduce.n_parts && !st; i++) {
    st = gradient_region(s, s->parts[i].rank, s->parts[i].buffer, &s->part_at[i], err);
  }
  if (!st && s->c.clip_norm > 0.0) {
    void *p = NULL;
    st = memory->get(memory->ctx, "grad-sums", (bytes + 4095) / 4096 * 4096, &p, err);
    s->reduce.sums = p;
  }
  return st;
}

/* Who owns what, and where it stands: from (V, N) alone. */
static void lay_out(stk_session *s) {
  const struct stk_layout *l = &s->state->layout;
  const int32_t n_lanes = s->c.n_lanes;
  int64_t lo, hi;
  stk_tree_share(n_lanes, s->m.rank, s->m.n_ranks, &lo, &hi);
  s->lane_lo = (int32_t)lo;
  s->lane_hi = (int32_t)hi;
  s->n_grad = stk_tree_buffers(n_lanes, s->lane_lo, s->lane_hi);
  struct stk_reduce *r = &s->reduce;
  *r = (struct stk_reduce){.kernels = s->c.kernels,
                           .pool = s->c.pool,
                           .real_bytes = l->real_bytes,
                           .n_lanes = n_lanes,
                           .n = l->section_bytes / l->real_bytes,
                           .n_parts = stk_tree_parts(n_lanes, s->m.n_ranks, s->parts),
                           .part = s->part_at,
                           .adds = s->adds,
                           .scratch = s->scratch};
  stk_tree_adds(n_lanes, s->parts, r->n_parts, s->adds);
  stk_reduce_prepare(r);
  stk_tree_share(stk_reduce_chunks(r->n), s->m.rank, s->m.n_ranks, &s->chunk_lo, &s->chunk_hi);
}

sp_status stk_session_join(stk_session *s, const struct stk_membership *m, struct sp_err *err) {
  sp_status st = check_membership(s, m, err);
  st = st ? st : keep_memory(s, err);
  if (st) {
    return st;
  }
  leave(s);
  s->m = *m;
  const int32_t threads = m->n_threads > 0 ? m->n_threads : stk_pool_n_threads(s->c.pool);
  s->spin = (int64_t)threads * m->n_ranks <= (m->n_cpus > 0 ? m->n_cpus : stk_cpu_count());
  stk_tuner_init(&s->tuner, s->c.tune_threads ? threads : 1);
  lay_out(s);
  st = m->n_ranks == 1 ? buffers_alone(s, err) : buffers_shared(s, err);
  for (int32_t i = 0; !st && m->n_ranks == 1 && i < s->reduce.n_parts; i++) {
    s->part_at[i] = s->grad[i];
  }
  if (st) {
    leave(s);
    return st;
  }
  s->is_joined = true;
  if (m->group) {
    atomic_store_explicit(&m->group->rank[m->rank].pid, m->pid, memory_order_relaxed);
  }
  return SP_OK;
}

void stk_session_lanes(const stk_session *s, int32_t *out_lo, int32_t *out_hi) {
  *out_lo = s->lane_lo;
  *out_hi = s->lane_hi;
}

/* ---- meeting */

/* The generation is over: the lead is told whose failure it was, the others only leave. */
sp_status stk_ranks_over(const stk_session *s, struct sp_err *err) {
  return s->m.rank == 0 ? stk_group_failure(s->m.group, err)
                        : sp_fail(err, SP_ECANCELED, "the ranks were told to leave");
}

static sp_status meet(stk_session *s, struct sp_err *err) {
  struct stk_group_rank *me = &s->m.group->rank[s->m.rank];
  stk_group_beat(me, STK_GROUP_BARRIER);
  if (stk_group_barrier(s->m.group, s->m.generation, s->spin)) {
    return stk_ranks_over(s, err);
  }
  const uint64_t passed = atomic_load_explicit(&me->sequence, memory_order_relaxed);
  atomic_store_explicit(&me->sequence, passed + 1, memory_order_relaxed);
  return SP_OK;
}

/* What went wrong here ends the others' wait. That somebody else failed is no news to them. */
static sp_status fail_here(stk_session *s, sp_status st, const struct sp_err *err) {
  if (st != SP_ECANCELED && !stk_group_is_over(s->m.group, s->m.generation)) {
    stk_group_fail(s->m.group, s->m.rank, st, err ? err->text : sp_status_text(st));
  }
  return st;
}

/* Results of this rank's lanes go into the page. */
static void tell_lanes(stk_session *s, const struct stk_acc *epoch, const struct stk_acc *step) {
  for (int32_t l = s->lane_lo; l < s->lane_hi; l++) {
    struct stk_group_lane *to = &s->m.group->lane[l];
    to->loss = s->lane[l].loss;
    to->samples = s->lane[l].samples;
    if (epoch) {
      memcpy(to->epoch, epoch + (int64_t)l * STK_GRAPH_MAX_LOGS, LANE_ACC_BYTES);
    }
    memcpy(to->step, step + (int64_t)l * STK_GRAPH_MAX_LOGS, LANE_ACC_BYTES);
  }
}

/* A rank that was just forked has nothing of the shared memory mapped: what a step reads and writes
 * is touched before it, by all threads, until every slot has had its turn. */
static void touch_shared(stk_session *s) {
  const struct stk_state *state = s->state;
  const struct stk_reduce *r = &s->reduce;
  const int64_t section = state->layout.section_bytes;
  const int64_t chunk = STK_STATE_CHUNK * (int64_t)r->real_bytes;
  const int64_t lo = s->chunk_lo * chunk, end = s->chunk_hi * chunk;
  const size_t own = lo < end ? (size_t)((end < section ? end : section) - lo) : 0;
  if (s->n_touched == state->n_slots) {
    return;
  }
  stk_pages_touch(s->c.pool, stk_state_read_slot(state), (size_t)section);
  for (int32_t k = 0; k < state->layout.n_sections; k++) {
    stk_pages_touch(s->c.pool, stk_state_read_slot(state) + k * section + lo, own);
    stk_pages_touch(s->c.pool, stk_state_write_slot(state) + k * section + lo, own);
  }
  for (int32_t i = 0; s->n_touched == 0 && i < s->n_grad; i++) {
    stk_pages_touch(s->c.pool, s->grad[i], (size_t)section);
  }
  for (int32_t i = 0; s->n_touched == 0 && i < r->n_parts; i++) {
    stk_pages_touch(s->c.pool, (uint8_t *)s->part_at[i] + lo, own);
  }
  s->n_touched++;
}

/* The step behind the work page: own lanes, the reduction, the own slice of the write slot. */
static sp_status run_window(stk_session *s, const struct stk_window *w,
                            const struct stk_graph **out_graph, double *out_norm,
                            struct sp_err *err) {
  struct stk_profiler *profiler = s->c.profiler;
  double scale = 1.0;
  touch_shared(s);
  sp_status st = stk_step_lanes(s, w, out_graph, err);
  if (st) {
    return fail_here(s, st, err);
  }
  tell_lanes(s, w->epoch_acc, s->step_acc);
  int64_t start = stk_profile_start(profiler);
  st = meet(s, err);
  stk_profile_stop(profiler, STK_ACTION_REDUCE, start);
  if (!st && s->c.clip_norm > 0.0) {
    start = stk_profile_start(profiler);
    stk_session_beat(s, STK_GROUP_REDUCE);
    stk_reduce_sums(&s->reduce, s->chunk_lo, s->chunk_hi);
    st = meet(s, err);
    scale = stk_step_scale(s, out_norm);
    stk_profile_stop(profiler, STK_ACTION_CLIP, start);
  }
  if (st) {
    return st;
  }
  stk_step_apply(s, w->lr, scale);
  if (SP_FAULT("step.applied")) {
    return fail_here(s, sp_fail(err, SP_EIO, "fault in a step"), err);
  }
  return meet(s, err);
}

/* ---- the lead */

static void post(stk_session *s, int32_t kind, stk_stage stage) {
  struct stk_group_work *work = &s->m.group->work;
  const struct stk_control *now = s->state->now;
  work->kind = kind;
  work->stage = (int32_t)stage;
  work->slot = now->slot;
  work->running = now->running;
  work->write = s->state->write;
  work->epoch = now->epoch;
  work->batch = now->batch;
  work->global_step = now->global_step;
  work->n_scalars = s->n_scalars;
  for (int32_t i = 0; i < s->n_scalars; i++) {
    work->scalar[i] = now->scalars[i];
    memcpy(work->scalar_name[i], s->scalar_names[i], sizeof s->scalar_names[i]);
  }
  stk_group_beat_work(&s->m.group->rank[s->m.rank], now->global_step, STK_GROUP_BARRIER);
}

/* Accumulators of the epoch are the page's before the step and the loop's after it: a step that is
 * given up changes nothing of the loop's. */
static void lend_epoch(stk_session *s, const struct stk_window *w) {
  for (int32_t l = 0; l < s->c.n_lanes; l++) {
    if (w->epoch_acc) {
      memcpy(s->m.group->lane[l].epoch, w->epoch_acc + (int64_t)l * STK_GRAPH_MAX_LOGS,
             LANE_ACC_BYTES);
    }
  }
}

static void gather(stk_session *s, const struct stk_window *w) {
  for (int32_t l = 0; l < s->c.n_lanes; l++) {
    const struct stk_group_lane *from = &s->m.group->lane[l];
    s->lane[l] = (struct stk_lane_sum){from->loss, from->samples};
    memcpy(s->step_acc + (int64_t)l * STK_GRAPH_MAX_LOGS, from->step, LANE_ACC_BYTES);
    if (w->epoch_acc) {
      memcpy(w->epoch_acc + (int64_t)l * STK_GRAPH_MAX_LOGS, from->epoch, LANE_ACC_BYTES);
    }
  }
}

/* What the lanes' accumulators were when the work began. */
static void take_epoch(stk_session *s) {
  for (int32_t l = s->lane_lo; l < s->lane_hi; l++) {
    memcpy(s->epoch_acc + (int64_t)l * STK_GRAPH_MAX_LOGS, s->m.group->lane[l].epoch,
           LANE_ACC_BYTES);
  }
}

sp_status stk_ranks_train(stk_session *s, const struct stk_window *w, struct stk_window_result *r,
                          struct sp_err *err) {
  struct stk_group_work *work = &s->m.group->work;
  post(s, STK_WORK_TRAIN, STK_TRAIN);
  work->n_micro = w->n_micro;
  work->n_batches = w->n_batches;
  work->n_rates = (int32_t)s->optimizer->n_groups;
  memcpy(work->rate, w->lr, sizeof *w->lr * s->optimizer->n_groups);
  lend_epoch(s, w);
  sp_status st = meet(s, err);
  if (st) {
    return st;
  }
  take_epoch(s);
  struct stk_window own = *w;
  own.epoch_acc = s->epoch_acc;
  st = run_window(s, &own, &r->logged.graph, &r->grad_norm, err);
  if (!st) {
    gather(s, w);
    stk_session_beat(s, STK_GROUP_COMMIT);
  }
  return st;
}

sp_status stk_ranks_eval(stk_session *s, stk_stage stage, int64_t index, stk_batch_fn batch,
                         void *ctx, struct stk_acc *acc, const struct stk_graph **out_graph,
                         struct sp_err *err) {
  post(s, STK_WORK_EVAL, stage);
  s->m.group->work.batch = index;
  sp_status st = meet(s, err);
  if (!st) {
    st = stk_step_eval(s, stage, batch, ctx, acc, out_graph, err);
    st = st ? fail_here(s, st, err) : meet(s, err);
  }
  for (int32_t l = s->lane_hi; l < s->c.n_lanes && !st; l++) {
    memcpy(acc + (int64_t)l * STK_GRAPH_MAX_LOGS, s->m.group->lane[l].step, LANE_ACC_BYTES);
  }
  stk_session_beat(s, STK_GROUP_IDLE);
  return st;
}

sp_status stk_session_dismiss(stk_session *s, struct sp_err *err) {
  if (stk_session_is_alone(s)) {
    return SP_OK;
  }
  post(s, STK_WORK_LEAVE, STK_TRAIN);
  sp_status st = meet(s, err);
  stk_session_beat(s, STK_GROUP_IDLE);
  return st;
}

/* ---- followers */

struct following {
  stk_session *s;
  const struct stk_follow *f;
  const struct stk_group_work *work;
};

/* The batch that this rank wants after micro-batch `micro` of `lane`, as far as can be said now. */
static struct stk_batch_at after(const struct following *v, int32_t lane, int64_t micro) {
  const struct stk_group_work *work = v->work;
  const bool trains = work->kind == STK_WORK_TRAIN;
  const int64_t n_micro = trains ? work->n_micro : 1;
  struct stk_batch_at at = {(stk_stage)work->stage, trains ? work->epoch : 0, lane,
                            work->batch + micro + 1};
  if (micro + 1 < n_micro) {
    return at;
  }
  if (lane + 1 < v->s->lane_hi) {
    at.lane++;
    at.batch = work->batch;
    return at;
  }
  at.lane = v->s->lane_lo;
  at.batch = work->batch + n_micro;
  if (trains && work->n_batches > 0 && at.batch >= work->n_batches) {
    at.batch = 0;
    at.epoch++;
  }
  return at;
}

static sp_status give_batch(void *ctx, int32_t lane, int64_t micro, struct stk_lane_batch *out,
                            struct sp_err *err) {
  const struct following *v = ctx;
  const struct stk_batch_at then = after(v, lane, micro);
  const struct stk_batch_at at = {(stk_stage)v->work->stage,
                                  v->work->kind == STK_WORK_TRAIN ? v->work->epoch : 0, lane,
                                  v->work->batch + micro};
  return v->f->batch(v->f->ctx, &at, &then, out, err);
}

/* The lead's view of the state, as far as a step reads it. Scalars go by name: programs may have
 * been made in another order here. */
static void take_view(stk_session *s, const struct stk_group_work *work) {
  struct stk_control *now = s->state->now;
  now->slot = work->slot;
  now->running = work->running;
  now->epoch = work->epoch;
  now->batch = work->batch;
  now->global_step = work->global_step;
  s->state->write = work->write;
  for (int32_t i = 0; i < work->n_scalars; i++) {
    double *mine = stk_session_scalar(s, work->scalar_name[i]);
    if (mine) {
      *mine = work->scalar[i];
    }
  }
}

static sp_status follow_train(struct following *v, struct sp_err *err) {
  stk_session *s = v->s;
  const struct stk_graph *graph = NULL;
  const struct stk_window w = {.batch = give_batch,
                               .ctx = v,
                               .n_micro = v->work->n_micro,
                               .lr = v->work->rate,
                               .epoch_acc = s->epoch_acc};
  double norm;
  take_epoch(s);
  return run_window(s, &w, &graph, &norm, err);
}

static sp_status follow_eval(struct following *v, struct sp_err *err) {
  stk_session *s = v->s;
  const struct stk_graph *graph = NULL;
  const size_t n_own = (size_t)(s->lane_hi - s->lane_lo) * STK_GRAPH_MAX_LOGS;
  memset(s->step_acc + (int64_t)s->lane_lo * STK_GRAPH_MAX_LOGS, 0, n_own * sizeof *s->step_acc);
  sp_status st =
      stk_step_eval(s, (stk_stage)v->work->stage, give_batch, v, s->step_acc, &graph, err);
  if (st) {
    return fail_here(s, st, err);
  }
  tell_lanes(s, NULL, s->step_acc);
  return meet(s, err);
}

sp_status stk_session_follow(stk_session *s, const struct stk_follow *f, struct sp_err *err) {
  if (!s->is_joined || s->m.rank == 0) {
    return sp_fail(err, SP_EINVAL, "rank %d cannot follow: join as another rank than 0 first",
                   (int)s->m.rank);
  }
  struct following v = {s, f, &s->m.group->work};
  sp_status st = SP_OK;
  stk_fp_enter();
  while (!st) {
    st = meet(s, err);
    if (st || v.work->kind == STK_WORK_LEAVE) {
      break;
    }
    take_view(s, v.work);
    stk_group_beat_work(&s->m.group->rank[s->m.rank], v.work->global_step, STK_GROUP_DATA);
    st = v.work->kind == STK_WORK_TRAIN ? follow_train(&v, err) : follow_eval(&v, err);
  }
  stk_session_beat(s, STK_GROUP_IDLE);
  return st;
}
