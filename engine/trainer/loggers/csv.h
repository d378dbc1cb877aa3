/* metrics.csv, as Lightning's CSVLogger writes it: one row per logged step, the columns being the
 * sorted union of all keys seen, `step` among them; a key that appears later rewrites the file with
 * a new column. RFC 4180 quoting; numbers in the shortest form that reads back to the same double;
 * a value that was not logged is an empty field.
 *
 * Position is data rows, which a rewrite does not change. Reading an existing file back (resume)
 * accepts only what this wrote.
 */
#ifndef STK_TRAINER_LOGGERS_CSV_H
#define STK_TRAINER_LOGGERS_CSV_H

#include "engine/trainer/loggers/logger.h"

/* Opens (to go on) or starts directory/metrics.csv. */
SP_NODISCARD sp_status stk_csv_open(const char *directory, struct stk_logger **out_logger,
                                    struct sp_err *err);

#endif
