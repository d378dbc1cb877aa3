/* UTF-8 as wire and run files allow it: well-formed (RFC 3629: shortest form, no surrogates, at
 * most U+10FFFF) and without control characters, so that a string from a worker, a file or a user
 * can be put on a terminal. C0, DEL and C1 controls count as controls; newline and tab are allowed
 * where several lines are. Pure.
 */
#ifndef SP_BASE_UTF8_H
#define SP_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the leading character of s[0..n), n > 0, or 0 when it is not allowed. */
size_t sp_utf8_next(const char *s, size_t n, bool lines);

/* True when all n bytes are allowed characters. */
bool sp_utf8_clean(const char *s, size_t n, bool lines);

/* Copies at most limit bytes of s[0..n) to out (limit + 1 bytes), ending on a character border
 * and terminated; a byte that is not allowed becomes '?'. Returns the bytes written. */
size_t sp_utf8_scrub(char *out, size_t limit, const char *s, size_t n, bool lines);

#endif
