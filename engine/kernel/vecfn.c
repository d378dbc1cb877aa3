/* vec.h and vec/fn.h over arrays, once per variant (see vecfn.h). */
#include "engine/kernel/vecfn.h"

#include "engine/kernel/vec.h"
#include "engine/kernel/vec/fn.h"
#include "engine/kernel/vec/philox.h"

extern const struct stk_vecfn_table KFN(vecfn);

#define STK_STRING2(x) #x
#define STK_STRING(x) STK_STRING2(x)

static inline real r_silu(real x) {
  return x * r_sigmoid(x);
}

#define DEFINE_FN(NAME)                                                \
  static void NAME##_array(const void *x, void *y, int64_t n) {        \
    const real *from = x;                                              \
    real *to = y;                                                      \
    for (int64_t i = 0; i < n; i += V_LANES) {                         \
      if (n - i >= V_LANES) {                                          \
        v_store(to + i, v_##NAME(v_load(from + i)));                   \
      } else {                                                         \
        v_store_n(to + i, v_##NAME(v_load_n(from + i, n - i)), n - i); \
      }                                                                \
    }                                                                  \
  }
STK_VECFN_LIST(DEFINE_FN)

#define STK_SCALAR_LIST(X) X(exp) X(log) X(tanh) X(sigmoid) X(erf) X(softplus) X(silu) X(sqrt)
#define DEFINE_SCALAR(NAME)                                      \
  static void NAME##_scalar(const void *x, void *y, int64_t n) { \
    const real *from = x;                                        \
    real *to = y;                                                \
    for (int64_t i = 0; i < n; i++) {                            \
      to[i] = r_##NAME(from[i]);                                 \
    }                                                            \
  }
STK_SCALAR_LIST(DEFINE_SCALAR)

#define DEFINE_FN2(NAME)                                                               \
  static void NAME##_array(const void *a, const void *b, void *y, int64_t n) {         \
    const real *first = a;                                                             \
    const real *second = b;                                                            \
    real *to = y;                                                                      \
    for (int64_t i = 0; i < n; i += V_LANES) {                                         \
      const int64_t m = n - i < V_LANES ? n - i : V_LANES;                             \
      v_store_n(to + i, v_##NAME(v_load_n(first + i, m), v_load_n(second + i, m)), m); \
    }                                                                                  \
  }
STK_VECFN2_LIST(DEFINE_FN2)

static void fma_array(const void *a, const void *b, const void *c, void *y, int64_t n) {
  const real *x0 = a;
  const real *x1 = b;
  const real *x2 = c;
  real *to = y;
  for (int64_t i = 0; i < n; i += V_LANES) {
    const int64_t m = n - i < V_LANES ? n - i : V_LANES;
    v_store_n(to + i, v_fma(v_load_n(x0 + i, m), v_load_n(x1 + i, m), v_load_n(x2 + i, m)), m);
  }
}

static double sum_array(const void *x, int64_t n) {
  return (double)v_reduce(x, n);
}

static double sum_with_array(const void *x, int64_t n) {
  const real *from = x;
  real out;
  V_REDUCE_WITH(out, n, i, m, v_load_n(from + i, m));
  return (double)out;
}

static double hmax_16(const void *x) {
  return (double)v_hmax(v_load(x));
}

static uint64_t mix(uint64_t h, uint64_t x) {
  return (h ^ x) * 0x100000001b3ull;
}

static uint64_t mix_real(uint64_t h, vreal v) {
  real l[V_LANES];
  v_store(l, v);
  for (int i = 0; i < V_LANES; i++) {
    h = mix(h, l[i] == l[i] ? (uint64_t)(int64_t)(l[i] * (real)64) : 1);
  }
  return h;
}

static uint64_t mix_int(uint64_t h, vint v) {
  int32_t l[V_LANES];
  vi_store(l, v);
  for (int i = 0; i < V_LANES; i++) {
    h = mix(h, (uint32_t)l[i]);
  }
  return h;
}

/* x: at least 32 reals, finite and below 2^20; ids: 16 indices 0..31; n in 0..16. */
static uint64_t probe_16(const void *x, const int32_t *ids, int64_t n) {
  const real *p = x;
  const vreal a = v_load_n(p, n);
  const vreal b = v_load(p + V_LANES);
  const vint u = vi_load(ids);
  const vint v = vi_add(vi_load_n(ids, n), vi_set1(INT32_MAX - 3));
  const vmask masks[] = {v_lt(a, b),  v_le(a, b),  v_gt(a, b),           v_ge(a, b),
                         v_eq(a, b),  v_ne(a, b),  v_isnan(v_div(a, a)), v_mask_n(n),
                         vi_eq(u, v), vi_lt(u, v), vi_ltu(u, v)};
  uint64_t h = 0xcbf29ce484222325ull;
  for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
    const vmask other = masks[(i + 1) % (sizeof masks / sizeof *masks)];
    h = mix(h, v_mask_bits(masks[i]));
    h = mix(h, v_mask_bits(v_mask_and(masks[i], v_mask_not(other))));
    h = mix(h, v_mask_bits(v_mask_or(masks[i], v_mask_from_bits(0x5a3cu))));
    h = mix_real(h, v_select(masks[i], a, b));
    h = mix_int(h, vi_select(masks[i], u, v));
  }
  vint hi, lo;
  vi_mulhilo(vi_sub(u, v), v, &hi, &lo);
  h = mix_int(mix_int(h, hi), lo);
  h = mix_int(h, vi_srl(vi_xor(v, vi_and(u, vi_iota())), 3));
  h = mix_real(mix_real(h, v_gather(p, u)), v_from_int(v));
  h = mix_real(mix_real(h, v_iota()), v_load_u8((const uint8_t *)(const void *)ids));
  h = mix_real(mix_real(h, v_fms(a, b, a)), v_fnma(a, b, b));
  h = mix_real(mix_real(h, v_neg(v_abs(a))), v_sub(v_mul(a, b), v_set1(v_get(b, 3))));
  real partial[V_LANES + 1] = {0};
  v_store_n(partial, b, n);
  h = mix_real(h, v_load(partial));
  v_stream(partial, a);
  int32_t ints[V_LANES] = {0};
  vi_store_n(ints, u, n);
  h = mix_int(h, vi_load(ints));
  return mix_real(h, v_load(partial));
}

static void philox_16(uint64_t key, const uint32_t counter[4], uint32_t out[64]) {
  v_philox64(key, counter, out);
}

#define FN_ROW(NAME) {.name = #NAME, .run = NAME##_array, .scalar = NAME##_scalar},
#define FN_ROW_VECTOR(NAME) {.name = #NAME, .run = NAME##_array, .scalar = NULL},
static const struct stk_vecfn fn_rows[] = {STK_SCALAR_LIST(FN_ROW) FN_ROW_VECTOR(gelu_erf)
                                               FN_ROW_VECTOR(gelu_tanh){.name = NULL}};

#define FN2_ROW(NAME) {.name = #NAME, .run = NAME##_array},
static const struct stk_vecfn2 fn2_rows[] = {STK_VECFN2_LIST(FN2_ROW){.name = NULL}};

const struct stk_vecfn_table KFN(vecfn) = {.variant = STK_STRING(STK_KSUFFIX),
                                           .real_bits = STK_REAL_BITS,
                                           .fn = fn_rows,
                                           .fn2 = fn2_rows,
                                           .fma = fma_array,
                                           .sum = sum_array,
                                           .sum_with = sum_with_array,
                                           .hmax = hmax_16,
                                           .probe = probe_16,
                                           .philox = philox_16};
