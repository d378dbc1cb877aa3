/* Loading a checkpoint: find one, check it, copy its tensors.
 *
 * A directory is a checkpoint if its MANIFEST is valid and its files have the sizes that it states.
 * CRC32C of every tensor is checked in the memory that it was read into. Files are opened beneath
 * the directory without following links; names in a manifest that could lead out of it are refused.
 *
 * Threads: none. A checkpoint holds one descriptor (its directory) until closed.
 */
#ifndef STK_CHECKPOINT_LOAD_H
#define STK_CHECKPOINT_LOAD_H

#include "engine/checkpoint/save.h"

#include <limits.h>

struct stk_ckpt {
  struct stk_manifest manifest;
  uint64_t manifest_bytes; /* of its text */
  uint32_t manifest_crc32c;
  char path[PATH_MAX];
  int dir_fd;
};

/* Opens a checkpoint directory: manifest and sizes. */
SP_NODISCARD sp_status stk_ckpt_open(const char *path, struct stk_ckpt *out, struct sp_err *err);
void stk_ckpt_close(struct stk_ckpt *ck); /* accepts a zeroed one */

/* Reads every file and compares all checksums, and the shards' own headers with the manifest. */
SP_NODISCARD sp_status stk_ckpt_verify(const struct stk_ckpt *ck, struct sp_err *err);

/* Where one tensor goes. */
struct stk_ckpt_target {
  const char *name;
  stk_st_dtype dtype;
  int32_t rank;
  int64_t dims[STK_ST_MAX_RANK];
  void *data;
  bool optional; /* left as it is where there is none */
};

/* Copies tensors into the targets. Every target that is not optional must be in the checkpoint with
 * its type and shape, and with exact true every tensor of the checkpoint must be a target (else
 * SP_EMISMATCH, naming both sides). On SP_ECORRUPT the targets' contents are undefined. */
SP_NODISCARD sp_status stk_ckpt_read(const struct stk_ckpt *ck,
                                     const struct stk_ckpt_target *targets, size_t n_targets,
                                     bool exact, struct sp_err *err);

/* One checkpoint of a directory, as `ckpt ls` shows it. */
struct stk_ckpt_info {
  char name[64];
  int64_t step;
  int64_t version; /* 0, or n of "-vn" */
  bool valid;      /* manifest and sizes; why not is in `why` */
  char why[256];
  int64_t epoch;
  uint64_t bytes;
};

/* Lists parent's checkpoints, newest (largest step, then version) first. A parent that is absent
 * has none. The caller frees *out with sp_free. */
SP_NODISCARD sp_status stk_ckpt_list(const char *parent, struct stk_ckpt_info **out, size_t *out_n,
                                     struct sp_err *err);

/* Told about a checkpoint that is damaged and therefore passed over, while it is looked for; both
 * texts live for the call. */
typedef void stk_ckpt_rejected(void *ctx, const char *name, const char *why);

/* Opens the newest whole checkpoint of parent: from the newest on, the first whose manifest and
 * sizes are right and, with verify, all of whose checksums agree. `rejected` (may be NULL) hears of
 * every one before it. SP_ENOENT: parent holds none, or none that is whole. What says nothing about
 * the checkpoint (no memory, no permission, a newer format) ends the search: an older one would be
 * taken for no reason. One that its run removes meanwhile is looked for in a new listing. */
SP_NODISCARD sp_status stk_ckpt_open_newest_valid(const char *parent, bool verify,
                                                  stk_ckpt_rejected *rejected, void *ctx,
                                                  struct stk_ckpt *out, struct sp_err *err);

/* Resolves --ckpt_path: "last" (the newest of parent whose manifest and sizes are right), "best"
 * (what best.json names), else a path. Writes the directory into out. SP_ENOENT where there is
 * none. */
SP_NODISCARD sp_status stk_ckpt_find(const char *parent, const char *which, char out[PATH_MAX],
                                     struct sp_err *err);

/* A rule of a name map. With a `*` in theirs it is for whole names, and what the `*` stands for is
 * put in the place of the one in ours ("h.*.w" to "blocks.*.weight"); without, it is for names that
 * begin with theirs, which become ours and the rest ("module." to ""). */
struct stk_ckpt_rename {
  const char *theirs;
  const char *ours;
};

struct stk_weights_report {
  size_t n_loaded;
  size_t n_missing;    /* targets that the file does not have */
  size_t n_unexpected; /* tensors of the file that nobody wants */
  char first_missing[128];
  char first_unexpected[128];
};

/* Loads weights from a safetensors file, a directory with a model.safetensors.index.json, or a
 * checkpoint, for fine-tuning. The matching rule with the most letters renames a tensor; without
 * one it keeps its name. Shapes must agree; F64, F32, F16 and BF16 convert into F32 and F64 targets
 * (to nearest even). strict: every target must be found and every tensor wanted. All names, types
 * and shapes are checked before the first byte is copied. */
SP_NODISCARD sp_status stk_weights_load(const char *path, const struct stk_ckpt_rename *map,
                                        size_t n_map, bool strict,
                                        const struct stk_ckpt_target *targets, size_t n_targets,
                                        struct stk_weights_report *out, struct sp_err *err);

#endif
