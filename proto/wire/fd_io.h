/* Bytes over descriptors, with a descriptor beside them where the descriptor is a unix socket.
 * Blocking but where it says not; SIGPIPE is never raised on a socket. */
#ifndef SP_WIRE_FD_IO_H
#define SP_WIRE_FD_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/base/status.h"

/* Writes all n > 0 bytes, waiting where the descriptor would block. passed_fd (-1: none) goes with
 * the first of them. SP_ECANCELED: the other side is gone. */
SP_NODISCARD sp_status sp_fd_send_frame(int fd, const uint8_t *bytes, size_t n, int passed_fd,
                                        struct sp_err *err);

/* One write that does not wait, whether the descriptor is non-blocking or not: as write(2), with
 * errno EAGAIN where nothing fits. (Somebody else who writes into the same pipe may make it wait.)
 */
ssize_t sp_fd_write_now(int fd, const void *bytes, size_t n);

/* One recvmsg of at most n bytes. Returns as read(2) does, with errno. Of the descriptors that
 * came, close-on-exec, at most `limit` are put into out_fds; the rest are closed. */
ssize_t sp_fd_receive(int fd, void *bytes, size_t n, int *out_fds, int limit, int *out_n_fds);

#endif
