/* See the header. */
#include "tests/crash/saved.h"

#include "tests/lib/tt.h"

#include "proto/base/mem.h"

#include <inttypes.h>

static const char *const names[CR_TENSORS] = {"a", "b", "exp_avg.a", "exp_avg.b"};

static float value(int64_t step, int tensor, int k) {
  return (float)(step * 1000 + tensor * 100 + k);
}

struct stk_ckpt_plan cr_plan(struct cr_state *j, const char *parent, int64_t step,
                             uint64_t shard_bytes) {
  for (int i = 0; i < CR_TENSORS; i++) {
    for (int k = 0; k < CR_VALUES; k++) {
      j->values[i][k] = value(step, i, k);
    }
    j->tensors[i] = (struct stk_ckpt_tensor){.name = names[i],
                                             .role = i < 2 ? STK_CKPT_MODEL : STK_CKPT_OPTIM,
                                             .dtype = STK_ST_F32,
                                             .rank = 1,
                                             .dims = {CR_VALUES},
                                             .data = j->values[i]};
  }
  return (struct stk_ckpt_plan){.parent = parent,
                                .job = "crash",
                                .step = step,
                                .generation = 1,
                                .lanes = 1,
                                .module = "toy",
                                .tensors = j->tensors,
                                .n_tensors = CR_TENSORS,
                                .shard_bytes = shard_bytes};
}

void cr_save(const char *parent, int64_t step, uint64_t shard_bytes) {
  struct cr_state j;
  struct stk_ckpt_plan plan = cr_plan(&j, parent, step, shard_bytes);
  struct stk_ckpt_saved saved;
  struct sp_err err = {0};
  if (stk_ckpt_save(&plan, &saved, &err) != SP_OK) {
    fail_msg("%s", err.text);
  }
}

bool cr_is_of_step(const struct stk_ckpt *ck, struct sp_err *why) {
  float got[CR_TENSORS][CR_VALUES];
  struct stk_ckpt_target to[CR_TENSORS];
  for (int i = 0; i < CR_TENSORS; i++) {
    to[i] = (struct stk_ckpt_target){
        .name = names[i], .dtype = STK_ST_F32, .rank = 1, .dims = {CR_VALUES}, .data = got[i]};
  }
  if (stk_ckpt_read(ck, to, CR_TENSORS, true, why) != SP_OK) {
    return false;
  }
  for (int i = 0; i < CR_TENSORS; i++) {
    for (int k = 0; k < CR_VALUES; k++) {
      if (got[i][k] < value(ck->manifest.step, i, k) ||
          got[i][k] > value(ck->manifest.step, i, k)) {
        return sp_fail(why, SP_ECORRUPT, "%s of step %" PRId64 " has other values", names[i],
                       ck->manifest.step) == SP_OK;
      }
    }
  }
  return true;
}

int64_t cr_whole_step(const char *path, struct sp_err *err) {
  struct stk_ckpt *ck = sp_alloc(sizeof *ck);
  int64_t step = -1;
  if (stk_ckpt_open(path, ck, err) == SP_OK) {
    if (stk_ckpt_verify(ck, err) == SP_OK && cr_is_of_step(ck, err)) {
      step = ck->manifest.step;
    }
    stk_ckpt_close(ck);
  }
  sp_free(ck);
  return step;
}
