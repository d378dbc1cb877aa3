/* Sessions: programs per shape, the optimizer step over lanes, evaluation batches. */
#include "engine/trainer/session.h"

#include <math.h>
#include <string.h>

#include "engine/exec/fpenv.h"
#include "engine/ops/ops.h"
#include "engine/trainer/ids.h"
#include "proto/base/mem.h"

enum { MAX_PROGRAMS = 64, MAX_LEVELS = 24, STREAM_BYTES = 8 << 20 };

struct cached {
  stk_stage stage;
  int64_t batch;
  struct stk_graph *graph;
  stk_program *program;
  int32_t scalar[STK_GRAPH_MAX_HOST]; /* the page's index of each host scalar of the graph */
};

struct stk_session {
  struct stk_session_config c;
  struct stk_state *state;
  struct cached programs[MAX_PROGRAMS];
  int32_t n_programs;
  uint8_t
      *grad[MAX_LEVELS]; /* the binary counter of partial lane sums, then the micro-batch buffer */
  int32_t n_grad;
  uint8_t *micro;       /* gradients of micro-batches after the first; NULL when accumulate is 1 */
  uint8_t *running_out; /* where lanes other than 0 leave their running statistics */
  uint8_t *host;        /* host scalars as reals */
  double *sumsq;
  int64_t n_chunks;
  struct stk_rng_ctx rng;
  struct stk_optimizer *optimizer;
  struct stk_optim_tensor *tensors;
  char scalar_names[STK_GRAPH_MAX_HOST][64]; /* host scalars in the page's order */
  int32_t n_scalars;
  int64_t x_limit, y_limit; /* ids of a batch are below these; 0: any */
  struct stk_acc *step_acc; /* [n_lanes][STK_GRAPH_MAX_LOGS] */
  uint8_t *scratch;         /* for kernels outside programs */
  size_t scratch_bytes;
  uint8_t *frozen;
};

struct stk_state *stk_session_state(stk_session *s) {
  return s->state;
}

const struct stk_session_config *stk_session_config_of(const stk_session *s) {
  return &s->c;
}

int32_t stk_session_grad_buffers(const stk_session *s) {
  return s->n_grad + (s->micro ? 1 : 0);
}

/* ---- making */

static int32_t levels_of(int32_t n_lanes) {
  int32_t n = 1;
  while ((1 << n) <= n_lanes) {
    n++;
  }
  return n;
}

static bool buffers_new(stk_session *s) {
  const struct stk_layout *l = &s->state->layout;
  size_t bytes = (size_t)l->section_bytes;
  s->n_grad = levels_of(s->c.n_lanes) + (s->c.n_lanes > 1 ? 1 : 0);
  for (int32_t i = 0; i < s->n_grad; i++) {
    s->grad[i] = sp_alloc_aligned(4096, bytes);
    if (!s->grad[i]) {
      return false;
    }
  }
  s->micro = s->c.accumulate > 1 ? sp_alloc_aligned(4096, bytes) : NULL;
  s->running_out = sp_alloc_aligned(64, (size_t)l->running_bytes + 64);
  s->host = sp_alloc_aligned(64, STK_GRAPH_MAX_HOST * 8);
  s->n_chunks = (l->section_bytes / l->real_bytes + STK_STATE_CHUNK - 1) / STK_STATE_CHUNK;
  s->sumsq = sp_alloc_array((size_t)s->n_chunks, sizeof *s->sumsq);
  s->step_acc = sp_alloc_array((size_t)s->c.n_lanes * STK_GRAPH_MAX_LOGS, sizeof *s->step_acc);
  s->scratch_bytes = 256 << 10;
  s->scratch = sp_alloc_aligned(4096, s->scratch_bytes * (size_t)stk_pool_n_threads(s->c.pool));
  return (!(s->c.accumulate > 1) || s->micro) && s->running_out && s->host && s->sumsq &&
         s->step_acc && s->scratch;
}

static sp_status optimizer_new(stk_session *s, struct sp_err *err) {
  const struct stk_module *m = s->c.module;
  struct stk_optim_tensor *t = sp_alloc_array((size_t)m->n_params + 1, sizeof *t);
  s->tensors = t;
  if (!t) {
    return sp_fail(err, SP_ENOMEM, "no memory for the optimizer");
  }
  int64_t at = 0, real = s->c.real_bits / 8;
  for (int32_t i = 0; i < m->n_params; i++) {
    int64_t n = stk_shape_numel(&m->params[i]->shape);
    t[i] = (struct stk_optim_tensor){m->params[i]->name, at / real, n};
    at = stk_state_next_offset(at, n * real);
  }
  return stk_optimizer_new(s->c.optimizer, t, (size_t)m->n_params, &s->optimizer, err);
}

