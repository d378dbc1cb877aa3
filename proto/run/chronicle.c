/* Chronicle lines: the rows of an entry, and the splitter of lines. */
#include "proto/run/chronicle.h"

#include "proto/run/record.h"

#include <string.h>

enum { PENDING_LIMIT = 2 << 20 };

static const char *const kind_words[] = {
    [SP_CHRONICLE_START] = "start",
    [SP_CHRONICLE_GENERATION] = "generation",
    [SP_CHRONICLE_DEATH] = "death",
    [SP_CHRONICLE_RECOVERY] = "recovery",
    [SP_CHRONICLE_CHECKPOINT] = "checkpoint",
    [SP_CHRONICLE_REJECTED] = "rejected",
    [SP_CHRONICLE_SCALE] = "scale",
    [SP_CHRONICLE_STALL] = "stall",
    [SP_CHRONICLE_LATE] = "late",
    [SP_CHRONICLE_STRAGGLER] = "straggler",
    [SP_CHRONICLE_STOP] = "stop",
    [SP_CHRONICLE_END] = "end",
};

_Static_assert(sizeof kind_words / sizeof *kind_words == SP_CHRONICLE_N_KINDS, "a word per kind");

#define AT(member) SP_RECORD_AT(sp_chronicle_entry, member)
#define OPTIONAL_COUNT(member) \
  { AT(member), .type = SP_RECORD_COUNT, .optional = true }

static const struct sp_record_row rows[] = {
    {AT(seq), .type = SP_RECORD_COUNT, .least = 1},
    {AT(time), .type = SP_RECORD_TIME},
    {AT(mono_ns), .type = SP_RECORD_COUNT},
    {AT(generation), .type = SP_RECORD_COUNT},
    {AT(kind), .type = SP_RECORD_WORD, .words = kind_words, .n_words = SP_CHRONICLE_N_KINDS},
    OPTIONAL_COUNT(ok),
    OPTIONAL_COUNT(rank),
    OPTIONAL_COUNT(ranks),
    OPTIONAL_COUNT(pid),
    OPTIONAL_COUNT(step),
    OPTIONAL_COUNT(next_step),
    OPTIONAL_COUNT(recomputed),
    {AT(ms), .type = SP_RECORD_REAL, .optional = true},
    {AT(source), .type = SP_RECORD_STRING, .optional = true, .most = 32},
    {AT(cause), .type = SP_RECORD_STRING, .optional = true, .most = 32},
    {AT(path), .type = SP_RECORD_STRING, .optional = true, .most = SP_CHRONICLE_MAX_PATH},
    {AT(text), .type = SP_RECORD_STRING, .optional = true, .lines = true,
     .most = SP_CHRONICLE_MAX_TEXT},
};

enum { N_ROWS = sizeof rows / sizeof *rows };

struct sp_chronicle_entry sp_chronicle_entry(sp_chronicle_kind kind) {
  return (struct sp_chronicle_entry){.kind = kind,
                                     .rank = -1,
                                     .ranks = -1,
                                     .pid = -1,
                                     .step = -1,
                                     .next_step = -1,
                                     .recomputed = -1,
                                     .ms = -1,
                                     .ok = -1};
}

const char *sp_chronicle_kind_name(sp_chronicle_kind kind) {
  return kind < SP_CHRONICLE_N_KINDS ? kind_words[kind] : "?";
}

void sp_chronicle_put(struct sp_buf *b, const struct sp_chronicle_entry *e) {
  sp_record_put(b, rows, N_ROWS, e, false);
}

sp_status sp_chronicle_parse(const char *line, size_t n, struct sp_chronicle_entry *out_e,
                             struct sp_arena *arena, struct sp_err *err) {
  return sp_record_get(line, n, rows, N_ROWS, out_e, arena, "chronicle", err);
}

void sp_chronicle_reader_fini(struct sp_chronicle_reader *r) {
  sp_buf_free(&r->pending);
  sp_arena_clear(&r->arena);
  *r = (struct sp_chronicle_reader){0};
}

void sp_chronicle_reader_rewind(struct sp_chronicle_reader *r) {
  sp_buf_clear(&r->pending);
  r->used = 0;
}

sp_status sp_chronicle_feed(struct sp_chronicle_reader *r, const void *bytes, size_t n,
                            struct sp_err *err) {
  if (r->pending.limit == 0) {
    sp_buf_init(&r->pending, PENDING_LIMIT);
  }
  sp_buf_consume(&r->pending, r->used);
  r->used = 0;
  sp_buf_append(&r->pending, bytes, n);
  return sp_buf_check(&r->pending, "chronicle", err);
}

/* More bytes than a line may have and no end: they are dropped, up to the newline to come. */
static void drop_long(struct sp_chronicle_reader *r, size_t left) {
  if (left >= SP_CHRONICLE_MAX_LINE) {
    r->used += left;
    r->offset += (int64_t)left;
    r->skipping = true;
  }
}

sp_status sp_chronicle_next(struct sp_chronicle_reader *r, struct sp_chronicle_entry *out_e,
                            bool *out_have, struct sp_err *err) {
  sp_arena_clear(&r->arena);
  const char *line = r->pending.data ? r->pending.data + r->used : "";
  size_t left = r->pending.length - r->used;
  const char *end = memchr(line, '\n', left);
  if (!end) {
    drop_long(r, left);
    *out_have = false;
    return SP_OK;
  }
  size_t n = (size_t)(end - line);
  bool too_long = r->skipping || n >= SP_CHRONICLE_MAX_LINE;
  r->skipping = false;
  r->used += n + 1;
  r->offset += (int64_t)n + 1;
  r->line++;
  *out_have = true;
  if (too_long) {
    return sp_fail(err, SP_ECORRUPT, "chronicle: a line of more than %d bytes",
                   SP_CHRONICLE_MAX_LINE);
  }
  return sp_chronicle_parse(line, n, out_e, &r->arena, err);
}
