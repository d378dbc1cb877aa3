/* run.json: any text, and the same with its checksum mended; what is accepted has a nonce that is
 * safe in a file name. */
#include "proto/base/crc32c.h"
#include "proto/base/mem.h"
#include "proto/run/run_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(const char *text, size_t n) {
  struct sp_run_file f;
  struct sp_arena arena = {0};
  if (sp_run_file_parse(text, n, &f, &arena, NULL) == SP_OK &&
      (strspn(f.nonce, "0123456789abcdef") != strlen(f.nonce) || strlen(f.nonce) > 32 ||
       f.format != SP_RUN_FORMAT || f.state >= SP_RUN_N_STATES)) {
    abort();
  }
  sp_arena_clear(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  parse((const char *)data, size);
  size_t body = size > 22 ? size - 22 : size;
  char *text = sp_alloc(body + 23);
  if (text) {
    memcpy(text, data, body);
    snprintf(text + body, 23, ",\"crc32c\":\"%08" PRIx32 "\"}\n", sp_crc32c(0, data, body));
    parse(text, body + 22);
    sp_free(text);
  }
  return 0;
}
