/* The second half of a save: what a receipt describes is compared with what lies on the disk, then
 * one rename makes it a checkpoint. It needs no state and no module, and writes no file.
 *
 * The rename is the commit point. A publisher may die before or after it and be asked again: the
 * nonce in the MANIFEST says whether this receipt was published, which also answers a file server
 * that lost the reply to a rename.
 */
#include "engine/checkpoint/dirs.h"
#include "engine/checkpoint/load.h"
#include "proto/base/fault.h"
#include "proto/base/file.h"
#include "proto/base/fs.h"
#include "proto/base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_VERSIONS = 10000 };

static sp_status check_receipt(const struct stk_ckpt_receipt *r, struct sp_err *err) {
  char tmp[STK_CKPT_NAME_BYTES];
  if (r->magic != STK_CKPT_RECEIPT_MAGIC || r->step < 0 || r->generation < 0 || r->nonce == 0) {
    return sp_fail(err, SP_EINVAL, "checkpoint: this is no receipt of a save");
  }
  stk_ckpt_tmp_name(r->step, r->generation, r->nonce, tmp);
  return strncmp(tmp, r->tmp, sizeof tmp) == 0
             ? SP_OK
             : sp_fail(err, SP_EINVAL, "checkpoint: the receipt names another directory than %s",
                       tmp);
}

static bool has_nonce(const struct stk_ckpt *ck, uint64_t nonce) {
  char text[24];
  snprintf(text, sizeof text, "%016" PRIx64, nonce);
  return strcmp(ck->manifest.nonce, text) == 0;
}

/* Everything that both sides state. */
static sp_status compare(const struct stk_ckpt *ck, const struct stk_ckpt_receipt *r,
                         struct sp_err *err) {
  const struct stk_manifest *m = &ck->manifest;
  uint64_t total = 0;
  for (size_t i = 0; i < m->n_files; i++) {
    total += m->files[i].bytes;
  }
  const char *what = NULL;
  if (ck->manifest_bytes != r->manifest_bytes || ck->manifest_crc32c != r->manifest_crc32c) {
    what = "MANIFEST";
  } else if (m->step != r->step || m->generation != r->generation || !has_nonce(ck, r->nonce)) {
    what = "step, generation or nonce";
  } else if (m->order_run != r->order_run || m->order_seq != r->order_seq) {
    what = "order";
  } else if (m->n_files != r->n_files || total != r->total_bytes) {
    what = "number or size of the files";
  }
  return what
             ? sp_fail(err, SP_EMISMATCH,
                       "checkpoint: the receipt of %s and the directory disagree: %s", r->tmp, what)
             : SP_OK;
}

/* Nothing lies there but the MANIFEST and its files. */
static sp_status count_entries(const struct stk_ckpt *ck, struct sp_err *err) {
  int fd = openat(ck->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
  size_t n = 0;
  if (!d) {
    sp_status st = sp_fail_errno(err, "checkpoint: cannot list %s", ck->path);
    if (fd >= 0) {
      close(fd);
    }
    return st;
  }
  for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
    n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
  }
  closedir(d);
  return n == ck->manifest.n_files + 1
             ? SP_OK
             : sp_fail(err, SP_EMISMATCH, "checkpoint: %s holds %zu files, its MANIFEST names %zu",
                       ck->path, n, ck->manifest.n_files + 1);
}

/* Opens parent/name, which is a directory and no link to one. */
static sp_status open_entry(const char *parent, int parent_fd, const char *name,
                            struct stk_ckpt *ck, struct sp_err *err) {
  char path[PATH_MAX];
  struct stat entry;
  int n = snprintf(path, sizeof path, "%s/%s", parent, name);
  if (n < 0 || (size_t)n >= sizeof path) {
    return sp_fail(err, SP_EINVAL, "checkpoint: the path is too long");
  }
  if (fstatat(parent_fd, name, &entry, AT_SYMLINK_NOFOLLOW) != 0) {
    return sp_fail_errno(err, "checkpoint: %s", path);
  }
  if (!S_ISDIR(entry.st_mode)) {
    return sp_fail(err, SP_EMISMATCH, "checkpoint: %s is no directory", path);
  }
  return stk_ckpt_open(path, ck, err);
}

/* The directory against the receipt. */
static sp_status check_directory(const char *parent, int parent_fd,
                                 const struct stk_ckpt_receipt *r, struct sp_err *err) {
  struct stk_ckpt *ck = sp_alloc(sizeof *ck);
  sp_status st = ck ? open_entry(parent, parent_fd, r->tmp, ck, err)
                    : sp_fail(err, SP_ENOMEM, "checkpoint: out of memory");
  if (st == SP_OK) {
    st = compare(ck, r, err);
    st = st ? st : count_entries(ck, err);
    st = st ? st : sp_fsync(ck->dir_fd, ck->path, err);
    stk_ckpt_close(ck);
  }
  sp_free(ck);
  return st;
}

