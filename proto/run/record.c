/* Records: rows to JSON and back. jansson parses; the checksum is compared with the bytes as they
 * stand, before that. */
#include "proto/run/record.h"

#include "proto/base/clock.h"
#include "proto/base/crc32c.h"
#include "proto/base/utf8.h"

#include <assert.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ,"crc32c":"01234567"} */
enum { TAIL_BYTES = 21 };

#define MEMBER(type, base, offset) (*(type *)(void *)((char *)(base) + (offset)))
#define MEMBER_CONST(type, base, offset) \
  (*(type const *)(const void *)((const char *)(base) + (offset)))

/* ---- writing */

static void put_escaped(struct sp_buf *b, const char *s, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (s[i] == '"' || s[i] == '\\') {
      sp_buf_putc(b, '\\');
      sp_buf_putc(b, s[i]);
    } else if (s[i] == '\n' || s[i] == '\t') {
      sp_buf_puts(b, s[i] == '\n' ? "\\n" : "\\t");
    } else {
      sp_buf_putc(b, s[i]);
    }
  }
}

/* A string cut at a character's border and repaired, in quotes. */
static void put_string(struct sp_buf *b, const char *s, size_t limit, bool lines) {
  size_t n = strlen(s), used = 0;
  sp_buf_putc(b, '"');
  for (size_t i = 0; i < n;) {
    size_t size = sp_utf8_next(s + i, n - i, lines);
    size_t step = size ? size : 1;
    if (step > limit - used) {
      break;
    }
    if (size) {
      put_escaped(b, s + i, size);
    } else {
      sp_buf_putc(b, '?');
    }
    used += step;
    i += step;
  }
  sp_buf_putc(b, '"');
}

static void put_strings(struct sp_buf *b, const struct sp_record_row *row, const void *plain) {
  const char *const *list = MEMBER_CONST(const char *const *, plain, row->at);
  size_t n = MEMBER_CONST(size_t, plain, row->at_n);
  sp_buf_putc(b, '[');
  for (size_t i = 0; i < n && i < SP_RECORD_ITEMS; i++) {
    sp_buf_puts(b, i ? "," : "");
    put_string(b, list[i], row->most, row->lines);
  }
  sp_buf_putc(b, ']');
}

static void put_word(struct sp_buf *b, const struct sp_record_row *row, uint32_t value) {
  assert(value < row->n_words && row->words[value]);
  sp_buf_printf(b, "\"%s\"", row->words[value]);
}

static bool is_left_out(const struct sp_record_row *row, const void *plain) {
  if (!row->optional) {
    return false;
  }
  if (row->type == SP_RECORD_COUNT) {
    return MEMBER_CONST(int64_t, plain, row->at) < row->least;
  }
  if (row->type == SP_RECORD_REAL) {
    return !(MEMBER_CONST(double, plain, row->at) >= 0);
  }
  assert(row->type == SP_RECORD_STRING);
  const char *s = MEMBER_CONST(char *, plain, row->at);
  return !s || !*s;
}

static void put_value(struct sp_buf *b, const struct sp_record_row *row, const void *plain) {
  char text[SP_WALL_TEXT];
  const char *s;
  double real;
  switch (row->type) {
    case SP_RECORD_COUNT:
      sp_buf_printf(b, "%" PRId64, MEMBER_CONST(int64_t, plain, row->at));
      return;
    case SP_RECORD_REAL:
      real = MEMBER_CONST(double, plain, row->at);
      sp_buf_printf(b, "%.17g", real >= 0 && isfinite(real) ? real : 0);
      return;
    case SP_RECORD_BOOL:
      sp_buf_puts(b, MEMBER_CONST(bool, plain, row->at) ? "true" : "false");
      return;
    case SP_RECORD_TIME:
      sp_wall_text_ns(MEMBER_CONST(struct sp_wall, plain, row->at), text);
      sp_buf_printf(b, "\"%s\"", text);
      return;
    case SP_RECORD_WORD:
      put_word(b, row, MEMBER_CONST(uint32_t, plain, row->at));
      return;
    case SP_RECORD_STRING:
      s = MEMBER_CONST(char *, plain, row->at);
      put_string(b, s ? s : "", row->most, row->lines);
      return;
    case SP_RECORD_STRINGS:
      put_strings(b, row, plain);
      return;
  }
}

void sp_record_put(struct sp_buf *b, const struct sp_record_row *rows, size_t n_rows,
                   const void *plain, bool spread) {
  size_t start = b->length;
  const char *separator = "{";
  for (size_t i = 0; i < n_rows; i++) {
    if (!is_left_out(&rows[i], plain)) {
      sp_buf_printf(b, "%s\"%s\":%s", separator, rows[i].name, spread ? " " : "");
      put_value(b, &rows[i], plain);
      separator = spread ? ",\n" : ",";
    }
  }
  if (sp_buf_check(b, "record", NULL) == SP_OK) {
    uint32_t crc = sp_crc32c(0, b->data + start, b->length - start);
    sp_buf_printf(b, ",\"crc32c\":\"%08" PRIx32 "\"}\n", crc);
  }
}

/* ---- reading */

struct getter {
  struct sp_arena *arena;
  const char *what;
  struct sp_err *err;
};

static sp_status bad(const struct getter *g, const struct sp_record_row *row) {
  return sp_fail(g->err, SP_ECORRUPT, "%s: \"%s\" is missing or wrong", g->what, row->name);
}

