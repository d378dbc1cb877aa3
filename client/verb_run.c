/* `stoker events` and `stoker show`: what a run's directory says, without a worker. */
#include "client/history.h"
#include "client/session.h"
#include "client/verb.h"
#include "proto/base/file.h"
#include "proto/base/mem.h"
#include "proto/wire/control.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { STATUS_MS = 2000 };

static const struct timespec follow_every = {.tv_nsec = 200 * 1000 * 1000};

struct options {
  const char *run;
  bool follow;
  bool json;
};

/* Fills the options; false after printing what is wrong. */
static bool take_options(const struct sc_verb *verb, char *const *args, bool may_follow,
                         struct options *out) {
  *out = (struct options){.json = sc_args_want_json(args)};
  for (; *args; args++) {
    if (strcmp(*args, "-o") == 0 && args[1] && strcmp(args[1], "json") == 0) {
      args++;
    } else if (strcmp(*args, "-ojson") == 0 || strcmp(*args, "--output=json") == 0) {
      continue;
    } else if (may_follow && (strcmp(*args, "-f") == 0 || strcmp(*args, "--follow") == 0)) {
      out->follow = true;
    } else if (**args == '-' || out->run) {
      sc_usage_error("stoker %s: \"%s\" is not understood; usage: stoker %s %s", verb->name, *args,
                     verb->name, verb->args);
      return false;
    } else {
      out->run = *args;
    }
  }
  if (!out->run) {
    sc_usage_error("stoker %s: which run? usage: stoker %s %s", verb->name, verb->name, verb->args);
  }
  return out->run != NULL;
}

static int fail(const struct sp_err *err) {
  sc_print_error(err->text);
  return (int)sp_exit_of_status(err->status, false);
}

/* ---- reading a chronicle */

struct tail {
  char *path;
  int fd; /* -1: not open */
  ino_t inode;
  struct sp_chronicle_reader reader;
  int64_t seq; /* newest entry handed out */
};

static void tail_rewind(struct tail *t) {
  if (t->fd >= 0) {
    close(t->fd);
  }
  sp_chronicle_reader_fini(&t->reader);
  t->fd = -1;
}

static void tail_fini(struct tail *t) {
  tail_rewind(t);
  sp_free(t->path);
}

/* Opens the file, or again when it is shorter or another one by now, and goes to the end of the
 * last whole line. A file that is not there is SP_ENOENT. */
