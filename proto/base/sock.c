/* Unix sockets whose paths may be longer than sockaddr_un. See sock.h. */
#include "proto/base/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 16 };

/* An address, and the directory that has to stay open while it is used (-1: none). */
struct address {
  struct sockaddr_un un;
  int directory;
};

static sp_status address_make(struct address *a, const char *directory, const char *name,
                              struct sp_err *err) {
  *a = (struct address){.un.sun_family = AF_UNIX, .directory = -1};
  int n = snprintf(a->un.sun_path, sizeof a->un.sun_path, "%s/%s", directory, name);
  if (n > 0 && (size_t)n < sizeof a->un.sun_path) {
    return SP_OK;
  }
  a->directory = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (a->directory < 0) {
    return sp_fail_errno(err, "%s", directory);
  }
  n = snprintf(a->un.sun_path, sizeof a->un.sun_path, "/proc/self/fd/%d/%s", a->directory, name);
  if (n <= 0 || (size_t)n >= sizeof a->un.sun_path) {
    close(a->directory);
    return sp_fail(err, SP_EINVAL, "%s: the name of a socket is too long", name);
  }
  return SP_OK;
}

static void address_done(struct address *a) {
  if (a->directory >= 0) {
    close(a->directory);
  }
}

static sp_status open_socket(int *out_fd, struct sp_err *err) {
  *out_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  return *out_fd < 0 ? sp_fail_errno(err, "socket") : SP_OK;
}

/* Nobody can connect between bind and listen, so the mode is there before anybody is let in. */
static sp_status bind_and_listen(int fd, const struct address *a, const char *directory,
                                 const char *name, struct sp_err *err) {
  const struct sockaddr *address = (const struct sockaddr *)(const void *)&a->un;
  if (unlink(a->un.sun_path) != 0 && errno != ENOENT) {
    return sp_fail_errno(err, "%s/%s is there, and cannot be replaced", directory, name);
  }
  if (bind(fd, address, sizeof a->un) != 0 || chmod(a->un.sun_path, 0600) != 0 ||
      listen(fd, BACKLOG) != 0) {
    return sp_fail_errno(err, "listening on %s/%s", directory, name);
  }
  return SP_OK;
}

sp_status sp_sock_listen(const char *directory, const char *name, int *out_fd, struct sp_err *err) {
  struct address a;
  int fd = -1;
  sp_status status = address_make(&a, directory, name, err);
  if (status != SP_OK) {
    return status;
  }
  status = open_socket(&fd, err);
  if (status == SP_OK) {
    status = bind_and_listen(fd, &a, directory, name, err);
  }
  address_done(&a);
  if (status != SP_OK && fd >= 0) {
    close(fd);
  } else {
    *out_fd = fd;
  }
  return status;
}

sp_status sp_sock_connect(const char *directory, const char *name, int *out_fd,
                          struct sp_err *err) {
  struct address a;
  int fd = -1;
  sp_status status = address_make(&a, directory, name, err);
  if (status != SP_OK) {
    return status;
  }
  status = open_socket(&fd, err);
  if (status == SP_OK && connect(fd, (struct sockaddr *)(void *)&a.un, sizeof a.un) != 0) {
    status = errno == ECONNREFUSED
                 ? sp_fail(err, SP_ENOENT, "%s/%s: nobody listens there", directory, name)
                 : sp_fail_errno(err, "%s/%s", directory, name);
  }
  address_done(&a);
  if (status != SP_OK && fd >= 0) {
    close(fd);
  } else {
    *out_fd = fd;
  }
  return status;
}

sp_status sp_sock_peer(int fd, uint32_t *out_uid, struct sp_err *err) {
  struct ucred peer;
  socklen_t n = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) != 0) {
    return sp_fail_errno(err, "the other side's user");
  }
  *out_uid = (uint32_t)peer.uid;
  return SP_OK;
}
