/* Growable buffer. Room doubles, so n appends cost O(n); one byte beyond length is always zero. */
#include "proto/base/buf.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/mem.h"

enum { FIRST_ROOM = 128 };

void sp_buf_init(struct sp_buf *b, size_t limit_bytes) {
  *b = (struct sp_buf){.limit = limit_bytes < PTRDIFF_MAX ? limit_bytes : PTRDIFF_MAX - 1};
}

void sp_buf_free(struct sp_buf *b) {
  sp_free(b->data);
  sp_buf_init(b, b->limit);
}

void sp_buf_clear(struct sp_buf *b) {
  b->length = 0;
  b->failure = SP_OK;
  if (b->data) {
    b->data[0] = '\0';
  }
}

/* Room for n more bytes and the zero, or NULL with the failure noted. */
static char *reserve(struct sp_buf *b, size_t n) {
  if (b->failure != SP_OK) {
    return NULL;
  }
  if (n > b->limit - b->length) {
    b->failure = SP_ERANGE;
    return NULL;
  }
  size_t need = b->length + n + 1;
  if (need > b->room) {
    size_t room = b->room ? b->room : FIRST_ROOM;
    while (room < need) {
      room *= 2;
    }
    char *data = sp_resize_array(b->data, room, 1);
    if (!data) {
      b->failure = SP_ENOMEM;
      return NULL;
    }
    b->data = data;
    b->room = room;
  }
  return b->data + b->length;
}

static void added(struct sp_buf *b, size_t n) {
  b->length += n;
  b->data[b->length] = '\0';
}

void sp_buf_append(struct sp_buf *b, const void *bytes, size_t n) {
  char *end = reserve(b, n);
  if (end) {
    if (n) {
      memcpy(end, bytes, n);
    }
    added(b, n);
  }
}

void sp_buf_puts(struct sp_buf *b, const char *s) {
  sp_buf_append(b, s, strlen(s));
}

void sp_buf_putc(struct sp_buf *b, char c) {
  sp_buf_append(b, &c, 1);
}

void sp_buf_vprintf(struct sp_buf *b, const char *fmt, va_list args) {
  va_list again;
  va_copy(again, args);
  int n = vsnprintf(NULL, 0, fmt, args);
  if (n < 0) {
    b->failure = b->failure != SP_OK ? b->failure : SP_ERANGE;
  } else {
    char *end = reserve(b, (size_t)n);
    if (end) {
      vsnprintf(end, (size_t)n + 1, fmt, again);
      added(b, (size_t)n);
    }
  }
  va_end(again);
}

void sp_buf_printf(struct sp_buf *b, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  sp_buf_vprintf(b, fmt, args);
  va_end(args);
}

void *sp_buf_extend(struct sp_buf *b, size_t n) {
  char *end = reserve(b, n);
  if (end) {
    memset(end, 0, n);
    added(b, n);
  }
  return end;
}

void sp_buf_consume(struct sp_buf *b, size_t n) {
  assert(n <= b->length);
  if (n) {
    b->length -= n;
    memmove(b->data, b->data + n, b->length + 1);
  }
}

void sp_buf_truncate(struct sp_buf *b, size_t n) {
  assert(n <= b->length);
  if (n < b->length) {
    b->length = n;
    b->data[n] = '\0';
  }
}

const char *sp_buf_text(const struct sp_buf *b) {
  return b->data ? b->data : "";
}

sp_status sp_buf_check(const struct sp_buf *b, const char *what, struct sp_err *err) {
  switch (b->failure) {
    case SP_OK:
      return SP_OK;
    case SP_ERANGE:
      return sp_fail(err, SP_ERANGE, "%s: more than the limit of %zu bytes", what, b->limit);
    default:
      return sp_fail(err, b->failure, "%s: out of memory", what);
  }
}

char *sp_buf_take(struct sp_buf *b) {
  if (!reserve(b, 0)) {
    return NULL;
  }
  char *data = b->data;
  data[b->length] = '\0';
  sp_buf_init(b, b->limit);
  return data;
}
