/* The 16-wide vector type that every kernel body is written on.
 *
 * A kernel source is compiled once per variant; the build sets STK_ISA_REF, STK_ISA_AVX2 or
 * STK_ISA_AVX512, the width of `real` (STK_REAL_BITS: 32, or 64 with STK_ISA_REF alone) and
 * STK_KSUFFIX (ref_f32, reffma_f32, avx2_f32, ...). All implementations give the same bits for the
 * same operations, so a body written on this page alone is equal on every machine. One operation is
 * one IEEE operation, rounded to nearest even, under FTZ and DAZ (set on every computing thread,
 * docs/numerics.md): nothing here contracts, reorders or approximates.
 *
 * The page; n is always 0..16 (int64_t), lanes are numbered 0..15:
 *   vreal  v_load v_store v_load_n v_store_n v_load_mask v_stream v_load_u8 v_set1 v_zero v_iota
 *          v_from_int v_gather v_get v_add v_sub v_mul v_div v_fma v_fms v_fnma v_neg v_abs v_sqrt
 *          v_max v_min v_copysign v_sum v_hmax v_select; vec/fn.h has v_exp v_log v_tanh ...
 *   vmask  v_lt v_le v_gt v_ge v_eq v_ne v_isnan v_mask_n v_mask_and v_mask_or v_mask_not
 *          v_mask_bits v_mask_from_bits
 *   vint   vi_load vi_store vi_load_n vi_store_n vi_set1 vi_iota vi_add vi_sub vi_xor vi_and vi_srl
 *          vi_eq vi_lt vi_ltu vi_mulhilo vi_select (16 x int32, wrapping)
 *   real   r_fma r_sqrt r_abs r_max r_min, r_exp ...: the bits of a lane of the vector form
 *   sums   v_reduce, V_REDUCE_WITH: the engine's sum
 *
 * v_max(a, b) is a > b ? a : b and v_min(a, b) is a < b ? a : b, lane by lane: b where either is
 * NaN or both are zeros, and a zero for a denormal. So relu(x) = v_max(v_zero(), x) keeps a NaN.
 * Comparisons with NaN are false, except v_ne and v_isnan.
 */
#ifndef STK_KERNEL_VEC_H
#define STK_KERNEL_VEC_H

#include <float.h>
#include <stddef.h>
#include <stdint.h>

#if !defined(STK_REAL_BITS) || !defined(STK_KSUFFIX)
#error "a kernel source is compiled by the kernel build, which sets STK_REAL_BITS and STK_KSUFFIX"
#endif

#if STK_REAL_BITS == 64
typedef double real;
#else
typedef float real;
#endif

/* The symbol of `name` in this variant: KFN(gemm) is stk_k_gemm_avx2_f32. */
#define STK_KCAT2(a, b) a##b
#define STK_KCAT(a, b) STK_KCAT2(a, b)
#define KFN(name) STK_KCAT(stk_k_##name##_, STK_KSUFFIX)

#define V_INLINE static inline __attribute__((always_inline, unused))

enum { V_LANES = 16, V_CHUNK = 1024 };

V_INLINE real r_abs(real a) {
#if STK_REAL_BITS == 64
  return __builtin_fabs(a);
#else
  return __builtin_fabsf(a);
#endif
}

/* a with denormals as the zeros that they count as. The maximum instruction does this by itself;
 * whether a > b ? a : b becomes one is the compiler's choice. */
V_INLINE real r_flush(real a) {
#if STK_REAL_BITS == 64
  return r_abs(a) < DBL_MIN ? __builtin_copysign(0, a) : a;
#else
  return r_abs(a) < FLT_MIN ? __builtin_copysignf(0, a) : a;
#endif
}

V_INLINE real r_max(real a, real b) {
  return r_flush(a > b ? a : b);
}

V_INLINE real r_min(real a, real b) {
  return r_flush(a < b ? a : b);
}

#if defined(STK_ISA_AVX512)
#include "engine/kernel/vec/avx512.h"
#elif defined(STK_ISA_AVX2)
#include "engine/kernel/vec/avx2.h"
#elif defined(STK_ISA_REF)
#include "engine/kernel/vec/ref.h"
#else
#error "one of STK_ISA_REF, STK_ISA_AVX2, STK_ISA_AVX512 must be set"
#endif

/* The sum of one chunk, n in 0..1024: lane j adds elements j, j + 16, ... in ascending order from
 * +0; then the tree of v_sum. A missing element counts as +0, which is the same as not being added,
 * since no lane is ever -0. */
V_INLINE real v_reduce_chunk(const real *x, int64_t n) {
  vreal acc = v_zero();
  int64_t i = 0;
  for (; i + V_LANES <= n; i += V_LANES) {
    acc = v_add(acc, v_load(x + i));
  }
  if (i < n) {
    acc = v_add(acc, v_load_n(x + i, n - i));
  }
  return v_sum(acc);
}

/* The engine's sum of n contiguous elements: chunks of 1,024, each by v_reduce_chunk, then the
 * chunks' sums in index order beginning with the first (so one chunk's sum is the result itself).
 * n = 0 gives +0. */
V_INLINE real v_reduce(const real *x, int64_t n) {
  real total = v_reduce_chunk(x, n < V_CHUNK ? n : V_CHUNK);
  for (int64_t i = V_CHUNK; i < n; i += V_CHUNK) {
    total += v_reduce_chunk(x + i, n - i < V_CHUNK ? n - i : V_CHUNK);
  }
  return total;
}

/* The same sum over values computed on the fly. TERM is an expression of type vreal for the 16
 * elements at index V_I, of which the first V_N exist; the others must come out as +0 (v_load_n, or
 * v_select with v_mask_n). The result is assigned to OUT. */
#define V_REDUCE_WITH(OUT, COUNT, V_I, V_N, TERM)                                \
  do {                                                                           \
    const int64_t v_count = (COUNT);                                             \
    real v_total = (real)0;                                                      \
    for (int64_t v_at = 0; v_at < v_count; v_at += V_CHUNK) {                    \
      const int64_t v_end = v_count - v_at < V_CHUNK ? v_count : v_at + V_CHUNK; \
      vreal v_acc = v_zero();                                                    \
      for (int64_t V_I = v_at; V_I < v_end; V_I += V_LANES) {                    \
        const int64_t V_N = v_end - V_I < V_LANES ? v_end - V_I : V_LANES;       \
        (void)V_N;                                                               \
        v_acc = v_add(v_acc, (TERM));                                            \
      }                                                                          \
      const real v_chunk = v_sum(v_acc);                                         \
      v_total = v_at == 0 ? v_chunk : v_total + v_chunk;                         \
    }                                                                            \
    (OUT) = v_total;                                                             \
  } while (0)

#endif
