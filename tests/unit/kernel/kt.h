/* Kernel tests: variants, memory between guard bands, unit splits, comparisons.
 *
 * A test builds its arguments once per variant with kt_new (the same data each time), runs them
 * with kt_run and compares outputs by bits. Memory from kt_new lies between guard bands and starts
 * as NaN, so that an element nobody wrote shows; kt_reset checks the bands and releases everything.
 * Everything runs under the engine's floating-point environment (set by kt_setup).
 */
#ifndef KT_H
#define KT_H

#include "tests/lib/tt.h"

#include "engine/kernel/kernel.h"

enum { KT_VARIANTS = 4 };

struct kt_variant {
  const char *name;
  const struct stk_kernels *kernels;
};

/* How units are grouped into calls of `run`. */
typedef enum kt_split {
  KT_WHOLE,  /* one call */
  KT_SINGLE, /* unit by unit, last first */
  KT_UNEVEN, /* groups of 1, 2, 3, ... units */
  KT_SPLITS
} kt_split;

/* cmocka group fixture: FTZ and DAZ. */
int kt_setup(void **state);

/* The f32 variants this machine can run, ref first; names the missing ones once on standard error.
 * Returns their number. */
int kt_variants(struct kt_variant out[KT_VARIANTS]);

/* ref in double precision (with fma instructions where the CPU has them: the same bits). */
const struct stk_kernels *kt_f64(void);

/* Runs all units; the scratch memory has the size asked for, filled with NaN before each call. */
void kt_run(const struct stk_kernel *kernel, const void *args, kt_split split);

/* n elements of the given size, 64-byte aligned, between guard bands, every byte 0xff. */
void *kt_new(int64_t n, size_t size);

/* The same, plus `shift` elements off the alignment. */
void *kt_new_shifted(int64_t n, size_t size, int64_t shift);

/* Checks every guard band (fails the test, naming `what`) and releases all memory of kt_new. */
void kt_reset(const char *what);

/* Uniform in [lo, hi), a function of seed and index alone. */
void kt_uniform(float *x, int64_t n, uint32_t seed, float lo, float hi);
void kt_widen(double *to, const float *from, int64_t n);
uint32_t kt_random(uint32_t seed, uint32_t index);

/* Fails unless the bits agree; any NaN equals any NaN. */
void kt_equal(const float *a, const float *b, int64_t n, const char *what);

/* True if they differ anywhere: for negative controls. */
bool kt_differs(const float *a, const float *b, int64_t n);

/* Fails unless |a - b| <= atol + rtol |b| for every element. */
void kt_near(const float *a, const double *b, int64_t n, double atol, double rtol,
             const char *what);
void kt_near64(const double *a, const double *b, int64_t n, double atol, double rtol,
               const char *what);

#endif
