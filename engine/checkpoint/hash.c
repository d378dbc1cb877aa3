/* See the header. Tensors are streamed; NaNs are rewritten in a buffer, never in place. */
#include "engine/checkpoint/hash.h"

#include "engine/checkpoint/read.h"
#include "proto/base/crc32c.h"
#include "proto/base/mem.h"
#include "proto/base/sha256.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 1 << 14 };

void stk_hash_hex(const uint8_t hash[STK_HASH_BYTES], char out[2 * STK_HASH_BYTES + 1]) {
  sp_sha256_hex(hash, out);
}

static void map_nans_16(uint8_t *p, size_t n, uint16_t infinity, uint16_t nan) {
  for (size_t i = 0; i + 2 <= n; i += 2) {
    uint16_t v;
    memcpy(&v, p + i, 2);
    if ((v & 0x7fff) > infinity) {
      memcpy(p + i, &nan, 2);
    }
  }
}

static void map_nans(stk_st_dtype dtype, uint8_t *p, size_t n) {
  if (dtype == STK_ST_F32) {
    const uint32_t nan = 0x7fc00000;
    for (size_t i = 0; i + 4 <= n; i += 4) {
      uint32_t v;
      memcpy(&v, p + i, 4);
      if ((v & 0x7fffffff) > 0x7f800000) {
        memcpy(p + i, &nan, 4);
      }
    }
  } else if (dtype == STK_ST_F64) {
    const uint64_t nan = 0x7ff8000000000000;
    for (size_t i = 0; i + 8 <= n; i += 8) {
      uint64_t v;
      memcpy(&v, p + i, 8);
      if ((v & 0x7fffffffffffffff) > 0x7ff0000000000000) {
        memcpy(p + i, &nan, 8);
      }
    }
  } else if (dtype == STK_ST_F16) {
    map_nans_16(p, n, 0x7c00, 0x7e00);
  } else if (dtype == STK_ST_BF16) {
    map_nans_16(p, n, 0x7f80, 0x7fc0);
  }
}

struct stream {
  struct sp_sha256 sha;
  stk_st_dtype dtype;
  uint32_t crc32c; /* of the bytes as they are */
};

static sp_status add_bytes(void *ctx, const uint8_t *bytes, size_t n, struct sp_err *err) {
  (void)err;
  struct stream *s = ctx;
  uint8_t block[BLOCK];
  s->crc32c = sp_crc32c(s->crc32c, bytes, n);
  for (size_t at = 0; at < n; at += BLOCK) {
    size_t m = n - at < BLOCK ? n - at : BLOCK;
    memcpy(block, bytes + at, m);
    map_nans(s->dtype, block, m);
    sp_sha256_update(&s->sha, block, m);
  }
  return SP_OK;
}

static int by_tensor_name(const void *a, const void *b) {
  return strcmp((*(const struct stk_ckpt_tensor *const *)a)->name,
                (*(const struct stk_ckpt_tensor *const *)b)->name);
}

sp_status stk_ckpt_hash_tensors(const struct stk_ckpt_tensor *tensors, size_t n_tensors,
                                uint8_t out[STK_HASH_BYTES], struct sp_err *err) {
  const struct stk_ckpt_tensor **sorted = sp_alloc_array(n_tensors, sizeof *sorted);
  size_t n = 0;
  sp_status st = sorted ? SP_OK : sp_fail(err, SP_ENOMEM, "out of memory for a hash");
  for (size_t i = 0; sorted && i < n_tensors; i++) {
    if (tensors[i].role == STK_CKPT_MODEL) {
      sorted[n++] = &tensors[i];
    }
  }
  if (n > 1) {
    qsort(sorted, n, sizeof *sorted, by_tensor_name);
  }
  struct stream s = {.crc32c = 0};
  sp_sha256_init(&s.sha);
  for (size_t i = 0; st == SP_OK && i < n; i++) {
    uint64_t bytes;
    s.dtype = sorted[i]->dtype;
    st = stk_st_bytes(s.dtype, sorted[i]->rank, sorted[i]->dims, &bytes, err);
    if (st == SP_OK) {
      st = add_bytes(&s, sorted[i]->data, (size_t)bytes, err);
    }
  }
  if (st == SP_OK) {
    sp_sha256_final(&s.sha, out);
  }
  sp_free(sorted);
  return st;
}

