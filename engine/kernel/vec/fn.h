/* exp, log, tanh, sigmoid, erf, softplus: correctly rounded to binary32, on the vectors of vec.h.
 *
 * A lane is converted to double, the function is computed there with an error near one ulp of
 * double (polynomials: engine/num/coefficients.h), and rounded once. That the result is correctly
 * rounded for every one of the 2^32 inputs is shown by tests/offline/check_rounding.c, not by this
 * text; docs/numerics.md needs no polynomial. f64 takes the scalar functions of
 * engine/num/dmath_inline.h instead (about one ulp).
 *
 * NaN gives NaN; overflow gives infinity; a result below 2^-126 after rounding becomes zero of its
 * sign (FTZ). The composite activations below are sequences of single operations, in real.
 */
#ifndef STK_KERNEL_VEC_FN_H
#define STK_KERNEL_VEC_FN_H

#include "engine/num/coefficients.h"

#if STK_REAL_BITS == 64

#include "engine/num/dmath_inline.h"

#define V_DEFINE_EACH(NAME)          \
  V_INLINE real r_##NAME(real a) {   \
    return d_##NAME(a);              \
  }                                  \
  V_INLINE vreal v_##NAME(vreal a) { \
    vreal r;                         \
    for (int i = 0; i < 16; i++) {   \
      r.l[i] = d_##NAME(a.l[i]);     \
    }                                \
    return r;                        \
  }

V_DEFINE_EACH(exp)
V_DEFINE_EACH(log)
V_DEFINE_EACH(tanh)
V_DEFINE_EACH(sigmoid)
V_DEFINE_EACH(erf)
V_DEFINE_EACH(softplus)

#undef V_DEFINE_EACH

#else

#define VD_HORNER(P, X, TABLE)                                                       \
  do {                                                                               \
    (P) = vd_set1((TABLE)[sizeof(TABLE) / sizeof *(TABLE)-1]);                       \
    for (int vd_i = (int)(sizeof(TABLE) / sizeof *(TABLE)) - 2; vd_i >= 0; vd_i--) { \
      (P) = vd_fma((P), (X), vd_set1((TABLE)[vd_i]));                                \
    }                                                                                \
  } while (0)

/* x = n ln(2) + r with |r| <= ln(2)/2, for |x| < 2^20; the low bits of *out_t hold n. Returns r. */
V_INLINE vd vd_reduce_exp(vd x, vd *out_n, vdi *out_t) {
  const vd magic = vd_set1(0x1.8p52);
  const vd t = vd_fma(x, vd_set1(STK_INV_LN2), magic);
  const vd n = vd_sub(t, magic);
  const vd r = vd_fnma(n, vd_set1(STK_LN2_HI), x);
  *out_n = n;
  *out_t = vd_bits(t);
  return vd_fnma(n, vd_set1(STK_LN2_LO), r);
}

/* exp for |x| <= 700 or NaN (whose low bits are zeros, as those of every converted float). */
V_INLINE vd vd_exp_core(vd x) {
  vd n;
  vdi t;
  const vd r = vd_reduce_exp(x, &n, &t);
  vd p;
  VD_HORNER(p, r, stk_c_exp);
  p = vd_fma(p, r, vd_set1(1));
  p = vd_fma(p, r, vd_set1(1));
  return vdi_double(vdi_add(vd_bits(p), vdi_shl52(t)));
}

/* expm1 for 0 <= x <= 700 or NaN, with the relative error of exp. */
V_INLINE vd vd_expm1_core(vd x) {
  vd n;
  vdi t;
  const vd r = vd_reduce_exp(x, &n, &t);
  vd p;
  VD_HORNER(p, r, stk_c_exp);
  p = vd_fma(p, r, vd_set1(1));
  p = vd_mul(p, r);
  const vd scale = vdi_double(vdi_add(vd_bits(vd_set1(1)), vdi_shl52(t)));
  return vd_fma(scale, p, vd_sub(scale, vd_set1(1)));
}

V_INLINE vd vd_exp(vd x) {
  return vd_exp_core(vd_max(vd_set1(-150), vd_min(vd_set1(150), x)));
}

