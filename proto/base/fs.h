/* The calls that change a file system, behind one table.
 *
 * Whatever has to survive a power loss is written through these, and nothing else, so that a test
 * can put its own table in the kernel's place: one that records (tests/crash replays what a disk
 * may have kept of the record) or one that fails. The functions are the system calls of their
 * names: -1 and errno, with one difference, that an interrupted open is repeated and an interrupted
 * close, which has closed, is no failure. Reading needs no table.
 *
 * Threads: any, but the table is changed only while nobody calls.
 */
#ifndef SP_BASE_FS_H
#define SP_BASE_FS_H

#include <stddef.h>
#include <sys/types.h>

struct sp_fs {
  int (*open)(void *ctx, int dir_fd, const char *path, int flags, mode_t mode);
  int (*close)(void *ctx, int fd);
  ssize_t (*write)(void *ctx, int fd, const void *data, size_t n);
  ssize_t (*pwrite)(void *ctx, int fd, const void *data, size_t n, off_t offset);
  int (*truncate)(void *ctx, int fd, off_t bytes);
  int (*allocate)(void *ctx, int fd, off_t bytes); /* posix_fallocate from 0 on; -1 and errno */
  int (*fsync)(void *ctx, int fd);
  int (*fdatasync)(void *ctx, int fd);
  int (*rename)(void *ctx, int from_dir, const char *from, int to_dir, const char *to,
                unsigned flags);
  int (*unlink)(void *ctx, int dir_fd, const char *path, int flags);
  int (*mkdir)(void *ctx, int dir_fd, const char *path, mode_t mode);
  int (*symlink)(void *ctx, const char *target, int dir_fd, const char *path);
  void *ctx;
};

int sp_fs_open(int dir_fd, const char *path, int flags, mode_t mode);
int sp_fs_close(int fd);
ssize_t sp_fs_write(int fd, const void *data, size_t n);
ssize_t sp_fs_pwrite(int fd, const void *data, size_t n, off_t offset);
int sp_fs_truncate(int fd, off_t bytes);
int sp_fs_allocate(int fd, off_t bytes); /* bytes > 0 */
int sp_fs_fsync(int fd);
int sp_fs_fdatasync(int fd);
int sp_fs_rename(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
int sp_fs_unlink(int dir_fd, const char *path, int flags);
int sp_fs_mkdir(int dir_fd, const char *path, mode_t mode);
int sp_fs_symlink(const char *target, int dir_fd, const char *path);

/* The kernel's table, for a table of a test to pass on to. */
const struct sp_fs *sp_fs_kernel(void);

/* Puts t in the kernel's place; NULL: the kernel again. For tests. */
void sp_set_fs(const struct sp_fs *t);

#endif
