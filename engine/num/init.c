/* Initialisers (see init.h). */
#include "engine/num/init.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "engine/num/philox.h"
#include "engine/num/philox_inline.h"

enum { ATTEMPTS = 1000 };

struct stk_fill stk_fill_fan_in_uniform(int64_t fan_in) {
  const double k = 1.0 / sqrt((double)fan_in);
  return (struct stk_fill){.kind = STK_FILL_UNIFORM, .a = -k, .b = k};
}

struct stk_fill stk_fill_xavier_uniform(double gain, int64_t fan_in, int64_t fan_out) {
  const double k = gain * sqrt(6.0 / (double)(fan_in + fan_out));
  return (struct stk_fill){.kind = STK_FILL_UNIFORM, .a = -k, .b = k};
}

struct stk_fill stk_fill_kaiming_normal(double gain, int64_t fan_in) {
  return (struct stk_fill){.kind = STK_FILL_NORMAL, .b = gain / sqrt((double)fan_in)};
}

bool stk_fill_fans(int32_t rank, const int64_t *dims, int64_t *out_fan_in, int64_t *out_fan_out) {
  if (rank < 2) {
    return false;
  }
  int64_t rest = 1;
  for (int32_t i = 2; i < rank; i++) {
    rest *= dims[i];
  }
  *out_fan_in = dims[1] * rest;
  *out_fan_out = dims[0] * rest;
  return true;
}

uint64_t stk_name_hash(const char *name) {
  uint64_t h = 0xcbf29ce484222325ull;
  for (; *name != '\0'; name++) {
    h = (h ^ (uint8_t)*name) * 0x100000001b3ull;
  }
  return h;
}

/* The words of a block at one attempt. */
D_INLINE void draw(uint64_t seed, uint64_t hash, uint64_t block, uint32_t attempt,
                   uint32_t out[4]) {
  uint32_t counter[4];
  stk_philox_counter(STK_PHILOX_INIT, 0, 0, attempt, block, counter);
  counter[2] = (uint32_t)hash;
  counter[3] = (uint32_t)(hash >> 32);
  stk_philox(seed, counter, out);
}

D_INLINE void normal4(uint64_t seed, uint64_t hash, uint64_t block, uint32_t attempt,
                      const struct stk_fill *fill, double out[4]) {
  uint32_t word[4];
  draw(seed, hash, block, attempt, word);
  philox_normal2(word[0], word[1], out);
  philox_normal2(word[2], word[3], out + 2);
  for (int i = 0; i < 4; i++) {
    out[i] = fma(fill->b, out[i], fill->a);
  }
}

D_INLINE void trunc_normal4(uint64_t seed, uint64_t hash, uint64_t block,
                            const struct stk_fill *fill, double out[4]) {
  unsigned missing = 0xf;
  double v[4];
  for (uint32_t attempt = 0; missing != 0 && attempt < ATTEMPTS; attempt++) {
    normal4(seed, hash, block, attempt, fill, v);
    for (unsigned i = 0; i < 4; i++) {
      if ((missing >> i & 1) && v[i] >= fill->low && v[i] <= fill->high) {
        out[i] = v[i];
        missing &= ~(1u << i);
      }
    }
  }
  for (unsigned i = 0; i < 4; i++) {
    if (missing >> i & 1) {
      out[i] = v[i] < fill->low ? fill->low : v[i] > fill->high ? fill->high : v[i];
    }
  }
}

D_INLINE void fill4(const struct stk_fill *fill, uint64_t seed, uint64_t hash, uint64_t block,
                    double out[4]) {
  uint32_t word[4];
  switch (fill->kind) {
    case STK_FILL_CONSTANT:
      out[0] = out[1] = out[2] = out[3] = fill->a;
      break;
    case STK_FILL_UNIFORM:
      draw(seed, hash, block, 0, word);
      for (int i = 0; i < 4; i++) {
        out[i] = fma(fill->b - fill->a, ((double)word[i] + 0.5) * 0x1p-32, fill->a);
      }
      break;
    case STK_FILL_NORMAL:
      normal4(seed, hash, block, 0, fill, out);
      break;
    case STK_FILL_TRUNC_NORMAL:
      trunc_normal4(seed, hash, block, fill, out);
      break;
  }
}

typedef void fill_fn(const struct stk_fill *fill, uint64_t seed, uint64_t hash, uint64_t block,
                     double out[4]);

/* Twice: with a call of libm for each fma, weights take more than twice as long. */
__attribute__((flatten)) static void fill4_plain(const struct stk_fill *fill, uint64_t seed,
                                                 uint64_t hash, uint64_t block, double out[4]) {
  fill4(fill, seed, hash, block, out);
}

#if defined(__x86_64__)
__attribute__((flatten, target("fma"))) static void fill4_fma(const struct stk_fill *fill,
                                                              uint64_t seed, uint64_t hash,
                                                              uint64_t block, double out[4]) {
  fill4(fill, seed, hash, block, out);
}

static fill_fn *choose_fill(void) {
  return __builtin_cpu_supports("fma") ? fill4_fma : fill4_plain;
}
#else
static fill_fn *choose_fill(void) {
  return fill4_plain;
}
#endif

void stk_fill_f64(const struct stk_fill *fill, uint64_t seed, const char *name, uint64_t first,
                  uint64_t n, double *out) {
  assert(first + n <= STK_PHILOX_MAX_ELEMENTS);
  fill_fn *const four = choose_fill();
  const uint64_t hash = stk_name_hash(name);
  for (uint64_t i = 0; i < n;) {
    double block[4];
    four(fill, seed, hash, (first + i) / 4, block);
    for (uint64_t j = (first + i) % 4; j < 4 && i < n; j++, i++) {
      out[i] = block[j];
    }
  }
}

void stk_fill_f32(const struct stk_fill *fill, uint64_t seed, const char *name, uint64_t first,
                  uint64_t n, float *out) {
  while (n > 0) {
    double part[256];
    const uint64_t m = n < 256 ? n : 256;
    stk_fill_f64(fill, seed, name, first, m, part);
    for (uint64_t i = 0; i < m; i++) {
      out[i] = (float)part[i];
    }
    first += m;
    out += m;
    n -= m;
  }
}
