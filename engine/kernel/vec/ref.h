/* vec.h in plain C: the definition of the arithmetic. 16 reals in a struct and loops over them, for
 * f32 and f64.
 *
 * Compiled twice from this text: for the baseline, where r_fma is libm's fma (exact, and slow on
 * CPUs without FMA), and with -mfma, where the compiler makes it one instruction. Included by vec.h
 * only.
 */
#ifndef STK_KERNEL_VEC_REF_H
#define STK_KERNEL_VEC_REF_H

#include <math.h>
#include <stdbool.h>
#include <string.h>

typedef struct {
  real l[16];
} vreal;
typedef struct {
  int32_t l[16];
} vint;
typedef struct {
  int32_t l[16]; /* 0 or -1 */
} vmask;

V_INLINE real r_fma(real a, real b, real c) {
#if STK_REAL_BITS == 64
  return fma(a, b, c);
#else
  return fmaf(a, b, c);
#endif
}

V_INLINE real r_sqrt(real a) {
#if STK_REAL_BITS == 64
  return sqrt(a);
#else
  return sqrtf(a);
#endif
}

#define V_EACH(EXPR)             \
  for (int i = 0; i < 16; i++) { \
    r.l[i] = (EXPR);             \
  }

V_INLINE vreal v_load(const real *p) {
  vreal r;
  memcpy(&r, p, sizeof r);
  return r;
}

V_INLINE void v_store(real *p, vreal a) {
  memcpy(p, &a, sizeof a);
}

V_INLINE void v_stream(real *p, vreal a) {
  v_store(p, a);
}

V_INLINE vreal v_load_n(const real *p, int64_t n) {
  vreal r;
  V_EACH(i < n ? p[i] : (real)0)
  return r;
}

/* The lanes of m, the others +0; memory of the others is not touched. */
V_INLINE vreal v_load_mask(const real *p, vmask m) {
  vreal r;
  V_EACH(m.l[i] ? p[i] : (real)0)
  return r;
}

V_INLINE void v_store_n(real *p, vreal a, int64_t n) {
  for (int i = 0; i < n; i++) {
    p[i] = a.l[i];
  }
}

/* 16 bytes as 0..255; exact. */
V_INLINE vreal v_load_u8(const uint8_t *p) {
  vreal r;
  V_EACH((real)p[i])
  return r;
}

V_INLINE vreal v_set1(real x) {
  vreal r;
  V_EACH(x)
  return r;
}

V_INLINE vreal v_zero(void) {
  return v_set1((real)0);
}

V_INLINE vreal v_iota(void) {
  vreal r;
  V_EACH((real)i)
  return r;
}

V_INLINE real v_get(vreal a, int lane) {
  return a.l[lane];
}

V_INLINE vreal v_add(vreal a, vreal b) {
  vreal r;
  V_EACH(a.l[i] + b.l[i])
  return r;
}

V_INLINE vreal v_sub(vreal a, vreal b) {
  vreal r;
  V_EACH(a.l[i] - b.l[i])
  return r;
}

V_INLINE vreal v_mul(vreal a, vreal b) {
  vreal r;
  V_EACH(a.l[i] * b.l[i])
  return r;
}

V_INLINE vreal v_div(vreal a, vreal b) {
  vreal r;
  V_EACH(a.l[i] / b.l[i])
  return r;
}

V_INLINE vreal v_fma(vreal a, vreal b, vreal c) {
  vreal r;
  V_EACH(r_fma(a.l[i], b.l[i], c.l[i]))
  return r;
}

/* a * b - c, one rounding. */
V_INLINE vreal v_fms(vreal a, vreal b, vreal c) {
  vreal r;
  V_EACH(r_fma(a.l[i], b.l[i], -c.l[i]))
  return r;
}

/* c - a * b, one rounding. */
V_INLINE vreal v_fnma(vreal a, vreal b, vreal c) {
  vreal r;
  V_EACH(r_fma(-a.l[i], b.l[i], c.l[i]))
  return r;
}

V_INLINE vreal v_neg(vreal a) {
  vreal r;
  V_EACH(-a.l[i])
  return r;
}

V_INLINE vreal v_abs(vreal a) {
  vreal r;
#if STK_REAL_BITS == 64
  V_EACH(fabs(a.l[i]))
#else
  V_EACH(fabsf(a.l[i]))
#endif
  return r;
}

V_INLINE vreal v_copysign(vreal a, vreal sign) {
  vreal r;
#if STK_REAL_BITS == 64
  V_EACH(copysign(a.l[i], sign.l[i]))
#else
  V_EACH(copysignf(a.l[i], sign.l[i]))
#endif
  return r;
}

V_INLINE vreal v_sqrt(vreal a) {
  vreal r;
  V_EACH(r_sqrt(a.l[i]))
  return r;
}

