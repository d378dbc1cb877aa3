/* Fuzz target: bytes from a worker. The first byte chooses the size of the pieces in which the rest
 * is fed; every event that comes out is packed again, which must succeed and unpack again. */
#include "proto/base/mem.h"
#include "proto/wire/convert.h"
#include "proto/wire/event_io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void pack_again(const struct sp_event *e) {
  uint8_t *bytes = NULL;
  size_t n = 0;
  if (sp_convert_pack(e, &bytes, &n, NULL) != SP_OK) {
    __builtin_trap();
  }
  struct sp_frame frame = {(uint16_t)e->kind, (uint32_t)(n - SP_FRAME_HEADER_BYTES),
                           bytes + SP_FRAME_HEADER_BYTES};
  struct sp_convert c = {0};
  if (sp_convert_unpack(&c, &frame, NULL) != SP_OK) {
    __builtin_trap();
  }
  sp_convert_clear(&c);
  sp_free(bytes);
}

static sp_status drain(sp_event_reader *r) {
  for (;;) {
    const struct sp_event *e = NULL;
    sp_status status = sp_event_reader_next(r, &e, NULL);
    if (status != SP_OK || !e) {
      return status;
    }
    pack_again(e);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1) {
    return 0;
  }
  size_t piece = data[0] ? data[0] : SP_FRAME_MAX_FEED;
  sp_event_reader *r = sp_event_reader_new();
  for (size_t i = 1; r && i < size; i += piece) {
    size_t n = size - i < piece ? size - i : piece;
    if (sp_event_reader_feed(r, data + i, n, NULL) != SP_OK || drain(r) != SP_OK) {
      break;
    }
  }
  sp_event_reader_free(r);
  return 0;
}
