/* Elementwise nodes: every one is a chain, a small program over its inputs; fusion joins chains. */
#ifndef STK_OPS_CHAIN_H
#define STK_OPS_CHAIN_H

#include "engine/kernel/kernel.h"
#include "engine/graph/graph.h"

/* The program of a STK_OP_CHAIN node: registers 0..n_in-1 are the node's inputs, n_in + i is the
 * result of op i. */
struct stk_chain_prog {
  int32_t n_in, n_op, n_out;
  struct stk_chain_op op[STK_CHAIN_OPS];
  uint8_t out_reg[STK_CHAIN_OUT];
};

/* As "mulc(r0,0.5) add(r1,r2) -> r3" into buf; returns buf. */
char *stk_chain_text(const struct stk_chain_prog *p, char *buf, size_t cap);
/* Operands of an elementwise opcode: 1, 2 or 3. */
int32_t stk_ew_arity(int32_t ew);
/* Collapses shape and broadcast inputs to the kernel's four dims; false where that needs more. */
bool stk_chain_layout(const struct stk_shape *out, int32_t n_in, const struct stk_shape *const *in,
                      struct stk_chain_args *args);
/* NumPy broadcasting of two shapes; false when they do not fit. */
bool stk_shape_broadcast(const struct stk_shape *a, const struct stk_shape *b,
                         struct stk_shape *out);

#endif
