/* Between struct sp_event and packed protobuf messages.
 *
 * Packing repairs what only displays badly (utf8.h) and refuses counts over their limits. Unpacking
 * trusts nothing: every string, count and enum is checked against event.h, and the event points
 * into the unpacked message and the arrays of struct sp_convert, which own its memory. Only
 * proto/wire includes this header.
 */
#ifndef SP_WIRE_CONVERT_H
#define SP_WIRE_CONVERT_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "proto/wire/event.h"
#include "proto/wire/frame.h"

/* One whole frame, header and payload; *out_frame is released with sp_free. */
SP_NODISCARD sp_status sp_convert_pack(const struct sp_event *event, uint8_t **out_frame,
                                       size_t *out_n, struct sp_err *err);

/* What an unpacked event points into. Zeroed is empty. */
struct sp_convert {
  void *message;
  void *items; /* metrics, rows or commands */
  struct sp_event event;
};

/* Fills c->event from a frame whose tag is a known event kind; what c held before is released
 * first. On failure c is empty. */
SP_NODISCARD sp_status sp_convert_unpack(struct sp_convert *c, const struct sp_frame *frame,
                                         struct sp_err *err);
void sp_convert_clear(struct sp_convert *c);

#endif
