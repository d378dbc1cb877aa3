/* Opening, checking, reading. The descriptors of files live for one call. */
#include "engine/checkpoint/load.h"

#include "engine/checkpoint/names.h"
#include "engine/checkpoint/read.h"
#include "proto/base/crc32c.h"
#include "proto/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static sp_status read_manifest(struct stk_ckpt *ck, struct sp_err *err) {
  int fd;
  struct stat stat;
  sp_status st = stk_read_open(ck->dir_fd, "MANIFEST", &fd, err);
  if (st != SP_OK) {
    return st;
  }
  char *text = NULL;
  if (fstat(fd, &stat) != 0 || stat.st_size > STK_MANIFEST_MAX_BYTES) {
    st = sp_fail(err, SP_ECORRUPT, "MANIFEST is too large");
  } else if (!(text = sp_alloc((size_t)stat.st_size + 1))) {
    st = sp_fail(err, SP_ENOMEM, "out of memory for MANIFEST");
  } else {
    st = stk_read_at(fd, text, (size_t)stat.st_size, 0, "MANIFEST", err);
  }
  if (st == SP_OK) {
    ck->manifest_bytes = (uint64_t)stat.st_size;
    ck->manifest_crc32c = sp_crc32c(0, text, (size_t)stat.st_size);
    st = stk_manifest_parse(text, (size_t)stat.st_size, &ck->manifest, err);
  }
  sp_free(text);
  close(fd);
  return st;
}

static sp_status check_sizes(const struct stk_ckpt *ck, struct sp_err *err) {
  for (size_t i = 0; i < ck->manifest.n_files; i++) {
    const struct stk_manifest_file *f = &ck->manifest.files[i];
    struct stat st;
    if (fstatat(ck->dir_fd, f->name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
      return sp_fail_errno(err, "%s", f->name);
    }
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != f->bytes) {
      return sp_fail(err, SP_ECORRUPT, "%s has %lld bytes, the manifest says %" PRIu64, f->name,
                     (long long)st.st_size, f->bytes);
    }
  }
  return SP_OK;
}

sp_status stk_ckpt_open(const char *path, struct stk_ckpt *out, struct sp_err *err) {
  struct stk_ckpt *ck = sp_alloc(sizeof *ck);
  if (!ck) {
    return sp_fail(err, SP_ENOMEM, "checkpoint: out of memory");
  }
  int n = snprintf(ck->path, sizeof ck->path, "%s", path);
  ck->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  sp_status st = SP_OK;
  if (n < 0 || (size_t)n >= sizeof ck->path || ck->dir_fd < 0) {
    st = sp_fail_errno(err, "checkpoint: cannot open directory %s", path);
  } else {
    st = read_manifest(ck, err);
    if (st == SP_OK) {
      st = check_sizes(ck, err);
    }
    if (st != SP_OK) {
      (void)sp_wrap(err, "checkpoint %s", path);
    }
  }
  if (st == SP_OK) {
    *out = *ck;
  } else {
    stk_manifest_free(&ck->manifest);
    if (ck->dir_fd >= 0) {
      close(ck->dir_fd);
    }
  }
  sp_free(ck);
  return st;
}

void stk_ckpt_close(struct stk_ckpt *ck) {
  if (ck->path[0]) {
    close(ck->dir_fd);
    stk_manifest_free(&ck->manifest);
    ck->path[0] = 0;
  }
}

static bool same_shape(int32_t rank_a, const int64_t *a, int32_t rank_b, const int64_t *b) {
  return rank_a == rank_b && memcmp(a, b, (size_t)rank_a * sizeof *a) == 0;
}

static bool is_shard(const char *name) {
  size_t n = strlen(name);
  return n > 12 && strcmp(name + n - 12, ".safetensors") == 0;
}

/* A shard's own header against the manifest's tensors of that file. */
static sp_status compare_header(const struct stk_ckpt *ck, uint32_t file,
                                const struct stk_st_index *index, struct sp_err *err) {
  size_t n = 0;
  for (size_t i = 0; i < ck->manifest.n_tensors; i++) {
    const struct stk_manifest_tensor *t = &ck->manifest.tensors[i];
    if (t->file != file) {
      continue;
    }
    const struct stk_st_entry *e = stk_st_find(index, t->name);
    if (!e || e->dtype != t->dtype || index->data_offset + e->begin != t->offset ||
        !same_shape(e->rank, e->dims, t->rank, t->dims)) {
      return sp_fail(err, SP_ECORRUPT, "%s and the manifest disagree about %.200s",
                     ck->manifest.files[file].name, t->name);
    }
    n++;
  }
  return n == index->n_entries
             ? SP_OK
             : sp_fail(err, SP_ECORRUPT, "%s has %zu tensors, the manifest knows %zu",
                       ck->manifest.files[file].name, index->n_entries, n);
}