V_INLINE vd vd_sigmoid(vd x) {
  const vd e = vd_exp_core(vd_max(vd_set1(-150), vd_min(vd_set1(150), vd_sub(vd_set1(0), x))));
  vd y = vd_div(vd_set1(1), vd_add(vd_set1(1), e));
  if (!vd_all(vd_lt(vd_set1(0x1p-9), vd_abs(x)))) {
    /* 1/2 + x/4 - x^3/48: the first two terms are often a tie of binary32, and the third, which
     * decides it, is below double's last bit. Anything of its sign below x's own last bit does. */
    const vd line = vd_fma(x, vd_set1(0.25), vd_set1(0.5));
    const vd nudged = vd_sub(line, vd_copysign(vd_set1(0x1p-52), x));
    y = vd_select(vd_lt(vd_set1(0x1p-15), vd_abs(x)), y, nudged);
    /* The one other input that is so near a tie that double's own rounding would decide it. */
    y = vd_select(vd_eq(x, vd_set1(-0x1.250c02p-10)), vd_set1(0x1.ffb6bep-2), y);
  }
  return y;
}

V_INLINE vd vd_tanh(vd x) {
  const vd a = vd_min(vd_set1(20), vd_abs(x));
  const vd e = vd_expm1_core(vd_add(a, a));
  return vd_copysign(vd_div(e, vd_add(e, vd_set1(2))), x);
}

/* Whether rounding to binary32 would be a tie. */
V_INLINE vdm vd_is_tie(vd y) {
  const vdi low_29 = vdi_set1(0x1fffffff);
  return vdi_eq(vdi_and(vd_bits(y), low_29), vdi_set1(0x10000000));
}

/* y in the middle between two floats goes to the side of `rest`, what was rounded off y. */
V_INLINE vd vd_break_tie(vd y, vdm tie, vd rest) {
  const vd nudge = vd_copysign(vd_mul(vd_abs(y), vd_set1(0x1p-50)), rest);
  return vd_select(vdm_andnot(tie, vd_eq(rest, vd_set1(0))), vd_add(y, nudge), y);
}

/* log for x > 0, finite, not denormal; *out_rest is what the last addition rounded off. */
V_INLINE vd vd_log_core(vd x, vd *out_rest) {
  /* x = 2^k m with m in [sqrt(1/2), sqrt(2)); biased holds k + 1024 in its exponent field. */
  const vdi bits = vd_bits(x);
  const vdi biased = vdi_add(bits, vdi_set1((1024ull << 52) - 0x3fe6a09e667f3bcdull));
  const vdi k1024 = vdi_shr52(biased);
  const vdi m_bits = vdi_sub(bits, vdi_sub(vdi_shl52(k1024), vdi_set1(1024ull << 52)));
  const vd k = vd_sub(vdi_double(vdi_or(k1024, vd_bits(vd_set1(0x1p52)))), vd_set1(0x1p52 + 1024));
  const vd m = vdi_double(m_bits);
  const vd f = vd_sub(m, vd_set1(1));
  const vd s = vd_div(f, vd_add(m, vd_set1(1)));
  const vd z = vd_mul(s, s);
  vd p;
  VD_HORNER(p, z, stk_c_log);
  const vd half_square = vd_mul(vd_mul(vd_set1(0.5), f), f);
  /* log(m) = f - (f^2/2 - s (f^2/2 + z p)), the first two terms exact in double. */
  const vd inner = vd_fma(s, vd_fma(z, p, half_square), vd_mul(k, vd_set1(STK_LN2_REST)));
  const vd low = vd_sub(f, vd_sub(half_square, inner));
  const vd whole = vd_mul(k, vd_set1(STK_LN2_SHORT)); /* exact */
  const vd sum = vd_add(whole, low);
  *out_rest = vd_sub(low, vd_sub(sum, whole));
  return sum;
}

V_INLINE vd vd_log(vd x) {
  const vd zero = vd_set1(0);
  const vd inf = vd_set1(__builtin_inf());
  vd rest;
  vd y = vd_log_core(x, &rest);
  const vdm ordinary = vdm_and(vd_lt(zero, x), vd_lt(x, inf));
  const vdm tie = vd_is_tie(y);
  if (!vd_all(vdm_andnot(ordinary, tie))) {
    y = vd_break_tie(y, tie, rest);
    vd other = vd_select(vd_lt(x, zero), vd_set1(__builtin_nan("")), x); /* NaN and +inf: itself */
    other = vd_select(vd_eq(x, zero), vd_sub(zero, inf), other);
    y = vd_select(ordinary, y, other);
  }
  return y;
}

