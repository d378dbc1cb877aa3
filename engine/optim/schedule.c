/* Learning-rate schedules: see schedule.h. Formulas are PyTorch's closed forms. */
#include "engine/optim/schedule.h"

#include <math.h>

#include "engine/num/dmath.h"

static int64_t min64(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static sp_status check(const struct sp_lr_opts *o, size_t i, struct sp_err *err) {
  if (o->frequency < 1) {
    return sp_fail(err, SP_EINVAL, "lr_scheduler %zu: frequency is %lld, must be at least 1", i,
                   (long long)o->frequency);
  }
  switch ((sp_lr_class)o->kind) {
    case SP_LR_CONSTANT:
      return SP_OK;
    case SP_LR_STEP:
      return o->step_size >= 1 ? SP_OK
                               : sp_fail(err, SP_EINVAL,
                                         "lr_scheduler %zu: step_size is %lld, must be at least 1",
                                         i, (long long)o->step_size);
    case SP_LR_COSINE:
      return o->t_max >= 1
                 ? SP_OK
                 : sp_fail(err, SP_EINVAL, "lr_scheduler %zu: t_max is %lld, must be at least 1", i,
                           (long long)o->t_max);
    case SP_LR_LINEAR_WARMUP:
      return o->total_iters >= 1
                 ? SP_OK
                 : sp_fail(err, SP_EINVAL,
                           "lr_scheduler %zu: total_iters is %lld, must be at least 1", i,
                           (long long)o->total_iters);
    case SP_LR_REDUCE_ON_PLATEAU:
      return o->factor < 1.0 && o->factor >= 0.0
                 ? SP_OK
                 : sp_fail(err, SP_EINVAL,
                           "lr_scheduler %zu: factor of reduce_on_plateau is %g, must be in [0, 1)",
                           i, o->factor);
  }
  return sp_fail(err, SP_EINVAL, "lr_scheduler %zu: unknown kind %d", i, o->kind);
}

/* t_max unset: what is left of the run after `begin`. */
static sp_status resolve(struct sp_lr_opts *o, size_t i, int64_t run, struct sp_err *err) {
  if (o->kind != SP_LR_COSINE || o->t_max != SP_INT_NONE) {
    return SP_OK;
  }
  if (run < 0) {
    return sp_fail(err, SP_EINVAL,
                   "lr_scheduler %zu: the run has no known end, so cosine needs t_max; give t_max, "
                   "or trainer.max_epochs or trainer.max_steps",
                   i);
  }
  const int64_t left = o->frequency > 0 ? (run - o->begin) / o->frequency : 0;
  o->t_max = left > 1 ? left : 1;
  return SP_OK;
}

sp_status stk_schedule_init(const struct sp_lr_chain *chain, int64_t run_steps, int64_t run_epochs,
                            struct stk_schedule *out_schedule,
                            struct stk_schedule_state out_state[STK_SCHEDULE_MAX],
                            struct sp_err *err) {
  struct stk_schedule s = {.n = chain->n};
  if (chain->n > STK_SCHEDULE_MAX) {
    return sp_fail(err, SP_EINVAL, "lr_scheduler: %zu schedules, at most %d are possible", chain->n,
                   (int)STK_SCHEDULE_MAX);
  }
  for (size_t i = 0; i < s.n; i++) {
    struct sp_lr_opts *o = &s.item[i];
    *o = chain->items[i];
    sp_status status = resolve(o, i, o->interval == SP_LR_BY_STEP ? run_steps : run_epochs, err);
    if (status == SP_OK) {
      status = check(o, i, err);
    }
    if (status != SP_OK) {
      return status;
    }
  }
  for (size_t i = 0; i < STK_SCHEDULE_MAX; i++) {
    out_state[i] = (struct stk_schedule_state){0};
    if (i < s.n && s.item[i].kind == SP_LR_REDUCE_ON_PLATEAU) {
      out_state[i].best = s.item[i].mode == SP_MODE_MIN ? HUGE_VAL : -HUGE_VAL;
    }
  }
  *out_schedule = s;
  return SP_OK;
}

static double reduced(const struct sp_lr_opts *o, int64_t reductions, double lr) {
  for (int64_t i = 0; i < reductions; i++) {
    const double next = lr * o->factor > o->min_lr ? lr * o->factor : o->min_lr;
    if (!(lr - next > o->eps)) {
      break; /* and the same ever after */
    }
    lr = next;
  }
  return lr;
}

static double apply(const struct sp_lr_opts *o, const struct stk_schedule_state *state,
                    int64_t count, double lr) {
  switch ((sp_lr_class)o->kind) {
    case SP_LR_CONSTANT:
      return o->total_iters == SP_INT_NONE || count < o->total_iters ? lr * o->factor : lr;
    case SP_LR_STEP:
      return lr * stk_pow_int_d(o->gamma, count / o->step_size);
    case SP_LR_COSINE: {
      const double turn = (double)(count % (2 * o->t_max)) / (double)o->t_max;
      return o->eta_min + (lr - o->eta_min) * (1.0 + stk_cospi_d(turn)) / 2.0;
    }
    case SP_LR_LINEAR_WARMUP: {
      const double part = (double)min64(count, o->total_iters) / (double)o->total_iters;
      return lr * (o->start_factor + (o->end_factor - o->start_factor) * part);
    }
    case SP_LR_REDUCE_ON_PLATEAU:
      return reduced(o, state->reductions, lr);
  }
  return lr;
}

double stk_schedule_lr(const struct stk_schedule *s, const struct stk_schedule_state *state,
                       double base, int64_t steps, int64_t epochs) {
  double lr = base;
  for (size_t i = 0; i < s->n; i++) {
    const struct sp_lr_opts *o = &s->item[i];
    const int64_t since = (o->interval == SP_LR_BY_STEP ? steps : epochs) - o->begin;
    if (since >= 0) {
      lr = apply(o, &state[i], since / o->frequency, lr);
    }
  }
  return lr;
}

bool stk_schedule_wants(const struct stk_schedule *s, size_t i, sp_lr_interval at, int64_t done) {
  const struct sp_lr_opts *o = &s->item[i];
  return o->kind == SP_LR_REDUCE_ON_PLATEAU && o->interval == (int)at && done > o->begin &&
         (done - o->begin) % o->frequency == 0;
}

static bool better(const struct sp_lr_opts *o, double value, double best) {
  const bool relative = o->threshold_mode == SP_THRESHOLD_REL;
  if (o->mode == SP_MODE_MIN) {
    return value < (relative ? best * (1.0 - o->threshold) : best - o->threshold);
  }
  return value > (relative ? best * (1.0 + o->threshold) : best + o->threshold);
}

void stk_schedule_observe(const struct stk_schedule *s, size_t i, struct stk_schedule_state *state,
                          double value) {
  const struct sp_lr_opts *o = &s->item[i];
  if (better(o, value, state->best)) {
    state->best = value;
    state->bad = 0;
  } else {
    state->bad++;
  }
  if (state->cooldown > 0) {
    state->cooldown--;
    state->bad = 0;
  }
  if (state->bad > o->patience) {
    state->reductions++;
    state->cooldown = o->cooldown;
    state->bad = 0;
  }
}
