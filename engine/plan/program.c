/* Memory plan, lowering and replay of one graph.
 *
 * Values of role ACT get an interval in the arena; a parameter's gradient is produced in place in
 * the gradient region when one node makes it (else it is copied there at the end). Ops emit
 * instructions through lower.h; every pointer field is remembered as (field, base, offset), so that
 * binding another slot or batch rewrites only those. Pseudo values (workspaces, outputs of running
 * statistics) have ids below -1.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "engine/exec/pages.h"
#include "engine/ops/ops.h"
#include "engine/plan/lower.h"
#include "engine/plan/plan.h"
#include "proto/base/mem.h"

enum { ALIGN = 64, MAX_WORKSPACES = 4096 };

/* Where a value or pseudo value is. */
struct place {
  stk_base base;
  int64_t offset; /* bytes; -1: nowhere */
};

struct patch {
  void **field;
  stk_base base;
  int64_t offset;
};

struct stk_program {
  struct stk_graph *g;
  struct stk_program_spec spec;
  struct place *place; /* per value */
  struct stk_instr *instrs;
  int64_t n_instrs, cap_instrs;
  struct patch *patches; /* sorted by base once built */
  int64_t n_patches, cap_patches;
  int64_t first_patch[STK_BASE_COUNT + 1];
  void *bound[STK_BASE_COUNT];
  uint8_t *arena, *scratch;
  int64_t scratch_bytes;
  struct stk_program_report report;
  int n_threads;
};

struct stk_lower {
  stk_program *p;
  int32_t node, position;
  struct place *pseudo; /* places of pseudo values */
  int32_t n_pseudo;
  int64_t workspace, workspace_peak; /* bytes behind the arena: of this node, of the largest */
  int32_t *home; /* per value: parameter whose gradient region it is made in, -1 */
  struct stk_interval *intervals;
  int32_t *interval_of; /* per value: interval of its storage root, -1 */
  int32_t n_intervals;
  uint8_t *live;
  struct sp_err *err;
  sp_status status;
};

/* ---- lifetimes */

static bool is_output(const struct stk_graph *g, int32_t root) {
  bool out = g->loss >= 0 && stk_graph_storage(g, g->loss) == root;
  for (int32_t i = 0; i < g->n_logs; i++) {
    out = out || stk_graph_storage(g, g->logs[i].value) == root;
    out = out || (g->logs[i].weight >= 0 && stk_graph_storage(g, g->logs[i].weight) == root);
  }
  return out;
}

static void find_last_uses(struct stk_lower *lw, int32_t *last) {
  const struct stk_graph *g = lw->p->g;
  for (int32_t v = 0; v < g->n_values; v++) {
    last[v] = -1;
  }
  for (int32_t id = 0; id < g->n_nodes; id++) {
    const struct stk_node *n = &g->nodes[id];
    for (int32_t k = 0; lw->live[id] && k < n->n_in; k++) {
      if (n->in[k] >= 0) {
        last[stk_graph_storage(g, n->in[k])] = id;
      }
    }
    for (int32_t k = 0; lw->live[id] && k < n->n_out; k++) {
      int32_t root = stk_graph_storage(g, n->out[k]);
      last[root] = last[root] < id ? id : last[root];
    }
  }
  for (int32_t v = 0; v < g->n_values; v++) {
    if (g->values[v].alias < 0 && (is_output(g, v) || lw->home[v] >= 0)) {
      last[v] = g->n_nodes;
    }
  }
}

/* A parameter's gradient is made in its region when a node makes it; the first parameter that
 * claims a value gets it. */
static void claim_homes(struct stk_lower *lw) {
  const struct stk_graph *g = lw->p->g;
  for (int32_t v = 0; v < g->n_values; v++) {
    lw->home[v] = -1;
  }
  for (int32_t i = 0; i < g->n_params; i++) {
    int32_t root = g->param_grad[i] >= 0 ? stk_graph_storage(g, g->param_grad[i]) : -1;
    if (root >= 0 && g->values[root].role == STK_ROLE_ACT && lw->home[root] < 0) {
      lw->home[root] = i;
    }
  }
}

