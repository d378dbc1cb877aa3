/* What the options of a job must satisfy together. See check.h.
 *
 * Each rule is one function that looks at structs and says, at the place where the offending key
 * was given, what cannot be and what to do instead. The order of the table is the order of errors.
 */
#include "proto/job/check.h"

#include "proto/base/strutil.h"

#include <math.h>
#include <string.h>

static bool given(const struct sp_job *job, const char *key) {
  return sp_job_where(job, key).source != NULL;
}

/* sp_fail_at for a key of the job. */
#define FAIL(key, ...)                                                \
  do {                                                                \
    struct sp_where where_ = sp_job_where(job, key);                  \
    return sp_fail_at(err, SP_EINVAL, &where_, key ": " __VA_ARGS__); \
  } while (0)

static bool has_callback(const struct sp_job *job, sp_callback_class kind) {
  for (size_t i = 0; i < job->callbacks.n; i++) {
    if (job->callbacks.items[i].kind == (int)kind) {
      return true;
    }
  }
  return false;
}

void sp_check_resolve(struct sp_job *job) {
  struct sp_trainer_opts *t = &job->trainer;
  if (t->max_epochs == SP_INT_NONE) {
    t->max_epochs = t->max_steps == -1 && t->max_time == SP_INT_NONE ? 1000 : -1;
  }
  if (t->devices == SP_INT_AUTO) {
    t->devices = 1;
  }
  if (t->lanes == SP_INT_AUTO) {
    t->lanes = t->devices;
  }
  if (t->ranks == SP_INT_AUTO) {
    t->ranks = t->devices;
  }
  if (t->barebones) {
    t->enable_checkpointing = false;
    t->enable_progress_bar = false;
    t->enable_model_summary = false;
    t->num_sanity_val_steps = 0;
    t->log_every_n_steps = 0;
    if (!given(job, "trainer.logger")) {
      job->loggers.n = 0;
    }
  }
}

static sp_status check_length(const struct sp_job *job, struct sp_err *err) {
  const struct sp_trainer_opts *t = &job->trainer;
  if (t->min_epochs != SP_INT_NONE && t->max_epochs >= 0 && t->min_epochs > t->max_epochs) {
    FAIL("trainer.min_epochs", "it is above trainer.max_epochs (%lld)", (long long)t->max_epochs);
  }
  if (t->min_steps != SP_INT_NONE && t->max_steps >= 0 && t->min_steps > t->max_steps) {
    FAIL("trainer.min_steps", "it is above trainer.max_steps (%lld)", (long long)t->max_steps);
  }
  if (t->lanes < t->devices) {
    FAIL("trainer.lanes", "%lld lanes cannot keep %lld devices busy; give at least as many lanes",
         (long long)t->lanes, (long long)t->devices);
  }
  if (t->ranks > t->lanes) {
    FAIL("trainer.ranks",
         "%lld ranks, but the job has %lld lane%s to share; give trainer.lanes too (it is part of "
         "the result)",
         (long long)t->ranks, (long long)t->lanes, t->lanes == 1 ? "" : "s");
  }
  return SP_OK;
}

static sp_status check_validation(const struct sp_job *job, struct sp_err *err) {
  const struct sp_trainer_opts *t = &job->trainer;
  if (t->check_val_every_n_epoch == SP_INT_NONE && t->val_check_interval.kind != SP_COUNT_N) {
    FAIL("trainer.check_val_every_n_epoch",
         "none counts batches across epochs, so trainer.val_check_interval must be a count of "
         "batches");
  }
  return SP_OK;
}

static sp_status check_barebones(const struct sp_job *job, struct sp_err *err) {
  const struct sp_trainer_opts *t = &job->trainer;
  if (!t->barebones) {
    return SP_OK;
  }
  if (job->loggers.n > 0) {
    FAIL("trainer.logger", "trainer.barebones runs without loggers; remove one of the two");
  }
  if (job->callbacks.n > 0) {
    FAIL("trainer.callbacks", "trainer.barebones runs without callbacks; remove one of the two");
  }
  if (t->fast_dev_run > 0) {
    FAIL("trainer.fast_dev_run", "it excludes trainer.barebones");
  }
  if (t->detect_anomaly) {
    FAIL("trainer.detect_anomaly", "it excludes trainer.barebones");
  }
  if (t->profiler != SP_PROFILER_NONE) {
    FAIL("trainer.profiler", "it excludes trainer.barebones");
  }
  return SP_OK;
}

static sp_status check_kernels(const struct sp_job *job, struct sp_err *err) {
  const struct sp_trainer_opts *t = &job->trainer;
  bool is_vector = t->kernels == SP_KERNELS_AVX2 || t->kernels == SP_KERNELS_AVX512;
  if (t->precision == SP_PRECISION_64 && is_vector) {
    FAIL("trainer.kernels", "64-true runs on the ref kernels only; use ref or auto");
  }
  return SP_OK;
}

