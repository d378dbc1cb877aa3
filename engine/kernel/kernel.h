/* Kernels: what the plan lowers to.
 *
 * A kernel is one parallel phase over plain memory: `units(args)` says into how many independent
 * pieces the work is cut, `run(args, lo, hi, scratch)` does pieces lo..hi-1. A kernel never waits,
 * allocates, logs or starts threads. Results depend on the arguments alone: not on how units are
 * grouped, which thread runs them, or which variant (ref, avx2, avx512) is used. docs/numerics.md
 * states the arithmetic of each.
 *
 * One source per family (engine/kernel/<family>.c) is compiled once per variant; KFN(name) gives
 * the suffixed symbol. `real` below is float in f32 variants and double in f64 ones: pointers to
 * reals are `void *` here, so that one args struct serves all. Row-major, contiguous unless strides
 * are given; sizes and strides are in elements.
 */
#ifndef STK_KERNEL_KERNEL_H
#define STK_KERNEL_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stk_kernel {
  const char *name;
  int64_t (*units)(const void *args,
                   int n_threads);     /* n_threads may steer the cut, never the bits */
  size_t (*scratch)(const void *args); /* bytes per thread, 64-byte aligned; NULL: none */
  void (*run)(const void *args, int64_t lo, int64_t hi, void *scratch);
};

/* Who a random number is for: Philox key and counter parts (docs/numerics.md). Lives in host
 * memory, read per step. */
struct stk_rng_ctx {
  uint64_t seed;
  uint64_t batch; /* batch index of the lane within the run: epoch * n_batches + batch */
  uint32_t stage; /* 0 train, 1 validate, 2 test, 3 predict */
  uint32_t lane;
};

/* ---- elementwise chains (chain.c) */

enum { STK_CHAIN_RANK = 4, STK_CHAIN_IN = 8, STK_CHAIN_OUT = 4, STK_CHAIN_OPS = 24 };

/* X(name, n operands). Registers hold one value per element. c is the instruction's constant. */
#define STK_EW_LIST(X)                                                                    \
  X(NEG, 1)    /* -a */                                                                   \
  X(ABS, 1)    /* |a| */                                                                  \
  X(SIGN, 1)   /* a > 0 ? 1 : a < 0 ? -1 : 0 (NaN gives 0) */                             \
  X(SQRT, 1)   /* IEEE */                                                                 \
  X(RSQRT, 1)  /* 1 / sqrt(a), two IEEE operations */                                     \
  X(SQUARE, 1) /* a * a */                                                                \
  X(RECIP, 1)  /* 1 / a */                                                                \
  X(EXP, 1)                                                                               \
  X(LOG, 1)                                                                               \
  X(TANH, 1)                                                                              \
  X(ERF, 1)                                                                               \
  X(SIGMOID, 1)                                                                           \
  X(SOFTPLUS, 1) /* log(1 + exp(a)) */                                                    \
  X(RELU, 1)     /* a < 0 ? 0 : a (NaN stays) */                                          \
  X(GELU_TANH, 1)                                                                         \
  X(GELU_ERF, 1)                                                                          \
  X(SILU, 1) /* a * sigmoid(a) */                                                         \
  X(MULC, 1) /* a * c */                                                                  \
  X(ADDC, 1) /* a + c */                                                                  \
  X(MAXC, 1) /* a > c ? a : c */                                                          \
  X(MINC, 1) /* a < c ? a : c */                                                          \
  X(POWI, 1) /* a^n, n = (int)c in 0..64, binary method from the low bit (numerics.md) */ \
  X(ADD, 2)                                                                               \
  X(SUB, 2)                                                                               \
  X(MUL, 2)                                                                               \
  X(DIV, 2)                                                                               \
  X(MAX, 2)           /* a > b ? a : b */                                                 \
  X(MIN, 2)           /* a < b ? a : b */                                                 \
  X(GT, 2)            /* a > b ? 1 : 0 */                                                 \
  X(RELU_BWD, 2)      /* a = x, b = g: x <= 0 ? 0 : g */                                  \
  X(ABS_BWD, 2)       /* a = x, b = g: sign(x) * g */                                     \
  X(TANH_BWD, 2)      /* a = y, b = g: (1 - y * y) * g, 1 - y*y by one fma */             \
  X(SIGMOID_BWD, 2)   /* a = y, b = g: (y * (1 - y)) * g */                               \
  X(SOFTPLUS_BWD, 2)  /* a = x, b = g: sigmoid(x) * g */                                  \
  X(GELU_TANH_BWD, 2) /* a = x, b = g */                                                  \
  X(GELU_ERF_BWD, 2)  /* a = x, b = g */                                                  \
  X(SILU_BWD, 2)      /* a = x, b = g */                                                  \
  X(FMA, 3)           /* fma(a, b, d) */                                                  \
  X(SELECT, 3)        /* a > 0 ? b : d */

