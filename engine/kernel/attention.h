/* What the two attention kernels share: the cut into blocks, packing, products of blocks, dropout.
 *
 * Queries and keys go in blocks of 64, from 0. Operands of one (batch, head) are packed into
 * zero-padded scratch: rows of `width` (dim rounded up to 16) elements, or transposed with 64 keys
 * side by side. With a causal mask a block of keys right of the diagonal is not visited, and inside
 * a diagonal block the pair of query i and key j takes part in a product iff i / 4 >= j / 4, with
 * probability +0 where j > i: so that tiles of four rows need no loop of their own per row.
 */
#ifndef STK_KERNEL_ATTENTION_H
#define STK_KERNEL_ATTENTION_H

#include <string.h>

#include "engine/kernel/carve.h"
#include "engine/kernel/gemm/pack.h"
#include "engine/kernel/kernel.h"
#include "engine/kernel/rows.h"
#include "engine/kernel/vec.h"
#include "engine/kernel/vec/fn.h"
#include "engine/kernel/vec/philox.h"

enum { BLOCK = 64, TILE = 4, CHUNK = 256 };

V_INLINE int64_t padded_width(int64_t dim) {
  return ceil_div(dim, V_LANES) * V_LANES;
}

V_INLINE int64_t n_blocks(int64_t t) {
  return ceil_div(t, BLOCK);
}

V_INLINE int64_t block_size(int64_t t, int64_t block) {
  return min64(t - block * BLOCK, BLOCK);
}

V_INLINE const real *head_of(const struct stk_heads *x, int64_t b, int64_t h) {
  return (const real *)x->p + b * x->sb + h * x->sh;
}

/* n rows of dim elements to 64 rows of width, the rest +0. */
V_INLINE void pack_rows(const real *x, int64_t stride, int64_t n, int64_t dim, real *to) {
  const int64_t width = padded_width(dim);
  for (int64_t i = 0; i < n; i++) {
    int64_t c = 0;
    for (; c + V_LANES <= dim; c += V_LANES) {
      v_store(to + i * width + c, v_load(x + i * stride + c));
    }
    if (c < dim) {
      v_store(to + i * width + c, v_load_n(x + i * stride + c, dim - c));
    }
  }
  memset(to + n * width, 0, (size_t)((BLOCK - n) * width) * sizeof(real));
}

/* n rows of dim elements to dim rows of 64, the rest +0. */
V_INLINE void pack_transposed(const real *x, int64_t stride, int64_t n, int64_t dim, real *to) {
  gemm_pack_rows(x, stride, n, BLOCK, dim, to);
}

/* Where a 4x16 tile of a product goes. */
struct tile {
  vreal r0, r1, r2, r3;
};

/* sum over k < n of a[r * row + k * step] * b[k * ldb + 0..15], r = 0..3; k ascending, one chain of
 * fma from +0. */
V_INLINE struct tile tile_chain(const real *a, int64_t row, int64_t step, const real *b,
                                int64_t ldb, int64_t n) {
  struct tile t = {v_zero(), v_zero(), v_zero(), v_zero()};
  for (int64_t k = 0; k < n; k++) {
    const vreal right = v_load(b + k * ldb);
    t.r0 = v_fma(v_set1(a[0 * row + k * step]), right, t.r0);
    t.r1 = v_fma(v_set1(a[1 * row + k * step]), right, t.r1);
    t.r2 = v_fma(v_set1(a[2 * row + k * step]), right, t.r2);
    t.r3 = v_fma(v_set1(a[3 * row + k * step]), right, t.r3);
  }
  return t;
}

/* Two tiles side by side, at b and b + 16: four chains alone would wait for each other. */
struct tiles {
  struct tile one, two;
};

V_INLINE struct tiles tiles_chain(const real *a, int64_t row, int64_t step, const real *b,
                                  int64_t ldb, int64_t n) {
  struct tiles t = {{v_zero(), v_zero(), v_zero(), v_zero()},
                    {v_zero(), v_zero(), v_zero(), v_zero()}};
  for (int64_t k = 0; k < n; k++) {
    const vreal right = v_load(b + k * ldb), far = v_load(b + k * ldb + V_LANES);
    const vreal a0 = v_set1(a[0 * row + k * step]), a1 = v_set1(a[1 * row + k * step]);
    const vreal a2 = v_set1(a[2 * row + k * step]), a3 = v_set1(a[3 * row + k * step]);
    t.one.r0 = v_fma(a0, right, t.one.r0);
    t.one.r1 = v_fma(a1, right, t.one.r1);
    t.one.r2 = v_fma(a2, right, t.one.r2);
    t.one.r3 = v_fma(a3, right, t.one.r3);
    t.two.r0 = v_fma(a0, far, t.two.r0);
    t.two.r1 = v_fma(a1, far, t.two.r1);
    t.two.r2 = v_fma(a2, far, t.two.r2);
    t.two.r3 = v_fma(a3, far, t.two.r3);
  }
  return t;
}

