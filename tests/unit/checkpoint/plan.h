/* A small checkpoint plan for tests: a layer, a batch norm, Adam's moments, a control page. */
#ifndef TESTS_CHECKPOINT_PLAN_H
#define TESTS_CHECKPOINT_PLAN_H

#include "engine/checkpoint/save.h"

enum { PLAN_TENSORS = 7 };

struct test_plan {
  struct stk_ckpt_plan plan;
  struct stk_ckpt_tensor tensors[PLAN_TENSORS];
  float weight[6];
  float bias[3];
  float running_mean[3];
  int64_t tracked;
  float exp_avg[6];
  float exp_avg_sq[6];
  double step;
  uint8_t control[100];
};

/* Fills p for parent; the values depend on salt. */
void make_plan(struct test_plan *p, const char *parent, int salt);

/* Saves and returns the checkpoint's path (static buffer, one per call in turn of four). */
const char *save_plan(struct test_plan *p);

#endif