const struct stk_optimizer *stk_session_optimizer(const stk_session *s) {
  return s->optimizer;
}

sp_status stk_session_new(const struct stk_session_config *config, stk_session **out_s,
                          struct sp_err *err) {
  const struct stk_module *m = config->module;
  stk_session *s = sp_alloc(sizeof *s);
  uint8_t *frozen = sp_alloc((size_t)m->n_params + 1);
  if (!s || !frozen) {
    sp_free(s);
    sp_free(frozen);
    return sp_fail(err, SP_ENOMEM, "no memory for a session");
  }
  s->c = *config;
  s->frozen = frozen;
  s->rng.seed = config->seed;
  for (int32_t i = 0; i < m->n_params; i++) {
    frozen[i] = stk_optim_is_frozen(config->optimizer, m->params[i]->name);
  }
  sp_status st = stk_module_leaves(config->module, frozen, err);
  if (!st) {
    st = optimizer_new(s, err);
  }
  if (!st) {
    struct stk_state_spec spec = {config->real_bits / 8, 1 + s->optimizer->n_moments,
                                  config->n_lanes, config->n_slots ? config->n_slots : 2};
    st = stk_state_new(m, &spec, config->memory, &s->state, err);
  }
  if (!st && !buffers_new(s)) {
    st = sp_fail(err, SP_ENOMEM, "no memory for gradients (%lld bytes each)",
                 (long long)s->state->layout.section_bytes);
  }
  if (st) {
    stk_session_free(s);
    return st;
  }
  *out_s = s;
  return SP_OK;
}

void stk_session_free(stk_session *s) {
  if (!s) {
    return;
  }
  for (int32_t i = 0; i < s->n_programs; i++) {
    stk_program_free(s->programs[i].program);
    stk_graph_free(s->programs[i].graph);
  }
  for (int32_t i = 0; i < s->n_grad; i++) {
    sp_free_aligned(s->grad[i]);
  }
  sp_free_aligned(s->micro);
  sp_free_aligned(s->running_out);
  sp_free_aligned(s->host);
  sp_free_aligned(s->scratch);
  sp_free(s->sumsq);
  sp_free(s->step_acc);
  sp_free(s->frozen);
  sp_free(s->tensors);
  stk_optimizer_free(s->optimizer);
  stk_state_free(s->state);
  sp_free(s);
}

/* ---- programs */

/* Finds the graph's host scalars in the page by name; a new one gets the next place and its initial
 * value, unless a resumed page brought one. */
static sp_status place_scalars(stk_session *s, struct cached *p, struct sp_err *err) {
  struct stk_control *now = s->state->now;
  for (int32_t i = 0; i < p->graph->n_hosts; i++) {
    const struct stk_host_scalar *h = &p->graph->hosts[i];
    int32_t k = 0;
    while (k < s->n_scalars && strcmp(s->scalar_names[k], h->name) != 0) {
      k++;
    }
    if (k == STK_GRAPH_MAX_HOST) {
      return sp_fail(err, SP_EMODULE, "more than %d host scalars over all steps", k);
    }
    if (k == s->n_scalars) {
      memcpy(s->scalar_names[s->n_scalars++], h->name, sizeof h->name);
    }
    if (k >= now->n_scalars) {
      now->scalars[k] = h->initial;
      now->n_scalars = k + 1;
    }
    p->scalar[i] = k;
  }
  return SP_OK;
}

double *stk_session_scalar(stk_session *s, const char *name) {
  for (int32_t i = 0; i < s->n_scalars; i++) {
    if (strcmp(s->scalar_names[i], name) == 0) {
      return &s->state->now->scalars[i];
    }
  }
  return NULL;
}

void stk_session_id_limits(const stk_session *s, int64_t *out_x, int64_t *out_y) {
  *out_x = s->x_limit;
  *out_y = s->y_limit;
}

/* A trainable parameter that the loss does not depend on has no gradient: the optimizer leaves it
 * alone, decay included (PyTorch skips a grad of None). */
