/* Metric rows, and digests of steps, from the lead rank to the supervisor, exactly once whatever is
 * killed.
 *
 * A ring in the region "rows". The lead appends rows at its own head; the control page that it
 * commits says how far they reach (stk_journal.rows_head). The supervisor takes rows up to a
 * committed head only, gives them to the loggers, and then notes in the logbook, in two copies, how
 * far it came and where the loggers stand. So a lead that dies rewrites what it had not committed,
 * and a supervisor that dies rewinds the files to the logbook and goes on behind it.
 *
 * Positions count bytes and only grow. One writer, one reader.
 */
#ifndef SW_SUPERVISE_ROWS_H
#define SW_SUPERVISE_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/state/audit.h"
#include "proto/base/status.h"

enum {
  SW_ROWS_BYTES = 1 << 20, /* of the region */
  SW_ROW_VALUES = 512,     /* most values of one row */
  SW_ROW_NAME = 72,
  SW_ROW_AUDIT_BYTES = 16 + sizeof(struct stk_audit)
};

/* How far the loggers have come. */
struct sw_logbook {
  uint64_t seq; /* stored last */
  uint64_t consumed;
  int64_t position[STK_CONTROL_LOGGERS];
};

struct sw_rows;

/* Makes the ring in zeroed memory of SW_ROWS_BYTES; one that stands is left alone. */
void sw_rows_init(struct sw_rows *r);

/* Room for a row now? The writer waits for it; a row that never fits is SP_ERANGE at put. */
bool sw_rows_has_room(const struct sw_rows *r, uint64_t head, size_t bytes);

/* Bytes that a row takes, at most, wherever it lands. */
size_t sw_rows_need(int32_t n, const char *const *names);

/* Appends at *head, which moves; the caller saw that there is room. */
SP_NODISCARD sp_status sw_rows_put(struct sw_rows *r, uint64_t *head, int64_t step, int32_t n,
                                   const char *const *names, const double *values,
                                   struct sp_err *err);

/* A digest of step `step`, as a row of SW_ROW_AUDIT_BYTES; the caller saw that there is room for
 * twice as many. */
void sw_rows_put_audit(struct sw_rows *r, uint64_t *head, int64_t step, const struct stk_audit *a);

/* One row; pointers are valid until the next call. */
struct sw_row {
  int64_t step;
  bool is_audit; /* then it is `audit`, and has no values */
  struct stk_audit audit;
  int32_t n;
  const char *names[SW_ROW_VALUES];
  double values[SW_ROW_VALUES];
  char text[SW_ROW_VALUES][SW_ROW_NAME];
};

/* Takes the row at *at, if it lies before `head`. False: there is none. SP_ECORRUPT: the ring holds
 * what no writer wrote. */
SP_NODISCARD sp_status sw_rows_next(const struct sw_rows *r, uint64_t *at, uint64_t head,
                                    struct sw_row *out, bool *out_have, struct sp_err *err);

/* The newest logbook, and the next one: everything before b->consumed may be overwritten. */
struct sw_logbook sw_rows_logbook(const struct sw_rows *r);
void sw_rows_note(struct sw_rows *r, const struct sw_logbook *b);

#endif