static sp_status check_checkpoint(const struct sp_job *job, const struct sp_checkpoint_opts *c,
                                  struct sp_err *err) {
  if (!c->monitor && (c->save_top_k > 1 || c->save_top_k < -1)) {
    FAIL(
        "trainer.callbacks",
        "model_checkpoint: save_top_k %lld needs monitor, the metric to compare by; without one it "
        "is -1, 0 or 1",
        (long long)c->save_top_k);
  }
  if (c->every_n_train_steps > 0 && c->every_n_epochs > 0) {
    FAIL("trainer.callbacks",
         "model_checkpoint: every_n_train_steps and every_n_epochs exclude each other");
  }
  return SP_OK;
}

enum { PREFIX_MAX = 23 };

static sp_status check_callbacks(const struct sp_job *job, struct sp_err *err) {
  if (!job->trainer.enable_checkpointing && !job->trainer.barebones &&
      has_callback(job, SP_CALLBACK_MODEL_CHECKPOINT)) {
    FAIL("trainer.enable_checkpointing", "false excludes the model_checkpoint callback");
  }
  if (job->loggers.n == 0 && has_callback(job, SP_CALLBACK_LR_MONITOR)) {
    FAIL("trainer.callbacks", "lr_monitor needs a logger; remove it or trainer.logger: false");
  }
  for (size_t i = 0; i < job->callbacks.n; i++) {
    const struct sp_callback_opts *c = &job->callbacks.items[i];
    if (c->kind == SP_CALLBACK_LR_MONITOR && c->lr_monitor.log_key_prefix &&
        strlen(c->lr_monitor.log_key_prefix) > PREFIX_MAX) {
      FAIL("trainer.callbacks", "lr_monitor: log_key_prefix has at most %d bytes", PREFIX_MAX);
    }
    if (c->kind == SP_CALLBACK_MODEL_CHECKPOINT) {
      sp_status status = check_checkpoint(job, &c->checkpoint, err);
      if (status != SP_OK) {
        return status;
      }
    }
  }
  return SP_OK;
}

static bool is_made(const struct sp_data_opts *d) {
  return d->kind == SP_DATA_SYNTHETIC || d->kind == SP_DATA_MODULE;
}

static sp_status check_paths(const struct sp_job *job, struct sp_err *err) {
  const struct sp_data_opts *d = &job->data;
  bool may_read_itself = d->kind == SP_DATA_AUTO && sp_job_model_module(job);
  if (!d->path && !is_made(d) && !may_read_itself) {
    struct sp_where where = sp_job_where(job, "data");
    where = where.source ? where : job->tree->where;
    return sp_fail_at(err, SP_EINVAL, &where,
                      "data.path is missing: give a file or directory, or data.kind: synthetic");
  }
  if (d->kind == SP_DATA_SYNTHETIC) {
    static const char *const keys[] = {"data.path", "data.val_path", "data.test_path",
                                       "data.predict_path"};
    const char *const values[] = {d->path, d->val_path, d->test_path, d->predict_path};
    for (size_t i = 0; i < 4; i++) {
      if (values[i]) {
        struct sp_where where = sp_job_where(job, keys[i]);
        return sp_fail_at(err, SP_EINVAL, &where,
                          "%s: data.kind synthetic makes its data and reads no file", keys[i]);
      }
    }
  }
  if (d->val_path && !isnan(d->val_fraction)) {
    FAIL("data.val_fraction", "it excludes data.val_path; give one of the two");
  }
  return SP_OK;
}

static sp_status check_labels(const struct sp_job *job, struct sp_err *err) {
  const struct sp_data_opts *d = &job->data;
  static const char *const keys[] = {"data.labels", "data.val_labels", "data.test_labels"};
  const char *const labels[] = {d->labels, d->val_labels, d->test_labels};
  const char *const paths[] = {d->path, d->val_path, d->test_path};
  for (size_t i = 0; i < 3; i++) {
    struct sp_where where = sp_job_where(job, keys[i]);
    if (labels[i] && !paths[i]) {
      return sp_fail_at(err, SP_EINVAL, &where, "%s: the path of the samples is missing", keys[i]);
    }
    if (labels[i] && d->kind != SP_DATA_IDX && d->kind != SP_DATA_NPY && d->kind != SP_DATA_AUTO) {
      return sp_fail_at(err, SP_EINVAL, &where, "%s: only kinds idx and npy have labels", keys[i]);
    }
  }
  return SP_OK;
}

static sp_status check_synthetic(const struct sp_job *job, struct sp_err *err) {
  const struct sp_data_opts *d = &job->data;
  int64_t n = 1;
  for (size_t i = 0; i < d->shape.n; i++) {
    if (__builtin_mul_overflow(n, d->shape.items[i], &n) || n > INT64_C(1) << 40) {
      FAIL("data.shape", "a sample would have more than 2^40 elements");
    }
  }
  if (d->shape.n == 0 || d->shape.n > 4) {
    FAIL("data.shape", "it must have one to four dimensions");
  }
  if (d->options.n > 0 && d->kind != SP_DATA_MODULE && d->kind != SP_DATA_AUTO) {
    FAIL("data.options", "only a module's own reader takes them (data.kind: module)");
  }
  bool is_images = d->kind == SP_DATA_IDX || d->kind == SP_DATA_NPY;
  if (is_images && d->seq_len != SP_INT_NONE) {
    FAIL("data.seq_len", "only text data is cut into samples (data.kind bytes, uint16, uint32)");
  }
  if (is_images && d->stride != SP_INT_NONE) {
    FAIL("data.stride", "only text data is cut into samples (data.kind bytes, uint16, uint32)");
  }
  return SP_OK;
}

