/* Fuzz target: bytes from whoever connects to a run's control socket, or from who answers there.
 * The first byte chooses the size of the pieces; every message that comes out is packed again,
 * which must succeed and come out again. */
#include "tests/lib/fuzz_stream.h"
#include "proto/base/mem.h"
#include "proto/wire/control.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void pack_again(const struct sp_control *m) {
  uint8_t *bytes = NULL;
  size_t n = 0;
  const struct sp_control *again = NULL;
  if (sp_control_pack(m, &bytes, &n, NULL) != SP_OK || n > SP_CONTROL_MAX_FRAME) {
    __builtin_trap();
  }
  sp_event_reader *r = sp_event_reader_new();
  if (r && (sp_event_reader_feed(r, bytes, n, NULL) != SP_OK ||
            sp_control_next(r, &again, NULL) != SP_OK || !again || again->kind != m->kind ||
            again->id != m->id)) {
    __builtin_trap();
  }
  sp_event_reader_free(r);
  sp_free(bytes);
}

static sp_status drain(sp_event_reader *r) {
  for (;;) {
    const struct sp_control *m = NULL;
    sp_status status = sp_control_next(r, &m, NULL);
    if (status != SP_OK || !m) {
      return status;
    }
    pack_again(m);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tt_fuzz_stream(data, size, SP_CONTROL_MAX_FRAME, drain);
  return 0;
}
