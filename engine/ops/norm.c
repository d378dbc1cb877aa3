/* Layer norm and batch norm.
 *
 * LAYER_NORM: in x, gamma, beta (-1: none); out y, mean, rstd; f0 eps.
 * BATCH_NORM (training): in x, gamma, beta; out y, mean, rstd; f0 eps, f1 momentum; i0, i1: running
 * mean and variance (index + 1; 0: none), updated as a side effect.
 */
#include "engine/ops/batch_norm.h"
#include "engine/ops/ops.h"
#include "engine/plan/lower.h"

/* ---- layer norm */

stk_t stk_layer_norm_at(stk_t x, stk_t gamma, stk_t beta, double eps, stk_loc at) {
  stk_t in[3] = {x, gamma.g ? gamma : x, beta.g ? beta : x};
  if (!stk_symbols_ok(at, "stk_layer_norm", 3, in)) {
    return stk_symbol(x.g, -1);
  }
  struct stk_graph *g = x.g;
  struct stk_shape s = g->values[x.id].shape;
  int64_t n = s.rank > 0 ? s.dim[s.rank - 1] : 0;
  bool fits = n > 0 && g->values[x.id].dtype == g->real && (!gamma.g || stk_numel(gamma) == n) &&
              (!beta.g || stk_numel(beta) == n);
  if (!fits) {
    return stk_symbol(
        g, stk_graph_fail(g, at,
                          "stk_layer_norm: gamma and beta have as many elements as the last dim"));
  }
  struct stk_shape rows = {.rank = 1, .dim = {stk_shape_numel(&s) / n}};
  struct stk_node node = {.op = STK_OP_LAYER_NORM, .n_in = 3, .n_out = 3, .f = {eps}, .at = at};
  node.in[0] = x.id;
  node.in[1] = gamma.g ? gamma.id : -1;
  node.in[2] = beta.g ? beta.id : -1;
  int32_t id = stk_graph_add(g, &node, (struct stk_shape[]){s, rows, rows},
                             (stk_dtype[]){g->real, g->real, g->real});
  return stk_symbol(g, id < 0 ? -1 : g->nodes[id].out[0]);
}

static void layer_grad(struct stk_autodiff *ad, int32_t node, const int32_t *g_out) {
  struct stk_graph *g = stk_autodiff_graph(ad);
  struct stk_node n = g->nodes[node];
  int32_t x = n.in[0], gy = g_out[0];
  if (gy < 0) {
    return;
  }
  if (stk_autodiff_wants(ad, x)) {
    struct stk_node b = {.op = STK_OP_LAYER_NORM_BWD,
                         .n_in = 5,
                         .in = {x, gy, n.in[1], n.out[1], n.out[2]},
                         .at = n.at};
    stk_autodiff_give(ad, x, stk_graph_add1(g, &b, g->values[x].shape, g->real));
  }
  if (stk_autodiff_wants(ad, n.in[1]) || stk_autodiff_wants(ad, n.in[2])) {
    const struct stk_shape *s = &g->values[x].shape;
    struct stk_shape p = {.rank = 1, .dim = {s->dim[s->rank - 1]}};
    struct stk_node d = {.op = STK_OP_LAYER_NORM_DPARAM,
                         .n_in = 4,
                         .in = {x, gy, n.out[1], n.out[2]},
                         .n_out = 2,
                         .at = n.at};
    int32_t id = stk_graph_add(g, &d, (struct stk_shape[]){p, p}, (stk_dtype[]){g->real, g->real});
    if (id >= 0) {
      stk_autodiff_give(ad, n.in[1], g->nodes[id].out[0]);
      stk_autodiff_give(ad, n.in[2], g->nodes[id].out[1]);
    }
  }
}

static void rows_of(const struct stk_graph *g, int32_t value, int64_t *rows, int64_t *n) {
  const struct stk_shape *s = &g->values[value].shape;
  *n = s->dim[s->rank - 1];
  *rows = stk_shape_numel(s) / *n;
}