/* Input k of node id dies there and may give its memory to output 0: its storage root, else -1. */
static int32_t may_take_over(const struct stk_lower *lw, int32_t id, int32_t k,
                             const int32_t *last) {
  const struct stk_graph *g = lw->p->g;
  const struct stk_node *n = &g->nodes[id];
  if (n->in[k] < 0 || !lw->p->spec.in_place || !(stk_ops[n->op]->in_place & (1u << k))) {
    return -1;
  }
  int32_t root = stk_graph_storage(g, n->in[k]);
  const struct stk_value *in = &g->values[root], *out = &g->values[n->out[0]];
  bool same =
      in->dtype == out->dtype && stk_shape_numel(&in->shape) == stk_shape_numel(&out->shape);
  return same && in->role == STK_ROLE_ACT && last[root] == id ? root : -1;
}

/* What becomes a gradient in place is already made in the gradient's region (sums of gradients,
 * tied embeddings). */
static void spread_homes(struct stk_lower *lw, const int32_t *last) {
  const struct stk_graph *g = lw->p->g;
  for (int32_t id = g->n_nodes - 1; id >= 0; id--) {
    const struct stk_node *n = &g->nodes[id];
    bool taken = !lw->live[id] || n->n_out < 1 || lw->home[n->out[0]] < 0;
    for (int32_t k = 0; k < n->n_in && !taken; k++) {
      int32_t root = may_take_over(lw, id, k, last);
      if (root >= 0 && lw->home[root] < 0) {
        lw->home[root] = lw->home[n->out[0]];
        taken = true;
      }
    }
  }
}

/* The input whose memory output 0 of node id takes over, as an interval; -1: none. */
static int32_t dying_input(const struct stk_lower *lw, int32_t id, const int32_t *last) {
  for (int32_t k = 0; k < lw->p->g->nodes[id].n_in; k++) {
    int32_t root = may_take_over(lw, id, k, last);
    if (root >= 0 && lw->interval_of[root] >= 0) {
      return lw->interval_of[root];
    }
  }
  return -1;
}

static void make_intervals(struct stk_lower *lw, const int32_t *last) {
  const struct stk_graph *g = lw->p->g;
  for (int32_t v = 0; v < g->n_values; v++) {
    lw->interval_of[v] = -1;
  }
  for (int32_t id = 0; id < g->n_nodes; id++) {
    const struct stk_node *n = &g->nodes[id];
    for (int32_t k = 0; lw->live[id] && k < n->n_out; k++) {
      const struct stk_value *v = &g->values[n->out[k]];
      if (v->alias >= 0 || lw->home[n->out[k]] >= 0) {
        continue;
      }
      int32_t over = k == 0 ? dying_input(lw, id, last) : -1;
      if (over >= 0) {
        lw->interval_of[n->out[k]] = over;
        lw->intervals[over].last = last[n->out[k]];
        continue;
      }
      lw->interval_of[n->out[k]] = lw->n_intervals;
      lw->intervals[lw->n_intervals++] = (struct stk_interval){
          .bytes = stk_shape_numel(&v->shape) * (int64_t)stk_dtype_bytes(v->dtype),
          .first = id,
          .last = last[n->out[k]]};
    }
  }
}

