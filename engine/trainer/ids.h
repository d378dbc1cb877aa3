/* Which ids a graph looks up. Embeddings and cross-entropy use integers as indices; their kernels
 * check nothing, so every batch is checked when it is read, against the limits found here. One
 * thread. */
#ifndef STK_TRAINER_IDS_H
#define STK_TRAINER_IDS_H

#include "engine/graph/graph.h"

/* Lowers *x_limit and *y_limit (0: none yet) to the number of ids that g takes in the batch's x and
 * y. SP_EMODULE: g computes ids itself that may be too large, with the place in the module. */
SP_NODISCARD sp_status stk_ids_limits(const struct stk_graph *g, int64_t *x_limit, int64_t *y_limit,
                                      struct sp_err *err);

#endif
