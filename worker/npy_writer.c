/* Writing predictions.npy (NumPy format 1.0). */
#include "worker/npy_writer.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/file.h"

enum { HEADER = 128 };

sp_status sw_npy_open(struct sw_npy *w, const char *path, int64_t rows, struct sp_err *err) {
  snprintf(w->path, sizeof w->path, "%s", path);
  snprintf(w->tmp, sizeof w->tmp, "%s.tmp-%d", path, (int)getpid());
  w->rows = rows;
  w->fd = open(w->tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  return w->fd < 0 ? sp_fail_errno(err, "predict.output %s", w->tmp) : SP_OK;
}

static sp_status put_at(struct sw_npy *w, const void *bytes, size_t n, int64_t at,
                        struct sp_err *err) {
  const uint8_t *p = bytes;
  while (n > 0) {
    ssize_t k = pwrite(w->fd, p, n, at);
    if (k <= 0) {
      return sp_fail_errno(err, "writing %s", w->tmp);
    }
    p += k;
    at += k;
    n -= (size_t)k;
  }
  return SP_OK;
}

static sp_status header(struct sw_npy *w, const struct stk_graph *g, struct sp_err *err) {
  const struct stk_value *v = &g->values[g->loss];
  char text[HEADER + 1], dims[96] = "";
  const char *type = v->dtype == STK_F64 ? "<f8" : v->dtype == STK_I32 ? "<i4" : "<f4";
  w->row_bytes = stk_dtype_bytes(v->dtype);
  for (int32_t d = 1; d < v->shape.rank; d++) {
    size_t at = strlen(dims);
    snprintf(dims + at, sizeof dims - at, " %lld,", (long long)v->shape.dim[d]);
    w->row_bytes *= (size_t)v->shape.dim[d];
  }
  memset(text, ' ', HEADER);
  memcpy(text, "\x93NUMPY\x01\x00\x76\x00", 10);
  int n = snprintf(text + 10, HEADER - 10,
                   "{'descr': '%s', 'fortran_order': False, 'shape': (%lld,%s), }", type,
                   (long long)w->rows, dims);
  if (n < 0 || n >= HEADER - 11) {
    return sp_fail(err, SP_ERANGE, "predictions have too many dims for %s", w->path);
  }
  text[10 + n] = ' ';
  text[HEADER - 1] = '\n';
  return put_at(w, text, HEADER, 0, err);
}

sp_status sw_npy_put(struct sw_npy *w, const struct stk_graph *g, const void *result,
                     const int64_t *ids, int64_t n, int64_t first, struct sp_err *err) {
  sp_status st = w->row_bytes ? SP_OK : header(w, g, err);
  for (int64_t i = 0; i < n && !st; i++) {
    st = put_at(w, (const uint8_t *)result + (size_t)i * w->row_bytes, w->row_bytes,
                HEADER + (ids[i] - first) * (int64_t)w->row_bytes, err);
  }
  return st;
}

sp_status sw_npy_close(struct sw_npy *w, sp_status status, struct sp_err *err) {
  if (w->fd <= 0) {
    return status;
  }
  if (!status && (fsync(w->fd) != 0 || rename(w->tmp, w->path) != 0)) {
    status = sp_fail_errno(err, "publishing %s", w->path);
  }
  close(w->fd);
  if (status) {
    (void)unlink(w->tmp);
  }
  return status;
}
