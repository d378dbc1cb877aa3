/* Arena: memory that is given back all at once.
 *
 * A job's strings, node trees and option lists live in one arena; nothing in it is freed alone.
 * Memory comes zeroed and aligned for any type. Blocks grow geometrically up to a limit; a cap
 * bounds what hostile input can make it hold. A zeroed struct sp_arena is a valid, empty arena
 * without a cap. Not thread-safe.
 */
#ifndef SP_BASE_ARENA_H
#define SP_BASE_ARENA_H

#include <stddef.h>

struct sp_arena_block;

struct sp_arena {
  struct sp_arena_block *head; /* newest block */
  size_t cap_bytes;            /* the most it may hold; 0 is no cap */
  size_t held_bytes;
};

/* Zeroed memory, or NULL when the allocator or the cap says no; never NULL for 0 bytes else. */
void *sp_arena_alloc(struct sp_arena *a, size_t bytes);
void *sp_arena_array(struct sp_arena *a, size_t n, size_t bytes); /* NULL on n * bytes overflow */
char *sp_arena_strdup(struct sp_arena *a, const char *s);
char *sp_arena_strndup(struct sp_arena *a, const char *s, size_t n);

/* Frees everything; the arena is empty and usable afterwards. Accepts an empty arena. */
void sp_arena_clear(struct sp_arena *a);

#endif
