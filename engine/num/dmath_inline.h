/* The engine's double functions as inline bodies: for dmath.c, for kernels in f64, and for what is
 * compiled with fma in one instruction (init.c).
 *
 * No libm but sqrt and fma. Every operation is a single IEEE operation in the written order, so the
 * bits are the same on every machine. Denormals are treated as zeros on the way in and out by
 * explicit comparison, so that the bits do not depend on the thread's FTZ and DAZ either. Error
 * bounds are in dmath.h. Polynomials: coefficients.h.
 */
#ifndef STK_NUM_DMATH_INLINE_H
#define STK_NUM_DMATH_INLINE_H

#include "engine/num/coefficients.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define D_INLINE static inline __attribute__((unused))
#define D_HORNER(X, TABLE) d_horner((X), (TABLE), (int)(sizeof(TABLE) / sizeof *(TABLE)))

#define D_INF __builtin_inf()
#define D_NAN __builtin_nan("")

D_INLINE double d_horner(double x, const double *c, int n) {
  double p = c[n - 1];
  for (int i = n - 2; i >= 0; i--) {
    p = fma(p, x, c[i]);
  }
  return p;
}

D_INLINE uint64_t d_bits(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

D_INLINE double d_from_bits(uint64_t bits) {
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* 2^n, -1022 <= n <= 1023. */
D_INLINE double d_exp2i(int n) {
  return d_from_bits((uint64_t)(n + 1023) << 52);
}

/* Zero of x's sign where x is denormal. */
D_INLINE double d_flush(double x) {
  return fabs(x) < 0x1p-1022 ? copysign(0.0, x) : x;
}

/* exp(x + tail) for |x| < 2^20 as 2^n (1 + q): returns q, with |tail| tiny. */
D_INLINE double d_exp_parts(double x, double tail, int *out_n) {
  const double n = fma(x, STK_INV_LN2, 0x1.8p52) - 0x1.8p52;
  const double high = fma(-n, STK_LN2_SHORT, x); /* exact */
  const double low = fma(n, STK_LN2_REST, -tail);
  const double r = high - low;
  const double rest = (high - r) - low;
  *out_n = (int)n;
  return r + fma(r * r, D_HORNER(r, stk_c_exp), rest);
}

/* exp(x + tail) */
D_INLINE double d_exp_tail(double x, double tail) {
  if (x != x) {
    return x;
  }
  if (x > 709.79) {
    return D_INF;
  }
  if (x < -708.39) {
    return 0.0;
  }
  int n;
  const double q = d_exp_parts(x, tail, &n);
  const int half = n / 2;
  return d_flush((1.0 + q) * d_exp2i(half) * d_exp2i(n - half));
}

D_INLINE double d_exp(double x) {
  return d_exp_tail(x, 0.0);
}

/* exp(x) - 1 for 0 <= x <= 700. */
D_INLINE double d_expm1_positive(double x) {
  int n;
  const double q = d_exp_parts(x, 0.0, &n);
  const double scale = d_exp2i(n);
  return fma(scale, q, scale - 1.0);
}

/* x = 2^k m, m in [sqrt(1/2), sqrt(2)); x positive, finite, not denormal. Returns m. */
D_INLINE double d_split(double x, double *out_k) {
  const uint64_t biased = d_bits(x) + ((1024ull << 52) - 0x3fe6a09e667f3bcdull);
  const int k = (int)(biased >> 52) - 1024;
  *out_k = (double)k;
  return d_from_bits(d_bits(x) - ((uint64_t)(int64_t)k << 52));
}

D_INLINE double d_log(double x) {
  if (!(x >= 0x1p-1022)) {
    return x != x ? x : x > -0x1p-1022 ? -D_INF : D_NAN;
  }
  if (x == D_INF) {
    return x;
  }
  double k;
  const double f = d_split(x, &k) - 1.0;
  const double s = f / (f + 2.0);
  const double z = s * s;
  const double half_square = 0.5 * f * f;
  const double inner = fma(s, fma(z, D_HORNER(z, stk_c_log), half_square), k * STK_LN2_REST);
  return fma(k, STK_LN2_SHORT, f - (half_square - inner));
}

D_INLINE double d_sigmoid(double x) {
  return d_flush(1.0 / (1.0 + d_exp(-x)));
}

D_INLINE double d_tanh(double x) {
  const double a = d_flush(fabs(x));
  if (!(a < 20.0)) {
    return a != a ? x : copysign(1.0, x);
  }
  const double e = d_expm1_positive(a + a);
  return copysign(e / (e + 2.0), x);
}

/* log(1 + exp(x)) */
D_INLINE double d_softplus(double x) {
  const double e = d_exp(-fabs(x));
  const double s = e / (2.0 + e);
  const double z = s * s;
  return (0.0 > x ? 0.0 : x) + fma(s * z, D_HORNER(z, stk_c_log1p), s + s);
}

D_INLINE double d_erf(double x) {
  const double a = d_flush(fabs(x));
  if (a < 0.84375) {
    return copysign(a * D_HORNER(a * a, stk_c_erf), x);
  }
  if (!(a < 6.0)) {
    return a != a ? x : copysign(1.0, x);
  }
  const double t = (a - 2.0) / (a + 2.0);
  return copysign(1.0 - d_exp(-a * a) * D_HORNER(t, stk_c_erfcx), x);
}

/* sin(r + tail) and cos(r + tail), |r| <= pi/4. */
D_INLINE double d_sin_kernel(double r, double tail) {
  const double z = r * r;
  return r + fma(r * z, D_HORNER(z, stk_c_sin), fma(-0.5 * z, tail, tail));
}

D_INLINE double d_cos_kernel(double r, double tail) {
  const double z = r * r;
  const double half = 0.5 * z;
  const double w = 1.0 - half;
  const double rest = (1.0 - w) - half;
  return w + (rest + fma(z * z, D_HORNER(z, stk_c_cos), -r * tail));
}

/* What is left of the angle twice * pi/2 without its n quarters, as r + tail: returns r. */
D_INLINE double d_reduce_pi(double twice, double n, double *out_tail) {
  const double f = 0.5 * (twice - n);
  const double r = f * STK_PI_HI;
  *out_tail = fma(f, STK_PI_HI, -r) + f * STK_PI_LO;
  return r;
}

/* sin(x pi) and cos(x pi), |x| < 2^50, with the bits of stk_sinpi_d and stk_cospi_d: without their
 * branches, which nobody could predict. */
D_INLINE void d_sincospi(double x, double *out_sin, double *out_cos) {
  const double twice = 2.0 * x;
  const double n = (twice + 0x1.8p52) - 0x1.8p52;
  double tail;
  const double r = d_reduce_pi(twice, n, &tail);
  const double half[2] = {d_sin_kernel(r, tail), d_cos_kernel(r, tail)};
  const uint64_t quarters = (uint64_t)(int64_t)n;
  /* Of the quarter's two low bits one chooses the function and the other, its sign. */
  const double s = d_from_bits(d_bits(half[quarters & 1]) ^ (quarters & 2) << 62);
  const double c = d_from_bits(d_bits(half[(quarters + 1) & 1]) ^ ((quarters + 1) & 2) << 62);
  *out_sin = s == 0.0 ? 0.0 : s;
  *out_cos = c == 0.0 ? 0.0 : c;
}

#endif