V_INLINE void tile_sum(struct tile *t, struct tile next) {
  t->r0 = v_add(t->r0, next.r0);
  t->r1 = v_add(t->r1, next.r1);
  t->r2 = v_add(t->r2, next.r2);
  t->r3 = v_add(t->r3, next.r3);
}

/* The same in chunks of 256, added in order. */
V_INLINE struct tile tile_dot(const real *a, int64_t row, const real *b, int64_t ldb, int64_t n) {
  struct tile t = tile_chain(a, row, 1, b, ldb, min64(n, CHUNK));
  for (int64_t k = CHUNK; k < n; k += CHUNK) {
    tile_sum(&t, tile_chain(a + k, row, 1, b + k * ldb, ldb, min64(n - k, CHUNK)));
  }
  return t;
}

V_INLINE struct tiles tiles_dot(const real *a, int64_t row, const real *b, int64_t ldb, int64_t n) {
  struct tiles t = tiles_chain(a, row, 1, b, ldb, min64(n, CHUNK));
  for (int64_t k = CHUNK; k < n; k += CHUNK) {
    const struct tiles next = tiles_chain(a + k, row, 1, b + k * ldb, ldb, min64(n - k, CHUNK));
    tile_sum(&t.one, next.one);
    tile_sum(&t.two, next.two);
  }
  return t;
}

/* How many vectors of `left` elements are done at once: AVX2 has the registers for one. */
V_INLINE bool in_twos(int64_t left) {
#if defined(STK_ISA_AVX512)
  return left > V_LANES;
#else
  (void)left;
  return false;
#endif
}

/* c = a row + product, for the four rows of a tile. */
V_INLINE void tile_add(real *c, int64_t ldc, struct tile t) {
  v_store(c, v_add(v_load(c), t.r0));
  v_store(c + ldc, v_add(v_load(c + ldc), t.r1));
  v_store(c + 2 * ldc, v_add(v_load(c + 2 * ldc), t.r2));
  v_store(c + 3 * ldc, v_add(v_load(c + 3 * ldc), t.r3));
}

V_INLINE void tile_store(real *c, int64_t ldc, struct tile t) {
  v_store(c, t.r0);
  v_store(c + ldc, t.r1);
  v_store(c + 2 * ldc, t.r2);
  v_store(c + 3 * ldc, t.r3);
}

/* Dropout of one call: keep(e) iff the element's word is at least the threshold. */
struct drop {
  bool on;
  uint32_t threshold;
  real scale; /* 1 / (1 - p) */
  const struct stk_rng_ctx *rng;
  uint32_t ordinal;
};

V_INLINE struct drop drop_of(double p, const struct stk_rng_ctx *rng, uint32_t ordinal) {
  struct drop d = {.on = p > 0, .rng = rng, .ordinal = ordinal};
  if (d.on) {
    d.threshold = stk_philox_drop_threshold(p);
    d.scale = (real)(1 / (1 - p));
  }
  return d;
}

/* Words of the 64 elements from 4 * block on. */
static inline void drop_words(const struct drop *d, uint64_t block, uint32_t out[64]) {
  uint32_t counter[4];
  const struct stk_rng_ctx *rng = d->rng;
  stk_philox_counter((stk_philox_stream)rng->stage, rng->batch, rng->lane, d->ordinal, block,
                     counter);
  if (counter[0] <= UINT32_MAX - 15) {
    v_philox64(rng->seed, counter, out);
    return;
  }
  for (uint64_t i = 0; i < 16; i++) {
    stk_philox_counter((stk_philox_stream)rng->stage, rng->batch, rng->lane, d->ordinal, block + i,
                       counter);
    stk_philox(rng->seed, counter, out + 4 * i);
  }
}

/* keep[j] = 1 / (1 - p) or +0 for elements first..first + 63. */
static inline void drop_row(const struct drop *d, uint64_t first, real keep[BLOCK]) {
  uint32_t word[2 * BLOCK];
  const uint64_t shift = first % 4;
  drop_words(d, first / 4, word);
  if (shift != 0) {
    drop_words(d, first / 4 + 16, word + BLOCK);
  }
  for (uint64_t j = 0; j < BLOCK; j++) {
    keep[j] = word[shift + j] >= d->threshold ? d->scale : (real)0;
  }
}

#endif