/* A file on its one way through: the checksum of all of it, and of its tensors as they pass. */
struct pass {
  const struct stk_manifest_file *file;
  const struct stk_manifest_tensor **tensors; /* of the file, by offset, without overlap */
  size_t n_tensors;
  size_t next; /* tensor that is passing, or comes next */
  uint64_t at;
  uint32_t crc;        /* of the file so far */
  uint32_t tensor_crc; /* of that tensor so far */
};

static sp_status differs(const char *what, const char *file, uint32_t found, uint32_t stated,
                         struct sp_err *err) {
  return sp_fail(err, SP_ECORRUPT,
                 "%.200s in %s: CRC32C is %08" PRIx32 ", the manifest says %08" PRIx32, what, file,
                 found, stated);
}

static sp_status pass_piece(void *ctx, const uint8_t *bytes, size_t n, struct sp_err *err) {
  struct pass *p = ctx;
  uint64_t end = p->at + n;
  p->crc = sp_crc32c(p->crc, bytes, n);
  while (p->next < p->n_tensors) {
    const struct stk_manifest_tensor *t = p->tensors[p->next];
    uint64_t from = t->offset > p->at ? t->offset : p->at;
    uint64_t to = t->offset + t->bytes < end ? t->offset + t->bytes : end;
    if (from < to) {
      p->tensor_crc = sp_crc32c(p->tensor_crc, bytes + (from - p->at), (size_t)(to - from));
    }
    if (t->offset + t->bytes > end) {
      break;
    }
    if (p->tensor_crc != t->crc32c) {
      return differs(t->name, p->file->name, p->tensor_crc, t->crc32c, err);
    }
    p->tensor_crc = 0;
    p->next++;
  }
  p->at = end;
  return SP_OK;
}

static int by_offset(const void *a, const void *b) {
  const struct stk_manifest_tensor *x = *(const struct stk_manifest_tensor *const *)a;
  const struct stk_manifest_tensor *y = *(const struct stk_manifest_tensor *const *)b;
  if (x->offset != y->offset) {
    return x->offset < y->offset ? -1 : 1;
  }
  return x->bytes < y->bytes ? -1 : x->bytes > y->bytes; /* empty ones come first */
}

/* The file's tensors into p, which has room for all; SP_ECORRUPT where two share bytes. */
static sp_status sort_tensors(const struct stk_ckpt *ck, uint32_t file, struct pass *p,
                              struct sp_err *err) {
  for (size_t i = 0; i < ck->manifest.n_tensors; i++) {
    if (ck->manifest.tensors[i].file == file) {
      p->tensors[p->n_tensors++] = &ck->manifest.tensors[i];
    }
  }
  if (p->n_tensors > 1) {
    qsort(p->tensors, p->n_tensors, sizeof *p->tensors, by_offset);
  }
  for (size_t i = 1; i < p->n_tensors; i++) {
    if (p->tensors[i]->offset < p->tensors[i - 1]->offset + p->tensors[i - 1]->bytes) {
      return sp_fail(err, SP_ECORRUPT, "%.200s and %.200s share bytes of %s",
                     p->tensors[i - 1]->name, p->tensors[i]->name, p->file->name);
    }
  }
  return SP_OK;
}

static sp_status pass_file(const struct stk_ckpt *ck, uint32_t file, int fd, struct sp_err *err) {
  struct pass p = {.file = &ck->manifest.files[file],
                   .tensors = sp_alloc_array(ck->manifest.n_tensors, sizeof *p.tensors)};
  sp_status st = p.tensors ? sort_tensors(ck, file, &p, err)
                           : sp_fail(err, SP_ENOMEM, "out of memory for reading %s", p.file->name);
  st = st ? st : stk_read_walk(fd, 0, p.file->bytes, p.file->name, pass_piece, &p, err);
  if (st == SP_OK && p.crc != p.file->crc32c) {
    st = differs("the whole file", p.file->name, p.crc, p.file->crc32c, err);
  }
  sp_free(p.tensors);
  return st;
}

static sp_status verify_file(const struct stk_ckpt *ck, uint32_t file, struct sp_err *err) {
  const struct stk_manifest_file *f = &ck->manifest.files[file];
  int fd;
  sp_status st = stk_read_open(ck->dir_fd, f->name, &fd, err);
  if (st != SP_OK) {
    return st;
  }
  st = pass_file(ck, file, fd, err);
  if (st == SP_OK && is_shard(f->name)) {
    struct stk_st_index index;
    st = stk_st_read_index(fd, f->name, &index, err);
    if (st == SP_OK) {
      st = compare_header(ck, file, &index, err);
      stk_st_index_free(&index);
    }
  }
  close(fd);
  return st;
}

sp_status stk_ckpt_verify(const struct stk_ckpt *ck, struct sp_err *err) {
  sp_status st = check_sizes(ck, err);
  for (size_t i = 0; st == SP_OK && i < ck->manifest.n_files; i++) {
    st = verify_file(ck, (uint32_t)i, err);
  }
  if (st != SP_OK) {
    (void)sp_wrap(err, "checkpoint %s", ck->path);
  }
  return st;
}

