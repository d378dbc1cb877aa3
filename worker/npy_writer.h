/* predictions.npy: rows placed by sample id, the header written when the first result shows its
 * shape. */
#ifndef SW_NPY_WRITER_H
#define SW_NPY_WRITER_H

#include <stdint.h>

#include "engine/graph/graph.h"
#include "proto/base/status.h"

struct sw_npy {
  int fd; /* of a temporary name beside path; 0 before open */
  char path[4096], tmp[4160];
  int64_t rows;
  size_t row_bytes; /* 0 before the first row */
};

SP_NODISCARD sp_status sw_npy_open(struct sw_npy *w, const char *path, int64_t rows,
                                   struct sp_err *err);
/* n rows of g's result, each at row ids[i] - first. */
SP_NODISCARD sp_status sw_npy_put(struct sw_npy *w, const struct stk_graph *g, const void *result,
                                  const int64_t *ids, int64_t n, int64_t first, struct sp_err *err);
/* Publishes the file when status is SP_OK, else removes it. Returns status or the failure to
 * publish. */
SP_NODISCARD sp_status sw_npy_close(struct sw_npy *w, sp_status status, struct sp_err *err);

#endif