static void layer_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_graph *g = stk_lower_graph(lw);
  const struct stk_node *n = &g->nodes[node];
  struct stk_layernorm_args a = {.eps = n->f[0]};
  rows_of(g, n->in[0], &a.rows, &a.n);
  const struct stk_ref refs[] = {STK_REF(struct stk_layernorm_args, x, n->in[0]),
                                 STK_REF(struct stk_layernorm_args, gamma, n->in[1]),
                                 STK_REF(struct stk_layernorm_args, beta, n->in[2]),
                                 STK_REF(struct stk_layernorm_args, y, n->out[0]),
                                 STK_REF(struct stk_layernorm_args, mean, n->out[1]),
                                 STK_REF(struct stk_layernorm_args, rstd, n->out[2])};
  stk_lower_emit(lw, stk_lower_kernels(lw)->layernorm, &a, sizeof a, refs, 6);
}

const struct stk_op_def stk_op_layer_norm = {.grad = layer_grad, .lower = layer_lower};

static void layer_bwd_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_graph *g = stk_lower_graph(lw);
  const struct stk_node *n = &g->nodes[node];
  struct stk_layernorm_bwd_args a = {0};
  rows_of(g, n->in[0], &a.rows, &a.n);
  const struct stk_ref refs[] = {STK_REF(struct stk_layernorm_bwd_args, x, n->in[0]),
                                 STK_REF(struct stk_layernorm_bwd_args, g, n->in[1]),
                                 STK_REF(struct stk_layernorm_bwd_args, gamma, n->in[2]),
                                 STK_REF(struct stk_layernorm_bwd_args, mean, n->in[3]),
                                 STK_REF(struct stk_layernorm_bwd_args, rstd, n->in[4]),
                                 STK_REF(struct stk_layernorm_bwd_args, dx, n->out[0])};
  stk_lower_emit(lw, stk_lower_kernels(lw)->layernorm_bwd, &a, sizeof a, refs, 6);
}

const struct stk_op_def stk_op_layer_norm_bwd = {.lower = layer_bwd_lower};

static void layer_dparam_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_graph *g = stk_lower_graph(lw);
  const struct stk_node *n = &g->nodes[node];
  struct stk_layernorm_dparam_args a = {0};
  rows_of(g, n->in[0], &a.rows, &a.n);
  const struct stk_ref refs[] = {STK_REF(struct stk_layernorm_dparam_args, x, n->in[0]),
                                 STK_REF(struct stk_layernorm_dparam_args, g, n->in[1]),
                                 STK_REF(struct stk_layernorm_dparam_args, mean, n->in[2]),
                                 STK_REF(struct stk_layernorm_dparam_args, rstd, n->in[3]),
                                 STK_REF(struct stk_layernorm_dparam_args, dgamma, n->out[0]),
                                 STK_REF(struct stk_layernorm_dparam_args, dbeta, n->out[1])};
  stk_lower_emit(lw, stk_lower_kernels(lw)->layernorm_dparam, &a, sizeof a, refs, 6);
}

const struct stk_op_def stk_op_layer_norm_dparam = {.lower = layer_dparam_lower};

/* ---- batch norm over (n, c, inner...) */