typedef enum stk_ew {
#define STK_EW_X(name, n) STK_EW_##name,
  STK_EW_LIST(STK_EW_X)
#undef STK_EW_X
      STK_EW_COUNT
} stk_ew;

struct stk_chain_op {
  uint8_t op;      /* stk_ew */
  uint8_t a, b, d; /* registers: 0..n_in-1 are the inputs, n_in+i the result of op i */
  double c;        /* constant, converted to real */
};

/* out[o][i] = value of register out_reg[o] at element i, over a shape of up to four dims (outer
 * first; leading dims 1). in_stride[k][STK_CHAIN_RANK-1] is 0 or 1: broadcast or contiguous along
 * the innermost dim. Outputs are contiguous. An output may be the same memory as an input of the
 * same, unbroadcast, shape. */
struct stk_chain_args {
  void *in[STK_CHAIN_IN];
  void *out[STK_CHAIN_OUT];
  int64_t dim[STK_CHAIN_RANK];
  int64_t in_stride[STK_CHAIN_IN][STK_CHAIN_RANK];
  struct stk_chain_op op[STK_CHAIN_OPS];
  int32_t n_in, n_out, n_op;
  uint8_t out_reg[STK_CHAIN_OUT];
};

/* ---- reductions and copies (reduce.c, copy.c) */

/* y[o][i] = scale * sum over a of x[o][a][i]. inner == 1: the specified sum (16 lanes, chunks of
 * 1,024); inner > 1: column sums, i.e. the matrix product with ones (chunks of 256). scale 1 is not
 * multiplied. */
struct stk_reduce_args {
  const void *x; /* (outer, axis, inner) */
  void *y;       /* (outer, inner) */
  int64_t outer, axis, inner;
  double scale;
};

enum { STK_COPY_RANK = 6 };

/* Strided copy of elem_bytes-wide elements (4 or 8): permute, slice, concat, expand. */
struct stk_copy_args {
  const void *x;
  void *y;
  int64_t x_off, y_off;
  int64_t dim[STK_COPY_RANK]; /* outer first; leading dims 1 */
  int64_t x_stride[STK_COPY_RANK], y_stride[STK_COPY_RANK];
  int32_t elem_bytes;
};

/* y[0..n) = value (0 writes +0). */
struct stk_fill_args {
  void *y;
  int64_t n;
  double value;
};

/* ---- rows (embedding.c, layernorm.c, softmax.c, cross_entropy.c, argmax.c) */

struct stk_embedding_args {
  const int32_t *ids; /* (n) each in 0..vocab-1: checked by the loader */
  const void *w;      /* (vocab, dim) */
  void *y;            /* (n, dim) */
  int64_t n, dim, vocab;
};

/* dw[ids[i]] += g[i], one by one in ascending i. With `from` NULL dw starts at +0, else as a copy
 * of `from` (which may be dw itself: then nothing is copied). */
