/* The engine's own double functions: schedules, beta^t, initialisation, 64-bit kernels.
 *
 * glibc's change their last bits with the CPU; these do not: no libm but sqrt and fma, single IEEE
 * operations in a fixed order. Denormal arguments count as zeros and denormal results are zeros,
 * whatever the thread's FTZ and DAZ. NaN gives NaN. Errors are in units in the last place of the
 * result, measured against MPFR (tests/offline/check_dmath.c). Any thread.
 */
#ifndef STK_NUM_DMATH_H
#define STK_NUM_DMATH_H

#include <stdint.h>

double stk_exp_d(double x);      /* < 1 ulp; x < -708.39 gives 0 */
double stk_log_d(double x);      /* < 1 ulp; x < 0: NaN, 0: -inf */
double stk_tanh_d(double x);     /* < 3 ulp */
double stk_sigmoid_d(double x);  /* < 3 ulp */
double stk_erf_d(double x);      /* < 2 ulp */
double stk_softplus_d(double x); /* < 3 ulp */

/* sin(pi x), cos(pi x): x is reduced exactly. < 1.5 ulp; exact zeros at (half) integers. */
double stk_sinpi_d(double x);
double stk_cospi_d(double x);

/* |x| <= 2^20, else NaN. < 1 ulp, except within 2^-60 of a zero. */
double stk_sin_d(double x);
double stk_cos_d(double x);

/* x^n by binary powers in pairs of doubles: < 1 ulp where |result| > 2^-900; x^0 = 1 for every x,
 * NaN too. */
double stk_pow_int_d(double x, int64_t n);

/* x^y: stk_pow_int_d where y is an integer below 2^31 in magnitude; else x > 0 and < 2 ulp; x = 0
 * gives 0 (y > 0) or inf (y < 0); x < 0 gives NaN. */
double stk_pow_d(double x, double y);

#endif
