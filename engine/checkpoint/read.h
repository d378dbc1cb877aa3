/* Reading parts of files beneath a directory. Threads: none. */
#ifndef STK_CHECKPOINT_READ_H
#define STK_CHECKPOINT_READ_H

#include "proto/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Opens a regular file beneath dir_fd without following a link (dir_fd AT_FDCWD: a path of the
 * user's, whose links are followed). */
SP_NODISCARD sp_status stk_read_open(int dir_fd, const char *name, int *out_fd, struct sp_err *err);

/* Reads exactly n bytes at offset; SP_ECORRUPT where the file ends before. */
SP_NODISCARD sp_status stk_read_at(int fd, void *out, size_t n, uint64_t offset, const char *name,
                                   struct sp_err *err);

/* Called with consecutive pieces of the range; a failure ends the walk. */
typedef sp_status stk_read_piece(void *ctx, const uint8_t *bytes, size_t n, struct sp_err *err);

/* Walks n bytes from offset on in pieces of a multiple of 8 bytes (but the last). */
SP_NODISCARD sp_status stk_read_walk(int fd, uint64_t offset, uint64_t n, const char *name,
                                     stk_read_piece *piece, void *ctx, struct sp_err *err);

#endif
