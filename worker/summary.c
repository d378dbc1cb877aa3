/* The model summary as an event. See summary.h. */
#include "worker/summary.h"

#include "engine/nn/summary.h"
#include "proto/base/mem.h"

enum { MAX_ROWS = 512 };

static int64_t max_depth(const struct sp_job *job) {
  int64_t depth = 1;
  for (size_t i = 0; i < job->callbacks.n; i++) {
    if (job->callbacks.items[i].kind == SP_CALLBACK_MODEL_SUMMARY) {
      depth = job->callbacks.items[i].model_summary.max_depth;
    }
  }
  return depth;
}

static void send(const struct sw_setup *s, struct sw_emit *e, const struct stk_summary_row *rows,
                 size_t n, struct sp_event_summary_row *shown) {
  const struct stk_module *m = s->module;
  size_t n_shown = n < MAX_ROWS ? n : MAX_ROWS;
  struct sp_event ev = {
      .kind = SP_EVENT_SUMMARY,
      .u.summary = {.n_rows = n_shown, .rows = shown, .n_rows_left_out = (int64_t)(n - n_shown)}};
  for (size_t i = 0; i < n_shown; i++) {
    shown[i] = (struct sp_event_summary_row){.name = rows[i].name,
                                             .type = rows[i].type,
                                             .in_shape = "",
                                             .out_shape = "",
                                             .n_params = rows[i].n_params,
                                             .frozen = rows[i].frozen};
  }
  for (int32_t i = 0; i < m->n_params; i++) {
    int64_t k = stk_shape_numel(&m->params[i]->shape);
    ev.u.summary.n_params += k;
    ev.u.summary.n_trainable += m->param_leaves[i].trainable ? k : 0;
  }
  ev.u.summary.n_param_bytes =
      ev.u.summary.n_params * stk_session_state(s->session)->layout.real_bytes;
  sw_emit_event(e, &ev);
}

void sw_summary_tell(const struct sw_setup *s, struct sw_emit *e) {
  struct stk_summary_row *rows = NULL;
  struct sp_err err = {0};
  size_t n = 0;
  if (!s->job->trainer.enable_model_summary) {
    return;
  }
  sp_status st = stk_module_summary(s->module, max_depth(s->job), &rows, &n, &err);
  struct sp_event_summary_row *shown = sp_alloc_array(MAX_ROWS, sizeof *shown);
  if (!st && shown) {
    send(s, e, rows, n, shown);
  }
  sp_free(shown);
  sp_free(rows);
}
