/* The model summary: a module's layers as a tree of dotted names, with what each holds.
 *
 * A row is a layer, a parameter of the module's own, or a name that only others' names contain
 * ("h" of "h.0.ln_1"). Rows come in the order of declaration, a parent before its children, and
 * count everything below them, as Lightning's ModelSummary does.
 */
#ifndef STK_NN_SUMMARY_H
#define STK_NN_SUMMARY_H

#include "engine/nn/module.h"

struct stk_summary_row {
  char name[128];
  const char *type; /* "Linear", ..., "Module", "Parameter" */
  int64_t n_params;
  bool frozen; /* it has parameters, and none of them is trained */
};

/* Rows whose names have at most max_depth parts; -1: all. stk_module_leaves has run. *out_rows is
 * released with sp_free. */
SP_NODISCARD sp_status stk_module_summary(const struct stk_module *m, int64_t max_depth,
                                          struct stk_summary_row **out_rows, size_t *out_n,
                                          struct sp_err *err);

#endif