static sp_status tail_open(struct tail *t, struct sp_err *err) {
  struct stat info;
  if (stat(t->path, &info) != 0) {
    tail_rewind(t);
    return sp_fail_errno(err, "%s", t->path);
  }
  if (t->fd >= 0 && (info.st_ino != t->inode || info.st_size < t->reader.offset)) {
    tail_rewind(t);
  }
  if (t->fd < 0) {
    t->fd = open(t->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    t->inode = info.st_ino;
  }
  if (t->fd < 0 || lseek(t->fd, t->reader.offset, SEEK_SET) < 0) {
    return sp_fail_errno(err, "%s", t->path);
  }
  sp_chronicle_reader_rewind(&t->reader);
  return SP_OK;
}

typedef sp_status entry_fn(void *ctx, const struct sp_chronicle_entry *e, struct sp_err *err);

/* Hands out the entries that the bytes fed so far hold; a line that is none is a warning. */
static sp_status tail_drain(struct tail *t, entry_fn *fn, void *ctx, struct sp_err *err) {
  for (;;) {
    struct sp_chronicle_entry e;
    struct sp_err why;
    bool have = false;
    sp_status status = sp_chronicle_next(&t->reader, &e, &have, &why);
    if (status == SP_ENOMEM) {
      *err = why;
      return status;
    }
    if (!have) {
      return SP_OK;
    }
    if (status != SP_OK) {
      fprintf(stderr, "warning: %s:%" PRId64 ": %s\n", t->path, t->reader.line, why.text);
    } else if (e.seq > t->seq) {
      t->seq = e.seq;
      status = fn(ctx, &e, err);
      if (status != SP_OK) {
        return status;
      }
    }
  }
}

/* Everything up to the end of the file as it is now. Each read begins with a line: a torn one may
 * be cut off meanwhile and another one written in its place, so that no two reads make a line,
 * unless one alone fills a read. */
static sp_status tail_read(struct tail *t, entry_fn *fn, void *ctx, struct sp_err *err) {
  char bytes[16 * 1024];
  for (;;) {
    const int64_t from = t->reader.offset;
    ssize_t n = read(t->fd, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return sp_fail_errno(err, "reading %s", t->path);
    }
    sp_status status = sp_chronicle_feed(&t->reader, bytes, (size_t)n, err);
    if (status == SP_OK) {
      status = tail_drain(t, fn, ctx, err);
    }
    if (status != SP_OK || n < (ssize_t)sizeof bytes) {
      return status;
    }
    if (t->reader.offset > from) {
      sp_chronicle_reader_rewind(&t->reader);
      if (lseek(t->fd, t->reader.offset, SEEK_SET) < 0) {
        return sp_fail_errno(err, "reading %s", t->path);
      }
    }
  }
}

static sp_status tail_init(struct tail *t, const char *dir, struct sp_err *err) {
  *t = (struct tail){.fd = -1, .path = sp_path_join(dir, SP_CHRONICLE_FILE)};
  return t->path ? SP_OK : sp_fail(err, SP_ENOMEM, "no memory");
}

/* ---- stoker events */

struct printer {
  bool json;
  bool ended; /* the newest entry is an end */
};

static sp_status print_entry(void *ctx, const struct sp_chronicle_entry *e, struct sp_err *err) {
  struct printer *p = ctx;
  struct sp_buf b;
  sp_buf_init(&b, 1 << 20);
  if (p->json) {
    sp_chronicle_put(&b, e);
  } else {
    sc_history_put_entry(&b, e);
  }
  p->ended = e->kind == SP_CHRONICLE_END;
  sp_status status = sp_buf_check(&b, "events", err);
  if (status == SP_OK) {
    status = sp_write_all(STDOUT_FILENO, b.data, b.length, "standard output", err);
  }
  sp_buf_free(&b);
  return status;
}

static sp_status events(const char *dir, const struct options *o, struct sp_err *err) {
  struct printer p = {.json = o->json};
  struct tail t;
  sp_status status = tail_init(&t, dir, err);
  while (status == SP_OK) {
    status = tail_open(&t, err);
    if (status == SP_OK) {
      status = tail_read(&t, print_entry, &p, err);
    } else if (status == SP_ENOENT && o->follow) {
      status = SP_OK; /* a run that begins */
    }
    if (!o->follow || p.ended) {
      break;
    }
    nanosleep(&follow_every, NULL);
  }
  tail_fini(&t);
  return status;
}

int sc_verb_events(const struct sc_verb *verb, char *const *args) {
  struct options o;
  struct sp_err err = {0};
  char *dir = NULL;
  if (!take_options(verb, args, true, &o)) {
    return SP_EXIT_USAGE;
  }
  sp_status status = sp_run_find(o.run, &dir, &err);
  if (status == SP_OK) {
    status = events(dir, &o, &err);
  }
  sp_free(dir);
  return status == SP_OK ? SP_EXIT_OK : fail(&err);
}

/* ---- stoker show */

static sp_status add_entry(void *ctx, const struct sp_chronicle_entry *e, struct sp_err *err) {
  return sc_history_add(ctx, e) ? SP_OK : sp_fail(err, SP_ENOMEM, "no memory");
}

static sp_status read_history(const char *dir, struct sc_history *h, struct sp_err *err) {
  struct tail t;
  sp_status status = tail_init(&t, dir, err);
  if (status == SP_OK) {
    status = tail_open(&t, err);
    if (status == SP_OK) {
      status = tail_read(&t, add_entry, h, err);
    } else if (status == SP_ENOENT) {
      status = SP_OK; /* it could not be written: the rest is worth showing */
    }
  }
  tail_fini(&t);
  return status;
}

static bool is_of_this_boot(const char *boot_id) {
  char *text = NULL;
  size_t n;
  bool same = sp_file_read("/proc/sys/kernel/random/boot_id", 256, &text, &n, NULL) == SP_OK &&
              strncmp(text, boot_id, strcspn(text, "\n")) == 0 && *boot_id;
  sp_free(text);
  return same;
}

static sc_life life_of(const struct sp_run_file *f) {
  if (f->state != SP_RUN_RUNNING) {
    return SC_LIFE_OVER;
  }
  bool lives = f->pid > 0 && (kill((pid_t)f->pid, 0) == 0 || errno == EPERM);
  return lives && is_of_this_boot(f->boot_id) ? SC_LIFE_RUNNING : SC_LIFE_BROKEN;
}

/* Asks the supervisor, if there is one: then what it says counts, and it lives for sure. */
static void ask_status(struct sc_run *r, sp_event_reader *reader) {
  const struct sp_control *answer;
  struct sp_control m = {.kind = SP_CONTROL_STATUS_REQUEST};
  if (sp_control_call(r->dir, &m, STATUS_MS, reader, &answer, NULL) == SP_OK &&
      answer->kind == SP_CONTROL_STATUS) {
    r->live = answer->u.status;
    r->life = SC_LIFE_RUNNING;
  }
}

static sp_status show(const char *dir, bool json, struct sp_buf *b, struct sp_err *err) {
  struct sp_arena arena = {0};
  struct sc_run r = {.dir = dir};
  sp_event_reader *reader = sp_event_reader_new();
  sp_status status =
      reader ? sp_run_file_read(dir, &r.file, &arena, err) : sp_fail(err, SP_ENOMEM, "no memory");
  if (status == SP_OK) {
    status = read_history(dir, &r.history, err);
  }
  if (status == SP_OK) {
    r.life = life_of(&r.file);
    r.slots_there =
        *r.file.slots_dir && access(r.file.slots_dir, F_OK) == 0 && is_of_this_boot(r.file.boot_id);
    if (r.file.state == SP_RUN_RUNNING) {
      ask_status(&r, reader);
    }
    if (json) {
      sc_run_put_json(b, &r);
    } else {
      sc_run_put(b, &r);
    }
  }
  sc_history_fini(&r.history);
  sp_event_reader_free(reader);
  sp_arena_clear(&arena);
  return status;
}

int sc_verb_show(const struct sc_verb *verb, char *const *args) {
  struct options o;
  struct sp_err err = {0};
  struct sp_buf b;
  char *dir = NULL;
  if (!take_options(verb, args, false, &o)) {
    return SP_EXIT_USAGE;
  }
  sp_buf_init(&b, 1 << 20);
  sp_status status = sp_run_find(o.run, &dir, &err);
  if (status == SP_OK) {
    status = show(dir, o.json, &b, &err);
  }
  sp_free(dir);
  if (status != SP_OK) {
    sp_buf_free(&b);
    return fail(&err);
  }
  return sc_print(&b);
}