int32_t stk_build_batch_norm(struct stk_graph *g, int32_t x, int32_t gamma, int32_t beta,
                             int32_t run_mean, int32_t run_var, double eps, double momentum,
                             stk_loc at) {
  struct stk_shape s = g->values[x].shape;
  if (s.rank < 2) {
    return stk_graph_fail(g, at, "batch norm needs a batch and a channel dim");
  }
  struct stk_shape c = {.rank = 1, .dim = {s.dim[1]}};
  if (g->stage != STK_TRAIN) {
    int32_t m = stk_graph_running(g, run_mean), v = stk_graph_running(g, run_var);
    struct stk_node e = {.op = STK_OP_BATCH_NORM_APPLY,
                         .n_in = 5,
                         .in = {x, m, v, gamma, beta},
                         .f = {eps},
                         .at = at};
    return m < 0 || v < 0 ? -1 : stk_graph_add1(g, &e, s, g->real);
  }
  struct stk_node n = {
      .op = STK_OP_BATCH_NORM, .n_in = 5, .n_out = 3, .f = {eps, momentum}, .at = at};
  n.in[0] = x;
  n.in[1] = gamma;
  n.in[2] = beta;
  n.in[3] = stk_graph_running(g, run_mean);
  n.in[4] = stk_graph_running(g, run_var);
  n.i[0] = run_mean;
  n.i[1] = run_var;
  if (n.in[3] < 0 || n.in[4] < 0) {
    return -1;
  }
  int32_t id =
      stk_graph_add(g, &n, (struct stk_shape[]){s, c, c}, (stk_dtype[]){g->real, g->real, g->real});
  if (id < 0) {
    return -1;
  }
  g->running_out[run_mean] = g->running_out[run_var] = id;
  return g->nodes[id].out[0];
}

static void batch_grad(struct stk_autodiff *ad, int32_t node, const int32_t *g_out) {
  struct stk_graph *g = stk_autodiff_graph(ad);
  struct stk_node n = g->nodes[node];
  if (g_out[0] < 0) {
    return;
  }
  struct stk_shape c = {.rank = 1, .dim = {g->values[n.in[0]].shape.dim[1]}};
  struct stk_node b = {.op = STK_OP_BATCH_NORM_BWD,
                       .n_in = 5,
                       .in = {n.in[0], g_out[0], n.out[1], n.out[2], n.in[1]},
                       .n_out = 3,
                       .at = n.at};
  int32_t id = stk_graph_add(g, &b, (struct stk_shape[]){g->values[n.in[0]].shape, c, c},
                             (stk_dtype[]){g->real, g->real, g->real});
  for (int32_t k = 0; k < 3 && id >= 0; k++) {
    stk_autodiff_give(ad, n.in[k], g->nodes[id].out[k]);
  }
}

static void planes(const struct stk_graph *g, int32_t x, int64_t *n, int64_t *c, int64_t *inner) {
  const struct stk_shape *s = &g->values[x].shape;
  *n = s->dim[0];
  *c = s->dim[1];
  *inner = stk_shape_numel(s) / (s->dim[0] * s->dim[1]);
}

static void batch_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_graph *g = stk_lower_graph(lw);
  const struct stk_node *n = &g->nodes[node];
  struct stk_batchnorm_stats_args s = {.eps = n->f[0], .momentum = n->f[1]};
  planes(g, n->in[0], &s.n, &s.c, &s.inner);
  const struct stk_ref stats[] = {STK_REF(struct stk_batchnorm_stats_args, x, n->in[0]),
                                  STK_REF(struct stk_batchnorm_stats_args, mean, n->out[1]),
                                  STK_REF(struct stk_batchnorm_stats_args, rstd, n->out[2]),
                                  STK_REF(struct stk_batchnorm_stats_args, run_mean, n->in[3]),
                                  STK_REF(struct stk_batchnorm_stats_args, run_var, n->in[4]),
                                  STK_REF(struct stk_batchnorm_stats_args, run_mean_out,
                                          stk_lower_running_out(lw, (int32_t)n->i[0])),
                                  STK_REF(struct stk_batchnorm_stats_args, run_var_out,
                                          stk_lower_running_out(lw, (int32_t)n->i[1]))};
  stk_lower_emit(lw, stk_lower_kernels(lw)->batchnorm_stats, &s, sizeof s, stats, 7);
  struct stk_batchnorm_apply_args a = {.n = s.n, .c = s.c, .inner = s.inner, .eps = n->f[0]};
  const struct stk_ref apply[] = {STK_REF(struct stk_batchnorm_apply_args, x, n->in[0]),
                                  STK_REF(struct stk_batchnorm_apply_args, mean, n->out[1]),
                                  STK_REF(struct stk_batchnorm_apply_args, rstd, n->out[2]),
                                  STK_REF(struct stk_batchnorm_apply_args, gamma, n->in[1]),
                                  STK_REF(struct stk_batchnorm_apply_args, beta, n->in[2]),
                                  STK_REF(struct stk_batchnorm_apply_args, y, n->out[0])};
  stk_lower_emit(lw, stk_lower_kernels(lw)->batchnorm_apply, &a, sizeof a, apply, 6);
}