/* log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)). */
V_INLINE vd vd_softplus(vd x) {
  const vd a = vd_min(vd_set1(150), vd_abs(x));
  const vd e = vd_exp_core(vd_sub(vd_set1(0), a));
  const vd s = vd_div(e, vd_add(vd_set1(2), e));
  const vd z = vd_mul(s, s);
  vd p;
  VD_HORNER(p, z, stk_c_log1p);
  const vd tail = vd_fma(vd_mul(s, z), p, vd_add(s, s)); /* log1p(e) = 2 s + s z p */
  vd y = vd_add(vd_max(vd_set1(0), x), tail);
  if (vd_any(vd_is_tie(y))) {
    /* Of all inputs the one whose sum seems to be a tie of binary32 and is rounded wrongly. */
    y = vd_select(vd_eq(x, vd_set1(0x1.d483ap-12)), vd_set1(0x1.63017ap-1), y);
  }
  return y;
}

V_INLINE vd vd_erf(vd x) {
  const vd a = vd_min(vd_set1(4), vd_abs(x));
  const vdm small = vd_lt(a, vd_set1(2));
  const vd w = vd_fma(a, a, vd_set1(-2));
  vd p;
  VD_HORNER(p, w, stk_c_erf_low);
  p = vd_mul(p, a);
  if (!vd_all(small)) {
    const vd u = vd_sub(a, vd_set1(3));
    vd high;
    VD_HORNER(high, u, stk_c_erf_high);
    p = vd_select(small, p, vd_min(vd_set1(1), high));
  }
  return vd_copysign(p, x);
}

V_DEFINE_MAP(exp, vd_exp)
V_DEFINE_MAP(log, vd_log)
V_DEFINE_MAP(tanh, vd_tanh)
V_DEFINE_MAP(sigmoid, vd_sigmoid)
V_DEFINE_MAP(erf, vd_erf)
V_DEFINE_MAP(softplus, vd_softplus)

#endif

/* x * sigmoid(x) */
V_INLINE vreal v_silu(vreal x) {
  return v_mul(x, v_sigmoid(x));
}

/* g * fma(x * s, 1 - s, s), s = sigmoid(x) */
V_INLINE vreal v_silu_bwd(vreal x, vreal g) {
  const vreal s = v_sigmoid(x);
  return v_mul(g, v_fma(v_mul(x, s), v_sub(v_set1((real)1), s), s));
}

/* h = x / 2; fma(h, erf(x * sqrt(1/2)), h) */
V_INLINE vreal v_gelu_erf(vreal x) {
  const vreal h = v_mul(x, v_set1((real)0.5));
  return v_fma(h, v_erf(v_mul(x, v_set1((real)0x1.6a09e667f3bcdp-1))), h);
}

/* cdf = fma(1/2, erf(x * sqrt(1/2)), 1/2), pdf = exp((-1/2 * x) * x) * (1 / sqrt(2 pi));
 * g * fma(x, pdf, cdf) */
V_INLINE vreal v_gelu_erf_bwd(vreal x, vreal g) {
  const vreal half = v_set1((real)0.5);
  const vreal cdf = v_fma(half, v_erf(v_mul(x, v_set1((real)0x1.6a09e667f3bcdp-1))), half);
  const vreal e = v_exp(v_mul(v_mul(x, v_set1((real)-0.5)), x));
  const vreal pdf = v_mul(e, v_set1((real)0x1.9884533d43651p-2));
  return v_mul(g, v_fma(x, pdf, cdf));
}

/* GELU's tanh form as x * sigmoid(2 u), 2 u = x * fma(x * x, K3, K1) with K1 = 2 sqrt(2/pi) and
 * K3 = 0.044715 K1, each rounded to real. */
#define V_GELU_K1 0x1.9884533d43651p+0
#define V_GELU_K3 0x1.2444f2a4d8b4bp-4

V_INLINE vreal v_gelu_tanh(vreal x) {
  const vreal u = v_fma(v_mul(x, x), v_set1((real)V_GELU_K3), v_set1((real)V_GELU_K1));
  return v_mul(x, v_sigmoid(v_mul(x, u)));
}

/* s = sigmoid(2 u), d = fma(x * x, 3 K3, K1); g * fma((s * (1 - s)) * x, d, s) */
V_INLINE vreal v_gelu_tanh_bwd(vreal x, vreal g) {
  const vreal x2 = v_mul(x, x);
  const vreal k1 = v_set1((real)V_GELU_K1);
  const vreal s = v_sigmoid(v_mul(x, v_fma(x2, v_set1((real)V_GELU_K3), k1)));
  const vreal d = v_fma(x2, v_set1((real)(3 * V_GELU_K3)), k1);
  const vreal slope = v_mul(v_mul(s, v_sub(v_set1((real)1), s)), x);
  return v_mul(g, v_fma(slope, d, s));
}

#endif