V_INLINE vreal v_max(vreal a, vreal b) {
  vreal r;
  V_EACH(r_max(a.l[i], b.l[i]))
  return r;
}

V_INLINE vreal v_min(vreal a, vreal b) {
  vreal r;
  V_EACH(r_min(a.l[i], b.l[i]))
  return r;
}

V_INLINE vmask v_lt(vreal a, vreal b) {
  vmask r;
  V_EACH(-(a.l[i] < b.l[i]))
  return r;
}

V_INLINE vmask v_le(vreal a, vreal b) {
  vmask r;
  V_EACH(-(a.l[i] <= b.l[i]))
  return r;
}

V_INLINE vmask v_gt(vreal a, vreal b) {
  vmask r;
  V_EACH(-(a.l[i] > b.l[i]))
  return r;
}

V_INLINE vmask v_ge(vreal a, vreal b) {
  vmask r;
  V_EACH(-(a.l[i] >= b.l[i]))
  return r;
}

V_INLINE vmask v_eq(vreal a, vreal b) {
  vmask r;
  V_EACH(-(a.l[i] == b.l[i]))
  return r;
}

V_INLINE vmask v_ne(vreal a, vreal b) {
  vmask r;
  V_EACH(-(a.l[i] != b.l[i]))
  return r;
}

V_INLINE vmask v_isnan(vreal a) {
  return v_ne(a, a);
}

V_INLINE vreal v_select(vmask m, vreal a, vreal b) {
  vreal r;
  V_EACH(m.l[i] ? a.l[i] : b.l[i])
  return r;
}

/* True in the first n lanes. */
V_INLINE vmask v_mask_n(int64_t n) {
  vmask r;
  V_EACH(-(i < n))
  return r;
}

V_INLINE vmask v_mask_and(vmask a, vmask b) {
  vmask r;
  V_EACH(a.l[i] & b.l[i])
  return r;
}

V_INLINE vmask v_mask_or(vmask a, vmask b) {
  vmask r;
  V_EACH(a.l[i] | b.l[i])
  return r;
}

V_INLINE vmask v_mask_not(vmask a) {
  vmask r;
  V_EACH(~a.l[i])
  return r;
}

/* Bit i is lane i. */
V_INLINE uint32_t v_mask_bits(vmask m) {
  uint32_t bits = 0;
  for (int i = 0; i < 16; i++) {
    bits |= (uint32_t)(m.l[i] & 1) << i;
  }
  return bits;
}

V_INLINE vmask v_mask_from_bits(uint32_t bits) {
  vmask r;
  V_EACH(-(int32_t)(bits >> i & 1))
  return r;
}

V_INLINE vint vi_load(const int32_t *p) {
  vint r;
  memcpy(&r, p, sizeof r);
  return r;
}

V_INLINE void vi_store(int32_t *p, vint a) {
  memcpy(p, &a, sizeof a);
}

V_INLINE vint vi_load_n(const int32_t *p, int64_t n) {
  vint r;
  V_EACH(i < n ? p[i] : 0)
  return r;
}

V_INLINE void vi_store_n(int32_t *p, vint a, int64_t n) {
  for (int i = 0; i < n; i++) {
    p[i] = a.l[i];
  }
}

V_INLINE vint vi_set1(int32_t x) {
  vint r;
  V_EACH(x)
  return r;
}

V_INLINE vint vi_iota(void) {
  vint r;
  V_EACH(i)
  return r;
}

V_INLINE vint vi_add(vint a, vint b) {
  vint r;
  V_EACH((int32_t)((uint32_t)a.l[i] + (uint32_t)b.l[i]))
  return r;
}

V_INLINE vint vi_sub(vint a, vint b) {
  vint r;
  V_EACH((int32_t)((uint32_t)a.l[i] - (uint32_t)b.l[i]))
  return r;
}

V_INLINE vint vi_xor(vint a, vint b) {
  vint r;
  V_EACH(a.l[i] ^ b.l[i])
  return r;
}

V_INLINE vint vi_and(vint a, vint b) {
  vint r;
  V_EACH(a.l[i] & b.l[i])
  return r;
}

/* Logical shift right by a constant 0..31. */
V_INLINE vint vi_srl(vint a, int by) {
  vint r;
  V_EACH((int32_t)((uint32_t)a.l[i] >> by))
  return r;
}

V_INLINE vmask vi_eq(vint a, vint b) {
  vmask r;
  V_EACH(-(a.l[i] == b.l[i]))
  return r;
}

V_INLINE vmask vi_lt(vint a, vint b) {
  vmask r;
  V_EACH(-(a.l[i] < b.l[i]))
  return r;
}

/* The comparison as unsigned. */
V_INLINE vmask vi_ltu(vint a, vint b) {
  vmask r;
  V_EACH(-((uint32_t)a.l[i] < (uint32_t)b.l[i]))
  return r;
}

