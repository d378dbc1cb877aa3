/* Sessions: programs per shape, the optimizer step over lanes, evaluation batches. */
#include "engine/trainer/session.h"

#include <string.h>

#include "engine/exec/pages.h"
#include "engine/trainer/ids.h"
#include "engine/trainer/session_own.h"
#include "proto/base/mem.h"

struct stk_state *stk_session_state(stk_session *s) {
  return s->state;
}

const struct stk_session_config *stk_session_config_of(const stk_session *s) {
  return &s->c;
}

int32_t stk_session_grad_buffers(const stk_session *s) {
  return stk_tree_buffers(s->c.n_lanes, 0, s->c.n_lanes) + (s->c.accumulate > 1 ? 1 : 0);
}

/* ---- making */

static bool buffers_new(stk_session *s) {
  const size_t n_lanes = (size_t)s->c.n_lanes, n_threads = (size_t)stk_pool_n_threads(s->c.pool);
  s->running_out = sp_alloc_aligned(64, (size_t)s->state->layout.running_bytes + 64);
  s->host = sp_alloc_aligned(64, STK_GRAPH_MAX_HOST * 8);
  s->step_acc = sp_alloc_array(n_lanes * STK_GRAPH_MAX_LOGS, sizeof *s->step_acc);
  s->lane = sp_alloc_array(n_lanes, sizeof *s->lane);
  s->group_scalars = sp_alloc_array(s->optimizer->n_groups, sizeof *s->group_scalars);
  s->scratch_bytes = stk_reduce_scratch_bytes();
  s->scratch = sp_alloc_aligned(4096, s->scratch_bytes * n_threads);
  return s->running_out && s->host && s->step_acc && s->lane && s->group_scalars && s->scratch;
}

/* One region for all ranks, whoever joins. */
static sp_status digests_new(stk_session *s, struct sp_err *err) {
  void *p = NULL;
  const size_t bytes = (stk_audit_bytes(s->state) + 4095) / 4096 * 4096;
  sp_status st = s->c.memory->get(s->c.memory->ctx, "audit", bytes ? bytes : 4096, &p, err);
  s->digests = p;
  return st;
}

void stk_session_audit(stk_session *s, struct stk_audit *out) {
  const int64_t start = stk_profile_start(s->c.profiler);
  stk_audit_fold(s->state, s->c.kernels, s->digests, out);
  stk_profile_stop(s->c.profiler, STK_ACTION_AUDIT, start);
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
  s->lane_hi = config->n_lanes; /* alone, until it joins */
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
  if (!st && s->c.audit) {
    st = digests_new(s, err);
  }
  if (!st && !buffers_new(s)) {
    st = sp_fail(err, SP_ENOMEM, "no memory for a session of %d lanes", (int)s->c.n_lanes);
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
  stk_ranks_free(s);
  sp_free_aligned(s->running_out);
  sp_free_aligned(s->host);
  sp_free_aligned(s->scratch);
  sp_free(s->step_acc);
  sp_free(s->lane);
  sp_free(s->group_scalars);
  sp_free(s->frozen);
  sp_free(s->tensors);
  stk_optimizer_free(s->optimizer);
  stk_state_free(s->state);
  sp_free(s);
}

/* ---- programs */

/* Finds the graph's host scalars in the page by name; a new one gets the next place and its initial
 * value, unless a resumed page brought one. */
static sp_status place_scalars(stk_session *s, struct stk_cached *p, struct sp_err *err) {
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

static sp_status compile(stk_session *s, struct stk_cached *p, struct sp_err *err) {
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

sp_status stk_session_get(stk_session *s, stk_stage stage, int64_t batch,
                          const struct stk_cached **out, struct sp_err *err) {
  for (int32_t i = 0; i < s->n_programs; i++) {
    if (s->programs[i].stage == stage && s->programs[i].batch == batch) {
      *out = &s->programs[i];
      return SP_OK;
    }
  }
  if (s->n_programs == STK_SESSION_PROGRAMS) {
    return sp_fail(err, SP_EINVAL, "more than %d different batch shapes", STK_SESSION_PROGRAMS);
  }
  struct stk_cached *p = &s->programs[s->n_programs];
  *p = (struct stk_cached){.stage = stage, .batch = batch};
  sp_status st = compile(s, p, err);
  if (!st) {
    s->n_programs++;
    *out = p;
  }
  return st;
}

sp_status stk_session_program(stk_session *s, stk_stage stage, int64_t batch, stk_program **out_p,
                              struct sp_err *err) {
  const struct stk_cached *p;
  sp_status st = stk_session_get(s, stage, batch, &p, err);
  if (!st) {
    *out_p = p->program;
  }
  return st;
}

/* ---- memory */

int64_t stk_session_own_bytes(const stk_session *s) {
  int64_t bytes = 0;
  for (int32_t i = 0; i < s->n_programs; i++) {
    struct stk_program_report r;
    stk_program_report(s->programs[i].program, &r);
    bytes += r.act_bytes + r.scratch_bytes * stk_pool_n_threads(s->c.pool);
  }
  return bytes;
}

void stk_session_warm(const stk_session *s, const atomic_bool *stop) {
  const struct stk_state *state = s->state;
  const size_t slot = (size_t)(state->layout.section_bytes * state->layout.n_sections);
  for (int32_t i = 0; i < s->n_programs; i++) {
    stk_program_warm(s->programs[i].program, stop);
  }
  for (int32_t i = 0; i < state->n_slots; i++) {
    stk_pages_populate(state->slot[i], slot, false, stop);
  }
}
