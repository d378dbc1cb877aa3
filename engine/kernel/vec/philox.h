/* Philox4x32-10 on 16 lanes: the vector form of engine/num/philox.h, for kernels that draw numbers.
 *
 * Lane i holds block c[0] + i. The packing of (seed, stage, batch, lane, ordinal, element) into key
 * and counter is engine/num/philox.h's.
 */
#ifndef STK_KERNEL_VEC_PHILOX_H
#define STK_KERNEL_VEC_PHILOX_H

#include "engine/kernel/vec.h"
#include "engine/num/philox.h"

/* out[w] lane i = word w of the block at counter {c[0] + i, c[1], c[2], c[3]}; c[0] + 15 must not
 * wrap. */
V_INLINE void v_philox(uint64_t key, const uint32_t c[4], vint out[4]) {
  uint32_t k0 = (uint32_t)key;
  uint32_t k1 = (uint32_t)(key >> 32);
  vint x0 = vi_add(vi_set1((int32_t)c[0]), vi_iota());
  vint x1 = vi_set1((int32_t)c[1]);
  vint x2 = vi_set1((int32_t)c[2]);
  vint x3 = vi_set1((int32_t)c[3]);
  for (int round = 0; round < STK_PHILOX_ROUNDS; round++) {
    vint hi0, lo0, hi2, lo2;
    vi_mulhilo(x0, vi_set1((int32_t)STK_PHILOX_M0), &hi0, &lo0);
    vi_mulhilo(x2, vi_set1((int32_t)STK_PHILOX_M1), &hi2, &lo2);
    x0 = vi_xor(vi_xor(hi2, x1), vi_set1((int32_t)k0));
    x1 = lo2;
    x2 = vi_xor(vi_xor(hi0, x3), vi_set1((int32_t)k1));
    x3 = lo0;
    k0 += STK_PHILOX_W0;
    k1 += STK_PHILOX_W1;
  }
  out[0] = x0;
  out[1] = x1;
  out[2] = x2;
  out[3] = x3;
}

/* The words of 64 consecutive elements in element order: out[4 i + w] is word w of block c[0] + i.
 */
V_INLINE void v_philox64(uint64_t key, const uint32_t c[4], uint32_t out[64]) {
  vint word[4];
  int32_t plain[4][16];
  v_philox(key, c, word);
  for (int w = 0; w < 4; w++) {
    vi_store(plain[w], word[w]);
  }
  for (int i = 0; i < 16; i++) {
    for (int w = 0; w < 4; w++) {
      out[4 * i + w] = (uint32_t)plain[w][i];
    }
  }
}

#endif
