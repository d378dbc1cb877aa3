/* configure_optimizers: the optimizer a module trains with unless the job file's optimizer section
 * says otherwise.
 *
 * Exactly one optimizer. Groups override numbers for the parameters whose names match a pattern (*
 * and ?); the first matching group wins. Run once, after setup.
 */
#ifndef STOKER_OPTIM_H
#define STOKER_OPTIM_H

#include <stdbool.h>

#include <stoker/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct stk_optim stk_optim;

/* PyTorch's defaults where a number is not given: Adam betas 0.9, 0.999, eps 1e-8; AdamW weight
 * decay 0.01. */
void stk_optim_sgd(stk_optim *o, double lr, double momentum, bool nesterov);
void stk_optim_adam(stk_optim *o, double lr);
void stk_optim_adamw(stk_optim *o, double lr, double weight_decay);
void stk_optim_betas(stk_optim *o, double beta1, double beta2);
void stk_optim_weight_decay(stk_optim *o, double weight_decay);
/* lr < 0 or weight_decay < 0: the optimizer's own. */
void stk_optim_group(stk_optim *o, const char *pattern, double lr, double weight_decay);

#ifdef __cplusplus
}
#endif

#endif
