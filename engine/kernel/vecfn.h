/* The functions of vec/fn.h over arrays, per variant: for tests and for whoever wants a whole
 * array.
 *
 * stk_vecfn_get gives the table of one variant, whose arrays are float or double by its real_bits.
 * A caller must only run what its CPU has, and sets FTZ and DAZ first (engine/num/fpenv.h).
 */
#ifndef STK_KERNEL_VECFN_H
#define STK_KERNEL_VECFN_H

#include <stdint.h>

/* X(name): v_<name> of vec/fn.h, one operand. */
#define STK_VECFN_LIST(X) \
  X(exp)                  \
  X(log)                  \
  X(tanh)                 \
  X(sigmoid)              \
  X(erf)                  \
  X(softplus)             \
  X(silu)                 \
  X(gelu_erf)             \
  X(gelu_tanh)            \
  X(sqrt)

/* X(name): two operands. */
#define STK_VECFN2_LIST(X) \
  X(silu_bwd)              \
  X(gelu_erf_bwd)          \
  X(gelu_tanh_bwd)         \
  X(add)                   \
  X(div)                   \
  X(max)                   \
  X(min)                   \
  X(copysign)

struct stk_vecfn {
  const char *name;
  void (*run)(const void *x, void *y, int64_t n);    /* y[i] = f(x[i]); y may be x */
  void (*scalar)(const void *x, void *y, int64_t n); /* by r_<name>; NULL where there is none */
};

struct stk_vecfn2 {
  const char *name;
  void (*run)(const void *a, const void *b, void *y, int64_t n);
};

struct stk_vecfn_table {
  const char *variant; /* ref_f32, reffma_f32, ref_f64, reffma_f64, avx2_f32, avx512_f32 */
  int real_bits;
  const struct stk_vecfn *fn; /* ends with a NULL name */
  const struct stk_vecfn2 *fn2;
  void (*fma)(const void *a, const void *b, const void *c, void *y, int64_t n);
  double (*sum)(const void *x, int64_t n);      /* v_reduce */
  double (*sum_with)(const void *x, int64_t n); /* V_REDUCE_WITH of the same terms */
  double (*hmax)(const void *x);                /* of 16 */
  /* mask, gather, integer and partial forms, folded into 64 bits that must be equal everywhere */
  uint64_t (*probe)(const void *x, const int32_t *ids, int64_t n);
  /* out[4 i + w]: word w of Philox block i of 16, counter {c[0] + i, c[1], c[2], c[3]} */
  void (*philox)(uint64_t key, const uint32_t counter[4], uint32_t out[64]);
};

/* The variant's table by name, or NULL. */
const struct stk_vecfn_table *stk_vecfn_get(const char *variant);

/* Whether this CPU can run the variant. */
int stk_vecfn_runs_here(const char *variant);

#endif
