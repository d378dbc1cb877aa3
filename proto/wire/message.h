/* Protobuf messages in memory with a budget.
 *
 * A small frame can unpack into far more memory (empty submessages cost bytes on the wire and
 * hundreds in memory), so unpacking draws from a budget of 8 times the frame, at least 256 KiB,
 * and fails cleanly when it is spent. Only proto/wire includes this header.
 */
#ifndef SP_WIRE_MESSAGE_H
#define SP_WIRE_MESSAGE_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

enum { SP_MESSAGE_BUDGET_FACTOR = 8, SP_MESSAGE_BUDGET_MIN = 256 * 1024 };

/* Unpacks n bytes; *out_message is released with sp_message_free, and untouched on failure.
 * SP_ECORRUPT: malformed, or over the budget. */
SP_NODISCARD sp_status sp_message_unpack(const ProtobufCMessageDescriptor *descriptor,
                                         const uint8_t *bytes, size_t n,
                                         ProtobufCMessage **out_message, struct sp_err *err);
void sp_message_free(ProtobufCMessage *message); /* accepts NULL */

#endif