static void place_values(struct stk_lower *lw) {
  const struct stk_graph *g = lw->p->g;
  const struct stk_program_spec *s = &lw->p->spec;
  for (int32_t v = 0; v < g->n_values; v++) {
    int32_t root = stk_graph_storage(g, v);
    const struct stk_value *r = &g->values[root];
    struct place *p = &lw->p->place[v];
    *p = (struct place){STK_BASE_ACT, -1};
    switch (r->role) {
      case STK_ROLE_X:
        *p = (struct place){STK_BASE_X, 0};
        break;
      case STK_ROLE_Y:
        *p = (struct place){STK_BASE_Y, 0};
        break;
      case STK_ROLE_PARAM:
        *p = (struct place){STK_BASE_PARAM, s->param_offset[r->index]};
        break;
      case STK_ROLE_RUNNING:
        *p = (struct place){STK_BASE_RUNNING, s->running_offset[r->index]};
        break;
      case STK_ROLE_HOST:
        *p = (struct place){STK_BASE_HOST, r->index * (int64_t)stk_dtype_bytes(g->real)};
        break;
      case STK_ROLE_ACT:
        if (lw->home[root] >= 0) {
          *p = (struct place){STK_BASE_GRAD, s->param_offset[lw->home[root]]};
        } else if (lw->interval_of[root] >= 0) {
          p->offset = lw->intervals[lw->interval_of[root]].offset;
        }
        break;
    }
  }
}

/* ---- what ops call */

const struct stk_graph *stk_lower_graph(const struct stk_lower *lw) {
  return lw->p->g;
}

const struct stk_kernels *stk_lower_kernels(const struct stk_lower *lw) {
  return lw->p->spec.kernels;
}

int stk_lower_threads(const struct stk_lower *lw) {
  return lw->p->spec.n_threads;
}

static bool grow(struct stk_lower *lw, void **array, int64_t n, int64_t *cap, size_t bytes) {
  if (n < *cap) {
    return true;
  }
  int64_t want = *cap ? *cap * 2 : 64;
  void *p = sp_resize_array(*array, (size_t)want, bytes);
  if (!p) {
    lw->status = sp_fail(lw->err, SP_ENOMEM, "no memory for the program");
    return false;
  }
  *array = p;
  *cap = want;
  return true;
}

static struct place place_of(const struct stk_lower *lw, int32_t value) {
  return value < -1 ? lw->pseudo[-2 - value] : lw->p->place[value];
}

static void add_patch(struct stk_lower *lw, void *field, struct place at) {
  void *list = lw->p->patches;
  if (grow(lw, &list, lw->p->n_patches, &lw->p->cap_patches, sizeof(struct patch))) {
    lw->p->patches = list;
    lw->p->patches[lw->p->n_patches++] = (struct patch){field, at.base, at.offset};
  }
}

static size_t element_bytes(const struct stk_lower *lw, int32_t value) {
  return value < -1 ? 1 : stk_dtype_bytes(lw->p->g->values[value].dtype);
}

void stk_lower_emit(struct stk_lower *lw, const struct stk_kernel *k, const void *args,
                    size_t args_bytes, const struct stk_ref *refs, int32_t n_refs) {
  stk_program *p = lw->p;
  void *list = p->instrs;
  if (lw->status || !grow(lw, &list, p->n_instrs, &p->cap_instrs, sizeof(struct stk_instr))) {
    return;
  }
  p->instrs = list;
  if (!k) {
    lw->status = sp_fail(lw->err, SP_EUNSUPPORTED, "no %s kernel for %s", p->spec.kernels->isa,
                         stk_op_text(p->g->nodes[lw->node < p->g->n_nodes ? lw->node : 0].op));
    return;
  }
  struct stk_instr in = {.kernel = k, .args = sp_alloc(args_bytes), .node = lw->node};
  if (!in.args) {
    lw->status = sp_fail(lw->err, SP_ENOMEM, "no memory for the program");
    return;
  }
  memcpy(in.args, args, args_bytes);
  p->instrs[p->n_instrs++] = in;
  for (int32_t i = 0; i < n_refs && !lw->status; i++) {
    if (refs[i].value == -1) {
      continue;
    }
    struct place at = place_of(lw, refs[i].value);
    if (at.offset < 0) {
      lw->status = sp_fail(lw->err, SP_EINTERNAL, "%s: value %%%d has no memory", k->name,
                           (int)refs[i].value);
      return;
    }
    at.offset += refs[i].offset * (int64_t)element_bytes(lw, refs[i].value);
    add_patch(lw, (uint8_t *)in.args + refs[i].field, at);
  }
}

