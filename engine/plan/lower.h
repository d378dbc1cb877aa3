/* Lowering, as ops see it: emit instructions whose pointer fields refer to values of the graph.
 *
 * An instruction is a kernel with a private copy of its args. Pointer fields are named by offset
 * and value; the program patches them when memory is bound, so args are built with NULL there.
 * After an error calls do nothing.
 */
#ifndef STK_PLAN_LOWER_H
#define STK_PLAN_LOWER_H

#include "engine/graph/graph.h"
#include "engine/kernel/kernel.h"

struct stk_lower;

/* One pointer field of an args struct. */
struct stk_ref {
  size_t field;   /* offsetof(struct args, pointer) */
  int32_t value;  /* value id; -1: leave NULL */
  int64_t offset; /* elements beyond the value's start */
};

#define STK_REF(type, member, value) \
  { offsetof(type, member), (value), 0 }

const struct stk_graph *stk_lower_graph(const struct stk_lower *lw);
const struct stk_kernels *stk_lower_kernels(const struct stk_lower *lw);
int stk_lower_threads(const struct stk_lower *lw); /* may steer cuts, never bits */

/* Appends an instruction. */
void stk_lower_emit(struct stk_lower *lw, const struct stk_kernel *k, const void *args,
                    size_t args_bytes, const struct stk_ref *refs, int32_t n_refs);

/* The field at `field` points to the job's struct stk_rng_ctx. Applies to the instruction emitted
 * last. */
void stk_lower_rng(struct stk_lower *lw, size_t field);
/* Workspace of this instruction alone (between its phases): returns a pseudo value id for stk_ref.
 */
int32_t stk_lower_workspace(struct stk_lower *lw, size_t bytes);
/* The output buffer of a running statistic's update: pseudo value id. */
int32_t stk_lower_running_out(struct stk_lower *lw, int32_t index);

#endif
