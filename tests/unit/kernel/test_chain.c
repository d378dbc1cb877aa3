/* chain: each operation against libm in double, programs against an evaluator written here, equal
 * bits in any variant and split, slopes against central differences. */
#include "tests/unit/kernel/kt.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const op_name[] = {
#define STK_EW_X(name, n) #name,
    STK_EW_LIST(STK_EW_X)
#undef STK_EW_X
};

static double sigmoid(double x) {
  return 1 / (1 + exp(-x));
}

static double gelu_tanh(double x) {
  return x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

static double gelu_tanh_slope(double x) {
  const double t = tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x));
  return (1 + t) / 2 + x / 2 * (1 - t * t) * sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
}

static double gelu_erf_slope(double x) {
  return (1 + erf(x / sqrt(2))) / 2 + x * exp(-x * x / 2) / sqrt(2 * M_PI);
}

/* Operation `op` in double, as the header's comment says it. */
static double evaluate(int op, double a, double b, double d, double c) {
  switch (op) {
    case STK_EW_NEG:
      return -a;
    case STK_EW_ABS:
      return fabs(a);
    case STK_EW_SIGN:
      return a > 0 ? 1 : a < 0 ? -1 : 0;
    case STK_EW_SQRT:
      return sqrt(a);
    case STK_EW_RSQRT:
      return 1 / sqrt(a);
    case STK_EW_SQUARE:
      return a * a;
    case STK_EW_RECIP:
      return 1 / a;
    case STK_EW_EXP:
      return exp(a);
    case STK_EW_LOG:
      return log(a);
    case STK_EW_TANH:
      return tanh(a);
    case STK_EW_ERF:
      return erf(a);
    case STK_EW_SIGMOID:
      return sigmoid(a);
    case STK_EW_SOFTPLUS:
      return log1p(exp(a));
    case STK_EW_RELU:
      return a < 0 ? 0 : a;
    case STK_EW_GELU_TANH:
      return gelu_tanh(a);
    case STK_EW_GELU_ERF:
      return a / 2 * (1 + erf(a / sqrt(2)));
    case STK_EW_SILU:
      return a * sigmoid(a);
    case STK_EW_MULC:
      return a * c;
    case STK_EW_ADDC:
      return a + c;
    case STK_EW_MAXC:
      return a > c ? a : c;
    case STK_EW_MINC:
      return a < c ? a : c;
    case STK_EW_POWI:
      return pow(a, c);
    case STK_EW_ADD:
      return a + b;
    case STK_EW_SUB:
      return a - b;
    case STK_EW_MUL:
      return a * b;
    case STK_EW_DIV:
      return a / b;
    case STK_EW_MAX:
      return a > b ? a : b;
    case STK_EW_MIN:
      return a < b ? a : b;
    case STK_EW_GT:
      return a > b ? 1 : 0;
    case STK_EW_RELU_BWD:
      return a <= 0 ? 0 : b;
    case STK_EW_ABS_BWD:
      return (a > 0 ? 1 : a < 0 ? -1 : 0) * b;
    case STK_EW_TANH_BWD:
      return (1 - a * a) * b;
    case STK_EW_SIGMOID_BWD:
      return a * (1 - a) * b;
    case STK_EW_SOFTPLUS_BWD:
      return sigmoid(a) * b;
    case STK_EW_GELU_TANH_BWD:
      return gelu_tanh_slope(a) * b;
    case STK_EW_GELU_ERF_BWD:
      return gelu_erf_slope(a) * b;
    case STK_EW_SILU_BWD:
      return sigmoid(a) * (1 + a * (1 - sigmoid(a))) * b;
    case STK_EW_FMA:
      return fma(a, b, d);
    case STK_EW_SELECT:
      return a > 0 ? b : d;
    default:
      fail_msg("no such operation: %d", op);
  }
  return 0;
}

static struct stk_chain_args single(int op, double c, int64_t n) {
  struct stk_chain_args a = {.dim = {1, 1, 1, n}, .n_in = 3, .n_out = 1, .n_op = 1};
  a.op[0] = (struct stk_chain_op){.op = (uint8_t)op, .a = 0, .b = 1, .d = 2, .c = c};
  a.out_reg[0] = 3;
  for (int k = 0; k < 3; k++) {
    a.in_stride[k][3] = 1;
    a.n_in = 3;
  }
  return a;
}

