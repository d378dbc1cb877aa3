/* Events for a reader that may stand still: a bounded queue in front of a stream.
 *
 *   sp_outbox_add(box, &event)   never waits; memory stays under the limit and a few frames
 *   sp_outbox_flush(box, fd)     writes what fd takes at once: after each add, and now and then
 *   sp_outbox_drain(box, fd)     waits until all is written: once, at the end
 *
 * While events wait, a Progress takes the place of the one of its stage that waits. Over the limit
 * the oldest go first, but never RunStarted, Stopped, Error and Result; a Text says how many went
 * when reading goes on. Frames are written whole, in order. One thread; the descriptor stays the
 * caller's, and need not be non-blocking.
 */
#ifndef SP_WIRE_OUTBOX_H
#define SP_WIRE_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/base/status.h"
#include "proto/wire/event.h"

enum { SP_OUTBOX_BYTES = 1 << 20 };

typedef struct sp_outbox sp_outbox;

/* limit_bytes 0: SP_OUTBOX_BYTES. NULL when out of memory. */
sp_outbox *sp_outbox_new(size_t limit_bytes);
void sp_outbox_free(sp_outbox *box); /* accepts NULL */

/* What cannot be made into a frame is left out, and counted as the dropped are. */
void sp_outbox_add(sp_outbox *box, const struct sp_event *event);

bool sp_outbox_is_empty(const sp_outbox *box);
size_t sp_outbox_bytes(const sp_outbox *box); /* that wait */

/* SP_ECANCELED: the reader is gone; what waits never goes. */
SP_NODISCARD sp_status sp_outbox_flush(sp_outbox *box, int fd, struct sp_err *err);
SP_NODISCARD sp_status sp_outbox_drain(sp_outbox *box, int fd, struct sp_err *err);

#endif
