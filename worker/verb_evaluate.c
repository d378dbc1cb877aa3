/* `stoker validate`, `stoker test`, `stoker predict`: one evaluation loop over a checkpoint's
 * weights (or fresh ones). */
#include <stdio.h>
#include <string.h>

#include "engine/trainer/fit.h"
#include "proto/base/file.h"
#include "proto/base/mem.h"
#include "worker/ckpt.h"
#include "worker/find.h"
#include "worker/generate.h"
#include "worker/npy_writer.h"
#include "worker/profile.h"
#include "worker/verbs.h"

struct eval {
  struct sw_emit *e;
  struct sw_setup s;
  enum sp_stage stage;
};

static stk_ask stop_asked(void *ctx) {
  const struct eval *v = ctx;
  return sw_stop_asked() || v->e->gone ? STK_ASK_STOP : STK_ASK_NOTHING;
}

static void progress(void *ctx, const struct stk_progress *p, int32_t n, const char *const *names,
                     const double *values) {
  struct eval *v = ctx;
  (void)n;
  (void)names;
  (void)values;
  struct sp_event ev = {.kind = SP_EVENT_PROGRESS,
                        .u.progress = {.stage = v->stage,
                                       .epoch = p->epoch,
                                       .max_epochs = -1,
                                       .batch = p->batch,
                                       .n_batches = p->n_batches,
                                       .global_step = p->global_step,
                                       .total_steps = -1,
                                       .unit = "samples"}};
  sw_emit_event(v->e, &ev);
}

static void evaluated(void *ctx, stk_stage stage, bool sanity, int64_t n_batches, int32_t n,
                      const char *const *names, const double *values) {
  struct eval *v = ctx;
  struct sp_event_metric m[STK_GRAPH_MAX_LOGS];
  const struct stk_control *now = stk_session_state(v->s.session)->now;
  (void)stage;
  (void)sanity;
  for (int32_t i = 0; i < n; i++) {
    m[i] = (struct sp_event_metric){names[i], values[i]};
  }
  struct sp_event ev = {.kind = SP_EVENT_VALIDATION,
                        .u.validation = {.stage = v->stage,
                                         .epoch = now->epoch,
                                         .step = now->global_step,
                                         .n_batches = n_batches,
                                         .n_metrics = (size_t)n,
                                         .metrics = m}};
  sw_emit_event(v->e, &ev);
}

static sp_status open_weights(struct eval *v, struct sp_err *err) {
  const struct sp_job *job = v->s.job;
  char path[PATH_MAX];
  if (job->root.resume) {
    return sp_fail(err, SP_EINVAL, "resume: only fit goes on with a run; use --ckpt_path PATH");
  }
  stk_state_init(stk_session_state(v->s.session), v->s.module, (uint64_t)job->root.seed_everything,
                 v->s.pool);
  if (job->weights.path) {
    char text[512];
    return sw_ckpt_fine_tune(&v->s, text, sizeof text, err);
  }
  if (!job->root.ckpt_path) {
    sw_emit_text(v->e, SP_TEXT_WARNING, "no --ckpt_path: these are untrained weights\n");
    return SP_OK;
  }
  sp_status st = sw_find_whole_ckpt(v->e, job, job->root.ckpt_path, NULL, path, err);
  return st ? st : sw_ckpt_load_weights(&v->s, path, err);
}

