/* Measures the double functions of engine/num/dmath.h against MPFR: the largest error in units in
 * the last place over random arguments, a line each. Exits 1 where it is over the header's bound.
 *
 *   check_dmath [SAMPLES]       (default 1,000,000 a function)
 */
#include <math.h>
#include <mpfr.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/num/dmath.h"

static uint64_t state = 88172645463325252ull;

static double uniform(double low, double high) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return low + (high - low) * ((double)(state >> 11) * 0x1p-53);
}

static int sigmoid_m(mpfr_t y, const mpfr_t x, mpfr_rnd_t r) {
  mpfr_neg(y, x, r);
  mpfr_exp(y, y, r);
  mpfr_add_ui(y, y, 1, r);
  return mpfr_ui_div(y, 1, y, r);
}

static int softplus_m(mpfr_t y, const mpfr_t x, mpfr_rnd_t r) {
  mpfr_exp(y, x, r);
  return mpfr_log1p(y, y, r);
}

static int sinpi_m(mpfr_t y, const mpfr_t x, mpfr_rnd_t r) {
  mpfr_const_pi(y, r);
  mpfr_mul(y, y, x, r);
  return mpfr_sin(y, y, r);
}

static int cospi_m(mpfr_t y, const mpfr_t x, mpfr_rnd_t r) {
  mpfr_const_pi(y, r);
  mpfr_mul(y, y, x, r);
  return mpfr_cos(y, y, r);
}

struct row {
  const char *name;
  double (*ours)(double);
  int (*exact)(mpfr_t, const mpfr_t, mpfr_rnd_t);
  double low, high, bound;
  int by_exponent; /* x = +-2^uniform(low, high) */
};

static const struct row rows[] = {{"exp", stk_exp_d, mpfr_exp, -708, 709.7, 1, 0},
                                  {"exp", stk_exp_d, mpfr_exp, -60, 9.4, 1, 1},
                                  {"log", stk_log_d, mpfr_log, -1021, 1023, 1, 2},
                                  {"log", stk_log_d, mpfr_log, 0.5, 2, 1, 0},
                                  {"tanh", stk_tanh_d, mpfr_tanh, -19, 19, 3, 0},
                                  {"tanh", stk_tanh_d, mpfr_tanh, -60, 4, 3, 1},
                                  {"sigmoid", stk_sigmoid_d, sigmoid_m, -700, 40, 3, 0},
                                  {"sigmoid", stk_sigmoid_d, sigmoid_m, -60, 5, 3, 1},
                                  {"erf", stk_erf_d, mpfr_erf, -6, 6, 2, 0},
                                  {"erf", stk_erf_d, mpfr_erf, -60, 3, 2, 1},
                                  {"softplus", stk_softplus_d, softplus_m, -700, 40, 3, 0},
                                  {"softplus", stk_softplus_d, softplus_m, -60, 6, 3, 1},
                                  {"sinpi", stk_sinpi_d, sinpi_m, -100, 100, 1.5, 0},
                                  {"sinpi", stk_sinpi_d, sinpi_m, -60, 40, 1.5, 1},
                                  {"cospi", stk_cospi_d, cospi_m, -100, 100, 1.5, 0},
                                  {"cospi", stk_cospi_d, cospi_m, -60, 40, 1.5, 1},
                                  {"sin", stk_sin_d, mpfr_sin, -0x1p20, 0x1p20, 1, 0},
                                  {"sin", stk_sin_d, mpfr_sin, -60, 20, 1, 1},
                                  {"cos", stk_cos_d, mpfr_cos, -0x1p20, 0x1p20, 1, 0},
                                  {"cos", stk_cos_d, mpfr_cos, -60, 20, 1, 1}};

/* |got - exact| in ulps of exact. */
static double ulps(double got, mpfr_t exact) {
  const double rounded = mpfr_get_d(exact, MPFR_RNDN);
  if (rounded == 0 || !isfinite(rounded)) {
    return got == rounded ? 0 : INFINITY;
  }
  mpfr_sub_d(exact, exact, got, MPFR_RNDN);
  mpfr_abs(exact, exact, MPFR_RNDN);
  mpfr_div_2si(exact, exact, ilogb(rounded) - 52, MPFR_RNDN);
  return mpfr_get_d(exact, MPFR_RNDN);
}

static int check_row(const struct row *r, long samples) {
  mpfr_t x, y;
  mpfr_init2(x, 53);
  mpfr_init2(y, 160);
  double worst = 0, at = 0;
  for (long i = 0; i < samples; i++) {
    double v = uniform(r->low, r->high);
    if (r->by_exponent) {
      v = exp2(v) * (r->by_exponent == 1 && (i & 1) ? -1 : 1);
    }
    mpfr_set_d(x, v, MPFR_RNDN);
    r->exact(y, x, MPFR_RNDN);
    const double e = ulps(r->ours(v), y);
    if (e > worst) {
      worst = e;
      at = v;
    }
  }
  mpfr_clear(x);
  mpfr_clear(y);
  printf("%-8s %-8s [%g, %g]: %.3f ulp at %a%s\n", r->name, r->by_exponent ? "2^" : "", r->low,
         r->high, worst, at, worst < r->bound ? "" : "  OVER ITS BOUND");
  return worst < r->bound;
}

static int check_pow(long samples, int whole) {
  mpfr_t x, y, z;
  mpfr_inits2(160, x, y, z, (mpfr_ptr)0);
  double worst = 0, at_x = 0, at_y = 0;
  for (long i = 0; i < samples; i++) {
    const double v = whole ? uniform(0.9, 1.1) : exp2(uniform(-20, 20));
    const double w = whole ? floor(uniform(-5000, 5000)) : uniform(-40, 40);
    mpfr_set_d(x, v, MPFR_RNDN);
    mpfr_set_d(y, w, MPFR_RNDN);
    mpfr_pow(z, x, y, MPFR_RNDN);
    const double e = ulps(stk_pow_d(v, w), z);
    if (e > worst) {
      worst = e;
      at_x = v;
      at_y = w;
    }
  }
  mpfr_clears(x, y, z, (mpfr_ptr)0);
  const double bound = whole ? 1 : 2;
  printf("pow %s: %.3f ulp at %a, %a%s\n", whole ? "integer" : "real", worst, at_x, at_y,
         worst < bound ? "" : "  OVER ITS BOUND");
  return worst < bound;
}

int main(int argc, char **argv) {
  const long samples = argc > 1 ? strtol(argv[1], NULL, 10) : 1000000;
  int good = 1;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    good &= check_row(&rows[i], samples);
  }
  good &= check_pow(samples, 0);
  good &= check_pow(samples, 1);
  return good ? 0 : 1;
}
