/* Graph building: what a module's step functions are written in.
 *
 * A step function runs once per (stage, shape) and describes its computation with these calls; the
 * engine then differentiates, optimises, plans and replays it. A stk_t is a symbol, never a number.
 * After an error every call passes the error on, so a step function needs no checks; the first
 * error keeps its file and line and is reported once.
 *
 * Calls are recorded in the order in which they run, and C leaves the order of a call's arguments
 * to the compiler: stk_add(f(x), g(x)) may be another graph elsewhere. Write f's and g's results
 * into variables first wherever both record something.
 *
 * Shapes follow PyTorch's row-major conventions and broadcasting. Axes count from 0; negative ones
 * from the end. Reals have the job's precision (32-true: float). At most six dims. One thread.
 */
#ifndef STOKER_GRAPH_H
#define STOKER_GRAPH_H

#include <stdbool.h>
#include <stdint.h>

#include <stoker/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct stk_graph stk_graph;

/* A tensor of the graph under construction. Copied freely; valid while the step function runs. */
typedef struct stk_t {
  stk_graph *g;
  int32_t id; /* negative: an error happened before */
} stk_t;

/* Where in the user's source a node was made. */
typedef struct stk_loc {
  const char *file;
  int line;
} stk_loc;

#ifdef __cplusplus
#define STK_HERE (stk_loc{__FILE__, __LINE__})
#else
#define STK_HERE ((stk_loc){__FILE__, __LINE__})
#endif

enum { STK_MAX_RANK = 6, STK_MAX_INPUTS = 8 };

/* ---- asking about shapes (known while tracing); -1 after an error */
int32_t stk_rank(stk_t x);
int64_t stk_dim(stk_t x, int32_t axis);
int64_t stk_numel(stk_t x);

/* ---- elementwise; binary ones broadcast as NumPy does */
stk_t stk_neg_at(stk_t x, stk_loc at);
stk_t stk_abs_at(stk_t x, stk_loc at);
stk_t stk_sqrt_at(stk_t x, stk_loc at);
stk_t stk_rsqrt_at(stk_t x, stk_loc at);
stk_t stk_square_at(stk_t x, stk_loc at);
stk_t stk_exp_at(stk_t x, stk_loc at);
stk_t stk_log_of_at(stk_t x, stk_loc at); /* natural logarithm; stk_log() logs a metric */
stk_t stk_tanh_at(stk_t x, stk_loc at);
stk_t stk_erf_at(stk_t x, stk_loc at);
stk_t stk_sigmoid_at(stk_t x, stk_loc at);
stk_t stk_softplus_at(stk_t x, stk_loc at);
stk_t stk_relu_at(stk_t x, stk_loc at);
stk_t stk_gelu_at(stk_t x, stk_loc at);      /* erf form: PyTorch's default */
stk_t stk_gelu_tanh_at(stk_t x, stk_loc at); /* approximate="tanh" */
stk_t stk_silu_at(stk_t x, stk_loc at);
stk_t stk_scale_at(stk_t x, double c, stk_loc at);      /* x * c */
stk_t stk_add_scalar_at(stk_t x, double c, stk_loc at); /* x + c */
stk_t stk_powi_at(stk_t x, int32_t n, stk_loc at);      /* x^n, 0 <= n <= 64 */
stk_t stk_add_at(stk_t a, stk_t b, stk_loc at);
stk_t stk_sub_at(stk_t a, stk_t b, stk_loc at);
stk_t stk_mul_at(stk_t a, stk_t b, stk_loc at);
stk_t stk_div_at(stk_t a, stk_t b, stk_loc at);
stk_t stk_maximum_at(stk_t a, stk_t b, stk_loc at);
stk_t stk_minimum_at(stk_t a, stk_t b, stk_loc at);
stk_t stk_where_at(stk_t cond, stk_t a, stk_t b,
                   stk_loc at);                /* cond > 0 ? a : b, one shape or scalars */
