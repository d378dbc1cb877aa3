/* Words and numbers: strict parsing, human units, and the nearest known word.
 *
 * Parsers take the whole string or fail: SP_EINVAL for bad syntax, SP_ERANGE for a value that does
 * not fit; out-parameters are set on success only. No locale is consulted. Formatters write into
 * the caller's array. Everything here is pure.
 */
#ifndef SP_BASE_STRUTIL_H
#define SP_BASE_STRUTIL_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

/* The candidate nearest to word by edit distance (insert, delete, replace, swap neighbours; case
 * and '-' against '_' cost nothing), if near enough to be a likely typo; else NULL. The first of
 * equals. */
const char *sp_suggest(const char *word, const char *const *candidates, size_t n);

/* Decimal integers: an optional sign and digits; '_' may separate digits. */
SP_NODISCARD sp_status sp_parse_i64(const char *s, int64_t *out_value);

/* Decimal floating point ("1", "-.5", "1e-3", "inf", "-.inf", "nan"), correctly rounded. A finite
 * text whose value overflows is SP_ERANGE; underflow gives the nearest value. */
SP_NODISCARD sp_status sp_parse_f64(const char *s, double *out_value);

/* Sizes: "4096", "64KiB", "1.5GiB", "16G" (powers of 1024) and "10MB", "1kB" (powers of 1000). */
SP_NODISCARD sp_status sp_parse_bytes(const char *s, uint64_t *out_bytes);

/* Durations: "90s", "1h30m", "250ms", "1d12h", "2w", and the clock forms HH:MM:SS, D-HH:MM:SS and
 * DD:HH:MM:SS. A bare number is refused: its unit would be a guess. */
SP_NODISCARD sp_status sp_parse_duration(const char *s, int64_t *out_ns);

enum { SP_UNIT_TEXT = 32 };

/* "512 B", "1.50 KiB", "15.9 GiB": three digits. */
void sp_format_bytes(uint64_t bytes, char out_text[SP_UNIT_TEXT]);

/* Two units at most, for people: "740 us", "1.25 s", "42 s", "1m30s", "2h05m", "3d04h". */
void sp_format_duration(int64_t ns, char out_text[SP_UNIT_TEXT]);

#endif
