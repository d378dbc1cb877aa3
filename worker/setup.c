/* Job, module, data and session, in that order. See setup.h. */
#include "worker/setup.h"

#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/exec/fpenv.h"
#include "engine/models/models.h"
#include "engine/ops/ops.h"
#include "proto/base/file.h"
#include "proto/base/mem.h"
#include "proto/base/sha256.h"
#include "proto/base/strutil.h"

enum { SETUP_SECONDS = 60, SETUP_SECONDS_MAX = 86400, LIST_TEXT_MAX = 1 << 20 };

int64_t sw_limit(const struct sp_count *limit, int64_t n) {
  if (limit->kind == SP_COUNT_N) {
    return limit->n < n ? limit->n : n;
  }
  if (limit->kind == SP_COUNT_FRACTION) {
    return (int64_t)((double)n * limit->fraction);
  }
  return n;
}

/* ---- module */

/* errno says why. What is not there may only have to be compiled: the command that does it. */
static sp_status no_module(const char *path, struct sp_err *err) {
  const char *end = strrchr(path, '.');
  if (errno != ENOENT || !end || strcmp(end, ".so") != 0) {
    return sp_fail_errno(err, "model.module: %s", path);
  }
  const int stem = (int)(end - path);
  return sp_fail(err, SP_ENOENT,
                 "model.module: %s is not there; compile it: " SP_MODULE_COMPILE " -o %s %.*s.c",
                 path, path, stem, path);
}

static sp_status digest_file(const char *path, char hex[SP_SHA256_HEX], struct sp_err *err) {
  FILE *f = fopen(path, "rb");
  if (!f) {
    return no_module(path, err);
  }
  struct sp_sha256 h;
  uint8_t block[65536], digest[SP_SHA256_BYTES];
  size_t n;
  sp_sha256_init(&h);
  while ((n = fread(block, 1, sizeof block, f)) > 0) {
    sp_sha256_update(&h, block, n);
  }
  fclose(f);
  sp_sha256_final(&h, digest);
  sp_sha256_hex(digest, hex);
  return SP_OK;
}

static sp_status load_library(struct sw_setup *s, const char *path, const stk_module_def **out_def,
                              struct sp_err *err) {
  sp_status st = digest_file(path, s->module_sha256, err);
  if (st) {
    return st;
  }
  snprintf(s->module_path, sizeof s->module_path, "%s%s", strchr(path, '/') ? "" : "./", path);
  s->library = dlopen(s->module_path, RTLD_NOW | RTLD_LOCAL);
  stk_fp_enter();
  if (!s->library) {
    return sp_fail(err, SP_EMODULE, "model.module: %s", dlerror());
  }
  const stk_module_def *(*entry)(void);
  void *symbol = dlsym(s->library, "stoker_module_v1");
  memcpy(&entry, &symbol, sizeof entry);
  if (!symbol) {
    return sp_fail(
        err, SP_EMODULE,
        "model.module: %s has no entry stoker_module_v1; end its source with STK_MODULE(def)",
        path);
  }
  *out_def = entry();
  return SP_OK;
}

