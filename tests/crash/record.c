/* The recorder: a table for proto/base/fs.h that passes on to the kernel and takes notes. */
#include "tests/lib/tt.h"

#include "tests/crash/crash.h"

#include "proto/base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- nodes */

static int node_of(const struct cr_record *r, uint64_t inode) {
  for (int i = r->n_nodes; i-- > 0;) {
    if (r->nodes[i].inode == inode) {
      return i;
    }
  }
  return -1;
}

static int node_of_fd(const struct cr_record *r, int fd) {
  struct stat st;
  return fstat(fd, &st) == 0 ? node_of(r, st.st_ino) : -1;
}

static int add_node(struct cr_record *r, enum cr_kind kind, uint64_t inode) {
  assert_true(r->n_nodes < CR_MAX_NODES);
  r->nodes[r->n_nodes] = (struct cr_node){.kind = kind, .inode = inode};
  return r->n_nodes++;
}

/* The directory in which a path's last part is an entry; -1 outside of the root. */
static int directory_of(const struct cr_record *r, int dir_fd, const char *path,
                        char out_name[CR_NAME]) {
  char dir[4096];
  struct stat st;
  const char *slash = strrchr(path, '/');
  snprintf(out_name, CR_NAME, "%.255s", slash ? slash + 1 : path);
  snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
  return fstatat(dir_fd, dir, &st, 0) == 0 ? node_of(r, st.st_ino) : -1;
}

static struct cr_note *add_note(struct cr_record *r, enum cr_call call, int node) {
  assert_true(r->n_notes < CR_MAX_NOTES);
  struct cr_note *n = &r->notes[r->n_notes++];
  *n = (struct cr_note){.call = call, .node = node, .dir = -1};
  return n;
}

/* What was there before: everything below a directory, as durable. */
static void take_tree(struct cr_record *r, int node, const char *path) {
  DIR *d = opendir(path);
  assert_non_null(d);
  for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
    char inner[4096];
    struct stat st;
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
      continue;
    }
    snprintf(inner, sizeof inner, "%.3800s/%.255s", path, e->d_name);
    assert_int_equal(lstat(inner, &st), 0);
    enum cr_kind kind = S_ISDIR(st.st_mode) ? CR_DIR : S_ISLNK(st.st_mode) ? CR_LINK : CR_FILE;
    int child = add_node(r, kind, st.st_ino);
    struct cr_node *n = &r->nodes[child];
    n->before = true;
    if (kind == CR_FILE) {
      n->data = (uint8_t *)tt_read_file(inner, &n->n);
    } else if (kind == CR_LINK) {
      n->data = sp_alloc(4096);
      ssize_t length = readlink(inner, (char *)n->data, 4095);
      assert_true(length > 0);
      n->n = (size_t)length;
    } else {
      take_tree(r, child, inner);
    }
    struct cr_node *parent = &r->nodes[node];
    assert_true(parent->n_entries < CR_MAX_ENTRIES);
    struct cr_entry *entry = &parent->entries[parent->n_entries++];
    snprintf(entry->name, sizeof entry->name, "%s", e->d_name);
    entry->node = child;
  }
  closedir(d);
}

/* ---- the table */

static void note_entry(struct cr_record *r, enum cr_kind kind, int dir_fd, const char *path,
                       const char *target) {
  struct stat st;
  char name[CR_NAME];
  int dir = directory_of(r, dir_fd, path, name);
  if (dir < 0 || fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) != 0) {
    return;
  }
  int node = add_node(r, kind, st.st_ino);
  if (target) {
    r->nodes[node].data = (uint8_t *)sp_strdup(target);
    r->nodes[node].n = strlen(target);
  }
  struct cr_note *n = add_note(r, CR_ENTER, node);
  n->dir = dir;
  memcpy(n->name, name, sizeof name);
}

static int record_open(void *ctx, int dir_fd, const char *path, int flags, mode_t mode) {
  struct cr_record *r = ctx;
  struct stat st;
  bool absent = flags & O_CREAT && fstatat(dir_fd, path, &st, 0) != 0;
  int fd = openat(dir_fd, path, flags, mode);
  if (fd >= 0 && absent) {
    note_entry(r, CR_FILE, dir_fd, path, NULL);
  }
  if (fd >= 0 && !absent && flags & O_TRUNC && node_of_fd(r, fd) >= 0) {
    add_note(r, CR_SIZE, node_of_fd(r, fd));
  }
  return fd;
}

static int record_close(void *ctx, int fd) {
  (void)ctx;
  return close(fd);
}

static void note_data(struct cr_record *r, int fd, const void *data, ssize_t n, off_t offset) {
  int node = node_of_fd(r, fd);
  if (n > 0 && node >= 0) {
    struct cr_note *note = add_note(r, CR_WRITE, node);
    note->data = sp_alloc((size_t)n);
    memcpy(note->data, data, (size_t)n);
    note->n = (size_t)n;
    note->offset = (uint64_t)offset;
  }
}

static ssize_t record_write(void *ctx, int fd, const void *data, size_t n) {
  struct stat st = {0};
  fstat(fd, &st);
  off_t at = fcntl(fd, F_GETFL) & O_APPEND ? st.st_size : lseek(fd, 0, SEEK_CUR);
  ssize_t done = write(fd, data, n);
  note_data(ctx, fd, data, done, at);
  return done;
}