static void skip_unused(stk_session *s, const struct stk_graph *g) {
  for (int32_t i = 0; i < g->n_params; i++) {
    if (g->params[i].trainable && g->param_grad[i] < 0) {
      stk_optimizer_skip(s->optimizer, s->tensors, (size_t)i);
    }
  }
}

static sp_status compile(stk_session *s, struct cached *p, struct sp_err *err) {
  stk_dtype real = s->c.real_bits == 64 ? STK_F64 : STK_F32;
  struct stk_trace_spec ts = {.stage = p->stage,
                              .real = real,
                              .batch = p->batch,
                              .x = &s->c.x,
                              .y = s->c.has_y ? &s->c.y : NULL};
  sp_status st = stk_module_trace(s->c.module, &ts, &p->graph, err);
  if (!st && p->stage == STK_TRAIN) {
    st = stk_pass_autodiff(p->graph, 1.0 / (double)s->c.accumulate, err);
  }
  if (!st) {
    p->graph->identity = stk_graph_hash(p->graph);
  }
  st = st ? st : stk_ids_limits(p->graph, &s->x_limit, &s->y_limit, err);
  st = st ? st : place_scalars(s, p, err);
  if (!st && p->stage == STK_TRAIN) {
    skip_unused(s, p->graph);
  }
  if (!st && s->c.fuse) {
    st = stk_pass_fuse(p->graph, err);
  }
  if (!st && p->stage == STK_TRAIN && s->c.recompute != STK_RECOMPUTE_OFF) {
    st = stk_pass_recompute(p->graph, s->c.recompute, err);
  }
  struct stk_program_spec ps = {.kernels = s->c.kernels,
                                .n_threads = stk_pool_n_threads(s->c.pool),
                                .param_offset = s->state->layout.param_offset,
                                .running_offset = s->state->layout.running_offset,
                                .in_place = s->c.in_place};
  if (!st) {
    st = stk_program_new(p->graph, &ps, &p->program, err);
  }
  if (st) {
    stk_graph_free(p->graph);
    p->graph = NULL;
    return st;
  }
  stk_program_bind(p->program, STK_BASE_RNG, &s->rng);
  stk_program_bind(p->program, STK_BASE_HOST, s->host);
  return SP_OK;
}

static sp_status get_program(stk_session *s, stk_stage stage, int64_t batch,
                             const struct cached **out, struct sp_err *err) {
  for (int32_t i = 0; i < s->n_programs; i++) {
    if (s->programs[i].stage == stage && s->programs[i].batch == batch) {
      *out = &s->programs[i];
      return SP_OK;
    }
  }
  if (s->n_programs == MAX_PROGRAMS) {
    return sp_fail(err, SP_EINVAL, "more than %d different batch shapes", MAX_PROGRAMS);
  }
  struct cached *p = &s->programs[s->n_programs];
  *p = (struct cached){.stage = stage, .batch = batch};
  sp_status st = compile(s, p, err);
  if (!st) {
    s->n_programs++;
    *out = p;
  }
  return st;
}

sp_status stk_session_program(stk_session *s, stk_stage stage, int64_t batch, stk_program **out_p,
                              struct sp_err *err) {
  const struct cached *p;
  sp_status st = get_program(s, stage, batch, &p, err);
  if (!st) {
    *out_p = p->program;
  }
  return st;
}

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

static sp_status run_program(stk_session *s, stk_program *p, struct sp_err *err) {
  static const stk_action steps[] = {STK_ACTION_TRAIN_STEP, STK_ACTION_VALIDATE_STEP,
                                     STK_ACTION_TEST_STEP, STK_ACTION_PREDICT_STEP};
  int64_t start = stk_profile_start(s->c.profiler);
  sp_status st = SP_OK;
  if (s->c.detect_anomaly) {
    st = run_checked(s, p, err);
  } else if (s->c.profiler) {
    stk_profile_program(s->c.profiler, p, s->c.pool);
  } else {
    stk_program_run(p, s->c.pool);
  }
  stk_profile_stop(s->c.profiler, steps[stk_program_graph(p)->stage], start);
  return st;
}

/* Host scalars as the program's graph numbers them. */
static void set_scalars(stk_session *s, const struct cached *p) {
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
  struct stk_accumulate_args a = {x, y,
                                  s->state->layout.section_bytes / s->state->layout.real_bytes};
  run_kernel(s, s->c.kernels->accumulate, &a);
  stk_profile_stop(s->c.profiler, STK_ACTION_REDUCE, start);
}

