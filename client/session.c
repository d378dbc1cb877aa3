/* The loop of `stoker` around one worker: four descriptors in one poll, all of them non-blocking.
 *
 * Life: spawn; until the child is reaped, show what arrives; then read what is left (a grandchild
 * may hold the pipes open, so that end of file is not waited for); then judge. The order of streams
 * on the screen is the order in which they are read: events first.
 */
#include "client/session.h"

#include "client/death.h"
#include "client/signals.h"
#include "client/spawn.h"
#include "client/stop.h"
#include "client/tail.h"
#include "client/terminal.h"
#include "client/view.h"
#include "proto/base/file.h"
#include "proto/base/mem.h"
#include "proto/wire/event_io.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LAST_WORDS = 12 };

struct session {
  const struct sc_session_options *o;
  int fds[SC_STREAMS]; /* of the view's streams */
  struct sc_child child;
  struct sc_signals signals;
  struct sc_view view;
  struct sc_tail tail; /* of the worker's standard error */
  sp_event_reader *reader;
  enum sc_stop_state stop;
  bool protocol_failed;
  bool reaped;
  int wait_status;
};

static void session_stop(struct session *s, int signal_number);

static void session_write(void *ctx, sc_stream stream, const char *bytes, size_t n) {
  struct session *s = ctx;
  if (s->fds[stream] >= 0 &&
      sp_write_all(s->fds[stream], bytes, n, "standard output", NULL) != SP_OK) {
    s->fds[stream] = -1; /* nobody reads it any more: as if Ctrl-C was pressed, once */
    session_stop(s, SIGHUP);
  }
}

static void session_stop(struct session *s, int signal_number) {
  if (s->reaped || s->child.pid <= 0) {
    return;
  }
  switch (sc_stop_signal(&s->stop, signal_number, s->o->graceful)) {
    case SC_STOP_DO_ASK:
      (void)kill(s->child.pid, SIGTERM);
      sc_view_notice(&s->view,
                     "stopping at the next step with a checkpoint; "
                     "Ctrl-C again stops at once");
      return;
    case SC_STOP_DO_TELL:
      if (strcmp(s->o->verb, "fit") != 0) { /* one process, nothing to take with it */
        s->stop = SC_STOP_KILLED;
        (void)kill(-s->child.pid, SIGKILL);
        return;
      }
      (void)kill(s->child.pid, SIGINT); /* not the same signal again: two may become one */
      sc_view_notice(&s->view, "ending at once; Ctrl-C again kills");
      return;
    case SC_STOP_DO_KILL:
      (void)kill(-s->child.pid, SIGKILL);
      return;
    case SC_STOP_DO_NOTHING:
      return;
  }
}

/* Ctrl-Z: worker and command stop together, and go on together. */
static void session_suspend(struct session *s) {
  sc_view_end(&s->view);
  (void)kill(-s->child.pid, SIGSTOP);
  (void)raise(SIGSTOP);
  (void)kill(-s->child.pid, SIGCONT);
}

static void session_signal(struct session *s, int signal_number) {
  switch (signal_number) {
    case SIGCHLD: {
      int status = 0;
      if (waitpid(s->child.pid, &status, WNOHANG) == s->child.pid) {
        s->reaped = true;
        s->wait_status = status;
      }
      return;
    }
    case SIGWINCH:
      sc_view_resize(&s->view, sc_terminal_width(s->fds[SC_OUT]));
      return;
    case SIGTSTP:
      session_suspend(s);
      return;
    default:
      session_stop(s, signal_number);
  }
}

static void protocol_error(struct session *s, const struct sp_err *err) {
  s->protocol_failed = true;
  sc_view_error(&s->view, err->text);
  if (!s->reaped) {
    (void)kill(-s->child.pid, SIGKILL);
  }
}

