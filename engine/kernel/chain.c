/* Fused elementwise programs: up to 24 operations over up to 8 inputs, one pass over memory.
 *
 * The program runs tile by tile. A register of a tile is memory of an input (when its elements lie
 * one after another), memory of an output (when nothing read later lives there), or a scratch slot
 * of 512 elements; so a single operation over contiguous operands is one plain loop, and a long
 * program stays in the L1 cache. Broadcast inputs are spread into a slot where a pointer does not
 * do: rows of at least 128 elements are walked row by row, shorter ones are gathered.
 *
 * Everything is per element, so tiles, units and slots cannot be seen in the result. The arithmetic
 * of each operation is one line here or in vec/fn.h; docs/numerics.md, "Elementwise".
 */
#include "engine/kernel/kernel.h"
#include "engine/kernel/vec.h"
#include "engine/kernel/vec/fn.h"

#include <string.h>

enum { UNIT = 16384, TILE = 512, ROW_MIN = 128, REGISTERS = STK_CHAIN_IN + STK_CHAIN_OPS };

V_INLINE vreal ew_sign(vreal a) {
  const vreal negative = v_select(v_lt(a, v_zero()), v_set1(-1), v_zero());
  return v_select(v_gt(a, v_zero()), v_set1(1), negative);
}

/* a^n by squaring, from the low bit of n; a^0 is 1. */
V_INLINE vreal ew_powi(vreal a, real exponent) {
  vreal result = v_set1(1);
  bool first = true;
  for (uint32_t n = (uint32_t)exponent; n > 0; n >>= 1) {
    if (n & 1) {
      result = first ? a : v_mul(result, a);
      first = false;
    }
    a = v_mul(a, a);
  }
  return result;
}

typedef void ew_fn(real *y, const real *pa, const real *pb, const real *pd, real pc, int64_t n);

/* One loop per operation: EXPR over vectors a, b, d and the constant c. y may be an operand. */
#define EW_LOOP(NAME, LOAD, LOAD_N, EXPR)                                                 \
  static void ew_##NAME(real *y, const real *pa, const real *pb, const real *pd, real pc, \
                        int64_t n) {                                                      \
    const vreal c = v_set1(pc);                                                           \
    int64_t i = 0;                                                                        \
    (void)pb;                                                                             \
    (void)pd;                                                                             \
    (void)c;                                                                              \
    for (; i + V_LANES <= n; i += V_LANES) {                                              \
      LOAD v_store(y + i, EXPR);                                                          \
    }                                                                                     \
    if (i < n) {                                                                          \
      LOAD_N                                                                              \
      v_store_n(y + i, EXPR, n - i);                                                      \
    }                                                                                     \
  }
#define EW_LOAD1 const vreal a = v_load(pa + i);
#define EW_LOAD2 EW_LOAD1 const vreal b = v_load(pb + i);
#define EW_LOAD3 EW_LOAD2 const vreal d = v_load(pd + i);
#define EW_LOAD1_N const vreal a = v_load_n(pa + i, n - i);
#define EW_LOAD2_N EW_LOAD1_N const vreal b = v_load_n(pb + i, n - i);
#define EW_LOAD3_N EW_LOAD2_N const vreal d = v_load_n(pd + i, n - i);
#define EW1(NAME, EXPR) EW_LOOP(NAME, EW_LOAD1, EW_LOAD1_N, EXPR)
#define EW2(NAME, EXPR) EW_LOOP(NAME, EW_LOAD2, EW_LOAD2_N, EXPR)
#define EW3(NAME, EXPR) EW_LOOP(NAME, EW_LOAD3, EW_LOAD3_N, EXPR)

EW1(NEG, v_neg(a))
EW1(ABS, v_abs(a))
EW1(SIGN, ew_sign(a))
EW1(SQRT, v_sqrt(a))
EW1(RSQRT, v_div(v_set1(1), v_sqrt(a)))
EW1(SQUARE, v_mul(a, a))
EW1(RECIP, v_div(v_set1(1), a))
EW1(EXP, v_exp(a))
EW1(LOG, v_log(a))
EW1(TANH, v_tanh(a))
EW1(ERF, v_erf(a))
EW1(SIGMOID, v_sigmoid(a))
EW1(SOFTPLUS, v_softplus(a))
EW1(RELU, v_max(v_zero(), a))
EW1(GELU_TANH, v_gelu_tanh(a))
EW1(GELU_ERF, v_gelu_erf(a))
EW1(SILU, v_silu(a))
EW1(MULC, v_mul(a, c))
EW1(ADDC, v_add(a, c))
EW1(MAXC, v_max(a, c))
EW1(MINC, v_min(a, c))
EW1(POWI, ew_powi(a, pc))
EW2(ADD, v_add(a, b))
EW2(SUB, v_sub(a, b))
EW2(MUL, v_mul(a, b))
EW2(DIV, v_div(a, b))
EW2(MAX, v_max(a, b))
EW2(MIN, v_min(a, b))
EW2(GT, v_select(v_gt(a, b), v_set1(1), v_zero()))
EW2(RELU_BWD, v_select(v_le(a, v_zero()), v_zero(), b))
EW2(ABS_BWD, v_mul(ew_sign(a), b))
EW2(TANH_BWD, v_mul(v_fnma(a, a, v_set1(1)), b))
EW2(SIGMOID_BWD, v_mul(v_mul(a, v_sub(v_set1(1), a)), b))
EW2(SOFTPLUS_BWD, v_mul(v_sigmoid(a), b))
EW2(GELU_TANH_BWD, v_gelu_tanh_bwd(a, b))
EW2(GELU_ERF_BWD, v_gelu_erf_bwd(a, b))
EW2(SILU_BWD, v_silu_bwd(a, b))
EW3(FMA, v_fma(a, b, d))
EW3(SELECT, v_select(v_gt(a, v_zero()), b, d))

