/* Groups, slices and scalars of an optimizer: see optimizer.h. */
#include "engine/optim/optimizer.h"

#include <math.h>

#include "engine/num/dmath.h"
#include "engine/optim/glob.h"
#include "proto/base/mem.h"

bool stk_optim_is_frozen(const struct sp_optimizer_opts *opts, const char *name) {
  for (size_t i = 0; i < opts->freeze.n; i++) {
    if (stk_glob_match(opts->freeze.items[i], name)) {
      return true;
    }
  }
  return false;
}

static double given(double value, double otherwise) {
  return isnan(value) ? otherwise : value;
}

static void groups_fill(struct stk_optimizer *o, const struct sp_optimizer_opts *opts) {
  const bool adam = o->kind != STK_OPTIM_SGD;
  const struct stk_optim_group own = {
      .lr = opts->lr,
      .weight_decay = opts->weight_decay,
      .momentum = adam ? 0.0 : opts->momentum,
      .beta1 = adam ? opts->betas.items[0] : 0.0,
      .beta2 = adam ? opts->betas.items[1] : 0.0,
      .eps = adam ? opts->eps : 0.0,
  };
  o->group[0] = own;
  for (size_t i = 0; i < opts->n_groups; i++) {
    const struct sp_group_opts *g = &opts->groups[i];
    o->group[i + 1] = own;
    o->group[i + 1].lr = given(g->lr, own.lr);
    o->group[i + 1].weight_decay = given(g->weight_decay, own.weight_decay);
  }
}

static sp_status group_check(const struct stk_optimizer *o, size_t i, struct sp_err *err) {
  const struct stk_optim_group *g = &o->group[i];
  const struct {
    const char *name;
    double value, below; /* 0 <= value < below */
  } rules[] = {
      {"lr", g->lr, HUGE_VAL},
      {"weight_decay", g->weight_decay, HUGE_VAL},
      {"momentum", g->momentum, HUGE_VAL},
      {"betas[0]", g->beta1, 1.0},
      {"betas[1]", g->beta2, 1.0},
      {"eps", g->eps, HUGE_VAL},
  };
  for (size_t k = 0; k < sizeof rules / sizeof *rules; k++) {
    if (!(rules[k].value >= 0.0 && rules[k].value < rules[k].below)) {
      return sp_fail(err, SP_EINVAL, "optimizer, group %zu: %s is %g, must be in [0, %g)", i,
                     rules[k].name, rules[k].value, rules[k].below);
    }
  }
  if (o->nesterov && (g->momentum == 0.0 || o->dampening != 0.0)) {
    return sp_fail(err, SP_EINVAL, "optimizer, group %zu: nesterov needs momentum and no dampening",
                   i);
  }
  return SP_OK;
}

static sp_status pattern_check(const char *what, const char *pattern,
                               const struct stk_optim_tensor *tensors, size_t n,
                               struct sp_err *err) {
  for (size_t t = 0; t < n; t++) {
    if (stk_glob_match(pattern, tensors[t].name)) {
      return SP_OK;
    }
  }
  return sp_fail(err, SP_EINVAL,
                 "optimizer.%s: '%s' matches no parameter (the first is '%s'); `stoker plan` lists "
                 "the names",
                 what, pattern, n > 0 ? tensors[0].name : "none");
}

static sp_status check(const struct stk_optimizer *o, const struct sp_optimizer_opts *opts,
                       const struct stk_optim_tensor *tensors, struct sp_err *err) {
  sp_status status = SP_OK;
  for (size_t i = 0; i < o->n_groups && status == SP_OK; i++) {
    status = group_check(o, i, err);
  }
  for (size_t i = 0; i < opts->n_groups && status == SP_OK; i++) {
    status = pattern_check("groups", opts->groups[i].match, tensors, o->n_tensors, err);
  }
  for (size_t i = 0; i < opts->freeze.n && status == SP_OK; i++) {
    status = pattern_check("freeze", opts->freeze.items[i], tensors, o->n_tensors, err);
  }
  return status;
}

static int32_t group_find(const struct sp_optimizer_opts *opts, const char *name) {
  if (stk_optim_is_frozen(opts, name)) {
    return STK_OPTIM_FROZEN;
  }
  for (size_t i = 0; i < opts->n_groups; i++) {
    if (stk_glob_match(opts->groups[i].match, name)) {
      return (int32_t)i + 1;
    }
  }
  return 0;
}

/* A pad stays zero under every optimizer, but 0 / (0 + eps) needs an eps. */
static bool pads_survive(const struct stk_optimizer *o, int32_t group) {
  return o->kind == STK_OPTIM_SGD || o->group[group].eps > 0.0;
}

