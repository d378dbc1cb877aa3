/* An optimizer over the flat stepped region: groups, slices, and the scalars of a step.
 *
 * The region holds the parameters in declaration order, each tensor 64-byte aligned and its pad
 * zero; gradients and moments share that layout. A parameter belongs to the first group whose
 * pattern matches its name, else to group 0 with the optimizer's own values; a parameter that a
 * `freeze` pattern matches belongs to none. Neighbours of one group make one slice, pads included
 * (they stay zero), so that a step is a few long kernel calls. Immutable after stk_optimizer_new,
 * but for stk_optimizer_skip; any thread may read.
 */
#ifndef STK_OPTIM_OPTIMIZER_H
#define STK_OPTIM_OPTIMIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/kernel/kernel.h"
#include "proto/base/options.h"
#include "proto/base/status.h"

enum { STK_OPTIM_FROZEN = -1 };

struct stk_optim_tensor {
  const char *name;
  int64_t offset, n; /* elements of the flat region */
};

struct stk_optim_group {
  double lr, weight_decay, momentum, beta1, beta2, eps;
};

struct stk_optim_slice {
  int64_t offset, n;
  int32_t group;
};

struct stk_optimizer {
  stk_optim_kind kind;
  double dampening;
  bool nesterov;
  struct stk_optim_group *group; /* 0: the optimizer's own values; then the job's groups */
  size_t n_groups;
  int32_t *group_of; /* of each tensor, or STK_OPTIM_FROZEN */
  size_t n_tensors;
  struct stk_optim_slice *slice; /* ascending */
  size_t n_slices;
  int32_t n_moments; /* buffers of the region's size beside the parameters: 0, 1 or 2 */
};

/* tensors: ascending offsets, not overlapping. SP_EINVAL for values out of range, and for a pattern
 * that matches no parameter (it names it); SP_ENOMEM. Free with stk_optimizer_free. */
SP_NODISCARD sp_status stk_optimizer_new(const struct sp_optimizer_opts *opts,
                                         const struct stk_optim_tensor *tensors, size_t n_tensors,
                                         struct stk_optimizer **out_optimizer, struct sp_err *err);

/* From now on tensor `which` belongs to no group, as if frozen; a step leaves its bytes alone. Not
 * while a step runs. */
void stk_optimizer_skip(struct stk_optimizer *o, const struct stk_optim_tensor *tensors,
                        size_t which);

/* Accepts NULL. */
void stk_optimizer_free(struct stk_optimizer *o);

/* True if a `freeze` pattern matches. */
bool stk_optim_is_frozen(const struct sp_optimizer_opts *opts, const char *name);

/* The scalars of update number `step` (counted from 1) of one group at rate lr. grad_scale: see
 * stk_optim_grad_scale; clip_value: 0 is off. */
void stk_optimizer_scalars(const struct stk_optimizer *o, size_t group, double lr, int64_t step,
                           double grad_scale, double clip_value, struct stk_optim_scalars *out);

/* What the mean gradient is multiplied by: 1, or with max_norm > 0 min(1, max_norm / (norm + 1e-6))
 * (clip_grad_norm_). sums: the sumsq kernel's, added in index order. out_norm (may be NULL) is the
 * norm. */
double stk_optim_grad_scale(const double *sums, int64_t n_sums, double max_norm, double *out_norm);

#endif
