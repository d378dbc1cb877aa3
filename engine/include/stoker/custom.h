/* Custom ops: what the ops of stoker/graph.h cannot express, in a module's own C.
 *
 * An op is a constant table: a shape rule, a forward and a backward function, and the promise that
 * its results are the same bits however its work is shared out. It is traced, differentiated and
 * planned like any other; its functions run on every kernel set alike (they are the module's code),
 * so they are what makes, or breaks, a job's exactness: single IEEE operations in a fixed order, no
 * libm but sqrt and fma, -ffp-contract=off (pkg-config --cflags stoker passes it), no statics.
 *
 * Work is cut into units, pieces that threads do in any order: by shape, never by thread count. A
 * unit writes only its own part of the results and reads no other unit's. Up to three inputs, one
 * result, which is real or i32. Tensors are dense, row-major, and never overlap.
 */
#ifndef STOKER_CUSTOM_H
#define STOKER_CUSTOM_H

#include <stdint.h>

#include <stoker/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { STK_CUSTOM_ABI = 1, STK_CUSTOM_MAX_IN = 3 };

/* Numbers of one use of an op, part of the traced graph: a window's size, a slope. */
typedef struct stk_custom_attrs {
  int64_t i[4];
  double f[3];
} stk_custom_attrs;

typedef struct stk_custom_shape {
  stk_dtype dtype;
  int32_t rank; /* 0 to STK_MAX_RANK */
  int64_t dims[STK_MAX_RANK];
} stk_custom_shape;

/* One use of an op, as its functions see it. Reals are float where real_bits is 32 and double where
 * it is 64. */
typedef struct stk_custom_call {
  int32_t real_bits, n_in;
  stk_custom_shape in_shape[STK_CUSTOM_MAX_IN], out_shape;
  stk_custom_attrs attrs;
  const void *in[STK_CUSTOM_MAX_IN];
  void *out;                        /* forward writes it; backward reads what forward wrote */
  const void *grad_out;             /* backward only: the gradient of the result, of its shape */
  void *grad_in[STK_CUSTOM_MAX_IN]; /* backward only: to be written whole; NULL: not wanted */
} stk_custom_call;

typedef struct stk_custom_why {
  char text[160];
} stk_custom_why;

enum {
  STK_CUSTOM_EXACT = 1, /* the promise of the opening comment; an op without it is refused */
  STK_CUSTOM_F64 = 2    /* knows real_bits 64; an op without it is refused in 64-true */
};

typedef struct stk_custom_op {
  uint32_t abi, size; /* STK_CUSTOM_ABI, sizeof *this: fields are only appended */
  const char *name;   /* 1 to 31 bytes; part of the traced graph, so of what checkpoints compare */
  int32_t n_in;       /* 1 to STK_CUSTOM_MAX_IN */
  uint32_t flags;
  /* The result's shape from the inputs'; out->dtype is preset to the job's real type. Non-zero with
   * a text in why: these inputs do not fit. */
  stk_status (*shape)(const stk_custom_shape *in, const stk_custom_attrs *attrs,
                      stk_custom_shape *out, stk_custom_why *why);
  /* Units of forward, or of backward, by shapes and attributes: tensors are not there yet. NULL:
   * one. */
  int64_t (*units)(const stk_custom_call *call, int32_t backward);
  /* Units lo to hi - 1. */
  void (*forward)(const stk_custom_call *call, int64_t lo, int64_t hi);
  /* The same; NULL: no gradient passes through the op, as through stk_detach. */
  void (*backward)(const stk_custom_call *call, int64_t lo, int64_t hi);
} stk_custom_op;

/* Applies an op to its n_in inputs. The table must live as long as the module; attrs NULL: zeros.
 */
stk_t stk_custom_at(const stk_custom_op *op, const stk_t *in, const stk_custom_attrs *attrs,
                    stk_loc at);
#define stk_custom(op, in, attrs) stk_custom_at((op), (in), (attrs), STK_HERE)

#ifdef __cplusplus
}
#endif

#endif