stk_t stk_gt_at(stk_t a, stk_t b, stk_loc at); /* 1 where a > b, else 0; no gradient */
stk_t stk_detach_at(stk_t x, stk_loc at);      /* the same values, no gradient */

/* ---- reductions. axis STK_ALL reduces everything to a scalar (rank 0) */
enum { STK_ALL = 1000 };
stk_t stk_sum_at(stk_t x, int32_t axis, bool keepdim, stk_loc at);
stk_t stk_mean_at(stk_t x, int32_t axis, bool keepdim, stk_loc at);
stk_t stk_argmax_at(stk_t x, stk_loc at); /* over the last axis: first maximum, i32, no gradient */

/* ---- shape */
stk_t stk_reshape_at(stk_t x, int32_t rank, const int64_t *dims,
                     stk_loc at); /* one dim may be -1 */
stk_t stk_flatten_at(stk_t x, int32_t start_axis, stk_loc at);
stk_t stk_transpose_at(stk_t x, int32_t axis0, int32_t axis1, stk_loc at);
stk_t stk_permute_at(stk_t x, const int32_t *axes, stk_loc at); /* rank entries */
stk_t stk_slice_at(stk_t x, int32_t axis, int64_t start, int64_t len, stk_loc at);
stk_t stk_concat_at(const stk_t *xs, int32_t n, int32_t axis, stk_loc at); /* n <= STK_MAX_INPUTS */
stk_t stk_expand_at(stk_t x, int32_t rank, const int64_t *dims, stk_loc at);

/* ---- products */
stk_t stk_matmul_at(stk_t a, stk_t b,
                    stk_loc at); /* (..., m, k) (..., k, n); batch dims broadcast */
/* x (..., in) by w (out, in): x w' + b (out); b may be stk_none(): no bias */
stk_t stk_linear_at(stk_t x, stk_t w, stk_t b, stk_loc at);
stk_t stk_none(void);

typedef struct stk_conv2d_options {
  int64_t stride[2], padding[2], dilation[2]; /* (h, w); stride and dilation 0 mean 1 */
  int64_t groups;                             /* 0 means 1 */
} stk_conv2d_options;
/* x (n, c, h, w), w (co, c / groups, kh, kw), b (co) or stk_none() */
stk_t stk_conv2d_at(stk_t x, stk_t w, stk_t b, const stk_conv2d_options *opt, stk_loc at);

typedef struct stk_pool2d_options {
  int64_t kernel[2], stride[2], padding[2]; /* stride 0 means kernel */
} stk_pool2d_options;
stk_t stk_max_pool2d_at(stk_t x, const stk_pool2d_options *opt, stk_loc at);
stk_t stk_avg_pool2d_at(stk_t x, const stk_pool2d_options *opt, stk_loc at);

/* ---- composite */
stk_t stk_softmax_at(stk_t x, stk_loc at);     /* over the last axis */
stk_t stk_log_softmax_at(stk_t x, stk_loc at); /* over the last axis */
/* over the last axis; gamma, beta (n) or stk_none() */
stk_t stk_layer_norm_at(stk_t x, stk_t gamma, stk_t beta, double eps, stk_loc at);
stk_t stk_embedding_at(stk_t ids, stk_t w,
                       stk_loc at); /* ids i32 (...), w (vocab, dim) -> (..., dim) */
stk_t stk_dropout_at(stk_t x, double p, stk_loc at); /* training stage only; identity elsewhere */

typedef struct stk_attention_options {
  bool causal;
  double dropout; /* on the probabilities, training only */
  double scale;   /* 0 means 1 / sqrt(head dim) */
} stk_attention_options;
/* q, k, v (batch, heads, t, dim) -> (batch, heads, t, dim) */
stk_t stk_attention_at(stk_t q, stk_t k, stk_t v, const stk_attention_options *opt, stk_loc at);
/* qkv (batch, t, 3 * heads * dim), q then k then v as GPT-2 packs them -> (batch, t, heads * dim):
 * no copies */
