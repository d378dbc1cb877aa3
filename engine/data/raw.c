/* Text: a file of bytes, or of little-endian 16 or 32 bit tokens, without a header.
 *
 * Sample i is the T tokens from i * stride on, and its y the same window one token later, so T + 1
 * tokens make the first sample and a tail that does not fill a window is not used. In a directory
 * the file is train, val or test (by role) with the ending .txt, .bin or none.
 */
#include "engine/data/reader.h"

#include "proto/base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct raw_reader {
  struct stk_mapping map;
  int64_t block;
  int64_t stride;
  size_t token_bytes;
};

/* Widens n tokens; the index of the first that i32 cannot hold, or -1. */
static int64_t widen(const uint8_t *from, size_t token_bytes, int64_t n, int32_t *to) {
  if (token_bytes == 1) {
    for (int64_t i = 0; i < n; i++) {
      to[i] = from[i];
    }
    return -1;
  }
  for (int64_t i = 0; i < n; i++, from += token_bytes) {
    uint32_t v = (uint32_t)from[0] | (uint32_t)from[1] << 8;
    if (token_bytes == 4) {
      v |= (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
    }
    if (v > INT32_MAX) {
      return i;
    }
    to[i] = (int32_t)v;
  }
  return -1;
}

static stk_status raw_read(void *self, const stk_reader_request *request, void *x, void *y,
                           stk_reader_why *why) {
  const struct raw_reader *r = self;
  int32_t *to_x = x;
  int32_t *to_y = y;
  for (int32_t k = 0; k < request->n; k++) {
    int64_t first = request->ids[k] * r->stride;
    const uint8_t *from = r->map.bytes + (size_t)first * r->token_bytes;
    int64_t bad = widen(from, r->token_bytes, r->block, to_x + k * r->block);
    if (bad < 0 && y) {
      bad = widen(from + r->token_bytes, r->token_bytes, r->block, to_y + k * r->block);
    }
    if (bad >= 0) {
      snprintf(why->text, sizeof why->text, "sample %" PRId64 " has a token above 2^31-1",
               request->ids[k]);
      return SP_ERANGE;
    }
  }
  return 0;
}

static void raw_close(void *self) {
  struct raw_reader *r = self;
  stk_mapping_close(&r->map);
  sp_free(r);
}

static const stk_reader_ops raw_ops = {
    .abi = STK_READER_ABI,
    .size = sizeof(stk_reader_ops),
    .name = "raw",
    .read = raw_read,
    .close = raw_close,
};

bool stk_raw_find(const char *dir, enum stk_data_role role, char out[STK_DATA_PATH_BYTES]) {
  static const char *const names[][3] = {
      [STK_DATA_TRAIN] = {"train.txt", "train.bin", "train"},
      [STK_DATA_VAL] = {"val.txt", "val.bin", "val"},
      [STK_DATA_TEST] = {"test.txt", "test.bin", "test"},
      [STK_DATA_PREDICT] = {"test.txt", "test.bin", "test"},
  };
  return stk_data_find(dir, names[role], 3, out);
}

static sp_status open_reader(const struct stk_data_spec *spec, const char *path,
                             struct raw_reader *r, struct stk_dataset *ds, struct sp_err *err) {
  sp_status st = stk_mapping_open(spec->opener, path, &r->map, err);
  if (st != SP_OK) {
    return st;
  }
  if (r->map.n_bytes % r->token_bytes != 0) {
    return sp_fail(err, SP_ECORRUPT,
                   "data: %s has %" PRIu64
                   " bytes, not a multiple of the %zu "
                   "of a token",
                   path, r->map.n_bytes, r->token_bytes);
  }
  int64_t n_tokens = (int64_t)(r->map.n_bytes / r->token_bytes);
  if (n_tokens < r->block || n_tokens - r->block < 1) {
    return sp_fail(err, SP_EINVAL,
                   "data: %s has %" PRId64 " tokens; one sample of %" PRId64
                   " and its targets need one more than that",
                   path, n_tokens, r->block);
  }
  int64_t stride = r->stride;
  ds->info.n_samples = (n_tokens - r->block - 1) / stride + 1;
  ds->info.has_y = 1;
  ds->info.x = (stk_sample){.dtype = STK_I32, .rank = 1, .dims = {r->block}};
  ds->info.y = ds->info.x;
  ds->overlap = stride < r->block ? (r->block - 1) / stride : 0;
  return SP_OK;
}

sp_status stk_raw_open(const struct stk_data_spec *spec, stk_dtype token, struct stk_dataset *ds,
                       struct sp_err *err) {
  int64_t stride = spec->stride ? spec->stride : spec->block;
  if (spec->block < 1 || stride < 1) {
    return sp_fail(err, SP_EINVAL,
                   "data: a text sample of %" PRId64 " tokens at stride %" PRId64
                   " is impossible; see data.seq_len and data.stride",
                   spec->block, stride);
  }
  char found[STK_DATA_PATH_BYTES];
  const char *path = spec->path;
  if (stk_data_is_directory(path)) {
    if (!stk_raw_find(path, spec->role, found)) {
      return sp_fail(
          err, SP_ENOENT,
          "data: %s holds no train, val or test text (.txt or .bin) for this stage; name "
          "the file in data.path",
          path);
    }
    path = found;
  }
  struct raw_reader *r = sp_alloc(sizeof *r);
  if (!r) {
    return sp_fail(err, SP_ENOMEM, "data: out of memory");
  }
  r->block = spec->block;
  r->stride = stride;
  r->token_bytes = stk_sample_dtype_bytes(token);
  sp_status st = open_reader(spec, path, r, ds, err);
  if (st != SP_OK) {
    raw_close(r);
    return st;
  }
  ds->ops = &raw_ops;
  ds->self = r;
  stk_dataset_set_name(ds, path);
  return SP_OK;
}
