/* Files made byte by byte; see the header. */
#include "tests/unit/data/files.h"

#include "tests/lib/tt.h"

#include <string.h>
#include <sys/stat.h>

enum { FILE_ROOM = 1 << 16 };

const char *write_raw(const char *name, const void *data, size_t n_bytes) {
  const char *path = tt_tmpfile(name);
  tt_write_file(path, data, n_bytes);
  return path;
}

const char *write_idx(const char *name, int n_dims, const uint32_t *dims, const void *data,
                      size_t n_bytes) {
  static uint8_t bytes[FILE_ROOM];
  size_t n = 4;
  memcpy(bytes, (const uint8_t[]){0, 0, 8, (uint8_t)n_dims}, 4);
  for (int i = 0; i < n_dims; i++) {
    for (int shift = 24; shift >= 0; shift -= 8) {
      bytes[n++] = (uint8_t)(dims[i] >> shift);
    }
  }
  assert_true(n + n_bytes <= sizeof bytes);
  memcpy(bytes + n, data, n_bytes);
  return write_raw(name, bytes, n + n_bytes);
}

const char *write_npy(const char *name, const char *dictionary, const void *data, size_t n_bytes) {
  static uint8_t bytes[FILE_ROOM];
  size_t n = strlen(dictionary);
  memcpy(bytes, "\x93NUMPY\x01\x00", 8);
  bytes[8] = (uint8_t)n;
  bytes[9] = (uint8_t)(n >> 8);
  memcpy(bytes + 10, dictionary, n);
  assert_true(10 + n + n_bytes <= sizeof bytes);
  memcpy(bytes + 10 + n, data, n_bytes);
  return write_raw(name, bytes, 10 + n + n_bytes);
}

const char *make_dir(const char *name) {
  const char *path = tt_tmpfile(name);
  assert_int_equal(mkdir(path, 0700), 0);
  return path;
}
