/* Processes of a run and their streams. See driver.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/fault.h"
#include "proto/base/file.h"
#include "proto/base/mem.h"
#include "proto/base/strutil.h"
#include "worker/supervise/driver.h"

enum { STREAM_FD = 3, ZYGOTE_WORDS = 7 };

static void proc_failed(struct sw_driver *d, uint32_t proc, const struct sp_err *err) {
  d->zygote_spoke = d->zygote_spoke || proc == d->zygote_proc;
  sw_driver_event(d, (struct sw_event){.kind = SW_EV_FAILED,
                                       .proc = proc,
                                       .status = err->status ? err->status : SP_EIO,
                                       .text = err->text});
}

static struct sw_stream *find(struct sw_driver *d, uint32_t proc) {
  for (struct sw_stream *s = d->streams; s; s = s->next) {
    if (s->proc == proc) {
      return s;
    }
  }
  return NULL;
}

/* ---- streams */

static void on_closed(uv_handle_t *h) {
  struct sw_stream *s = (struct sw_stream *)(void *)h;
  close(s->fd);
  sp_event_reader_free(s->reader);
  sp_free(s);
}

static void close_stream(struct sw_stream *s) {
  struct sw_stream **at = &s->d->streams;
  while (*at && *at != s) {
    at = &(*at)->next;
  }
  if (*at) {
    *at = s->next;
  }
  uv_poll_stop(&s->poll);
  uv_close((uv_handle_t *)&s->poll, on_closed);
}

void sw_driver_close_streams(struct sw_driver *d) {
  while (d->streams) {
    close_stream(d->streams);
  }
}

/* What the client sees of a rank; its errors and results are the supervisor's to word. */
static void forward(struct sw_driver *d, const struct sp_event *ev) {
  if (ev->kind != SP_EVENT_ERROR && ev->kind != SP_EVENT_RESULT) {
    sw_emit_event(d->client, ev);
  }
}

static void on_pid(struct sw_stream *s, int64_t pid) {
  s->pid = pid;
  sw_driver_event(s->d, (struct sw_event){.kind = SW_EV_PID, .proc = s->proc, .pid = pid});
}

static void on_forked(struct sw_driver *d, const struct sp_forked *f) {
  if (d->n_forks == 0) {
    return;
  }
  uint32_t proc = d->forks[0];
  struct sw_stream *s = find(d, proc);
  struct sp_err err = {.status = SP_EIO};
  memmove(d->forks, d->forks + 1, sizeof d->forks[0] * (size_t)--d->n_forks);
  if (!f->pid) {
    snprintf(err.text, sizeof err.text, "%.1000s", f->error);
    proc_failed(d, proc, &err);
  } else if (s) {
    on_pid(s, f->pid);
  } else {
    sw_driver_event(d, (struct sw_event){.kind = SW_EV_PID, .proc = proc, .pid = f->pid});
  }
}

static void on_ready(struct sw_stream *s, const struct sp_ready *r) {
  struct sw_driver *d = s->d;
  struct sp_err err = {0};
  if (!d->has_books && sw_driver_on_ready(d, r, &err)) {
    proc_failed(d, s->proc, &err);
    return;
  }
  sw_driver_event(d, (struct sw_event){.kind = SW_EV_UP, .proc = s->proc});
}

static void on_receipt(struct sw_stream *s, const struct sp_receipt *r) {
  struct sp_err err = {0};
  if (r->n_bytes != sizeof s->d->receipt) {
    sp_fail(&err, SP_EINTERNAL, "a receipt of %zu bytes", r->n_bytes);
    proc_failed(s->d, s->proc, &err);
    return;
  }
  memcpy(&s->d->receipt, r->blob, sizeof s->d->receipt);
  sw_driver_event(s->d, (struct sw_event){.kind = SW_EV_RECEIPT, .proc = s->proc});
}

/* The first two bring standard output and standard error; later ones only wake. */
static void on_hello(struct sw_stream *s, const struct sp_rank_hello *h) {
  int fd = sp_supervise_take_fd(s->reader);
  if (fd >= 0) {
    sw_driver_output(s->d, fd, s->n_hellos == 0 ? STDOUT_FILENO : STDERR_FILENO, s->rank, h->pid);
    s->n_hellos++;
  }
  on_pid(s, h->pid);
}

