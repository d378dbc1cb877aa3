/* MXCSR: see fpenv.h. */
#include "engine/exec/fpenv.h"

#include <xmmintrin.h>

enum {
  STICKY = 0x003f,                        /* exception flags: not part of the environment */
  DENORMALS_ZERO = 0x0040,                /* DAZ */
  MASKS = 0x1f80,                         /* all exceptions masked */
  FLUSH = 0x8000,                         /* FTZ */
  ENGINE = DENORMALS_ZERO | MASKS | FLUSH /* rounding bits 0: to nearest */
};

uint32_t stk_fp_enter(void) {
  const uint32_t previous = _mm_getcsr();
  if ((previous & ~(uint32_t)STICKY) != ENGINE) {
    _mm_setcsr(ENGINE);
  }
  return previous;
}

void stk_fp_leave(uint32_t previous) {
  if ((previous & ~(uint32_t)STICKY) != ENGINE) {
    _mm_setcsr(previous);
  }
}

bool stk_fp_is_engine(void) {
  return (_mm_getcsr() & ~(uint32_t)STICKY) == ENGINE;
}
