/* A module instance: the user's table, its self, its parameters, running statistics and layers.
 *
 * Life: new (hyper-parameters at their defaults) -> set_hparam ... -> setup (parameters declared)
 * -> trace any number of times -> free. Parameter order is declaration order and never changes: the
 * state's layout and all names follow it.
 */
#ifndef STK_NN_MODULE_H
#define STK_NN_MODULE_H

#include <stoker/module.h>

#include "engine/graph/graph.h"
#include "proto/base/status.h"

struct stk_param {
  struct stk_module *module;
  int32_t index;
  int32_t order; /* among everything that was declared */
  bool in_layer; /* a layer's, not the module's own */
  char name[128];
  struct stk_shape shape;
  stk_init init;
};

/* A running statistic of a batch norm: starts at `initial`. */
struct stk_running {
  char name[128];
  struct stk_shape shape;
  double initial;
};

enum { STK_MODULE_MAX_PARAMS = 16384, STK_MODULE_MAX_STATE = 64 << 10 };

struct stk_module {
  const stk_module_def *def;
  void *self;
  struct stk_param **params;
  int32_t n_params, cap_params;
  struct stk_running *running;
  int32_t n_running, cap_running;
  struct stk_layer *layers; /* all of them, linked, for freeing */
  int32_t n_declared;       /* layers and parameters */
  char **strings;           /* owned hyper-parameter texts */
  int32_t n_strings;
  stk_sample x; /* of the training data; rank -1: unknown */
  bool ready;   /* setup is done: nothing can be declared any more */
  struct sp_err err;
  struct stk_leaf *param_leaves, *running_leaves; /* for graphs; made by stk_module_leaves */
};

/* Checks the table (ABI, sizes, required functions) and allocates self. `def` is borrowed. */
SP_NODISCARD sp_status stk_module_new(const stk_module_def *def, struct stk_module **out_m,
                                      struct sp_err *err);
void stk_module_free(struct stk_module *m);

/* Sets one hyper-parameter from text. SP_ENOENT: no such name (the caller suggests one), SP_EINVAL:
 * bad value. */
SP_NODISCARD sp_status stk_module_set_hparam(struct stk_module *m, const char *name,
                                             const char *text, struct sp_err *err);
/* The current value as text, for hparams.yaml and manifests: in buf, or a string value itself. */
const char *stk_module_hparam_text(const struct stk_module *m, const stk_hparam *hp, char *buf,
                                   size_t cap);

/* Runs the user's setup. x: one sample of the training data, NULL when unknown. */
SP_NODISCARD sp_status stk_module_setup(struct stk_module *m, const stk_sample *x,
                                        struct sp_err *err);

/* What graphs borrow: shapes and which parameters are trainable (a byte each, NULL: all). */
SP_NODISCARD sp_status stk_module_leaves(struct stk_module *m, const uint8_t *frozen,
                                         struct sp_err *err);

/* Traces the step function of a stage over a batch: x and y leaves of (batch, sample...). Traced
 * twice and compared, to expose hidden state. SP_ENOENT: the module has no such function. The
 * caller frees the graph. */
struct stk_trace_spec {
  stk_stage stage;
  stk_dtype real;
  int64_t batch;
  const stk_sample *x, *y; /* y NULL: none */
};
SP_NODISCARD sp_status stk_module_trace(struct stk_module *m, const struct stk_trace_spec *spec,
                                        struct stk_graph **out_g, struct sp_err *err);

/* Declares a running statistic; its index, or -1 with the module's error set. */
int32_t stk_module_add_running(struct stk_module *m, const char *name,
                               const struct stk_shape *shape, double initial);

#endif
