/* Fuzz target: bytes from a worker. The first byte chooses the size of the pieces in which the rest
 * is fed; every event that comes out is packed again, which must succeed and unpack again. */
#include "tests/lib/fuzz_stream.h"
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
  tt_fuzz_stream(data, size, SP_FRAME_MAX_FEED, drain);
  return 0;
}
