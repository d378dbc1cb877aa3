/* safetensors: the file format of tensors, read strictly and written aligned.
 *
 * A file is a u64 little-endian header length, a JSON header, and the tensors' bytes. Ours pads the
 * header with spaces so that the bytes start at a multiple of 4096, and orders tensors by
 * descending element size, then name, so every tensor is aligned to its elements.
 *
 * The reader trusts nothing: header of at most 100,000,000 bytes, names of at most 4,096, rank at
 * most 8, at most 2^20 tensors; sizes multiply without overflow and equal the byte ranges; the
 * ranges tile the buffer without gap or overlap; the file ends where the buffer ends; no duplicate
 * names, no unknown fields. A flipped bit in the data cannot be seen here: the format has no
 * checksums (ours are in the manifest).
 *
 * Threads: none. Spec: github.com/huggingface/safetensors, README "Format".
 */
#ifndef STK_CHECKPOINT_SAFETENSORS_H
#define STK_CHECKPOINT_SAFETENSORS_H

#include "proto/base/status.h"

#include <stddef.h>
#include <stdint.h>

enum {
  STK_ST_MAX_RANK = 8,
  STK_ST_MAX_NAME = 4096,
  STK_ST_MAX_TENSORS = 1 << 20,
  STK_ST_ALIGN = 4096
};

/* X(name, bytes of an element): every element type of the format that is whole bytes. */
#define STK_ST_DTYPE_LIST(X)                                                               \
  X(F64, 8)                                                                                \
  X(F32, 4) X(F16, 2) X(BF16, 2) X(F8_E5M2, 1) X(F8_E4M3, 1) X(I64, 8) X(I32, 4) X(I16, 2) \
      X(I8, 1) X(U64, 8) X(U32, 4) X(U16, 2) X(U8, 1) X(BOOL, 1)

typedef enum stk_st_dtype {
#define STK_ST_DTYPE_X(name, bytes) STK_ST_##name,
  STK_ST_DTYPE_LIST(STK_ST_DTYPE_X)
#undef STK_ST_DTYPE_X
      STK_ST_N_DTYPES
} stk_st_dtype;

size_t stk_st_dtype_bytes(stk_st_dtype dtype);
const char *stk_st_dtype_name(stk_st_dtype dtype);
/* False where no type has that name. */
int stk_st_dtype_parse(const char *name, stk_st_dtype *out);

/* One tensor's description. begin and end are byte offsets in the data buffer. */
struct stk_st_entry {
  const char *name;
  stk_st_dtype dtype;
  int32_t rank;
  int64_t dims[STK_ST_MAX_RANK];
  uint64_t begin;
  uint64_t end;
};

struct stk_st_pair {
  const char *key;
  const char *value;
};

/* A parsed header; entries are in order of their offsets. Strings live in the index. */
struct stk_st_index {
  struct stk_st_entry *entries;
  size_t n_entries;
  struct stk_st_pair *metadata;
  size_t n_metadata;
  uint64_t data_offset; /* of the buffer in the file */
  uint64_t data_bytes;
};

/* Bytes of dims times dtype; SP_ERANGE on overflow, SP_EINVAL for a negative dimension or rank. */
SP_NODISCARD sp_status stk_st_bytes(stk_st_dtype dtype, int32_t rank, const int64_t *dims,
                                    uint64_t *out_bytes, struct sp_err *err);

/* Parses the first bytes of a file of file_bytes bytes: head holds 8 + N of them at least
 * (n_head). SP_ECORRUPT with the reason where a rule above is broken. The caller frees *out with
 * stk_st_index_free. */
SP_NODISCARD sp_status stk_st_parse(const uint8_t *head, size_t n_head, uint64_t file_bytes,
                                    struct stk_st_index *out, struct sp_err *err);

/* Reads and parses the header of an open file; the file's offset is not used. */
SP_NODISCARD sp_status stk_st_read_index(int fd, const char *name_for_errors,
                                         struct stk_st_index *out, struct sp_err *err);
void stk_st_index_free(struct stk_st_index *index); /* accepts a zeroed one */

/* The entry of that name, or NULL. */
const struct stk_st_entry *stk_st_find(const struct stk_st_index *index, const char *name);

/* Orders entries for writing (descending element size, then name) and sets their offsets.
 * SP_EINVAL for a duplicate or unwritable name. */
SP_NODISCARD sp_status stk_st_layout(struct stk_st_entry *entries, size_t n_entries,
                                     uint64_t *out_data_bytes, struct sp_err *err);

/* Renders length and header, padded with spaces to a multiple of STK_ST_ALIGN. Entries as
 * stk_st_layout left them. The caller frees *out_head with sp_free. */
SP_NODISCARD sp_status stk_st_render(const struct stk_st_entry *entries, size_t n_entries,
                                     const struct stk_st_pair *metadata, size_t n_metadata,
                                     uint8_t **out_head, size_t *out_head_bytes,
                                     struct sp_err *err);

/* Writes a whole file of its own (init-weights, exports): data[i] belongs to entries[i], which
 * are reordered together. The file appears under path complete or not at all (temporary name,
 * fdatasync, rename, directory fsync). */
SP_NODISCARD sp_status stk_st_write_file(const char *path, struct stk_st_entry *entries,
                                         const void **data, size_t n_entries,
                                         const struct stk_st_pair *metadata, size_t n_metadata,
                                         struct sp_err *err);

#endif
