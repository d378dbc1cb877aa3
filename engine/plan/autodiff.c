/* Reverse-mode differentiation over the traced graph: one rule per op, applied in descending node
 * id.
 *
 * Because nodes are visited in descending id and a rule gives its gradients in ascending input
 * position, a value's gradients add in descending consumer id: the order that docs/numerics.md
 * states, whatever the schedule does later.
 */
#include "engine/ops/ops.h"
#include "engine/plan/plan.h"
#include "proto/base/mem.h"

struct stk_autodiff {
  struct stk_graph *g;
  int32_t *grad; /* per forward value: gradient so far, -1 */
  int32_t n;
};

struct stk_graph *stk_autodiff_graph(struct stk_autodiff *ad) {
  return ad->g;
}

bool stk_autodiff_wants(const struct stk_autodiff *ad, int32_t value) {
  return value >= 0 && value < ad->n && ad->g->values[value].requires_grad;
}

void stk_autodiff_give(struct stk_autodiff *ad, int32_t value, int32_t grad) {
  if (grad < 0 || !stk_autodiff_wants(ad, value)) {
    return;
  }
  if (ad->grad[value] < 0) {
    ad->grad[value] = grad;
    return;
  }
  stk_loc at = {"autodiff", 0};
  ad->grad[value] = stk_build_binary(ad->g, STK_EW_ADD, ad->grad[value], grad, at);
}

int32_t stk_autodiff_take(struct stk_autodiff *ad, int32_t value) {
  int32_t have = ad->grad[value];
  ad->grad[value] = -1;
  return have;
}

static void visit(struct stk_autodiff *ad, int32_t id) {
  const struct stk_node *n = &ad->g->nodes[id];
  int32_t g_out[STK_NODE_OUT] = {-1, -1, -1};
  bool any = false, wanted = false;
  for (int32_t k = 0; k < n->n_out; k++) {
    g_out[k] = ad->grad[n->out[k]];
    any = any || g_out[k] >= 0;
  }
  for (int32_t k = 0; k < n->n_in; k++) {
    wanted = wanted || stk_autodiff_wants(ad, n->in[k]);
  }
  if (any && wanted && stk_ops[n->op]->grad) {
    stk_ops[n->op]->grad(ad, id, g_out);
  }
}

sp_status stk_pass_autodiff(struct stk_graph *g, double seed, struct sp_err *err) {
  if (g->loss < 0 || stk_shape_numel(&g->values[g->loss].shape) != 1) {
    return sp_fail(err, SP_EINVAL, "training_step must return a scalar loss");
  }
  if (!g->values[g->loss].requires_grad) {
    return sp_fail(err, SP_EINVAL, "the loss does not depend on any trainable parameter");
  }
  struct stk_autodiff ad = {.g = g, .n = g->n_values};
  ad.grad = sp_alloc_array((size_t)ad.n, sizeof *ad.grad);
  if (!ad.grad) {
    return sp_fail(err, SP_ENOMEM, "no memory to differentiate");
  }
  for (int32_t i = 0; i < ad.n; i++) {
    ad.grad[i] = -1;
  }
  g->in_backward = true;
  ad.grad[g->loss] = stk_build_fill(g, g->values[g->loss].shape, seed, (stk_loc){"autodiff", 0});
  for (int32_t id = g->values[g->loss].node; id >= 0 && !g->failed; id--) {
    visit(&ad, id);
  }
  g->in_backward = false;
  for (int32_t i = 0; i < g->n_params; i++) {
    int32_t v = g->param_value[i];
    g->param_grad[i] = v >= 0 && v < ad.n && g->params[i].trainable ? ad.grad[v] : -1;
  }
  sp_free(ad.grad);
  if (g->failed) {
    return sp_fail(err, g->err.status, "%s", g->err.text);
  }
  return SP_OK;
}