/* Whether one of the step's names is this receipt's checkpoint, published before. */
static bool find_published(const char *parent, int parent_fd, const struct stk_ckpt_receipt *r,
                           char out_name[STK_CKPT_NAME_BYTES]) {
  struct stk_ckpt *ck = sp_alloc(sizeof *ck);
  DIR *d = ck ? opendir(parent) : NULL;
  bool found = false;
  for (const struct dirent *e = d ? readdir(d) : NULL; e && !found; e = readdir(d)) {
    int64_t step;
    int64_t version;
    if (strlen(e->d_name) >= STK_CKPT_NAME_BYTES ||
        !stk_ckpt_name_parse(e->d_name, &step, &version) || step != r->step ||
        open_entry(parent, parent_fd, e->d_name, ck, NULL) != SP_OK) {
      continue;
    }
    found = compare(ck, r, NULL) == SP_OK;
    stk_ckpt_close(ck);
    snprintf(out_name, STK_CKPT_NAME_BYTES, "%.63s", e->d_name);
  }
  if (d) {
    closedir(d);
  }
  sp_free(ck);
  return found;
}

static int rename_to_version(int parent_fd, const struct stk_ckpt_receipt *r,
                             char out_name[STK_CKPT_NAME_BYTES]) {
  int e = EEXIST;
  for (int v = 0; e == EEXIST && v < MAX_VERSIONS; v++) {
    char suffix[16] = "";
    if (v > 0) {
      snprintf(suffix, sizeof suffix, "-v%d", v);
    }
    snprintf(out_name, STK_CKPT_NAME_BYTES, "step-%" PRId64 "%s", r->step, suffix);
    e = stk_ckpt_rename_new(parent_fd, r->tmp, out_name);
  }
  return e;
}

static sp_status publish_in(const char *parent, int parent_fd, const struct stk_ckpt_receipt *r,
                            char out_name[STK_CKPT_NAME_BYTES], struct sp_err *err) {
  sp_status st = check_directory(parent, parent_fd, r, err);
  st = st ? st : stk_ckpt_fault(SP_FAULT("checkpoint.publish"), "publishing", err);
  if (st == SP_OK) {
    int e = rename_to_version(parent_fd, r, out_name);
    st = stk_ckpt_fault(e, "cannot rename to its final name", err);
  }
  if (st == SP_ENOENT && find_published(parent, parent_fd, r, out_name)) {
    st = SP_OK;
  }
  st = st ? st : stk_ckpt_fault(SP_FAULT("checkpoint.parent"), "directory of checkpoints", err);
  return st ? st : sp_fsync(parent_fd, "the directory of checkpoints", err);
}

sp_status stk_ckpt_publish(const char *parent, const struct stk_ckpt_receipt *receipt,
                           struct stk_ckpt_saved *out, struct sp_err *err) {
  struct stk_ckpt_saved saved = {.bytes = receipt->total_bytes};
  int fd = -1;
  sp_status st = check_receipt(receipt, err);
  st = st ? st : stk_ckpt_open_parent(parent, &fd, err);
  if (st == SP_OK) {
    st = publish_in(parent, fd, receipt, saved.name, err);
    sp_fs_close(fd);
  }
  if (st == SP_OK) {
    *out = saved;
  }
  return st;
}

sp_status stk_ckpt_discard_tmp(const char *parent, int64_t step, int64_t generation, uint64_t nonce,
                               struct sp_err *err) {
  int fd = -1;
  struct stat entry;
  char tmp[STK_CKPT_NAME_BYTES];
  sp_status st = stk_ckpt_open_parent(parent, &fd, err);
  if (st != SP_OK) {
    return st;
  }
  stk_ckpt_tmp_name(step, generation, nonce, tmp);
  if (fstatat(fd, tmp, &entry, AT_SYMLINK_NOFOLLOW) == 0) {
    st = stk_ckpt_remove_dir(fd, tmp, err);
  } else if (errno != ENOENT) {
    st = sp_fail_errno(err, "checkpoint: cannot look at %s/%s", parent, tmp);
  }
  sp_fs_close(fd);
  return st;
}

sp_status stk_ckpt_discard(const char *parent, const struct stk_ckpt_receipt *receipt,
                           struct sp_err *err) {
  sp_status st = check_receipt(receipt, err);
  return st ? st
            : stk_ckpt_discard_tmp(parent, receipt->step, receipt->generation, receipt->nonce, err);
}
