/* Unix sockets by directory and name.
 *
 * The kernel takes at most 107 bytes of a socket's path; run directories are often deeper. A path
 * that is too long is reached through /proc/self/fd of its opened directory, which needs no change
 * of the working directory and no other process to know. All descriptors are close-on-exec. Any
 * thread.
 */
#ifndef SP_BASE_SOCK_H
#define SP_BASE_SOCK_H

#include <stdint.h>

#include "proto/base/status.h"

/* A listening stream socket at directory/name, for its owner alone (0600); one that is there
 * already is replaced: the caller holds the lock that says it is nobody's. Not yet non-blocking. */
SP_NODISCARD sp_status sp_sock_listen(const char *directory, const char *name, int *out_fd,
                                      struct sp_err *err);

/* A connection to it. SP_ENOENT: there is no socket, or nobody listens on it. */
SP_NODISCARD sp_status sp_sock_connect(const char *directory, const char *name, int *out_fd,
                                       struct sp_err *err);

/* The user on the other side of a connection, as it was made. */
SP_NODISCARD sp_status sp_sock_peer(int fd, uint32_t *out_uid, struct sp_err *err);

#endif