static sp_status lane_gradient(stk_session *s, const struct stk_window *w, int32_t lane,
                               uint8_t *into, struct stk_window_result *r, double *out_loss,
                               struct sp_err *err) {
  struct stk_state *st = s->state;
  for (int64_t k = 0; k < w->n_micro; k++) {
    struct stk_lane_batch b = {0};
    const struct cached *made;
    sp_status status = w->batch(w->ctx, lane, k, &b, err);
    status = status ? status : get_program(s, STK_TRAIN, b.n, &made, err);
    if (status) {
      return status;
    }
    stk_program *p = made->program;
    set_scalars(s, made);
    s->rng.batch = b.index;
    s->rng.lane = (uint32_t)lane;
    s->rng.stage = STK_TRAIN;
    uint8_t *run_out = lane == 0 ? st->running[st->write] : s->running_out;
    stk_program_bind(p, STK_BASE_X, b.x);
    stk_program_bind(p, STK_BASE_Y, b.y);
    stk_program_bind(p, STK_BASE_PARAM, stk_state_read_slot(st));
    stk_program_bind(p, STK_BASE_GRAD, k == 0 ? into : s->micro);
    stk_program_bind(p, STK_BASE_RUNNING, k == 0 ? st->running[st->now->running] : run_out);
    stk_program_bind(p, STK_BASE_RUNNING_OUT, run_out);
    status = run_program(s, p, err);
    if (status) {
      return status;
    }
    if (k > 0) {
      add_into(s, into, s->micro);
    }
    const struct stk_graph *g = stk_program_graph(p);
    collect(s, p, b.n, w->epoch_acc ? w->epoch_acc + (int64_t)lane * STK_GRAPH_MAX_LOGS : NULL,
            s->step_acc + (int64_t)lane * STK_GRAPH_MAX_LOGS);
    r->logged.graph = g;
    r->samples += b.n;
    *out_loss = real_at(s, stk_program_value(p, g->loss));
  }
  return SP_OK;
}

/* y = (y + x) / lanes: the last addition of the lane tree and the one division, in one pass. */
static void add_and_divide(stk_session *s, uint8_t *y, uint8_t *x) {
  int64_t start = stk_profile_start(s->c.profiler);
  double d = s->c.n_lanes;
  float f = (float)d;
  struct stk_chain_args a = {.n_in = 3, .n_out = 1, .n_op = 2, .dim = {1, 1, 1, 1}};
  a.in[0] = a.out[0] = y;
  a.in[1] = x;
  a.in[2] = s->c.real_bits == 64 ? (void *)&d : (void *)&f;
  a.dim[3] = s->state->layout.section_bytes / s->state->layout.real_bytes;
  a.in_stride[0][3] = a.in_stride[1][3] = 1;
  a.op[0] = (struct stk_chain_op){.op = STK_EW_ADD, .a = 0, .b = 1};
  a.op[1] = (struct stk_chain_op){.op = STK_EW_DIV, .a = 3, .b = 2};
  a.out_reg[0] = 4;
  run_kernel(s, s->c.kernels->chain, &a);
  stk_profile_stop(s->c.profiler, STK_ACTION_REDUCE, start);
}

/* Adds the counter's topmost partial sum to the one below it. all: every lane is in the counter. */
static void merge_top(stk_session *s, int32_t depth, bool all) {
  if (all && depth == 2) {
    add_and_divide(s, s->grad[0], s->grad[1]);
  } else {
    add_into(s, s->grad[depth - 2], s->grad[depth - 1]);
  }
}

/* The mean of the lanes' gradients in the fixed tree, by a binary counter of partial sums, in
 * grad[0].
 */
static sp_status all_gradients(stk_session *s, const struct stk_window *w,
                               struct stk_window_result *r, struct sp_err *err) {
  int32_t size[MAX_LEVELS], depth = 0;
  double losses = 0.0;
  for (int32_t lane = 0; lane < s->c.n_lanes; lane++) {
    double loss = 0.0;
    sp_status st = lane_gradient(s, w, lane, s->grad[depth], r, &loss, err);
    if (st) {
      return st;
    }
    losses += loss;
    size[depth++] = 1;
    while (depth >= 2 && size[depth - 1] == size[depth - 2]) {
      merge_top(s, depth, lane + 1 == s->c.n_lanes);
      size[--depth - 1] *= 2;
    }
  }
  for (; depth >= 2; depth--) {
    merge_top(s, depth, true);
  }
  r->loss = losses / s->c.n_lanes;
  return SP_OK;
}

