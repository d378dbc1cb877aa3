/* Whole-file operations. See file.h. */
#include "proto/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/buf.h"
#include "proto/base/fault.h"
#include "proto/base/fs.h"
#include "proto/base/mem.h"

enum { READ_STEP = 1 << 16 };

/* Appends what is left of fd; a file may grow or shrink meanwhile, so its size is only a hint. */
static sp_status read_into(int fd, const char *path, struct sp_buf *buf, struct sp_err *err) {
  for (;;) {
    size_t before = buf->length;
    size_t want = buf->limit - before < READ_STEP ? buf->limit - before + 1 : READ_STEP;
    char step[READ_STEP];
    ssize_t n = read(fd, step, want);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return sp_fail_errno(err, "reading %s", path);
    }
    if (n == 0) {
      return SP_OK;
    }
    sp_buf_append(buf, step, (size_t)n);
    sp_status status = sp_buf_check(buf, path, err);
    if (status != SP_OK) {
      return status;
    }
  }
}

sp_status sp_file_read(const char *path, size_t limit_bytes, char **out_data, size_t *out_n,
                       struct sp_err *err) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return sp_fail_errno(err, "opening %s", path);
  }
  struct sp_buf buf;
  sp_buf_init(&buf, limit_bytes);
  sp_status status = read_into(fd, path, &buf, err);
  close(fd);
  if (status == SP_OK) {
    size_t n = buf.length;
    char *data = sp_buf_take(&buf);
    if (data) {
      *out_data = data;
      *out_n = n;
    } else {
      status = sp_fail(err, SP_ENOMEM, "reading %s: out of memory", path);
    }
  }
  sp_buf_free(&buf);
  return status;
}

sp_status sp_write_all(int fd, const void *data, size_t n, const char *what, struct sp_err *err) {
  const char *p = data;
  while (n > 0) {
    int fault = SP_FAULT("file.write");
    ssize_t done = fault ? -1 : sp_fs_write(fd, p, n);
    errno = fault ? fault : done == 0 ? EIO : errno;
    if (done < 0 && errno == EINTR) {
      continue;
    }
    if (done <= 0) {
      return sp_fail_errno(err, "writing %s", what);
    }
    p += done;
    n -= (size_t)done;
  }
  return SP_OK;
}

sp_status sp_pwrite_all(int fd, const void *data, size_t n, off_t offset, const char *what,
                        struct sp_err *err) {
  const char *p = data;
  while (n > 0) {
    int fault = SP_FAULT("file.write");
    ssize_t done = fault ? -1 : sp_fs_pwrite(fd, p, n, offset);
    errno = fault ? fault : done == 0 ? EIO : errno;
    if (done < 0 && errno == EINTR) {
      continue;
    }
    if (done <= 0) {
      return sp_fail_errno(err, "writing %s at byte %lld", what, (long long)offset);
    }
    p += done;
    n -= (size_t)done;
    offset += done;
  }
  return SP_OK;
}

sp_status sp_read_exact(int fd, void *out_data, size_t n, const char *what, struct sp_err *err) {
  char *p = out_data;
  while (n > 0) {
    ssize_t done = read(fd, p, n);
    if (done < 0 && errno == EINTR) {
      continue;
    }
    if (done < 0) {
      return sp_fail_errno(err, "reading %s", what);
    }
    if (done == 0) {
      return sp_fail(err, SP_ECORRUPT, "%s: ends %zu bytes too early", what, n);
    }
    p += done;
    n -= (size_t)done;
  }
  return SP_OK;
}

sp_status sp_fsync(int fd, const char *what, struct sp_err *err) {
  int fault = SP_FAULT("file.fsync");
  if (fault || sp_fs_fsync(fd) != 0) {
    errno = fault ? fault : errno;
    return sp_fail_errno(err, "fsync of %s", what);
  }
  return SP_OK;
}

sp_status sp_dir_fsync(const char *path, struct sp_err *err) {
  int fd = sp_fs_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0) {
    return sp_fail_errno(err, "opening directory %s", path);
  }
  sp_status status = sp_fsync(fd, path, err);
  sp_fs_close(fd);
  return status;
}

