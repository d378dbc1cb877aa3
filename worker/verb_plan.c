/* `stoker plan`: what a job would run and hold, exactly, without running it.
 *
 * Bytes by role: parameters and optimizer state in two slots each, gradients in all their buffers
 * (lanes and accumulation need more than one), activations with their lower bound (the largest sum
 * alive at one instruction). As text with the dump of the training graph, or as one JSON object.
 */
#include <inttypes.h>

#include "engine/checkpoint/json_text.h"
#include "proto/base/mem.h"
#include "worker/inspect.h"
#include "worker/verbs.h"

struct plan {
  const struct sw_setup *s;
  const struct stk_graph *g;
  const struct stk_layout *layout;
  struct stk_program_report r;
  int64_t n_params, state_bytes, grad_bytes, total_bytes;
};

static const char *precision(const struct plan *p) {
  return p->layout->real_bytes == 8 ? "64-true" : "32-true";
}

static void text_hparams(const struct stk_module *m, struct sp_buf *b) {
  char value[96];
  for (const stk_hparam *h = m->def->hparams; h && h->name; h++) {
    sp_buf_printf(b, "  model.%s: %s   %s\n", h->name,
                  stk_module_hparam_text(m, h, value, sizeof value), h->help ? h->help : "");
  }
}

static void plan_text(const struct plan *p, struct sp_buf *b) {
  const struct stk_module *m = p->s->module;
  const struct stk_program_report *r = &p->r;
  sp_buf_printf(b, "model       %s, %" PRId64 " parameters, %s, kernels %s\n", m->def->name,
                p->n_params, precision(p), p->s->kernels->isa);
  text_hparams(m, b);
  sp_buf_printf(b, "program     %" PRId64 " instructions, %.4g GFLOP per lane and batch\n",
                r->n_instrs, r->flops * 1e-9);
  sp_buf_printf(b,
                "bytes       parameters %" PRId64 ", optimizer state %" PRId64
                " (two slots each), gradients %" PRId64 "\n",
                p->layout->section_bytes, p->state_bytes - p->layout->section_bytes, p->grad_bytes);
  sp_buf_printf(b, "activations %" PRId64 " bytes, lower bound %" PRId64 " (%.3fx)\n", r->act_bytes,
                r->act_bound, r->act_bound ? (double)r->act_bytes / (double)r->act_bound : 1.0);
  sp_buf_printf(b, "total       %" PRId64 " bytes: %.1f per parameter\n", p->total_bytes,
                (double)(p->total_bytes - r->act_bytes) / (double)p->n_params);
  for (int32_t i = 0; i < m->n_params; i++) {
    char shape[96];
    sp_buf_printf(b, "  param%-4d %s %s%s\n", i, m->params[i]->name,
                  stk_shape_text(&m->params[i]->shape, shape, sizeof shape),
                  m->param_leaves[i].trainable ? "" : " frozen");
  }
  char *dump = stk_graph_dump(p->g);
  sp_buf_puts(b, dump ? dump : "");
  sp_free(dump);
}

/* ---- JSON */

static void put_member(const char *before, const char *value, struct sp_buf *b) {
  sp_buf_puts(b, before);
  stk_json_put_string(b, value);
}

static void json_params(const struct stk_module *m, struct sp_buf *b) {
  for (int32_t i = 0; i < m->n_params; i++) {
    const struct stk_shape *s = &m->params[i]->shape;
    put_member(i ? ",{\"name\":" : "{\"name\":", m->params[i]->name, b);
    sp_buf_puts(b, ",\"shape\":[");
    for (int32_t d = 0; d < s->rank; d++) {
      sp_buf_printf(b, d ? ",%" PRId64 : "%" PRId64, s->dim[d]);
    }
    sp_buf_printf(b, "],\"trainable\":%s}", m->param_leaves[i].trainable ? "true" : "false");
  }
}