/* Reads and shows events until none is left. False at the end of the stream. */
static bool read_events(struct session *s) {
  for (;;) {
    const struct sp_event *e = NULL;
    struct sp_err err;
    sp_status status = sp_event_reader_next(s->reader, &e, &err);
    if (status != SP_OK) {
      protocol_error(s, &err);
      return false;
    }
    if (e) {
      sc_view_event(&s->view, e);
      continue;
    }
    struct pollfd p = {.fd = s->child.events_fd, .events = POLLIN};
    if (poll(&p, 1, 0) <= 0) {
      return true;
    }
    bool eof = false;
    status = sp_event_reader_fill(s->reader, s->child.events_fd, &eof, &err);
    if (status != SP_OK) {
      protocol_error(s, &err);
    }
    if (status != SP_OK || eof) {
      return false;
    }
  }
}

/* Passes on what the pipe holds. False at its end. */
static bool read_pipe(struct session *s, int fd, sc_stream stream) {
  char bytes[16384];
  for (;;) {
    ssize_t n = read(fd, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      return n < 0 && errno == EAGAIN;
    }
    if (stream == SC_ERR) {
      sc_tail_add(&s->tail, bytes, (size_t)n);
    }
    sc_view_raw(&s->view, stream, bytes, (size_t)n);
  }
}

static void read_signals(struct session *s) {
  for (int signal_number; (signal_number = sc_signals_next(&s->signals)) != 0;) {
    session_signal(s, signal_number);
  }
}

/* nanoseconds to poll's milliseconds, rounded up */
static int poll_timeout(int64_t ns) {
  return ns < 0 ? -1 : ns > INT64_C(3600000000000) ? 3600000 : (int)((ns + 999999) / 1000000);
}

static void session_loop(struct session *s) {
  const struct sp_clock *clock = sp_clock_system();
  struct pollfd p[] = {{.fd = s->child.events_fd, .events = POLLIN},
                       {.fd = s->child.out_fd, .events = POLLIN},
                       {.fd = s->child.err_fd, .events = POLLIN},
                       {.fd = s->signals.fd, .events = POLLIN}};
  while (!s->reaped) {
    int timeout = poll_timeout(sc_view_tick(&s->view, sp_mono_now(clock)));
    if (poll(p, sizeof p / sizeof *p, timeout) < 0 && errno != EINTR) {
      break;
    }
    if (p[0].revents && !read_events(s)) {
      p[0].fd = -1;
    }
    if (p[1].revents && !read_pipe(s, s->child.out_fd, SC_DATA)) {
      p[1].fd = -1;
    }
    if (p[2].revents && !read_pipe(s, s->child.err_fd, SC_ERR)) {
      p[2].fd = -1;
    }
    read_signals(s);
  }
  if (!s->protocol_failed) {
    (void)read_events(s);
  }
  (void)read_pipe(s, s->child.out_fd, SC_DATA);
  (void)read_pipe(s, s->child.err_fd, SC_ERR);
}

/* The death report: what happened, where the job stands, its last words. */
static enum sp_exit report_death(struct session *s) {
  struct sc_death d = {.wait_status = s->wait_status,
                       .ran = s->view.ran,
                       .killed_here = s->stop == SC_STOP_KILLED || s->protocol_failed,
                       .stopped_here = s->stop == SC_STOP_ASKED || s->stop == SC_STOP_TOLD};
  struct sp_buf b;
  sp_buf_init(&b, 1 << 16);
  sc_death_put(&d, &b);
  if (s->view.ran) {
    const char *path = s->view.checkpoint;
    sp_buf_printf(&b, "\nnewest checkpoint: %s", *path ? path : "none yet");
    if (strcmp(s->o->verb, "fit") == 0 && !s->protocol_failed) {
      sp_buf_printf(&b, "\ngo on at the newest committed step with: stoker fit %s --resume",
                    s->o->args[0] ? s->o->args[0] : "JOB");
    } else if (*path) {
      sp_buf_printf(&b, "\ngo on with: stoker %s %s --ckpt_path %s", s->o->verb,
                    s->o->args[0] ? s->o->args[0] : "JOB", path);
    }
  }
  if (!d.killed_here && s->tail.n > 0) {
    sp_buf_puts(&b, "\nits last words:\n");
    sc_tail_put(&s->tail, &b, LAST_WORDS, "  ");
    sp_buf_truncate(&b, b.length > 0 ? b.length - 1 : 0);
  }
  if (d.killed_here && s->o->graceful) {
    sc_view_notice(&s->view, sp_buf_text(&b));
  } else if (!d.killed_here) {
    sc_view_error(&s->view, sp_buf_text(&b));
  }
  sp_buf_free(&b);
  return s->protocol_failed ? SP_EXIT_FAILED : sc_death_exit(&d);
}

