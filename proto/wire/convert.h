/* Between struct sp_event and frames: the tables of fields.h, and the one check that is not a
 * row's, the protocol of Hello. Only proto/wire includes this header.
 */
#ifndef SP_WIRE_CONVERT_H
#define SP_WIRE_CONVERT_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "proto/wire/event.h"
#include "proto/wire/fields.h"
#include "proto/wire/frame.h"

/* One whole frame, header and payload; *out_frame is released with sp_free. */
SP_NODISCARD sp_status sp_convert_pack(const struct sp_event *event, uint8_t **out_frame,
                                       size_t *out_n, struct sp_err *err);

/* The rows of an event's message; NULL for a tag that is no event. */
const struct sp_fields *sp_event_fields(unsigned tag);

/* An event and what it points into. Zeroed is empty. */
struct sp_convert {
  struct sp_unpacked memory;
  struct sp_event event;
};

/* Fills c->event from a frame; what c held before is released first. SP_EUNSUPPORTED: the tag is no
 * event's. On failure c is empty. */
SP_NODISCARD sp_status sp_convert_unpack(struct sp_convert *c, const struct sp_frame *frame,
                                         struct sp_err *err);
void sp_convert_clear(struct sp_convert *c);

#endif
