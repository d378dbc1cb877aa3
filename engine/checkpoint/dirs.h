/* Directories of checkpoints: temporary ones, renaming, removal, sweeping.
 *
 * Fault points: checkpoint.mkdir, checkpoint.publish, checkpoint.parent, checkpoint.trash,
 * checkpoint.link. Threads: none.
 */
#ifndef STK_CHECKPOINT_DIRS_H
#define STK_CHECKPOINT_DIRS_H

#include "engine/checkpoint/save.h"

enum { STK_CKPT_NAME_BYTES = 64 };

/* A temporary directory under an open parent. */
struct stk_ckpt_tmp {
  int parent_fd;
  int dir_fd;
  uint64_t nonce;
  char name[STK_CKPT_NAME_BYTES];
};

/* Makes parent (and what is missing above it) and tmp-<step>-<generation>-<nonce> in it; nonce 0: a
 * random one. */
SP_NODISCARD sp_status stk_ckpt_tmp_open(const char *parent, int64_t step, int64_t generation,
                                         uint64_t nonce, struct stk_ckpt_tmp *out,
                                         struct sp_err *err);

/* Closes the descriptors; the directory stays if keep, else it is removed. */
void stk_ckpt_tmp_close(struct stk_ckpt_tmp *tmp, bool keep);

/* tmp-<step>-<generation>-<nonce>. */
void stk_ckpt_tmp_name(int64_t step, int64_t generation, uint64_t nonce,
                       char out[STK_CKPT_NAME_BYTES]);

/* Opens a directory of checkpoints for the calls below. */
SP_NODISCARD sp_status stk_ckpt_open_parent(const char *parent, int *out_fd, struct sp_err *err);

/* Renames an entry to one that is not there; 0, or an errno, EEXIST where the name is taken. */
int stk_ckpt_rename_new(int parent_fd, const char *from, const char *to);

/* Removes a directory of plain files. */
SP_NODISCARD sp_status stk_ckpt_remove_dir(int parent_fd, const char *name, struct sp_err *err);

/* "step-<n>" or "step-<n>-v<m>"; false for any other name. */
bool stk_ckpt_name_parse(const char *name, int64_t *out_step, int64_t *out_version);

/* The checksum in best.json: CRC32C of the three texts with a newline after each. */
void stk_ckpt_best_crc(const char *name, const char *monitor, const char *value, char out[16]);

/* An injected or real errno as a failure: SP_OK for 0. */
SP_NODISCARD sp_status stk_ckpt_fault(int e, const char *what, struct sp_err *err);

#endif
