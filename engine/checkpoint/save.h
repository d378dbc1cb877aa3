/* Saving a checkpoint: everything into a temporary directory, one rename makes it exist.
 *
 * Two halves, since two processes may do them. stk_ckpt_write, by whoever has the state mapped,
 * makes a temporary directory that is complete and durable, and a receipt of it. stk_ckpt_publish,
 * by the one process that may publish, compares the receipt with what lies on the disk and renames.
 * stk_ckpt_save does both.
 *
 * Order (reliability: section 7 of the protocol): free space checked;
 * tmp-<step>-<generation>-<nonce>/ made; every shard allocated before any byte is written; tensors
 * written with pwrite, their CRC32C taken from memory; fdatasync and a checked close; the MANIFEST
 * last; directory fsync; renameat2(RENAME_NOREPLACE) to step-<step> (step-<step>-v1, ... where that
 * exists); fsync of the parent. The rename is the only commit point. On any failure the temporary
 * directory is removed, older checkpoints are untouched, and the error says what is missing.
 *
 * Files: model.safetensors or model-0000i-of-0000S.safetensors with an index for Hugging Face
 * tools; optim likewise. Tensors stay whole; shards fill in the plan's order up to shard_bytes,
 * whatever the number of ranks.
 *
 * Threads: none here; the plan's memory must not change during the call.
 */
#ifndef STK_CHECKPOINT_SAVE_H
#define STK_CHECKPOINT_SAVE_H

#include "engine/checkpoint/manifest.h"

/* One tensor to save. Names are PyTorch's: "net.0.weight", "bn.running_mean",
 * "exp_avg.net.0.weight". */
struct stk_ckpt_tensor {
  const char *name;
  enum stk_ckpt_role role;
  stk_st_dtype dtype;
  int32_t rank;
  int64_t dims[STK_ST_MAX_RANK];
  const void *data;
};

/* Everything that a checkpoint holds. All pointers are borrowed; strings may be NULL where "" is
 * meant, job and module may not. */
struct stk_ckpt_plan {
  const char *parent; /* directory of checkpoints, made where absent */
  const char *job;
  int64_t step;
  int64_t epoch;
  int64_t generation;
  int64_t numerics;
  const char *precision;
  int64_t lanes;
  const char *graph_hash;
  const char *module;
  const char *module_sha256;
  int64_t state_version;
  const struct stk_st_pair *hparams;
  size_t n_hparams;
  const struct stk_st_pair *summary;
  size_t n_summary;
  int64_t control_version;
  const void *control;
  size_t control_bytes; /* at most STK_MANIFEST_MAX_CONTROL */
  const void *identity; /* the control page without clocks, for the state hash; NULL: control */
  size_t identity_bytes;
  const struct stk_ckpt_tensor *tensors;
  size_t n_tensors;
  uint64_t shard_bytes;   /* 0: 2 GiB */
  uint64_t reserve_bytes; /* kept free on the disk; 0: 1 MiB */
  uint64_t nonce;         /* of the temporary directory; 0: a random one */
  uint64_t order_run;     /* which order this save carries out: the run's nonce and the order's */
  uint64_t order_seq;     /* number in it; both 0: none */
};

/* The manifest's state_hash is SHA-256 over, in order of names, each tensor's line "<name> <dtype>
 * <d0>x<d1>... <crc32c>\n", then the bytes of `identity`. */

/* The published name, relative to the parent. */
struct stk_ckpt_saved {
  char name[64];
  uint64_t bytes;
};

/* What stk_ckpt_write left in parent, for who publishes it. Plain bytes of fixed size: it may cross
 * a socket, and a receipt that arrives is checked as anything else that arrives. The files with
 * their sizes and checksums stand in the MANIFEST, which bytes and CRC32C pin down. */
struct stk_ckpt_receipt {
  uint32_t magic; /* STK_CKPT_RECEIPT_MAGIC */
  uint32_t manifest_crc32c;
  uint64_t manifest_bytes;
  uint64_t n_files;     /* that the MANIFEST names */
  uint64_t total_bytes; /* of those files */
  int64_t step;
  int64_t generation;
  uint64_t nonce;
  uint64_t order_run;
  uint64_t order_seq;
  char tmp[64]; /* tmp-<step>-<generation>-<nonce>, zero-terminated */
};