static bool wants_positive(int op) {
  return op == STK_EW_SQRT || op == STK_EW_RSQRT || op == STK_EW_LOG;
}

static const int64_t sizes[] = {1, 15, 16, 17, 511, 512, 513, 16384, 16385, 40001};

static float *run_single(const struct stk_kernels *k, int op, int64_t n, kt_split split,
                         float *x[3]) {
  struct stk_chain_args a = single(op, op == STK_EW_POWI ? 5 : 0.3, n);
  for (int i = 0; i < 3; i++) {
    x[i] = kt_new_shifted(n, 4, i);
    kt_uniform(x[i], n, (uint32_t)i + 5, i == 0 && wants_positive(op) ? 0.001f : -4, 4);
    a.in[i] = x[i];
  }
  x[0][0] = wants_positive(op) ? 0.25f : 0.0f;
  a.out[0] = kt_new_shifted(n, 4, 1);
  kt_run(k->chain, &a, split);
  return a.out[0];
}

static void test_chain_each_operation_equal_bits_and_near_double(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n_variants = kt_variants(v);
  float *x[3];
  char what[96];
  (void)state;
  for (int op = 0; op < STK_EW_COUNT; op++) {
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
      const int64_t n = sizes[s];
      const float *want = run_single(v[0].kernels, op, n, KT_WHOLE, x);
      for (int64_t i = 0; i < n; i++) {
        const double exact = evaluate(op, (double)x[0][i], (double)x[1][i], (double)x[2][i],
                                      op == STK_EW_POWI ? 5 : (double)0.3f);
        snprintf(what, sizeof what, "%s at %g", op_name[op], (double)x[0][i]);
        kt_near(want + i, &exact, 1, 2e-6, 5e-7, what);
      }
      for (int at = 0; at < n_variants; at++) {
        snprintf(what, sizeof what, "%s, %s", op_name[op], v[at].name);
        for (int split = n > 16384 ? 0 : KT_SPLITS - 1; split < KT_SPLITS; split++) {
          kt_equal(want, run_single(v[at].kernels, op, n, (kt_split)split, x), n, what);
        }
      }
      kt_reset(op_name[op]);
    }
  }
}

/* A program over exact operations, so that the evaluator below has the same bits; inputs with every
 * kind of broadcast; an input passed through; one register in two outputs. */
static void program(struct stk_chain_args *a, const int64_t dim[4], int n_broadcast) {
  static const struct stk_chain_op ops[] = {
      {STK_EW_ADD, 0, 1, 0, 0},     {STK_EW_MUL, 5, 2, 0, 0},  {STK_EW_RELU, 6, 0, 0, 0},
      {STK_EW_SUB, 7, 3, 0, 0},     {STK_EW_FMA, 8, 4, 0, 0},  {STK_EW_MULC, 9, 0, 0, 0.7},
      {STK_EW_SELECT, 3, 10, 6, 0}, {STK_EW_MAX, 11, 5, 0, 0},
  };
  *a = (struct stk_chain_args){.n_in = 5, .n_out = 4, .n_op = 8, .out_reg = {12, 9, 0, 12}};
  memcpy(a->dim, dim, sizeof a->dim);
  memcpy(a->op, ops, sizeof ops);
  for (int k = 0; k < 5; k++) {
    const unsigned keep = k == 0 ? 0xf : (0x5b19u >> (4 * ((k + n_broadcast) % 4))) & 0xf;
    int64_t stride = 1;
    for (int d = 3; d >= 0; d--) {
      if (keep >> d & 1) {
        a->in_stride[k][d] = stride;
        stride *= dim[d];
      }
    }
  }
}

static int64_t input_size(const struct stk_chain_args *a, int k) {
  int64_t n = 1;
  for (int d = 0; d < 4; d++) {
    n *= a->in_stride[k][d] ? a->dim[d] : 1;
  }
  return n;
}

