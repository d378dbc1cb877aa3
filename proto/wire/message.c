/* The table tag -> descriptor and the budgeted allocator. Memory freed in the middle of unpacking
 * does not go back to the budget: protobuf-c frees without a size, and only errors free early. */
#include "proto/wire/message.h"

#include "proto/base/mem.h"
#include "proto/wire/event.h"

#include "events.pb-c.h"

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

const ProtobufCMessageDescriptor *sp_message_descriptor(unsigned tag) {
  static const ProtobufCMessageDescriptor *const table[] = {
      [SP_EVENT_HELLO] = &sp__pb__hello__descriptor,
      [SP_EVENT_TEXT] = &sp__pb__text__descriptor,
      [SP_EVENT_RUN_STARTED] = &sp__pb__run_started__descriptor,
      [SP_EVENT_SUMMARY] = &sp__pb__summary__descriptor,
      [SP_EVENT_PROGRESS] = &sp__pb__progress__descriptor,
      [SP_EVENT_METRICS] = &sp__pb__metrics__descriptor,
      [SP_EVENT_VALIDATION] = &sp__pb__validation__descriptor,
      [SP_EVENT_CHECKPOINT] = &sp__pb__checkpoint__descriptor,
      [SP_EVENT_STOPPED] = &sp__pb__stopped__descriptor,
      [SP_EVENT_OUTPUT] = &sp__pb__output__descriptor,
      [SP_EVENT_ERROR] = &sp__pb__error__descriptor,
      [SP_EVENT_RESULT] = &sp__pb__result__descriptor,
  };
  return tag < sizeof table / sizeof *table ? table[tag] : NULL;
}

sp_status sp_message_unpack(unsigned tag, const uint8_t *bytes, size_t n,
                            ProtobufCMessage **out_message, struct sp_err *err) {
  const ProtobufCMessageDescriptor *descriptor = sp_message_descriptor(tag);
  if (!descriptor) {
    return sp_fail(err, SP_EUNSUPPORTED, "message: no message has tag %u", tag);
  }
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