static sp_status find_builtin(const char *name, const stk_module_def **out_def,
                              struct sp_err *err) {
  *out_def = stk_model_find(name);
  if (*out_def) {
    return SP_OK;
  }
  const char *names[32];
  size_t n = 0;
  for (; n < 32 && stk_model_at(n); n++) {
    names[n] = stk_model_at(n)->name;
  }
  const char *near = sp_suggest(name, names, n);
  return sp_fail(
      err, SP_EINVAL,
      "model.class: no built-in model is called '%s'%s%s%s; a module of your own is given by "
      "model.module",
      name, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static sp_status unknown_key(const struct stk_module *m, const struct sp_node *n,
                             struct sp_err *err) {
  const char *names[256];
  size_t count = 0;
  for (const stk_hparam *h = m->def->hparams; h && h->name && count < 256; h++) {
    names[count++] = h->name;
  }
  const char *near = sp_suggest(n->key, names, count);
  return sp_fail_at(err, SP_EINVAL, &n->key_where,
                    "model.%s: module %s has no such hyper-parameter%s%s%s", n->key, m->def->name,
                    near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* A list of values, as one text with commas. */
static sp_status set_list(struct sw_setup *s, const struct sp_node *list, struct sp_err *err) {
  struct sp_buf text;
  sp_buf_init(&text, LIST_TEXT_MAX);
  for (const struct sp_node *n = list->first; n; n = n->next) {
    if (list->kind != SP_NODE_SEQ || n->kind != SP_NODE_SCALAR) {
      sp_buf_free(&text);
      return sp_fail(err, SP_EINVAL, "model.%s: a value or a list of values is expected",
                     list->key);
    }
    sp_buf_printf(&text, "%s%s", n == list->first ? "" : ",", n->text);
  }
  sp_status st = sp_buf_check(&text, list->key, err);
  st = st ? st : stk_module_set_hparam(s->module, list->key, sp_buf_text(&text), err);
  sp_buf_free(&text);
  return st;
}

static sp_status bind_hparams(struct sw_setup *s, struct sp_err *err) {
  for (const struct sp_node *n = s->job->model ? s->job->model->first : NULL; n; n = n->next) {
    if (strcmp(n->key, "class") == 0 || strcmp(n->key, "module") == 0 || sp_node_is_null(n)) {
      continue;
    }
    struct sp_err e = {0};
    sp_status st = strcmp(n->key, "layers") == 0 && s->job->layers
                       ? stk_module_set_hparam(s->module, n->key, s->job->layers, &e)
                   : n->kind == SP_NODE_SCALAR
                       ? stk_module_set_hparam(s->module, n->key, n->text, &e)
                       : set_list(s, n, &e);
    if (st == SP_ENOENT) {
      return unknown_key(s->module, n, err);
    }
    if (st) {
      return sp_fail_at(err, st, &n->where, "%s", e.text);
    }
  }
  return SP_OK;
}

/* A module's complaint about "model.KEY" gets the place where KEY was given, or what holds it. */
static sp_status place_complaint(const struct sw_setup *s, struct sp_err *err) {
  char key[128];
  const struct sp_err told = *err;
  const char *at = strstr(told.text, "model.");
  size_t n =
      at ? strspn(at, "abcdefghijklmnopqrstuvwxyz_ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.") : 0;
  if (told.status != SP_EMODULE || n == 0 || n >= sizeof key) {
    return told.status;
  }
  memcpy(key, at, n);
  key[n] = '\0';
  for (char *dot = key + n; dot; dot = strrchr(key, '.')) {
    *dot = '\0';
    struct sp_where where = sp_job_where(s->job, key);
    if (where.source) {
      return sp_fail_at(err, told.status, &where, "%s", told.text);
    }
  }
  return told.status;
}

static sp_status open_module(struct sw_setup *s, struct sp_err *err) {
  const char *class = sp_job_model_class(s->job), *path = sp_job_model_module(s->job);
  const stk_module_def *def = NULL;
  sp_status st = path ? load_library(s, path, &def, err) : find_builtin(class, &def, err);
  st = st ? st : stk_module_new(def, &s->module, err);
  return st ? st : bind_hparams(s, err);
}

/* The integer value of a hyper-parameter of this name, or 0. */
static int64_t hparam_int(const struct stk_module *m, const char *name) {
  for (const stk_hparam *h = m->def->hparams; h && h->name; h++) {
    if (h->type == STK_HP_INT && strcmp(h->name, name) == 0) {
      int64_t v;
      memcpy(&v, (const uint8_t *)m->self + h->offset, sizeof v);
      return v;
    }
  }
  return 0;
}

/* ---- data */

static int guess_kind(const char *path) {
  struct stat st;
  size_t n = path ? strlen(path) : 0;
  if (!path) {
    return SP_DATA_SYNTHETIC;
  }
  if (n > 4 && strcmp(path + n - 4, ".npy") == 0) {
    return SP_DATA_NPY;
  }
  if ((stat(path, &st) == 0 && S_ISDIR(st.st_mode)) || strstr(path, "idx")) {
    return SP_DATA_IDX;
  }
  return SP_DATA_BYTES;
}

static void fill_synthetic(const struct sp_data_opts *d, enum stk_data_role role,
                           struct stk_synthetic_spec *y) {
  y->what = (enum stk_synthetic_what)d->synthetic;
  y->n_samples = role == STK_DATA_TRAIN ? d->num_samples : d->num_val_samples;
  y->rank = (int32_t)d->shape.n;
  for (size_t i = 0; i < d->shape.n && i < STK_SAMPLE_MAX_RANK; i++) {
    y->dims[i] = d->shape.items[i];
  }
  y->n_classes = d->num_classes;
  y->seed = (uint64_t)d->synthetic_seed;
  y->first = role == STK_DATA_TRAIN ? 0 : d->num_samples;
}

static sp_status open_data(struct sw_setup *s, const char *path, enum stk_data_role role,
                           struct stk_dataset **out, struct sp_err *err) {
  static const char *const roles[] = {"train", "val", "test", "predict"};
  const struct sp_data_opts *d = &s->job->data;
  int kind = d->kind == SP_DATA_AUTO ? guess_kind(path) : d->kind;
  struct stk_data_spec spec = {.path = path, .role = role, .opener = &s->opener};
  stk_reader_args args = {.path = path,
                          .role = roles[role],
                          .n_options = (int32_t)d->options.n,
                          .keys = d->options.keys,
                          .values = d->options.values};
  bool text = kind == SP_DATA_BYTES || kind == SP_DATA_UINT16 || kind == SP_DATA_UINT32;
  spec.kind = (sp_data_kind)kind;
  spec.block = d->seq_len > 0 ? d->seq_len : hparam_int(s->module, "block_size");
  spec.stride = d->stride > 0 ? d->stride : 0;
  fill_synthetic(d, role, &spec.synthetic);
  if (kind == SP_DATA_MODULE) {
    if (!s->module->def->reader) {
      return sp_fail(err, SP_EINVAL, "data.kind: module %s brings no reader", s->module->def->name);
    }
    spec.reader = s->module->def->reader;
    spec.reader_args = &args;
  }
  if (text && !spec.reader && spec.block <= 0) {
    return sp_fail(err, SP_EINVAL, "data.seq_len: text needs the number of tokens in a sample");
  }
  return stk_dataset_open(&spec, out, err);
}

static struct stk_data_range whole(const struct stk_dataset *ds) {
  return (struct stk_data_range){0, stk_dataset_info(ds)->n_samples};
}

/* The file of another role in a directory of IDX files (t10k-*); NULL when there is only the one
 * for training. */
static struct stk_dataset *open_sibling(struct sw_setup *s, enum stk_data_role role) {
  const struct sp_data_opts *d = &s->job->data;
  struct stk_dataset *ds = NULL;
  struct sp_err ignored = {0};
  if (guess_kind(d->path) != SP_DATA_IDX || open_data(s, d->path, role, &ds, &ignored) != SP_OK) {
    return NULL;
  }
  if (strcmp(stk_dataset_name(ds), stk_dataset_name(s->train)) == 0) {
    stk_dataset_close(ds);
    return NULL;
  }
  return ds;
}

static sp_status open_val(struct sw_setup *s, struct sp_err *err) {
  const struct sp_data_opts *d = &s->job->data;
  if (d->val_path || d->kind == SP_DATA_SYNTHETIC) {
    if (!d->val_path && d->num_val_samples <= 0) {
      return SP_OK;
    }
    sp_status st = open_data(s, d->val_path, STK_DATA_VAL, &s->val, err);
    s->own_val = s->has_val = st == SP_OK;
    s->val_range = st ? s->val_range : whole(s->val);
    return st;
  }
  if (!isnan(d->val_fraction)) {
    s->val = s->train;
    s->has_val = true;
    return stk_dataset_split(s->train, d->val_fraction, &s->train_range, &s->val_range, err);
  }
  s->val = open_sibling(s, STK_DATA_VAL);
  s->own_val = s->has_val = s->val != NULL;
  s->val_range = s->val ? whole(s->val) : s->val_range;
  return SP_OK;
}

static sp_status open_test(struct sw_setup *s, bool predict, struct sp_err *err) {
  const struct sp_data_opts *d = &s->job->data;
  const char *path = predict && d->predict_path ? d->predict_path : d->test_path;
  if (path) {
    sp_status st = open_data(s, path, predict ? STK_DATA_PREDICT : STK_DATA_TEST, &s->test, err);
    s->own_test = st == SP_OK;
    s->test_range = st ? s->test_range : whole(s->test);
    return st;
  }
  s->test = isnan(d->val_fraction) ? NULL : open_sibling(s, STK_DATA_TEST);
  if (s->test) { /* validation is a part of the training file: tests have one of their own */
    s->own_test = true;
    s->test_range = whole(s->test);
    return SP_OK;
  }
  s->test = s->has_val ? s->val : s->train;
  s->test_range = s->has_val ? s->val_range : s->train_range;
  return SP_OK;
}

static sp_status open_datasets(struct sw_setup *s, stk_stage stage, struct sp_err *err) {
  sp_status st = open_data(s, s->job->data.path, STK_DATA_TRAIN, &s->train, err);
  if (!st) {
    s->info = *stk_dataset_info(s->train);
    s->train_range = whole(s->train);
    st = open_val(s, err);
  }
  return st || (stage != STK_TEST && stage != STK_PREDICT)
             ? st
             : open_test(s, stage == STK_PREDICT, err);
}

/* Sampling text reads no data: the window is the model's. */
static sp_status text_info(struct sw_setup *s, struct sp_err *err) {
  int64_t block = hparam_int(s->module, "block_size");
  block = block > 0 ? block : s->job->data.seq_len;
  if (block <= 0) {
    return sp_fail(err, SP_EINVAL,
                   "predict.generate: give model.block_size or data.seq_len, the tokens that the "
                   "model sees at once");
  }
  s->info.x = s->info.y = (stk_sample){.dtype = STK_I32, .rank = 1, .dims = {block}};
  s->info.has_y = 1;
  return SP_OK;
}

/* ---- session */

static sp_status get_region(void *ctx, const char *name, size_t bytes, void **out_p,
                            struct sp_err *err) {
  struct sw_setup *s = ctx;
  if (s->n_regions == SW_REGIONS) {
    return sp_fail(err, SP_EINTERNAL, "more than %d state regions", SW_REGIONS);
  }
  int fd = memfd_create(name, MFD_CLOEXEC);
  if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0) {
    sp_status st = sp_fail_errno(err, "state region %s of %zu bytes", name, bytes);
    if (fd >= 0) {
      close(fd);
    }
    return st;
  }
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (p == MAP_FAILED) {
    sp_status st = sp_fail_errno(err, "state region %s of %zu bytes", name, bytes);
    close(fd);
    return st;
  }
  s->regions[s->n_regions].fd = fd;
  s->regions[s->n_regions].p = p;
  s->regions[s->n_regions++].bytes = bytes;
  *out_p = p;
  return SP_OK;
}

static sp_status choose_kernels(struct sw_setup *s, struct sp_err *err) {
  const struct sp_trainer_opts *t = &s->job->trainer;
  static const stk_isa chosen[] = {STK_ISA_KIND_REF, STK_ISA_KIND_REF, STK_ISA_KIND_AVX2,
                                   STK_ISA_KIND_AVX512};
  stk_cpu_detect(&s->cpu);
  int bits = t->precision == SP_PRECISION_64 ? 64 : 32;
  stk_isa isa = t->kernels == SP_KERNELS_AUTO ? (bits == 64 ? STK_ISA_KIND_REF : s->cpu.best)
                                              : chosen[t->kernels];
  if ((isa == STK_ISA_KIND_AVX2 && !s->cpu.avx2) ||
      (isa == STK_ISA_KIND_AVX512 && !s->cpu.avx512)) {
    return sp_fail(err, SP_EUNSUPPORTED, "trainer.kernels: this CPU (%s) has no %s; use auto",
                   s->cpu.name, stk_isa_name(isa));
  }
  s->kernels = stk_kernels_get(isa, bits, s->cpu.fma);
  if (!s->kernels) {
    return sp_fail(err, SP_EUNSUPPORTED,
                   "trainer.precision 64-true runs on trainer.kernels ref alone");
  }
  int64_t threads = t->threads == SP_INT_AUTO || t->threads <= 0 ? stk_cpu_count() : t->threads;
  return stk_pool_make((int)threads, true, &s->pool, err);
}

/* "-fuse" switches a pass off. */
static sp_status read_passes(const struct sp_trainer_opts *t, struct stk_session_config *c,
                             struct sp_err *err) {
  for (size_t i = 0; i < t->passes.n; i++) {
    const char *name = t->passes.items[i];
    bool on = name[0] != '-';
    name += on ? 0 : 1;
    if (strcmp(name, "fuse") == 0) {
      c->fuse = on;
    } else if (strcmp(name, "in_place") == 0) {
      c->in_place = on;
    } else {
      return sp_fail(err, SP_EINVAL,
                     "trainer.passes: no pass is called '%s'; there are fuse, in_place", name);
    }
  }
  c->recompute = t->recompute == SP_INT_NONE   ? STK_RECOMPUTE_OFF
                 : t->recompute == SP_INT_AUTO ? STK_RECOMPUTE_CHEAP
                                               : t->recompute;
  return SP_OK;
}

static sp_status make_session(struct sw_setup *s, struct sp_err *err) {
  const struct sp_trainer_opts *t = &s->job->trainer;
  struct stk_session_config c = {.module = s->module,
                                 .x = s->info.x,
                                 .y = s->info.y,
                                 .has_y = s->info.has_y != 0,
                                 .kernels = s->kernels,
                                 .pool = s->pool,
                                 .real_bits = t->precision == SP_PRECISION_64 ? 64 : 32,
                                 .n_lanes = (int32_t)t->lanes,
                                 .n_slots = s->n_slots,
                                 .accumulate = t->accumulate_grad_batches,
                                 .seed = (uint64_t)s->job->root.seed_everything,
                                 .fuse = true,
                                 .in_place = true,
                                 .detect_anomaly = t->detect_anomaly,
                                 .audit = t->audit,
                                 .tune_threads = t->threads == SP_INT_AUTO,
                                 .memory = &s->memory,
                                 .optimizer = &s->job->optimizer};
  if (t->profiler == SP_PROFILER_SIMPLE) {
    stk_profiler_init(&s->profiler, sp_clock_system());
    c.profiler = &s->profiler;
  }
  double clip = isnan(t->gradient_clip_val) ? 0.0 : t->gradient_clip_val;
  c.clip_norm = t->gradient_clip_algorithm == SP_CLIP_NORM ? clip : 0.0;
  c.clip_value = t->gradient_clip_algorithm == SP_CLIP_VALUE ? clip : 0.0;
  if (!s->job->optimizer.given) {
    stk_optim_init(&s->optim, &s->job->optimizer.freeze);
    if (s->module->def->configure_optimizers) {
      s->module->def->configure_optimizers(&s->optim, s->module->self);
    }
    if (s->optim.err.status) {
      return sp_fail(err, s->optim.err.status, "%s", s->optim.err.text);
    }
    c.optimizer = &s->optim.opts;
  }
  sp_status st = read_passes(t, &c, err);
  return st ? st : stk_session_new(&c, &s->session, err);
}

/* overfit_batches takes the place of the limits of training and validation, in file order. */
static bool overfits(const struct sp_trainer_opts *t) {
  const struct sp_count *c = &t->overfit_batches;
  return c->kind == SP_COUNT_N ? c->n > 0 : c->kind == SP_COUNT_FRACTION && c->fraction > 0.0;
}

static sp_status open_loader(struct sw_setup *s, struct stk_dataset *ds,
                             struct stk_data_range range, bool training, struct stk_loader **out,
                             struct sp_err *err) {
  const struct sp_trainer_opts *t = &s->job->trainer;
  const struct sp_data_opts *d = &s->job->data;
  struct stk_loader_config c = {.sampler = {.first = range.first,
                                            .n = range.n,
                                            .n_lanes = t->lanes,
                                            .batch_size = d->batch_size,
                                            .seed = (uint64_t)s->job->root.seed_everything,
                                            .shuffle = training && d->shuffle && !overfits(t),
                                            .pad = training,
                                            .drop_last = training && d->drop_last},
                                .real64 = t->precision == SP_PRECISION_64,
                                .prefetch = true,
                                .pool = s->pool};
  return stk_loader_open(ds, &c, out, err);
}

/* Makes the programs of every stage that will run, so that what is wrong with a step function is
 * said before the training; ids are checked as they are read, against what these programs look up.
 */
static sp_status make_programs(struct sw_setup *s, stk_stage stage, struct sp_err *err) {
  int64_t batch = s->job->data.batch_size, x, y;
  bool val = s->has_val && s->module->def->validation_step;
  stk_program *p;
  sp_status st = stk_session_program(s->session, STK_TRAIN, batch, &p, err);
  if (!st && val && (stage == STK_TRAIN || stage == STK_VALIDATE)) {
    st = stk_session_program(s->session, STK_VALIDATE, batch, &p, err);
  }
  if (!st && (stage == STK_TEST || stage == STK_PREDICT)) {
    st = stk_session_program(s->session, stage, batch, &p, err);
  }
  stk_session_id_limits(s->session, &x, &y);
  stk_dataset_set_limits(s->train, x, y);
  if (s->own_val) {
    stk_dataset_set_limits(s->val, x, y);
  }
  if (s->own_test) {
    stk_dataset_set_limits(s->test, x, y);
  }
  return st;
}

static sp_status open_loaders(struct sw_setup *s, stk_stage stage, struct sp_err *err) {
  const struct sp_trainer_opts *t = &s->job->trainer;
  sp_status st = make_programs(s, stage, err);
  if (st) {
    return st;
  }
  st = open_loader(s, s->train, s->train_range, true, &s->train_loader, err);
  if (!st && s->has_val && s->module->def->validation_step) {
    st = open_loader(s, s->val, s->val_range, false, &s->val_loader, err);
  }
  if (!st && (stage == STK_TEST || stage == STK_PREDICT)) {
    st = open_loader(s, s->test, s->test_range, false, &s->test_loader, err);
  }
  if (st) {
    return st;
  }
  s->n_train_batches = sw_limit(overfits(t) ? &t->overfit_batches : &t->limit_train_batches,
                                stk_sampler_n_steps(stk_loader_sampler(s->train_loader)));
  s->n_val_batches = s->val_loader
                         ? sw_limit(overfits(t) ? &t->overfit_batches : &t->limit_val_batches,
                                    stk_sampler_n_steps(stk_loader_sampler(s->val_loader)))
                         : 0;
  s->n_test_batches =
      s->test_loader
          ? sw_limit(stage == STK_TEST ? &t->limit_test_batches : &t->limit_predict_batches,
                     stk_sampler_n_steps(stk_loader_sampler(s->test_loader)))
          : 0;
  if (t->fast_dev_run > 0) {
    s->n_train_batches =
        s->n_train_batches < t->fast_dev_run ? s->n_train_batches : t->fast_dev_run;
    s->n_val_batches = s->n_val_batches < t->fast_dev_run ? s->n_val_batches : t->fast_dev_run;
    s->n_test_batches = s->n_test_batches < t->fast_dev_run ? s->n_test_batches : t->fast_dev_run;
  }
  return SP_OK;
}

/* A module that never returns from its setup ends the process, not the user's patience. */
static void limit_setup(void) {
  const char *text = getenv("STOKER_SETUP_SECONDS");
  int64_t seconds;
  bool good =
      text && sp_parse_i64(text, &seconds) == SP_OK && seconds > 0 && seconds <= SETUP_SECONDS_MAX;
  alarm(good ? (unsigned)seconds : SETUP_SECONDS);
}

sp_status sw_setup_prepare(const struct sw_setup_spec *spec, struct sw_setup *out,
                           struct sp_err *err) {
  struct sw_setup *s = out;
  stk_stage stage = spec->stage;
  memset(s, 0, sizeof *s);
  s->opener = sw_inflate_opener(&s->inflate);
  s->memory = spec->memory ? *spec->memory : (struct stk_memory){get_region, s};
  s->n_slots = spec->n_slots;
  stk_fp_enter();
  sp_status st = sp_job_load(spec->file, spec->args, spec->n_args, &s->job, err);
  limit_setup();
  st = st ? st : open_module(s, err);
  alarm(0);
  bool samples_text = !st && stage == STK_PREDICT && s->job->predict.generate > 0;
  st = st ? st : samples_text ? text_info(s, err) : open_datasets(s, stage, err);
  st = st ? st : choose_kernels(s, err);
  if (!st) {
    limit_setup();
    st = stk_module_setup(s->module, &s->info.x, err);
    stk_fp_enter();
  }
  st = st ? st : make_session(s, err);
  st = st || samples_text ? st : open_loaders(s, stage, err);
  alarm(0);
  return st ? place_complaint(s, err) : SP_OK;
}

sp_status sw_setup_open(const char *file, const char *const *args, size_t n_args, stk_stage stage,
                        struct sw_setup *out, struct sp_err *err) {
  struct sw_setup_spec spec = {.file = file, .args = args, .n_args = n_args, .stage = stage};
  sp_status st = sw_setup_prepare(&spec, out, err);
  return st ? st : stk_pool_start(out->pool, stk_pool_n_threads(out->pool), err);
}

void sw_setup_close(struct sw_setup *s) {
  stk_loader_close(s->train_loader);
  stk_loader_close(s->val_loader);
  stk_loader_close(s->test_loader);
  stk_session_free(s->session);
  for (int32_t i = 0; i < s->n_regions; i++) {
    munmap(s->regions[i].p, s->regions[i].bytes);
    close(s->regions[i].fd);
  }
  stk_pool_free(s->pool);
  stk_module_free(s->module);
  if (s->own_test) {
    stk_dataset_close(s->test);
  }
  if (s->own_val) {
    stk_dataset_close(s->val);
  }
  stk_dataset_close(s->train);
  sp_job_free(s->job);
  if (s->library) {
    dlclose(s->library);
  }
}
