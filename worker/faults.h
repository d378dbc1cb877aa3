/* `stoker-worker faults`: the names of the fault points in this program and in libstoker.so, for
 * tests that visit each (proto/base/fault.h). */
#ifndef SW_FAULTS_H
#define SW_FAULTS_H

#include "proto/base/buf.h"
#include "proto/base/status.h"

/* Adds the names, sorted, each once and on a line of its own. SP_EUNSUPPORTED in a build without
 * fault points. */
SP_NODISCARD sp_status sw_faults_list(struct sp_buf *b, struct sp_err *err);

#endif
