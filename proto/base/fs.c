/* See fs.h. The table's pointer is the one global; only tests change it. */
#include "proto/base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int kernel_open(void *ctx, int dir_fd, const char *path, int flags, mode_t mode) {
  (void)ctx;
  return openat(dir_fd, path, flags, mode);
}

static int kernel_close(void *ctx, int fd) {
  (void)ctx;
  return close(fd);
}

static ssize_t kernel_write(void *ctx, int fd, const void *data, size_t n) {
  (void)ctx;
  return write(fd, data, n);
}

static ssize_t kernel_pwrite(void *ctx, int fd, const void *data, size_t n, off_t offset) {
  (void)ctx;
  return pwrite(fd, data, n, offset);
}

static int kernel_truncate(void *ctx, int fd, off_t bytes) {
  (void)ctx;
  return ftruncate(fd, bytes);
}

static int kernel_allocate(void *ctx, int fd, off_t bytes) {
  (void)ctx;
  int code = posix_fallocate(fd, 0, bytes);
  errno = code ? code : errno;
  return code ? -1 : 0;
}

static int kernel_fsync(void *ctx, int fd) {
  (void)ctx;
  return fsync(fd);
}

static int kernel_fdatasync(void *ctx, int fd) {
  (void)ctx;
  return fdatasync(fd);
}

static int kernel_rename(void *ctx, int from_dir, const char *from, int to_dir, const char *to,
                         unsigned flags) {
  (void)ctx;
  return flags ? renameat2(from_dir, from, to_dir, to, flags)
               : renameat(from_dir, from, to_dir, to);
}

static int kernel_unlink(void *ctx, int dir_fd, const char *path, int flags) {
  (void)ctx;
  return unlinkat(dir_fd, path, flags);
}

static int kernel_mkdir(void *ctx, int dir_fd, const char *path, mode_t mode) {
  (void)ctx;
  return mkdirat(dir_fd, path, mode);
}

static int kernel_symlink(void *ctx, const char *target, int dir_fd, const char *path) {
  (void)ctx;
  return symlinkat(target, dir_fd, path);
}

static const struct sp_fs kernel = {
    .open = kernel_open,
    .close = kernel_close,
    .write = kernel_write,
    .pwrite = kernel_pwrite,
    .truncate = kernel_truncate,
    .allocate = kernel_allocate,
    .fsync = kernel_fsync,
    .fdatasync = kernel_fdatasync,
    .rename = kernel_rename,
    .unlink = kernel_unlink,
    .mkdir = kernel_mkdir,
    .symlink = kernel_symlink,
};

static const struct sp_fs *table = &kernel;

const struct sp_fs *sp_fs_kernel(void) {
  return &kernel;
}

void sp_set_fs(const struct sp_fs *t) {
  table = t ? t : &kernel;
}

int sp_fs_open(int dir_fd, const char *path, int flags, mode_t mode) {
  int fd;
  do {
    fd = table->open(table->ctx, dir_fd, path, flags, mode);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

int sp_fs_close(int fd) {
  int code = table->close(table->ctx, fd);
  return code != 0 && errno == EINTR ? 0 : code;
}

ssize_t sp_fs_write(int fd, const void *data, size_t n) {
  return table->write(table->ctx, fd, data, n);
}

ssize_t sp_fs_pwrite(int fd, const void *data, size_t n, off_t offset) {
  return table->pwrite(table->ctx, fd, data, n, offset);
}

int sp_fs_truncate(int fd, off_t bytes) {
  return table->truncate(table->ctx, fd, bytes);
}

int sp_fs_allocate(int fd, off_t bytes) {
  return table->allocate(table->ctx, fd, bytes);
}

int sp_fs_fsync(int fd) {
  return table->fsync(table->ctx, fd);
}

int sp_fs_fdatasync(int fd) {
  return table->fdatasync(table->ctx, fd);
}

int sp_fs_rename(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
  return table->rename(table->ctx, from_dir, from, to_dir, to, flags);
}

int sp_fs_unlink(int dir_fd, const char *path, int flags) {
  return table->unlink(table->ctx, dir_fd, path, flags);
}

int sp_fs_mkdir(int dir_fd, const char *path, mode_t mode) {
  return table->mkdir(table->ctx, dir_fd, path, mode);
}

int sp_fs_symlink(const char *target, int dir_fd, const char *path) {
  return table->symlink(table->ctx, target, dir_fd, path);
}