void stk_lower_rng(struct stk_lower *lw, size_t field) {
  if (!lw->status) {
    add_patch(lw, (uint8_t *)lw->p->instrs[lw->p->n_instrs - 1].args + field,
              (struct place){STK_BASE_RNG, 0});
  }
}

static int32_t pseudo(struct stk_lower *lw, struct place at) {
  if (lw->n_pseudo == MAX_WORKSPACES) {
    lw->status = sp_fail(lw->err, SP_EINTERNAL, "more than %d workspaces", MAX_WORKSPACES);
    return -1;
  }
  lw->pseudo[lw->n_pseudo] = at;
  return -2 - lw->n_pseudo++;
}

/* Workspaces are appended behind the planned arena, reused by every node: only one node runs at a
 * time. */
int32_t stk_lower_workspace(struct stk_lower *lw, size_t bytes) {
  struct stk_program_report *r = &lw->p->report;
  int64_t at = r->act_bytes + lw->workspace;
  lw->workspace += ((int64_t)bytes + ALIGN - 1) / ALIGN * ALIGN;
  lw->workspace_peak = lw->workspace > lw->workspace_peak ? lw->workspace : lw->workspace_peak;
  return pseudo(lw, (struct place){STK_BASE_ACT, at});
}

int32_t stk_lower_running_out(struct stk_lower *lw, int32_t index) {
  return pseudo(lw, (struct place){STK_BASE_RUNNING_OUT, lw->p->spec.running_offset[index]});
}

/* ---- building */

static void copy_grad(struct stk_lower *lw, int32_t param) {
  const struct stk_graph *g = lw->p->g;
  int32_t v = g->param_grad[param];
  struct place at = {STK_BASE_GRAD, lw->p->spec.param_offset[param]};
  struct stk_copy_args a = {.elem_bytes = (int32_t)stk_dtype_bytes(g->real)};
  for (int32_t d = 0; d < STK_COPY_RANK; d++) {
    a.dim[d] = 1;
  }
  a.dim[STK_COPY_RANK - 1] = stk_shape_numel(&g->values[v].shape);
  a.x_stride[STK_COPY_RANK - 1] = a.y_stride[STK_COPY_RANK - 1] = 1;
  const struct stk_ref refs[] = {STK_REF(struct stk_copy_args, x, v),
                                 STK_REF(struct stk_copy_args, y, pseudo(lw, at))};
  stk_lower_emit(lw, stk_lower_kernels(lw)->copy, &a, sizeof a, refs, 2);
}

static void lower_all(struct stk_lower *lw) {
  struct stk_graph *g = lw->p->g;
  for (int32_t id = 0; id < g->n_nodes && !lw->status; id++) {
    if (lw->live[id] && stk_ops[g->nodes[id].op]->lower) {
      lw->node = id;
      lw->workspace = 0;
      stk_ops[g->nodes[id].op]->lower(lw, id);
      if (stk_ops[g->nodes[id].op]->flops) {
        lw->p->report.flops += stk_ops[g->nodes[id].op]->flops(g, &g->nodes[id]);
      }
    }
  }
  lw->node = g->n_nodes;
  for (int32_t i = 0; i < g->n_params && !lw->status; i++) {
    int32_t v = g->param_grad[i];
    if (v >= 0 && lw->home[stk_graph_storage(g, v)] != i) {
      copy_grad(lw, i);
    }
  }
}

static int64_t node_bytes(const struct stk_graph *g, const struct stk_node *n) {
  int64_t bytes = 0;
  for (int32_t k = 0; k < n->n_in; k++) {
    bytes += n->in[k] < 0 ? 0 : stk_shape_numel(&g->values[n->in[k]].shape) * 4;
  }
  for (int32_t k = 0; k < n->n_out; k++) {
    bytes += stk_shape_numel(&g->values[n->out[k]].shape) * 4;
  }
  return bytes;
}