/* A tensor in a file, as both kinds of path give it. */
struct part {
  const char *name;
  const char *file; /* NULL: the safetensors file itself */
  uint64_t offset;
  uint64_t bytes;
  stk_st_dtype dtype;
  uint32_t crc32c;
};

static int by_part_name(const void *a, const void *b) {
  return strcmp(((const struct part *)a)->name, ((const struct part *)b)->name);
}

static sp_status hash_part(struct stream *s, const struct part *p, int dir_fd, int file_fd,
                           const char *path, struct sp_err *err) {
  int fd = file_fd;
  const char *name = p->file ? p->file : path;
  sp_status st = p->file ? stk_read_open(dir_fd, p->file, &fd, err) : SP_OK;
  if (st != SP_OK) {
    return st;
  }
  s->dtype = p->dtype;
  s->crc32c = 0;
  st = stk_read_walk(fd, p->offset, p->bytes, name, add_bytes, s, err);
  if (st == SP_OK && p->file && s->crc32c != p->crc32c) {
    st = sp_fail(err, SP_ECORRUPT, "%.200s in %s is damaged (CRC32C)", p->name, name);
  }
  if (p->file) {
    close(fd);
  }
  return st;
}

static sp_status hash_parts(struct part *parts, size_t n, int dir_fd, int file_fd, const char *path,
                            uint8_t out[STK_HASH_BYTES], struct sp_err *err) {
  struct stream s = {.crc32c = 0};
  sp_status st = SP_OK;
  sp_sha256_init(&s.sha);
  if (n > 1) {
    qsort(parts, n, sizeof *parts, by_part_name);
  }
  for (size_t i = 0; st == SP_OK && i < n; i++) {
    st = hash_part(&s, &parts[i], dir_fd, file_fd, path, err);
  }
  if (st == SP_OK) {
    sp_sha256_final(&s.sha, out);
  }
  return st;
}

static sp_status hash_checkpoint(const char *path, uint8_t out[STK_HASH_BYTES],
                                 struct sp_err *err) {
  struct stk_ckpt *ck = sp_alloc(sizeof *ck);
  sp_status st = ck ? stk_ckpt_open(path, ck, err) : sp_fail(err, SP_ENOMEM, "out of memory");
  if (st == SP_OK) {
    const struct stk_manifest *m = &ck->manifest;
    struct part *parts = sp_alloc_array(m->n_tensors, sizeof *parts);
    size_t n = 0;
    for (size_t i = 0; parts && i < m->n_tensors; i++) {
      const struct stk_manifest_tensor *t = &m->tensors[i];
      if (t->role == STK_CKPT_MODEL) {
        parts[n++] = (struct part){t->name,  m->files[t->file].name, t->offset, t->bytes, t->dtype,
                                   t->crc32c};
      }
    }
    st = parts ? hash_parts(parts, n, ck->dir_fd, -1, path, out, err)
               : sp_fail(err, SP_ENOMEM, "out of memory for a hash");
    sp_free(parts);
    stk_ckpt_close(ck);
  }
  sp_free(ck);
  return st;
}

static sp_status hash_file(const char *path, uint8_t out[STK_HASH_BYTES], struct sp_err *err) {
  int fd;
  struct stk_st_index index;
  sp_status st = stk_read_open(AT_FDCWD, path, &fd, err);
  if (st != SP_OK) {
    return st;
  }
  st = stk_st_read_index(fd, path, &index, err);
  if (st == SP_OK) {
    struct part *parts = sp_alloc_array(index.n_entries, sizeof *parts);
    for (size_t i = 0; parts && i < index.n_entries; i++) {
      const struct stk_st_entry *e = &index.entries[i];
      parts[i] = (struct part){.name = e->name,
                               .offset = index.data_offset + e->begin,
                               .bytes = e->end - e->begin,
                               .dtype = e->dtype};
    }
    st = parts ? hash_parts(parts, index.n_entries, -1, fd, path, out, err)
               : sp_fail(err, SP_ENOMEM, "out of memory for a hash");
    sp_free(parts);
    stk_st_index_free(&index);
  }
  close(fd);
  return st;
}

sp_status stk_ckpt_hash(const char *path, uint8_t out[STK_HASH_BYTES], struct sp_err *err) {
  struct stat st;
  bool directory = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
  return directory ? hash_checkpoint(path, out, err) : hash_file(path, out, err);
}
