/* See the header. */
#include "tests/unit/checkpoint/plan.h"

#include "tests/lib/tt.h"

#include <stdio.h>
#include <string.h>

static const struct stk_st_pair hparams[] = {{"lr", "0.001"}, {"name", "a \"quoted\" \n \xc3\xa9"}};
static const struct stk_st_pair summary[] = {{"phase", "train"}};

static void fill(float *out, int n, int salt) {
  for (int i = 0; i < n; i++) {
    out[i] = (float)(i + 10 * salt) * 0.5f;
  }
}

void make_plan(struct test_plan *p, const char *parent, int salt) {
  memset(p, 0, sizeof *p);
  fill(p->weight, 6, salt);
  fill(p->bias, 3, salt + 1);
  fill(p->running_mean, 3, salt + 2);
  fill(p->exp_avg, 6, salt + 3);
  fill(p->exp_avg_sq, 6, salt + 4);
  p->tracked = salt;
  p->step = salt;
  for (size_t i = 0; i < sizeof p->control; i++) {
    p->control[i] = (uint8_t)(i * 7 + (size_t)salt);
  }
  const struct stk_ckpt_tensor tensors[PLAN_TENSORS] = {
      {"net.weight", STK_CKPT_MODEL, STK_ST_F32, 2, {2, 3}, p->weight},
      {"net.bias", STK_CKPT_MODEL, STK_ST_F32, 1, {3}, p->bias},
      {"bn.running_mean", STK_CKPT_MODEL, STK_ST_F32, 1, {3}, p->running_mean},
      {"bn.num_batches_tracked", STK_CKPT_MODEL, STK_ST_I64, 0, {0}, &p->tracked},
      {"exp_avg.net.weight", STK_CKPT_OPTIM, STK_ST_F32, 2, {2, 3}, p->exp_avg},
      {"exp_avg_sq.net.weight", STK_CKPT_OPTIM, STK_ST_F32, 2, {2, 3}, p->exp_avg_sq},
      {"step", STK_CKPT_OPTIM, STK_ST_F64, 0, {0}, &p->step},
  };
  memcpy(p->tensors, tensors, sizeof tensors);
  p->plan = (struct stk_ckpt_plan){
      .parent = parent,
      .job = "test",
      .step = 12,
      .epoch = 1,
      .precision = "32-true",
      .lanes = 2,
      .graph_hash = "abcd",
      .module = "toy",
      .state_version = 3,
      .hparams = hparams,
      .n_hparams = 2,
      .summary = summary,
      .n_summary = 1,
      .control_version = 5,
      .control = p->control,
      .control_bytes = sizeof p->control,
      .tensors = p->tensors,
      .n_tensors = PLAN_TENSORS,
  };
}

const char *save_plan(struct test_plan *p) {
  static char paths[4][512];
  static int next;
  struct stk_ckpt_saved saved;
  struct sp_err err = {0};
  if (stk_ckpt_save(&p->plan, &saved, &err) != SP_OK) {
    fail_msg("%s", err.text);
  }
  char *path = paths[next++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", p->plan.parent, saved.name);
  return path;
}