enum { SMALL_BYTES = 48 << 10, SMALL_FLOPS = 300000 };

/* Kernels cut their work by which pointers they are given, before any memory is bound: fields that
 * will be patched point somewhere while units and scratch are asked for, the others stay NULL. */
static void pretend_bound(stk_program *p, bool bound) {
  for (int64_t i = 0; i < p->n_patches; i++) {
    *p->patches[i].field = bound ? p->place : NULL;
  }
}

static bool finish(struct stk_lower *lw) {
  stk_program *p = lw->p;
  const struct stk_graph *g = p->g;
  pretend_bound(p, true);
  for (int64_t i = 0; i < p->n_instrs; i++) {
    struct stk_instr *in = &p->instrs[i];
    in->n_units = in->kernel->units(in->args, p->spec.n_threads);
    int64_t s = in->kernel->scratch ? (int64_t)in->kernel->scratch(in->args) : 0;
    p->scratch_bytes = s > p->scratch_bytes ? s : p->scratch_bytes;
    if (in->node < g->n_nodes) {
      const struct stk_node *n = &g->nodes[in->node];
      double flops = stk_ops[n->op]->flops ? stk_ops[n->op]->flops(g, n) : 0;
      in->small = node_bytes(g, n) < SMALL_BYTES && flops < SMALL_FLOPS;
    }
  }
  pretend_bound(p, false);
  p->scratch_bytes = (p->scratch_bytes + 4095) / 4096 * 4096;
  p->scratch = stk_pages_alloc((size_t)(p->scratch_bytes * p->n_threads) + ALIGN);
  p->report.act_bytes += lw->workspace_peak;
  p->arena = stk_pages_alloc((size_t)p->report.act_bytes + ALIGN);
  return p->scratch && p->arena;
}

void stk_program_warm(const stk_program *p, const atomic_bool *stop) {
  stk_pages_populate(p->arena, (size_t)p->report.act_bytes, true, stop);
  stk_pages_populate(p->scratch, (size_t)(p->scratch_bytes * p->n_threads), true, stop);
}

/* Counting sort of the patches by base. */
static bool sort_patches(stk_program *p) {
  struct patch *out = sp_alloc_array((size_t)p->n_patches + 1, sizeof *out);
  int64_t n = 0;
  for (int32_t b = 0; out && b < STK_BASE_COUNT; b++) {
    p->first_patch[b] = n;
    for (int64_t i = 0; i < p->n_patches; i++) {
      if (p->patches[i].base == (stk_base)b) {
        out[n++] = p->patches[i];
      }
    }
  }
  p->first_patch[STK_BASE_COUNT] = n;
  if (out) {
    sp_free(p->patches);
    p->patches = out;
  }
  return out != NULL;
}

static sp_status build(struct stk_lower *lw, int32_t *last) {
  stk_program *p = lw->p;
  stk_pass_live(p->g, lw->live);
  claim_homes(lw);
  find_last_uses(lw, last);
  spread_homes(lw, last);
  make_intervals(lw, last);
  p->report.act_bytes = stk_memory_place(lw->intervals, lw->n_intervals, &p->report.act_bound);
  if (p->report.act_bytes < 0) {
    return sp_fail(lw->err, SP_ENOMEM, "no memory to plan memory");
  }
  place_values(lw);
  lower_all(lw);
  if (lw->status) {
    return lw->status;
  }
  if (!finish(lw) || !sort_patches(p)) {
    return sp_fail(lw->err, SP_ENOMEM, "no memory for activations (%lld bytes)",
                   (long long)p->report.act_bytes);
  }
  stk_program_bind(p, STK_BASE_ACT, p->arena);
  p->report.n_instrs = p->n_instrs;
  p->report.scratch_bytes = p->scratch_bytes;
  return SP_OK;
}

