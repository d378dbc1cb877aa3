/* How much memory is left.
 *
 * `root` as in cgroup.h. Only reads; nothing is cached.
 */
#ifndef STK_EXEC_ROOM_H
#define STK_EXEC_ROOM_H

#include <stdint.h>

/* Bytes that this process could take without swapping or a kill: what the kernel calls available
 * (/proc/meminfo), and no more than any limit of a cgroup leaves, where clean pages of files count
 * as free. 0 when nothing can be read. */
int64_t stk_room_bytes(const char *root);

#endif