stk_t stk_attention_qkv_at(stk_t qkv, int64_t heads, const stk_attention_options *opt, stk_loc at);

/* ---- losses: scalars (rank 0), the mean over everything */
stk_t stk_mse_loss_at(stk_t x, stk_t target, stk_loc at);
stk_t stk_l1_loss_at(stk_t x, stk_t target, stk_loc at);
stk_t stk_bce_with_logits_at(stk_t x, stk_t target, stk_loc at);
/* logits (..., classes), target i32 (...); positions with target -100 are left out of the mean */
stk_t stk_cross_entropy_at(stk_t logits, stk_t target, stk_loc at);

/* ---- values that change per step, set by run hooks: stk_run_set_scalar(run, name, value). Starts
 * at `initial`. */
stk_t stk_host_scalar_at(stk_graph *g, const char *name, double initial, stk_loc at);
/* A constant scalar (rank 0). */
stk_t stk_constant_at(stk_graph *g, double value, stk_loc at);

/* ---- logging, as LightningModule.log: x a scalar; the epoch value is the mean weighted by batch
 * size */
enum {
  STK_ON_STEP = 1,
  STK_ON_EPOCH = 2,
  STK_PROG_BAR = 4,
  STK_NO_LOGGER = 8,
  STK_REDUCE_SUM = 16, /* instead of the mean */
  STK_REDUCE_MIN = 32,
  STK_REDUCE_MAX = 64
};
/* flags without ON_STEP and ON_EPOCH: on_step in training, on_epoch elsewhere, as Lightning's
 * defaults. */
void stk_log_at(const char *name, stk_t x, uint32_t flags, stk_loc at);
/* Metrics with bounded state. accuracy: of the first maximum over the last axis against i32
 * targets, weighted by their number. perplexity: exp of the weighted mean of a loss. */
void stk_log_accuracy_at(const char *name, stk_t logits, stk_t target, uint32_t flags, stk_loc at);
void stk_log_perplexity_at(const char *name, stk_t loss, uint32_t flags, stk_loc at);

/* The stage being traced. */
typedef enum stk_stage { STK_TRAIN, STK_VALIDATE, STK_TEST, STK_PREDICT } stk_stage;
stk_stage stk_stage_of(stk_t x);