static void slices_fill(struct stk_optimizer *o, const struct stk_optim_tensor *tensors) {
  int32_t before = STK_OPTIM_FROZEN;
  o->n_slices = 0;
  for (size_t t = 0; t < o->n_tensors; t++) {
    const int32_t group = o->group_of[t];
    if (group != STK_OPTIM_FROZEN && tensors[t].n > 0) {
      struct stk_optim_slice *last = o->n_slices > 0 ? &o->slice[o->n_slices - 1] : NULL;
      const bool joins = last && before == group &&
                         (last->offset + last->n == tensors[t].offset || pads_survive(o, group));
      if (joins) {
        last->n = tensors[t].offset + tensors[t].n - last->offset;
      } else {
        o->slice[o->n_slices++] = (struct stk_optim_slice){tensors[t].offset, tensors[t].n, group};
      }
    }
    before = group;
  }
}

sp_status stk_optimizer_new(const struct sp_optimizer_opts *opts,
                            const struct stk_optim_tensor *tensors, size_t n_tensors,
                            struct stk_optimizer **out_optimizer, struct sp_err *err) {
  static const stk_optim_kind kinds[] = {[SP_OPTIM_SGD] = STK_OPTIM_SGD,
                                         [SP_OPTIM_ADAM] = STK_OPTIM_ADAM,
                                         [SP_OPTIM_ADAMW] = STK_OPTIM_ADAMW};
  if (opts->kind < SP_OPTIM_SGD || opts->kind > SP_OPTIM_ADAMW) {
    return sp_fail(err, SP_EINVAL, "optimizer: unknown kind %d", opts->kind);
  }
  if (opts->kind != SP_OPTIM_SGD && opts->betas.n != 2) {
    return sp_fail(err, SP_EINVAL, "optimizer.betas: %zu values, must be two", opts->betas.n);
  }
  struct stk_optimizer *o = sp_alloc(sizeof *o);
  if (!o) {
    return sp_fail(err, SP_ENOMEM, "optimizer: out of memory");
  }
  o->kind = kinds[opts->kind];
  o->dampening = o->kind == STK_OPTIM_SGD ? opts->dampening : 0.0;
  o->nesterov = o->kind == STK_OPTIM_SGD && opts->nesterov;
  o->n_groups = opts->n_groups + 1;
  o->n_tensors = n_tensors;
  o->group = sp_alloc_array(o->n_groups, sizeof *o->group);
  o->group_of = sp_alloc_array(n_tensors, sizeof *o->group_of);
  o->slice = sp_alloc_array(n_tensors, sizeof *o->slice);
  sp_status status = SP_OK;
  if (!o->group || !o->group_of || !o->slice) {
    status = sp_fail(err, SP_ENOMEM, "optimizer: out of memory");
  } else {
    groups_fill(o, opts);
    status = check(o, opts, tensors, err);
  }
  if (status != SP_OK) {
    stk_optimizer_free(o);
    return status;
  }
  for (size_t t = 0; t < n_tensors; t++) {
    o->group_of[t] = group_find(opts, tensors[t].name);
  }
  slices_fill(o, tensors);
  o->n_moments = o->kind != STK_OPTIM_SGD ? 2 : opts->momentum != 0.0 ? 1 : 0;
  *out_optimizer = o;
  return SP_OK;
}

void stk_optimizer_skip(struct stk_optimizer *o, const struct stk_optim_tensor *tensors,
                        size_t which) {
  if (o->group_of[which] != STK_OPTIM_FROZEN) {
    o->group_of[which] = STK_OPTIM_FROZEN;
    slices_fill(o, tensors);
  }
}

void stk_optimizer_free(struct stk_optimizer *o) {
  if (o) {
    sp_free(o->group);
    sp_free(o->group_of);
    sp_free(o->slice);
    sp_free(o);
  }
}

void stk_optimizer_scalars(const struct stk_optimizer *o, size_t group, double lr, int64_t step,
                           double grad_scale, double clip_value, struct stk_optim_scalars *out) {
  const struct stk_optim_group *g = &o->group[group];
  *out = (struct stk_optim_scalars){
      .lr = lr,
      .weight_decay = g->weight_decay,
      .momentum = g->momentum,
      .dampening = o->dampening,
      .beta1 = g->beta1,
      .beta2 = g->beta2,
      .eps = g->eps,
      .bias1 = 1.0 - stk_pow_int_d(g->beta1, step),
      .bias2 = 1.0 - stk_pow_int_d(g->beta2, step),
      .grad_scale = grad_scale,
      .clip_value = clip_value,
      .nesterov = o->nesterov,
      .first = step == 1,
  };
}

double stk_optim_grad_scale(const double *sums, int64_t n_sums, double max_norm, double *out_norm) {
  double total = n_sums > 0 ? sums[0] : 0.0;
  for (int64_t i = 1; i < n_sums; i++) {
    total += sums[i];
  }
  const double norm = sqrt(total);
  double factor = 1.0;
  if (max_norm > 0.0) {
    factor = max_norm / (norm + 1e-6);
    factor = factor > 1.0 ? 1.0 : factor; /* a NaN norm stays visible */
  }
  if (out_norm) {
    *out_norm = norm;
  }
  return factor;
}