struct stk_embedding_bwd_args {
  const int32_t *ids;
  const void *g;    /* (n, dim) */
  const void *from; /* (vocab, dim) or NULL */
  void *dw;         /* (vocab, dim) */
  int64_t n, dim, vocab;
};

struct stk_layernorm_args {
  const void *x, *gamma, *beta; /* (rows, n), (n), (n); gamma and beta may be NULL */
  void *y, *mean, *rstd;        /* (rows, n), (rows), (rows) */
  int64_t rows, n;
  double eps;
};

struct stk_layernorm_bwd_args { /* dx */
  const void *x, *g, *gamma, *mean, *rstd;
  void *dx;
  int64_t rows, n;
};

struct stk_layernorm_dparam_args { /* dgamma, dbeta: column sums over rows */
  const void *x, *g, *mean, *rstd;
  void *dgamma, *dbeta; /* (n) */
  int64_t rows, n;
};

struct stk_softmax_args { /* log: log_softmax */
  const void *x;
  void *y;
  int64_t rows, n;
  bool log;
};

struct stk_softmax_bwd_args { /* from y and g; log: of log_softmax */
  const void *y, *g;
  void *dx;
  int64_t rows, n;
  bool log;
};

/* loss[r] = lse(x[r]) - x[r][target], 0 where target == ignore; lse saved for backward. smoothing:
 * label smoothing as PyTorch's. */
struct stk_xent_args {
  const void *x;         /* (rows, n) */
  const int32_t *target; /* (rows) */
  void *loss, *lse;      /* (rows) */
  int64_t rows, n;
  int32_t ignore;
  double smoothing;
};

/* The mean over rows that are not ignored: out[0] = sum(loss) / count, out[1] = count (0 rows: 0
 * and 0). */
struct stk_xent_mean_args {
  const void *loss;
  const int32_t *target;
  void *out; /* (2) */
  int64_t rows;
  int32_t ignore;
};

/* dx[r][c] = (exp(x - lse) - [c == target]) * (g / count), +0 where ignored; dx may be x. */
struct stk_xent_bwd_args {
  const void *x, *lse, *g, *mean; /* g (1): gradient of the mean loss; mean: the pair above */
  const int32_t *target;
  void *dx;
  int64_t rows, n;
  int32_t ignore;
  double smoothing;
};

struct stk_argmax_args { /* first maximum of each row */
  const void *x;
  int32_t *y;
  int64_t rows, n;
};

/* The share of a[i] == b[i] among those with b[i] >= 0, and their number (0: share 0); both exact
 * counts. */
struct stk_match_args {
  const int32_t *a, *b;
  void *share, *count; /* (1) each */
  int64_t n;
};

/* ---- attention (attention.c) */

/* One operand: element (b, t, h, i) at p[b * sb + t * st + h * sh + i]. */
struct stk_heads {
  void *p;
  int64_t sb, st, sh;
};

/* o = softmax(scale * q k' [+ causal mask]) v per (batch, head), online softmax; lse (B, H, T)
 * saved for backward. Dropout on the probabilities when p > 0: element index ((b * H + h) * T + i)
 * * T + j, ordinal. */
struct stk_attention_args {
  struct stk_heads q, k, v, o;
  void *lse;
  int64_t batch, heads, t, dim;
  double scale;
  bool causal;
  double dropout_p;
  const struct stk_rng_ctx *rng;
  uint32_t ordinal;
};

struct stk_attention_bwd_args { /* o and lse from forward, go: gradient of o */
  struct stk_heads q, k, v, o, go, dq, dk, dv;
  const void *lse;
  int64_t batch, heads, t, dim;
  double scale;
  bool causal;
  double dropout_p;
  const struct stk_rng_ctx *rng;
  uint32_t ordinal;
};

/* ---- images (conv.c, pool.c, batchnorm.c): NCHW */

struct stk_conv_shape {
  int64_t n, c, h, w, co, kh, kw, oh, ow;
  int64_t stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, groups;
};

