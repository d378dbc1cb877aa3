/* Opening a data set by kind, splitting it, and reading samples in the model's types.
 *
 * Readers deliver their declared type; the conversion happens here, in place where the declared
 * elements are not larger than the wanted ones (they are read into the end of the destination).
 */
#include "engine/data/dataset.h"

#include "engine/data/convert.h"
#include "engine/data/reader.h"
#include "engine/exec/fpenv.h"
#include "proto/base/mem.h"

#include <inttypes.h>
#include <string.h>

enum { MAX_SAMPLE_ELEMENTS_LOG2 = 40 };

void stk_dataset_set_name(struct stk_dataset *ds, const char *name) {
  size_t room = sizeof ds->name - 1;
  size_t n = strlen(name);
  const char *tail = n > room ? name + (n - room) : name;
  memcpy(ds->name, tail, strlen(tail) + 1);
}

size_t stk_sample_dtype_bytes(stk_dtype dtype) {
  switch (dtype) {
    case STK_F32:
    case STK_I32:
    case STK_U32:
      return 4;
    case STK_F64:
      return 8;
    case STK_U8:
      return 1;
    case STK_U16:
      return 2;
    default:
      return 0;
  }
}

int64_t stk_sample_elements(const stk_sample *s) {
  int64_t n = 1;
  for (int32_t i = 0; i < s->rank; i++) {
    n *= s->dims[i];
  }
  return n;
}

static sp_status check_sample(const stk_sample *s, const char *which, const char *name,
                              struct sp_err *err) {
  if (s->rank < 0 || s->rank > STK_SAMPLE_MAX_RANK) {
    return sp_fail(err, SP_EINVAL, "data: %s: %s has rank %d; at most %d is possible", name, which,
                   (int)s->rank, STK_SAMPLE_MAX_RANK);
  }
  if (stk_sample_dtype_bytes(s->dtype) == 0) {
    return sp_fail(err, SP_EINVAL, "data: %s: %s has no known element type (%d)", name, which,
                   (int)s->dtype);
  }
  int64_t n = 1;
  for (int32_t i = 0; i < s->rank; i++) {
    if (s->dims[i] < 1) {
      return sp_fail(err, SP_EINVAL, "data: %s: dimension %d of %s is %" PRId64, name, (int)i,
                     which, s->dims[i]);
    }
    if (__builtin_mul_overflow(n, s->dims[i], &n) || n >> MAX_SAMPLE_ELEMENTS_LOG2 != 0) {
      return sp_fail(err, SP_ERANGE, "data: %s: one sample of %s is too large", name, which);
    }
  }
  return SP_OK;
}

static const char *role_name(enum stk_data_role role) {
  static const char *const names[] = {"train", "val", "test", "predict"};
  return names[role];
}

static sp_status open_module_reader(const struct stk_data_spec *spec, struct stk_dataset *ds,
                                    struct sp_err *err) {
  const stk_reader_ops *ops = spec->reader;
  const char *name = ops->name ? ops->name : "the module's reader";
  if (ops->abi != STK_READER_ABI || ops->size < sizeof *ops) {
    return sp_fail(err, SP_EMODULE,
                   "data: %s: reader of interface %u (%u bytes), this engine has %d (%zu bytes); "
                   "rebuild the module",
                   name, ops->abi, ops->size, STK_READER_ABI, sizeof *ops);
  }
  if (!ops->open || !ops->read || !ops->close) {
    return sp_fail(err, SP_EMODULE, "data: %s: open, read and close are needed", name);
  }
  stk_reader_args none = {.path = spec->path, .role = role_name(spec->role)};
  stk_reader_why why = {{0}};
  stk_status st =
      ops->open(spec->reader_args ? spec->reader_args : &none, &ds->self, &ds->info, &why);
  why.text[sizeof why.text - 1] = 0;
  if (st != 0) {
    return sp_fail(err, SP_EMODULE, "data: %s: open failed (%d): %s", name, st,
                   why.text[0] ? why.text : "no reason given");
  }
  ds->ops = ops;
  ds->serial = true;
  stk_dataset_set_name(ds, name);
  if (ds->info.n_samples < 0) {
    return sp_fail(err, SP_EUNSUPPORTED,
                   "data: %s: a stream (n_samples %" PRId64
                   ") cannot be read yet; give a number "
                   "of samples",
                   name, ds->info.n_samples);
  }
  return SP_OK;
}

