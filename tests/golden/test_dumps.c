/* Golden dumps: what each pass makes of a few small graphs, as text (tests/golden/dumps).
 *
 * For every job NAME.yaml there is NAME.txt: the graph as traced, after autodiff and after fusion,
 * the instructions, and the memory plan (where each value is, in bytes from the start of its
 * region). The program is the `ref` one for one thread. A change of a pass shows as a difference
 * here; once it is meant, STOKER_UPDATE=1 writes the files anew.
 */
#include "tests/lib/tt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/plan/plan.h"
#include "proto/base/buf.h"
#include "proto/base/mem.h"
#include "worker/setup.h"

enum { REGION_BITS = 40 };

static const char *const region_names[STK_BASE_COUNT] = {
    "act", "x", "y", "param", "grad", "running", "running_out", "host", "rng"};

static void check(sp_status st, const struct sp_err *err) {
  if (st) {
    fail_msg("%s", err->text);
  }
}

static void put_graph(struct sp_buf *b, const char *title, const struct stk_graph *g) {
  char *dump = stk_graph_dump(g);
  assert_non_null(dump);
  sp_buf_printf(b, "== %s\n%s", title, dump);
  sp_free(dump);
}

static void put_instructions(struct sp_buf *b, const stk_program *p) {
  const struct stk_graph *g = stk_program_graph(p);
  sp_buf_puts(b, "== instructions\n");
  for (int64_t i = 0; i < stk_program_n_instrs(p); i++) {
    const struct stk_instr *in = stk_program_instr(p, i);
    bool in_node = in->node < g->n_nodes;
    sp_buf_printf(b, "%s for %%%d\n", in->kernel->name,
                  in_node ? (int)g->nodes[in->node].out[0] : -1);
  }
}

/* Every region is bound to a made-up address, so that a value's address says region and offset; the
 * program is not run after that. */
static void put_memory(struct sp_buf *b, stk_program *p) {
  const struct stk_graph *g = stk_program_graph(p);
  struct stk_program_report r;
  stk_program_report(p, &r);
  sp_buf_printf(b, "== memory: %lld bytes of activations, at least %lld\n", (long long)r.act_bytes,
                (long long)r.act_bound);
  for (int base = 0; base < STK_BASE_COUNT; base++) {
    stk_program_bind(p, (stk_base)base, (void *)((uintptr_t)(base + 1) << REGION_BITS));
  }
  for (int32_t v = 0; v < g->n_values; v++) {
    uintptr_t at = (uintptr_t)stk_program_value(p, v);
    if (at) {
      size_t bytes =
          (size_t)stk_shape_numel(&g->values[v].shape) * stk_dtype_bytes(g->values[v].dtype);
      sp_buf_printf(b, "%%%d %s+%llu, %zu bytes\n", (int)v, region_names[(at >> REGION_BITS) - 1],
                    (unsigned long long)(at & (((uintptr_t)1 << REGION_BITS) - 1)), bytes);
    }
  }
}

/* All passes in the order of engine/plan/plan.h, recompute where it is asked for. */
static void dump(struct sw_setup *s, bool recompute, struct sp_buf *b) {
  const struct stk_session_config *c = stk_session_config_of(s->session);
  const struct stk_layout *l = &stk_session_state(s->session)->layout;
  const struct stk_trace_spec spec = {.stage = STK_TRAIN,
                                      .real = STK_F32,
                                      .batch = s->job->data.batch_size,
                                      .x = &c->x,
                                      .y = c->has_y ? &c->y : NULL};
  const struct stk_program_spec ps = {.kernels = stk_kernels_get(STK_ISA_KIND_REF, 32, false),
                                      .n_threads = 1,
                                      .param_offset = l->param_offset,
                                      .running_offset = l->running_offset,
                                      .in_place = true};
  struct sp_err err = {0};
  struct stk_graph *g;
  stk_program *p;
  check(stk_module_trace(s->module, &spec, &g, &err), &err);
  put_graph(b, "trace", g);
  check(stk_pass_autodiff(g, 1.0 / (double)c->accumulate, &err), &err);
  put_graph(b, "autodiff", g);
  check(stk_pass_fuse(g, &err), &err);
  put_graph(b, "fuse", g);
  if (recompute) {
    check(stk_pass_recompute(g, STK_RECOMPUTE_CHEAP, &err), &err);
    put_graph(b, "recompute", g);
  }
  check(stk_program_new(g, &ps, &p, &err), &err);
  put_instructions(b, p);
  put_memory(b, p);
  stk_program_free(p);
  stk_graph_free(g);
}

/* Names the first line that differs. */
static void check_text(const char *name, const char *got, const char *want) {
  for (int line = 1;; line++) {
    size_t n = strcspn(got, "\n"), m = strcspn(want, "\n");
    if (n != m || strncmp(got, want, n) != 0 || got[n] != want[m]) {
      fail_msg("tests/golden/dumps/%s.txt:%d: now \"%.*s\"; STOKER_UPDATE=1 if that is meant", name,
               line, (int)n, got);
    }
    if (!got[n]) {
      return;
    }
    got += n + 1;
    want += n + 1;
  }
}

static void check_golden(const char *name) {
  struct sp_err err = {0};
  char path[128];
  struct sw_setup *s = sp_alloc(sizeof *s);
  struct sp_buf b;
  assert_non_null(s);
  sp_buf_init(&b, 1 << 20);
  snprintf(path, sizeof path, "tests/golden/dumps/%s.yaml", name);
  check(sw_setup_open(tt_source(path), NULL, 0, STK_TRAIN, s, &err), &err);
  dump(s, strcmp(name, "gpt") == 0, &b);
  snprintf(path, sizeof path, "tests/golden/dumps/%s.txt", name);
  if (getenv("STOKER_UPDATE")) {
    tt_write_file(tt_source(path), b.data, b.length);
  }
  char *golden = tt_read_file(tt_source(path), NULL);
  check_text(name, (const char *)b.data, golden);
  sp_free(golden);
  sp_buf_free(&b);
  sw_setup_close(s);
  sp_free(s);
}

static void test_mlp_passes_match_the_golden_dump(void **state) {
  (void)state;
  check_golden("mlp");
}

static void test_autoencoder_passes_match_the_golden_dump(void **state) {
  (void)state;
  check_golden("autoencoder");
}

static void test_cnn_passes_match_the_golden_dump(void **state) {
  (void)state;
  check_golden("cnn");
}

static void test_pooled_passes_match_the_golden_dump(void **state) {
  (void)state;
  check_golden("pooled");
}

static void test_gpt_passes_match_the_golden_dump(void **state) {
  (void)state;
  check_golden("gpt");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_mlp_passes_match_the_golden_dump),
      tt_test(test_autoencoder_passes_match_the_golden_dump),
      tt_test(test_cnn_passes_match_the_golden_dump),
      tt_test(test_pooled_passes_match_the_golden_dump),
      tt_test(test_gpt_passes_match_the_golden_dump),
  };
  return cmocka_run_group_tests_name("dumps", tests, NULL, NULL);
}
