/* Frames over descriptors: written whole, with SCM_RIGHTS where one travels beside them. */
#include "proto/wire/fd_io.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FDS = 8 }; /* in one message; the kernel drops what does not fit */

/* One write that cannot raise SIGPIPE on a socket; plain files and pipes are written as they are.
 */
static ssize_t write_some(int fd, const uint8_t *bytes, size_t n) {
  ssize_t done = send(fd, bytes, n, MSG_NOSIGNAL);
  return done < 0 && errno == ENOTSOCK ? write(fd, bytes, n) : done;
}

ssize_t sp_fd_write_now(int fd, const void *bytes, size_t n) {
  ssize_t done = send(fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (done >= 0 || errno != ENOTSOCK) {
    return done;
  }
  struct pollfd p = {.fd = fd, .events = POLLOUT};
  if (poll(&p, 1, 0) == 0) {
    errno = EAGAIN;
    return -1;
  }
  return write(fd, bytes, n < PIPE_BUF ? n : PIPE_BUF); /* a pipe that is ready takes so much */
}

static ssize_t write_passing(int fd, const uint8_t *bytes, size_t n, int passed_fd) {
  union {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int))];
  } control;
  memset(&control, 0, sizeof control);
  struct iovec part = {(void *)(uintptr_t)bytes, n};
  struct msghdr m = {.msg_iov = &part,
                     .msg_iovlen = 1,
                     .msg_control = &control,
                     .msg_controllen = sizeof control.room};
  struct cmsghdr *c = CMSG_FIRSTHDR(&m);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof passed_fd);
  memcpy(CMSG_DATA(c), &passed_fd, sizeof passed_fd);
  return sendmsg(fd, &m, MSG_NOSIGNAL);
}

sp_status sp_fd_send_frame(int fd, const uint8_t *bytes, size_t n, int passed_fd,
                           struct sp_err *err) {
  while (n > 0) {
    ssize_t done =
        passed_fd >= 0 ? write_passing(fd, bytes, n, passed_fd) : write_some(fd, bytes, n);
    if (done >= 0) {
      bytes += done;
      n -= (size_t)done;
      passed_fd = -1;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      struct pollfd p = {.fd = fd, .events = POLLOUT};
      (void)poll(&p, 1, -1);
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return sp_fail(err, SP_ECANCELED, "wire: the reader is gone");
    } else if (errno != EINTR) {
      return sp_fail_errno(err, "wire: write");
    }
  }
  return SP_OK;
}

/* Takes the descriptors of one control message. */
static void take_fds(const struct cmsghdr *c, int *out_fds, int limit, int *n_fds) {
  size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
  for (size_t i = 0; i < n; i++) {
    int fd;
    memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
    if (*n_fds < limit) {
      out_fds[(*n_fds)++] = fd;
    } else {
      close(fd);
    }
  }
}

ssize_t sp_fd_receive(int fd, void *bytes, size_t n, int *out_fds, int limit, int *out_n_fds) {
  union {
    struct cmsghdr header;
    char room[CMSG_SPACE(MAX_FDS * sizeof(int))];
  } control;
  struct iovec part = {bytes, n};
  struct msghdr m = {.msg_iov = &part,
                     .msg_iovlen = 1,
                     .msg_control = &control,
                     .msg_controllen = sizeof control.room};
  *out_n_fds = 0;
  ssize_t done = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
  for (struct cmsghdr *c = done < 0 ? NULL : CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
      take_fds(c, out_fds, limit, out_n_fds);
    }
  }
  return done;
}
