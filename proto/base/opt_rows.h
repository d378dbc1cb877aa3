/* How the files that hold option tables write their rows. SELF is the struct that the rows fill,
 * defined and redefined by the file; a row's key is the name of its field. For options_*.c only.
 */
#ifndef SP_BASE_OPT_ROWS_H
#define SP_BASE_OPT_ROWS_H

#include "proto/base/opt.h"

/* An option of a type, in the field of its name. */
#define ROW(TYPE, name, ...) \
  { .key = #name, .type = SP_OPT_##TYPE, .offset = offsetof(struct SELF, name), __VA_ARGS__ }

/* An option that is known and fills no field: `choices` pass, the rest is refused with `help`. */
#define REFUSE(name, ...) \
  { .key = #name, .type = SP_OPT_STRING, .flags = SP_OPT_REFUSED, __VA_ARGS__ }

#define N_ROWS(rows) (sizeof(rows) / sizeof(rows)[0])

#endif
