/* Types that every public header shares: status and element type.
 *
 * Public headers stand alone: they include the C library and each other, compile as C and as C++,
 * and use the prefix stk_ only. The values are part of the binary interface: they are never
 * renumbered, new ones are appended.
 */
#ifndef STOKER_TYPES_H
#define STOKER_TYPES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* 0 is success; every other value is a failure, whose text was given to the engine. */
typedef int stk_status;

typedef enum stk_dtype {
  STK_F32 = 0,
  STK_F64 = 1,
  STK_I32 = 2,
  STK_U8 = 3,
  STK_U16 = 4,
  STK_U32 = 5
} stk_dtype;

#ifdef __cplusplus
}
#endif

#endif
