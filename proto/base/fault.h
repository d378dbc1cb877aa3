/* Fault points: named places where a test can make a program die, fail or wait.
 *
 * Code marks a place with `int e = SP_FAULT("checkpoint.fsync");` and treats a non-zero e as that
 * errno. The environment decides: STOKER_FAULT is a comma-separated list of name:hit:action, where
 * hit counts the passages of that name in this process from 1 (0: every one) and action is
 *   kill9             SIGKILL to this process
 *   errno=ENOSPC      the place fails with that error (EIO, ENOSPC, ENOMEM, EINTR, EACCES, EPIPE)
 *   sleep=250ms       wait, then go on (durations as in strutil.h)
 * In builds without STOKER_FAULTS a fault point is the constant 0. Any thread.
 */
#ifndef SP_BASE_FAULT_H
#define SP_BASE_FAULT_H

#include "proto/base/status.h"

/* For main: refuses a malformed STOKER_FAULT, and any at all in a build without fault points. */
SP_NODISCARD sp_status sp_fault_check(struct sp_err *err);

#ifdef STOKER_FAULTS
int sp_fault_hit(const char *name);
#define SP_FAULT(name) sp_fault_hit(name)
#else
#define SP_FAULT(name) 0
#endif

#endif