static double clip_factor(stk_session *s, struct stk_window_result *r) {
  r->grad_norm = (double)NAN;
  if (!(s->c.clip_norm > 0.0)) {
    return 1.0;
  }
  int64_t start = stk_profile_start(s->c.profiler);
  struct stk_sumsq_args a = {s->grad[0], s->sumsq,
                             s->state->layout.section_bytes / s->state->layout.real_bytes};
  run_kernel(s, s->c.kernels->sumsq, &a);
  double scale = stk_optim_grad_scale(s->sumsq, s->n_chunks, s->c.clip_norm, &r->grad_norm);
  stk_profile_stop(s->c.profiler, STK_ACTION_CLIP, start);
  return scale;
}

static void apply(stk_session *s, const double *lr, double grad_scale) {
  struct stk_state *st = s->state;
  const struct stk_optimizer *o = s->optimizer;
  int64_t section = st->layout.section_bytes, real = st->layout.real_bytes;
  uint8_t *from = stk_state_read_slot(st), *to = stk_state_write_slot(st);
  int32_t n = st->layout.n_sections;
  for (size_t i = 0; i < o->n_slices; i++) {
    const struct stk_optim_slice *sl = &o->slice[i];
    struct stk_optim_scalars scalars;
    int64_t at = sl->offset * real;
    stk_optimizer_scalars(o, (size_t)sl->group, lr[sl->group], st->now->global_step + 1, grad_scale,
                          s->c.clip_value, &scalars);
    struct stk_optim_args a = {
        .p = from + at,
        .g = s->grad[0] + at,
        .p_out = to + at,
        .m = n > 1 ? from + section + at : NULL,
        .m_out = n > 1 ? to + section + at : NULL,
        .v = n > 2 ? from + 2 * section + at : NULL,
        .v_out = n > 2 ? to + 2 * section + at : NULL,
        .scalars = &scalars,
        .n = sl->n,
        .kind = (int32_t)o->kind,
        .stream = section * n > STREAM_BYTES,
    };
    run_kernel(s, s->c.kernels->optim, &a);
  }
}

sp_status stk_session_train(stk_session *s, const struct stk_window *w,
                            struct stk_window_result *out, struct sp_err *err) {
  struct stk_window_result r = {.logged.lanes = s->step_acc};
  stk_fp_enter();
  sp_status st = all_gradients(s, w, &r, err);
  if (st) {
    return st;
  }
  double scale = clip_factor(s, &r);
  int64_t start = stk_profile_start(s->c.profiler);
  apply(s, w->lr, scale);
  stk_profile_stop(s->c.profiler, STK_ACTION_OPTIMIZER, start);
  s->state->now->slot = s->state->write;
  s->state->now->running = s->state->layout.running_bytes ? s->state->write : 0;
  if (!stk_state_choose(s->state, -1)) {
    return sp_fail(err, SP_EINTERNAL, "no slot is free for the next step");
  }
  s->state->now->global_step++;
  *out = r;
  return SP_OK;
}

sp_status stk_session_eval(stk_session *s, stk_stage stage, int32_t lane,
                           const struct stk_lane_batch *b, struct stk_acc *acc,
                           const struct stk_graph **out_graph, const void **out_result,
                           struct sp_err *err) {
  const struct cached *made;
  struct stk_state *state = s->state;
  sp_status st = get_program(s, stage, b->n, &made, err);
  if (st) {
    return st;
  }
  stk_program *p = made->program;
  stk_fp_enter();
  set_scalars(s, made);
  s->rng.batch = b->index;
  s->rng.lane = (uint32_t)lane;
  s->rng.stage = stage;
  stk_program_bind(p, STK_BASE_X, b->x);
  stk_program_bind(p, STK_BASE_Y, b->y);
  stk_program_bind(p, STK_BASE_PARAM, stk_state_read_slot(state));
  stk_program_bind(p, STK_BASE_RUNNING, state->running[state->now->running]);
  st = run_program(s, p, err);
  if (st) {
    return st;
  }
  collect(s, p, b->n, acc, NULL);
  const struct stk_graph *g = stk_program_graph(p);
  if (out_graph) {
    *out_graph = g;
  }
  if (out_result) {
    *out_result = g->loss >= 0 ? stk_program_value(p, g->loss) : NULL;
  }
  return SP_OK;
}
