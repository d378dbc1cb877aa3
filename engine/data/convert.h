/* Conversion of samples into the element types that a model sees.
 *
 * u8 in x becomes v / 255 (a division, correctly rounded); other integers become i32 ids; floats
 * become float or double, to nearest even. The caller sets the floating-point environment
 * (engine/exec/fpenv.h), so that results do not depend on the thread.
 */
#ifndef STK_DATA_CONVERT_H
#define STK_DATA_CONVERT_H

#include <stoker/types.h>

#include <stdbool.h>

/* What a conversion makes. */
enum stk_target { STK_TARGET_F32, STK_TARGET_F64, STK_TARGET_I32 };

/* Converts n elements of type from at src into dst. src may lie inside dst if it ends where dst
 * ends and its elements are not larger. Returns the index of the first value that i32 cannot
 * hold, or -1. */
int64_t stk_convert(stk_dtype from, const void *src, enum stk_target to, void *dst, int64_t n);

size_t stk_target_bytes(enum stk_target t);

#endif
