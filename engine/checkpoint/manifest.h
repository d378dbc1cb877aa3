/* MANIFEST: the record that makes a directory a checkpoint.
 *
 * It is written last, names every file and tensor with sizes and CRC32C, and carries the loop
 * state. Readers trust a manifest and nothing else in the directory. The text is JSON, then one
 * line "crc32c <8 hex digits>\n" over all bytes before it. The reader is strict: checksum first,
 * then types, ranges, unknown and missing fields, duplicate names, ranges inside their files.
 *
 * Threads: none. A manifest owns its strings and arrays; stk_manifest_free releases them.
 */
#ifndef STK_CHECKPOINT_MANIFEST_H
#define STK_CHECKPOINT_MANIFEST_H

#include "engine/checkpoint/safetensors.h"

#include <stdbool.h>

enum {
  STK_MANIFEST_FORMAT = 1,
  STK_MANIFEST_MAX_BYTES = 64 << 20,
  STK_MANIFEST_MAX_CONTROL = 1 << 20
};

/* Which family of shards a tensor is in. */
enum stk_ckpt_role { STK_CKPT_MODEL, STK_CKPT_OPTIM };

struct stk_manifest_file {
  char *name;
  uint64_t bytes;
  uint32_t crc32c;
};

struct stk_manifest_tensor {
  char *name;
  enum stk_ckpt_role role;
  stk_st_dtype dtype;
  int32_t rank;
  int64_t dims[STK_ST_MAX_RANK];
  uint32_t file;   /* index in files */
  uint64_t offset; /* from the start of the file */
  uint64_t bytes;
  uint32_t crc32c;
};

struct stk_manifest_pair {
  char *key;
  char *value;
};

struct stk_manifest {
  char *job;    /* job id or run name; never empty */
  int64_t step; /* global step */
  int64_t epoch;
  int64_t generation;
  char *nonce;           /* 16 hex digits */
  uint64_t order_run;    /* which order the save carried out, both 0: none; see save.h. In the */
  uint64_t order_seq;    /* text an optional field "order": "<16 hex digits>-<number>" */
  int64_t numerics;      /* version of docs/numerics.md */
  char *precision;       /* "32-true", "64-true" */
  int64_t lanes;         /* V */
  char *graph_hash;      /* hex, or "" */
  char *module;          /* name of the module */
  char *module_sha256;   /* recorded, never compared; "" for a built-in */
  int64_t state_version; /* of the module's state */
  char *state_hash;      /* 64 hex digits, over tensors and control page: see save.h */
  struct stk_manifest_pair *hparams;
  size_t n_hparams;
  struct stk_manifest_pair *summary; /* the loop state for people: phase, epoch, monitor, ... */
  size_t n_summary;
  int64_t control_version; /* layout of the control page */
  uint8_t *control;
  size_t control_bytes;
  struct stk_manifest_file *files;
  size_t n_files;
  struct stk_manifest_tensor *tensors;
  size_t n_tensors;
};

/* Renders m. The caller frees *out_text with sp_free. */
SP_NODISCARD sp_status stk_manifest_render(const struct stk_manifest *m, char **out_text,
                                           size_t *out_bytes, struct sp_err *err);

/* Parses text. SP_ECORRUPT with the field's name where a rule is broken, SP_EUNSUPPORTED for a
 * newer format. */
SP_NODISCARD sp_status stk_manifest_parse(const char *text, size_t n_bytes,
                                          struct stk_manifest *out, struct sp_err *err);
void stk_manifest_free(struct stk_manifest *m); /* accepts a zeroed one */

/* The value of key, or NULL. */
const char *stk_manifest_hparam(const struct stk_manifest *m, const char *key);
const char *stk_manifest_summary(const struct stk_manifest *m, const char *key);

#endif
