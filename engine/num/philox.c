/* Philox4x32-10, scalar (see philox.h). */
#include "engine/num/philox.h"

#include "engine/num/philox_inline.h"

void stk_philox(uint64_t key, const uint32_t counter[4], uint32_t out[4]) {
  uint32_t k0 = (uint32_t)key;
  uint32_t k1 = (uint32_t)(key >> 32);
  uint32_t x[4] = {counter[0], counter[1], counter[2], counter[3]};
  for (int round = 0; round < STK_PHILOX_ROUNDS; round++) {
    const uint64_t p0 = (uint64_t)STK_PHILOX_M0 * x[0];
    const uint64_t p1 = (uint64_t)STK_PHILOX_M1 * x[2];
    x[0] = (uint32_t)(p1 >> 32) ^ x[1] ^ k0;
    x[1] = (uint32_t)p1;
    x[2] = (uint32_t)(p0 >> 32) ^ x[3] ^ k1;
    x[3] = (uint32_t)p0;
    k0 += STK_PHILOX_W0;
    k1 += STK_PHILOX_W1;
  }
  for (int i = 0; i < 4; i++) {
    out[i] = x[i];
  }
}

void stk_philox_normal2(uint32_t a, uint32_t b, double out[2]) {
  philox_normal2(a, b, out);
}

uint32_t stk_philox_below(uint64_t key, const uint32_t counter[4], uint32_t n) {
  const uint32_t reject = (uint32_t)(-n) % n; /* 2^32 mod n */
  uint32_t at[4] = {counter[0], counter[1], counter[2], counter[3]};
  for (;; at[0]++) {
    uint32_t word[4];
    stk_philox(key, at, word);
    for (int i = 0; i < 4; i++) {
      const uint64_t product = (uint64_t)word[i] * n;
      if ((uint32_t)product >= reject) {
        return (uint32_t)(product >> 32);
      }
    }
  }
}
