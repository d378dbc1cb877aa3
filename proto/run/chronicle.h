/* The chronicle of a run, RUN/chronicle.jsonl: everything that happened to it, one JSON object a
 * line, appended by the supervisor (worker/supervise/chronicle.h) and read by anybody.
 *
 * Every line begins with seq, time, mono_ns, generation and kind, goes on with the members that the
 * kind has, and ends with crc32c over the bytes before it. A gap in seq is entries that could not
 * be written. A last line that is torn or does not check is one that was being written when
 * everything stopped; after a power loss any line behind the last fsynced entry (start, generation,
 * stop, end) may be so. Readers leave them out.
 */
#ifndef SP_RUN_CHRONICLE_H
#define SP_RUN_CHRONICLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/arena.h"
#include "proto/base/buf.h"
#include "proto/base/clock.h"
#include "proto/base/status.h"

#define SP_CHRONICLE_FILE "chronicle.jsonl"

enum {
  SP_CHRONICLE_MAX_TEXT = 2048, /* bytes of text; longer ones are cut */
  SP_CHRONICLE_MAX_PATH = 4096,
  SP_CHRONICLE_MAX_LINE = 16 * 1024, /* bytes with the newline; escapes double a byte at most */
};

/* What an entry is, and its members besides the leading ones. */
typedef enum sp_chronicle_kind {
  SP_CHRONICLE_START,      /* a supervisor began: pid, ranks, step, source, path, text */
  SP_CHRONICLE_GENERATION, /* its ranks compute from here on: ranks, step, text (why) */
  SP_CHRONICLE_DEATH,      /* rank, pid, step, cause, text */
  SP_CHRONICLE_RECOVERY,   /* rank, step, next_step, recomputed, ms, source, text (who) */
  SP_CHRONICLE_CHECKPOINT, /* ok, step, path, ms, text (error) */
  SP_CHRONICLE_REJECTED,   /* path, text (why): a damaged checkpoint that was passed over */
  SP_CHRONICLE_SCALE,      /* ranks asked for, step */
  SP_CHRONICLE_STALL,      /* rank, step, ms, text (phase) */
  SP_CHRONICLE_LATE,       /* rank, step, text: in the user's code for longer than ever */
  SP_CHRONICLE_STRAGGLER,  /* rank, step, ms, text */
  SP_CHRONICLE_STOP,       /* step, text (who or what asked) */
  SP_CHRONICLE_END,        /* ok, step, text */
  SP_CHRONICLE_N_KINDS,
} sp_chronicle_kind;

struct sp_chronicle_entry {
  int64_t seq; /* from 1 */
  struct sp_wall time;
  int64_t mono_ns; /* CLOCK_MONOTONIC, comparable within one boot */
  int64_t generation;
  sp_chronicle_kind kind;
  int64_t rank, ranks, pid, step, next_step, recomputed; /* -1: not there */
  double ms;                                             /* -1: not there */
  int64_t ok;                                            /* 1, 0; -1: not there */
  const char *source; /* "slots", "checkpoint", "start"; NULL: not there */
  const char *cause;  /* of a death, as a class: "signal", "exit", ...; NULL: not there */
  const char *path, *text;
};

/* An entry of this kind with everything else not there. */
struct sp_chronicle_entry sp_chronicle_entry(sp_chronicle_kind kind);

/* "start", "generation", ... */
const char *sp_chronicle_kind_name(sp_chronicle_kind kind);

/* Appends the entry's line. */
void sp_chronicle_put(struct sp_buf *b, const struct sp_chronicle_entry *e);

/* One line of n bytes without its newline; strings live in the arena. */
SP_NODISCARD sp_status sp_chronicle_parse(const char *line, size_t n,
                                          struct sp_chronicle_entry *out_e, struct sp_arena *arena,
                                          struct sp_err *err);

/* An incremental reader of bytes. Zeroed is empty. */
struct sp_chronicle_reader {
  struct sp_buf pending;
  struct sp_arena arena; /* of the last entry */
  size_t used;           /* bytes of pending handed out */
  int64_t line;          /* of the last entry, from 1 */
  int64_t offset;        /* of the byte behind it in the stream */
  bool skipping;         /* inside a line that is too long */
};

void sp_chronicle_reader_fini(struct sp_chronicle_reader *r);

/* Forgets an unfinished line: the next byte to feed is the one at offset. For readers that come
 * back to a file later, whose torn end may have been cut off and written anew. */
void sp_chronicle_reader_rewind(struct sp_chronicle_reader *r);

/* Adds bytes; drain with next in between. */
SP_NODISCARD sp_status sp_chronicle_feed(struct sp_chronicle_reader *r, const void *bytes, size_t n,
                                         struct sp_err *err);

/* The next whole line. *out_have is false when more bytes are needed. SP_ECORRUPT: this line is not
 * an entry, and why; the next call goes on behind it. The entry is valid until the next call. */
SP_NODISCARD sp_status sp_chronicle_next(struct sp_chronicle_reader *r,
                                         struct sp_chronicle_entry *out_e, bool *out_have,
                                         struct sp_err *err);

#endif
