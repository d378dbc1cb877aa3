/* A growable buffer of bytes or text with a hard cap.
 *
 * Errors are sticky: an append that cannot be done (no memory, over the limit) leaves the contents
 * alone and marks the buffer, later appends do nothing, and the writer asks once at the end with
 * sp_buf_check. A zero byte always follows the contents, so text can be read as a string at any
 * time. One owner; not thread-safe.
 */
#ifndef SP_BASE_BUF_H
#define SP_BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>

#include "proto/base/status.h"

struct sp_buf {
  char *data; /* NULL while nothing was appended */
  size_t length;
  size_t room;
  size_t limit;
  sp_status failure; /* SP_OK, SP_ENOMEM or SP_ERANGE (over the limit) */
};

/* An empty buffer that never holds more than limit_bytes. Allocates nothing. */
void sp_buf_init(struct sp_buf *b, size_t limit_bytes);

/* Releases the memory and leaves an empty buffer with the same limit. */
void sp_buf_free(struct sp_buf *b);

/* Forgets contents and failure, keeps the memory. */
void sp_buf_clear(struct sp_buf *b);

void sp_buf_append(struct sp_buf *b, const void *bytes, size_t n);
void sp_buf_puts(struct sp_buf *b, const char *s);
void sp_buf_putc(struct sp_buf *b, char c);
void sp_buf_printf(struct sp_buf *b, const char *fmt, ...) SP_PRINTF(2, 3);
void sp_buf_vprintf(struct sp_buf *b, const char *fmt, va_list args) SP_PRINTF(2, 0);

/* Appends n zero bytes and returns where they are (until the next append), NULL on failure. */
void *sp_buf_extend(struct sp_buf *b, size_t n);

/* Drops the first n bytes, n <= length. */
void sp_buf_consume(struct sp_buf *b, size_t n);

/* Shortens to n bytes, n <= length. */
void sp_buf_truncate(struct sp_buf *b, size_t n);

/* The contents as a string; "" when empty. Valid until the next change. */
const char *sp_buf_text(const struct sp_buf *b);

/* SP_OK, or what went wrong since init or clear, with a text that begins with `what`. */
SP_NODISCARD sp_status sp_buf_check(const struct sp_buf *b, const char *what, struct sp_err *err);

/* Hands the contents over (sp_free releases them) and leaves the buffer empty. NULL when the
 * buffer has failed or memory is out; an empty buffer gives "". */
char *sp_buf_take(struct sp_buf *b);

#endif
