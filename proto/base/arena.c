/* Arena: bump allocation in blocks from proto/base/mem.h.
 *
 * A block is a header followed by its bytes; the newest block serves until it is full. A request
 * larger than the block size gets a block of its own, placed behind the newest so that the newest
 * goes on serving. */
#include "proto/base/arena.h"

#include "proto/base/mem.h"

#include <stdint.h>
#include <string.h>

enum { FIRST_BLOCK_BYTES = 2048, LAST_BLOCK_BYTES = 65536, ALIGN = 16 };

struct sp_arena_block {
  struct sp_arena_block *next;
  size_t cap_bytes;
  size_t used_bytes;
  _Alignas(ALIGN) unsigned char bytes[];
};

static struct sp_arena_block *block_new(struct sp_arena *a, size_t bytes) {
  if (bytes > SIZE_MAX - sizeof(struct sp_arena_block)) {
    return NULL;
  }
  if (a->cap_bytes && (a->held_bytes > a->cap_bytes || bytes > a->cap_bytes - a->held_bytes)) {
    return NULL;
  }
  struct sp_arena_block *b = sp_alloc(sizeof *b + bytes);
  if (b) {
    b->cap_bytes = bytes;
    a->held_bytes += bytes;
  }
  return b;
}

void *sp_arena_alloc(struct sp_arena *a, size_t bytes) {
  if (bytes > SIZE_MAX - ALIGN) {
    return NULL;
  }
  bytes = bytes ? (bytes + ALIGN - 1) / ALIGN * ALIGN : ALIGN;
  struct sp_arena_block *b = a->head;
  if (!b || bytes > b->cap_bytes - b->used_bytes) {
    size_t size = b ? b->cap_bytes * 2 : FIRST_BLOCK_BYTES;
    size = size > LAST_BLOCK_BYTES ? LAST_BLOCK_BYTES : size;
    if (bytes > size) {
      size = bytes;
    }
    struct sp_arena_block *fresh = block_new(a, size);
    if (!fresh) {
      return NULL;
    }
    if (b && bytes == size) {
      fresh->next = b->next;
      b->next = fresh;
    } else {
      fresh->next = b;
      a->head = fresh;
    }
    b = fresh;
  }
  void *p = b->bytes + b->used_bytes;
  b->used_bytes += bytes;
  return p;
}

void *sp_arena_array(struct sp_arena *a, size_t n, size_t bytes) {
  return bytes && n > SIZE_MAX / bytes ? NULL : sp_arena_alloc(a, n * bytes);
}

char *sp_arena_strndup(struct sp_arena *a, const char *s, size_t n) {
  if (n == SIZE_MAX) {
    return NULL;
  }
  char *p = sp_arena_alloc(a, n + 1);
  if (p) {
    memcpy(p, s, n);
  }
  return p;
}

char *sp_arena_strdup(struct sp_arena *a, const char *s) {
  return sp_arena_strndup(a, s, strlen(s));
}

void sp_arena_clear(struct sp_arena *a) {
  struct sp_arena_block *b = a->head;
  while (b) {
    struct sp_arena_block *next = b->next;
    sp_free(b);
    b = next;
  }
  a->head = NULL;
  a->held_bytes = 0;
}