static void on_message(struct sw_stream *s, const struct sp_supervise *m) {
  struct sw_driver *d = s->d;
  struct sw_event e = {.proc = s->proc};
  switch (m->kind) {
    case SP_SUPERVISE_READY:
      on_ready(s, &m->u.ready);
      return;
    case SP_SUPERVISE_FORKED:
      on_forked(d, &m->u.forked);
      return;
    case SP_SUPERVISE_HELLO:
      on_hello(s, &m->u.hello);
      return;
    case SP_SUPERVISE_JOINED:
      e.kind = SW_EV_READY;
      e.generation = (uint32_t)m->u.joined.generation;
      break;
    case SP_SUPERVISE_LEFT:
      e.kind = SW_EV_LEFT;
      e.generation = (uint32_t)m->u.left.generation;
      break;
    case SP_SUPERVISE_FINISHED:
      (void)sw_driver_look(d);
      d->outcome.stop = m->u.finished.stop;
      e.kind = SW_EV_FINISHED;
      break;
    case SP_SUPERVISE_FAILED:
      d->zygote_spoke = d->zygote_spoke || s->role == SW_ROLE_ZYGOTE;
      snprintf(s->words, sizeof s->words, "%.*s", (int)sizeof s->words - 1, m->u.failed.text);
      e.kind = SW_EV_FAILED;
      e.status = m->u.failed.status;
      e.text = m->u.failed.text;
      break;
    case SP_SUPERVISE_RECEIPT:
      on_receipt(s, &m->u.receipt);
      return;
    default:
      return;
  }
  sw_driver_event(d, e);
}

/* False: nothing more will come. */
static bool read_stream(struct sw_stream *s, struct sp_err *err) {
  bool eof = false;
  if (sp_supervise_fill(s->reader, s->fd, &eof, err)) {
    return false;
  }
  for (;;) {
    const struct sp_supervise *m;
    const struct sp_event *ev;
    if (sp_supervise_next(s->reader, &m, &ev, err)) {
      return false;
    }
    if (m) {
      on_message(s, m);
    } else if (ev) {
      forward(s->d, ev);
    } else {
      return !eof;
    }
  }
}

static void on_readable(uv_poll_t *p, int status, int events) {
  struct sw_stream *s = (struct sw_stream *)p;
  struct sp_err err = {0};
  (void)events;
  if (status == 0 && read_stream(s, &err)) {
    return;
  }
  if (err.status) {
    proc_failed(s->d, s->proc, &err);
  }
  sw_driver_event(s->d, (struct sw_event){.kind = SW_EV_EOF, .proc = s->proc});
  close_stream(s);
}

/* A socket pair: our end is a stream, the other one is returned. -1: err says why. */
static int open_stream(struct sw_driver *d, const struct sw_action *a, sw_role role,
                       struct sp_err *err) {
  int fds[2];
  int fault = SP_FAULT("supervisor.socket");
  struct sw_stream *s = sp_alloc(sizeof *s);
  sp_event_reader *reader = sp_event_reader_new();
  if (!s || !reader || fault || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
    errno = fault ? fault : errno;
    sp_fail_errno(err, "a stream to a new process");
    sp_event_reader_free(reader);
    sp_free(s);
    return -1;
  }
  (void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
  *s = (struct sw_stream){.d = d,
                          .next = d->streams,
                          .role = role,
                          .proc = a->proc,
                          .rank = a->rank,
                          .fd = fds[0],
                          .reader = reader,
                          .order = a->order};
  d->streams = s;
  uv_poll_init(&d->loop, &s->poll, fds[0]);
  uv_poll_start(&s->poll, UV_READABLE | UV_DISCONNECT, on_readable);
  return fds[1];
}

static void tell(struct sw_stream *s, struct sp_supervise m, int passed) {
  /* Who is gone says so by end of file. */
  (void)!sp_supervise_send(s->fd, &m, passed, NULL);
}

/* ---- the zygote */

/* execv takes char *, and changes nothing. */
static char *unconst(const char *s) {
  return (char *)(uintptr_t)s;
}

static _Noreturn void exec_zygote(struct sw_driver *d, int fd, pid_t parent, char **argv) {
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent || dup2(fd, STREAM_FD) < 0) {
    _exit(127);
  }
  (void)fcntl(STREAM_FD, F_SETFD, 0);
  sigset_t stops;
  sigemptyset(&stops);
  sigaddset(&stops, SIGTERM);
  sigaddset(&stops, SIGINT);
  sigprocmask(SIG_BLOCK, &stops, NULL);
  (void)SP_FAULT("supervisor.exec");
  execv("/proc/self/exe", argv);
  (void)d;
  _exit(127);
}