static ew_fn *const ew_table[STK_EW_COUNT] = {
#define STK_EW_X(name, n) [STK_EW_##name] = ew_##name,
    STK_EW_LIST(STK_EW_X)
#undef STK_EW_X
};

static const uint8_t ew_operands[STK_EW_COUNT] = {
#define STK_EW_X(name, n) [STK_EW_##name] = (n),
    STK_EW_LIST(STK_EW_X)
#undef STK_EW_X
};

/* A program made ready: merged dimensions, and where each register lives. */
struct program {
  const struct stk_chain_args *a;
  int64_t dim[STK_CHAIN_RANK], stride[STK_CHAIN_IN][STK_CHAIN_RANK], n;
  int rank;                 /* of the merged shape, at least 1 */
  bool by_row;              /* tiles end at rows of the innermost dimension */
  bool flat[STK_CHAIN_IN];  /* element i lies at in + i */
  int8_t slot[REGISTERS];   /* scratch slot, or -1 */
  int8_t direct[REGISTERS]; /* output whose memory holds the register, or -1 */
  bool any_slot;
  const real *filled[STK_CHAIN_IN]; /* which scalar a slot holds in all of its elements */
};

static void program_merge(struct program *p) {
  const struct stk_chain_args *a = p->a;
  p->rank = 0;
  p->n = 1;
  for (int i = 0; i < STK_CHAIN_RANK; i++) {
    const int64_t dim = a->dim[i];
    p->n *= dim;
    if (dim == 1) {
      continue;
    }
    bool joins = p->rank > 0;
    for (int k = 0; k < a->n_in && joins; k++) {
      joins = p->stride[k][p->rank - 1] == a->in_stride[k][i] * dim;
    }
    const int at = joins ? p->rank - 1 : p->rank++;
    p->dim[at] = joins ? p->dim[at] * dim : dim;
    for (int k = 0; k < a->n_in; k++) {
      p->stride[k][at] = a->in_stride[k][i];
    }
  }
  if (p->rank == 0) {
    p->rank = 1;
    p->dim[0] = 1;
    for (int k = 0; k < a->n_in; k++) {
      p->stride[k][0] = 1;
    }
  }
  bool all_flat = true;
  for (int k = 0; k < a->n_in; k++) {
    int64_t contiguous = 1;
    p->flat[k] = true;
    for (int i = p->rank - 1; i >= 0; i--) {
      p->flat[k] = p->flat[k] && p->stride[k][i] == contiguous;
      contiguous *= p->dim[i];
    }
    all_flat = all_flat && p->flat[k];
  }
  p->by_row = !all_flat && p->dim[p->rank - 1] >= ROW_MIN;
}

/* Registers that operation i reads. */
static int op_reads(const struct stk_chain_op *op, uint8_t reads[3]) {
  reads[0] = op->a;
  reads[1] = op->b;
  reads[2] = op->d;
  return ew_operands[op->op];
}

/* The output whose memory may hold register r, made by operation `at`: -1 where there is none, or
 * where an input in that memory is still to be read. */
static int8_t output_of(const struct stk_chain_args *a, int r, int at) {
  for (int o = 0; o < a->n_out; o++) {
    if (a->out_reg[o] != r) {
      continue;
    }
    for (int i = at + 1; i < a->n_op; i++) {
      uint8_t reads[3];
      const int n = op_reads(&a->op[i], reads);
      for (int k = 0; k < n; k++) {
        if (reads[k] < a->n_in && a->in[reads[k]] == a->out[o]) {
          return -1;
        }
      }
    }
    return (int8_t)o;
  }
  return -1;
}

static bool is_output(const struct stk_chain_args *a, int r) {
  for (int o = 0; o < a->n_out; o++) {
    if (a->out_reg[o] == r) {
      return true;
    }
  }
  return false;
}

static int last_read(const struct stk_chain_args *a, int r) {
  int last = -1;
  for (int i = 0; i < a->n_op; i++) {
    uint8_t reads[3];
    const int n = op_reads(&a->op[i], reads);
    for (int k = 0; k < n; k++) {
      last = reads[k] == r ? i : last;
    }
  }
  return is_output(a, r) ? a->n_op : last;
}

static int8_t slot_take(uint64_t *used) {
  const int slot = __builtin_ctzll(~*used);
  *used |= (uint64_t)1 << slot;
  return (int8_t)slot;
}

