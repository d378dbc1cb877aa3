/* fork and exec of the worker. Descriptors are made close-on-exec and only the child's copies are
 * opened up; a pipe that closes on exec tells the parent whether exec worked. */
#include "client/spawn.h"

#include "proto/base/buf.h"
#include "proto/base/file.h"
#include "proto/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const char worker_name[] = "stoker-worker";

/* directory/stoker-worker if it can be executed; NULL if not, or without memory. */
static char *worker_in(const char *directory) {
  char *path = sp_path_join(directory, worker_name);
  if (path && access(path, X_OK) == 0) {
    return path;
  }
  sp_free(path);
  return NULL;
}

static char *worker_next_to_self(char out_directory[PATH_MAX]) {
  ssize_t n = readlink("/proc/self/exe", out_directory, PATH_MAX - 1);
  if (n <= 0) {
    out_directory[0] = '\0';
    return NULL;
  }
  out_directory[n] = '\0';
  char *slash = strrchr(out_directory, '/');
  *(slash ? slash : out_directory) = '\0';
  return worker_in(out_directory);
}

static char *worker_in_path(void) {
  const char *path = getenv("PATH");
  while (path && *path) {
    size_t n = strcspn(path, ":");
    char *directory = sp_strndup(path, n);
    char *found = directory && n > 0 ? worker_in(directory) : NULL;
    sp_free(directory);
    if (found) {
      return found;
    }
    path += n + (path[n] == ':');
  }
  return NULL;
}

sp_status sc_worker_find(char **out_path, struct sp_err *err) {
  const char *named = getenv("STOKER_WORKER");
  char directory[PATH_MAX];
  char *found;
  if (named && *named) {
    if (access(named, X_OK) != 0) {
      return sp_fail(err, SP_ENOENT, "STOKER_WORKER names %s, which cannot be executed", named);
    }
    found = sp_strdup(named);
    if (!found) {
      return sp_fail(err, SP_ENOMEM, "no memory");
    }
    *out_path = found;
    return SP_OK;
  }
  found = worker_next_to_self(directory);
  if (!found) {
    found = worker_in_path();
  }
  if (!found) {
    return sp_fail(err, SP_ENOENT,
                   "%s is neither in %s nor in PATH: install stoker and stoker-worker together",
                   worker_name, *directory ? directory : "the directory of this program");
  }
  *out_path = found;
  return SP_OK;
}

struct pipes {
  int events[2];
  int out[2];
  int err[2];
  int exec[2];
};

static void pair_close(int fds[2]) {
  for (int i = 0; i < 2; i++) {
    if (fds[i] >= 0) {
      close(fds[i]);
    }
  }
}

static void pipes_close(struct pipes *p) {
  pair_close(p->events);
  pair_close(p->out);
  pair_close(p->err);
  pair_close(p->exec);
}

static sp_status pipes_open(struct pipes *p, struct sp_err *err) {
  *p = (struct pipes){{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p->events) != 0 ||
      pipe2(p->out, O_CLOEXEC) != 0 || pipe2(p->err, O_CLOEXEC) != 0 ||
      pipe2(p->exec, O_CLOEXEC) != 0) {
    sp_status status = sp_fail_errno(err, "cannot make pipes for %s", worker_name);
    pipes_close(p);
    return status;
  }
  return SP_OK;
}

/* Moves fd out of the way of the numbers that the child hands out. */
static int above_low(int fd) {
  return fcntl(fd, F_DUPFD_CLOEXEC, SC_EVENTS_FD + 1);
}

/* In the child: descriptors, group, death signal, exec. Returns only on failure. What this process
 * was given beyond the standard three is not the worker's: it would count against the worker's
 * limit, down to a loader that cannot open the libraries. */
static void child_exec(const struct pipes *p, pid_t parent, const char *path, char *const *argv) {
  int events = above_low(p->events[1]);
  int out = above_low(p->out[1]);
  int err = above_low(p->err[1]);
  int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  sigset_t none;
  sigemptyset(&none);
  signal(SIGPIPE, SIG_DFL);
  if (events < 0 || out < 0 || err < 0 || null < 0 || setpgid(0, 0) != 0 ||
      prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || getppid() != parent ||
      dup2(null, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
      dup2(err, STDERR_FILENO) < 0 || dup2(events, SC_EVENTS_FD) < 0 ||
      close_range(SC_EVENTS_FD + 1, ~0U, CLOSE_RANGE_CLOEXEC) != 0 ||
      sigprocmask(SIG_SETMASK, &none, NULL) != 0) {
    return;
  }
  execv(path, argv);
}

/* Waits for the exec pipe: closed means that exec worked, a number is errno. */
static sp_status exec_result(int fd, const char *path, pid_t pid, struct sp_err *err) {
  int failure = 0;
  ssize_t n;
  do {
    n = read(fd, &failure, sizeof failure);
  } while (n < 0 && errno == EINTR);
  if (n == 0) {
    return SP_OK;
  }
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
  }
  errno = n == (ssize_t)sizeof failure ? failure : EIO;
  return sp_fail_errno(err, "cannot start %s", path);
}

static int take_read_end(int fds[2]) {
  int fd = fds[0];
  fds[0] = -1;
  (void)fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
}

sp_status sc_spawn(const char *path, char *const *argv, struct sc_child *out_child,
                   struct sp_err *err) {
  struct pipes p;
  sp_status status = pipes_open(&p, err);
  if (status != SP_OK) {
    return status;
  }
  pid_t parent = getpid();
  pid_t pid = fork();
  if (pid < 0) {
    status = sp_fail_errno(err, "cannot start %s", path);
    pipes_close(&p);
    return status;
  }
  if (pid == 0) {
    int exec_fd = above_low(p.exec[1]);
    if (exec_fd >= 0) {
      child_exec(&p, parent, path, argv);
    }
    int failure = errno;
    (void)!write(exec_fd >= 0 ? exec_fd : p.exec[1], &failure, sizeof failure);
    _exit(127);
  }
  (void)setpgid(pid, pid); /* both sides set it: whoever is first */
  close(p.exec[1]);
  p.exec[1] = -1;
  status = exec_result(p.exec[0], path, pid, err);
  if (status == SP_OK) {
    *out_child = (struct sc_child){.pid = pid,
                                   .events_fd = take_read_end(p.events),
                                   .out_fd = take_read_end(p.out),
                                   .err_fd = take_read_end(p.err)};
  }
  pipes_close(&p);
  return status;
}