struct stk_conv_args { /* y = conv(x, w) + bias[co] */
  struct stk_conv_shape s;
  const void *x, *w, *bias; /* (n,c,h,w) (co,c/groups,kh,kw) (co) or NULL */
  void *y;                  /* (n,co,oh,ow) */
  bool relu;                /* apply RELU to the complete sum */
  int32_t *argmax; /* not NULL: y and argmax are those of maxima over 2 x 2, (n,co,oh/2,ow/2) */
  bool mark;       /* argmax is -1 where the maximum is <= 0: RELU's gradient goes nowhere there */
};

/* argmax not NULL (oh and ow even): g is the gradient of maxima over 2 x 2 (n,co,oh/2,ow/2) whose
 * places are there, and what is meant is their gradient. For dx the padding is at most dil (k - 1).
 */
struct stk_conv_dx_args {
  struct stk_conv_shape s;
  const void *g, *w;
  void *dx;
  const int32_t *argmax;
};

/* db may be NULL. With `sums` the chunks of k are the units, and their sums are kept there,
 * (chunks, groups, vectors of a group's co, taps, 16); conv_dw_sum then adds them up in the same
 * args. */
struct stk_conv_dw_args {
  struct stk_conv_shape s;
  const void *x, *g;
  void *dw, *db;
  void *sums;
  const int32_t *argmax;
};

enum { STK_CONV_DW_LANES = 16, STK_CONV_DW_CHUNK = 256 };

struct stk_pool_args { /* max: first maximum; avg: count_include_pad as PyTorch's default (true) */
  struct stk_conv_shape s; /* co = c, dil 1, groups 1 */
  const void *x;
  void *y;
  int32_t *argmax; /* (n,c,oh,ow): h * W + w of the input plane; max only */
  bool max;
};

struct stk_pool_bwd_args { /* overlaps add in ascending output index */
  struct stk_conv_shape s;
  const void *g;
  const int32_t *argmax;
  void *dx;
  bool max;
};

/* Training forward: batch statistics per channel over (n, inner); x (n, c, inner). running' = (1-m)
 * running + m stat, variance unbiased there (PyTorch); written only when run_mean_out is not NULL.
 */
struct stk_batchnorm_stats_args {
  const void *x;
  void *mean, *rstd; /* (c) */
  const void *run_mean, *run_var;
  void *run_mean_out, *run_var_out;
  int64_t n, c, inner;
  double eps, momentum;
};

struct stk_batchnorm_apply_args { /* y = (x - mean) * rstd * gamma + beta; from_var: rstd holds a
                                     variance (eval) */
  const void *x, *mean, *rstd, *gamma, *beta;
  void *y;
  int64_t n, c, inner;
  double eps;
  bool from_var, relu;
};

struct stk_batchnorm_bwd_sums_args { /* dgamma, dbeta (c) */
  const void *x, *g, *mean, *rstd;
  void *dgamma, *dbeta;
  int64_t n, c, inner;
};

struct stk_batchnorm_bwd_args {
  const void *x, *g, *mean, *rstd, *gamma, *dgamma, *dbeta;
  void *dx;
  int64_t n, c, inner;
};

/* y = keep(i) ? x / (1 - p) : 0, also its own backward (x = g). */
struct stk_dropout_args {
  const void *x;
  void *y;
  int64_t n;
  double p;
  const struct stk_rng_ctx *rng;
  uint32_t ordinal;
};

/* ---- optimizers (optim.c) */

typedef enum stk_optim_kind { STK_OPTIM_SGD, STK_OPTIM_ADAM, STK_OPTIM_ADAMW } stk_optim_kind;

/* What changes per step, one per parameter group, in host memory. Doubles are rounded to real by
 * the kernel once. */
