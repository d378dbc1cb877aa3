/* Chronicles: any bytes, fed in pieces that the first byte chooses, are read to their end; each
 * line again with its checksum mended, so that it gets past that; an entry that comes out is
 * written and comes out again. */
#include "proto/base/crc32c.h"
#include "proto/base/mem.h"
#include "proto/run/chronicle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_again(const struct sp_chronicle_entry *e) {
  struct sp_buf b;
  struct sp_arena arena = {0};
  struct sp_chronicle_entry again;
  sp_buf_init(&b, SP_CHRONICLE_MAX_LINE);
  sp_chronicle_put(&b, e);
  if (sp_buf_check(&b, "line", NULL) != SP_OK ||
      sp_chronicle_parse(b.data, b.length - 1, &again, &arena, NULL) != SP_OK ||
      again.seq != e->seq || again.time.ns != e->time.ns || again.kind != e->kind) {
    abort();
  }
  sp_arena_clear(&arena);
  sp_buf_free(&b);
}

static void drain(struct sp_chronicle_reader *r) {
  for (bool have = true; have;) {
    struct sp_chronicle_entry e;
    if (sp_chronicle_next(r, &e, &have, NULL) == SP_OK && have) {
      put_again(&e);
    }
  }
}

/* The line without its last 21 bytes, where a checksum stands, and a checksum that is right. */
static void parse_mended(const uint8_t *line, size_t n) {
  struct sp_chronicle_entry e;
  struct sp_arena arena = {0};
  size_t body = n > 21 ? n - 21 : n;
  char *text = sp_alloc(body + 22);
  if (!text) {
    return;
  }
  memcpy(text, line, body);
  snprintf(text + body, 22, ",\"crc32c\":\"%08" PRIx32 "\"}", sp_crc32c(0, line, body));
  if (sp_chronicle_parse(text, body + 21, &e, &arena, NULL) == SP_OK) {
    put_again(&e);
  }
  sp_arena_clear(&arena);
  sp_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1) {
    return 0;
  }
  struct sp_chronicle_reader r = {0};
  size_t piece = data[0] ? data[0] : 4096;
  for (size_t i = 1; i < size; i += piece) {
    size_t n = size - i < piece ? size - i : piece;
    if (sp_chronicle_feed(&r, data + i, n, NULL) != SP_OK) {
      break;
    }
    drain(&r);
  }
  sp_chronicle_reader_fini(&r);
  for (const uint8_t *p = data + 1, *end = data + size; p < end;) {
    const uint8_t *newline = memchr(p, '\n', (size_t)(end - p));
    size_t n = (size_t)((newline ? newline : end) - p);
    parse_mended(p, n);
    p += n + 1;
  }
  return 0;
}
