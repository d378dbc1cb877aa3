/* Proves that the f32 functions are correctly rounded: every one of the 2^32 inputs.
 *
 *   check_rounding VARIANT FUNCTION [HARDEST]
 *
 * The reference is x87 long double (64 bits, glibc's functions, which share no code with ours).
 * Where it lies within 2^10 of its ulps of a rounding boundary of binary32, MPFR decides with 200
 * bits, and more until it can round. Where the inequality beside a function fixes the result, that
 * is expected. Expected results are flushed to zero below 2^-126, and denormal inputs are zeros, as
 * docs/numerics.md says. Prints mismatches and totals; with HARDEST writes the 200 inputs nearest
 * to a boundary and their results as a C table. Needs libmpfr; minutes a function, one thread.
 * tests/offline/README.md has the command and the results.
 */
#include <fenv.h>
#include <immintrin.h>
#include <math.h>
#include <mpfr.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kernel/vecfn.h"

enum { BLOCK = 1 << 14, HARDEST = 200, NEAR = 1 << 10 };

struct hard {
  uint32_t x, y;
  uint64_t distance; /* from the boundary in ulps of long double */
};

struct function {
  const char *name;
  long double (*reference)(long double);
  int (*exact)(mpfr_t y, const mpfr_t x);
  int (*known)(float x, float *y); /* results that need no reference */
};

static long double sigmoid_l(long double x) {
  return 1 / (1 + expl(-x));
}

static long double softplus_l(long double x) {
  return x > 60 ? x : log1pl(expl(x));
}

static int exp_m(mpfr_t y, const mpfr_t x) {
  return mpfr_exp(y, x, MPFR_RNDN);
}

static int log_m(mpfr_t y, const mpfr_t x) {
  return mpfr_log(y, x, MPFR_RNDN);
}

static int tanh_m(mpfr_t y, const mpfr_t x) {
  return mpfr_tanh(y, x, MPFR_RNDN);
}

static int erf_m(mpfr_t y, const mpfr_t x) {
  return mpfr_erf(y, x, MPFR_RNDN);
}

static int sigmoid_m(mpfr_t y, const mpfr_t x) {
  mpfr_neg(y, x, MPFR_RNDN);
  mpfr_exp(y, y, MPFR_RNDN);
  mpfr_add_ui(y, y, 1, MPFR_RNDN);
  return mpfr_ui_div(y, 1, y, MPFR_RNDN) != 0;
}

static int softplus_m(mpfr_t y, const mpfr_t x) {
  mpfr_exp(y, x, MPFR_RNDN);
  return mpfr_log1p(y, y, MPFR_RNDN) != 0;
}

/* |exp(x) - 1| < 2^-25 for |x| < 2^-26; exp(89) > 2^128; exp(-104) < 2^-150. */
static int exp_known(float x, float *y) {
  *y = fabsf(x) < 0x1p-26f ? 1 : x > 89 ? INFINITY : 0;
  return fabsf(x) < 0x1p-26f || x > 89 || x < -104;
}

/* 0 < x - tanh(x) < 2^-27 x for 0 < x < 2^-13; 1 - tanh(9.1) < 2^-25. */
static int tanh_known(float x, float *y) {
  *y = fabsf(x) < 0x1p-13f ? x : copysignf(1, x);
  return fabsf(x) < 0x1p-13f || fabsf(x) > 9.1f;
}

/* |sigmoid(x) - 1/2| < 2^-28 for |x| < 2^-26; exp(-18) < 2^-25; exp(-104) < 2^-150. */
static int sigmoid_known(float x, float *y) {
  *y = fabsf(x) < 0x1p-26f ? 0.5f : x > 18 ? 1 : 0;
  return fabsf(x) < 0x1p-26f || x > 18 || x < -104;
}

/* 1 - erf(3.95) < 2^-25. */
static int erf_known(float x, float *y) {
  *y = copysignf(1, x);
  return fabsf(x) > 3.95f;
}

/* 0 < softplus(x) - x < exp(-x) < half the last bit of x for x > 20; |softplus(x) - log(2)| < 2^-27
 * for |x| < 2^-26, and log(2) is 2^-25.1 from a boundary. */
