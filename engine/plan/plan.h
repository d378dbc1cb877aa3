/* The plan: from a traced graph to a program that is replayed.
 *
 *   trace -> autodiff -> dead code -> fuse -> recompute -> schedule (creation order) -> memory ->
 *   lower -> program
 *
 * Each pass is a function over the graph with a text dump before and after (stk_graph_dump). A
 * program holds instructions with private args, the byte count of its activation arena, and the
 * places where pointers are patched when memory is bound. Running it allocates nothing.
 */
#ifndef STK_PLAN_PLAN_H
#define STK_PLAN_PLAN_H

#include <stdatomic.h>

#include "engine/exec/pool.h"
#include "engine/graph/graph.h"
#include "engine/kernel/kernel.h"

/* ---- passes */

/* Appends the gradient of g->loss times `seed` with respect to every trainable parameter
 * (g->param_grad). A value's gradients add in descending consumer id, within a node in ascending
 * input position. */
SP_NODISCARD sp_status stk_pass_autodiff(struct stk_graph *g, double seed, struct sp_err *err);

/* Marks nodes that reach no output; `live` (n_nodes bytes) is the caller's. */
void stk_pass_live(const struct stk_graph *g, uint8_t *live);

/* Joins elementwise chains with their single consumers and relu with the product before it.
 * Rewrites in place; nodes that were swallowed become dead. */
SP_NODISCARD sp_status stk_pass_fuse(struct stk_graph *g, struct sp_err *err);

/* Makes activations again in the backward pass instead of keeping them, until those kept hold at
 * most `budget` bytes, or as few as can be. STK_RECOMPUTE_CHEAP: all that takes no product,
 * convolution or attention. Last of the passes. */
enum { STK_RECOMPUTE_OFF = 0, STK_RECOMPUTE_CHEAP = -1 };
SP_NODISCARD sp_status stk_pass_recompute(struct stk_graph *g, int64_t budget, struct sp_err *err);

/* ---- memory */

struct stk_interval {
  int64_t bytes;       /* rounded up to 64 by the planner */
  int32_t first, last; /* positions in the schedule, inclusive */
  int64_t offset;      /* out */
};

/* Places intervals into one arena so that overlapping ones are disjoint: largest first, lowest gap
 * that fits best. Returns the arena's bytes (-1: out of memory) and, when asked, the lower bound:
 * the largest sum of bytes alive at one position. */
int64_t stk_memory_place(struct stk_interval *v, int32_t n, int64_t *out_bound);

/* ---- programs */

/* What a pointer of an instruction is relative to. */
typedef enum stk_base {
  STK_BASE_ACT,
  STK_BASE_X,
  STK_BASE_Y,
  STK_BASE_PARAM,       /* the slot that is read; offsets from the state layout */
  STK_BASE_GRAD,        /* same layout */
  STK_BASE_RUNNING,     /* running statistics that are read */
  STK_BASE_RUNNING_OUT, /* and written */
  STK_BASE_HOST,        /* host scalars, one real each */
  STK_BASE_RNG,         /* struct stk_rng_ctx */
  STK_BASE_COUNT
} stk_base;

struct stk_program_spec {
  const struct stk_kernels *kernels;
  int n_threads;
  const int64_t *param_offset;   /* bytes of each parameter in its region */
  const int64_t *running_offset; /* bytes of each running statistic */
  bool in_place;                 /* let outputs take over dying inputs */
};

struct stk_instr {
  const struct stk_kernel *kernel;
  void *args;
  int64_t n_units;
  int32_t node; /* of the graph; for profiles and detect_anomaly */
  bool small;   /* cheaper alone than shared out */
};

typedef struct stk_program stk_program;

/* Lowers the live nodes of g. The graph is borrowed and must outlive the program. */
SP_NODISCARD sp_status stk_program_new(struct stk_graph *g, const struct stk_program_spec *spec,
                                       stk_program **out_p, struct sp_err *err);
void stk_program_free(stk_program *p);

/* Sets one base; pointers relative to it are patched when it differs from the last one. NULL
 * unbinds. */
void stk_program_bind(stk_program *p, stk_base base, void *memory);
/* Takes the page faults of the first run: stk_pages_populate of the arena and of scratch. */
void stk_program_warm(const stk_program *p, const atomic_bool *stop);
/* Replays. Every base in use must be bound. */
void stk_program_run(stk_program *p, stk_pool *pool);

/* Where a value of the graph is after a run (reads of logs, loss, predictions); NULL if it has no
 * memory. */
void *stk_program_value(const stk_program *p, int32_t value);
const struct stk_graph *stk_program_graph(const stk_program *p);

struct stk_program_report {
  int64_t act_bytes, act_bound; /* the arena (owned by the program) and its lower bound */
  int64_t scratch_bytes;        /* per thread */
  int64_t n_instrs;
  double flops;
};
void stk_program_report(const stk_program *p, struct stk_program_report *out);

/* Per-instruction access for profiles and detect_anomaly. */
int64_t stk_program_n_instrs(const stk_program *p);
const struct stk_instr *stk_program_instr(const stk_program *p, int64_t i);
void stk_program_run_instr(stk_program *p, stk_pool *pool, int64_t i);

#endif
