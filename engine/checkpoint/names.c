/* See the header. */
#include "engine/checkpoint/names.h"

#include "proto/base/mem.h"

#include <stdlib.h>
#include <string.h>

static int by_text(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

sp_status stk_names_check(const void *first, size_t stride, size_t n, const char *what,
                          sp_status status, struct sp_err *err) {
  if (n < 2) {
    return SP_OK;
  }
  const char **names = sp_alloc_array(n, sizeof *names);
  if (!names) {
    return sp_fail(err, SP_ENOMEM, "out of memory for %zu names", n);
  }
  for (size_t i = 0; i < n; i++) {
    names[i] = *(const char *const *)((const char *)first + i * stride);
  }
  qsort(names, n, sizeof *names, by_text);
  sp_status st = SP_OK;
  for (size_t i = 1; i < n && st == SP_OK; i++) {
    if (strcmp(names[i - 1], names[i]) == 0) {
      st = sp_fail(err, status, "%s '%.200s' stands twice", what, names[i]);
    }
  }
  sp_free(names);
  return st;
}