static int softplus_known(float x, float *y) {
  *y = fabsf(x) < 0x1p-26f ? 0x1.62e43p-1f : x > 20 ? x : 0;
  return fabsf(x) < 0x1p-26f || x > 20 || x < -104;
}

static int log_known(float x, float *y) {
  *y = NAN;
  return x < 0;
}

static const struct function functions[] = {
    {"exp", expl, exp_m, exp_known},     {"log", logl, log_m, log_known},
    {"tanh", tanhl, tanh_m, tanh_known}, {"sigmoid", sigmoid_l, sigmoid_m, sigmoid_known},
    {"erf", erfl, erf_m, erf_known},     {"softplus", softplus_l, softplus_m, softplus_known}};

static float as_float(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static uint32_t as_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/* m 2^exponent with a 24-bit m (or 2^24) as binary32, overflowing and flushing. */
static uint32_t assemble(uint32_t sign, uint64_t m, int exponent) {
  if (m == 1u << 24) {
    m >>= 1;
    exponent++;
  }
  const int biased = exponent + 23 + 127;
  if (biased >= 255) {
    return sign | 0x7f800000u;
  }
  if (biased <= 0) {
    return sign;
  }
  return sign | (uint32_t)biased << 23 | ((uint32_t)m & 0x7fffffu);
}

static uint32_t round_mpfr(const struct function *f, uint32_t x_bits) {
  for (mpfr_prec_t precision = 200;; precision *= 2) {
    mpfr_t x, y;
    mpfr_init2(x, 24);
    mpfr_init2(y, precision);
    mpfr_set_flt(x, as_float(x_bits), MPFR_RNDN);
    const int inexact = f->exact(y, x);
    uint32_t result = 0;
    int done = 0;
    if (!inexact || mpfr_can_round(y, precision - 8, MPFR_RNDN, MPFR_RNDN, 24)) {
      mpfr_prec_round(y, 24, MPFR_RNDN);
      const uint32_t sign = mpfr_signbit(y) ? 0x80000000u : 0;
      if (mpfr_zero_p(y)) {
        result = sign;
      } else {
        mpfr_exp_t e = mpfr_get_exp(y); /* y = 0.1xxx * 2^e */
        mpfr_abs(y, y, MPFR_RNDN);
        mpfr_mul_2si(y, y, 24 - e, MPFR_RNDN);
        result = assemble(sign, mpfr_get_ui(y, MPFR_RNDN), (int)e - 24);
      }
      done = 1;
    }
    mpfr_clear(x);
    mpfr_clear(y);
    if (done) {
      return result;
    }
  }
}

/* The expected bits by the reference, and how near to a boundary it is. */
static uint32_t round_long(long double v, uint64_t *out_distance) {
  uint64_t m;
  uint16_t se;
  memcpy(&m, &v, 8);
  memcpy(&se, (const char *)&v + 8, 2);
  const uint32_t sign = (uint32_t)(se >> 15) << 31;
  const int e = se & 0x7fff;
  *out_distance = UINT64_MAX;
  if (e == 0x7fff) {
    return m << 1 ? 0x7fc00000u : sign | 0x7f800000u;
  }
  if (m == 0) {
    return sign;
  }
  const uint64_t low = m & (((uint64_t)1 << 40) - 1);
  const uint64_t half = (uint64_t)1 << 39;
  *out_distance = low > half ? low - half : half - low;
  return assemble(sign, (m >> 40) + (low > half), e - 16383 - 63 + 40);
}

struct tally {
  uint64_t inputs, mismatches, decided;
  struct hard hardest[HARDEST];
  int n_hardest;
};

static void remember(struct tally *t, uint32_t x, uint32_t y, uint64_t distance) {
  /* Small arguments repeat one pattern in every binade: they would fill the table. */
  const uint32_t exponent = x >> 23 & 0xff;
  if (distance == UINT64_MAX || exponent < 127 - 13 || (y & 0x7fffffffu) == 0) {
    return;
  }
  if (t->n_hardest == HARDEST && distance >= t->hardest[HARDEST - 1].distance) {
    return;
  }
  int i = t->n_hardest < HARDEST ? t->n_hardest++ : HARDEST - 1;
  for (; i > 0 && t->hardest[i - 1].distance > distance; i--) {
    t->hardest[i] = t->hardest[i - 1];
  }
  t->hardest[i] = (struct hard){x, y, distance};
}

static uint32_t expected_bits(const struct function *f, struct tally *t, uint32_t x) {
  const uint32_t flushed = (x & 0x7f800000u) == 0 ? x & 0x80000000u : x;
  uint64_t distance;
  float known;
  if (f->known(as_float(flushed), &known)) {
    return as_bits(known);
  }
  uint32_t y = round_long(f->reference((long double)as_float(flushed)), &distance);
  if (distance < NEAR) {
    y = round_mpfr(f, flushed);
    t->decided++;
  }
  remember(t, x, y, distance);
  return y;
}

static int is_nan(uint32_t bits) {
  return (bits & 0x7fffffffu) > 0x7f800000u;
}

static void check_block(const struct function *f, const struct stk_vecfn *ours, struct tally *t,
                        uint32_t first) {
  static float x[BLOCK], y[BLOCK];
  for (uint32_t i = 0; i < BLOCK; i++) {
    x[i] = as_float(first + i);
  }
  const unsigned csr = _mm_getcsr();
  _mm_setcsr(0x9fc0); /* FTZ, DAZ, round to nearest, masked */
  ours->run(x, y, BLOCK);
  _mm_setcsr(csr);
  for (uint32_t i = 0; i < BLOCK; i++) {
    const uint32_t want = expected_bits(f, t, first + i);
    const uint32_t got = as_bits(y[i]);
    t->inputs++;
    if (want != got && !(is_nan(want) && is_nan(got))) {
      if (t->mismatches++ < 40) {
        printf("%s(%a): %a, correctly rounded %a (input 0x%08x)\n", f->name, (double)x[i],
               (double)y[i], (double)as_float(want), first + i);
      }
    }
  }
}

static void write_hardest(const char *name, const struct tally *t, const char *path) {
  FILE *file = fopen(path, "w");
  if (file == NULL) {
    perror(path);
    exit(1);
  }
  fprintf(file, "static const struct hard hard_%s[] = {\n", name);
  for (int i = 0; i < t->n_hardest; i++) {
    const struct hard *h = &t->hardest[i];
    fprintf(file, "%s{0x%08xu, 0x%08xu}%s", i % 3 == 0 ? "    " : " ", h->x, h->y,
            i + 1 == t->n_hardest ? ""
            : i % 3 == 2          ? ",\n"
                                  : ",");
  }
  fprintf(file, "};\n");
  if (fclose(file) != 0) {
    perror(path);
    exit(1);
  }
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: %s VARIANT FUNCTION [HARDEST-FILE]\n", argv[0]);
    return 2;
  }
  const struct stk_vecfn_table *table = stk_vecfn_get(argv[1]);
  const struct function *f = NULL;
  const struct stk_vecfn *ours = NULL;
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    f = strcmp(functions[i].name, argv[2]) == 0 ? &functions[i] : f;
  }
  for (int i = 0; table != NULL && table->fn[i].name != NULL; i++) {
    ours = strcmp(table->fn[i].name, argv[2]) == 0 ? &table->fn[i] : ours;
  }
  if (f == NULL || ours == NULL || !stk_vecfn_runs_here(argv[1])) {
    fprintf(stderr, "%s: no function %s in variant %s here\n", argv[0], argv[2], argv[1]);
    return 2;
  }
  static struct tally t;
  const char *step = getenv("CHECK_EVERY"); /* a quick look: only every n-th block */
  const uint64_t stride = (uint64_t)BLOCK * (step != NULL ? strtoul(step, NULL, 10) : 1);
  for (uint64_t first = 0; first < (uint64_t)1 << 32; first += stride) {
    check_block(f, ours, &t, (uint32_t)first);
  }
  printf("%s %s: %llu inputs, %llu mismatches, %llu decided by MPFR\n", argv[1], f->name,
         (unsigned long long)t.inputs, (unsigned long long)t.mismatches,
         (unsigned long long)t.decided);
  if (argc > 3) {
    write_hardest(f->name, &t, argv[3]);
  }
  return t.mismatches == 0 ? 0 : 1;
}
