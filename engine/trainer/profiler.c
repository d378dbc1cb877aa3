/* Times of a run, added up and printed. See profiler.h. */
#include "engine/trainer/profiler.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/ops/ops.h"

static const char *const action_names[] = {
#define STK_ACTION_X(name, text) text,
    STK_ACTION_LIST(STK_ACTION_X)
#undef STK_ACTION_X
};

void stk_profiler_init(struct stk_profiler *p, const struct sp_clock *clock) {
  static_assert((int)STK_OP_COUNT <= (int)STK_PROFILER_KERNELS, "an op has no row");
  *p = (struct stk_profiler){.clock = clock, .started_ns = sp_mono_now(clock).ns};
}

void stk_profile_program(struct stk_profiler *p, stk_program *program, stk_pool *pool) {
  const struct stk_graph *g = stk_program_graph(program);
  int64_t n = stk_program_n_instrs(program), before = stk_profile_start(p);
  int32_t last = -1;
  for (int64_t i = 0; i < n; i++) {
    int32_t id = stk_program_instr(program, i)->node;
    stk_program_run_instr(program, pool, i);
    int64_t now = stk_profile_start(p);
    const struct stk_node *node = id >= 0 && id < g->n_nodes ? &g->nodes[id] : NULL;
    struct stk_profile_row *row =
        node ? &p->kernel[node->backward][node->op] : &p->kernel[0][STK_OP_VIEW];
    row->ns += now - before;
    row->calls++;
    if (node && id != last && stk_ops[node->op]->flops) {
      row->flops += stk_ops[node->op]->flops(g, node);
    }
    last = id;
    before = now;
  }
}

/* ---- the report */

enum { MAX_ROWS = 2 * STK_PROFILER_KERNELS };

static const char total_name[] = "Total";

struct line {
  char name[48];
  struct stk_profile_row row;
};

static int by_total(const void *a, const void *b) {
  const struct line *x = a, *y = b;
  int order = (x->row.ns < y->row.ns) - (x->row.ns > y->row.ns);
  return order ? order : strcmp(x->name, y->name);
}

static void print_line(const struct line *l, int64_t total, bool kernels, struct sp_buf *out) {
  double s = (double)l->row.ns * 1e-9;
  char mean[32] = "-"; /* of the whole run's row */
  if (l->row.calls > 0 && strcmp(l->name, total_name) != 0) {
    snprintf(mean, sizeof mean, "%.4g", s / (double)l->row.calls);
  }
  sp_buf_printf(out, "| %-28s | %12s | %10lld | %12.4g | %7.2f |", l->name, mean,
                (long long)l->row.calls, s,
                total > 0 ? 100.0 * (double)l->row.ns / (double)total : 0.0);
  if (kernels && l->row.flops > 0.0 && s > 0.0) {
    sp_buf_printf(out, " %8.2f |\n", l->row.flops * 1e-9 / s);
  } else {
    sp_buf_puts(out, kernels ? "          |\n" : "\n");
  }
}

static void print_table(struct line *lines, size_t n, int64_t total, bool kernels,
                        struct sp_buf *out) {
  char dashes[128];
  int width = kernels ? 96 : 85;
  memset(dashes, '-', (size_t)width);
  dashes[width] = '\0';
  qsort(lines, n, sizeof *lines, by_total);
  sp_buf_printf(out, "%s\n| %-28s | %12s | %10s | %12s | %7s |%s\n%s\n", dashes,
                kernels ? "Kernel" : "Action", "Mean (s)", "Num calls", "Total (s)", "%",
                kernels ? "  GFLOP/s |" : "", dashes);
  for (size_t i = 0; i < n; i++) {
    print_line(&lines[i], total, kernels, out);
  }
  sp_buf_printf(out, "%s\n", dashes);
}

static void print_kernels(const struct stk_profiler *p, struct sp_buf *out) {
  struct line lines[MAX_ROWS];
  size_t n = 0;
  int64_t total = 0;
  for (int backward = 0; backward < 2; backward++) {
    for (int32_t op = 0; op < STK_OP_COUNT; op++) {
      const struct stk_profile_row *row = &p->kernel[backward][op];
      if (row->calls > 0) {
        snprintf(lines[n].name, sizeof lines[n].name, "%s%s", stk_op_text(op),
                 backward ? " (backward)" : "");
        lines[n++].row = *row;
        total += row->ns;
      }
    }
  }
  if (n > 0) {
    sp_buf_puts(out, "\nKernels: the instructions inside the steps, by op\n");
    print_table(lines, n, total, true, out);
  }
}

void stk_profiler_report(const struct stk_profiler *p, const char *title, struct sp_buf *out) {
  struct line lines[STK_ACTION_COUNT + 1] = {{.row = {0}}};
  size_t n = 1;
  snprintf(lines[0].name, sizeof lines[0].name, "%s", total_name);
  lines[0].row.ns = stk_profile_start(p) - p->started_ns;
  for (int i = 0; i < STK_ACTION_COUNT; i++) {
    if (p->action[i].calls > 0) {
      snprintf(lines[n].name, sizeof lines[n].name, "%s", action_names[i]);
      lines[n].row = p->action[i];
      lines[0].row.calls += p->action[i].calls;
      n++;
    }
  }
  sp_buf_printf(out, "%s Profiler Report\n", title);
  print_table(lines, n, lines[0].row.ns, false, out);
  print_kernels(p, out);
}
