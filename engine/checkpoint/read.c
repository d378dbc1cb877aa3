/* See the header. pread, not a mapping: a file that is cut meanwhile is an error, not a signal. */
#include "engine/checkpoint/read.h"

#include "proto/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 1 << 20 };

sp_status stk_read_open(int dir_fd, const char *name, int *out_fd, struct sp_err *err) {
  int follow = dir_fd == AT_FDCWD ? 0 : O_NOFOLLOW;
  int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | follow);
  struct stat st;
  if (fd < 0) {
    return sp_fail_errno(err, "cannot open %s", name);
  }
  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
    close(fd);
    return sp_fail(err, SP_EINVAL, "%s is not a regular file", name);
  }
  *out_fd = fd;
  return SP_OK;
}

sp_status stk_read_at(int fd, void *out, size_t n, uint64_t offset, const char *name,
                      struct sp_err *err) {
  uint8_t *to = out;
  while (n > 0) {
    ssize_t got = pread(fd, to, n, (off_t)offset);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return sp_fail_errno(err, "cannot read %s", name);
    }
    if (got == 0) {
      return sp_fail(err, SP_ECORRUPT, "%s is truncated", name);
    }
    to += got;
    n -= (size_t)got;
    offset += (uint64_t)got;
  }
  return SP_OK;
}

sp_status stk_read_walk(int fd, uint64_t offset, uint64_t n, const char *name,
                        stk_read_piece *piece, void *ctx, struct sp_err *err) {
  uint8_t *buffer = sp_alloc(n < PIECE ? (size_t)n : PIECE);
  sp_status st = buffer ? SP_OK : sp_fail(err, SP_ENOMEM, "out of memory for reading %s", name);
  while (st == SP_OK && n > 0) {
    size_t m = n < PIECE ? (size_t)n : PIECE;
    st = stk_read_at(fd, buffer, m, offset, name, err);
    if (st == SP_OK) {
      st = piece(ctx, buffer, m, err);
    }
    offset += m;
    n -= m;
  }
  sp_free(buffer);
  return st;
}
