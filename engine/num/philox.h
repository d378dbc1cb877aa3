/* Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC11):
 * the one source of randomness. Stateless: a number is a function of who it is for.
 *
 * key      = seed: k0 its low 32 bits, k1 its high 32
 * counter  = c0  low 32 bits of the block index, block = element / 4
 *            c1  bits 0..7 high 8 bits of the block index, 8..28 ordinal, 29..31 stream
 *            c2  low 32 bits of the batch index
 *            c3  bits 0..15 high 16 bits of the batch index, 16..31 lane
 * An element takes word element % 4 of its block. The ordinal numbers the random ops of a trace.
 * Streams keep the uses apart (enum stk_philox_stream). Initialisers put a name's hash into c2 and
 * c3 instead (engine/num/init.h).
 */
#ifndef STK_NUM_PHILOX_H
#define STK_NUM_PHILOX_H

#include <stdint.h>

#define STK_PHILOX_ROUNDS 10
#define STK_PHILOX_M0 0xD2511F53u
#define STK_PHILOX_M1 0xCD9E8D57u
#define STK_PHILOX_W0 0x9E3779B9u
#define STK_PHILOX_W1 0xBB67AE85u

typedef enum stk_philox_stream {
  STK_PHILOX_TRAIN = 0,
  STK_PHILOX_VALIDATE = 1,
  STK_PHILOX_TEST = 2,
  STK_PHILOX_PREDICT = 3,
  STK_PHILOX_INIT = 4,
  STK_PHILOX_ORDER = 5,
  STK_PHILOX_DATA = 6,    /* synthetic data */
  STK_PHILOX_GENERATE = 7 /* sampling from a trained model */
} stk_philox_stream;

/* Limits of the packing; callers refuse what is beyond. */
#define STK_PHILOX_MAX_ELEMENTS (1ull << 42)
#define STK_PHILOX_MAX_ORDINAL ((1u << 21) - 1)
#define STK_PHILOX_MAX_BATCH ((1ull << 48) - 1)
#define STK_PHILOX_MAX_LANE 0xffffu

/* One block: out[0..3]. out may be counter. */
void stk_philox(uint64_t key, const uint32_t counter[4], uint32_t out[4]);

/* The counter of block `block` (element / 4) by the packing above. Values within the limits. */
static inline void stk_philox_counter(stk_philox_stream stream, uint64_t batch, uint32_t lane,
                                      uint32_t ordinal, uint64_t block, uint32_t out_counter[4]) {
  out_counter[0] = (uint32_t)block;
  out_counter[1] = (uint32_t)(block >> 32 & 0xff) | ordinal << 8 | (uint32_t)stream << 29;
  out_counter[2] = (uint32_t)batch;
  out_counter[3] = (uint32_t)(batch >> 32 & 0xffff) | lane << 16;
}

/* [0, 1): the top 24 bits times 2^-24. Exact in float and double. */
static inline float stk_philox_uniform(uint32_t word) {
  return (float)(word >> 8) * 0x1p-24f;
}

/* Keep with probability 1 - p: an element is kept iff its word >= this. p in [0, 1): p times 2^32,
 * rounded down. */
static inline uint32_t stk_philox_drop_threshold(double p) {
  return (uint32_t)(p * 0x1p32);
}

/* Two standard normals of two words by Box-Muller in double: r = sqrt(-2 log((a + 1) 2^-32)), then
 * r cos(2 pi b 2^-32) and r sin(2 pi b 2^-32). |value| < 6.67. */
void stk_philox_normal2(uint32_t a, uint32_t b, double out[2]);

/* A uniform integer in [0, n), n >= 1, without bias: the first word w in order, over the blocks at
 * counter, counter + 1 in c0, ..., with (w n mod 2^32) >= (2^32 mod n) gives floor(w n / 2^32). */
uint32_t stk_philox_below(uint64_t key, const uint32_t counter[4], uint32_t n);

#endif
