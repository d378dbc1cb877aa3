/* Standard output and error of ranks: shown as they come, and kept in bounded files. Who is shown
 * them may stand still: what is not taken waits, and beyond a limit is left out. See driver.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/file.h"
#include "proto/base/mem.h"
#include "proto/wire/fd_io.h"
#include "worker/supervise/driver.h"

enum { READ_BYTES = 16384, LOG_BYTES = 1 << 20, SHOWN_BYTES = 4 << 20 };

/* Two files of a rank are kept: the present one and the one before it. */
static int open_log(const struct sw_driver *d, int32_t rank, size_t more) {
  char path[PATH_MAX + 64], before[PATH_MAX + 72];
  struct stat st;
  if (!*d->run.dir) {
    return -1;
  }
  snprintf(path, sizeof path, "%s/ranks", d->run.dir);
  (void)mkdir(path, 0777);
  snprintf(path, sizeof path, "%s/ranks/rank-%d.log", d->run.dir, (int)rank);
  if (stat(path, &st) == 0 && st.st_size + (off_t)more > LOG_BYTES) {
    snprintf(before, sizeof before, "%s.1", path);
    (void)rename(path, before);
  }
  return open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0666);
}

/* A log that cannot be written loses what is in it, not the run. */
static void keep(const struct sw_output *o, const char *bytes, size_t n) {
  int fd = open_log(o->d, o->rank, n);
  if (fd >= 0) {
    (void)!sp_write_all(fd, bytes, n, "a rank's log", NULL);
    close(fd);
  }
}

static void remember(struct sw_output *o, const char *bytes, size_t n) {
  size_t room = sizeof o->words - 1, have = strlen(o->words);
  if (n >= room) {
    memcpy(o->words, bytes + n - room, room);
    o->words[room] = '\0';
    return;
  }
  if (have + n > room) {
    memmove(o->words, o->words + (have + n - room), room - n + 1);
    have = room - n;
  }
  memcpy(o->words + have, bytes, n);
  o->words[have + n] = '\0';
}

/* ---- showing */

static void note_left_out(struct sw_driver *d, struct sw_shown *s) {
  if (s->left_out > 0) {
    sp_buf_printf(&s->waiting,
                  "[%lld bytes of output were not shown; the newest are in %s/ranks]\n",
                  (long long)s->left_out, d->run.dir);
    s->left_out = 0;
  }
}

static void show_waiting(struct sw_driver *d, int to) {
  struct sw_shown *s = &d->shown[to == STDERR_FILENO];
  size_t done = 0;
  ssize_t n = 0;
  while (done < s->waiting.length && n >= 0) {
    n = sp_fd_write_now(to, s->waiting.data + done, s->waiting.length - done);
    done += n > 0 ? (size_t)n : 0;
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
      done = s->waiting.length; /* nobody will ever read it */
    }
  }
  sp_buf_consume(&s->waiting, done);
  if (s->waiting.length == 0 && s->left_out > 0) {
    sp_buf_clear(&s->waiting);
    note_left_out(d, s);
  }
}

static void show(struct sw_driver *d, int to, const char *bytes, size_t n) {
  struct sw_shown *s = &d->shown[to == STDERR_FILENO];
  if (s->waiting.limit == 0) {
    sp_buf_init(&s->waiting, SHOWN_BYTES + 2 * PATH_MAX);
  }
  if (s->left_out > 0 || s->waiting.failure || s->waiting.length + n > SHOWN_BYTES) {
    s->left_out += (int64_t)n;
  } else {
    sp_buf_append(&s->waiting, bytes, n);
  }
  show_waiting(d, to);
}

void sw_driver_show(struct sw_driver *d) {
  show_waiting(d, STDOUT_FILENO);
  show_waiting(d, STDERR_FILENO);
}

void sw_driver_show_rest(struct sw_driver *d) {
  for (int to = STDOUT_FILENO; to <= STDERR_FILENO; to++) {
    struct sw_shown *s = &d->shown[to == STDERR_FILENO];
    note_left_out(d, s);
    (void)!sp_write_all(to, sp_buf_text(&s->waiting), s->waiting.length, "output", NULL);
    sp_buf_free(&s->waiting);
  }
}

/* ---- reading */

/* Reads what is there; false at the end. */
static bool drain(struct sw_output *o) {
  char bytes[READ_BYTES];
  for (;;) {
    ssize_t n = read(o->fd, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      return n < 0 && errno == EAGAIN;
    }
    show(o->d, o->to, bytes, (size_t)n);
    keep(o, bytes, (size_t)n);
    if (o->to == STDERR_FILENO) {
      remember(o, bytes, (size_t)n);
    }
  }
}

static void on_closed(uv_handle_t *h) {
  struct sw_output *o = (struct sw_output *)(void *)h;
  close(o->fd);
  sp_free(o);
}

static void close_output(struct sw_output *o) {
  struct sw_output **at = &o->d->outputs;
  while (*at && *at != o) {
    at = &(*at)->next;
  }
  if (*at) {
    *at = o->next;
  }
  uv_poll_stop(&o->poll);
  uv_close((uv_handle_t *)&o->poll, on_closed);
}

static void on_readable(uv_poll_t *p, int status, int events) {
  struct sw_output *o = (struct sw_output *)p;
  (void)events;
  bool over = status != 0 || !drain(o);
  if (over && *o->words) {
    uv_poll_stop(p); /* last words wait for the death that they explain */
  } else if (over) {
    close_output(o);
  }
}

void sw_driver_output(struct sw_driver *d, int fd, int to, int32_t rank, int64_t pid) {
  struct sw_output *o = sp_alloc(sizeof *o);
  if (!o) {
    close(fd);
    return;
  }
  *o = (struct sw_output){.d = d, .next = d->outputs, .fd = fd, .to = to, .rank = rank, .pid = pid};
  (void)fcntl(fd, F_SETFL, O_NONBLOCK);
  d->outputs = o;
  uv_poll_init(&d->loop, &o->poll, fd);
  uv_poll_start(&o->poll, UV_READABLE | UV_DISCONNECT, on_readable);
}

const char *sw_driver_words(struct sw_driver *d, int64_t pid) {
  const char *words = NULL;
  for (struct sw_output *o = d->outputs, *next; o; o = next) {
    next = o->next;
    if (o->pid != pid) {
      continue;
    }
    (void)drain(o);
    if (*o->words) {
      snprintf(d->words, sizeof d->words, "%s", o->words);
      words = d->words;
    }
    close_output(o);
  }
  return words;
}

void sw_driver_close_outputs(struct sw_driver *d) {
  while (d->outputs) {
    (void)drain(d->outputs);
    close_output(d->outputs);
  }
}