const struct stk_op_def stk_op_batch_norm = {.grad = batch_grad, .lower = batch_lower};

static void batch_apply_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_graph *g = stk_lower_graph(lw);
  const struct stk_node *n = &g->nodes[node];
  struct stk_batchnorm_apply_args a = {.eps = n->f[0], .from_var = true};
  planes(g, n->in[0], &a.n, &a.c, &a.inner);
  const struct stk_ref refs[] = {STK_REF(struct stk_batchnorm_apply_args, x, n->in[0]),
                                 STK_REF(struct stk_batchnorm_apply_args, mean, n->in[1]),
                                 STK_REF(struct stk_batchnorm_apply_args, rstd, n->in[2]),
                                 STK_REF(struct stk_batchnorm_apply_args, gamma, n->in[3]),
                                 STK_REF(struct stk_batchnorm_apply_args, beta, n->in[4]),
                                 STK_REF(struct stk_batchnorm_apply_args, y, n->out[0])};
  stk_lower_emit(lw, stk_lower_kernels(lw)->batchnorm_apply, &a, sizeof a, refs, 6);
}

const struct stk_op_def stk_op_batch_norm_apply = {.lower = batch_apply_lower};

static void batch_bwd_lower(struct stk_lower *lw, int32_t node) {
  const struct stk_graph *g = stk_lower_graph(lw);
  const struct stk_node *n = &g->nodes[node];
  struct stk_batchnorm_bwd_sums_args s = {0};
  planes(g, n->in[0], &s.n, &s.c, &s.inner);
  const struct stk_ref sums[] = {STK_REF(struct stk_batchnorm_bwd_sums_args, x, n->in[0]),
                                 STK_REF(struct stk_batchnorm_bwd_sums_args, g, n->in[1]),
                                 STK_REF(struct stk_batchnorm_bwd_sums_args, mean, n->in[2]),
                                 STK_REF(struct stk_batchnorm_bwd_sums_args, rstd, n->in[3]),
                                 STK_REF(struct stk_batchnorm_bwd_sums_args, dgamma, n->out[1]),
                                 STK_REF(struct stk_batchnorm_bwd_sums_args, dbeta, n->out[2])};
  stk_lower_emit(lw, stk_lower_kernels(lw)->batchnorm_bwd_sums, &s, sizeof s, sums, 6);
  struct stk_batchnorm_bwd_args a = {.n = s.n, .c = s.c, .inner = s.inner};
  const struct stk_ref refs[] = {STK_REF(struct stk_batchnorm_bwd_args, x, n->in[0]),
                                 STK_REF(struct stk_batchnorm_bwd_args, g, n->in[1]),
                                 STK_REF(struct stk_batchnorm_bwd_args, mean, n->in[2]),
                                 STK_REF(struct stk_batchnorm_bwd_args, rstd, n->in[3]),
                                 STK_REF(struct stk_batchnorm_bwd_args, gamma, n->in[4]),
                                 STK_REF(struct stk_batchnorm_bwd_args, dgamma, n->out[1]),
                                 STK_REF(struct stk_batchnorm_bwd_args, dbeta, n->out[2]),
                                 STK_REF(struct stk_batchnorm_bwd_args, dx, n->out[0])};
  stk_lower_emit(lw, stk_lower_kernels(lw)->batchnorm_bwd, &a, sizeof a, refs, 8);
}

const struct stk_op_def stk_op_batch_norm_bwd = {.lower = batch_bwd_lower};
