/* configure_optimizers' recorder: what a module asks for, as the job file's own options. */
#ifndef STK_OPTIM_CONFIGURE_H
#define STK_OPTIM_CONFIGURE_H

#include <stoker/optim.h>

#include "proto/base/options.h"
#include "proto/base/status.h"

enum { STK_CONFIGURE_GROUPS = 32 };

struct stk_optim {
  struct sp_optimizer_opts opts; /* points into this struct: do not copy */
  double betas[2];
  struct sp_group_opts groups[STK_CONFIGURE_GROUPS];
  char patterns[STK_CONFIGURE_GROUPS][128];
  struct sp_err err; /* status SP_OK unless a call was refused */
};

/* Adam with lr 1e-3, and the given freeze list. */
void stk_optim_init(struct stk_optim *o, const struct sp_strings *freeze);

#endif
