/* The budgeted allocator. Memory freed in the middle of unpacking does not go back to the budget:
 * protobuf-c frees without a size, and only errors free early. */
#include "proto/wire/message.h"

#include "proto/base/mem.h"

struct budget {
  size_t left;
};

static void *budget_alloc(void *data, size_t bytes) {
  struct budget *b = data;
  if (bytes > b->left) {
    return NULL;
  }
  b->left -= bytes;
  return sp_alloc(bytes);
}

static void *plain_alloc(void *data, size_t bytes) {
  (void)data;
  return sp_alloc(bytes);
}

static void plain_free(void *data, void *p) {
  (void)data;
  sp_free(p);
}

sp_status sp_message_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes,
                            size_t n, ProtobufCMessage **out_message, struct sp_err *err) {
  size_t budget = n * SP_MESSAGE_BUDGET_FACTOR;
  struct budget b = {budget < SP_MESSAGE_BUDGET_MIN ? SP_MESSAGE_BUDGET_MIN : budget};
  ProtobufCAllocator allocator = {budget_alloc, plain_free, &b};
  ProtobufCMessage *m = protobuf_c_message_unpack(descriptor, &allocator, n, bytes);
  if (!m) {
    return sp_fail(err, SP_ECORRUPT, "message: %s of %zu bytes is malformed or too large",
                   descriptor->short_name, n);
  }
  *out_message = m;
  return SP_OK;
}

void sp_message_free(ProtobufCMessage *message) {
  ProtobufCAllocator allocator = {plain_alloc, plain_free, NULL};
  if (message) {
    protobuf_c_message_free_unpacked(message, &allocator);
  }
}
