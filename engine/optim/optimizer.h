/* The optimizer of a session: parameter groups by name pattern, and the slices of the flat state that each group steps.
 *
 * A parameter belongs to the first group whose glob (* and ?) matches its name, else to the optimizer's own numbers (group
 * 0). Adjacent parameters of one group make one slice, so a step is few kernel calls. Slices are in elements.
 */
#ifndef STK_OPTIM_OPTIMIZER_H
#define STK_OPTIM_OPTIMIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/kernel/kernel.h"
#include "proto/base/status.h"

enum { STK_OPTIM_MAX_GROUPS = 32, STK_OPTIM_MAX_FREEZE = 32 };

struct stk_optimizer_group {
  const char *pattern;
  double lr, weight_decay; /* NaN: the optimizer's own */
};

/* Borrowed strings. PyTorch's names and defaults; see stk_optimizer_defaults. */
struct stk_optimizer_config {
  stk_optim_kind kind;
  double lr, weight_decay;
  double momentum, dampening; /* SGD */
  bool nesterov;              /* SGD */
  double beta1, beta2, eps;   /* Adam, AdamW */
  struct stk_optimizer_group groups[STK_OPTIM_MAX_GROUPS];
  int32_t n_groups;
  const char *freeze[STK_OPTIM_MAX_FREEZE];
  int32_t n_freeze;
};

struct stk_optimizer_config stk_optimizer_defaults(stk_optim_kind kind);

/* Sections of the state: 1 parameters, + 1 for momentum, + 2 for Adam's moments. */
int32_t stk_optimizer_sections(const struct stk_optimizer_config *c);
bool stk_optimizer_is_frozen(const struct stk_optimizer_config *c, const char *name);

struct stk_optimizer_param {
  const char *name;
  int64_t offset, n; /* elements */
  bool frozen;
};

struct stk_optimizer;

/* Copies what it needs but the strings of config. Offsets ascend. SP_EINVAL: a pattern that matches no parameter. */
SP_NODISCARD sp_status stk_optimizer_new(const struct stk_optimizer_config *config, const struct stk_optimizer_param *params,
                                         int32_t n_params, struct stk_optimizer **out_o, struct sp_err *err);
void stk_optimizer_free(struct stk_optimizer *o);

/* Group 0 is the optimizer's own. */
int32_t stk_optimizer_n_groups(const struct stk_optimizer *o);
double stk_optimizer_base_lr(const struct stk_optimizer *o, int32_t group);

/* The numbers of step t (from 1): lr per group (NULL: the base ones), bias corrections by the engine's own power. */
void stk_optimizer_prepare(struct stk_optimizer *o, int64_t t, const double *lr, double grad_scale, double clip_value);

struct stk_optimizer_slice {
  int64_t offset, n;
  const struct stk_optim_scalars *scalars;
};
int32_t stk_optimizer_n_slices(const struct stk_optimizer *o);
struct stk_optimizer_slice stk_optimizer_slice_at(const struct stk_optimizer *o, int32_t i);

#endif
