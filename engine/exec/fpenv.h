/* The floating-point environment of every thread that computes (docs/numerics.md).
 *
 * Round to nearest, all exceptions masked, denormal results flushed to zero (FTZ) and denormal
 * operands read as zero (DAZ). MXCSR belongs to a thread and is inherited by new ones, and a
 * library built with -ffast-math changes it when loaded: so it is set when a thread starts
 * computing and again after each dlopen.
 */
#ifndef STK_EXEC_FPENV_H
#define STK_EXEC_FPENV_H

#include <stdbool.h>
#include <stdint.h>

/* Sets the calling thread's environment; returns the previous control word for stk_fp_leave. */
uint32_t stk_fp_enter(void);

/* Puts a control word back: for code that visits the engine and has its own environment. */
void stk_fp_leave(uint32_t previous);

/* True if the calling thread computes under the engine's environment (sticky exception flags
 * aside). */
bool stk_fp_is_engine(void);

#endif