enum { STK_CKPT_RECEIPT_MAGIC = 0x52434b53 };

/* Writes everything but the publication: shards, index and MANIFEST in a temporary directory, all
 * of it durable. On failure the directory is removed. May run in a process that shares nothing with
 * the publisher but the file system. */
SP_NODISCARD sp_status stk_ckpt_write(const struct stk_ckpt_plan *plan,
                                      struct stk_ckpt_receipt *out, struct sp_err *err);

/* Publishes what the receipt describes, after comparing: SP_EINVAL for a receipt that contradicts
 * itself, SP_EMISMATCH for one that the directory contradicts (which stays, for
 * stk_ckpt_discard). A receipt that is published already gives the name again. After a failure of
 * the last fsync the checkpoint stands under its name, and may be gone after a power loss. */
SP_NODISCARD sp_status stk_ckpt_publish(const char *parent, const struct stk_ckpt_receipt *receipt,
                                        struct stk_ckpt_saved *out, struct sp_err *err);

/* Removes an unpublished directory; SP_OK where there is none. */
SP_NODISCARD sp_status stk_ckpt_discard(const char *parent, const struct stk_ckpt_receipt *receipt,
                                        struct sp_err *err);

/* As stk_ckpt_discard, for a writer that died before its receipt: the plan's step, generation and
 * nonce. */
SP_NODISCARD sp_status stk_ckpt_discard_tmp(const char *parent, int64_t step, int64_t generation,
                                            uint64_t nonce, struct sp_err *err);

/* The published checkpoint that carried out an order, so that it is not carried out twice.
 * SP_ENOENT: none did. */
SP_NODISCARD sp_status stk_ckpt_find_order(const char *parent, uint64_t order_run,
                                           uint64_t order_seq, char out_name[64],
                                           struct sp_err *err);

/* Saves: writes and publishes. SP_ENOSPC says how much is missing; SP_EINVAL a plan that cannot be
 * written. */
SP_NODISCARD sp_status stk_ckpt_save(const struct stk_ckpt_plan *plan, struct stk_ckpt_saved *out,
                                     struct sp_err *err);

/* Bytes that a save of plan writes, within a few kilobytes; for checks before the job starts. */
SP_NODISCARD sp_status stk_ckpt_plan_bytes(const struct stk_ckpt_plan *plan, uint64_t *out_bytes,
                                           struct sp_err *err);

/* Removes one published checkpoint crash-safely: renamed to trash-..., parent fsync, contents,
 * directory. The newest one whose manifest and sizes are right is not removed (SP_EPERM), unless
 * `instead` (NULL: none) names another such one of parent that stands in for it. */
SP_NODISCARD sp_status stk_ckpt_remove(const char *parent, const char *name, const char *instead,
                                       struct sp_err *err);

/* Makes the entry `name` of parent a link to the entry `target`, atomically in the place of one
 * that is there, and durably: a checkpoint that only the link's old target holds may go after that.
 */
SP_NODISCARD sp_status stk_ckpt_link(const char *parent, const char *name, const char *target,
                                     struct sp_err *err);

/* Removes a link durably; SP_ENOENT where there is none. */
SP_NODISCARD sp_status stk_ckpt_unlink(const char *parent, const char *name, struct sp_err *err);

/* Removes what the dead left in parent: trash-*, temporary links, and tmp-* of generations below
 * `generation` but for the one with the nonce `keep` (0: none), whose receipt waits, and those that
 * a living writer of whatever run holds (flock). */
SP_NODISCARD sp_status stk_ckpt_sweep(const char *parent, int64_t generation, uint64_t keep,
                                      struct sp_err *err);

/* Records which checkpoint is best (best.json, replaced atomically). name is one that
 * stk_ckpt_save gave. */
SP_NODISCARD sp_status stk_ckpt_mark_best(const char *parent, const char *name, const char *monitor,
                                          double value, struct sp_err *err);

#endif
