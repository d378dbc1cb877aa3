/* Appending to the chronicle. The file is opened anew whenever it is not open or has lost its name
 * (somebody removed or replaced the run's directory); opening reads it to find its end. What a
 * power loss leaves of it: tests/crash/test_chronicle.c. */
#include "worker/supervise/chronicle.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/fault.h"
#include "proto/base/file.h"
#include "proto/base/fs.h"
#include "proto/base/mem.h"

/* Reads the file, so that good_bytes is the end of its last whole entry and seq that entry's. */
static sp_status scan(struct sw_chronicle *c, struct sp_err *err) {
  struct sp_chronicle_reader r = {0};
  char bytes[16 * 1024];
  sp_status status = SP_OK;
  ssize_t n = 0;
  c->good_bytes = 0;
  while (status == SP_OK && (n = read(c->fd, bytes, sizeof bytes)) > 0) {
    status = sp_chronicle_feed(&r, bytes, (size_t)n, err);
    for (bool have = true; status == SP_OK && have;) {
      struct sp_chronicle_entry e;
      sp_status line = sp_chronicle_next(&r, &e, &have, NULL);
      if (line == SP_OK && have) {
        c->good_bytes = r.offset;
        c->seq = e.seq > c->seq ? e.seq : c->seq;
      }
    }
  }
  sp_chronicle_reader_fini(&r);
  return status == SP_OK && n < 0 ? sp_fail_errno(err, "reading %s", c->path) : status;
}

static void shut(struct sw_chronicle *c) {
  if (c->fd >= 0) {
    sp_fs_close(c->fd);
    c->fd = -1;
  }
}

static sp_status open_file(struct sw_chronicle *c, struct sp_err *err) {
  if (!c->path || !c->run_dir) {
    return sp_fail(err, SP_ENOMEM, "no memory for the chronicle's path");
  }
  const int flags = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY;
  errno = SP_FAULT("chronicle.open");
  c->fd = errno ? -1 : sp_fs_open(AT_FDCWD, c->path, flags, 0644);
  if (c->fd < 0) {
    return sp_fail_errno(err, "opening %s", c->path);
  }
  sp_status status = scan(c, err);
  if (status == SP_OK && sp_fs_truncate(c->fd, c->good_bytes) != 0) {
    status = sp_fail_errno(err, "cutting %s", c->path);
  }
  if (status == SP_OK && c->good_bytes == 0) { /* it may be new: its name has to last too */
    status = sp_dir_fsync(c->run_dir, err);
  }
  if (status != SP_OK) {
    shut(c);
  }
  return status;
}

/* Whether the open file is still the one that its name names. */
static bool is_in_place(const struct sw_chronicle *c) {
  struct stat open_one, named;
  return c->fd >= 0 && fstat(c->fd, &open_one) == 0 && stat(c->path, &named) == 0 &&
         open_one.st_dev == named.st_dev && open_one.st_ino == named.st_ino;
}

static sp_status write_line(struct sw_chronicle *c, const struct sp_buf *line, struct sp_err *err) {
  errno = SP_FAULT("chronicle.write");
  ssize_t n = errno ? -1 : sp_fs_write(c->fd, line->data, line->length);
  if (n == (ssize_t)line->length) {
    c->good_bytes += n;
    return SP_OK;
  }
  if (n >= 0) {
    errno = ENOSPC;
  }
  sp_fail_errno(err, "writing %s", c->path);
  if (sp_fs_truncate(c->fd, c->good_bytes) != 0) {
    shut(c); /* the next entry scans, and cuts then */
  }
  return SP_EIO;
}

static bool is_state_change(sp_chronicle_kind kind) {
  return kind == SP_CHRONICLE_START || kind == SP_CHRONICLE_GENERATION ||
         kind == SP_CHRONICLE_STOP || kind == SP_CHRONICLE_END;
}

static sp_status flush(struct sw_chronicle *c, struct sp_err *err) {
  errno = SP_FAULT("chronicle.fsync");
  return errno || sp_fs_fdatasync(c->fd) != 0 ? sp_fail_errno(err, "fsync of %s", c->path) : SP_OK;
}

static sp_status append(struct sw_chronicle *c, struct sp_chronicle_entry *e, struct sp_err *err) {
  if (!is_in_place(c)) {
    shut(c);
    sp_status status = open_file(c, err);
    if (status != SP_OK) {
      return status;
    }
  }
  struct sp_buf line;
  sp_buf_init(&line, SP_CHRONICLE_MAX_LINE);
  e->seq = c->seq + 1;
  sp_chronicle_put(&line, e);
  sp_status status = sp_buf_check(&line, "the chronicle's line", err);
  if (status == SP_OK) {
    status = write_line(c, &line, err);
  }
  if (status == SP_OK && is_state_change(e->kind)) {
    status = flush(c, err);
  }
  sp_buf_free(&line);
  return status;
}

/* Keeps count of an outage, and tells its beginning. */
static void note(struct sw_chronicle *c, sp_status status, struct sp_err *err) {
  if (status != SP_OK && !c->failing) {
    sp_wrap(err, "the run's chronicle cannot be written, the job goes on without");
    c->tell(c->ctx, err->text);
  }
  c->failing = status != SP_OK;
}

void sw_chronicle_open(struct sw_chronicle *c, const char *run_dir, const struct sp_clock *clock,
                       sw_chronicle_tell_fn *tell, void *ctx) {
  struct sp_err err = {0};
  *c = (struct sw_chronicle){.fd = -1, .clock = clock, .tell = tell, .ctx = ctx};
  c->run_dir = sp_strdup(run_dir);
  c->path = sp_path_join(run_dir, SP_CHRONICLE_FILE);
  note(c, open_file(c, &err), &err);
}

void sw_chronicle_append(struct sw_chronicle *c, const struct sp_chronicle_entry *e) {
  struct sp_err err = {0};
  struct sp_chronicle_entry whole = *e;
  if (!c->clock) {
    return; /* not opened: the run has no directory yet */
  }
  whole.time = sp_wall_now(c->clock);
  whole.mono_ns = sp_mono_now(c->clock).ns;
  note(c, append(c, &whole, &err), &err);
  c->seq++;
}

void sw_chronicle_close(struct sw_chronicle *c) {
  shut(c);
  sp_free(c->path);
  sp_free(c->run_dir);
  c->path = c->run_dir = NULL;
}
