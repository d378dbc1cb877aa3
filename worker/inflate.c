/* Inflating into an unnamed file. O_TMPFILE first; file systems without it get mkstemp and an
 * immediate unlink. The whole copy is made before the engine sees it, so it can be mapped.
 */
#include "worker/inflate.h"

#include "proto/base/file.h"
#include "proto/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { CHUNK = 1 << 18, GZIP_WINDOW = 15 + 16 };

static const uint64_t DEFAULT_MAX_BYTES = (uint64_t)64 << 30;

static sp_status open_temporary(const char *dir, int *out_fd, struct sp_err *err) {
  int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL || errno == ENOENT)) {
    char name[4096];
    int n = snprintf(name, sizeof name, "%s/stoker-inflate-XXXXXX", dir);
    if (n < 0 || (size_t)n >= sizeof name) {
      return sp_fail(err, SP_EINVAL, "the directory for temporary files has too long a name");
    }
    fd = mkostemp(name, O_CLOEXEC);
    if (fd >= 0) {
      unlink(name);
    }
  }
  if (fd < 0) {
    return sp_fail_errno(err, "cannot make a temporary file in %s", dir);
  }
  *out_fd = fd;
  return SP_OK;
}

/* One inflation in progress. */
struct job {
  const char *path;
  int in_fd;
  int out_fd;
  uint64_t max_bytes;
  uint64_t n_out;
  bool at_end; /* of the input file */
  z_stream z;
  uint8_t in[CHUNK];
  uint8_t out[CHUNK];
};

static sp_status refill(struct job *j, struct sp_err *err) {
  ssize_t n;
  do {
    n = read(j->in_fd, j->in, CHUNK);
  } while (n < 0 && errno == EINTR);
  if (n < 0) {
    return sp_fail_errno(err, "cannot read %s", j->path);
  }
  j->at_end = n == 0;
  j->z.next_in = j->in;
  j->z.avail_in = (uInt)n;
  return SP_OK;
}

static sp_status drain(struct job *j, struct sp_err *err) {
  size_t n = CHUNK - j->z.avail_out;
  j->n_out += n;
  if (j->n_out > j->max_bytes) {
    return sp_fail(err, SP_ERANGE, "%s inflates to more than %" PRIu64 " bytes", j->path,
                   j->max_bytes);
  }
  j->z.next_out = j->out;
  j->z.avail_out = CHUNK;
  sp_status st = sp_write_all(j->out_fd, j->out, n, "the inflated copy", err);
  if (st != SP_OK) {
    (void)sp_wrap(err, "inflating %s", j->path);
  }
  return st;
}

static sp_status damaged(const struct job *j, struct sp_err *err) {
  return sp_fail(err, SP_ECORRUPT, "%s is not valid gzip (%s) after %" PRIu64 " inflated bytes",
                 j->path, j->z.msg ? j->z.msg : "bad data", j->n_out);
}

/* After a member's end: true where another begins. Zero padding is skipped, as gzip does. */
static sp_status next_member(struct job *j, bool *out_more, struct sp_err *err) {
  for (;;) {
    while (j->z.avail_in > 0 && *j->z.next_in == 0) {
      j->z.next_in++;
      j->z.avail_in--;
    }
    if (j->z.avail_in > 0) {
      *out_more = true;
      return inflateReset(&j->z) == Z_OK ? SP_OK : damaged(j, err);
    }
    sp_status st = refill(j, err);
    if (st != SP_OK || j->at_end) {
      *out_more = false;
      return st;
    }
  }
}

static sp_status inflate_all(struct job *j, struct sp_err *err) {
  bool more = true;
  while (more) {
    if (j->z.avail_in == 0) {
      sp_status st = refill(j, err);
      if (st != SP_OK) {
        return st;
      }
      if (j->at_end) {
        return sp_fail(err, SP_ECORRUPT,
                       "%s is truncated: the gzip data ends after %" PRIu64
                       " inflated bytes; copy or download it again",
                       j->path, j->n_out);
      }
    }
    int e = inflate(&j->z, Z_NO_FLUSH);
    if (e != Z_OK && e != Z_STREAM_END && e != Z_BUF_ERROR) {
      return damaged(j, err);
    }
    sp_status st = drain(j, err);
    if (st == SP_OK && e == Z_STREAM_END) {
      st = next_member(j, &more, err);
    }
    if (st != SP_OK) {
      return st;
    }
  }
  return SP_OK;
}

static sp_status inflate_to(const struct sw_inflate *in, const char *path, int in_fd, int *out_fd,
                            struct sp_err *err) {
  struct job *j = sp_alloc(sizeof *j);
  if (!j) {
    return sp_fail(err, SP_ENOMEM, "out of memory for inflating %s", path);
  }
  j->path = path;
  j->in_fd = in_fd;
  j->max_bytes = in->max_bytes ? in->max_bytes : DEFAULT_MAX_BYTES;
  j->z.next_out = j->out;
  j->z.avail_out = CHUNK;
  sp_status st = open_temporary(in->tmp_dir ? in->tmp_dir : "/var/tmp", &j->out_fd, err);
  if (st == SP_OK) {
    if (inflateInit2(&j->z, GZIP_WINDOW) != Z_OK) {
      st = sp_fail(err, SP_ENOMEM, "out of memory for inflating %s", path);
    } else {
      st = inflate_all(j, err);
      inflateEnd(&j->z);
    }
    if (st == SP_OK && lseek(j->out_fd, 0, SEEK_SET) < 0) {
      st = sp_fail_errno(err, "inflating %s", path);
    }
    if (st == SP_OK) {
      *out_fd = j->out_fd;
    } else {
      close(j->out_fd);
    }
  }
  sp_free(j);
  return st;
}

sp_status sw_inflate_open(const struct sw_inflate *in, const char *path, int *out_fd,
                          struct sp_err *err) {
  /* O_NONBLOCK: a FIFO in place of the data must not hang the job; regular files ignore it. */
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    return sp_fail_errno(err, "data: cannot open %s", path);
  }
  struct stat st;
  uint8_t magic[2] = {0};
  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || pread(fd, magic, 2, 0) != 2 ||
      magic[0] != 0x1f || magic[1] != 0x8b) {
    *out_fd = fd;
    return SP_OK;
  }
  sp_status status = inflate_to(in, path, fd, out_fd, err);
  close(fd);
  if (status != SP_OK) {
    (void)sp_wrap(err, "data");
  }
  return status;
}

static sp_status open_for_engine(void *ctx, const char *path, int *out_fd, struct sp_err *err) {
  return sw_inflate_open(ctx, path, out_fd, err);
}

struct stk_data_opener sw_inflate_opener(struct sw_inflate *in) {
  return (struct stk_data_opener){.open = open_for_engine, .ctx = in};
}