static void shape_text(int32_t rank, const int64_t *dims, char *out, size_t n) {
  size_t at = (size_t)snprintf(out, n, "[");
  for (int32_t i = 0; i < rank && at < n; i++) {
    at += (size_t)snprintf(out + at, n - at, "%s%" PRId64, i ? "," : "", dims[i]);
  }
  if (at < n) {
    snprintf(out + at, n - at, "]");
  }
}

static const struct stk_manifest_tensor *find_tensor(const struct stk_manifest *m,
                                                     const char *name) {
  for (size_t i = 0; i < m->n_tensors; i++) {
    if (strcmp(m->tensors[i].name, name) == 0) {
      return &m->tensors[i];
    }
  }
  return NULL;
}

static sp_status check_target(const struct stk_ckpt *ck, const struct stk_ckpt_target *target,
                              struct sp_err *err) {
  const struct stk_manifest_tensor *t = find_tensor(&ck->manifest, target->name);
  if (!t) {
    return sp_fail(err, SP_EMISMATCH,
                   "the model has a tensor %.200s that the checkpoint (module %s, step %" PRId64
                   ") lacks; it is a checkpoint of another model",
                   target->name, ck->manifest.module, ck->manifest.step);
  }
  if (t->dtype != target->dtype || !same_shape(t->rank, t->dims, target->rank, target->dims)) {
    char ours[128];
    char theirs[128];
    shape_text(target->rank, target->dims, ours, sizeof ours);
    shape_text(t->rank, t->dims, theirs, sizeof theirs);
    return sp_fail(err, SP_EMISMATCH,
                   "%.200s is %s%s in the model, %s%s in the checkpoint; it is a checkpoint of "
                   "another model or precision",
                   target->name, stk_st_dtype_name(target->dtype), ours,
                   stk_st_dtype_name(t->dtype), theirs);
  }
  return SP_OK;
}

static sp_status check_targets(const struct stk_ckpt *ck, const struct stk_ckpt_target *targets,
                               size_t n, bool exact, struct sp_err *err) {
  sp_status st =
      n ? stk_names_check(&targets[0].name, sizeof *targets, n, "target", SP_EINVAL, err) : SP_OK;
  size_t n_found = 0;
  for (size_t i = 0; st == SP_OK && i < n; i++) {
    bool there = find_tensor(&ck->manifest, targets[i].name) != NULL;
    st = there || !targets[i].optional ? check_target(ck, &targets[i], err) : SP_OK;
    n_found += there ? 1 : 0;
  }
  if (st != SP_OK || !exact || n_found == ck->manifest.n_tensors) {
    return st;
  }
  for (size_t i = 0; i < ck->manifest.n_tensors; i++) {
    bool wanted = false;
    for (size_t k = 0; k < n && !wanted; k++) {
      wanted = strcmp(ck->manifest.tensors[i].name, targets[k].name) == 0;
    }
    if (!wanted) {
      return sp_fail(err, SP_EMISMATCH,
                     "the checkpoint has a tensor %.200s that the model lacks; it is a checkpoint "
                     "of another model or optimizer",
                     ck->manifest.tensors[i].name);
    }
  }
  return SP_OK;
}

static sp_status read_targets_of(const struct stk_ckpt *ck, uint32_t file,
                                 const struct stk_ckpt_target *targets, size_t n,
                                 struct sp_err *err) {
  const char *name = ck->manifest.files[file].name;
  int fd;
  sp_status st = stk_read_open(ck->dir_fd, name, &fd, err);
  if (st != SP_OK) {
    return st;
  }
  for (size_t i = 0; st == SP_OK && i < n; i++) {
    const struct stk_manifest_tensor *t = find_tensor(&ck->manifest, targets[i].name);
    if (!t || t->file != file) {
      continue;
    }
    st = stk_read_at(fd, targets[i].data, (size_t)t->bytes, t->offset, name, err);
    if (st == SP_OK && sp_crc32c(0, targets[i].data, (size_t)t->bytes) != t->crc32c) {
      st = sp_fail(err, SP_ECORRUPT,
                   "%.200s in %s is damaged (CRC32C); use an older checkpoint (stoker ckpt ls)",
                   t->name, name);
    }
  }
  close(fd);
  return st;
}

sp_status stk_ckpt_read(const struct stk_ckpt *ck, const struct stk_ckpt_target *targets,
                        size_t n_targets, bool exact, struct sp_err *err) {
  sp_status st = check_targets(ck, targets, n_targets, exact, err);
  for (size_t i = 0; st == SP_OK && i < ck->manifest.n_files; i++) {
    if (is_shard(ck->manifest.files[i].name)) {
      st = read_targets_of(ck, (uint32_t)i, targets, n_targets, err);
    }
  }
  if (st != SP_OK) {
    (void)sp_wrap(err, "checkpoint %s", ck->path);
  }
  return st;
}
