/* Memory: the one allocator of every Stoker program.
 *
 * Sizes are checked for overflow, memory comes zeroed, failure is NULL (the caller returns
 * SP_ENOMEM). The allocator can be replaced before the first allocation; the tests' one counts
 * blocks and fails the n-th call. Thread-safe as long as the replaced functions are.
 */
#ifndef SP_BASE_MEM_H
#define SP_BASE_MEM_H

#include <stddef.h>

struct sp_allocator {
  void *(*alloc)(void *ctx, size_t bytes);           /* zeroed, or NULL */
  void *(*resize)(void *ctx, void *p, size_t bytes); /* as realloc: new bytes are not zeroed */
  void (*release)(void *ctx, void *p);               /* accepts NULL */
  void *ctx;
};

void *sp_alloc(size_t bytes);                           /* zeroed; bytes 0 gives a unique pointer */
void *sp_alloc_array(size_t n, size_t bytes);           /* zeroed; NULL on n * bytes overflow */
void *sp_resize_array(void *p, size_t n, size_t bytes); /* not zeroed beyond the old size */
char *sp_strdup(const char *s);
char *sp_strndup(const char *s, size_t n);
void sp_free(void *p); /* accepts NULL */
/* Zeroed, align a power of two; released with sp_free_aligned only. */
void *sp_alloc_aligned(size_t align, size_t bytes);
void sp_free_aligned(void *p);

/* Replaces the allocator; NULL restores the default. Only while no block of the old one is live. */
void sp_set_allocator(const struct sp_allocator *a);

#endif
