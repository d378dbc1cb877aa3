/* Tensors of a session for saving and loading. See ckpt.h. */
#include "worker/ckpt.h"

#include <stdio.h>
#include <string.h>

#include "engine/nn/module.h"
#include "proto/base/mem.h"

struct tensors {
  struct stk_ckpt_tensor *items;
  char (*names)[192];
  size_t n;
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

/* Everything in the slot and running copy that `now` names. weights_only: parameters and running
 * statistics. */
static bool collect(struct sw_setup *s, bool weights_only, struct tensors *t) {
  const struct stk_module *m = s->module;
  struct stk_state *st = stk_session_state(s->session);
  const struct stk_layout *l = &st->layout;
  size_t most = (size_t)m->n_params * 3 + (size_t)m->n_running + 1;
  static const char *const adam[] = {"exp_avg.", "exp_avg_sq."};
  stk_st_dtype real = l->real_bytes == 8 ? STK_ST_F64 : STK_ST_F32;
  t->items = sp_alloc_array(most, sizeof *t->items);
  t->names = sp_alloc_array(most, sizeof *t->names);
  t->n = 0;
  if (!t->items || !t->names) {
    return false;
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
  }
  return true;
}

static void release(struct tensors *t) {
  sp_free(t->items);
  sp_free(t->names);
}

static const char *precision(const struct sw_setup *s) {
  return s->job->trainer.precision == SP_PRECISION_64 ? "64-true" : "32-true";
}

static sp_status graph_hash(struct sw_setup *s, char out[17], struct sp_err *err) {
  stk_program *p;
  sp_status st = stk_session_program(s->session, STK_TRAIN, s->job->data.batch_size, &p, err);
  if (!st) {
    snprintf(out, 17, "%016llx", (unsigned long long)stk_program_graph(p)->identity);
  }
  return st;
}

enum { MAX_HPARAMS = 128 };

sp_status sw_ckpt_save(struct sw_setup *s, const char *parent, const char *run_name,
                       struct stk_ckpt_saved *out, struct sp_err *err) {
  struct stk_state *state = stk_session_state(s->session);
  struct tensors t;
  char hash[17], text[MAX_HPARAMS][96], phase[32];
  struct stk_st_pair pairs[MAX_HPARAMS], summary[1] = {{"phase", phase}};
  size_t n = 0;
  for (const stk_hparam *h = s->module->def->hparams; h && h->name && n < MAX_HPARAMS; h++) {
    pairs[n] = (struct stk_st_pair){h->name,
                                    stk_module_hparam_text(s->module, h, text[n], sizeof text[n])};
    n++;
  }
  snprintf(phase, sizeof phase, "%d", state->now->phase);
  sp_status st = graph_hash(s, hash, err);
  if (st) {
    return st;
  }
  if (!collect(s, false, &t)) {
    release(&t);
    return sp_fail(err, SP_ENOMEM, "no memory to list the checkpoint's tensors");
  }
  struct stk_ckpt_plan plan = {.parent = parent,
                               .job = run_name,
                               .step = state->now->global_step,
                               .epoch = state->now->epoch,
                               .numerics = 1,
                               .precision = precision(s),
                               .lanes = s->job->trainer.lanes,
                               .graph_hash = hash,
                               .module = s->module->def->name,
                               .module_sha256 = s->module_sha256,
                               .state_version = s->module->def->state_version,
                               .hparams = pairs,
                               .n_hparams = n,
                               .summary = summary,
                               .n_summary = 1,
                               .control_version = STK_CONTROL_VERSION,
                               .control = state->now,
                               .control_bytes = state->control_bytes,
                               .tensors = t.items,
                               .n_tensors = t.n};
  st = stk_ckpt_save(&plan, out, err);
  release(&t);
  return st;
}

static sp_status read_tensors(struct sw_setup *s, const struct stk_ckpt *ck, bool weights_only,
                              struct sp_err *err) {
  struct tensors t;
  struct stk_ckpt_target *to = NULL;
  sp_status st = SP_OK;
  if (collect(s, weights_only, &t)) {
    to = sp_alloc_array(t.n, sizeof *to);
  }
  if (!to) {
    st = sp_fail(err, SP_ENOMEM, "no memory to load a checkpoint");
  }
  for (size_t i = 0; to && i < t.n; i++) {
    const struct stk_ckpt_tensor *x = &t.items[i];
    uint8_t *base = (uint8_t *)(uintptr_t)x->data;
    to[i] =
        (struct stk_ckpt_target){.name = x->name, .dtype = x->dtype, .rank = x->rank, .data = base};
    memcpy(to[i].dims, x->dims, sizeof x->dims[0] * (size_t)x->rank);
  }
  st = st ? st : stk_ckpt_read(ck, to, t.n, !weights_only, err);
  sp_free(to);
  release(&t);
  return st;
}

static sp_status check_fits(struct sw_setup *s, const struct stk_manifest *m, struct sp_err *err) {
  struct stk_state *state = stk_session_state(s->session);
  char hash[17];
  sp_status st = graph_hash(s, hash, err);
  if (st) {
    return st;
  }
  if (strcmp(m->module, s->module->def->name) != 0) {
    return sp_fail(err, SP_EMISMATCH, "the checkpoint is of model %s, the job's is %s", m->module,
                   s->module->def->name);
  }
  if (strcmp(m->precision, precision(s)) != 0 || m->lanes != s->job->trainer.lanes) {
    return sp_fail(
        err, SP_EMISMATCH, "the checkpoint has precision %s and %lld lanes, the job %s and %lld",
        m->precision, (long long)m->lanes, precision(s), (long long)s->job->trainer.lanes);
  }
  if (m->state_version != (int64_t)s->module->def->state_version ||
      m->control_version != STK_CONTROL_VERSION || m->control_bytes != state->control_bytes) {
    return sp_fail(err, SP_EMISMATCH,
                   "the checkpoint's state has another version or size than this build's");
  }
  if (strcmp(m->graph_hash, hash) != 0) {
    return sp_fail(
        err, SP_EMISMATCH,
        "the checkpoint's graph %s is not the job's %s: model, batch size or losses differ; "
        "to start from its weights alone use --weights.path",
        m->graph_hash, hash);
  }
  return SP_OK;
}

/* The control page of a file is hostile: what indexes memory is checked or taken from this build's
 * own page. */
static sp_status take_control(struct sw_setup *s, const struct stk_manifest *m,
                              struct sp_err *err) {
  struct stk_state *state = stk_session_state(s->session);
  struct stk_control own = *state->now, *now = state->now;
  memcpy(now, m->control, state->control_bytes);
  now->bytes = own.bytes;
  now->acc_offset = own.acc_offset;
  now->n_acc = own.n_acc;
  now->module_offset = own.module_offset;
  now->module_bytes = own.module_bytes;
  now->n_lanes = own.n_lanes;
  now->slot = now->running = 0;
  bool sane = now->phase >= 0 && now->phase < STK_PHASE_COUNT && now->epoch >= 0 &&
              now->batch >= 0 && now->global_step >= 0 && now->total_batches >= 0 &&
              now->n_metrics >= 0 && now->n_metrics <= STK_CONTROL_METRICS;
  for (int32_t i = 0; i < STK_CONTROL_CKPT; i++) {
    sane = sane && now->ckpt[i].n_entries >= 0 && now->ckpt[i].n_entries <= STK_CKPT_TOP_K_MAX;
  }
  if (!sane) {
    *now = own;
    return sp_fail(err, SP_ECORRUPT, "the checkpoint's loop state is impossible");
  }
  now->seq = 1;
  return SP_OK;
}

static void mirror_slots(struct sw_setup *s) {
  struct stk_state *st = stk_session_state(s->session);
  memcpy(st->slot[1], st->slot[0], (size_t)(st->layout.section_bytes * st->layout.n_sections));
  memcpy(st->running[1], st->running[0], (size_t)st->layout.running_bytes);
}

sp_status sw_ckpt_resume(struct sw_setup *s, const char *path, struct sp_err *err) {
  struct stk_ckpt ck = {0};
  sp_status st = stk_ckpt_open(path, &ck, err);
  if (st) {
    return st;
  }
  st = check_fits(s, &ck.manifest, err);
  st = st ? st : take_control(s, &ck.manifest, err);
  st = st ? st : read_tensors(s, &ck, false, err);
  stk_ckpt_close(&ck);
  if (st) {
    return sp_wrap(err, "%s", path);
  }
  mirror_slots(s);
  return SP_OK;
}

sp_status sw_ckpt_load_weights(struct sw_setup *s, const char *path, struct sp_err *err) {
  struct stk_ckpt ck = {0};
  sp_status st = stk_ckpt_open(path, &ck, err);
  if (st) {
    return st;
  }
  st = read_tensors(s, &ck, true, err);
  if (!st) {
    struct stk_control *now = stk_session_state(s->session)->now;
    now->global_step = ck.manifest.step;
    now->epoch = ck.manifest.epoch;
  }
  stk_ckpt_close(&ck);
  mirror_slots(s);
  return st ? sp_wrap(err, "%s", path) : SP_OK;
}

enum { MAX_MAP = 256 };

sp_status sw_ckpt_fine_tune(struct sw_setup *s, char *out_text, size_t text_bytes,
                            struct sp_err *err) {
  const struct sp_weights_opts *w = &s->job->weights;
  struct stk_ckpt_rename map[MAX_MAP];
  struct tensors t;
  struct stk_weights_report r = {0};
  struct stk_ckpt_target *to = NULL;
  if (w->n_map > MAX_MAP) {
    return sp_fail(err, SP_EINVAL, "weights.map: more than %d rules", MAX_MAP);
  }
  for (size_t i = 0; i < w->n_map; i++) {
    if (strchr(w->map[i].theirs, '*')) {
      return sp_fail(err, SP_EUNSUPPORTED,
                     "weights.map: '%s': patterns are not built yet; a rule renames a prefix",
                     w->map[i].theirs);
    }
    map[i] = (struct stk_ckpt_rename){w->map[i].theirs, w->map[i].ours};
  }
  if (collect(s, true, &t)) {
    to = sp_alloc_array(t.n, sizeof *to);
  }
  sp_status st = to ? SP_OK : sp_fail(err, SP_ENOMEM, "no memory to load weights");
  for (size_t i = 0; to && i < t.n; i++) {
    to[i] = (struct stk_ckpt_target){.name = t.items[i].name,
                                     .dtype = t.items[i].dtype,
                                     .rank = t.items[i].rank,
                                     .data = (uint8_t *)(uintptr_t)t.items[i].data};
    memcpy(to[i].dims, t.items[i].dims, sizeof t.items[i].dims[0] * (size_t)t.items[i].rank);
  }
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
  struct tensors t;
  struct stk_st_entry *e = NULL;
  const void **data = NULL;
  if (collect(s, true, &t)) {
    e = sp_alloc_array(t.n, sizeof *e);
    data = sp_alloc_array(t.n, sizeof *data);
  }
  sp_status st = e && data ? SP_OK : sp_fail(err, SP_ENOMEM, "no memory to export weights");
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
