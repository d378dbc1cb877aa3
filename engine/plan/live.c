/* Dead code: which nodes reach an output. Outputs are the loss or result, logged values, parameter
 * gradients, and updates of running statistics (the one side effect a node has).
 */
#include <string.h>

#include "engine/ops/ops.h"
#include "engine/plan/plan.h"

static void need(const struct stk_graph *g, int32_t value, uint8_t *live) {
  if (value >= 0 && g->values[value].node >= 0) {
    live[g->values[value].node] = 1;
  }
}

void stk_pass_live(const struct stk_graph *g, uint8_t *live) {
  memset(live, 0, (size_t)g->n_nodes);
  need(g, g->loss, live);
  for (int32_t i = 0; i < g->n_logs; i++) {
    need(g, g->logs[i].value, live);
    need(g, g->logs[i].weight, live);
  }
  for (int32_t i = 0; i < g->n_params; i++) {
    need(g, g->param_grad[i], live);
  }
  for (int32_t i = 0; i < g->n_running; i++) {
    if (g->running_out[i] >= 0) {
      live[g->running_out[i]] = 1;
    }
  }
  for (int32_t id = g->n_nodes - 1; id >= 0; id--) {
    for (int32_t k = 0; live[id] && k < g->nodes[id].n_in; k++) {
      need(g, g->nodes[id].in[k], live);
    }
  }
}
