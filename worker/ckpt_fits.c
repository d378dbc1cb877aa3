/* A checkpoint against the job that would resume from it. See ckpt_fits.h. The control page of a
 * file is hostile: its counters are bounded and its names terminated before anybody reads them. */
#include "worker/ckpt_fits.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/nn/module.h"

static const int64_t counter_limit = (int64_t)1 << 40;

void sw_hparams_get(const struct stk_module *m, struct sw_hparams *out) {
  out->n = 0;
  for (const stk_hparam *h = m->def->hparams; h && h->name && out->n < SW_HPARAMS_MAX; h++) {
    out->pairs[out->n] = (struct stk_st_pair){
        h->name, stk_module_hparam_text(m, h, out->text[out->n], sizeof out->text[0])};
    out->n++;
  }
}

sp_status sw_ckpt_identify(struct sw_setup *s, struct sw_ckpt_identity *out, struct sp_err *err) {
  stk_program *p;
  sp_status st = stk_session_program(s->session, STK_TRAIN, s->job->data.batch_size, &p, err);
  if (st) {
    return st;
  }
  out->numerics = SW_NUMERICS;
  out->precision = s->job->trainer.precision == SP_PRECISION_64 ? "64-true" : "32-true";
  out->lanes = s->job->trainer.lanes;
  snprintf(out->graph_hash, sizeof out->graph_hash, "%016" PRIx64, stk_program_graph(p)->identity);
  return SP_OK;
}

/* A hyper-parameter that the checkpoint does not know (a rebuilt module brought it) may have its
 * default. */
static bool has_default(const struct stk_module *m, const char *key, const char *value) {
  struct stk_module *fresh;
  struct sp_err ignored = {0};
  bool same = false;
  if (stk_module_new(m->def, &fresh, &ignored)) {
    return false;
  }
  for (const stk_hparam *h = m->def->hparams; h && h->name; h++) {
    char text[32];
    same = same || (strcmp(h->name, key) == 0 && h->default_value &&
                    strcmp(stk_module_hparam_text(fresh, h, text, sizeof text), value) == 0);
  }
  stk_module_free(fresh);
  return same;
}

static const char *find(const struct sw_hparams *h, const char *key) {
  for (size_t i = 0; i < h->n; i++) {
    if (strcmp(h->pairs[i].key, key) == 0) {
      return h->pairs[i].value;
    }
  }
  return NULL;
}

static sp_status check_hparams(const struct stk_module *module, const struct stk_manifest *m,
                               struct sp_err *err) {
  static const char advice[] =
      "resume with the checkpoint's value, or start a new run from its weights with --weights.path";
  struct sw_hparams h;
  sw_hparams_get(module, &h);
  for (size_t i = 0; i < m->n_hparams; i++) {
    const char *ours = find(&h, m->hparams[i].key);
    if (!ours) {
      return sp_fail(err, SP_EMISMATCH,
                     "the checkpoint has model.%.100s %.200s, which module %s no longer knows",
                     m->hparams[i].key, m->hparams[i].value, module->def->name);
    }
    if (strcmp(ours, m->hparams[i].value) != 0) {
      return sp_fail(err, SP_EMISMATCH,
                     "model.%.100s is %.200s in the job and %.200s in the checkpoint; %s",
                     m->hparams[i].key, ours, m->hparams[i].value, advice);
    }
  }
  for (size_t i = 0; i < h.n; i++) {
    if (!stk_manifest_hparam(m, h.pairs[i].key) &&
        !has_default(module, h.pairs[i].key, h.pairs[i].value)) {
      return sp_fail(err, SP_EMISMATCH,
                     "model.%.100s is %.200s in the job and not in the checkpoint; %s",
                     h.pairs[i].key, h.pairs[i].value, advice);
    }
  }
  return SP_OK;
}