char *sp_path_dirname(const char *path) {
  const char *slash = strrchr(path, '/');
  if (!slash) {
    return sp_strdup(".");
  }
  while (slash > path && slash[-1] == '/') {
    slash--;
  }
  return sp_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

char *sp_path_join(const char *directory, const char *name) {
  if (name[0] == '/') {
    return sp_strdup(name);
  }
  size_t n = strlen(directory);
  while (n > 1 && directory[n - 1] == '/') {
    n--;
  }
  struct sp_buf buf;
  sp_buf_init(&buf, SIZE_MAX);
  sp_buf_append(&buf, directory, n);
  if (n > 0 && directory[n - 1] != '/') {
    sp_buf_putc(&buf, '/');
  }
  sp_buf_puts(&buf, name);
  char *joined = sp_buf_take(&buf);
  sp_buf_free(&buf);
  return joined;
}

static const char temporary_mark[] = ".tmp-";

/* Past the digits at p; NULL when there is none. */
static const char *past_digits(const char *p) {
  size_t n = strspn(p, "0123456789");
  return n > 0 ? p + n : NULL;
}

bool sp_file_is_temporary(const char *name) {
  const char *p = NULL;
  for (const char *q = strstr(name, temporary_mark); q; q = strstr(q + 1, temporary_mark)) {
    p = q;
  }
  p = p && p > name ? past_digits(p + sizeof temporary_mark - 1) : NULL;
  p = p && *p == '-' ? past_digits(p + 1) : NULL;
  return p && !*p;
}

/* A new file next to path, whose name goes to temporary (with room for the suffix). */
static int open_temporary(const char *path, mode_t mode, char *temporary, size_t room) {
  for (unsigned attempt = 0; attempt < 100; attempt++) {
    snprintf(temporary, room, "%s%s%ld-%u", path, temporary_mark, (long)getpid(), attempt);
    int fd =
        sp_fs_open(AT_FDCWD, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd >= 0 || errno != EEXIST) {
      return fd;
    }
  }
  return -1;
}

static sp_status rename_to(const char *from, const char *to, struct sp_err *err) {
  int fault = SP_FAULT("file.rename");
  if (fault || sp_fs_rename(AT_FDCWD, from, AT_FDCWD, to, 0) != 0) {
    errno = fault ? fault : errno;
    return sp_fail_errno(err, "renaming %s to %s", from, to);
  }
  return SP_OK;
}

static sp_status write_and_rename(const char *path, char *temporary, size_t room, const void *data,
                                  size_t n, mode_t mode, struct sp_err *err) {
  int fd = open_temporary(path, mode, temporary, room);
  if (fd < 0) {
    return sp_fail_errno(err, "creating %s", temporary);
  }
  sp_status status = sp_write_all(fd, data, n, temporary, err);
  if (status == SP_OK) {
    status = sp_fsync(fd, temporary, err);
  }
  if (sp_fs_close(fd) != 0 && status == SP_OK) {
    status = sp_fail_errno(err, "closing %s", temporary);
  }
  if (status == SP_OK) {
    status = rename_to(temporary, path, err);
  }
  if (status != SP_OK) {
    sp_fs_unlink(AT_FDCWD, temporary, 0);
  }
  return status;
}

sp_status sp_file_replace(const char *path, const void *data, size_t n, mode_t mode,
                          struct sp_err *err) {
  size_t room = strlen(path) + 64;
  char *temporary = sp_alloc(room);
  char *directory = sp_path_dirname(path);
  sp_status status;
  if (!temporary || !directory) {
    status = sp_fail(err, SP_ENOMEM, "writing %s: out of memory", path);
  } else {
    status = write_and_rename(path, temporary, room, data, n, mode, err);
  }
  if (status == SP_OK) {
    status = sp_dir_fsync(directory, err);
  }
  sp_free(temporary);
  sp_free(directory);
  return status;
}

/* Makes the entry of a path durable. */
static sp_status sync_entry(const char *path, struct sp_err *err) {
  char *directory = sp_path_dirname(path);
  sp_status status = directory ? sp_dir_fsync(directory, err)
                               : sp_fail(err, SP_ENOMEM, "creating %s: out of memory", path);
  sp_free(directory);
  return status;
}

sp_status sp_mkdir(const char *path, mode_t mode, struct sp_err *err) {
  if (sp_fs_mkdir(AT_FDCWD, path, mode) != 0) {
    return sp_fail_errno(err, "creating directory %s", path);
  }
  return sync_entry(path, err);
}

static sp_status make_directory(const char *path, mode_t mode, struct sp_err *err) {
  struct stat st;
  if (sp_fs_mkdir(AT_FDCWD, path, mode) == 0) {
    return sync_entry(path, err);
  }
  int code = errno;
  if (stat(path, &st) == 0) {
    if (S_ISDIR(st.st_mode)) {
      return SP_OK;
    }
    return sp_fail(err, SP_EEXIST, "creating directory %s: a file of that name is there", path);
  }
  errno = code;
  return sp_fail_errno(err, "creating directory %s", path);
}

sp_status sp_mkdir_p(const char *path, mode_t mode, struct sp_err *err) {
  char *prefix = sp_strdup(path);
  if (!prefix) {
    return sp_fail(err, SP_ENOMEM, "creating directory %s: out of memory", path);
  }
  sp_status status = SP_OK;
  for (char *p = prefix; status == SP_OK && *p; p++) {
    if (*p == '/' && p > prefix && p[-1] != '/') {
      *p = '\0';
      status = make_directory(prefix, mode, err);
      *p = '/';
    }
  }
  if (status == SP_OK) {
    status = make_directory(prefix, mode, err);
  }
  sp_free(prefix);
  return status;
}
