/* The kept tail of a stream. */
#include "client/tail.h"

#include "proto/base/utf8.h"

#include <stdbool.h>
#include <string.h>

void sc_tail_add(struct sc_tail *t, const char *bytes, size_t n) {
  if (n >= SC_TAIL_BYTES) {
    memcpy(t->bytes, bytes + (n - SC_TAIL_BYTES), SC_TAIL_BYTES);
    t->n = SC_TAIL_BYTES;
    return;
  }
  size_t kept = t->n + n > SC_TAIL_BYTES ? SC_TAIL_BYTES - n : t->n;
  memmove(t->bytes, t->bytes + (t->n - kept), kept);
  memcpy(t->bytes + kept, bytes, n);
  t->n = kept + n;
}

/* Where the last n_lines non-empty lines begin. */
static size_t tail_begin(const struct sc_tail *t, size_t end, size_t n_lines) {
  size_t begin = end;
  while (begin > 0 && n_lines > 0) {
    size_t line = begin - 1;
    while (line > 0 && t->bytes[line - 1] != '\n') {
      line--;
    }
    n_lines -= t->bytes[line] != '\n';
    begin = line;
  }
  return begin;
}

void sc_tail_put(const struct sc_tail *t, struct sp_buf *b, size_t n_lines, const char *indent) {
  size_t end = t->n;
  while (end > 0 && t->bytes[end - 1] == '\n') {
    end--;
  }
  for (size_t i = tail_begin(t, end, n_lines); i < end;) {
    const char *newline = memchr(t->bytes + i, '\n', end - i);
    size_t n = newline ? (size_t)(newline - (t->bytes + i)) : end - i;
    if (n > 0) {
      char clean[SC_TAIL_BYTES + 1];
      sp_utf8_scrub(clean, SC_TAIL_BYTES, t->bytes + i, n, false);
      bool torn = i == 0 && t->n == SC_TAIL_BYTES;
      sp_buf_printf(b, "%s%s%s\n", indent, torn ? "..." : "", clean);
    }
    i += n + 1;
  }
}