static sp_status check_versions(struct sw_setup *s, const struct sw_ckpt_identity *id,
                                const struct stk_manifest *m, struct sp_err *err) {
  const struct stk_module_def *def = s->module->def;
  size_t bytes = stk_session_state(s->session)->control_bytes;
  if (m->numerics != id->numerics) {
    return sp_fail(err, SP_EMISMATCH,
                   "the checkpoint's arithmetic is version %" PRId64 ", this build's %" PRId64,
                   m->numerics, id->numerics);
  }
  if (strcmp(m->precision, id->precision) != 0) {
    return sp_fail(err, SP_EMISMATCH, "the checkpoint's precision is %s, the job's %s",
                   m->precision, id->precision);
  }
  if (m->lanes != id->lanes) {
    return sp_fail(err, SP_EMISMATCH,
                   "the checkpoint has %" PRId64 " lanes, the job %" PRId64
                   "; lanes are part of the result (trainer.lanes)",
                   m->lanes, id->lanes);
  }
  if (m->state_version != (int64_t)def->state_version) {
    return sp_fail(err, SP_EMISMATCH,
                   "the checkpoint's module state is version %" PRId64 ", module %s has %" PRIu32,
                   m->state_version, def->name, def->state_version);
  }
  if (m->control_version != STK_CONTROL_VERSION || m->control_bytes != bytes) {
    return sp_fail(err, SP_EMISMATCH,
                   "the checkpoint's control page is version %" PRId64
                   " of %zu bytes, this "
                   "build's %d of %zu",
                   m->control_version, m->control_bytes, (int)STK_CONTROL_VERSION, bytes);
  }
  return SP_OK;
}

static bool in_range(int64_t v) {
  return v >= 0 && v < counter_limit;
}

static sp_status check_control(const struct stk_manifest *m, struct sp_err *err) {
  struct stk_control c;
  memcpy(&c, m->control, sizeof c);
  bool sane = c.phase >= 0 && c.phase < STK_PHASE_COUNT && in_range(c.epoch) && in_range(c.batch) &&
              in_range(c.global_step) && in_range(c.total_batches) && c.n_metrics >= 0 &&
              c.n_scalars >= 0 && c.n_scalars <= STK_GRAPH_MAX_HOST &&
              c.n_metrics <= STK_CONTROL_METRICS;
  for (int32_t i = 0; i < STK_CONTROL_CKPT; i++) {
    sane = sane && c.ckpt[i].n_entries >= 0 && c.ckpt[i].n_entries <= STK_CKPT_TOP_K_MAX;
  }
  return sane ? SP_OK : sp_fail(err, SP_ECORRUPT, "the checkpoint's loop state is impossible");
}

sp_status sw_ckpt_fits(struct sw_setup *s, const struct stk_manifest *m, struct sp_err *err) {
  struct sw_ckpt_identity id;
  sp_status st = sw_ckpt_identify(s, &id, err);
  if (st) {
    return st;
  }
  if (strcmp(m->module, s->module->def->name) != 0) {
    return sp_fail(err, SP_EMISMATCH, "the checkpoint is of model %s, the job's is %s", m->module,
                   s->module->def->name);
  }
  st = check_hparams(s->module, m, err);
  st = st ? st : check_versions(s, &id, m, err);
  if (!st && strcmp(m->graph_hash, id.graph_hash) != 0) {
    st = sp_fail(err, SP_EMISMATCH,
                 "the checkpoint's training step is graph %s, the job's %s: the module, the batch "
                 "size, the accumulation or the samples' shape changed; to start from its weights "
                 "use --weights.path",
                 m->graph_hash, id.graph_hash);
  }
  return st ? st : check_control(m, err);
}

static void end_text(char *text, size_t bytes) {
  text[bytes - 1] = '\0';
}

void sw_ckpt_take_control(struct sw_setup *s, const struct stk_manifest *m) {
  struct stk_state *state = stk_session_state(s->session);
  struct stk_control *now = state->now;
  const struct stk_control own = *now;
  memcpy(now, m->control, state->control_bytes);
  now->seq = 1;
  now->bytes = own.bytes;
  now->slot = own.slot;
  now->running = own.running;
  now->n_lanes = own.n_lanes;
  now->acc_offset = own.acc_offset;
  now->n_acc = own.n_acc;
  now->module_offset = own.module_offset;
  now->module_bytes = own.module_bytes;
  for (; now->n_scalars < own.n_scalars; now->n_scalars++) {
    now->scalars[now->n_scalars] = own.scalars[now->n_scalars]; /* named since then */
  }
  for (int32_t i = 0; i < STK_CONTROL_METRICS; i++) {
    end_text(now->metrics[i].name, sizeof now->metrics[i].name);
  }
  for (int32_t i = 0; i < STK_CONTROL_CKPT; i++) {
    struct stk_model_checkpoint *c = &now->ckpt[i];
    end_text(c->best.name, sizeof c->best.name);
    end_text(c->newest, sizeof c->newest);
    end_text(c->last, sizeof c->last);
    for (int32_t k = 0; k < STK_CKPT_TOP_K_MAX; k++) {
      end_text(c->entries[k].name, sizeof c->entries[k].name);
    }
  }
}