static enum sp_exit session_judge(struct session *s) {
  sc_view_end(&s->view);
  bool orderly = WIFEXITED(s->wait_status) && s->view.have_result;
  return orderly && !s->protocol_failed ? s->view.exit : report_death(s);
}

static void session_view(struct session *s) {
  int out = s->o->text_on_stderr ? STDERR_FILENO : STDOUT_FILENO;
  s->fds[SC_DATA] = s->o->data_fd;
  s->fds[SC_OUT] = out;
  s->fds[SC_ERR] = STDERR_FILENO;
  struct sc_view_options v = {.sink = session_write,
                              .ctx = s,
                              .bar = sc_terminal_can_redraw(out),
                              .colour = sc_terminal_colour(STDERR_FILENO)};
  for (int i = 0; i < SC_STREAMS; i++) {
    v.terminal[i] = v.bar && sc_terminal_same(s->fds[i], out);
  }
  sc_view_init(&s->view, &v, sc_terminal_width(out));
}

/* execv takes char *, and changes nothing. */
static char *unconst(const char *s) {
  return (char *)(uintptr_t)s;
}

/* "stoker-worker run VERB ARGS..."; released with sp_free. */
static char **worker_argv(const struct sc_session_options *o) {
  size_t n = 0;
  while (o->args[n]) {
    n++;
  }
  char **argv = sp_alloc_array(n + 4, sizeof *argv);
  if (argv) {
    argv[0] = unconst("stoker-worker");
    argv[1] = unconst("run");
    argv[2] = unconst(o->verb);
    memcpy(argv + 3, o->args, n * sizeof *argv);
  }
  return argv;
}

static sp_status session_start(struct session *s, struct sp_err *err) {
  char *path;
  sp_status status = sc_worker_find(&path, err);
  if (status != SP_OK) {
    return status;
  }
  char **argv = worker_argv(s->o);
  status = argv && s->reader ? sc_spawn(path, argv, &s->child, err)
                             : sp_fail(err, SP_ENOMEM, "no memory");
  sp_free(argv);
  sp_free(path);
  return status;
}

struct sc_session_result sc_session_run(const struct sc_session_options *o) {
  struct session s = {.o = o};
  struct sp_err err;
  struct sc_session_result result = {.exit = SP_EXIT_FAILED};
  session_view(&s);
  sp_status status = sc_signals_open(&s.signals, &err);
  if (status != SP_OK) {
    sc_view_error(&s.view, err.text);
    return result;
  }
  s.reader = sp_event_reader_new();
  status = session_start(&s, &err);
  if (status != SP_OK) {
    sc_view_error(&s.view, err.text);
    result.exit = sp_exit_of_status(status, false);
  } else {
    session_loop(&s);
    result.exit = session_judge(&s);
    result.n_data_bytes = s.view.n_data_bytes;
    close(s.child.events_fd);
    close(s.child.out_fd);
    close(s.child.err_fd);
  }
  sp_event_reader_free(s.reader);
  sc_signals_close(&s.signals);
  return result;
}

static void print_to_fd(void *ctx, sc_stream stream, const char *bytes, size_t n) {
  (void)ctx;
  (void)!sp_write_all(stream == SC_ERR ? STDERR_FILENO : STDOUT_FILENO, bytes, n, "output", NULL);
}

void sc_print_error(const char *text) {
  struct sc_view_options o = {.sink = print_to_fd, .colour = sc_terminal_colour(STDERR_FILENO)};
  struct sc_view v;
  sc_view_init(&v, &o, 80);
  sc_view_error(&v, text);
}