/* Inputs that need a slot keep it; an operation's slot is free after its last reader, so that the
 * reader itself may write there. */
static void program_place(struct program *p) {
  const struct stk_chain_args *a = p->a;
  uint64_t used = 0;
  for (int k = 0; k < a->n_in; k++) {
    const bool pointer = p->flat[k] || (p->by_row && p->stride[k][p->rank - 1] == 1);
    p->direct[k] = -1;
    p->slot[k] = pointer && !is_output(a, k) ? (int8_t)-1 : slot_take(&used);
  }
  for (int i = 0; i < a->n_op; i++) {
    const int r = a->n_in + i;
    for (int k = a->n_in; k < r; k++) {
      if (p->slot[k] >= 0 && last_read(a, k) == i) {
        used &= ~((uint64_t)1 << p->slot[k]);
      }
    }
    p->direct[r] = output_of(a, r, i);
    p->slot[r] = p->direct[r] >= 0 ? (int8_t)-1 : slot_take(&used);
  }
  p->any_slot = false;
  for (int r = 0; r < a->n_in + a->n_op; r++) {
    p->any_slot = p->any_slot || p->slot[r] >= 0;
  }
}

/* Where input k has the element of flat index i. */
static const real *input_at(const struct program *p, int k, int64_t i) {
  const real *base = p->a->in[k];
  if (p->flat[k]) {
    return base + i;
  }
  int64_t offset = 0;
  for (int d = p->rank - 1; d >= 0; d--) {
    offset += i % p->dim[d] * p->stride[k][d];
    i /= p->dim[d];
  }
  return base + offset;
}

static void spread(real *to, real x, int64_t n) {
  const vreal v = v_set1(x);
  int64_t i = 0;
  for (; i + V_LANES <= n; i += V_LANES) {
    v_store(to + i, v);
  }
  v_store_n(to + i, v, n - i);
}

/* Elements i..i+n-1 of input k into its slot. */
static void input_gather(struct program *p, int k, int64_t i, int64_t n, real *to) {
  const int64_t inner = p->dim[p->rank - 1];
  const bool scalar = !p->flat[k] && p->stride[k][p->rank - 1] == 0;
  while (n > 0) {
    const real *from = input_at(p, k, i);
    const int64_t left = p->flat[k] ? n : inner - i % inner;
    const int64_t run = left < n ? left : n;
    if (!scalar) {
      memcpy(to, from, (size_t)run * sizeof(real));
    } else if (!p->by_row) {
      spread(to, *from, run);
    } else if (p->filled[k] != from) {
      spread(to, *from, TILE);
      p->filled[k] = from;
    }
    i += run;
    n -= run;
    to += run;
  }
}

static void run_tile(struct program *p, int64_t i, int64_t n, real *scratch) {
  const struct stk_chain_args *a = p->a;
  real *reg[REGISTERS];
  for (int k = 0; k < a->n_in; k++) {
    if (p->slot[k] >= 0) {
      reg[k] = scratch + p->slot[k] * TILE;
      input_gather(p, k, i, n, reg[k]);
    } else {
      reg[k] = (real *)(uintptr_t)input_at(p, k, i);
    }
  }
  for (int at = 0; at < a->n_op; at++) {
    const struct stk_chain_op *op = &a->op[at];
    const int r = a->n_in + at, operands = ew_operands[op->op];
    reg[r] = p->direct[r] >= 0 ? (real *)a->out[p->direct[r]] + i : scratch + p->slot[r] * TILE;
    ew_table[op->op](reg[r], reg[op->a], operands > 1 ? reg[op->b] : NULL,
                     operands > 2 ? reg[op->d] : NULL, (real)op->c, n);
  }
  for (int o = 0; o < a->n_out; o++) {
    real *to = (real *)a->out[o] + i;
    if (reg[a->out_reg[o]] != to) {
      memcpy(to, reg[a->out_reg[o]], (size_t)n * sizeof(real));
    }
  }
}

static int64_t chain_count(const struct stk_chain_args *a) {
  int64_t n = 1;
  for (int i = 0; i < STK_CHAIN_RANK; i++) {
    n *= a->dim[i];
  }
  return n;
}

static int64_t chain_units(const void *args, int n_threads) {
  (void)n_threads;
  return (chain_count(args) + UNIT - 1) / UNIT;
}

static size_t chain_scratch(const void *args) {
  const struct stk_chain_args *a = args;
  return (size_t)(a->n_in + a->n_op) * TILE * sizeof(real);
}

static void chain_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  struct program p = {.a = args};
  program_merge(&p);
  program_place(&p);
  const int64_t end = hi * UNIT < p.n ? hi * UNIT : p.n;
  const int64_t inner = p.dim[p.rank - 1];
  for (int64_t i = lo * UNIT; i < end;) {
    int64_t n = end - i;
    if (p.any_slot && n > TILE) {
      n = TILE;
    }
    if (p.by_row && n > inner - i % inner) {
      n = inner - i % inner;
    }
    run_tile(&p, i, n, scratch);
    i += n;
  }
}

extern const struct stk_kernel KFN(chain);
const struct stk_kernel KFN(chain) = {"chain", chain_units, chain_scratch, chain_run};
