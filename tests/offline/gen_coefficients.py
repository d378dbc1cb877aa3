#!/usr/bin/env python3
"""Writes engine/num/coefficients.h: near-minimax (Chebyshev) polynomials, found with mpmath at 200
bits and rounded to double. Run from the repository root; needs mpmath."""
from mpmath import mp, mpf, mpc, chebyfit, expm1, exp, sqrt, log, atanh, erf, erfc, sin, cos, pi

mp.prec = 240
TINY = mpf(2) ** -60


def hexfloat(x):
    return float(x).hex() if x != 0 else "0x0p+0"


def ascending(f, interval, n):
    coefficients, error = chebyfit(f, interval, n, error=True)
    return [mpf(c) for c in reversed(coefficients)], error


def exp_tail(r):
    if abs(r) < mpf(2) ** -50:
        return mpf(1) / 2 + r / 6
    return (expm1(r) - r) / r**2


def log_tail(z):
    if z < TINY:
        return mpf(2) / 3
    s = sqrt(z)
    return (2 * atanh(s) / s - 2) / z


def sin_tail(z):
    if z < TINY:
        return -mpf(1) / 6
    r = sqrt(z)
    return (sin(r) / r - 1) / z


def cos_tail(z):
    if z < TINY:
        return mpf(1) / 24
    return (cos(sqrt(z)) - 1 + z / 2) / z**2


def erf_over_x(z):
    if z < TINY:
        return 2 / sqrt(pi)
    a = sqrt(z)
    return erf(a) / a


def erfcx(t):  # t = (a - 2) / (a + 2)
    a = 2 * (1 + t) / (1 - t)
    return erfc(a) * exp(a * a)


half_ln2 = log(mpf(2)) / 2 * mpf("1.0001")
s_max = (sqrt(mpf(2)) - 1) / (sqrt(mpf(2)) + 1) * mpf("1.0001")
out = []


def table(name, comment, coefficients):
    out.append("/* %s */" % comment)
    rows = ",\n    ".join(hexfloat(c) for c in coefficients)
    out.append("static const double %s[%d] = {\n    %s};\n" % (name, len(coefficients), rows))


def constant(name, value):
    out.append("#define %s %s" % (name, hexfloat(value)))


ln2 = log(mpf(2))
ln2_hi = mpf(float(ln2))
constant("STK_LN2_HI", ln2_hi)
constant("STK_LN2_LO", ln2 - ln2_hi)
short = mp.floor(ln2 * 2**42) / 2**42  # k * this is exact for |k| < 2^11
constant("STK_LN2_SHORT", short)
constant("STK_LN2_REST", ln2 - short)
constant("STK_INV_LN2", 1 / ln2)
half_pi = pi / 2
p1 = mpf(float(half_pi))
p2 = mpf(float(half_pi - p1))
constant("STK_HALF_PI_1", p1)
constant("STK_HALF_PI_2", p2)
constant("STK_HALF_PI_3", half_pi - p1 - p2)
constant("STK_TWO_OVER_PI", 2 / pi)
constant("STK_PI_HI", mpf(float(pi)))
constant("STK_PI_LO", pi - mpf(float(pi)))
out.append("")

c, e = ascending(exp_tail, [-half_ln2, half_ln2], 10)
table("stk_c_exp", "exp(r) = 1 + r + r^2 (c0 + c1 r + ...), |r| <= ln(2)/2; error 2^%d" %
      int(log(e * half_ln2**2, 2)), c)
c, e = ascending(log_tail, [0, s_max**2], 7)
table("stk_c_log", "2 atanh(s) = 2 s + s^3 (c0 + c1 s^2 + ...), |s| <= 0.1716; error 2^%d" %
      int(log(e * s_max**3, 2)), c)
c, e = ascending(log_tail, [0, mpf(1) / 9], 10)
table("stk_c_log1p", "the same for |s| <= 1/3; error 2^%d" % int(log(e / 27, 2)), c)
z_max = (pi / 4) ** 2 * mpf("1.0001")
c, e = ascending(sin_tail, [0, z_max], 6)
table("stk_c_sin", "sin(r) = r + r^3 (c0 + c1 r^2 + ...), |r| <= pi/4; error 2^%d" %
      int(log(e * z_max**1.5, 2)), c)
c, e = ascending(cos_tail, [0, z_max], 6)
table("stk_c_cos", "cos(r) = 1 - r^2/2 + r^4 (c0 + c1 r^2 + ...), |r| <= pi/4; error 2^%d" %
      int(log(e * z_max**2, 2)), c)
c, e = ascending(erf_over_x, [0, mpf("0.7225")], 11)
table("stk_c_erf", "erf(a) = a (c0 + c1 a^2 + ...), a <= 0.85; error 2^%d" % int(log(e, 2)), c)
t0 = (mpf("0.84") - 2) / (mpf("0.84") + 2)
t1 = (mpf(6) - 2) / (mpf(6) + 2)
c, e = ascending(erfcx, [t0, t1], 19)
table("stk_c_erfcx", "erfc(a) = exp(-a^2) (c0 + c1 t + ...), t = (a - 2) / (a + 2), 0.84 <= a <= 6;"
      " error 2^%d" % int(log(e, 2)), c)

c, e = ascending(lambda w: erf_over_x(w + 2), [-2, 2], 17)
table("stk_c_erf_low", "erf(a) = a (c0 + c1 w + ...), w = a^2 - 2, a < 2; error 2^%d" %
      int(log(e, 2)), c)
c, e = ascending(lambda u: erf(u + 3), [-1, 1], 22)
table("stk_c_erf_high", "erf(a) = c0 + c1 u + ..., u = a - 3, 2 <= a <= 4; error 2^%d" %
      int(log(e, 2)), c)

head = """/* Polynomial coefficients of the engine's functions, in ascending order of power.
 *
 * Written by tests/offline/gen_coefficients.py; do not edit. Includers use some of the tables.
 */
#ifndef STK_NUM_COEFFICIENTS_H
#define STK_NUM_COEFFICIENTS_H
"""
text = "\n".join(out).replace("static const double", "static const double __attribute__((unused))")
with open("engine/num/coefficients.h", "w") as file:
    file.write(head + "\n" + text + "\n#endif\n")
