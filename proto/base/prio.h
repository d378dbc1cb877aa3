/* Priority of a process that works in the background.
 *
 * Level 7 of the best-effort class, not the idle class: a save on a disk that is never idle would
 * otherwise never end, and it holds a copy of the state while it runs.
 */
#ifndef SP_BASE_PRIO_H
#define SP_BASE_PRIO_H

#include "proto/base/status.h"

/* Lowers the calling thread, and threads and processes that it starts, to the lowest I/O priority
 * that is still served on a busy disk, and to nice 10. It cannot be undone without privileges. A
 * failure leaves whatever was reached, and is no reason not to go on. */
SP_NODISCARD sp_status sp_io_low_priority(struct sp_err *err);

#endif