struct stk_optim_scalars {
  double lr, weight_decay;
  double momentum, dampening; /* SGD */
  double beta1, beta2, eps;   /* Adam, AdamW */
  double bias1, bias2;        /* 1 - beta1^t, 1 - beta2^t */
  double grad_scale; /* clip factor / lanes: g * grad_scale first; exactly 1 is not multiplied */
  double clip_value; /* > 0: clamp g to +-clip_value after scaling */
  int32_t nesterov, first; /* first: no momentum buffer yet */
};

/* One slice of one group: reads p, m, v, g, writes p_out, m_out, v_out (other memory, or the same).
 * m is SGD's momentum buffer (NULL without momentum), v is Adam's. Non-temporal stores when
 * `stream`. With g_add the gradient is (g + g_add) / n_lanes: the root of the lane tree. */
struct stk_optim_args {
  const void *p, *m, *v, *g;
  void *p_out, *m_out, *v_out;
  const struct stk_optim_scalars *scalars;
  int64_t n;
  int32_t kind;
  bool stream;
  const void *g_add;
  double n_lanes;
};

/* sum[chunk] (double) = sum of squares of g over chunk (64 Ki elements): see numerics.md, global
 * norm. */
enum { STK_STATE_CHUNK = 65536 };
struct stk_sumsq_args {
  const void *g;
  double *sum;
  int64_t n;
};

/* y += x, flat: accumulation windows and the lane tree. */
struct stk_accumulate_args {
  const void *x;
  void *y;
  int64_t n;
};

/* out[0] = 1 if any of the n values is not finite, else untouched. */
struct stk_finite_args {
  const void *x;
  int32_t *out;
  int64_t n;
};

/* The digest of memory in chunks of 64 Ki elements (docs/audit.md): out[8 * chunk] .. for
 * n reals, whose NaNs count as one, or 32-bit words that mean nothing. */
enum { STK_DIGEST_WORDS = 8 };
struct stk_digest_args {
  const void *x;
  uint32_t *out;
  int64_t n;
  bool is_real;
};

/* ---- the table of one variant */

#define STK_KERNEL_LIST(X) \
  X(gemm)                  \
  X(chain)                 \
  X(reduce)                \
  X(copy)                  \
  X(fill)                  \
  X(embedding)             \
  X(embedding_bwd)         \
  X(layernorm)             \
  X(layernorm_bwd)         \
  X(layernorm_dparam)      \
  X(softmax)               \
  X(softmax_bwd)           \
  X(xent)                  \
  X(xent_mean)             \
  X(xent_bwd)              \
  X(match)                 \
  X(argmax)                \
  X(attention)             \
  X(attention_bwd)         \
  X(conv)                  \
  X(conv_dx)               \
  X(conv_dw)               \
  X(conv_dw_sum)           \
  X(pool)                  \
  X(pool_bwd)              \
  X(batchnorm_stats)       \
  X(batchnorm_apply)       \
  X(batchnorm_bwd_sums)    \
  X(batchnorm_bwd)         \
  X(dropout)               \
  X(optim)                 \
  X(sumsq)                 \
  X(accumulate)            \
  X(finite)                \
  X(digest)

/* Each family file defines `const struct stk_kernel KFN(<name>)`; table.c collects them. */
struct stk_kernels {
  const char *isa; /* "ref", "avx2", "avx512" */
  int real_bits;
#define STK_KERNEL_X(name) const struct stk_kernel *name;
  STK_KERNEL_LIST(STK_KERNEL_X)
#undef STK_KERNEL_X
};

typedef enum stk_isa { STK_ISA_KIND_REF, STK_ISA_KIND_AVX2, STK_ISA_KIND_AVX512 } stk_isa;

/* The table for an instruction set and element width (32 or 64), or NULL where that pair does not
 * exist (64 bits is ref alone). ref picks its -mfma build where the CPU has FMA: the same bits,
 * faster. Does not check that the CPU can run it. */
const struct stk_kernels *stk_kernels_get(stk_isa isa, int real_bits, bool cpu_has_fma);

#endif
