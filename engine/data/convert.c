/* Conversion loops. They work in blocks that are copied to the stack first, which allows a source
 * inside its destination: a whole block's results end before the source of the next one begins. The
 * last block goes through the stack on both sides and is converted whole too (its tail is old or
 * zero): a constant count without alias is what compilers vectorise at -O2.
 */
#include "engine/data/convert.h"

#include <string.h>

enum { BLOCK = 256 };

size_t stk_target_bytes(enum stk_target t) {
  return t == STK_TARGET_F64 ? 8 : 4;
}

#define BLOCK_LOOP(name, from, to, value)                                             \
  static void name(const void *src, void *dst, int64_t n) {                           \
    from in[BLOCK] = {0};                                                             \
    to last[BLOCK];                                                                   \
    for (int64_t at = 0; at < n; at += BLOCK) {                                       \
      size_t m = n - at < BLOCK ? (size_t)(n - at) : BLOCK;                           \
      to *out = m < BLOCK ? last : (to *)dst + at;                                    \
      memcpy(in, (const uint8_t *)src + (size_t)at * sizeof(from), m * sizeof(from)); \
      for (size_t i = 0; i < BLOCK; i++) {                                            \
        out[i] = value;                                                               \
      }                                                                               \
      if (m < BLOCK) {                                                                \
        memcpy((to *)dst + at, last, m * sizeof(to));                                 \
      }                                                                               \
    }                                                                                 \
  }

/* v / 255 as v * 2^-8 (1 + 2^-8), which is exact, and the rest: the sum's rounding is the
 * quotient's for every v, and vectors divide slowly. */
#define INV255_HIGH 0x1.01p-8f
#define INV255_LOW ((float)(1.0 / 255.0 - 0x1.01p-8))

BLOCK_LOOP(u8_to_f32, uint8_t, float, (float)in[i] * INV255_HIGH + (float)in[i] * INV255_LOW)
BLOCK_LOOP(u8_to_f64, uint8_t, double, (double)in[i] / 255.0)
BLOCK_LOOP(f32_to_f64, float, double, (double)in[i])
BLOCK_LOOP(f64_to_f32, double, float, (float)in[i])
BLOCK_LOOP(u8_to_i32, uint8_t, int32_t, in[i])
BLOCK_LOOP(u16_to_i32, uint16_t, int32_t, in[i])

static int64_t u32_to_i32(const void *src, void *dst, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    uint32_t v;
    memcpy(&v, (const uint8_t *)src + (size_t)i * 4, 4);
    if (v > INT32_MAX) {
      return i;
    }
    memcpy((uint8_t *)dst + (size_t)i * 4, &v, 4);
  }
  return -1;
}

static void copy(const void *src, void *dst, int64_t n, size_t bytes) {
  if (src != dst) {
    memmove(dst, src, (size_t)n * bytes);
  }
}

int64_t stk_convert(stk_dtype from, const void *src, enum stk_target to, void *dst, int64_t n) {
  bool wide = to == STK_TARGET_F64;
  switch (from) {
    case STK_F32:
      wide ? f32_to_f64(src, dst, n) : copy(src, dst, n, 4);
      return -1;
    case STK_F64:
      wide ? copy(src, dst, n, 8) : f64_to_f32(src, dst, n);
      return -1;
    case STK_U8:
      if (to == STK_TARGET_I32) {
        u8_to_i32(src, dst, n);
      } else {
        wide ? u8_to_f64(src, dst, n) : u8_to_f32(src, dst, n);
      }
      return -1;
    case STK_U16:
      u16_to_i32(src, dst, n);
      return -1;
    case STK_U32:
      return u32_to_i32(src, dst, n);
    case STK_I32:
      copy(src, dst, n, 4);
      return -1;
    default:
      return 0;
  }
}