static sp_status get_string(const struct getter *g, const struct sp_record_row *row,
                            const json_t *v, const char **out) {
  const char *s = json_string_value(v);
  size_t n = json_string_length(v);
  if (!s || n > row->most || !sp_utf8_clean(s, n, row->lines)) {
    return bad(g, row);
  }
  *out = sp_arena_strndup(g->arena, s, n);
  return *out ? SP_OK : sp_fail(g->err, SP_ENOMEM, "%s: no memory", g->what);
}

static sp_status get_strings(const struct getter *g, const struct sp_record_row *row,
                             const json_t *v, void *plain) {
  size_t n = json_array_size(v);
  if (!json_is_array(v) || n > SP_RECORD_ITEMS) {
    return bad(g, row);
  }
  const char **list = sp_arena_array(g->arena, n, sizeof *list);
  sp_status status = list ? SP_OK : sp_fail(g->err, SP_ENOMEM, "%s: no memory", g->what);
  for (size_t i = 0; status == SP_OK && i < n; i++) {
    status = get_string(g, row, json_array_get(v, i), &list[i]);
  }
  MEMBER(const char *const *, plain, row->at) = list;
  MEMBER(size_t, plain, row->at_n) = n;
  return status;
}

static sp_status get_word(const struct getter *g, const struct sp_record_row *row, const json_t *v,
                          void *plain) {
  const char *s = json_string_value(v);
  for (size_t i = 0; s && i < row->n_words; i++) {
    if (row->words[i] && strcmp(row->words[i], s) == 0) {
      MEMBER(uint32_t, plain, row->at) = (uint32_t)i;
      return SP_OK;
    }
  }
  return bad(g, row);
}

/* What a member that may be left out holds when it was. */
static sp_status get_nothing(const struct getter *g, const struct sp_record_row *row, void *plain) {
  if (!row->optional) {
    return bad(g, row);
  }
  if (row->type == SP_RECORD_COUNT) {
    MEMBER(int64_t, plain, row->at) = row->least - 1;
  } else if (row->type == SP_RECORD_REAL) {
    MEMBER(double, plain, row->at) = -1;
  } else {
    MEMBER(const char *, plain, row->at) = NULL;
  }
  return SP_OK;
}

static sp_status get_value(const struct getter *g, const struct sp_record_row *row, const json_t *v,
                           void *plain) {
  switch (row->type) {
    case SP_RECORD_COUNT:
      MEMBER(int64_t, plain, row->at) = json_integer_value(v);
      return json_is_integer(v) && json_integer_value(v) >= row->least ? SP_OK : bad(g, row);
    case SP_RECORD_REAL:
      MEMBER(double, plain, row->at) = json_number_value(v);
      return json_is_number(v) && json_number_value(v) >= 0 ? SP_OK : bad(g, row);
    case SP_RECORD_BOOL:
      MEMBER(bool, plain, row->at) = json_is_true(v);
      return json_is_boolean(v) ? SP_OK : bad(g, row);
    case SP_RECORD_TIME:
      return json_is_string(v) && sp_wall_parse_ns(json_string_value(v),
                                                   &MEMBER(struct sp_wall, plain, row->at)) == SP_OK
                 ? SP_OK
                 : bad(g, row);
    case SP_RECORD_WORD:
      return get_word(g, row, v, plain);
    case SP_RECORD_STRING:
      return get_string(g, row, v, &MEMBER(const char *, plain, row->at));
    case SP_RECORD_STRINGS:
      return get_strings(g, row, v, plain);
  }
  return sp_fail(g->err, SP_EINTERNAL, "%s: a row of type %d", g->what, (int)row->type);
}

static sp_status get_rows(const struct getter *g, const struct sp_record_row *rows, size_t n_rows,
                          const json_t *root, void *plain) {
  size_t n_seen = 1; /* crc32c */
  for (size_t i = 0; i < n_rows; i++) {
    const json_t *v = json_object_get(root, rows[i].name);
    sp_status status = v ? get_value(g, &rows[i], v, plain) : get_nothing(g, &rows[i], plain);
    if (status != SP_OK) {
      return status;
    }
    n_seen += v != NULL;
  }
  return n_seen == json_object_size(root)
             ? SP_OK
             : sp_fail(g->err, SP_ECORRUPT, "%s: holds a member that this build does not know",
                       g->what);
}

static sp_status check_sum(const struct getter *g, const char *text, size_t n) {
  char tail[TAIL_BYTES + 1];
  if (n <= TAIL_BYTES) {
    return sp_fail(g->err, SP_ECORRUPT, "%s: ends early", g->what);
  }
  snprintf(tail, sizeof tail, ",\"crc32c\":\"%08" PRIx32 "\"}", sp_crc32c(0, text, n - TAIL_BYTES));
  return memcmp(text + n - TAIL_BYTES, tail, TAIL_BYTES) == 0
             ? SP_OK
             : sp_fail(g->err, SP_ECORRUPT, "%s: the checksum does not match", g->what);
}

sp_status sp_record_get(const char *text, size_t n, const struct sp_record_row *rows, size_t n_rows,
                        void *out_plain, struct sp_arena *arena, const char *what,
                        struct sp_err *err) {
  const struct getter g = {arena, what, err};
  sp_status status = check_sum(&g, text, n);
  if (status != SP_OK) {
    return status;
  }
  json_error_t why;
  json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &why);
  status = json_is_object(root) ? get_rows(&g, rows, n_rows, root, out_plain)
                                : sp_fail(err, SP_ECORRUPT, "%s: is not a JSON object", what);
  json_decref(root);
  return status;
}
