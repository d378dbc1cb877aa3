/* See the header. Removal renames first, so that a reader never sees half a checkpoint under its
 * published name, whatever interrupts it.
 */
#include "engine/checkpoint/dirs.h"

#include "engine/checkpoint/load.h"
#include "proto/base/fault.h"
#include "proto/base/file.h"
#include "proto/base/fs.h"
#include "proto/base/mem.h"
#include "proto/base/strutil.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

sp_status stk_ckpt_fault(int e, const char *what, struct sp_err *err) {
  if (e == 0) {
    return SP_OK;
  }
  errno = e;
  return sp_fail_errno(err, "checkpoint: %s", what);
}

/* Random and not 0, which stands for none. */
static sp_status make_nonce(uint64_t *out, struct sp_err *err) {
  uint64_t bits = 0;
  do {
    if (getrandom(&bits, sizeof bits, 0) != (ssize_t)sizeof bits) {
      return sp_fail_errno(err, "checkpoint: no random bits");
    }
  } while (bits == 0);
  *out = bits;
  return SP_OK;
}

void stk_ckpt_tmp_name(int64_t step, int64_t generation, uint64_t nonce,
                       char out[STK_CKPT_NAME_BYTES]) {
  snprintf(out, STK_CKPT_NAME_BYTES, "tmp-%" PRId64 "-%" PRId64 "-%016" PRIx64, step, generation,
           nonce);
}

