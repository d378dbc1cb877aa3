/* The default allocator (libc) and the checked entry points over whichever is installed.
 *
 * The installed allocator is process-wide state by nature: one pointer, set before the first
 * allocation and constant afterwards, so reads need no lock. Aligned blocks keep the address of
 * their underlying block in the word before the one they return.
 */
#include "proto/base/mem.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void *libc_alloc(void *ctx, size_t bytes) {
  (void)ctx;
  return calloc(1, bytes);
}

static void *libc_resize(void *ctx, void *p, size_t bytes) {
  (void)ctx;
  return realloc(p, bytes);
}

static void libc_release(void *ctx, void *p) {
  (void)ctx;
  free(p);
}

static const struct sp_allocator libc_allocator = {libc_alloc, libc_resize, libc_release, NULL};
static struct sp_allocator current = {libc_alloc, libc_resize, libc_release, NULL};

void sp_set_allocator(const struct sp_allocator *a) {
  current = a ? *a : libc_allocator;
}

void *sp_alloc(size_t bytes) {
  if (bytes > PTRDIFF_MAX) {
    return NULL;
  }
  return current.alloc(current.ctx, bytes ? bytes : 1);
}

void *sp_alloc_array(size_t n, size_t bytes) {
  size_t total;
  if (__builtin_mul_overflow(n, bytes, &total)) {
    return NULL;
  }
  return sp_alloc(total);
}

void *sp_resize_array(void *p, size_t n, size_t bytes) {
  size_t total;
  if (__builtin_mul_overflow(n, bytes, &total) || total > PTRDIFF_MAX) {
    return NULL;
  }
  return current.resize(current.ctx, p, total ? total : 1);
}

char *sp_strdup(const char *s) {
  return sp_strndup(s, strlen(s));
}

char *sp_strndup(const char *s, size_t n) {
  size_t length = strnlen(s, n);
  char *copy = sp_alloc(length + 1);
  if (copy) {
    memcpy(copy, s, length);
  }
  return copy;
}

void sp_free(void *p) {
  current.release(current.ctx, p);
}

void *sp_alloc_aligned(size_t align, size_t bytes) {
  assert(align && (align & (align - 1)) == 0);
  size_t total;
  if (align < sizeof(void *)) {
    align = sizeof(void *);
  }
  if (__builtin_add_overflow(bytes, align + sizeof(void *), &total)) {
    return NULL;
  }
  char *block = sp_alloc(total);
  if (!block) {
    return NULL;
  }
  uintptr_t start = (uintptr_t)block + sizeof(void *);
  size_t pad = (size_t)(-start & (align - 1));
  char *aligned = block + sizeof(void *) + pad;
  memcpy(aligned - sizeof(void *), &block, sizeof block);
  return aligned;
}

void sp_free_aligned(void *p) {
  if (p) {
    void *block;
    memcpy(&block, (char *)p - sizeof block, sizeof block);
    sp_free(block);
  }
}
