/* Records of audit.log, its writer and its reader. See audit_log.h. */
#include "proto/run/audit_log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/crc32c.h"
#include "proto/base/file.h"
#include "proto/base/fs.h"
#include "proto/base/sha256.h"
#include "proto/base/strutil.h"

/* "step digest tags link crc32c\n", fields apart by one blank. */
enum {
  STEP = 16,
  HEX = 2 * SP_AUDIT_DIGEST,
  TAG_HEX = 2 * SP_AUDIT_TAG,
  AT_DIGEST = STEP + 1,
  AT_TAGS = AT_DIGEST + HEX + 1,
  AT_LINK = AT_TAGS + SP_AUDIT_PARTS * (TAG_HEX + 1),
  AT_CRC = AT_LINK + HEX + 1,
  CRC = 8,
  PENDING = 1 << 20
};

_Static_assert(AT_CRC + CRC + 1 == SP_AUDIT_RECORD, "a record's length");

static const char head_words[] = "stoker audit log, format 1, from step ";

/* ---- lines */

void sp_audit_link(const uint8_t previous[SP_AUDIT_DIGEST], int64_t step,
                   const uint8_t digest[SP_AUDIT_DIGEST], uint8_t out[SP_AUDIT_DIGEST]) {
  struct sp_sha256 h;
  uint8_t number[8];
  for (int i = 0; i < 8; i++) {
    number[i] = (uint8_t)((uint64_t)step >> 8 * i);
  }
  sp_sha256_init(&h);
  sp_sha256_update(&h, previous, SP_AUDIT_DIGEST);
  sp_sha256_update(&h, number, sizeof number);
  sp_sha256_update(&h, digest, SP_AUDIT_DIGEST);
  sp_sha256_final(&h, out);
}

static void put_hex(char *to, const uint8_t *bytes, size_t n) {
  static const char digits[] = "0123456789abcdef";
  for (size_t i = 0; i < n; i++) {
    to[2 * i] = digits[bytes[i] >> 4];
    to[2 * i + 1] = digits[bytes[i] & 15];
  }
}

