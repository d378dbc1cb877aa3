/* Manifests: any text, with its checksum mended so that it gets past that, is refused or renders to
 * a text that parses again.
 */
#include "engine/checkpoint/manifest.h"
#include "proto/base/crc32c.h"
#include "proto/base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void render_again(const struct stk_manifest *m) {
  struct stk_manifest again;
  char *text;
  size_t n;
  if (stk_manifest_render(m, &text, &n, NULL) != SP_OK ||
      stk_manifest_parse(text, n, &again, NULL) != SP_OK) {
    abort();
  }
  stk_manifest_free(&again);
  sp_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct stk_manifest m;
  char *text = sp_alloc(size + 17);
  if (!text) {
    return 0;
  }
  memcpy(text, data, size);
  int n = snprintf(text + size, 17, "crc32c %08" PRIx32 "\n", sp_crc32c(0, data, size));
  if (stk_manifest_parse(text, size + (size_t)n, &m, NULL) == SP_OK) {
    render_again(&m);
    stk_manifest_free(&m);
  }
  sp_free(text);
  return 0;
}