static void evaluate_program(const struct stk_chain_args *a, float *out[4]) {
  const int64_t n = a->dim[0] * a->dim[1] * a->dim[2] * a->dim[3];
  for (int64_t i = 0; i < n; i++) {
    float reg[STK_CHAIN_IN + STK_CHAIN_OPS];
    for (int k = 0; k < a->n_in; k++) {
      int64_t rest = i, offset = 0;
      for (int d = 3; d >= 0; d--) {
        offset += rest % a->dim[d] * a->in_stride[k][d];
        rest /= a->dim[d];
      }
      reg[k] = ((const float *)a->in[k])[offset];
    }
    for (int at = 0; at < a->n_op; at++) {
      const struct stk_chain_op *op = &a->op[at];
      reg[a->n_in + at] = op->op == STK_EW_FMA
                              ? fmaf(reg[op->a], reg[op->b], reg[op->d])
                              : (float)evaluate(op->op, (double)reg[op->a], (double)reg[op->b],
                                                (double)reg[op->d], (double)(float)op->c);
    }
    for (int o = 0; o < a->n_out; o++) {
      out[o][i] = reg[a->out_reg[o]];
    }
  }
}

static const int64_t dims[][4] = {
    {1, 1, 1, 700}, {1, 1, 3, 700},  {1, 40, 1, 513}, {2, 3, 5, 7},     {4, 16, 7, 7},
    {64, 10, 1, 1}, {1, 1, 500, 10}, {3, 2, 2, 2000}, {1, 1, 33, 1000}, {1, 2, 128, 128},
};

static void test_chain_programs_with_broadcast_match_evaluator(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n_variants = kt_variants(v);
  (void)state;
  for (size_t s = 0; s < sizeof dims / sizeof *dims; s++) {
    for (int way = 0; way < 4; way++) {
      for (int at = 0; at < n_variants * KT_SPLITS; at++) {
        struct stk_chain_args a;
        program(&a, dims[s], way);
        const int64_t n = dims[s][0] * dims[s][1] * dims[s][2] * dims[s][3];
        float *want[4];
        for (int k = 0; k < 5; k++) {
          a.in[k] = kt_new_shifted(input_size(&a, k), 4, k);
          kt_uniform(a.in[k], input_size(&a, k), (uint32_t)k, -1, 1);
        }
        for (int o = 0; o < 4; o++) {
          want[o] = kt_new(n, 4);
          a.out[o] = kt_new_shifted(n, 4, o);
        }
        evaluate_program(&a, want);
        kt_run(v[at / KT_SPLITS].kernels->chain, &a, (kt_split)(at % KT_SPLITS));
        for (int o = 0; o < 4; o++) {
          kt_equal(want[o], a.out[o], n, v[at / KT_SPLITS].name);
        }
        kt_reset("program");
      }
    }
  }
}

static void test_chain_output_over_input_reads_before_it_writes(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n_variants = kt_variants(v);
  const int64_t dim[4] = {1, 1, 30, 700}, n = 21000;
  (void)state;
  for (int at = 0; at < n_variants; at++) {
    struct stk_chain_args a;
    float *want[4];
    program(&a, dim, 0);
    for (int k = 0; k < 5; k++) {
      memcpy(a.in_stride[k], (int64_t[4]){0, 0, 700, 1}, sizeof a.in_stride[k]);
      a.in[k] = kt_new(n, 4);
      kt_uniform(a.in[k], n, (uint32_t)k, -1, 1);
    }
    for (int o = 0; o < 4; o++) {
      want[o] = kt_new(n, 4);
    }
    evaluate_program(&a, want);
    a.out[0] = a.in[2];
    a.out[1] = a.in[3]; /* written by operation 4, in[3] still to be read by 6 */
    a.out[2] = a.in[0];
    a.out[3] = a.in[1];
    kt_run(v[at].kernels->chain, &a, KT_UNEVEN);
    for (int o = 0; o < 4; o++) {
      kt_equal(want[o], a.out[o], n, "in place");
    }
    kt_reset("in place");
  }
}

