/* Whose the regions of a run are: a run that goes on must be the same job.
 *
 * What the state depends on is a text, a line for each thing. The region "identity" keeps its
 * SHA-256 and the text, up to a bound: the digest decides, the text says what differs.
 */
#ifndef SW_SUPERVISE_IDENTITY_H
#define SW_SUPERVISE_IDENTITY_H

#include "proto/base/buf.h"
#include "worker/supervise/regions.h"

enum { SW_IDENTITY_TEXT = 64 * 1024 }; /* bytes that are kept */

/* Keeps text (lines "KEY VALUE\n") where none is kept yet, else compares. SP_EMISMATCH names the
 * first line that differs, as it is there and here. */
SP_NODISCARD sp_status sw_identity_check(struct sw_regions *r, const char *text,
                                         struct sp_err *err);

#endif