static sp_status open_kind(const struct stk_data_spec *spec, struct stk_dataset *ds,
                           struct sp_err *err) {
  sp_data_kind kind = spec->reader ? SP_DATA_MODULE : spec->kind;
  if (kind != SP_DATA_MODULE && kind != SP_DATA_SYNTHETIC && !spec->path) {
    return sp_fail(err, SP_EINVAL, "data.path is missing: it names a file or a directory");
  }
  if (kind == SP_DATA_AUTO) {
    sp_status st = stk_data_detect(spec, &kind, err);
    if (st != SP_OK) {
      return st;
    }
  }
  switch (kind) {
    case SP_DATA_IDX:
      return stk_idx_open(spec, ds, err);
    case SP_DATA_BYTES:
      return stk_raw_open(spec, STK_U8, ds, err);
    case SP_DATA_UINT16:
      return stk_raw_open(spec, STK_U16, ds, err);
    case SP_DATA_UINT32:
      return stk_raw_open(spec, STK_U32, ds, err);
    case SP_DATA_NPY:
      return stk_npy_open(spec, ds, err);
    case SP_DATA_SYNTHETIC:
      return stk_synthetic_open(spec, ds, err);
    default:
      return spec->reader ? open_module_reader(spec, ds, err)
                          : sp_fail(err, SP_EMODULE,
                                    "data.kind is module, but the module has no reader of its own");
  }
}

static sp_status check_info(const struct stk_dataset *ds, struct sp_err *err) {
  if (ds->info.n_samples < 1) {
    return sp_fail(err, SP_EINVAL, "data: %s holds no samples", ds->name);
  }
  sp_status st = check_sample(&ds->info.x, "x", ds->name, err);
  if (st == SP_OK && ds->info.has_y) {
    st = check_sample(&ds->info.y, "y", ds->name, err);
  }
  return st;
}

sp_status stk_dataset_open(const struct stk_data_spec *spec, struct stk_dataset **out,
                           struct sp_err *err) {
  struct stk_dataset *ds = sp_alloc(sizeof *ds);
  if (!ds) {
    return sp_fail(err, SP_ENOMEM, "data: out of memory");
  }
  pthread_mutex_init(&ds->lock, NULL);
  sp_status st = open_kind(spec, ds, err);
  if (st == SP_OK) {
    st = check_info(ds, err);
  }
  if (st != SP_OK) {
    stk_dataset_close(ds);
    return st;
  }
  *out = ds;
  return SP_OK;
}

void stk_dataset_close(struct stk_dataset *ds) {
  if (!ds) {
    return;
  }
  if (ds->ops) {
    ds->ops->close(ds->self);
  }
  pthread_mutex_destroy(&ds->lock);
  sp_free(ds);
}

const stk_reader_info *stk_dataset_info(const struct stk_dataset *ds) {
  return &ds->info;
}

const char *stk_dataset_name(const struct stk_dataset *ds) {
  return ds->name;
}

bool stk_dataset_in_memory(const struct stk_dataset *ds) {
  return !ds->serial;
}

int64_t stk_dataset_overlap(const struct stk_dataset *ds) {
  return ds->overlap;
}

static bool is_float(stk_dtype t) {
  return t == STK_F32 || t == STK_F64;
}

stk_dtype stk_dataset_x_type(const struct stk_dataset *ds) {
  return is_float(ds->info.x.dtype) || ds->info.x.dtype == STK_U8 ? STK_F32 : STK_I32;
}

stk_dtype stk_dataset_y_type(const struct stk_dataset *ds) {
  return is_float(ds->info.y.dtype) ? STK_F32 : STK_I32;
}

void stk_dataset_set_limits(struct stk_dataset *ds, int64_t x_limit, int64_t y_limit) {
  ds->x_limit = x_limit;
  ds->y_limit = y_limit;
}

sp_status stk_dataset_split(const struct stk_dataset *ds, double fraction,
                            struct stk_data_range *out_train, struct stk_data_range *out_val,
                            struct sp_err *err) {
  int64_t n = ds->info.n_samples;
  if (!(fraction > 0 && fraction < 1)) {
    return sp_fail(err, SP_EINVAL, "data.val_fraction is %g; it must be inside (0, 1)", fraction);
  }
  /* 1e-6 samples: 0.29 of 100 is 29, although the product of the doubles is below it. */
  int64_t n_val = (int64_t)((double)n * fraction + 1e-6);
  int64_t n_train = n - n_val - ds->overlap;
  if (n_val < 1 || n_train < 1) {
    return sp_fail(err, SP_EINVAL,
                   "data.val_fraction %g of the %" PRId64 " samples of %s leaves %" PRId64
                   " for training and %" PRId64 " for validation",
                   fraction, n, ds->name, n_train < 0 ? 0 : n_train, n_val);
  }
  *out_train = (struct stk_data_range){.first = 0, .n = n_train};
  *out_val = (struct stk_data_range){.first = n - n_val, .n = n_val};
  return SP_OK;
}

/* One side (x or y) of a read. */
struct side {
  const char *name;
  const stk_sample *sample;
  enum stk_target target;
  int64_t limit;
  int64_t elements; /* of one sample */
  void *dst;
  void *raw;     /* where the reader writes */
  void *scratch; /* owned, or NULL */
};

