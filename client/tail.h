/* The last bytes of a stream, kept to be quoted when its writer dies. Pure. */
#ifndef SC_TAIL_H
#define SC_TAIL_H

#include <stddef.h>

#include "proto/base/buf.h"

enum { SC_TAIL_BYTES = 4096 };

/* Zeroed is empty. */
struct sc_tail {
  char bytes[SC_TAIL_BYTES];
  size_t n;
};

void sc_tail_add(struct sc_tail *t, const char *bytes, size_t n);

/* Appends the last non-empty lines, at most n_lines, each behind `indent` and scrubbed of what may
 * not go on a terminal. A line whose beginning was lost starts with "...". */
void sc_tail_put(const struct sc_tail *t, struct sp_buf *b, size_t n_lines, const char *indent);

#endif
