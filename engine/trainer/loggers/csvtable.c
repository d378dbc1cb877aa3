/* Text of a metrics table; the format is in the header. */
#include "engine/trainer/loggers/csvtable.h"

#include "proto/base/mem.h"
#include "proto/base/strutil.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

void stk_csv_columns_fini(struct stk_csv_columns *c) {
  for (size_t i = 0; i < c->n; i++) {
    sp_free(c->names[i]);
  }
  c->n = 0;
}

/* The first place whose name is not less than name. */
static size_t column_place(const struct stk_csv_columns *c, const char *name) {
  size_t lo = 0;
  size_t hi = c->n;
  while (lo < hi) {
    size_t mid = lo + (hi - lo) / 2;
    if (strcmp(c->names[mid], name) < 0) {
      lo = mid + 1;
    } else {
      hi = mid;
    }
  }
  return lo;
}

static char *column_name(const char *name) {
  char *copy = sp_strdup(name);
  for (char *p = copy; p && *p; p++) {
    if ((unsigned char)*p < 0x20 || *p == 0x7F) {
      *p = '_';
    }
  }
  return copy;
}

int64_t stk_csv_column_find(const struct stk_csv_columns *c, const char *name) {
  size_t place = column_place(c, name);
  return place < c->n && strcmp(c->names[place], name) == 0 ? (int64_t)place : -1;
}

sp_status stk_csv_column_add(struct stk_csv_columns *c, const char *name, bool *out_added,
                             struct sp_err *err) {
  char *copy = column_name(name);
  if (!copy) {
    return sp_fail(err, SP_ENOMEM, "metrics table: no memory");
  }
  if (stk_csv_column_find(c, copy) >= 0) {
    sp_free(copy);
    *out_added = false;
    return SP_OK;
  }
  if (c->n == STK_CSV_COLUMNS_MAX) {
    sp_free(copy);
    return sp_fail(err, SP_ERANGE, "metrics table: more than %d columns", STK_CSV_COLUMNS_MAX);
  }
  size_t place = column_place(c, copy);
  memmove(&c->names[place + 1], &c->names[place], (c->n - place) * sizeof *c->names);
  c->names[place] = copy;
  c->n++;
  *out_added = true;
  return SP_OK;
}

/* Reads the field at *p into b, leaving *p behind the comma after it. False when it is malformed.
 * */
static bool take_field(const char **p, const char *end, struct sp_buf *b) {
  sp_buf_clear(b);
  const char *s = *p;
  if (s < end && *s == '"') {
    for (s++;; s++) {
      if (s == end) {
        return false;
      }
      if (*s == '"' && (++s == end || *s != '"')) {
        break;
      }
      sp_buf_putc(b, *s);
    }
  } else {
    while (s < end && *s != ',') {
      sp_buf_putc(b, *s++);
    }
  }
  if (s < end && *s != ',') {
    return false;
  }
  *p = s < end ? s + 1 : s;
  return true;
}

sp_status stk_csv_header_parse(const char *line, size_t n, struct stk_csv_columns *c,
                               struct sp_err *err) {
  const char *p = line;
  const char *end = line + n;
  struct sp_buf field;
  sp_buf_init(&field, 1 << 16);
  sp_status status = SP_OK;
  while (status == SP_OK && p < end) {
    bool added = false;
    if (!take_field(&p, end, &field) || field.failure != SP_OK) {
      status = sp_fail(err, SP_ECORRUPT, "metrics table: the header is malformed");
    } else {
      status = stk_csv_column_add(c, sp_buf_text(&field), &added, err);
      if (status == SP_OK && !added) {
        status = sp_fail(err, SP_ECORRUPT, "metrics table: column \"%s\" is there twice",
                         sp_buf_text(&field));
      }
    }
  }
  sp_buf_free(&field);
  if (status != SP_OK) {
    stk_csv_columns_fini(c);
  }
  return status;
}

void stk_csv_put_header(struct sp_buf *b, const struct stk_csv_columns *c) {
  for (size_t i = 0; i < c->n; i++) {
    const char *name = c->names[i];
    if (i > 0) {
      sp_buf_putc(b, ',');
    }
    if (!*name || strpbrk(name, ",\"")) {
      sp_buf_putc(b, '"');
      for (; *name; name++) {
        sp_buf_puts(b, *name == '"' ? "\"\"" : (char[]){*name, '\0'});
      }
      sp_buf_putc(b, '"');
    } else {
      sp_buf_puts(b, name);
    }
  }
  sp_buf_putc(b, '\n');
}

/* The shortest of 15, 16 and 17 digits that reads back equal. */
static void put_number(struct sp_buf *b, double value) {
  char text[40];
  for (int digits = 15; digits <= 17; digits++) {
    double back = 0;
    snprintf(text, sizeof text, "%.*g", digits, value);
    if (!isfinite(value) || (sp_parse_f64(text, &back) == SP_OK && back == value)) {
      break;
    }
  }
  sp_buf_puts(b, isnan(value) ? "nan" : text);
}

void stk_csv_put_row(struct sp_buf *b, const struct stk_csv_columns *c,
                     const struct stk_log_values *v) {
  const double *at[STK_CSV_COLUMNS_MAX] = {0};
  for (size_t i = 0; i < v->n; i++) {
    int64_t place = stk_csv_column_find(c, v->names[i]);
    if (place >= 0) {
      at[place] = &v->values[i];
    }
  }
  int64_t step = stk_csv_column_find(c, "step");
  for (size_t i = 0; i < c->n; i++) {
    if (i > 0) {
      sp_buf_putc(b, ',');
    }
    if ((int64_t)i == step) {
      sp_buf_printf(b, "%" PRId64, v->step);
    } else if (at[i]) {
      put_number(b, *at[i]);
    }
  }
  sp_buf_putc(b, '\n');
}

sp_status stk_csv_put_moved_row(struct sp_buf *b, const char *line, size_t n,
                                const struct stk_csv_columns *from,
                                const struct stk_csv_columns *to, struct sp_err *err) {
  const char *field[STK_CSV_COLUMNS_MAX];
  size_t length[STK_CSV_COLUMNS_MAX];
  size_t n_fields = 0;
  const char *end = line + n;
  for (const char *p = line;; p++) {
    const char *comma = memchr(p, ',', (size_t)(end - p));
    if (n_fields == from->n) {
      return sp_fail(err, SP_ECORRUPT, "metrics table: a line has more than %zu fields", from->n);
    }
    field[n_fields] = p;
    length[n_fields++] = (size_t)((comma ? comma : end) - p);
    if (!comma) {
      break;
    }
    p = comma;
  }
  if (n_fields != from->n) {
    return sp_fail(err, SP_ECORRUPT, "metrics table: a line has %zu fields, not %zu", n_fields,
                   from->n);
  }
  for (size_t i = 0; i < to->n; i++) {
    int64_t place = stk_csv_column_find(from, to->names[i]);
    if (i > 0) {
      sp_buf_putc(b, ',');
    }
    if (place >= 0) {
      sp_buf_append(b, field[place], length[place]);
    }
  }
  sp_buf_putc(b, '\n');
  return SP_OK;
}