sp_status stk_program_new(struct stk_graph *g, const struct stk_program_spec *spec,
                          stk_program **out_p, struct sp_err *err) {
  stk_program *p = sp_alloc(sizeof *p);
  struct stk_lower lw = {.p = p, .err = err};
  int32_t *last = sp_alloc_array((size_t)g->n_values + 1, sizeof *last);
  lw.live = sp_alloc((size_t)g->n_nodes + 1);
  lw.interval_of = sp_alloc_array((size_t)g->n_values + 1, sizeof *lw.interval_of);
  lw.intervals = sp_alloc_array((size_t)g->n_values + 1, sizeof *lw.intervals);
  lw.pseudo = sp_alloc_array(MAX_WORKSPACES, sizeof *lw.pseudo);
  lw.home = sp_alloc_array((size_t)g->n_values + 1, sizeof *lw.home);
  sp_status status = SP_ENOMEM;
  if (p) {
    p->g = g;
    p->spec = *spec;
    p->n_threads = spec->n_threads;
    p->place = sp_alloc_array((size_t)g->n_values + 1, sizeof *p->place);
  }
  if (p && p->place && last && lw.live && lw.interval_of && lw.intervals && lw.pseudo && lw.home) {
    status = build(&lw, last);
  } else {
    status = sp_fail(err, SP_ENOMEM, "no memory to plan");
  }
  sp_free(last);
  sp_free(lw.live);
  sp_free(lw.interval_of);
  sp_free(lw.intervals);
  sp_free(lw.pseudo);
  sp_free(lw.home);
  if (status) {
    stk_program_free(p);
    return status;
  }
  *out_p = p;
  return SP_OK;
}

void stk_program_free(stk_program *p) {
  if (!p) {
    return;
  }
  for (int64_t i = 0; i < p->n_instrs; i++) {
    sp_free(p->instrs[i].args);
  }
  sp_free(p->instrs);
  sp_free(p->patches);
  sp_free(p->place);
  sp_free_aligned(p->arena);
  sp_free_aligned(p->scratch);
  sp_free(p);
}

/* ---- replay */

void stk_program_bind(stk_program *p, stk_base base, void *memory) {
  if (p->bound[base] == memory) {
    return;
  }
  p->bound[base] = memory;
  for (int64_t i = p->first_patch[base]; i < p->first_patch[base + 1]; i++) {
    *p->patches[i].field = memory ? (uint8_t *)memory + p->patches[i].offset : NULL;
  }
}

struct instr_run {
  const struct stk_instr *in;
  uint8_t *scratch;
  int64_t scratch_bytes;
};

static void run_units(void *ctx, int64_t lo, int64_t hi, int thread) {
  const struct instr_run *r = ctx;
  r->in->kernel->run(r->in->args, lo, hi, r->scratch + thread * r->scratch_bytes);
}

void stk_program_run_instr(stk_program *p, stk_pool *pool, int64_t i) {
  const struct stk_instr *in = &p->instrs[i];
  if (in->small || in->n_units <= 1) {
    in->kernel->run(in->args, 0, in->n_units, p->scratch);
    return;
  }
  struct instr_run r = {in, p->scratch, p->scratch_bytes};
  stk_pool_run(pool, run_units, &r, in->n_units);
}

void stk_program_run(stk_program *p, stk_pool *pool) {
  for (int64_t i = 0; i < p->n_instrs; i++) {
    stk_program_run_instr(p, pool, i);
  }
}

void *stk_program_value(const stk_program *p, int32_t value) {
  struct place at = p->place[value];
  void *base = p->bound[at.base];
  return at.offset < 0 || !base ? NULL : (uint8_t *)base + at.offset;
}

const struct stk_graph *stk_program_graph(const stk_program *p) {
  return p->g;
}

void stk_program_report(const stk_program *p, struct stk_program_report *out) {
  *out = p->report;
}

int64_t stk_program_n_instrs(const stk_program *p) {
  return p->n_instrs;
}

const struct stk_instr *stk_program_instr(const stk_program *p, int64_t i) {
  return &p->instrs[i];
}