static void test_chain_special_values_follow_header(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n_variants = kt_variants(v);
  const float in[6] = {NAN, -0.0f, 0.0f, -INFINITY, INFINITY, -1};
  static const struct {
    int op;
    float want[6];
  } cases[] = {
      {STK_EW_RELU, {NAN, -0.0f, 0, 0, INFINITY, 0}},
      {STK_EW_SIGN, {0, 0, 0, -1, 1, -1}},
      {STK_EW_RELU_BWD, {3, 0, 0, 0, 3, 0}},
      {STK_EW_GT, {0, 0, 0, 0, 1, 0}},
      {STK_EW_EXP, {NAN, 1, 1, 0, INFINITY, 0.36787945f}},
  };
  (void)state;
  for (int at = 0; at < n_variants; at++) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
      struct stk_chain_args a = single(cases[i].op, 0, 6);
      float *x = kt_new(6, 4), *g = kt_new(6, 4), *y = kt_new(6, 4);
      memcpy(x, in, sizeof in);
      for (int j = 0; j < 6; j++) {
        g[j] = 3;
      }
      a.in[0] = x;
      a.in[1] = a.in[2] = g;
      a.out[0] = y;
      kt_run(v[at].kernels->chain, &a, KT_WHOLE);
      kt_equal(cases[i].want, y, 6, op_name[cases[i].op]);
      kt_reset("special");
    }
  }
}

/* Runs one operation in double. */
static void run64(int op, double *x, double *g, double *y, int64_t n) {
  struct stk_chain_args a = single(op, 0, n);
  a.in[0] = x;
  a.in[1] = a.in[2] = g;
  a.out[0] = y;
  kt_run(kt_f64()->chain, &a, KT_WHOLE);
}

static void test_chain_slopes_match_central_differences(void **state) {
  static const struct {
    int op, bwd;
    bool from_y;
  } pairs[] = {
      {STK_EW_RELU, STK_EW_RELU_BWD, false},
      {STK_EW_ABS, STK_EW_ABS_BWD, false},
      {STK_EW_TANH, STK_EW_TANH_BWD, true},
      {STK_EW_SIGMOID, STK_EW_SIGMOID_BWD, true},
      {STK_EW_SOFTPLUS, STK_EW_SOFTPLUS_BWD, false},
      {STK_EW_GELU_TANH, STK_EW_GELU_TANH_BWD, false},
      {STK_EW_GELU_ERF, STK_EW_GELU_ERF_BWD, false},
      {STK_EW_SILU, STK_EW_SILU_BWD, false},
  };
  enum { N = 200 };
  const double h = 1e-5;
  (void)state;
  for (size_t p = 0; p < sizeof pairs / sizeof *pairs; p++) {
    double *x = kt_new(N, 8), *up = kt_new(N, 8), *down = kt_new(N, 8), *g = kt_new(N, 8);
    double *y = kt_new(N, 8), *y_up = kt_new(N, 8), *y_down = kt_new(N, 8), *dx = kt_new(N, 8);
    double *slope = kt_new(N, 8);
    for (int i = 0; i < N; i++) {
      x[i] = -5.013 + 0.05 * i;
      up[i] = x[i] + h;
      down[i] = x[i] - h;
      g[i] = 0.5 + 0.01 * i;
    }
    run64(pairs[p].op, x, g, y, N);
    run64(pairs[p].op, up, g, y_up, N);
    run64(pairs[p].op, down, g, y_down, N);
    run64(pairs[p].bwd, pairs[p].from_y ? y : x, g, dx, N);
    for (int i = 0; i < N; i++) {
      slope[i] = (y_up[i] - y_down[i]) / (2 * h) * g[i];
    }
    kt_near64(dx, slope, N, 1e-8, 1e-8, op_name[pairs[p].bwd]);
    kt_reset(op_name[pairs[p].bwd]);
  }
}

/* Negative control: multiply and add in two roundings is not FMA. */
static void test_chain_fma_as_two_operations_differs(void **state) {
  struct kt_variant v[KT_VARIANTS];
  float *x[3], other[1000];
  (void)state;
  kt_variants(v);
  const float *y = run_single(v[0].kernels, STK_EW_FMA, 1000, KT_WHOLE, x);
  for (int i = 0; i < 1000; i++) {
    other[i] = x[0][i] * x[1][i] + x[2][i];
  }
  assert_true(kt_differs(y, other, 1000));
  kt_reset("control");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_chain_each_operation_equal_bits_and_near_double),
      cmocka_unit_test(test_chain_programs_with_broadcast_match_evaluator),
      cmocka_unit_test(test_chain_output_over_input_reads_before_it_writes),
      cmocka_unit_test(test_chain_special_values_follow_header),
      cmocka_unit_test(test_chain_slopes_match_central_differences),
      cmocka_unit_test(test_chain_fma_as_two_operations_differs),
  };
  return cmocka_run_group_tests(tests, kt_setup, NULL);
}
