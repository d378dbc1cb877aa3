/* Mapped files: how the built-in readers see theirs.
 *
 * A mapping is private and read-only; its descriptor is closed at once. The size is taken when the
 * file is mapped, and readers check their headers against it, so no read leaves the mapping. A file
 * that another process cuts afterwards raises SIGBUS.
 */
#include "engine/data/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static sp_status open_plain(const char *path, int *out_fd, struct sp_err *err) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    return sp_fail_errno(err, "data: cannot open %s", path);
  }
  *out_fd = fd;
  return SP_OK;
}

static sp_status map_descriptor(int fd, const char *path, struct stk_mapping *out,
                                struct sp_err *err) {
  struct stat st;
  if (fstat(fd, &st) != 0) {
    return sp_fail_errno(err, "data: cannot stat %s", path);
  }
  if (!S_ISREG(st.st_mode)) {
    return sp_fail(err, SP_EINVAL, "data: %s is not a regular file", path);
  }
  if (st.st_size <= 0) {
    return sp_fail(err, SP_ECORRUPT, "data: %s is empty", path);
  }
  void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (p == MAP_FAILED) {
    return sp_fail_errno(err, "data: cannot map %s", path);
  }
  out->bytes = p;
  out->n_bytes = (uint64_t)st.st_size;
  return SP_OK;
}

sp_status stk_mapping_open(const struct stk_data_opener *opener, const char *path,
                           struct stk_mapping *out, struct sp_err *err) {
  int fd;
  sp_status st = opener ? opener->open(opener->ctx, path, &fd, err) : open_plain(path, &fd, err);
  if (st != SP_OK) {
    return st;
  }
  st = map_descriptor(fd, path, out, err);
  close(fd);
  return st;
}

void stk_mapping_close(struct stk_mapping *m) {
  if (m->bytes) {
    munmap((void *)(uintptr_t)m->bytes, (size_t)m->n_bytes);
  }
  *m = (struct stk_mapping){0};
}

bool stk_data_is_directory(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool stk_data_find(const char *dir, const char *const *names, size_t n_names,
                   char out[STK_DATA_PATH_BYTES]) {
  static const char *const endings[] = {"", ".gz"};
  for (size_t i = 0; i < 2 * n_names; i++) {
    int n = snprintf(out, STK_DATA_PATH_BYTES, "%s%s%s%s", dir ? dir : "", dir ? "/" : "",
                     names[i / 2], endings[i % 2]);
    if (n > 0 && n < STK_DATA_PATH_BYTES && access(out, F_OK) == 0) {
      return true;
    }
  }
  return false;
}

void stk_data_gather(const uint8_t *base, uint64_t sample_bytes, const stk_reader_request *request,
                     void *out) {
  uint8_t *to = out;
  for (int32_t k = 0; k < request->n; k++) {
    memcpy(to, base + (uint64_t)request->ids[k] * sample_bytes, sample_bytes);
    to += sample_bytes;
  }
}
