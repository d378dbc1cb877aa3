/* The text of a metrics table: columns, lines, and the file as a whole. Pure; csv.h does the files.
 *
 * A table is a header line of sorted column names and data lines with as many fields, each empty or
 * a number. Names have no control characters (they become '_'); a name with a comma or a quote is
 * quoted.
 */
#ifndef STK_TRAINER_LOGGERS_CSVTABLE_H
#define STK_TRAINER_LOGGERS_CSVTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/trainer/loggers/logger.h"
#include "proto/base/buf.h"

enum { STK_CSV_COLUMNS_MAX = 1024 };

struct stk_csv_columns {
  size_t n;
  char *names[STK_CSV_COLUMNS_MAX]; /* sorted bytewise, unique */
};

void stk_csv_columns_fini(struct stk_csv_columns *c);

/* The place of a name, or -1. */
int64_t stk_csv_column_find(const struct stk_csv_columns *c, const char *name);

/* Adds a name if it is new; *out_added says whether it was. SP_ERANGE: too many columns. */
SP_NODISCARD sp_status stk_csv_column_add(struct stk_csv_columns *c, const char *name,
                                          bool *out_added, struct sp_err *err);

/* Parses the header line (without its newline) into empty columns. */
SP_NODISCARD sp_status stk_csv_header_parse(const char *line, size_t n, struct stk_csv_columns *c,
                                            struct sp_err *err);

void stk_csv_put_header(struct sp_buf *b, const struct stk_csv_columns *c);

/* One data line; columns that v does not have stay empty. Every name of v is a column. */
void stk_csv_put_row(struct sp_buf *b, const struct stk_csv_columns *c,
                     const struct stk_log_values *v);

/* The data line (without its newline) of a table with columns `from` for the columns `to`, which
 * hold all of `from`. SP_ECORRUPT: another number of fields. */
SP_NODISCARD sp_status stk_csv_put_moved_row(struct sp_buf *b, const char *line, size_t n,
                                             const struct stk_csv_columns *from,
                                             const struct stk_csv_columns *to, struct sp_err *err);

#endif
