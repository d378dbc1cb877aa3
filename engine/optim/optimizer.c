/* Parameter groups, slices, and the scalars of a step. */
#include "engine/optim/optimizer.h"

#include <fnmatch.h>
#include <math.h>
#include <string.h>

#include "engine/num/dmath.h"
#include "proto/base/mem.h"

struct slice {
  int64_t offset, n;
  int32_t group;
};

struct stk_optimizer {
  struct stk_optimizer_config c;
  struct stk_optim_scalars scalars[STK_OPTIM_MAX_GROUPS + 1];
  struct slice *slices;
  int32_t n_slices;
};

struct stk_optimizer_config stk_optimizer_defaults(stk_optim_kind kind) {
  return (struct stk_optimizer_config){.kind = kind,
                                       .lr = 1e-3,
                                       .weight_decay = kind == STK_OPTIM_ADAMW ? 0.01 : 0.0,
                                       .beta1 = 0.9,
                                       .beta2 = 0.999,
                                       .eps = 1e-8};
}

int32_t stk_optimizer_sections(const struct stk_optimizer_config *c) {
  return c->kind != STK_OPTIM_SGD ? 3 : c->momentum != 0.0 ? 2 : 1;
}

bool stk_optimizer_is_frozen(const struct stk_optimizer_config *c, const char *name) {
  for (int32_t i = 0; i < c->n_freeze; i++) {
    if (fnmatch(c->freeze[i], name, 0) == 0) {
      return true;
    }
  }
  return false;
}

static int32_t group_of(const struct stk_optimizer_config *c, const char *name) {
  for (int32_t i = 0; i < c->n_groups; i++) {
    if (fnmatch(c->groups[i].pattern, name, 0) == 0) {
      return i + 1;
    }
  }
  return 0;
}

static sp_status unmatched(const char *what, const char *pattern, struct sp_err *err) {
  return sp_fail(err, SP_EINVAL, "optimizer.%s: no parameter's name matches '%s'; `stoker plan` lists the names", what,
                 pattern);
}

/* Every pattern must mean something: a typing error would change the training silently. */
static sp_status check_patterns(const struct stk_optimizer_config *c, const struct stk_optimizer_param *p, int32_t n,
                                struct sp_err *err) {
  for (int32_t g = 0; g < c->n_groups + c->n_freeze; g++) {
    const char *pattern = g < c->n_groups ? c->groups[g].pattern : c->freeze[g - c->n_groups];
    bool hit = false;
    for (int32_t i = 0; i < n && !hit; i++) {
      hit = fnmatch(pattern, p[i].name, 0) == 0;
    }
    if (!hit) {
      return unmatched(g < c->n_groups ? "groups" : "freeze", pattern, err);
    }
  }
  return SP_OK;
}

sp_status stk_optimizer_new(const struct stk_optimizer_config *config, const struct stk_optimizer_param *params,
                            int32_t n_params, struct stk_optimizer **out_o, struct sp_err *err) {
  sp_status st = check_patterns(config, params, n_params, err);
  if (st) {
    return st;
  }
  struct stk_optimizer *o = sp_alloc(sizeof *o);
  struct slice *s = sp_alloc_array((size_t)n_params + 1, sizeof *s);
  if (!o || !s) {
    sp_free(o);
    sp_free(s);
    return sp_fail(err, SP_ENOMEM, "no memory for the optimizer");
  }
  o->c = *config;
  o->slices = s;
  int32_t last = -1; /* group of the slice that the next parameter may join */
  for (int32_t i = 0; i < n_params; i++) {
    int32_t g = params[i].frozen ? -1 : group_of(config, params[i].name);
    if (g >= 0 && g == last) { /* the pad between them is zero and stays zero */
      s[o->n_slices - 1].n = params[i].offset + params[i].n - s[o->n_slices - 1].offset;
    } else if (g >= 0) {
      s[o->n_slices++] = (struct slice){params[i].offset, params[i].n, g};
    }
    last = g;
  }
  *out_o = o;
  return SP_OK;
}

void stk_optimizer_free(struct stk_optimizer *o) {
  if (o) {
    sp_free(o->slices);
    sp_free(o);
  }
}

int32_t stk_optimizer_n_groups(const struct stk_optimizer *o) {
  return o->c.n_groups + 1;
}

double stk_optimizer_base_lr(const struct stk_optimizer *o, int32_t group) {
  double own = group > 0 ? o->c.groups[group - 1].lr : (double)NAN;
  return isnan(own) ? o->c.lr : own;
}

void stk_optimizer_prepare(struct stk_optimizer *o, int64_t t, const double *lr, double grad_scale, double clip_value) {
  const struct stk_optimizer_config *c = &o->c;
  for (int32_t g = 0; g <= c->n_groups; g++) {
    double wd = g > 0 ? c->groups[g - 1].weight_decay : (double)NAN;
    o->scalars[g] = (struct stk_optim_scalars){
      .lr = lr ? lr[g] : stk_optimizer_base_lr(o, g),
      .weight_decay = isnan(wd) ? c->weight_decay : wd,
      .momentum = c->momentum,
      .dampening = c->dampening,
      .beta1 = c->beta1,
      .beta2 = c->beta2,
      .eps = c->eps,
      .bias1 = 1.0 - stk_pow_int_d(c->beta1, t),
      .bias2 = 1.0 - stk_pow_int_d(c->beta2, t),
      .grad_scale = grad_scale,
      .clip_value = clip_value,
      .nesterov = c->nesterov,
      .first = t == 1,
    };
  }
}

int32_t stk_optimizer_n_slices(const struct stk_optimizer *o) {
  return o->n_slices;
}

struct stk_optimizer_slice stk_optimizer_slice_at(const struct stk_optimizer *o, int32_t i) {
  return (struct stk_optimizer_slice){o->slices[i].offset, o->slices[i].n, &o->scalars[o->slices[i].group]};
}
