/* Test helpers: temporary directory, shared files, counting allocator. See tt.h.
 *
 * The counters are process-wide by nature (they sit behind the one allocator) and atomic.
 */
#include "tests/lib/tt.h"

#include <errno.h>
#include <ftw.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/file.h"
#include "proto/base/mem.h"

enum { N_PATHS = 16, PATH_BYTES = 4096 };

static char *next_path(void) {
  static char paths[N_PATHS][PATH_BYTES];
  static unsigned turn;
  return paths[turn++ % N_PATHS];
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
  (void)st;
  (void)type;
  (void)ftw;
  return remove(path);
}

static char tmpdir[PATH_BYTES];
static pid_t tmpdir_owner;

static void remove_tmpdir(void) {
  if (getpid() == tmpdir_owner) {
    nftw(tmpdir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
  }
}

const char *tt_tmpdir(void) {
  if (!tmpdir[0]) {
    const char *base = getenv("TMPDIR");
    snprintf(tmpdir, sizeof tmpdir, "%s/stoker-test-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(tmpdir)) {
      fail_msg("mkdtemp(%s): %s", tmpdir, strerror(errno));
    }
    tmpdir_owner = getpid();
    atexit(remove_tmpdir);
  }
  return tmpdir;
}

const char *tt_tmpfile(const char *name) {
  char *path = next_path();
  if (snprintf(path, PATH_BYTES, "%s/%s", tt_tmpdir(), name) >= PATH_BYTES) {
    fail_msg("path too long: %s", name);
  }
  return path;
}

const char *tt_source(const char *relative) {
  char *path = next_path();
  snprintf(path, PATH_BYTES, "%s/%s", TT_SOURCE_DIR, relative);
  return path;
}

const char *tt_shared(const char *relative) {
  char *path = next_path();
  const char *base = getenv("STOKER_SHARED");
  if (base && *base) {
    snprintf(path, PATH_BYTES, "%s/%s", base, relative);
  } else {
    snprintf(path, PATH_BYTES, "%s/../shared/%s", TT_SOURCE_DIR, relative);
  }
  return access(path, R_OK) == 0 ? path : NULL;
}

void tt_write_file(const char *path, const void *bytes, size_t n) {
  FILE *f = fopen(path, "wb");
  if (!f) {
    fail_msg("%s: %s", path, strerror(errno));
    return;
  }
  size_t written = fwrite(bytes, 1, n, f);
  if (fclose(f) != 0 || written != n) {
    fail_msg("%s: short write", path);
  }
}

void tt_put_file(const char *root, const char *path, const char *text) {
  char whole[PATH_BYTES], directory[PATH_BYTES];
  snprintf(whole, sizeof whole, "%s/%s", root, path);
  snprintf(directory, sizeof directory, "%s", whole);
  *strrchr(directory, '/') = '\0';
  assert_int_equal(sp_mkdir_p(directory, 0700, NULL), SP_OK);
  tt_write_file(whole, text, strlen(text));
}

char *tt_read_file(const char *path, size_t *out_n) {
  FILE *f = fopen(path, "rb");
  if (!f) {
    fail_msg("%s: %s", path, strerror(errno));
    return NULL;
  }
  size_t n = 0;
  size_t room = 4096;
  char *bytes = sp_alloc(room + 1);
  while (bytes) {
    n += fread(bytes + n, 1, room - n, f);
    if (n < room) {
      break;
    }
    room *= 2;
    bytes = sp_resize_array(bytes, room + 1, 1);
  }
  fclose(f);
  assert_non_null(bytes);
  bytes[n] = '\0';
  if (out_n) {
    *out_n = n;
  }
  return bytes;
}

static atomic_long live;
static atomic_long countdown;
static atomic_bool failed;

static bool failure_due(void) {
  long left = atomic_load(&countdown);
  while (left > 0 && !atomic_compare_exchange_weak(&countdown, &left, left - 1)) {
  }
  if (left == 1) {
    atomic_store(&failed, true);
  }
  return left == 1;
}

static void *counted_alloc(void *ctx, size_t bytes) {
  (void)ctx;
  void *p = failure_due() ? NULL : calloc(1, bytes);
  if (p) {
    atomic_fetch_add(&live, 1);
  }
  return p;
}

static void *counted_resize(void *ctx, void *p, size_t bytes) {
  (void)ctx;
  void *q = failure_due() ? NULL : realloc(p, bytes);
  if (q && !p) {
    atomic_fetch_add(&live, 1);
  }
  return q;
}

static void counted_release(void *ctx, void *p) {
  (void)ctx;
  if (p) {
    atomic_fetch_sub(&live, 1);
    free(p);
  }
}

int tt_leak_setup(void **state) {
  (void)state;
  static const struct sp_allocator counted = {counted_alloc, counted_resize, counted_release, NULL};
  atomic_store(&live, 0);
  tt_fail_alloc(0);
  sp_set_allocator(&counted);
  return 0;
}

int tt_leak_teardown(void **state) {
  (void)state;
  long left = atomic_load(&live);
  tt_fail_alloc(0);
  sp_set_allocator(NULL);
  if (left != 0) {
    print_error("%ld blocks are still allocated at the end of the test\n", left);
  }
  return left == 0 ? 0 : -1;
}

long tt_live_blocks(void) {
  return atomic_load(&live);
}

void tt_fail_alloc(long n) {
  atomic_store(&failed, false);
  atomic_store(&countdown, n);
}

bool tt_alloc_failed(void) {
  return atomic_load(&failed);
}