int sw_verb_evaluate(struct sw_emit *e, const char *verb, int argc, char **argv) {
  bool test = strcmp(verb, "test") == 0;
  struct sp_err err = {0};
  struct sp_event_result r = {.message = "", .ckpt_last = "", .ckpt_best = ""};
  struct eval *v = sp_alloc(sizeof *v);
  if (!v) {
    sp_fail(&err, SP_ENOMEM, "no memory");
    return sw_emit_result(e, &err, false, &r);
  }
  v->e = e;
  v->stage = test ? SP_STAGE_TEST : SP_STAGE_VALIDATE;
  sp_status st =
      sw_setup_open(argc > 0 ? argv[0] : NULL, (const char *const *)(argv + 1),
                    (size_t)(argc > 0 ? argc - 1 : 0), test ? STK_TEST : STK_VALIDATE, &v->s, &err);
  if (!st && !test && !v->s.val_loader) {
    st = sp_fail(
        &err, SP_EINVAL,
        "there is nothing to validate: give data.val_path or data.val_fraction, and the module a "
        "validation_step");
  }
  st = st ? st : open_weights(v, &err);
  if (!st) {
    struct stk_host host = {
        .ctx = v, .asked = stop_asked, .progress = progress, .evaluated = evaluated};
    struct stk_eval_config c = {test ? STK_TEST : STK_VALIDATE,
                                false,
                                test ? v->s.n_test_batches : v->s.n_val_batches,
                                test ? v->s.test_loader : v->s.val_loader,
                                &host,
                                0};
    struct stk_eval_result result;
    st = stk_evaluate(v->s.session, &c, &result, &err);
    sw_profile_report(&v->s, e, verb, NULL);
    r.exit = !st && result.stopped ? SP_EXIT_JOB_CANCELED : SP_EXIT_OK;
  }
  int code = sw_emit_result(e, &err, st == SP_OK, &r);
  sw_setup_close(&v->s);
  sp_free(v);
  return code;
}

/* ---- predict: rows in dataset order, whatever the lanes */

static sp_status predict_all(struct eval *v, struct sw_npy *out, struct sp_err *err) {
  const struct stk_sampler *sampler = stk_loader_sampler(v->s.test_loader);
  sp_status st = SP_OK;
  for (int64_t b = 0; b < v->s.n_test_batches && !st && !stop_asked(v); b++) {
    for (int64_t lane = 0; lane < sampler->n_lanes && !st; lane++) {
      struct stk_loader_batch batch;
      struct stk_loader_at at = {0, lane, b};
      const struct stk_graph *g = NULL;
      const void *result = NULL;
      st = stk_loader_next(v->s.test_loader, at, NULL, &batch, err);
      if (st || batch.n == 0) {
        continue;
      }
      struct stk_lane_batch lb = {batch.x, batch.y, batch.n, (uint64_t)b};
      st = stk_session_eval(v->s.session, STK_PREDICT, (int32_t)lane, &lb, NULL, &g, &result, err);
      st = st ? st : sw_npy_put(out, g, result, batch.ids, batch.n, sampler->first, err);
    }
    struct stk_progress p = {
        .stage = STK_PREDICT, .batch = b + 1, .n_batches = v->s.n_test_batches};
    progress(v, &p, 0, NULL, NULL);
  }
  return st;
}

int sw_verb_predict(struct sw_emit *e, int argc, char **argv) {
  struct sp_err err = {0};
  struct sp_event_result r = {.message = "", .ckpt_last = "", .ckpt_best = ""};
  struct eval *v = sp_alloc(sizeof *v);
  if (!v) {
    sp_fail(&err, SP_ENOMEM, "no memory");
    return sw_emit_result(e, &err, false, &r);
  }
  v->e = e;
  v->stage = SP_STAGE_PREDICT;
  sp_status st = sw_setup_open(argc > 0 ? argv[0] : NULL, (const char *const *)(argv + 1),
                               (size_t)(argc > 0 ? argc - 1 : 0), STK_PREDICT, &v->s, &err);
  st = st ? st : open_weights(v, &err);
  if (!st && v->s.job->predict.generate > 0) {
    st = sw_generate(e, &v->s, &err);
  } else if (!st) {
    const char *path = v->s.job->predict.output ? v->s.job->predict.output : "predictions.npy";
    struct sw_npy out = {0};
    st = sw_npy_open(&out, path, stk_loader_sampler(v->s.test_loader)->n, &err);
    st = st ? st : predict_all(v, &out, &err);
    st = sw_npy_close(&out, st, &err);
    if (!st) {
      sw_emit_text(e, SP_TEXT_INFO, "predictions: %s\n", path);
    }
  }
  if (!st) {
    sw_profile_report(&v->s, e, "predict", NULL);
  }
  int code = sw_emit_result(e, &err, st == SP_OK, &r);
  sw_setup_close(&v->s);
  sp_free(v);
  return code;
}