static sp_status check_optimizer(const struct sp_job *job, struct sp_err *err) {
  const struct sp_optimizer_opts *o = &job->optimizer;
  if (o->n_groups > SP_GROUPS_MAX || o->freeze.n > SP_GROUPS_MAX) {
    FAIL("optimizer", "more than %d groups or patterns", SP_GROUPS_MAX);
  }
  if (!o->given) {
    return SP_OK;
  }
  if (o->kind == SP_OPTIM_SGD) {
    if (o->nesterov && (o->momentum <= 0 || o->dampening != 0)) {
      FAIL("optimizer.nesterov", "it needs optimizer.momentum > 0 and optimizer.dampening 0");
    }
    return SP_OK;
  }
  if (o->betas.n != 2) {
    FAIL("optimizer.betas", "expected two numbers, got %zu", o->betas.n);
  }
  if (o->betas.items[0] >= 1 || o->betas.items[1] >= 1) {
    FAIL("optimizer.betas", "each must be below 1");
  }
  return SP_OK;
}

static sp_status check_schedules(const struct sp_job *job, struct sp_err *err) {
  const struct sp_trainer_opts *t = &job->trainer;
  if (job->lr.n > SP_SCHEDULES_MAX) {
    FAIL("lr_scheduler", "more than %d schedules", SP_SCHEDULES_MAX);
  }
  for (size_t i = 0; i < job->lr.n; i++) {
    const struct sp_lr_opts *s = &job->lr.items[i];
    if (s->kind == SP_LR_COSINE && s->t_max == SP_INT_NONE && t->max_epochs < 0 &&
        t->max_steps < 0) {
      FAIL("lr_scheduler",
           "cosine needs t_max, or a run with an end (trainer.max_epochs, trainer.max_steps)");
    }
  }
  return SP_OK;
}

static size_t n_stars(const char *text) {
  size_t n = 0;
  for (; *text; text++) {
    n += *text == '*';
  }
  return n;
}

static sp_status check_start(const struct sp_job *job, struct sp_err *err) {
  if (!job->weights.path && job->weights.n_map > 0) {
    FAIL("weights.map", "weights.path is missing: the file whose names are mapped");
  }
  for (size_t i = 0; i < job->weights.n_map; i++) {
    const struct sp_weight_map *m = &job->weights.map[i];
    if (n_stars(m->theirs) > 1 || n_stars(m->ours) != n_stars(m->theirs)) {
      FAIL("weights.map", "\"%.80s\": \"%.80s\": one * at most, and the same number on both sides",
           m->theirs, m->ours);
    }
  }
  if (job->weights.path && job->root.ckpt_path) {
    FAIL("weights.path", "it starts a new run and ckpt_path goes on with an old one; give one");
  }
  if (job->root.resume && (job->root.ckpt_path || job->weights.path)) {
    FAIL("resume", "it goes on with a run as it stands; %s starts one; give one",
         job->root.ckpt_path ? "ckpt_path" : "weights.path");
  }
  if (job->predict.generate == 0) {
    static const char *const keys[] = {"predict.prompt", "predict.temperature", "predict.top_k",
                                       "predict.seed"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
      struct sp_where where = sp_job_where(job, keys[i]);
      if (where.source) {
        return sp_fail_at(err, SP_EINVAL, &where, "%s: it needs predict.generate", keys[i]);
      }
    }
  }
  return SP_OK;
}

sp_status sp_check_job(const struct sp_job *job, struct sp_err *err) {
  static sp_status (*const rules[])(const struct sp_job *, struct sp_err *) = {
      check_length,    check_validation, check_barebones, check_kernels,
      check_callbacks, check_paths,      check_labels,    check_synthetic,
      check_optimizer, check_schedules,  check_start,
  };
  for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
    sp_status status = rules[i](job, err);
    if (status != SP_OK) {
      return status;
    }
  }
  return SP_OK;
}

void sp_job_warnings(const struct sp_job *job, struct sp_buf *out) {
  const struct sp_trainer_opts *t = &job->trainer;
  if (t->max_time != SP_INT_NONE) {
    sp_buf_puts(out,
                "trainer.max_time: where the run ends depends on the clock, so the job is no "
                "pure function of its file\n");
  }
  if (t->max_epochs == -1 && t->max_steps == -1 && t->max_time == SP_INT_NONE) {
    sp_buf_puts(out, "trainer.max_epochs: nothing ends this run\n");
  }
}
