/* Box and Muller's transform as an inline body: for philox.c, and for init.c, which is compiled
 * with fma in one instruction too. */
#ifndef STK_NUM_PHILOX_INLINE_H
#define STK_NUM_PHILOX_INLINE_H

#include "engine/num/dmath_inline.h"

/* As stk_philox_normal2 (philox.h). */
D_INLINE void philox_normal2(uint32_t a, uint32_t b, double out[2]) {
  const double u = ((double)a + 1.0) * 0x1p-32;
  const double turn = (double)b * 0x1p-31; /* 2 b 2^-32: in half turns */
  const double r = sqrt(-2.0 * d_log(u));
  double sine, cosine;
  d_sincospi(turn, &sine, &cosine);
  out[0] = r * cosine;
  out[1] = r * sine;
}

#endif
