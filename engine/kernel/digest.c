/* Digests of memory, for comparing states (docs/audit.md states the arithmetic).
 *
 * 32 lanes of 32 bits, word i of a chunk into lane i mod 32, a lane's step being a bijection of the
 * lane and of the word: no change of a single word goes unseen. Integers alone, so every variant
 * gives the same bits; the vectors are the compiler's, as wide as the variant's registers. Units
 * are chunks of 64 Ki elements.
 */
#include <string.h>

#include "engine/kernel/kernel.h"
#include "engine/kernel/vec.h"

#if defined(STK_ISA_AVX512)
enum { VEC_BYTES = 64 };
#elif defined(STK_ISA_AVX2)
enum { VEC_BYTES = 32 };
#else
enum { VEC_BYTES = 16 };
#endif

typedef uint32_t words __attribute__((vector_size(VEC_BYTES)));
typedef uint64_t pairs __attribute__((vector_size(VEC_BYTES)));

enum { LANES = 32, VECS = LANES * 4 / VEC_BYTES, ROW = LANES * 4 };

#define FIRST 0x9e3779b9u
#define SECOND 0x85ebca6bu

static inline words turn(words h, words w) {
  h += w * FIRST;
  h = (h << 13) | (h >> 19);
  return h * SECOND;
}

static inline uint32_t turn_one(uint32_t h, uint32_t w) {
  h += w * FIRST;
  h = (h << 13) | (h >> 19);
  return h * SECOND;
}

/* NaNs of any sign and payload as the one with the bits of the quiet positive one. */
static inline words one_nan(words w) {
#if STK_REAL_BITS == 64
  const pairs u = (pairs)w, is_nan = (pairs)((u & 0x7fffffffffffffffu) > 0x7ff0000000000000u);
  return (words)((u & ~is_nan) | (is_nan & 0x7ff8000000000000u));
#else
  const words is_nan = (words)((w & 0x7fffffffu) > 0x7f800000u);
  return (w & ~is_nan) | (is_nan & 0x7fc00000u);
#endif
}

static inline words load(const uint8_t *p) {
  words w;
  memcpy(&w, p, sizeof w);
  return w;
}

/* Whole rows of LANES words. */
static void rows(words h[VECS], const uint8_t *p, int64_t n_rows, bool is_real) {
  words lane[VECS];
  memcpy(lane, h, sizeof lane);
  if (is_real) {
    for (int64_t i = 0; i < n_rows; i++, p += ROW) {
      for (int k = 0; k < VECS; k++) {
        lane[k] = turn(lane[k], one_nan(load(p + k * VEC_BYTES)));
      }
    }
  } else {
    for (int64_t i = 0; i < n_rows; i++, p += ROW) {
      for (int k = 0; k < VECS; k++) {
        lane[k] = turn(lane[k], load(p + k * VEC_BYTES));
      }
    }
  }
  memcpy(h, lane, sizeof lane);
}

static void digest(const uint8_t *p, int64_t bytes, bool is_real, uint32_t out[STK_DIGEST_WORDS]) {
  uint32_t lane[LANES];
  words h[VECS];
  for (int i = 0; i < LANES; i++) {
    lane[i] = (uint32_t)(i + 1) * FIRST;
  }
  memcpy(h, lane, sizeof h);
  const int64_t n_rows = bytes / ROW;
  rows(h, p, n_rows, is_real);
  memcpy(lane, h, sizeof lane);
  const int64_t rest = bytes - n_rows * ROW;
  if (rest > 0) {
    uint8_t last[ROW] = {0};
    words w[VECS];
    uint32_t word[LANES];
    memcpy(last, p + n_rows * ROW, (size_t)rest);
    for (int k = 0; k < VECS; k++) {
      w[k] = is_real ? one_nan(load(last + k * VEC_BYTES)) : load(last + k * VEC_BYTES);
    }
    memcpy(word, w, sizeof word);
    for (int i = 0; i < rest / 4; i++) {
      lane[i] = turn_one(lane[i], word[i]);
    }
  }
  for (int i = 0; i < STK_DIGEST_WORDS; i++) {
    out[i] = lane[i];
    for (int k = i + STK_DIGEST_WORDS; k < LANES; k += STK_DIGEST_WORDS) {
      out[i] = turn_one(out[i], lane[k]);
    }
  }
}

static int64_t digest_units(const void *args, int n_threads) {
  const struct stk_digest_args *a = args;
  (void)n_threads;
  return (a->n + STK_STATE_CHUNK - 1) / STK_STATE_CHUNK;
}

static void digest_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_digest_args *a = args;
  const int64_t each = a->is_real ? (int64_t)sizeof(real) : 4;
  (void)scratch;
  for (int64_t u = lo; u < hi; u++) {
    const int64_t at = u * STK_STATE_CHUNK;
    const int64_t n = a->n - at < STK_STATE_CHUNK ? a->n - at : STK_STATE_CHUNK;
    digest((const uint8_t *)a->x + at * each, n * each, a->is_real, a->out + u * STK_DIGEST_WORDS);
  }
}

extern const struct stk_kernel KFN(digest);
const struct stk_kernel KFN(digest) = {"digest", digest_units, NULL, digest_run};
