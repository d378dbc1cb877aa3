/* Double functions (see dmath.h; the bodies kernels share are in dmath_inline.h). */
#include "engine/num/dmath.h"

#include "engine/num/dmath_inline.h"

/* An unevaluated sum. */
struct pair {
  double hi, lo;
};

double stk_exp_d(double x) {
  return d_exp(x);
}

double stk_log_d(double x) {
  return d_log(x);
}

double stk_tanh_d(double x) {
  return d_tanh(x);
}

double stk_sigmoid_d(double x) {
  return d_sigmoid(x);
}

double stk_erf_d(double x) {
  return d_erf(x);
}

double stk_softplus_d(double x) {
  return d_softplus(x);
}

/* sin of the angle r + tail + quarters * pi/2. */
static double sin_quarters(double r, double tail, int quarters) {
  const double y = quarters & 1 ? d_cos_kernel(r, tail) : d_sin_kernel(r, tail);
  return quarters & 2 ? -y : y;
}

/* sin((x + shift/2) pi). */
static double sinpi_shifted(double x, int shift) {
  if (!(fabs(x) <= 0x1.fffffffffffffp1023)) {
    return D_NAN;
  }
  if (fabs(x) >= 0x1p53) {
    return sin_quarters(0.0, 0.0, shift); /* an even integer */
  }
  /* Twice x as an integer plus a remainder in [-1/2, 1/2]: both exact. */
  const double twice = 2.0 * x;
  double n = twice, tail;
  if (fabs(twice) < 0x1p51) {
    n = (twice + 0x1.8p52) - 0x1.8p52;
  } else {
    n = (double)(int64_t)twice;
  }
  const double r = d_reduce_pi(twice, n, &tail);
  const double y = sin_quarters(r, tail, (int)((int64_t)n & 3) + shift);
  return y == 0.0 ? 0.0 : y;
}

double stk_sinpi_d(double x) {
  return sinpi_shifted(x, 0);
}

double stk_cospi_d(double x) {
  return sinpi_shifted(x, 1);
}

/* sin(x + shift pi/2): x = n pi/2 + r + tail with pi/2 in three parts. */
static double sin_shifted(double x, int shift) {
  if (!(fabs(x) <= 0x1p20)) {
    return D_NAN;
  }
  const double n = fma(x, STK_TWO_OVER_PI, 0x1.8p52) - 0x1.8p52;
  const double a = fma(-n, STK_HALF_PI_1, x);
  const double p = n * STK_HALF_PI_2;
  const double p_low = fma(n, STK_HALF_PI_2, -p);
  const double r = a - p;
  const double t = a - r;
  const double tail = (t - p) - (p_low + n * STK_HALF_PI_3);
  return sin_quarters(r, tail, (int)((int64_t)n & 3) + shift);
}

double stk_sin_d(double x) {
  return sin_shifted(x, 0);
}

double stk_cos_d(double x) {
  return sin_shifted(x, 1);
}

static struct pair pair_mul(struct pair a, struct pair b) {
  const double p = a.hi * b.hi;
  if (!(fabs(p) > 0x1p-900 && fabs(p) < D_INF)) { /* the low part could be denormal, or NaN */
    return (struct pair){d_flush(p), 0.0};
  }
  const double e = fma(a.hi, b.hi, -p) + fma(a.hi, b.lo, a.lo * b.hi);
  const double s = p + e;
  return (struct pair){s, e - (s - p)};
}

double stk_pow_int_d(double x, int64_t n) {
  if (n == 0) {
    return 1.0;
  }
  uint64_t left = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
  struct pair power = {d_flush(x), 0.0};
  struct pair y = {1.0, 0.0};
  for (;;) {
    if (left & 1) {
      y = pair_mul(y, power);
    }
    left >>= 1;
    if (left == 0) {
      break;
    }
    power = pair_mul(power, power);
  }
  if (n > 0) {
    return d_flush(y.hi);
  }
  const double q = 1.0 / y.hi;
  if (!(fabs(q) < D_INF) || q == 0.0) {
    return q;
  }
  const double rest = fma(-q, y.hi, 1.0) - q * y.lo;
  return d_flush(fma(rest, q, q));
}

/* log(x) as a pair, relative error near 2^-63; x positive, finite, not denormal. */
static struct pair log_pair(double x) {
  double k;
  const double m = d_split(x, &k);
  const double f = m - 1.0;
  const double u = m + 1.0;
  const double u_low = m - (u - 1.0);
  const double s = f / u;
  const double s_low = (fma(-s, u, f) - s * u_low) / u;
  const double z = s * s;
  const double series = fma(s * z, D_HORNER(z, stk_c_log), 2.0 * s_low);
  const double a = k * STK_LN2_SHORT; /* exact */
  const double b = 2.0 * s;
  const double hi = a + b;
  const double lo = (k != 0.0 ? b - (hi - a) : 0.0) + fma(k, STK_LN2_REST, series);
  const double sum = hi + lo;
  return (struct pair){sum, lo - (sum - hi)};
}

double stk_pow_d(double x, double y) {
  if (fabs(y) < 0x1p31 && y == (double)(int64_t)y) {
    return stk_pow_int_d(x, (int64_t)y);
  }
  x = d_flush(x);
  if (x != x || y != y) {
    return x + y;
  }
  if (x < 0.0) {
    return D_NAN;
  }
  if (x == 0.0 || x == D_INF) {
    return (x == 0.0) == (y > 0.0) ? 0.0 : D_INF;
  }
  if (x == 1.0) {
    return 1.0;
  }
  const struct pair l = log_pair(x);
  const double p = y * l.hi;
  if (!(fabs(p) < 0x1p20)) {
    return p > 0.0 ? D_INF : 0.0;
  }
  return d_exp_tail(p, fma(y, l.hi, -p) + y * l.lo);
}