V_INLINE vint vi_select(vmask m, vint a, vint b) {
  vint r;
  V_EACH(m.l[i] ? a.l[i] : b.l[i])
  return r;
}

/* The two halves of the unsigned 64-bit products. */
V_INLINE void vi_mulhilo(vint a, vint b, vint *out_hi, vint *out_lo) {
  for (int i = 0; i < 16; i++) {
    const uint64_t p = (uint64_t)(uint32_t)a.l[i] * (uint32_t)b.l[i];
    out_hi->l[i] = (int32_t)(uint32_t)(p >> 32);
    out_lo->l[i] = (int32_t)(uint32_t)p;
  }
}

/* Signed; rounded to nearest even where real is float. */
V_INLINE vreal v_from_int(vint a) {
  vreal r;
  V_EACH((real)a.l[i])
  return r;
}

/* base[idx] in elements, idx signed. */
V_INLINE vreal v_gather(const real *base, vint idx) {
  vreal r;
  V_EACH(base[idx.l[i]])
  return r;
}

/* Lanes i and i + 8, then i + 4, i + 2, i + 1. */
V_INLINE real v_sum(vreal a) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; i++) {
      a.l[i] = a.l[i] + a.l[i + half];
    }
  }
  return a.l[0];
}

/* v_max over the tree of v_sum, the lower lane first; a NaN may or may not show. */
V_INLINE real v_hmax(vreal a) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; i++) {
      a.l[i] = r_max(a.l[i], a.l[i + half]);
    }
  }
  return a.l[0];
}

#undef V_EACH

/* The double vectors that the functions of vec/fn.h compute in: here of one lane. */
typedef double vd;
typedef uint64_t vdi;
typedef bool vdm;

V_INLINE vd vd_set1(double x) {
  return x;
}

V_INLINE vd vd_add(vd a, vd b) {
  return a + b;
}

V_INLINE vd vd_sub(vd a, vd b) {
  return a - b;
}

V_INLINE vd vd_mul(vd a, vd b) {
  return a * b;
}

V_INLINE vd vd_div(vd a, vd b) {
  return a / b;
}

V_INLINE vd vd_fma(vd a, vd b, vd c) {
  return fma(a, b, c);
}

/* c - a * b, one rounding. */
V_INLINE vd vd_fnma(vd a, vd b, vd c) {
  return fma(-a, b, c);
}

/* a > b ? a : b */
V_INLINE vd vd_max(vd a, vd b) {
  return a > b ? a : b;
}

/* a < b ? a : b */
V_INLINE vd vd_min(vd a, vd b) {
  return a < b ? a : b;
}

V_INLINE vd vd_abs(vd a) {
  return fabs(a);
}

V_INLINE vd vd_copysign(vd a, vd sign) {
  return copysign(a, sign);
}

V_INLINE vdm vd_lt(vd a, vd b) {
  return a < b;
}

V_INLINE vdm vd_eq(vd a, vd b) {
  return a == b;
}

V_INLINE vd vd_select(vdm m, vd a, vd b) {
  return m ? a : b;
}

V_INLINE bool vd_all(vdm m) {
  return m;
}

V_INLINE bool vd_any(vdm m) {
  return m;
}

V_INLINE vdm vdm_and(vdm a, vdm b) {
  return a & b;
}

/* a and not b */
V_INLINE vdm vdm_andnot(vdm a, vdm b) {
  return a & !b;
}

V_INLINE vdi vd_bits(vd a) {
  vdi r;
  memcpy(&r, &a, sizeof r);
  return r;
}

V_INLINE vd vdi_double(vdi a) {
  vd r;
  memcpy(&r, &a, sizeof r);
  return r;
}

V_INLINE vdi vdi_set1(uint64_t x) {
  return x;
}

V_INLINE vdi vdi_add(vdi a, vdi b) {
  return a + b;
}

V_INLINE vdi vdi_sub(vdi a, vdi b) {
  return a - b;
}

V_INLINE vdi vdi_or(vdi a, vdi b) {
  return a | b;
}

V_INLINE vdi vdi_and(vdi a, vdi b) {
  return a & b;
}

V_INLINE vdm vdi_eq(vdi a, vdi b) {
  return a == b;
}

V_INLINE vdi vdi_shl52(vdi a) {
  return a << 52;
}

V_INLINE vdi vdi_shr52(vdi a) {
  return a >> 52;
}

/* The function F of vd over the 16 lanes, in double, rounded back to real once. */
#define V_DEFINE_MAP(NAME, F)        \
  V_INLINE real r_##NAME(real a) {   \
    return (real)F((double)a);       \
  }                                  \
  V_INLINE vreal v_##NAME(vreal a) { \
    vreal r;                         \
    for (int i = 0; i < 16; i++) {   \
      r.l[i] = r_##NAME(a.l[i]);     \
    }                                \
    return r;                        \
  }

#endif