sp_status stk_ckpt_open_parent(const char *parent, int *out_fd, struct sp_err *err) {
  int fd = sp_fs_open(AT_FDCWD, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (fd < 0) {
    return sp_fail_errno(err, "checkpoint: cannot open directory %s", parent);
  }
  *out_fd = fd;
  return SP_OK;
}

static sp_status make_directory(struct stk_ckpt_tmp *tmp, const char *parent, struct sp_err *err) {
  sp_status st = stk_ckpt_fault(SP_FAULT("checkpoint.mkdir"), "mkdir", err);
  if (st != SP_OK) {
    return st;
  }
  if (sp_fs_mkdir(tmp->parent_fd, tmp->name, 0755) != 0) {
    return sp_fail_errno(err, "checkpoint: cannot make %s/%s", parent, tmp->name);
  }
  tmp->dir_fd =
      sp_fs_open(tmp->parent_fd, tmp->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
  if (tmp->dir_fd < 0) {
    st = sp_fail_errno(err, "checkpoint: cannot open %s/%s", parent, tmp->name);
    sp_fs_unlink(tmp->parent_fd, tmp->name, AT_REMOVEDIR);
    return st;
  }
  /* Says to a sweeper that somebody lives here; where there are no locks, generations have to do.
   */
  (void)flock(tmp->dir_fd, LOCK_EX | LOCK_NB);
  return SP_OK;
}

sp_status stk_ckpt_tmp_open(const char *parent, int64_t step, int64_t generation, uint64_t nonce,
                            struct stk_ckpt_tmp *out, struct sp_err *err) {
  struct stk_ckpt_tmp tmp = {.parent_fd = -1, .dir_fd = -1, .nonce = nonce};
  sp_status st = sp_mkdir_p(parent, 0755, err);
  if (st == SP_OK && nonce == 0) {
    st = make_nonce(&tmp.nonce, err);
  }
  if (st == SP_OK) {
    st = stk_ckpt_open_parent(parent, &tmp.parent_fd, err);
  }
  if (st != SP_OK) {
    return st;
  }
  stk_ckpt_tmp_name(step, generation, tmp.nonce, tmp.name);
  st = make_directory(&tmp, parent, err);
  if (st != SP_OK) {
    sp_fs_close(tmp.parent_fd);
    return st;
  }
  *out = tmp;
  return SP_OK;
}

int stk_ckpt_rename_new(int parent_fd, const char *from, const char *to) {
  if (sp_fs_rename(parent_fd, from, parent_fd, to, RENAME_NOREPLACE) == 0) {
    return 0;
  }
  /* File systems without RENAME_NOREPLACE: a directory replaces an empty directory at most. */
  if (errno == EINVAL || errno == ENOSYS) {
    if (sp_fs_rename(parent_fd, from, parent_fd, to, 0) == 0) {
      return 0;
    }
  }
  return errno == ENOTEMPTY ? EEXIST : errno;
}

/* Removes the files of an open directory, which it closes, and the directory. */
static sp_status empty_and_remove(int parent_fd, int fd, const char *name, struct sp_err *err) {
  DIR *d = fdopendir(fd);
  if (!d) {
    sp_status st = sp_fail_errno(err, "checkpoint: cannot list %s", name);
    sp_fs_close(fd);
    return st;
  }
  sp_status st = SP_OK;
  rewinddir(d);
  for (const struct dirent *e = readdir(d); e && st == SP_OK; e = readdir(d)) {
    bool dots = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
    if (!dots && sp_fs_unlink(fd, e->d_name, 0) != 0 && errno != ENOENT) {
      st = sp_fail_errno(err, "checkpoint: cannot remove %s/%s", name, e->d_name);
    }
  }
  closedir(d);
  if (st == SP_OK && sp_fs_unlink(parent_fd, name, AT_REMOVEDIR) != 0 && errno != ENOENT) {
    st = sp_fail_errno(err, "checkpoint: cannot remove %s", name);
  }
  return st;
}

sp_status stk_ckpt_remove_dir(int parent_fd, const char *name, struct sp_err *err) {
  int fd = sp_fs_open(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
  return fd < 0 ? sp_fail_errno(err, "checkpoint: cannot open %s", name)
                : empty_and_remove(parent_fd, fd, name, err);
}

void stk_ckpt_tmp_close(struct stk_ckpt_tmp *tmp, bool keep) {
  if (keep) {
    sp_fs_close(tmp->dir_fd);
  } else { /* by the descriptor that there is: the process may have no other left */
    sp_status ignored = empty_and_remove(tmp->parent_fd, tmp->dir_fd, tmp->name, NULL);
    (void)ignored;
  }
  sp_fs_close(tmp->parent_fd);
}

/* Digits without leading zeros, up to `stop`. */
static bool parse_number(const char **p, int64_t *out) {
  char digits[20];
  size_t n = strspn(*p, "0123456789");
  if (n == 0 || n >= sizeof digits || (n > 1 && **p == '0')) {
    return false;
  }
  memcpy(digits, *p, n);
  digits[n] = 0;
  *p += n;
  return sp_parse_i64(digits, out) == SP_OK;
}

bool stk_ckpt_name_parse(const char *name, int64_t *out_step, int64_t *out_version) {
  const char *p = name;
  if (strncmp(p, "step-", 5) != 0) {
    return false;
  }
  p += 5;
  *out_version = 0;
  if (!parse_number(&p, out_step)) {
    return false;
  }
  if (strncmp(p, "-v", 2) == 0) {
    p += 2;
    if (!parse_number(&p, out_version)) {
      return false;
    }
  }
  return *p == 0;
}

static bool is_whole(const char *parent, const char *name) {
  char path[PATH_MAX];
  struct stk_ckpt *ck = sp_alloc(sizeof *ck);
  int n = snprintf(path, sizeof path, "%s/%s", parent, name);
  bool whole = ck && n > 0 && (size_t)n < sizeof path && stk_ckpt_open(path, ck, NULL) == SP_OK;
  if (whole) {
    stk_ckpt_close(ck);
  }
  sp_free(ck);
  return whole;
}

/* SP_EPERM for the newest whole one with nothing in its stead. */
static sp_status check_spared(const char *parent, const char *name, const char *instead,
                              struct sp_err *err) {
  char newest[PATH_MAX];
  if (instead && strcmp(instead, name) != 0 && is_whole(parent, instead)) {
    return SP_OK;
  }
  sp_status st = stk_ckpt_find(parent, "last", newest, err);
  if (st == SP_ENOENT) {
    return SP_OK; /* nothing is whole, so nothing is lost */
  }
  if (st == SP_OK && strcmp(strrchr(newest, '/') + 1, name) == 0) {
    st = sp_fail(err, SP_EPERM, "checkpoint: %s is the newest whole one and stays", newest);
  }
  return st;
}

static sp_status move_to_trash(const char *parent, int fd, const char *name, const char *trash,
                               struct sp_err *err) {
  if (sp_fs_rename(fd, name, fd, trash, 0) != 0) {
    return sp_fail_errno(err, "checkpoint: cannot remove %s/%s", parent, name);
  }
  sp_status st = sp_fsync(fd, parent, err);
  return st ? st : stk_ckpt_fault(SP_FAULT("checkpoint.trash"), "removing", err);
}

sp_status stk_ckpt_remove(const char *parent, const char *name, const char *instead,
                          struct sp_err *err) {
  int64_t step;
  int64_t version;
  uint64_t nonce = 0;
  char trash[2 * STK_CKPT_NAME_BYTES];
  int fd = -1;
  if (strlen(name) >= STK_CKPT_NAME_BYTES || !stk_ckpt_name_parse(name, &step, &version)) {
    return sp_fail(err, SP_EINVAL, "checkpoint: '%.100s' is not the name of a checkpoint", name);
  }
  sp_status st = make_nonce(&nonce, err);
  st = st ? st : check_spared(parent, name, instead, err);
  st = st ? st : stk_ckpt_open_parent(parent, &fd, err);
  if (st != SP_OK) {
    return st;
  }
  snprintf(trash, sizeof trash, "trash-%s-%016" PRIx64, name, nonce);
  st = move_to_trash(parent, fd, name, trash, err);
  st = st ? st : stk_ckpt_remove_dir(fd, trash, err);
  sp_fs_close(fd);
  return st;
}

sp_status stk_ckpt_link(const char *parent, const char *name, const char *target,
                        struct sp_err *err) {
  char tmp[STK_CKPT_NAME_BYTES];
  uint64_t nonce = 0;
  int fd = -1;
  sp_status st = make_nonce(&nonce, err);
  st = st ? st : stk_ckpt_open_parent(parent, &fd, err);
  if (st != SP_OK) {
    return st;
  }
  snprintf(tmp, sizeof tmp, "tmp-link-%016" PRIx64, nonce);
  int e = SP_FAULT("checkpoint.link");
  if (e || sp_fs_symlink(target, fd, tmp) != 0) {
    errno = e ? e : errno;
    st = sp_fail_errno(err, "checkpoint: cannot make the link %s/%s", parent, name);
  } else if (sp_fs_rename(fd, tmp, fd, name, 0) != 0) {
    st = sp_fail_errno(err, "checkpoint: cannot make the link %s/%s", parent, name);
    sp_fs_unlink(fd, tmp, 0);
  }
  st = st ? st : sp_fsync(fd, parent, err);
  sp_fs_close(fd);
  return st;
}

sp_status stk_ckpt_unlink(const char *parent, const char *name, struct sp_err *err) {
  int fd = -1;
  sp_status st = stk_ckpt_open_parent(parent, &fd, err);
  if (st != SP_OK) {
    return st;
  }
  if (sp_fs_unlink(fd, name, 0) != 0) {
    st = sp_fail_errno(err, "checkpoint: cannot remove the link %s/%s", parent, name);
  }
  st = st ? st : sp_fsync(fd, parent, err);
  sp_fs_close(fd);
  return st;
}

/* Sixteen lower-case hexadecimal digits and the end. */
static bool parse_nonce(const char *p, uint64_t *out) {
  uint64_t v = 0;
  if (strlen(p) != 16 || strspn(p, "0123456789abcdef") != 16) {
    return false;
  }
  for (; *p; p++) {
    v = v << 4 | (uint64_t)(*p <= '9' ? *p - '0' : *p - 'a' + 10);
  }
  *out = v;
  return true;
}

/* tmp-<step>-<generation>-<nonce>. */
static bool parse_tmp(const char *name, int64_t *out_generation, uint64_t *out_nonce) {
  int64_t step;
  const char *p = name + 4;
  return strncmp(name, "tmp-", 4) == 0 && parse_number(&p, &step) && *p++ == '-' &&
         parse_number(&p, out_generation) && *p++ == '-' && parse_nonce(p, out_nonce);
}

/* trash-step-<n>[-v<m>]-<nonce>. */
static bool is_trash(const char *name) {
  char step_name[STK_CKPT_NAME_BYTES];
  int64_t step;
  int64_t version;
  uint64_t nonce;
  const char *end = strrchr(name, '-');
  size_t n = end ? (size_t)(end - name) : 0;
  if (strncmp(name, "trash-", 6) != 0 || n < 6 || n - 6 >= sizeof step_name) {
    return false;
  }
  memcpy(step_name, name + 6, n - 6);
  step_name[n - 6] = 0;
  return parse_nonce(end + 1, &nonce) && stk_ckpt_name_parse(step_name, &step, &version);
}

/* What links, best.json and the like were called before their renames. */
static bool is_tmp_file(const char *name) {
  static const char link[] = "tmp-link-";
  uint64_t nonce;
  return (strncmp(name, link, sizeof link - 1) == 0 &&
          parse_nonce(name + sizeof link - 1, &nonce)) ||
         sp_file_is_temporary(name);
}

/* Whether a living process still writes there. A file system without locks says no. */
static bool is_held(int parent_fd, const char *name) {
  int fd = sp_fs_open(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
  bool held = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  if (fd >= 0) {
    sp_fs_close(fd);
  }
  return held;
}

sp_status stk_ckpt_sweep(const char *parent, int64_t generation, uint64_t keep,
                         struct sp_err *err) {
  DIR *d = opendir(parent);
  if (!d) {
    return errno == ENOENT ? SP_OK : sp_fail_errno(err, "checkpoint: cannot open %s", parent);
  }
  sp_status st = SP_OK;
  for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
    int64_t of;
    uint64_t nonce;
    bool dead = parse_tmp(e->d_name, &of, &nonce) && of < generation &&
                (keep == 0 || nonce != keep) && !is_held(dirfd(d), e->d_name);
    sp_status one = SP_OK;
    if (dead || is_trash(e->d_name)) {
      one = stk_ckpt_remove_dir(dirfd(d), e->d_name, st ? NULL : err);
    } else if (is_tmp_file(e->d_name) && sp_fs_unlink(dirfd(d), e->d_name, 0) != 0) {
      one = sp_fail_errno(st ? NULL : err, "checkpoint: cannot remove %s/%s", parent, e->d_name);
    }
    /* One that cannot be removed keeps none of the others; another sweeper may have been faster. */
    st = st || one == SP_ENOENT ? st : one;
  }
  closedir(d);
  return st;
}