/* Makes the graph fail with a message of the module's own; returns an error symbol. */
stk_t stk_trace_fail_at(stk_graph *g, stk_loc at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define stk_neg(x) stk_neg_at((x), STK_HERE)
#define stk_abs(x) stk_abs_at((x), STK_HERE)
#define stk_sqrt(x) stk_sqrt_at((x), STK_HERE)
#define stk_rsqrt(x) stk_rsqrt_at((x), STK_HERE)
#define stk_square(x) stk_square_at((x), STK_HERE)
#define stk_exp(x) stk_exp_at((x), STK_HERE)
#define stk_log_of(x) stk_log_of_at((x), STK_HERE)
#define stk_tanh(x) stk_tanh_at((x), STK_HERE)
#define stk_erf(x) stk_erf_at((x), STK_HERE)
#define stk_sigmoid(x) stk_sigmoid_at((x), STK_HERE)
#define stk_softplus(x) stk_softplus_at((x), STK_HERE)
#define stk_relu(x) stk_relu_at((x), STK_HERE)
#define stk_gelu(x) stk_gelu_at((x), STK_HERE)
#define stk_gelu_tanh(x) stk_gelu_tanh_at((x), STK_HERE)
#define stk_silu(x) stk_silu_at((x), STK_HERE)
#define stk_scale(x, c) stk_scale_at((x), (c), STK_HERE)
#define stk_add_scalar(x, c) stk_add_scalar_at((x), (c), STK_HERE)
#define stk_powi(x, n) stk_powi_at((x), (n), STK_HERE)
#define stk_add(a, b) stk_add_at((a), (b), STK_HERE)
#define stk_sub(a, b) stk_sub_at((a), (b), STK_HERE)
#define stk_mul(a, b) stk_mul_at((a), (b), STK_HERE)
#define stk_div(a, b) stk_div_at((a), (b), STK_HERE)
#define stk_maximum(a, b) stk_maximum_at((a), (b), STK_HERE)
#define stk_minimum(a, b) stk_minimum_at((a), (b), STK_HERE)
#define stk_where(c, a, b) stk_where_at((c), (a), (b), STK_HERE)
#define stk_gt(a, b) stk_gt_at((a), (b), STK_HERE)
#define stk_detach(x) stk_detach_at((x), STK_HERE)
#define stk_sum(x, axis, keepdim) stk_sum_at((x), (axis), (keepdim), STK_HERE)
#define stk_mean(x, axis, keepdim) stk_mean_at((x), (axis), (keepdim), STK_HERE)
#define stk_argmax(x) stk_argmax_at((x), STK_HERE)
#define stk_reshape(x, rank, dims) stk_reshape_at((x), (rank), (dims), STK_HERE)
#define stk_flatten(x, start) stk_flatten_at((x), (start), STK_HERE)
#define stk_transpose(x, a, b) stk_transpose_at((x), (a), (b), STK_HERE)
#define stk_permute(x, axes) stk_permute_at((x), (axes), STK_HERE)
#define stk_slice(x, axis, start, len) stk_slice_at((x), (axis), (start), (len), STK_HERE)
#define stk_concat(xs, n, axis) stk_concat_at((xs), (n), (axis), STK_HERE)
#define stk_expand(x, rank, dims) stk_expand_at((x), (rank), (dims), STK_HERE)
#define stk_matmul(a, b) stk_matmul_at((a), (b), STK_HERE)
#define stk_linear(x, w, b) stk_linear_at((x), (w), (b), STK_HERE)
#define stk_conv2d(x, w, b, opt) stk_conv2d_at((x), (w), (b), (opt), STK_HERE)
#define stk_max_pool2d(x, opt) stk_max_pool2d_at((x), (opt), STK_HERE)
#define stk_avg_pool2d(x, opt) stk_avg_pool2d_at((x), (opt), STK_HERE)
#define stk_softmax(x) stk_softmax_at((x), STK_HERE)
#define stk_log_softmax(x) stk_log_softmax_at((x), STK_HERE)
#define stk_layer_norm(x, gamma, beta, eps) stk_layer_norm_at((x), (gamma), (beta), (eps), STK_HERE)
#define stk_embedding(ids, w) stk_embedding_at((ids), (w), STK_HERE)
#define stk_dropout(x, p) stk_dropout_at((x), (p), STK_HERE)
#define stk_attention(q, k, v, opt) stk_attention_at((q), (k), (v), (opt), STK_HERE)
#define stk_attention_qkv(qkv, heads, opt) stk_attention_qkv_at((qkv), (heads), (opt), STK_HERE)
#define stk_mse_loss(x, t) stk_mse_loss_at((x), (t), STK_HERE)
#define stk_l1_loss(x, t) stk_l1_loss_at((x), (t), STK_HERE)
#define stk_bce_with_logits(x, t) stk_bce_with_logits_at((x), (t), STK_HERE)
#define stk_cross_entropy(x, t) stk_cross_entropy_at((x), (t), STK_HERE)
#define stk_host_scalar(g, name, initial) stk_host_scalar_at((g), (name), (initial), STK_HERE)
#define stk_constant(g, value) stk_constant_at((g), (value), STK_HERE)
#define stk_log(name, x, flags) stk_log_at((name), (x), (flags), STK_HERE)
#define stk_log_accuracy(name, x, t, flags) stk_log_accuracy_at((name), (x), (t), (flags), STK_HERE)
#define stk_log_perplexity(name, x, flags) stk_log_perplexity_at((name), (x), (flags), STK_HERE)
#define stk_trace_fail(g, ...) stk_trace_fail_at((g), STK_HERE, __VA_ARGS__)

#ifdef __cplusplus
}
#endif

#endif
