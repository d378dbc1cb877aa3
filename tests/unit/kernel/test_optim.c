/* Optimizer step: equal bits over variants, splits, streaming and in place; PyTorch's float64
 * trajectories over 50 steps (tests/golden/optim.txt, made by make_optim.py). */
#include "tests/unit/kernel/kt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/num/dmath.h"
#include "proto/base/mem.h"

enum { N = 20, STEPS = 50 };

struct job {
  const char *name;
  stk_optim_kind kind;
  struct stk_optim_scalars s;
};

static const struct job jobs[] = {
    {"sgd", STK_OPTIM_SGD, {.lr = 0.05, .grad_scale = 1}},
    {"sgd_decay", STK_OPTIM_SGD, {.lr = 0.05, .weight_decay = 0.1, .grad_scale = 1}},
    {"sgd_momentum", STK_OPTIM_SGD, {.lr = 0.02, .momentum = 0.9, .grad_scale = 1}},
    {"sgd_dampened",
     STK_OPTIM_SGD,
     {.lr = 0.02, .momentum = 0.8, .dampening = 0.3, .weight_decay = 0.05, .grad_scale = 1}},
    {"sgd_nesterov", STK_OPTIM_SGD, {.lr = 0.02, .momentum = 0.9, .nesterov = 1, .grad_scale = 1}},
    {"adam",
     STK_OPTIM_ADAM,
     {.lr = 0.01, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .grad_scale = 1}},
    {"adam_decay",
     STK_OPTIM_ADAM,
     {.lr = 0.01, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-3, .weight_decay = 0.1, .grad_scale = 1}},
    {"adamw",
     STK_OPTIM_ADAMW,
     {.lr = 0.01,
      .beta1 = 0.9,
      .beta2 = 0.999,
      .eps = 1e-8,
      .weight_decay = 0.01,
      .grad_scale = 1}},
    {"adamw_decay",
     STK_OPTIM_ADAMW,
     {.lr = 0.02, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.5, .grad_scale = 1}},
    {"adamw_clipped",
     STK_OPTIM_ADAMW,
     {.lr = 0.01,
      .beta1 = 0.9,
      .beta2 = 0.999,
      .eps = 1e-8,
      .weight_decay = 0.1,
      .grad_scale = 0.5,
      .clip_value = 0.3}},
};
enum { JOBS = sizeof jobs / sizeof *jobs };

/* The golden parameters of `name` after `step` steps, or false. */
static bool golden(const char *text, const char *name, int step, double out[N]) {
  char key[64];
  snprintf(key, sizeof key, "%s %d ", name, step);
  for (const char *line = text; line && *line; line = strchr(line, '\n')) {
    line += *line == '\n';
    if (strncmp(line, key, strlen(key)) == 0) {
      char *at = (char *)(uintptr_t)line + strlen(key);
      for (int i = 0; i < N; i++) {
        out[i] = strtod(at, &at);
      }
      return true;
    }
  }
  return false;
}

static struct stk_optim_scalars scalars_at(const struct job *j, int step) {
  struct stk_optim_scalars s = j->s;
  s.bias1 = 1.0 - stk_pow_int_d(s.beta1, step);
  s.bias2 = 1.0 - stk_pow_int_d(s.beta2, step);
  s.first = step == 1;
  return s;
}

static void test_optim_double_follows_pytorch(void **state) {
  char *text = tt_read_file(tt_source("tests/golden/optim.txt"), NULL);
  int compared = 0;
  (void)state;
  for (int i = 0; i < JOBS; i++) {
    float f[N];
    double p[N], m[N], v[N] = {0}, g[N], expected[N];
    kt_uniform(f, N, 1, -1, 1);
    kt_widen(p, f, N);
    for (int step = 1; step <= STEPS; step++) {
      const struct stk_optim_scalars s = scalars_at(&jobs[i], step);
      kt_uniform(f, N, 100 + (uint32_t)step, -1, 1);
      kt_widen(g, f, N);
      if (step == 1) {
        memset(m, jobs[i].kind == STK_OPTIM_SGD ? 0xff : 0, sizeof m); /* SGD must not read it */
      }
      kt_run(kt_f64()->optim,
             &(struct stk_optim_args){p, m, v, g, p, m, v, &s, N, (int32_t)jobs[i].kind, false,
                                      NULL, 0},
             KT_WHOLE);
      if (golden(text, jobs[i].name, step, expected)) {
        kt_near64(p, expected, N, 1e-12, 1e-12, jobs[i].name);
        compared++;
      }
    }
  }
  assert_int_equal(compared, 3 * JOBS);
  sp_free(text);
}

