/* Keyed permutations (see permute.h). */
#include "engine/num/permute.h"

#include <assert.h>

#include "engine/num/philox.h"

static void init_table(struct stk_permutation *p, uint64_t seed, uint64_t epoch) {
  for (uint32_t i = 0; i < p->n; i++) {
    p->table[i] = (uint8_t)i;
  }
  for (uint32_t i = (uint32_t)p->n - 1; i > 0; i--) {
    uint32_t counter[4];
    stk_philox_counter(STK_PHILOX_ORDER, epoch, 0, 1, (uint64_t)i << 16, counter);
    const uint32_t j = stk_philox_below(seed, counter, i + 1);
    const uint8_t held = p->table[i];
    p->table[i] = p->table[j];
    p->table[j] = held;
  }
}

void stk_permutation_init(struct stk_permutation *p, uint64_t seed, uint64_t epoch, uint64_t n) {
  assert(n >= 1 && n <= STK_PERMUTE_MAX && epoch <= STK_PHILOX_MAX_BATCH);
  *p = (struct stk_permutation){.n = n};
  if (n <= STK_PERMUTE_TABLE) {
    init_table(p, seed, epoch);
    return;
  }
  int bits = 9;
  while ((n - 1) >> bits != 0) {
    bits++;
  }
  p->low_bits = (uint8_t)(bits / 2);
  p->high_bits = (uint8_t)(bits - bits / 2);
  for (uint32_t i = 0; i < STK_PERMUTE_ROUNDS; i++) {
    uint32_t counter[4];
    uint32_t word[4];
    stk_philox_counter(STK_PHILOX_ORDER, epoch, 0, 0, i / 4, counter);
    stk_philox(seed, counter, word);
    p->key[i] = word[i % 4];
  }
}

/* The round function: 32 bits mixed by two odd multiplications and three shifts. */
static uint32_t mix(uint32_t x, uint32_t key) {
  x ^= key;
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ (x >> 16);
}

static uint64_t network(const struct stk_permutation *p, uint64_t value) {
  const uint32_t low_mask = (uint32_t)((1ull << p->low_bits) - 1);
  const uint32_t high_mask = (uint32_t)((1ull << p->high_bits) - 1);
  uint32_t low = (uint32_t)value & low_mask;
  uint32_t high = (uint32_t)(value >> p->low_bits);
  for (int i = 0; i < STK_PERMUTE_ROUNDS; i += 2) {
    low ^= mix(high, p->key[i]) & low_mask;
    high ^= mix(low, p->key[i + 1]) & high_mask;
  }
  return (uint64_t)high << p->low_bits | low;
}

uint64_t stk_permutation_at(const struct stk_permutation *p, uint64_t i) {
  assert(i < p->n);
  if (p->n <= STK_PERMUTE_TABLE) {
    return p->table[i];
  }
  do {
    i = network(p, i);
  } while (i >= p->n);
  return i;
}

uint64_t stk_permute(uint64_t seed, uint64_t epoch, uint64_t n, uint64_t i) {
  struct stk_permutation p;
  stk_permutation_init(&p, seed, epoch, n);
  return stk_permutation_at(&p, i);
}