static sp_status prepare_side(struct side *s, bool as_real, bool real64, int32_t n,
                              struct sp_err *err) {
  s->target = !as_real ? STK_TARGET_I32 : real64 ? STK_TARGET_F64 : STK_TARGET_F32;
  s->elements = stk_sample_elements(s->sample);
  if (!s->dst) {
    return SP_OK;
  }
  size_t from = stk_sample_dtype_bytes(s->sample->dtype);
  size_t to = stk_target_bytes(s->target);
  size_t count = (size_t)s->elements * (size_t)n;
  if (from <= to) {
    s->raw = (uint8_t *)s->dst + count * (to - from);
    return SP_OK;
  }
  s->scratch = sp_alloc_array(count, from);
  s->raw = s->scratch;
  return s->scratch ? SP_OK : sp_fail(err, SP_ENOMEM, "data: out of memory for a batch");
}

static sp_status check_ids(const struct stk_dataset *ds, const struct side *s,
                           const stk_reader_request *request, struct sp_err *err) {
  const int32_t *v = s->dst;
  int64_t count = s->elements * request->n;
  int64_t limit = s->limit > 0 ? s->limit : (int64_t)INT32_MAX + 1;
  for (int64_t i = 0; i < count; i++) {
    if (v[i] < 0 || v[i] >= limit) {
      return sp_fail(err, SP_ERANGE,
                     "data: %s: sample %" PRId64 ": %s[%" PRId64 "] is %" PRId32
                     "; the model takes 0 to %" PRId64,
                     ds->name, request->ids[i / s->elements], s->name, i % s->elements, v[i],
                     limit - 1);
    }
  }
  return SP_OK;
}

static sp_status finish_side(const struct stk_dataset *ds, struct side *s,
                             const stk_reader_request *request, struct sp_err *err) {
  if (!s->dst) {
    return SP_OK;
  }
  int64_t count = s->elements * request->n;
  int64_t bad = stk_convert(s->sample->dtype, s->raw, s->target, s->dst, count);
  if (bad >= 0) {
    return sp_fail(err, SP_ERANGE, "data: %s: sample %" PRId64 ": %s[%" PRId64 "] is above 2^31-1",
                   ds->name, request->ids[bad / s->elements], s->name, bad % s->elements);
  }
  return s->target == STK_TARGET_I32 ? check_ids(ds, s, request, err) : SP_OK;
}

static sp_status call_reader(struct stk_dataset *ds, const stk_reader_request *request, void *x,
                             void *y, struct sp_err *err) {
  stk_reader_why why = {{0}};
  if (ds->serial) {
    pthread_mutex_lock(&ds->lock);
  }
  stk_status st = ds->ops->read(ds->self, request, x, y, &why);
  if (ds->serial) {
    pthread_mutex_unlock(&ds->lock);
  }
  why.text[sizeof why.text - 1] = 0;
  if (st != 0) {
    return sp_fail(err, ds->serial ? SP_EMODULE : (sp_status)st,
                   "data: %s: reading %d samples from %" PRId64 " on failed (%d): %s", ds->name,
                   (int)request->n, request->ids[0], st,
                   why.text[0] ? why.text : "no reason given");
  }
  return SP_OK;
}

sp_status stk_dataset_read(struct stk_dataset *ds, const stk_reader_request *request, bool real64,
                           void *x, void *y, struct sp_err *err) {
  struct side sx = {.name = "x", .sample = &ds->info.x, .limit = ds->x_limit, .dst = x};
  struct side sy = {.name = "y", .sample = &ds->info.y, .limit = ds->y_limit};
  sy.dst = ds->info.has_y ? y : NULL;
  if (request->n < 1) {
    return SP_OK;
  }
  for (int32_t k = 0; k < request->n; k++) {
    if (request->ids[k] < 0 || request->ids[k] >= ds->info.n_samples) {
      return sp_fail(err, SP_ERANGE, "data: %s has no sample %" PRId64, ds->name, request->ids[k]);
    }
  }
  uint32_t fp = stk_fp_enter();
  sp_status st = prepare_side(&sx, stk_dataset_x_type(ds) == STK_F32, real64, request->n, err);
  if (st == SP_OK) {
    st = prepare_side(&sy, stk_dataset_y_type(ds) == STK_F32, real64, request->n, err);
  }
  if (st == SP_OK) {
    st = call_reader(ds, request, sx.raw, sy.raw, err);
  }
  if (st == SP_OK) {
    st = finish_side(ds, &sx, request, err);
  }
  if (st == SP_OK) {
    st = finish_side(ds, &sy, request, err);
  }
  stk_fp_leave(fp);
  sp_free(sx.scratch);
  sp_free(sy.scratch);
  return st;
}
