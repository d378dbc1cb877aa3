/* Tracing: run a step function over symbols, twice, and compare. */
#include <string.h>

#include "engine/nn/module.h"

static stk_t (*step_of(const stk_module_def *d, stk_stage stage))(const void *, const stk_batch *) {
  switch (stage) {
    case STK_TRAIN:
      return d->training_step;
    case STK_VALIDATE:
      return d->validation_step;
    case STK_TEST:
      return d->test_step;
    case STK_PREDICT:
      break;
  }
  return d->predict_step;
}

static const char *step_name(stk_stage stage) {
  static const char *const names[] = {"training_step", "validation_step", "test_step",
                                      "predict_step"};
  return names[stage];
}

/* The element type a model sees for a sample's: images and floats are reals, other integers are
 * ids. */
static stk_dtype seen_as(const stk_sample *s, stk_dtype real, bool is_x) {
  bool floats = s->dtype == STK_F32 || s->dtype == STK_F64 || (s->dtype == STK_U8 && is_x);
  return floats ? real : STK_I32;
}

static stk_t batch_leaf(struct stk_graph *g, stk_role role, const stk_sample *s, int64_t batch) {
  struct stk_shape shape = {.rank = s->rank + 1, .dim = {batch}};
  for (int32_t i = 0; i < s->rank; i++) {
    shape.dim[1 + i] = s->dims[i];
  }
  return stk_symbol(g, stk_graph_leaf(g, role, 0, seen_as(s, g->real, role == STK_ROLE_X), &shape));
}

static sp_status trace_once(struct stk_module *m, const struct stk_trace_spec *spec,
                            struct stk_graph **out_g, struct sp_err *err) {
  struct stk_graph_spec gs = {.stage = spec->stage,
                              .real = spec->real,
                              .params = m->param_leaves,
                              .n_params = m->n_params,
                              .running = m->running_leaves,
                              .n_running = m->n_running};
  struct stk_graph *g;
  sp_status st = stk_graph_new(&gs, &g, err);
  if (st) {
    return st;
  }
  g->batch = spec->batch;
  stk_batch b = {.n = spec->batch};
  b.x = batch_leaf(g, STK_ROLE_X, spec->x, spec->batch);
  b.y = spec->y ? batch_leaf(g, STK_ROLE_Y, spec->y, spec->batch) : stk_symbol(g, -1);
  g->x = b.x.id;
  g->y = b.y.id;
  stk_t r = step_of(m->def, spec->stage)(m->self, &b);
  if (g->failed) {
    st = sp_fail(err, g->err.status == SP_ENOMEM ? SP_ENOMEM : SP_EMODULE, "module %s, %s: %s",
                 m->def->name, step_name(spec->stage), g->err.text);
  } else if (r.g != g || r.id < 0) {
    st = spec->stage == STK_VALIDATE || spec->stage == STK_TEST
             ? SP_OK
             : sp_fail(err, SP_EMODULE, "module %s: %s returned no tensor", m->def->name,
                       step_name(spec->stage));
  } else {
    g->loss = r.id;
  }
  if (!st && spec->stage == STK_TRAIN && stk_numel(r) != 1) {
    st = sp_fail(err, SP_EMODULE, "module %s: training_step must return a scalar loss",
                 m->def->name);
  }
  if (!st && spec->stage == STK_PREDICT && stk_dim(r, 0) != spec->batch) {
    st = sp_fail(err, SP_EMODULE,
                 "module %s: the first dim of predict_step's result must be the batch",
                 m->def->name);
  }
  if (st) {
    stk_graph_free(g);
    return st;
  }
  *out_g = g;
  return SP_OK;
}

sp_status stk_module_trace(struct stk_module *m, const struct stk_trace_spec *spec,
                           struct stk_graph **out_g, struct sp_err *err) {
  if (!step_of(m->def, spec->stage)) {
    return sp_fail(err, SP_ENOENT, "module %s has no %s", m->def->name, step_name(spec->stage));
  }
  struct stk_graph *first, *second;
  sp_status st = trace_once(m, spec, &first, err);
  if (st) {
    return st;
  }
  st = trace_once(m, spec, &second, err);
  if (st) {
    stk_graph_free(first);
    return st;
  }
  bool same = stk_graph_hash(first) == stk_graph_hash(second);
  stk_graph_free(second);
  if (!same) {
    stk_graph_free(first);
    return sp_fail(
        err, SP_EMODULE,
        "module %s: two traces of %s differ; it must not depend on statics, time or random numbers",
        m->def->name, step_name(spec->stage));
  }
  *out_g = first;
  return SP_OK;
}
