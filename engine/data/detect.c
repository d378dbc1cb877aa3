/* data.kind auto: which reader a path is for. A directory is judged by the names in it, a file by
 * its first bytes, and what is neither IDX nor npy is a text of bytes. Also which stages a
 * directory has files for.
 */
#include "engine/data/reader.h"

#include <string.h>

static sp_status detect_directory(const struct stk_data_spec *spec, sp_data_kind *out,
                                  struct sp_err *err) {
  char found[STK_DATA_PATH_BYTES];
  struct sp_err why;
  sp_status st = stk_idx_find(spec->path, spec->role, found, &why);
  if (st == SP_OK) {
    *out = SP_DATA_IDX;
    return SP_OK;
  }
  if (stk_npy_find(spec->path, spec->role, found)) {
    *out = SP_DATA_NPY;
    return SP_OK;
  }
  if (stk_raw_find(spec->path, spec->role, found)) {
    *out = SP_DATA_BYTES;
    return SP_OK;
  }
  return st == SP_ENOENT
             ? sp_fail(err, SP_ENOENT,
                       "data: %s holds no IDX images (*images-idx3-ubyte[.gz]), x.npy or "
                       "train.txt; name a file in data.path",
                       spec->path)
             : sp_fail(err, st, "%s", why.text);
}

sp_status stk_data_detect(const struct stk_data_spec *spec, sp_data_kind *out, struct sp_err *err) {
  if (stk_data_is_directory(spec->path)) {
    return detect_directory(spec, out, err);
  }
  struct stk_mapping m;
  sp_status st = stk_mapping_open(spec->opener, spec->path, &m, err);
  if (st != SP_OK) {
    return st;
  }
  const uint8_t *b = m.bytes;
  *out = SP_DATA_BYTES;
  if (m.n_bytes >= 6 && memcmp(b, "\x93NUMPY", 6) == 0) {
    *out = SP_DATA_NPY;
  } else if (m.n_bytes >= 8 && b[0] == 0 && b[1] == 0 && b[2] >= 0x08 && b[2] <= 0x0e &&
             b[3] >= 1 && b[3] <= 5) {
    *out = SP_DATA_IDX;
  }
  stk_mapping_close(&m);
  return SP_OK;
}

static bool find_for_role(const struct stk_data_spec *spec, enum stk_data_role role,
                          char out[STK_DATA_PATH_BYTES]) {
  switch (spec->kind) {
    case SP_DATA_IDX:
      return stk_idx_find(spec->path, role, out, NULL) == SP_OK;
    case SP_DATA_NPY:
      return stk_npy_find(spec->path, role, out);
    case SP_DATA_BYTES:
    case SP_DATA_UINT16:
    case SP_DATA_UINT32:
      return stk_raw_find(spec->path, role, out);
    default:
      return false;
  }
}

bool stk_data_holds_role(const struct stk_data_spec *spec) {
  struct stk_data_spec at = *spec;
  char theirs[STK_DATA_PATH_BYTES];
  char ours[STK_DATA_PATH_BYTES];
  if (!spec->path || spec->reader || !stk_data_is_directory(spec->path)) {
    return false;
  }
  if (at.kind == SP_DATA_AUTO && detect_directory(&at, &at.kind, NULL) != SP_OK) {
    return false;
  }
  return find_for_role(&at, spec->role, ours) &&
         !(find_for_role(&at, STK_DATA_TRAIN, theirs) && strcmp(ours, theirs) == 0);
}