static char **zygote_argv(struct sw_driver *d, char pid[24], char flags[4]) {
  char **argv = sp_alloc_array((size_t)d->n_args + ZYGOTE_WORDS + 1, sizeof *argv);
  snprintf(pid, 24, "%d", (int)getpid());
  snprintf(flags, 4, "%s%s", d->n_zygotes > 1 ? "a" : "-",
           *d->run.resumed && !sw_publish_goes_on(&d->publish) ? "f" : "");
  if (argv) {
    const char *words[ZYGOTE_WORDS] = {"stoker-worker", "zygote",       d->run.slots_dir, pid,
                                       flags,           d->run.resumed, d->job_file};
    for (int i = 0; i < ZYGOTE_WORDS; i++) {
      argv[i] = unconst(words[i]);
    }
    memcpy(argv + ZYGOTE_WORDS, d->args, sizeof *argv * (size_t)d->n_args);
  }
  return argv;
}

void sw_driver_start_zygote(struct sw_driver *d, const struct sw_action *a) {
  struct sp_err err = {0};
  char pid_text[24], flags[4];
  pid_t self = getpid();
  d->n_zygotes++;
  d->n_forks = 0; /* what the old one was asked for and did not answer has failed with it */
  char **argv = zygote_argv(d, pid_text, flags);
  int fd = argv ? open_stream(d, a, SW_ROLE_ZYGOTE, &err) : -1;
  fflush(NULL);
  pid_t pid = fd >= 0 ? fork() : -1;
  if (pid == 0) {
    exec_zygote(d, fd, self, argv);
  }
  if (pid < 0 && !err.status) {
    sp_fail_errno(&err, "the zygote cannot be started");
  }
  if (fd >= 0) {
    close(fd);
  }
  sp_free(argv);
  d->zygote_proc = a->proc;
  if (pid < 0) {
    proc_failed(d, a->proc, &err);
    return;
  }
  d->zygote_pid = pid;
  struct sw_stream *s = find(d, a->proc);
  if (s) {
    on_pid(s, pid);
  }
}

/* ---- ranks and persisters */

static struct sp_supervise join_of(const struct sw_driver *d, const struct sw_action *a) {
  return (struct sp_supervise){.kind = SP_SUPERVISE_JOIN,
                               .u.join = {.generation = a->generation,
                                          .rank = a->rank > 0 ? a->rank : 0,
                                          .n_ranks = a->n_ranks > 0 ? a->n_ranks : 1,
                                          .run_dir = d->run.dir,
                                          .ckpt_dir = d->run.ckpt_dir,
                                          .resumed_from = d->run.resumed}};
}

void sw_driver_fork(struct sw_driver *d, const struct sw_action *a) {
  struct sp_err err = {0};
  bool is_persister = a->kind == SW_DO_FORK_PERSISTER;
  sw_role role = is_persister                  ? SW_ROLE_PERSISTER
                 : a->kind == SW_DO_FORK_SPARE ? SW_ROLE_SPARE
                                               : SW_ROLE_RANK;
  struct sw_stream *zygote = find(d, d->zygote_proc);
  int fd = zygote && d->n_forks < SW_FORKS_MAX ? open_stream(d, a, role, &err) : -1;
  if (fd < 0) {
    if (!err.status) {
      sp_fail(&err, SP_EIO, "there is no zygote to fork it");
    }
    proc_failed(d, a->proc, &err);
    return;
  }
  (void)SP_FAULT("supervisor.fork");
  d->forks[d->n_forks++] = a->proc;
  tell(zygote,
       (struct sp_supervise){.kind = SP_SUPERVISE_FORK,
                             .u.fork = {.rank = is_persister ? -1 : a->rank,
                                        .is_persister = is_persister,
                                        .order_seq = (int64_t)a->order,
                                        .slot = is_persister ? a->slot : -1}},
       fd);
  close(fd);
  if (role != SW_ROLE_SPARE) {
    sw_driver_join(d, a);
  }
}

