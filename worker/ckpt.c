/* Tensors of a session for saving and loading. See ckpt.h. */
#include "worker/ckpt.h"

#include <stdio.h>
#include <string.h>

#include "engine/nn/module.h"
#include "proto/base/mem.h"
#include "worker/ckpt_fits.h"

/* A batch norm's counter of training batches: PyTorch saves one per layer, and nothing here reads
 * it; the control page counts them for all. */
static const char tracked_suffix[] = ".num_batches_tracked";

struct tensors {
  struct stk_ckpt_tensor *items;
  char (*names)[192];
  size_t n;
  int64_t tracked; /* the value of every num_batches_tracked */
};

static void put(struct tensors *t, const char *prefix, const char *name, enum stk_ckpt_role role,
                stk_st_dtype dtype, const struct stk_shape *shape, const void *data) {
  struct stk_ckpt_tensor *x = &t->items[t->n];
  snprintf(t->names[t->n], sizeof t->names[0], "%s%s", prefix, name);
  *x = (struct stk_ckpt_tensor){
      .name = t->names[t->n], .role = role, .dtype = dtype, .rank = shape->rank, .data = data};
  for (int32_t d = 0; d < shape->rank; d++) {
    x->dims[d] = shape->dim[d];
  }
  t->n++;
}

/* After "bn.running_mean" comes "bn.num_batches_tracked". */
static void put_tracked(struct tensors *t, const char *running) {
  static const char mean[] = ".running_mean";
  static const struct stk_shape scalar = {.rank = 0};
  size_t n = strlen(running), m = sizeof mean - 1;
  if (n > m && strcmp(running + n - m, mean) == 0) {
    char name[160];
    snprintf(name, sizeof name, "%.*s%s", (int)(n - m), running, tracked_suffix);
    put(t, "", name, STK_CKPT_MODEL, STK_ST_I64, &scalar, &t->tracked);
  }
}

/* Everything in the slot and running copy that `now` names. weights_only: parameters and running
 * statistics. */
static sp_status collect(struct sw_setup *s, bool weights_only, struct tensors *t,
                         struct sp_err *err) {
  const struct stk_module *m = s->module;
  struct stk_state *st = stk_session_state(s->session);
  const struct stk_layout *l = &st->layout;
  size_t most = (size_t)m->n_params * 3 + (size_t)m->n_running * 2 + 1;
  static const char *const adam[] = {"exp_avg.", "exp_avg_sq."};
  stk_st_dtype real = l->real_bytes == 8 ? STK_ST_F64 : STK_ST_F32;
  t->items = sp_alloc_array(most, sizeof *t->items);
  t->names = sp_alloc_array(most, sizeof *t->names);
  t->n = 0;
  t->tracked = st->now->total_batches;
  if (!t->items || !t->names) {
    return sp_fail(err, SP_ENOMEM, "no memory to list the checkpoint's tensors");
  }
  for (int32_t k = 0; k < (weights_only ? 1 : l->n_sections); k++) {
    const char *prefix = k == 0 ? "" : l->n_sections == 2 ? "momentum_buffer." : adam[k - 1];
    for (int32_t i = 0; i < m->n_params; i++) {
      put(t, prefix, m->params[i]->name, k == 0 ? STK_CKPT_MODEL : STK_CKPT_OPTIM, real,
          &m->params[i]->shape,
          stk_state_read_slot(st) + k * l->section_bytes + l->param_offset[i]);
    }
  }
  for (int32_t i = 0; i < m->n_running; i++) {
    put(t, "", m->running[i].name, STK_CKPT_MODEL, real, &m->running[i].shape,
        st->running[st->now->running] + l->running_offset[i]);
    put_tracked(t, m->running[i].name);
  }
  return SP_OK;
}

static void release(struct tensors *t) {
  sp_free(t->items);
  sp_free(t->names);
}

