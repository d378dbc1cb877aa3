/* Fuzz target: bytes from a rank or the zygote, messages and events mixed. The first byte chooses
 * the size of the pieces in which the rest is fed; every message that comes out is packed again,
 * which must succeed and come out again. */
#include "tests/lib/fuzz_stream.h"
#include "proto/base/mem.h"
#include "proto/wire/frame.h"
#include "proto/wire/supervise.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void pack_again(const struct sp_supervise *m) {
  uint8_t *bytes = NULL;
  size_t n = 0;
  if (sp_supervise_pack(m, &bytes, &n, NULL) != SP_OK) {
    __builtin_trap();
  }
  sp_event_reader *r = sp_event_reader_new();
  for (size_t i = 0; r && i < n;) {
    size_t part = n - i < SP_FRAME_MAX_FEED ? n - i : SP_FRAME_MAX_FEED;
    if (sp_event_reader_feed(r, bytes + i, part, NULL) != SP_OK) {
      __builtin_trap();
    }
    i += part;
  }
  const struct sp_supervise *again = NULL;
  const struct sp_event *e = NULL;
  if (r && (sp_supervise_next(r, &again, &e, NULL) != SP_OK || !again || again->kind != m->kind)) {
    __builtin_trap();
  }
  sp_event_reader_free(r);
  sp_free(bytes);
}

static sp_status drain(sp_event_reader *r) {
  for (;;) {
    const struct sp_supervise *m = NULL;
    const struct sp_event *e = NULL;
    sp_status status = sp_supervise_next(r, &m, &e, NULL);
    if (status != SP_OK || (!m && !e)) {
      return status;
    }
    if (m) {
      pack_again(m);
    }
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tt_fuzz_stream(data, size, SP_FRAME_MAX_FEED, drain);
  return 0;
}