static void test_optim_float_follows_pytorch(void **state) {
  char *text = tt_read_file(tt_source("tests/golden/optim.txt"), NULL);
  struct kt_variant variants[KT_VARIANTS];
  const int n = kt_variants(variants);
  (void)state;
  for (int i = 0; i < JOBS; i++) {
    float p[N], m[N] = {0}, v[N] = {0}, g[N];
    double expected[N];
    kt_uniform(p, N, 1, -1, 1);
    for (int step = 1; step <= STEPS; step++) {
      const struct stk_optim_scalars s = scalars_at(&jobs[i], step);
      kt_uniform(g, N, 100 + (uint32_t)step, -1, 1);
      kt_run(variants[n - 1].kernels->optim,
             &(struct stk_optim_args){p, m, v, g, p, m, v, &s, N, (int32_t)jobs[i].kind, false,
                                      NULL, 0},
             KT_WHOLE);
      if (golden(text, jobs[i].name, step, expected)) {
        kt_near(p, expected, N, 1e-6, 1e-6, jobs[i].name);
      }
    }
  }
  sp_free(text);
}

struct outcome {
  float *p, *m, *v;
};

/* in_two: the gradient comes as the two parts whose mean over three lanes it is. */
static struct outcome step_of(const struct stk_kernels *k, const struct job *j, int64_t n,
                              kt_split split, bool stream, bool in_place, bool in_two) {
  float *in[3], *g = kt_new(n, 4), *left = kt_new(n, 4), *right = kt_new(n, 4);
  struct outcome out;
  float **const at[3] = {&out.p, &out.m, &out.v};
  for (int i = 0; i < 3; i++) {
    in[i] = kt_new(n, 4);
    kt_uniform(in[i], n, (uint32_t)i + 1, i == 2 ? 0 : -1, 1);
    *at[i] = in_place ? in[i] : kt_new(n, 4);
  }
  kt_uniform(left, n, 9, -1, 1);
  kt_uniform(right, n, 10, -1, 1);
  for (int64_t i = 0; i < n; i++) {
    const float sum = left[i] + right[i];
    g[i] = sum / 3.0F;
  }
  const struct stk_optim_scalars s = scalars_at(j, 3);
  const struct stk_optim_args a = {.p = in[0],
                                   .m = in[1],
                                   .v = in[2],
                                   .g = in_two ? left : g,
                                   .p_out = out.p,
                                   .m_out = out.m,
                                   .v_out = out.v,
                                   .scalars = &s,
                                   .n = n,
                                   .kind = (int32_t)j->kind,
                                   .stream = stream,
                                   .g_add = in_two ? right : NULL,
                                   .n_lanes = 3.0};
  kt_run(k->optim, &a, split);
  return out;
}

static void test_optim_any_variant_split_and_store_equal_bits(void **state) {
  static const int64_t sizes[] = {1, 15, 16, 17, 16384, 40001};
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  (void)state;
  for (int i = 0; i < JOBS; i++) {
    const bool adam = jobs[i].kind != STK_OPTIM_SGD, momentum = jobs[i].s.momentum != 0;
    for (int size = 0; size < 6; size++) {
      const struct outcome a =
          step_of(v[0].kernels, &jobs[i], sizes[size], KT_WHOLE, false, false, false);
      for (int k = 0; k < 8 * n; k++) {
        const struct outcome b = step_of(v[k / 8].kernels, &jobs[i], sizes[size],
                                         (kt_split)(k % KT_SPLITS), k & 1, k & 2, k & 4);
        kt_equal(b.p, a.p, sizes[size], "p");
        if (adam || momentum) {
          kt_equal(b.m, a.m, sizes[size], "m");
        }
        if (adam) {
          kt_equal(b.v, a.v, sizes[size], "v");
        }
      }
      kt_reset(jobs[i].name);
    }
  }
}

static void test_optim_nan_gradient_stays_nan_when_clipped(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  const struct stk_optim_scalars s = scalars_at(&jobs[JOBS - 1], 1);
  (void)state;
  for (int k = 0; k < n; k++) {
    float p[1] = {1}, m[1] = {0}, w[1] = {0}, g[1] = {__builtin_nanf("")};
    kt_run(v[k].kernels->optim,
           &(struct stk_optim_args){p, m, w, g, p, m, w, &s, 1, STK_OPTIM_ADAMW, false, NULL, 0},
           KT_WHOLE);
    assert_true(p[0] != p[0]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_optim_double_follows_pytorch),
      cmocka_unit_test(test_optim_float_follows_pytorch),
      cmocka_unit_test(test_optim_any_variant_split_and_store_equal_bits),
      cmocka_unit_test(test_optim_nan_gradient_stays_nan_when_clipped),
  };
  return cmocka_run_group_tests(tests, kt_setup, NULL);
}
