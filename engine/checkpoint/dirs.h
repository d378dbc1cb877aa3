/* Directories of checkpoints: temporary ones, publishing by rename, removal, sweeping.
 *
 * Fault points: checkpoint.mkdir, checkpoint.publish, checkpoint.parent, checkpoint.trash. Threads:
 * none.
 */
#ifndef STK_CHECKPOINT_DIRS_H
#define STK_CHECKPOINT_DIRS_H

#include "engine/checkpoint/save.h"

enum { STK_CKPT_NAME_BYTES = 64, STK_CKPT_NONCE_BYTES = 17 };

/* A temporary directory under an open parent. */
struct stk_ckpt_tmp {
  int parent_fd;
  int dir_fd;
  char name[STK_CKPT_NAME_BYTES];
  char nonce[STK_CKPT_NONCE_BYTES];
};

/* Makes parent (and what is missing above it) and tmp-<step>-<generation>-<nonce> in it. */
SP_NODISCARD sp_status stk_ckpt_tmp_open(const char *parent, int64_t step, int64_t generation,
                                         struct stk_ckpt_tmp *out, struct sp_err *err);

/* Renames it to step-<step>, or step-<step>-v<n>, and makes that durable. After SP_OK the
 * checkpoint exists. */
SP_NODISCARD sp_status stk_ckpt_tmp_publish(struct stk_ckpt_tmp *tmp, int64_t step,
                                            char out_name[STK_CKPT_NAME_BYTES], struct sp_err *err);

/* Removes the directory if it is still temporary, and closes the descriptors. */
void stk_ckpt_tmp_close(struct stk_ckpt_tmp *tmp);

/* "step-<n>" or "step-<n>-v<m>"; false for any other name. */
bool stk_ckpt_name_parse(const char *name, int64_t *out_step, int64_t *out_version);

/* An injected or real errno as a failure: SP_OK for 0. */
SP_NODISCARD sp_status stk_ckpt_fault(int e, const char *what, struct sp_err *err);

#endif
