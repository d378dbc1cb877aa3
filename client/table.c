/* The model summary: one line per layer, columns as wide as their widest cell, empty columns left
 * out. */
#include "client/table.h"

#include "client/format.h"
#include "proto/base/strutil.h"

#include <inttypes.h>
#include <string.h>

enum { COLUMNS = 5 };

static const char *const titles[COLUMNS] = {"Name", "Type", "Params", "In", "Out"};

/* The text of a cell; number holds it when it is one. */
static const char *cell(const struct sp_event_summary_row *row, int column,
                        char number[SC_NUMBER]) {
  switch (column) {
    case 0:
      return row->name;
    case 1:
      return row->type;
    case 2:
      sc_format_count(row->n_params, number);
      return number;
    case 3:
      return row->in_shape;
    default:
      return row->out_shape;
  }
}

static size_t column_width(const struct sp_event_summary *s, int column) {
  size_t width = 0;
  for (size_t i = 0; i < s->n_rows; i++) {
    char number[SC_NUMBER];
    const char *text = cell(&s->rows[i], column, number);
    size_t columns = sc_columns(text, strlen(text));
    width = columns > width ? columns : width;
  }
  size_t title = strlen(titles[column]);
  return width == 0 ? 0 : width < title ? title : width;
}

static void put_padded(struct sp_buf *b, const char *text, size_t width, bool right) {
  size_t columns = sc_columns(text, strlen(text));
  int pad = columns < width ? (int)(width - columns) : 0;
  if (right) {
    sp_buf_printf(b, "%*s%s", pad, "", text);
  } else {
    sp_buf_printf(b, "%s%*s", text, pad, "");
  }
}

static void trim_line(struct sp_buf *b) {
  while (b->length > 0 && b->data[b->length - 1] == ' ') {
    sp_buf_truncate(b, b->length - 1);
  }
}

static void put_totals(struct sp_buf *b, const struct sp_event_summary *s) {
  char params[SC_NUMBER];
  char frozen[SC_NUMBER];
  char bytes[SP_UNIT_TEXT];
  if (s->n_rows_left_out > 0) {
    sp_buf_printf(b, "  ... and %" PRId64 " more layers\n", s->n_rows_left_out);
  }
  sc_format_count(s->n_params, params);
  sp_format_bytes((uint64_t)s->n_param_bytes, bytes);
  sp_buf_printf(b, "  %s parameters, %s", params, bytes);
  if (s->n_trainable < s->n_params) {
    sc_format_count(s->n_params - s->n_trainable, frozen);
    sp_buf_printf(b, ", %s of them frozen", frozen);
  }
  sp_buf_putc(b, '\n');
}

void sc_table_put(struct sp_buf *b, const struct sp_event_summary *s) {
  size_t width[COLUMNS];
  for (int c = 0; c < COLUMNS; c++) {
    width[c] = column_width(s, c);
  }
  for (size_t line = 0; s->n_rows > 0 && line <= s->n_rows; line++) {
    const struct sp_event_summary_row *row = line > 0 ? &s->rows[line - 1] : NULL;
    for (int c = 0; c < COLUMNS; c++) {
      char number[SC_NUMBER];
      if (width[c] > 0) {
        sp_buf_puts(b, "  ");
        put_padded(b, row ? cell(row, c, number) : titles[c], width[c], c == 2);
      }
    }
    if (row && row->frozen) {
      sp_buf_puts(b, "  frozen");
    }
    trim_line(b);
    sp_buf_putc(b, '\n');
  }
  put_totals(b, s);
}
