/* A kernel's scratch cut into arrays; with no base it only counts the bytes. */
#ifndef STK_KERNEL_CARVE_H
#define STK_KERNEL_CARVE_H

#include <stddef.h>
#include <stdint.h>

struct carve {
  char *base;
  size_t at;
};

/* n elements of `size` bytes at a multiple of 64; NULL where there is no base. */
static inline void *carve(struct carve *c, int64_t n, size_t size) {
  void *p = c->base ? c->base + c->at : NULL;
  c->at += ((size_t)n * size + 63) / 64 * 64;
  return p;
}

#endif
