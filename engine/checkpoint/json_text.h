/* A strict JSON reader of its own for safetensors headers, and the string writer.
 *
 * A header comes from strangers and may have 100 MB, so it is not turned into a tree: the caller
 * pulls tokens and keeps what it needs. Strings must be valid UTF-8 (RFC 3629) with valid escapes
 * (RFC 8259); the code point 0 is refused, since names are C strings; numbers are non-negative
 * integers. Every function returns false at the first violation and leaves the reason in `why`.
 */
#ifndef STK_CHECKPOINT_JSON_TEXT_H
#define STK_CHECKPOINT_JSON_TEXT_H

#include "proto/base/buf.h"

#include <stdbool.h>
#include <stdint.h>

struct stk_json {
  const char *p;
  const char *end;
  const char *why; /* NULL: nothing is wrong */
};

/* Skips white space and takes c, or leaves everything alone (no reason is set). */
bool stk_json_take(struct stk_json *j, char c);

/* As stk_json_take, but anything else is a violation. */
bool stk_json_need(struct stk_json *j, char c);

/* Decodes a string of at most limit bytes into out (cleared first), which is zero-terminated. */
bool stk_json_string(struct stk_json *j, size_t limit, struct sp_buf *out);

/* A non-negative integer of at most INT64_MAX, without sign, fraction or exponent. */
bool stk_json_integer(struct stk_json *j, int64_t *out);

/* Only white space is left. */
bool stk_json_end(struct stk_json *j);

/* Appends s in quotes, escaped. s is UTF-8. */
void stk_json_put_string(struct sp_buf *b, const char *s);

/* Whether s is valid UTF-8. */
bool stk_json_is_utf8(const char *s, size_t n);

#endif
