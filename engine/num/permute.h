/* The order of samples: a bijection of [0, n) that is a function of (seed, epoch), in O(1) memory.
 *
 * n <= 256: the Fisher-Yates shuffle, drawn by stk_philox_below. Larger n: a Feistel network of ten
 * rounds over the b bits of n - 1, walked until the value falls below n (at most 2 rounds of the
 * network on average). Round keys are Philox words of the stream STK_PHILOX_ORDER with the epoch as
 * batch index. docs/numerics.md gives the steps. Stateless after init; any thread may read.
 */
#ifndef STK_NUM_PERMUTE_H
#define STK_NUM_PERMUTE_H

#include <stdint.h>

enum { STK_PERMUTE_TABLE = 256, STK_PERMUTE_ROUNDS = 10 };
#define STK_PERMUTE_MAX (1ull << 40)

struct stk_permutation {
  uint64_t n;
  uint32_t key[STK_PERMUTE_ROUNDS];
  uint8_t table[STK_PERMUTE_TABLE]; /* n <= 256 only */
  uint8_t low_bits, high_bits;
};

/* n in 1..2^40, epoch < 2^48. */
void stk_permutation_init(struct stk_permutation *p, uint64_t seed, uint64_t epoch, uint64_t n);

/* Where position i < n goes: the i-th sample of the epoch. */
uint64_t stk_permutation_at(const struct stk_permutation *p, uint64_t i);

/* Both at once, for a few positions. */
uint64_t stk_permute(uint64_t seed, uint64_t epoch, uint64_t n, uint64_t i);

#endif