/* The lines of the dump as an array. */
static void json_graph(const struct stk_graph *g, struct sp_buf *b) {
  char *dump = stk_graph_dump(g);
  bool first = true;
  for (char *line = dump; line && *line;) {
    char *end = line;
    while (*end && *end != '\n') {
      end++;
    }
    bool last = *end == '\0';
    *end = '\0';
    put_member(first ? "" : ",", line, b);
    first = false;
    line = last ? end : end + 1;
  }
  sp_free(dump);
}

static void plan_json(const struct plan *p, struct sp_buf *b) {
  const struct stk_module *m = p->s->module;
  char value[96];
  put_member("{\"model\":", m->def->name, b);
  sp_buf_puts(b, ",\"hparams\":{");
  for (const stk_hparam *h = m->def->hparams; h && h->name; h++) {
    put_member(h == m->def->hparams ? "" : ",", h->name, b);
    put_member(":", stk_module_hparam_text(m, h, value, sizeof value), b);
  }
  put_member("},\"precision\":", precision(p), b);
  put_member(",\"kernels\":", p->s->kernels->isa, b);
  sp_buf_printf(b,
                ",\"n_parameters\":%" PRId64 ",\"lanes\":%" PRId64 ",\"instructions\":%" PRId64
                ",\"flops\":%.17g",
                p->n_params, p->s->job->trainer.lanes, p->r.n_instrs, p->r.flops);
  sp_buf_printf(b,
                ",\"bytes\":{\"parameters\":%" PRId64 ",\"optimizer\":%" PRId64
                ",\"slots\":2,\"gradients\":%" PRId64 ",\"activations\":%" PRId64
                ",\"activations_lower_bound\":%" PRId64 ",\"scratch_per_thread\":%" PRId64
                ",\"total\":%" PRId64 "}",
                p->layout->section_bytes, p->state_bytes - p->layout->section_bytes, p->grad_bytes,
                p->r.act_bytes, p->r.act_bound, p->r.scratch_bytes, p->total_bytes);
  sp_buf_puts(b, ",\"parameters\":[");
  json_params(m, b);
  sp_buf_puts(b, "],\"graph\":[");
  json_graph(p->g, b);
  sp_buf_puts(b, "]}\n");
}

static sp_status make_plan(struct sw_setup *s, struct plan *out, struct sp_err *err) {
  stk_program *program;
  sp_status st = stk_session_program(s->session, STK_TRAIN, s->job->data.batch_size, &program, err);
  if (st) {
    return st;
  }
  *out = (struct plan){
      .s = s, .g = stk_program_graph(program), .layout = &stk_session_state(s->session)->layout};
  stk_program_report(program, &out->r);
  for (int32_t i = 0; i < s->module->n_params; i++) {
    out->n_params += stk_shape_numel(&s->module->params[i]->shape);
  }
  out->state_bytes = out->layout->section_bytes * out->layout->n_sections;
  out->grad_bytes = out->layout->section_bytes * stk_session_grad_buffers(s->session);
  out->total_bytes = 2 * out->state_bytes + out->grad_bytes + out->r.act_bytes;
  return SP_OK;
}

int sw_verb_plan(struct sw_emit *e, int argc, char **argv) {
  struct sp_err err = {0};
  struct sw_setup *s = sp_alloc(sizeof *s);
  struct plan p;
  bool json = false;
  if (s && sw_json_asked(&argc, argv, &json, &err) == SP_OK &&
      sw_open_job(argc, argv, s, &err) == SP_OK && make_plan(s, &p, &err) == SP_OK) {
    struct sp_buf b;
    sp_buf_init(&b, SW_OUTPUT_LIMIT);
    (json ? plan_json : plan_text)(&p, &b);
    if (sp_buf_check(&b, "the plan", &err) == SP_OK) {
      sw_emit_output(e, &b);
    }
    sp_buf_free(&b);
  }
  return sw_finish(e, s, &err);
}