/* The same tensors as places to load into; released with sp_free. */
static sp_status make_targets(const struct tensors *t, struct stk_ckpt_target **out,
                              struct sp_err *err) {
  struct stk_ckpt_target *to = sp_alloc_array(t->n, sizeof *to);
  if (!to) {
    return sp_fail(err, SP_ENOMEM, "no memory to load %zu tensors", t->n);
  }
  for (size_t i = 0; i < t->n; i++) {
    const struct stk_ckpt_tensor *x = &t->items[i];
    to[i] = (struct stk_ckpt_target){.name = x->name,
                                     .dtype = x->dtype,
                                     .rank = x->rank,
                                     .data = (uint8_t *)(uintptr_t)x->data,
                                     .optional = x->data == &t->tracked};
    memcpy(to[i].dims, x->dims, sizeof x->dims[0] * (size_t)x->rank);
  }
  *out = to;
  return SP_OK;
}

/* What a plan points to. */
struct planned {
  struct tensors t;
  struct sw_hparams h;
  struct sw_ckpt_identity id;
  char phase[32];
  struct stk_st_pair summary[1];
  struct stk_ckpt_plan plan;
};

/* Everything in the slot that `now` names, and `now`; released with release(&p->t). */
static sp_status make_plan(struct sw_setup *s, const char *parent, const char *run_name,
                           struct planned *p, struct sp_err *err) {
  struct stk_state *state = stk_session_state(s->session);
  *p = (struct planned){.t = {0}};
  snprintf(p->phase, sizeof p->phase, "%d", state->now->phase);
  p->summary[0] = (struct stk_st_pair){"phase", p->phase};
  sw_hparams_get(s->module, &p->h);
  sp_status st = sw_ckpt_identify(s, &p->id, err);
  st = st ? st : collect(s, false, &p->t, err);
  p->plan = (struct stk_ckpt_plan){.parent = parent,
                                   .job = run_name,
                                   .step = state->now->global_step,
                                   .epoch = state->now->epoch,
                                   .numerics = p->id.numerics,
                                   .precision = p->id.precision,
                                   .lanes = p->id.lanes,
                                   .graph_hash = p->id.graph_hash,
                                   .module = s->module->def->name,
                                   .module_sha256 = s->module_sha256,
                                   .state_version = s->module->def->state_version,
                                   .hparams = p->h.pairs,
                                   .n_hparams = p->h.n,
                                   .summary = p->summary,
                                   .n_summary = 1,
                                   .control_version = STK_CONTROL_VERSION,
                                   .control = state->now,
                                   .control_bytes = state->control_bytes,
                                   .identity = stk_state_identity(state),
                                   .identity_bytes = state->control_bytes,
                                   .tensors = p->t.items,
                                   .n_tensors = p->t.n};
  return st;
}

sp_status sw_ckpt_save(struct sw_setup *s, const char *parent, const char *run_name,
                       struct stk_ckpt_saved *out, struct sp_err *err) {
  struct planned p;
  sp_status st = make_plan(s, parent, run_name, &p, err);
  st = st ? st : stk_ckpt_save(&p.plan, out, err);
  release(&p.t);
  return st;
}

sp_status sw_ckpt_write(struct sw_setup *s, const struct sw_ckpt_order *o,
                        struct stk_ckpt_receipt *out, struct sp_err *err) {
  struct stk_state *state = stk_session_state(s->session);
  struct planned p;
  memcpy(state->now, stk_state_order_page(o->order), state->control_bytes);
  state->now->slot = o->order->slot;
  state->now->running = state->layout.running_bytes ? o->order->slot : 0;
  sp_status st = make_plan(s, o->parent, o->run_name, &p, err);
  p.plan.generation = o->generation;
  p.plan.order_run = o->run;
  p.plan.order_seq = o->order->seq;
  st = st ? st : stk_ckpt_write(&p.plan, out, err);
  release(&p.t);
  return st;
}

static sp_status read_tensors(struct sw_setup *s, const struct stk_ckpt *ck, bool weights_only,
                              struct sp_err *err) {
  struct tensors t = {0};
  struct stk_ckpt_target *to = NULL;
  sp_status st = collect(s, weights_only, &t, err);
  st = st ? st : make_targets(&t, &to, err);
  st = st ? st : stk_ckpt_read(ck, to, t.n, !weights_only, err);
  sp_free(to);
  release(&t);
  return st;
}

