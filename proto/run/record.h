/* Records: one flat JSON object with a checksum, described by a table of rows that serves both
 * directions. run.json is one record, a chronicle one record a line.
 *
 * The last member is "crc32c", eight hexadecimal digits over every byte before the comma in front
 * of it. Writing cuts strings at their limits and repairs what is not clean UTF-8 (newline and tab
 * are allowed, escaped, where several lines are). Reading is strict: the checksum, every member
 * that is not optional, types and limits; a member that no row knows, or twice, is refused. Numbers
 * are exact. Only proto/run includes this header.
 */
#ifndef SP_RUN_RECORD_H
#define SP_RUN_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/arena.h"
#include "proto/base/buf.h"
#include "proto/base/status.h"

/* JSON <-> the member of the plain struct. */
typedef enum sp_record_type {
  SP_RECORD_COUNT,   /* integer <-> int64_t of at least `least` */
  SP_RECORD_REAL,    /* number <-> double, finite and not negative; else written as 0 */
  SP_RECORD_BOOL,    /* true, false <-> bool */
  SP_RECORD_TIME,    /* RFC 3339 with nanoseconds <-> struct sp_wall */
  SP_RECORD_WORD,    /* one of words <-> an enum: its place in words */
  SP_RECORD_STRING,  /* string <-> const char * of at most `most` bytes */
  SP_RECORD_STRINGS, /* array of strings <-> pointer and size_t, at most SP_RECORD_ITEMS */
} sp_record_type;

enum { SP_RECORD_ITEMS = 4096 };

struct sp_record_row {
  const char *name;
  sp_record_type type;
  bool optional; /* left out when below least (COUNT), negative (REAL), NULL or "" (STRING) */
  bool lines;    /* a string may hold several lines */
  size_t at;     /* offset of the member */
  size_t at_n;   /* STRINGS: of its size_t */
  int64_t least;
  size_t most;
  const char *const *words; /* WORD: NULL at places that no value has */
  size_t n_words;
};

#define SP_RECORD_AT(s, member) .name = #member, .at = offsetof(struct s, member)

/* Appends the record and a newline; with spread, one member a line. */
void sp_record_put(struct sp_buf *b, const struct sp_record_row *rows, size_t n_rows,
                   const void *plain, bool spread);

/* Reads one record, n bytes without a newline behind it. Strings live in the arena. Optional
 * members that are not there become what is left out: -1, NULL. `what` names the file in errors. */
SP_NODISCARD sp_status sp_record_get(const char *text, size_t n, const struct sp_record_row *rows,
                                     size_t n_rows, void *out_plain, struct sp_arena *arena,
                                     const char *what, struct sp_err *err);

#endif
