/* The model summary as a table of aligned columns. Pure. */
#ifndef SC_TABLE_H
#define SC_TABLE_H

#include "proto/base/buf.h"
#include "proto/wire/event.h"

/* Appends the table and its totals, each line ended by a newline. */
void sc_table_put(struct sp_buf *b, const struct sp_event_summary *s);

#endif