void sw_driver_join(struct sw_driver *d, const struct sw_action *a) {
  struct sw_stream *s = find(d, a->proc);
  if (s) {
    s->role = s->role == SW_ROLE_SPARE ? SW_ROLE_RANK : s->role;
    s->rank = a->rank;
    tell(s, join_of(d, a), -1);
  }
}

void sw_driver_open(struct sw_driver *d, const struct sw_action *a) {
  atomic_store_explicit(&d->books.group->stop, 0, memory_order_relaxed);
  (void)SP_FAULT("supervisor.open");
  stk_group_open(d->books.group, a->generation, (uint32_t)a->n_ranks);
  sw_watch_open(&d->watch, a->n_ranks);
  for (struct sw_stream *s = d->streams; s; s = s->next) {
    if (s->role == SW_ROLE_RANK) {
      tell(s, (struct sp_supervise){.kind = SP_SUPERVISE_OPEN, .u.open = {a->generation}}, -1);
    }
  }
}

void sw_driver_quit(struct sw_driver *d, const struct sw_action *a) {
  struct sw_stream *s = find(d, a->proc);
  if (s) {
    tell(s,
         (struct sp_supervise){.kind = s->role == SW_ROLE_ZYGOTE ? SP_SUPERVISE_QUIT
                                                                 : SP_SUPERVISE_LEAVE},
         -1);
  }
}

/* ---- ends */

/* Children that nobody has named: their zygote died between fork and answer. */
void sw_driver_kill_unknown(struct sw_driver *d) {
  char path[64], *text = NULL, *rest = NULL;
  size_t n;
  snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
  if (sp_file_read(path, 1 << 16, &text, &n, NULL)) {
    return;
  }
  for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
    int64_t pid = 0;
    bool known = sp_parse_i64(word, &pid) != SP_OK || pid == d->zygote_pid;
    for (struct sw_stream *s = d->streams; s; s = s->next) {
      known = known || s->pid == pid;
    }
    if (!known && pid > 1) {
      (void)kill((pid_t)pid, SIGKILL);
    }
  }
  sp_free(text);
}

/* How often the kernel killed for memory in this cgroup; -1: not known. */
static int64_t count_oom(void) {
  char *text = NULL, path[PATH_MAX] = "";
  size_t n;
  int64_t count = -1;
  if (sp_file_read("/proc/self/cgroup", 1 << 16, &text, &n, NULL) == SP_OK) {
    const char *own = strstr(text, "0::");
    if (own) {
      snprintf(path, sizeof path, "/sys/fs/cgroup%.*s/memory.events", (int)strcspn(own + 3, "\n"),
               own + 3);
    }
    sp_free(text);
  }
  if (*path && sp_file_read(path, 1 << 16, &text, &n, NULL) == SP_OK) {
    const char *line = strstr(text, "oom_kill ");
    count = line ? strtoll(line + 9, NULL, 10) : -1;
    sp_free(text);
  }
  return count;
}

/* What the process said of its end: the error that it reported, else what it printed last. */
static const char *words_of(struct sw_driver *d, int64_t pid) {
  const char *printed = sw_driver_words(d, pid);
  for (struct sw_stream *s = d->streams; s; s = s->next) {
    if (s->pid == pid && *s->words) {
      return s->words;
    }
  }
  return printed;
}

void sw_driver_reap(struct sw_driver *d) {
  int status;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    bool oom = false;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
      int64_t kills = count_oom();
      oom = kills > d->oom_kills;
      d->oom_kills = kills;
    }
    sw_driver_event(d, (struct sw_event){.kind = SW_EV_EXIT,
                                         .pid = pid,
                                         .wait_status = status,
                                         .oom = oom,
                                         .text = words_of(d, pid)});
  }
}
