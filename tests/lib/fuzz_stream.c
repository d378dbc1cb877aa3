/* Bytes of a stream in pieces. See fuzz_stream.h. */
#include "tests/lib/fuzz_stream.h"

void tt_fuzz_stream(const uint8_t *data, size_t size, size_t most,
                    sp_status (*drain)(sp_event_reader *r)) {
  if (size < 1) {
    return;
  }
  size_t piece = data[0] ? data[0] : most;
  sp_event_reader *r = sp_event_reader_new();
  for (size_t i = 1; r && i < size; i += piece) {
    size_t n = size - i < piece ? size - i : piece;
    if (sp_event_reader_feed(r, data + i, n, NULL) != SP_OK || drain(r) != SP_OK) {
      break;
    }
  }
  sp_event_reader_free(r);
}
