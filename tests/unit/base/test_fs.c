/* The table of proto/base/fs.h: every call arrives there with its arguments, the kernel's comes
 * back, and interrupted opens and closes are nobody's business. */
#include "tests/lib/tt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/fs.h"

static void test_fs_kernel_does_what_the_names_say(void **state) {
  (void)state;
  struct stat st;
  char text[8] = "";
  const char *dir = tt_tmpfile("dir");
  assert_int_equal(sp_fs_mkdir(AT_FDCWD, dir, 0700), 0);
  assert_int_equal(sp_fs_mkdir(AT_FDCWD, dir, 0700), -1);
  assert_int_equal(errno, EEXIST);
  int d = sp_fs_open(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
  int fd = sp_fs_open(d, "a", O_RDWR | O_CREAT | O_EXCL, 0640);
  assert_true(d >= 0 && fd >= 0);
  assert_int_equal(sp_fs_allocate(fd, 100), 0);
  assert_int_equal(sp_fs_write(fd, "abc", 3), 3);
  assert_int_equal(sp_fs_pwrite(fd, "xy", 2, 1), 2);
  assert_int_equal(fstat(fd, &st), 0);
  assert_int_equal(st.st_size, 100);
  assert_int_equal(sp_fs_truncate(fd, 3), 0);
  assert_int_equal(pread(fd, text, 8, 0), 3);
  assert_memory_equal(text, "axy", 3);
  assert_int_equal(sp_fs_fsync(fd), 0);
  assert_int_equal(sp_fs_fdatasync(fd), 0);
  assert_int_equal(sp_fs_close(fd), 0);
  assert_int_equal(sp_fs_symlink("a", d, "l"), 0);
  assert_int_equal(sp_fs_rename(d, "l", d, "a", RENAME_NOREPLACE), -1);
  assert_int_equal(errno, EEXIST);
  assert_int_equal(sp_fs_rename(d, "l", d, "m", 0), 0);
  assert_int_equal(readlinkat(d, "m", text, sizeof text), 1);
  assert_int_equal(sp_fs_unlink(d, "m", 0), 0);
  assert_int_equal(sp_fs_unlink(d, "a", 0), 0);
  assert_int_equal(sp_fs_close(d), 0);
  assert_int_equal(sp_fs_unlink(AT_FDCWD, dir, AT_REMOVEDIR), 0);
  assert_int_equal(sp_fs_fsync(-1), -1);
  assert_int_equal(errno, EBADF);
}

struct interrupted {
  int n_opens;
  int n_closes;
};

static int interrupted_open(void *ctx, int dir_fd, const char *path, int flags, mode_t mode) {
  struct interrupted *x = ctx;
  if (x->n_opens++ < 2) {
    errno = EINTR;
    return -1;
  }
  return sp_fs_kernel()->open(NULL, dir_fd, path, flags, mode);
}

static int interrupted_close(void *ctx, int fd) {
  struct interrupted *x = ctx;
  x->n_closes++;
  close(fd);
  errno = EINTR;
  return -1;
}

static void test_fs_interrupted_open_is_repeated_and_close_is_not(void **state) {
  (void)state;
  struct interrupted x = {0};
  struct sp_fs table = *sp_fs_kernel();
  table.open = interrupted_open;
  table.close = interrupted_close;
  table.ctx = &x;
  sp_set_fs(&table);
  int fd = sp_fs_open(AT_FDCWD, "/", O_RDONLY | O_DIRECTORY, 0);
  int code = sp_fs_close(fd);
  sp_set_fs(NULL);
  assert_true(fd >= 0);
  assert_int_equal(x.n_opens, 3);
  assert_int_equal(code, 0);
  assert_int_equal(x.n_closes, 1);
  fd = sp_fs_open(AT_FDCWD, "/", O_RDONLY | O_DIRECTORY, 0);
  assert_int_equal(sp_fs_close(fd), 0);
  assert_int_equal(x.n_opens, 3);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_fs_kernel_does_what_the_names_say),
      tt_test(test_fs_interrupted_open_is_repeated_and_close_is_not),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
