/* Batch norm is built by its layer only: it needs the running statistics, which are not symbols of
 * a user's. */
#ifndef STK_OPS_BATCH_NORM_H
#define STK_OPS_BATCH_NORM_H

#include "engine/graph/graph.h"

/* x (n, c, ...), gamma and beta (c). run_mean, run_var: indexes of running statistics. Training
 * normalises with the batch's statistics and updates the running ones; other stages use the running
 * ones. Returns the value id. */
int32_t stk_build_batch_norm(struct stk_graph *g, int32_t x, int32_t gamma, int32_t beta,
                             int32_t run_mean, int32_t run_var, double eps, double momentum,
                             stk_loc at);

#endif