/* What was read into slot 0 and running copy 0 stands in all. */
static void mirror_slots(struct sw_setup *s) {
  struct stk_state *st = stk_session_state(s->session);
  stk_state_mirror(st, st->layout.section_bytes * st->layout.n_sections);
}

sp_status sw_ckpt_resume(struct sw_setup *s, const char *path, struct sp_err *err) {
  struct stk_ckpt ck = {0};
  sp_status st = stk_ckpt_open(path, &ck, err);
  if (!st && (st = sw_ckpt_fits(s, &ck.manifest, err)) != SP_OK) {
    (void)sp_wrap(err, "%s", path);
  }
  st = st ? st : read_tensors(s, &ck, false, err);
  if (!st) {
    sw_ckpt_take_control(s, &ck.manifest);
    mirror_slots(s);
  }
  stk_ckpt_close(&ck);
  return st;
}

sp_status sw_ckpt_load_weights(struct sw_setup *s, const char *path, struct sp_err *err) {
  struct stk_ckpt ck = {0};
  sp_status st = stk_ckpt_open(path, &ck, err);
  st = st ? st : read_tensors(s, &ck, true, err);
  if (!st) {
    struct stk_control *now = stk_session_state(s->session)->now;
    now->global_step = ck.manifest.step;
    now->epoch = ck.manifest.epoch;
    mirror_slots(s);
  }
  stk_ckpt_close(&ck);
  return st;
}

enum { MAX_MAP = 256 };

sp_status sw_ckpt_fine_tune(struct sw_setup *s, char *out_text, size_t text_bytes,
                            struct sp_err *err) {
  const struct sp_weights_opts *w = &s->job->weights;
  struct stk_ckpt_rename map[MAX_MAP];
  struct tensors t = {0};
  struct stk_weights_report r = {0};
  struct stk_ckpt_target *to = NULL;
  if (w->n_map > MAX_MAP) {
    return sp_fail(err, SP_EINVAL, "weights.map: more than %d rules", MAX_MAP);
  }
  for (size_t i = 0; i < w->n_map; i++) {
    map[i] = (struct stk_ckpt_rename){w->map[i].theirs, w->map[i].ours};
  }
  sp_status st = collect(s, true, &t, err);
  st = st ? st : make_targets(&t, &to, err);
  st = st ? st : stk_weights_load(w->path, map, w->n_map, w->strict, to, t.n, &r, err);
  sp_free(to);
  release(&t);
  if (!st) {
    mirror_slots(s);
    snprintf(out_text, text_bytes,
             "weights: %zu tensors from %s (%zu parameters not in it, %zu tensors not used)",
             r.n_loaded, w->path, r.n_missing, r.n_unexpected);
  }
  return st;
}

sp_status sw_ckpt_export(struct sw_setup *s, const char *path, struct sp_err *err) {
  struct tensors t = {0};
  struct stk_st_entry *e = NULL;
  const void **data = NULL;
  sp_status st = collect(s, true, &t, err);
  if (!st) {
    e = sp_alloc_array(t.n, sizeof *e);
    data = sp_alloc_array(t.n, sizeof *data);
    st = e && data ? SP_OK : sp_fail(err, SP_ENOMEM, "no memory to export weights");
  }
  for (size_t i = 0; !st && i < t.n; i++) {
    e[i] = (struct stk_st_entry){
        .name = t.names[i], .dtype = t.items[i].dtype, .rank = t.items[i].rank};
    memcpy(e[i].dims, t.items[i].dims, sizeof t.items[i].dims[0] * (size_t)t.items[i].rank);
    data[i] = t.items[i].data;
  }
  st = st ? st : stk_st_write_file(path, e, data, t.n, NULL, 0, err);
  sp_free(e);
  sp_free((void *)(uintptr_t)data);
  release(&t);
  return st;
}
