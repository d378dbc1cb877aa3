/* NumPy arrays: x.npy, and y.npy beside it. The first dimension counts samples.
 *
 * FILE.npy is x; its y is data.labels, or the file of the same name with x replaced by y where the
 * name is x.npy or ends with _x.npy. In a directory the role chooses: train_x.npy or x.npy, ... i8
 * values are delivered as i32 and must fit.
 */
#include "engine/data/npy_header.h"
#include "engine/data/reader.h"

#include "proto/base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct npy_file {
  struct stk_mapping map;
  struct stk_npy_header header;
  uint64_t sample_elements;
};

struct npy_reader {
  struct npy_file x;
  struct npy_file y;
};

static sp_status open_file(const struct stk_data_spec *spec, const char *path, struct npy_file *f,
                           struct sp_err *err) {
  sp_status st = stk_mapping_open(spec->opener, path, &f->map, err);
  if (st != SP_OK) {
    return st;
  }
  st = stk_npy_parse(f->map.bytes, (size_t)f->map.n_bytes, f->map.n_bytes, &f->header, err);
  if (st != SP_OK) {
    (void)sp_wrap(err, "data: %s", path);
    return st;
  }
  if (f->header.rank < 1 || f->header.dims[0] < 1) {
    return sp_fail(err, SP_EINVAL, "data: %s holds no samples (the first dimension counts them)",
                   path);
  }
  f->sample_elements = f->header.n_elements / (uint64_t)f->header.dims[0];
  return SP_OK;
}

/* i8 to i32; the sample that has a value out of range, or -1. */
static int64_t read_i8(const struct npy_file *f, const stk_reader_request *request, int32_t *out) {
  const uint8_t *base = f->map.bytes + f->header.data_offset;
  for (int32_t k = 0; k < request->n; k++) {
    const uint8_t *from = base + (uint64_t)request->ids[k] * f->sample_elements * 8;
    for (uint64_t i = 0; i < f->sample_elements; i++) {
      int64_t v;
      memcpy(&v, from + 8 * i, 8);
      if (v < INT32_MIN || v > INT32_MAX) {
        return request->ids[k];
      }
      *out++ = (int32_t)v;
    }
  }
  return -1;
}

static stk_status read_file(const struct npy_file *f, const char *which,
                            const stk_reader_request *request, void *out, stk_reader_why *why) {
  if (f->header.type == STK_NPY_I8) {
    int64_t bad = read_i8(f, request, out);
    if (bad >= 0) {
      snprintf(why->text, sizeof why->text,
               "sample %" PRId64 ": a value of %s does not fit 32 bits", bad, which);
      return SP_ERANGE;
    }
    return 0;
  }
  stk_data_gather(f->map.bytes + f->header.data_offset,
                  f->sample_elements * f->header.element_bytes, request, out);
  return 0;
}

static stk_status npy_read(void *self, const stk_reader_request *request, void *x, void *y,
                           stk_reader_why *why) {
  const struct npy_reader *r = self;
  stk_status st = read_file(&r->x, "x", request, x, why);
  return st == 0 && y ? read_file(&r->y, "y", request, y, why) : st;
}

static void npy_close(void *self) {
  struct npy_reader *r = self;
  stk_mapping_close(&r->x.map);
  stk_mapping_close(&r->y.map);
  sp_free(r);
}

static const stk_reader_ops npy_ops = {
    .abi = STK_READER_ABI,
    .size = sizeof(stk_reader_ops),
    .name = "npy",
    .read = npy_read,
    .close = npy_close,
};

bool stk_npy_find(const char *dir, enum stk_data_role role, char out[STK_DATA_PATH_BYTES]) {
  static const char *const names[][2] = {
      [STK_DATA_TRAIN] = {"train_x.npy", "x.npy"},
      [STK_DATA_VAL] = {"val_x.npy", "x.npy"},
      [STK_DATA_TEST] = {"test_x.npy", "x.npy"},
      [STK_DATA_PREDICT] = {"test_x.npy", "x.npy"},
  };
  return stk_data_find(dir, names[role], 2, out);
}

/* y's file by name; false where x's name has no partner or the partner is not there. */
static bool find_y(const char *x, char out[STK_DATA_PATH_BYTES]) {
  const char *slash = strrchr(x, '/');
  const char *name = slash ? slash + 1 : x;
  const char *at = strcmp(name, "x.npy") == 0 || strcmp(name, "x.npy.gz") == 0 ? name : NULL;
  const char *tail = strstr(name, "_x.npy");
  if (tail && (tail[6] == 0 || strcmp(tail + 6, ".gz") == 0)) {
    at = tail + 1;
  }
  if (!at) {
    return false;
  }
  char y[STK_DATA_PATH_BYTES];
  int n = snprintf(y, sizeof y, "%.*sy.npy", (int)(at - x), x);
  return n > 0 && n < STK_DATA_PATH_BYTES && stk_data_find(NULL, &(const char *){y}, 1, out);
}

static sp_status open_y(const struct stk_data_spec *spec, const char *x, struct npy_reader *r,
                        struct sp_err *err) {
  char found[STK_DATA_PATH_BYTES];
  const char *path = spec->labels;
  if (!path) {
    if (!find_y(x, found)) {
      return SP_OK;
    }
    path = found;
  }
  sp_status st = open_file(spec, path, &r->y, err);
  if (st == SP_OK && r->y.header.dims[0] != r->x.header.dims[0]) {
    return sp_fail(err, SP_EMISMATCH, "data: %s has %" PRId64 " samples, %s has %" PRId64, path,
                   r->y.header.dims[0], x, r->x.header.dims[0]);
  }
  return st;
}

static void describe(const struct stk_npy_header *h, stk_sample *out) {
  static const stk_dtype delivered[] = {
      [STK_NPY_F4] = STK_F32, [STK_NPY_F8] = STK_F64, [STK_NPY_U1] = STK_U8,
      [STK_NPY_U2] = STK_U16, [STK_NPY_I4] = STK_I32, [STK_NPY_I8] = STK_I32,
  };
  out->dtype = delivered[h->type];
  out->rank = h->rank - 1;
  for (int32_t i = 0; i < out->rank; i++) {
    out->dims[i] = h->dims[i + 1];
  }
}

sp_status stk_npy_open(const struct stk_data_spec *spec, struct stk_dataset *ds,
                       struct sp_err *err) {
  char found[STK_DATA_PATH_BYTES];
  const char *path = spec->path;
  if (stk_data_is_directory(path)) {
    if (!stk_npy_find(path, spec->role, found)) {
      return sp_fail(err, SP_ENOENT,
                     "data: %s holds no x.npy for this stage; name the file in data.path", path);
    }
    path = found;
  }
  struct npy_reader *r = sp_alloc(sizeof *r);
  if (!r) {
    return sp_fail(err, SP_ENOMEM, "data: out of memory");
  }
  sp_status st = open_file(spec, path, &r->x, err);
  if (st == SP_OK) {
    st = open_y(spec, path, r, err);
  }
  if (st != SP_OK) {
    npy_close(r);
    return st;
  }
  ds->ops = &npy_ops;
  ds->self = r;
  ds->info.n_samples = r->x.header.dims[0];
  describe(&r->x.header, &ds->info.x);
  ds->info.has_y = r->y.map.bytes != NULL;
  if (ds->info.has_y) {
    describe(&r->y.header, &ds->info.y);
  }
  stk_dataset_set_name(ds, path);
  return SP_OK;
}