static ssize_t record_pwrite(void *ctx, int fd, const void *data, size_t n, off_t offset) {
  ssize_t done = pwrite(fd, data, n, offset);
  note_data(ctx, fd, data, done, offset);
  return done;
}

static void note_size(struct cr_record *r, int fd, off_t bytes) {
  int node = node_of_fd(r, fd);
  if (node >= 0) {
    add_note(r, CR_SIZE, node)->offset = (uint64_t)bytes;
  }
}

static int record_truncate(void *ctx, int fd, off_t bytes) {
  int code = ftruncate(fd, bytes);
  if (code == 0) {
    note_size(ctx, fd, bytes);
  }
  return code;
}

static int record_allocate(void *ctx, int fd, off_t bytes) {
  struct stat st = {0};
  fstat(fd, &st);
  int code = sp_fs_kernel()->allocate(NULL, fd, bytes);
  if (code == 0 && bytes > st.st_size) {
    note_size(ctx, fd, bytes);
  }
  return code;
}

static void note_sync(struct cr_record *r, int fd) {
  int node = node_of_fd(r, fd);
  char link[64];
  if (node >= 0) {
    struct cr_note *n = add_note(r, CR_SYNC, node);
    char path[4096] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    const char *inner =
        length > 0 && strlen(r->root) < (size_t)length ? path + strlen(r->root) : "";
    snprintf(n->to, sizeof n->to, "%.255s", *inner ? inner : "/");
  }
}

static int record_sync(void *ctx, int fd) {
  note_sync(ctx, fd); /* the disk of the test need not do it */
  return 0;
}

static int record_rename(void *ctx, int from_dir, const char *from, int to_dir, const char *to,
                         unsigned flags) {
  struct cr_record *r = ctx;
  struct stat st;
  char name[CR_NAME];
  char new_name[CR_NAME];
  int node = fstatat(from_dir, from, &st, AT_SYMLINK_NOFOLLOW) == 0 ? node_of(r, st.st_ino) : -1;
  int dir = directory_of(r, from_dir, from, name);
  int other = directory_of(r, to_dir, to, new_name);
  int code = sp_fs_kernel()->rename(NULL, from_dir, from, to_dir, to, flags);
  if (code == 0 && dir >= 0) {
    assert_int_equal(dir, other); /* across directories there is no atomic move to model */
    struct cr_note *n = add_note(r, CR_RENAME, node);
    n->dir = dir;
    memcpy(n->name, name, sizeof name);
    memcpy(n->to, new_name, sizeof new_name);
  }
  return code;
}

static int record_unlink(void *ctx, int dir_fd, const char *path, int flags) {
  struct cr_record *r = ctx;
  struct stat st;
  char name[CR_NAME];
  int node = fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 ? node_of(r, st.st_ino) : -1;
  int dir = directory_of(r, dir_fd, path, name);
  int code = unlinkat(dir_fd, path, flags);
  if (code == 0 && dir >= 0) {
    struct cr_note *n = add_note(r, CR_LEAVE, node);
    n->dir = dir;
    memcpy(n->name, name, sizeof name);
  }
  return code;
}

static int record_mkdir(void *ctx, int dir_fd, const char *path, mode_t mode) {
  int code = mkdirat(dir_fd, path, mode);
  if (code == 0) {
    note_entry(ctx, CR_DIR, dir_fd, path, NULL);
  }
  return code;
}

static int record_symlink(void *ctx, const char *target, int dir_fd, const char *path) {
  int code = symlinkat(target, dir_fd, path);
  if (code == 0) {
    note_entry(ctx, CR_LINK, dir_fd, path, target);
  }
  return code;
}

/* ---- recording */

void cr_start(struct cr_record *r, const char *root) {
  struct stat st;
  *r = (struct cr_record){.table = {.open = record_open,
                                    .close = record_close,
                                    .write = record_write,
                                    .pwrite = record_pwrite,
                                    .truncate = record_truncate,
                                    .allocate = record_allocate,
                                    .fsync = record_sync,
                                    .fdatasync = record_sync,
                                    .rename = record_rename,
                                    .unlink = record_unlink,
                                    .mkdir = record_mkdir,
                                    .symlink = record_symlink,
                                    .ctx = r},
                          .nodes = sp_alloc_array(CR_MAX_NODES, sizeof *r->nodes),
                          .notes = sp_alloc_array(CR_MAX_NOTES, sizeof *r->notes)};
  assert_non_null(realpath(root, r->root));
  assert_int_equal(stat(root, &st), 0);
  int node = add_node(r, CR_DIR, st.st_ino);
  r->nodes[node].before = true;
  take_tree(r, node, root);
  sp_set_fs(&r->table);
}

void cr_mark(struct cr_record *r, int mark) {
  add_note(r, CR_MARK, -1)->mark = mark;
}

void cr_stop(void) {
  sp_set_fs(NULL);
}

void cr_free(struct cr_record *r) {
  for (int i = 0; i < r->n_nodes; i++) {
    sp_free(r->nodes[i].data);
  }
  for (int i = 0; i < r->n_notes; i++) {
    sp_free(r->notes[i].data);
  }
  sp_free(r->nodes);
  sp_free(r->notes);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
  (void)st;
  (void)type;
  (void)ftw;
  return remove(path);
}

void cr_use_memory(void) {
  if (access("/dev/shm", W_OK) == 0) {
    setenv("TMPDIR", "/dev/shm", 0);
  }
}

void cr_remove_tree(const char *path) {
  nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}
