/* The public calls of configure_optimizers. */
#include "engine/optim/configure.h"

#include <math.h>
#include <string.h>

static void begin(stk_optim *o, int kind, double lr, double weight_decay) {
  struct sp_strings freeze = o->opts.freeze;
  o->opts = (struct sp_optimizer_opts){
      .given = true, .kind = kind, .lr = lr, .weight_decay = weight_decay, .eps = 1e-8};
  o->opts.freeze = freeze;
  o->betas[0] = 0.9;
  o->betas[1] = 0.999;
  o->opts.betas = (struct sp_floats){o->betas, 2};
  o->opts.groups = o->groups;
}

void stk_optim_init(struct stk_optim *o, const struct sp_strings *freeze) {
  memset(o, 0, sizeof *o);
  o->opts.freeze = *freeze;
  begin(o, SP_OPTIM_ADAM, 1e-3, 0.0);
}

void stk_optim_sgd(stk_optim *o, double lr, double momentum, bool nesterov) {
  begin(o, SP_OPTIM_SGD, lr, 0.0);
  o->opts.momentum = momentum;
  o->opts.nesterov = nesterov;
}

void stk_optim_adam(stk_optim *o, double lr) {
  begin(o, SP_OPTIM_ADAM, lr, 0.0);
}

void stk_optim_adamw(stk_optim *o, double lr, double weight_decay) {
  begin(o, SP_OPTIM_ADAMW, lr, weight_decay);
}

void stk_optim_betas(stk_optim *o, double beta1, double beta2) {
  o->betas[0] = beta1;
  o->betas[1] = beta2;
}

void stk_optim_weight_decay(stk_optim *o, double weight_decay) {
  o->opts.weight_decay = weight_decay;
}

void stk_optim_group(stk_optim *o, const char *pattern, double lr, double weight_decay) {
  size_t n = o->opts.n_groups;
  if (n == STK_CONFIGURE_GROUPS || !pattern || strlen(pattern) >= sizeof o->patterns[0]) {
    if (!o->err.status) {
      sp_fail(&o->err, SP_EMODULE,
              "configure_optimizers: at most %d groups, patterns of at most 127 bytes",
              STK_CONFIGURE_GROUPS);
    }
    return;
  }
  memcpy(o->patterns[n], pattern, strlen(pattern) + 1);
  o->groups[n] =
      (struct sp_group_opts){.match = o->patterns[n],
                             .lr = lr < 0.0 ? (double)NAN : lr,
                             .weight_decay = weight_decay < 0.0 ? (double)NAN : weight_decay};
  o->opts.n_groups = n + 1;
}