/* 0 to 15, or -1: lower case alone, so that a record has one text. */
static int digit_of(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool take_hex(const char *from, uint8_t *out, size_t n) {
  for (size_t i = 0; i < n; i++) {
    const int high = digit_of(from[2 * i]), low = digit_of(from[2 * i + 1]);
    if (high < 0 || low < 0) {
      return false;
    }
    out[i] = (uint8_t)(high << 4 | low);
  }
  return true;
}

static void put_number(char *to, int64_t n) {
  char text[24];
  snprintf(text, sizeof text, "%0*" PRId64, STEP, n);
  memcpy(to, text, STEP);
}

static bool take_number(const char *from, int64_t *out) {
  char text[STEP + 1] = "";
  memcpy(text, from, STEP);
  return strspn(text, "0123456789") == STEP && sp_parse_i64(text, out) == SP_OK;
}

/* Closes a line whose fields stand: blanks between them, the checksum, the newline. */
static void seal(char line[SP_AUDIT_RECORD]) {
  uint8_t crc[4];
  const uint32_t sum = sp_crc32c(0, line, AT_CRC);
  for (int i = 0; i < 4; i++) {
    crc[i] = (uint8_t)(sum >> (24 - 8 * i));
  }
  put_hex(line + AT_CRC, crc, sizeof crc);
  line[SP_AUDIT_RECORD - 1] = '\n';
}

static bool is_sealed(const char line[SP_AUDIT_RECORD]) {
  char same[SP_AUDIT_RECORD];
  memcpy(same, line, sizeof same);
  seal(same);
  return memcmp(same, line, sizeof same) == 0;
}

void sp_audit_format(const struct sp_audit_record *r, char out[SP_AUDIT_RECORD]) {
  memset(out, ' ', SP_AUDIT_RECORD);
  put_number(out, r->step);
  put_hex(out + AT_DIGEST, r->digest, sizeof r->digest);
  for (size_t i = 0; i < SP_AUDIT_PARTS; i++) {
    put_hex(out + AT_TAGS + i * (TAG_HEX + 1), r->tag[i], sizeof r->tag[i]);
  }
  put_hex(out + AT_LINK, r->link, sizeof r->link);
  seal(out);
}

sp_status sp_audit_parse(const char text[SP_AUDIT_RECORD], struct sp_audit_record *out,
                         struct sp_err *err) {
  struct sp_audit_record r;
  bool good = is_sealed(text) && take_number(text, &r.step) &&
              take_hex(text + AT_DIGEST, r.digest, sizeof r.digest) &&
              take_hex(text + AT_LINK, r.link, sizeof r.link);
  for (size_t i = 0; good && i < SP_AUDIT_PARTS; i++) {
    good = take_hex(text + AT_TAGS + i * (TAG_HEX + 1), r.tag[i], sizeof r.tag[i]);
  }
  if (!good) {
    return sp_fail(err, SP_ECORRUPT, "no record of an audit log, or one that was changed");
  }
  *out = r;
  return SP_OK;
}

static void format_head(int64_t first, char out[SP_AUDIT_RECORD]) {
  memset(out, ' ', SP_AUDIT_RECORD);
  memcpy(out, head_words, sizeof head_words - 1);
  put_number(out + sizeof head_words - 1, first);
  seal(out);
}

static bool parse_head(const char line[SP_AUDIT_RECORD], int64_t *out_first) {
  return is_sealed(line) && memcmp(line, head_words, sizeof head_words - 1) == 0 &&
         take_number(line + sizeof head_words - 1, out_first);
}

/* ---- reading */

static bool read_line(int fd, int64_t line, char out[SP_AUDIT_RECORD]) {
  size_t got = 0;
  while (got < SP_AUDIT_RECORD) {
    const ssize_t n =
        pread(fd, out + got, SP_AUDIT_RECORD - got, (off_t)(line * SP_AUDIT_RECORD + (int64_t)got));
    if (n <= 0 && !(n < 0 && errno == EINTR)) {
      return false;
    }
    got += n > 0 ? (size_t)n : 0;
  }
  return true;
}

static sp_status path_of(const char *dir, const char *name, char out[PATH_MAX],
                         struct sp_err *err) {
  const int n = snprintf(out, PATH_MAX, "%s/%s", dir, name);
  return n > 0 && n < PATH_MAX ? SP_OK : sp_fail(err, SP_EINVAL, "%s: the path is too long", dir);
}

sp_status sp_audit_read_open(const char *dir, struct sp_audit_reader *out, struct sp_err *err) {
  char line[SP_AUDIT_RECORD];
  struct stat info;
  struct sp_audit_reader r = {.fd = -1};
  sp_status st = path_of(dir, SP_AUDIT_FILE, r.path, err);
  if (st) {
    return st;
  }
  r.fd = open(r.path, O_RDONLY | O_CLOEXEC);
  if (r.fd < 0 || fstat(r.fd, &info) != 0) {
    st = sp_fail_errno(err, "%s", r.path);
  } else if (!read_line(r.fd, 0, line) || !parse_head(line, &r.first)) {
    st = sp_fail(err, SP_ECORRUPT, "%s is no audit log, or its first line was changed", r.path);
  } else {
    r.n = (int64_t)info.st_size / SP_AUDIT_RECORD - 1;
  }
  if (st) {
    sp_audit_read_close(&r);
    return st;
  }
  *out = r;
  return SP_OK;
}

void sp_audit_read_close(struct sp_audit_reader *r) {
  if (r->fd >= 0) {
    close(r->fd);
  }
  r->fd = -1;
}

sp_status sp_audit_get(const struct sp_audit_reader *r, int64_t step, struct sp_audit_record *out,
                       struct sp_err *err) {
  char line[SP_AUDIT_RECORD];
  struct sp_audit_record got;
  if (step < r->first || step >= r->first + r->n) {
    return sp_fail(err, SP_ERANGE,
                   "%s has no record of step %" PRId64 ": it has steps %" PRId64 ":%" PRId64,
                   r->path, step, r->first, r->first + r->n);
  }
  if (!read_line(r->fd, step - r->first + 1, line) || sp_audit_parse(line, &got, NULL) ||
      got.step != step) {
    return sp_fail(err, SP_ECORRUPT, "%s: the record of step %" PRId64 " was changed", r->path,
                   step);
  }
  *out = got;
  return SP_OK;
}

sp_status sp_audit_check(const struct sp_audit_reader *r, int64_t lo, int64_t hi,
                         struct sp_err *err) {
  struct sp_audit_record at = {0};
  uint8_t link[SP_AUDIT_DIGEST];
  sp_status st = lo > r->first ? sp_audit_get(r, lo - 1, &at, err) : SP_OK;
  for (int64_t step = lo; step < hi && !st; step++) {
    uint8_t before[SP_AUDIT_DIGEST];
    memcpy(before, at.link, sizeof before);
    st = sp_audit_get(r, step, &at, err);
    if (!st) {
      sp_audit_link(before, step, at.digest, link);
      st = memcmp(link, at.link, sizeof link) == 0
               ? SP_OK
               : sp_fail(err, SP_ECORRUPT,
                         "%s: the chain breaks at step %" PRId64
                         ": its record does not follow from the one before",
                         r->path, step);
    }
  }
  return st;
}

/* ---- writing */

/* Cuts the file down to what is whole, and takes its last link. */
static sp_status take_end(struct sp_audit_writer *w, int64_t first, int64_t records,
                          struct sp_err *err) {
  char line[SP_AUDIT_RECORD];
  struct sp_audit_record last = {0};
  while (records > 0 && (!read_line(w->fd, records, line) || sp_audit_parse(line, &last, NULL) ||
                         last.step != first + records - 1)) {
    records--;
  }
  if (records == 0) {
    memset(last.link, 0, sizeof last.link);
  }
  memcpy(w->link, last.link, sizeof w->link);
  w->next = first + records;
  w->bytes = (records + 1) * SP_AUDIT_RECORD;
  return sp_fs_truncate(w->fd, (off_t)w->bytes) == 0 ? SP_OK
                                                     : sp_fail_errno(err, "%s", SP_AUDIT_FILE);
}

static sp_status put_aside(struct sp_audit_writer *w, struct sp_err *err) {
  char from[PATH_MAX], to[PATH_MAX];
  sp_status st = path_of(w->dir, SP_AUDIT_FILE, from, err);
  st = st ? st : path_of(w->dir, SP_AUDIT_OLD_FILE, to, err);
  if (w->fd >= 0) {
    sp_fs_close(w->fd);
  }
  w->fd = -1;
  if (!st && sp_fs_rename(AT_FDCWD, from, AT_FDCWD, to, 0) != 0) {
    st = sp_fail_errno(err, "%s", from);
  }
  return st;
}

sp_status sp_audit_open(const char *dir, int64_t steps, struct sp_audit_writer *out,
                        struct sp_err *err) {
  char path[PATH_MAX], line[SP_AUDIT_RECORD];
  struct stat info;
  int64_t first;
  memset(out, 0, sizeof *out);
  out->fd = -1;
  sp_buf_init(&out->pending, PENDING);
  snprintf(out->dir, sizeof out->dir, "%s", dir);
  sp_status st = path_of(dir, SP_AUDIT_FILE, path, err);
  if (st) {
    return st;
  }
  out->fd = sp_fs_open(AT_FDCWD, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
  if (out->fd < 0) {
    return errno == ENOENT ? SP_OK : sp_fail_errno(err, "%s", path);
  }
  if (fstat(out->fd, &info) != 0) {
    return sp_fail_errno(err, "%s", path);
  }
  if (!read_line(out->fd, 0, line) || !parse_head(line, &first) || first > steps) {
    return put_aside(out, err);
  }
  const int64_t whole = (int64_t)info.st_size / SP_AUDIT_RECORD - 1;
  return take_end(out, first, whole < steps - first ? whole : steps - first, err);
}

static sp_status begin(struct sp_audit_writer *w, int64_t step, struct sp_err *err) {
  char path[PATH_MAX], head[SP_AUDIT_RECORD];
  sp_status st = path_of(w->dir, SP_AUDIT_FILE, path, err);
  if (st) {
    return st;
  }
  w->fd = sp_fs_open(AT_FDCWD, path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (w->fd < 0) {
    return sp_fail_errno(err, "%s", path);
  }
  format_head(step, head);
  w->bytes = 0;
  w->next = step;
  memset(w->link, 0, sizeof w->link);
  sp_buf_append(&w->pending, head, sizeof head);
  return SP_OK;
}

sp_status sp_audit_put(struct sp_audit_writer *w, const struct sp_audit_record *r,
                       struct sp_err *err) {
  char line[SP_AUDIT_RECORD];
  struct sp_audit_record next = *r;
  sp_status st = SP_OK;
  if (w->failed || (w->fd >= 0 && r->step < w->next)) {
    return SP_OK;
  }
  if (w->fd >= 0 && r->step > w->next) {
    st = sp_audit_flush(w, err);
    st = st ? st : put_aside(w, err);
  }
  if (!st && w->fd < 0) {
    st = begin(w, r->step, err);
  }
  if (!st && w->pending.length + sizeof line > PENDING) {
    st = sp_audit_flush(w, err);
  }
  if (st) {
    w->failed = true;
    return st;
  }
  sp_audit_link(w->link, r->step, r->digest, next.link);
  memcpy(w->link, next.link, sizeof w->link);
  sp_audit_format(&next, line);
  sp_buf_append(&w->pending, line, sizeof line);
  w->next++;
  return SP_OK;
}

sp_status sp_audit_flush(struct sp_audit_writer *w, struct sp_err *err) {
  if (w->failed || w->pending.length == 0) {
    return SP_OK;
  }
  sp_status st = sp_buf_check(&w->pending, SP_AUDIT_FILE, err);
  st = st ? st
          : sp_pwrite_all(w->fd, w->pending.data, w->pending.length, (off_t)w->bytes, SP_AUDIT_FILE,
                          err);
  if (st) {
    w->failed = true; /* a line that is half there is cut off by whoever opens the file next */
    return st;
  }
  w->bytes += (int64_t)w->pending.length;
  sp_buf_truncate(&w->pending, 0);
  return SP_OK;
}

sp_status sp_audit_sync(struct sp_audit_writer *w, struct sp_err *err) {
  sp_status st = sp_audit_flush(w, err);
  if (st || w->failed || w->fd < 0) {
    return st;
  }
  return sp_fs_fdatasync(w->fd) == 0 ? SP_OK : sp_fail_errno(err, "%s", SP_AUDIT_FILE);
}

void sp_audit_close(struct sp_audit_writer *w) {
  if (*w->dir && w->fd >= 0) {
    sp_fs_close(w->fd);
  }
  if (*w->dir) {
    sp_buf_free(&w->pending);
  }
  w->fd = -1;
}
