/* What memory costs when it is touched for the first time.
 *
 * A process that was just forked finds none of the shared regions mapped and none of its own
 * buffers there: at a microsecond a page of 4 KiB that is longer than the step it is needed for.
 */
#ifndef STK_EXEC_PAGES_H
#define STK_EXEC_PAGES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "engine/exec/pool.h"

/* Zeroed and page-aligned; of pages of 2 MiB where they fit and the system gives them for the
 * asking (MADV_HUGEPAGE). NULL without memory. Released with sp_free_aligned. */
void *stk_pages_alloc(size_t bytes);

/* Reads a byte of every 64 KiB of [p, p + bytes), on all threads: the kernel maps what stands
 * around it too (fault_around_bytes), for writing as well where memory is shared. Nothing changes
 * in it. Pages that were never written stay absent. */
void stk_pages_touch(stk_pool *pool, const void *p, size_t bytes);

/* Makes all pages of [p, p + bytes) present and mapped, private ones for writing if `writes`, a
 * little at a time until it is done or *stop. Changes no byte, so other memory on the first and the
 * last page does not mind. By the calling thread; does nothing on kernels before 5.14. */
void stk_pages_populate(void *p, size_t bytes, bool writes, const atomic_bool *stop);

#endif
