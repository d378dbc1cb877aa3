/* One tile of C: up to GEMM_MR rows times GEMM_NR columns, for one chunk of k.
 *
 * gemm_tile_select gives the function for a tile's size. Operands are read where they lie: element
 * (r, p) of A at a[r * a_row + p * a_k], row p of B at b + p * b_k, which must hold whole vectors
 * (packed panels are padded). The accumulators are the chunk's fused multiply-add chains from +0;
 * gemm_finish does the rest of the arithmetic that gemm.h states, once per tile. Vectors run along
 * columns, so no order in k depends on their width.
 *
 * Everything here is static: included by kernel sources, once per variant.
 */
#ifndef STK_KERNEL_GEMM_TILE_H
#define STK_KERNEL_GEMM_TILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/kernel/vec.h"

#if defined(STK_ISA_AVX512)
#include "engine/kernel/gemm/tile_avx512.h"
#elif defined(STK_ISA_AVX2)
#include "engine/kernel/gemm/tile_avx2.h"
#else
#include "engine/kernel/gemm/tile_ref.h"
#endif
#if defined(GEMM_OWN_LOOP)
#include "engine/kernel/gemm/tile_loop.h"
#endif

#if defined(__clang__)
#define GEMM_UNROLL _Pragma("unroll")
#else
#define GEMM_UNROLL _Pragma("GCC unroll 16")
#endif

enum { GEMM_NR = GEMM_NV * GEMM_VL };

/* Where a tile's chunk goes. c and t are the block's corner; t holds the totals of the chunks so
 * far and may be c when c's old value is not needed. first, last: which chunk this is. */
struct gemm_end {
  real *c;
  int64_t ldc;
  real *t;
  int64_t ldt;
  const real *bias_column; /* per column of the block, or NULL */
  const real *bias_row;    /* per row of the block, or NULL */
  bool first, last, accumulate, relu;
  bool at_once; /* no more is to be done with the chunk's sums than to store them in c, */
  bool add;     /* or to add them to what c holds */
};

/* kc >= 1; a, b: the tile's first elements; (i, j): its corner in the block; nr: columns that
 * exist. */
typedef void (*gemm_tile_fn)(int64_t kc, const real *a, int64_t a_row, int64_t a_k, const real *b,
                             int64_t b_k, const struct gemm_end *end, int64_t i, int64_t j,
                             int64_t nr);

/* full: all of the tile's columns exist, and no masks are needed. */
V_INLINE tv gemm_load(const bool full, const real *p, tv_mask m) {
  return full ? tv_load(p) : tv_load_some(p, m);
}

V_INLINE void gemm_store(const bool full, real *p, tv_mask m, tv x) {
  if (full) {
    tv_store(p, x);
  } else {
    tv_store_some(p, m, x);
  }
}

V_INLINE void gemm_finish(const int mr, const int nv, const bool full, tv acc[GEMM_MR][GEMM_NV],
                          const struct gemm_end *end, int64_t i, int64_t j, int64_t nr) {
  tv_mask mask[GEMM_NV];
  for (int v = 0; v < nv; v++) {
    mask[v] = tv_first(nr - v * GEMM_VL);
  }
  for (int r = 0; r < mr; r++) {
    real *t = end->t + (i + r) * end->ldt + j;
    real *c = end->c + (i + r) * end->ldc + j;
    for (int v = 0; v < nv; v++) {
      tv x = acc[r][v];
      if (!end->first) {
        x = tv_add(gemm_load(full, t + v * GEMM_VL, mask[v]), x);
      }
      if (!end->last) {
        gemm_store(full, t + v * GEMM_VL, mask[v], x);
        continue;
      }
      if (end->accumulate) {
        x = tv_add(gemm_load(full, c + v * GEMM_VL, mask[v]), x);
      }
      if (end->bias_column) {
        x = tv_add(x, gemm_load(full, end->bias_column + j + v * GEMM_VL, mask[v]));
      }
      if (end->bias_row) {
        x = tv_add(x, tv_all(end->bias_row + i + r));
      }
      if (end->relu) {
        x = tv_relu(x);
      }
      gemm_store(full, c + v * GEMM_VL, mask[v], x);
    }
  }
}

/* The common ends of a whole tile, without masks: store, or add to the running total and store. */
V_INLINE bool gemm_finish_fast(const int mr, const int nv, tv acc[GEMM_MR][GEMM_NV],
                               const struct gemm_end *end, int64_t i, int64_t j) {
  if (end->last && (end->accumulate || end->bias_column || end->bias_row || end->relu)) {
    return false;
  }
  const real *t = end->t + i * end->ldt + j;
  real *to = end->last ? end->c + i * end->ldc + j : end->t + i * end->ldt + j;
  const int64_t ld = end->last ? end->ldc : end->ldt;
  if (!end->first) {
    GEMM_UNROLL
    for (int r = 0; r < mr; r++) {
      GEMM_UNROLL
      for (int v = 0; v < nv; v++) {
        acc[r][v] = tv_add(tv_load(t + r * end->ldt + v * GEMM_VL), acc[r][v]);
      }
    }
  }
  GEMM_UNROLL
  for (int r = 0; r < mr; r++) {
    GEMM_UNROLL
    for (int v = 0; v < nv; v++) {
      tv_store(to + r * ld + v * GEMM_VL, acc[r][v]);
    }
  }
  return true;
}

#if !defined(GEMM_OWN_LOOP)

V_INLINE void gemm_step(const int mr, const int nv, tv acc[GEMM_MR][GEMM_NV], const real *a,
                        int64_t a_row, const real *b) {
  tv bv[GEMM_NV];
  GEMM_UNROLL
  for (int v = 0; v < nv; v++) {
    bv[v] = tv_load(b + v * GEMM_VL);
  }
  GEMM_UNROLL
  for (int r = 0; r < mr; r++) {
    const tv ar = tv_all(a + r * a_row);
    GEMM_UNROLL
    for (int v = 0; v < nv; v++) {
      acc[r][v] = tv_fma(ar, bv[v], acc[r][v]);
    }
  }
}

V_INLINE void gemm_chunk(const int mr, const int nv, int64_t kc, const real *a, int64_t a_row,
                         int64_t a_k, const real *b, int64_t b_k, tv acc[GEMM_MR][GEMM_NV]) {
  GEMM_UNROLL
  for (int r = 0; r < mr; r++) {
    GEMM_UNROLL
    for (int v = 0; v < nv; v++) {
      acc[r][v] = tv_zero();
    }
  }
  int64_t p = kc;
  for (; p >= 4; p -= 4) {
    gemm_step(mr, nv, acc, a, a_row, b);
    gemm_step(mr, nv, acc, a + a_k, a_row, b + b_k);
    gemm_step(mr, nv, acc, a + 2 * a_k, a_row, b + 2 * b_k);
    gemm_step(mr, nv, acc, a + 3 * a_k, a_row, b + 3 * b_k);
    a += 4 * a_k;
    b += 4 * b_k;
  }
  for (; p > 0; p--) {
    gemm_step(mr, nv, acc, a, a_row, b);
    a += a_k;
    b += b_k;
  }
}

#define GEMM_CHUNK_PANEL(mr, nv) gemm_chunk(mr, nv, kc, a, 1, GEMM_MR, b, GEMM_NR, acc)
#define GEMM_CHUNK_LINES(mr, nv) gemm_chunk(mr, nv, kc, a, a_row, 1, b, GEMM_NR, acc)
#define GEMM_CHUNK_PLACE(mr, nv) gemm_chunk(mr, nv, kc, a, a_row, a_k, b, b_k, acc)

#endif

V_INLINE void gemm_end_tile(const int mr, const int nv, tv acc[GEMM_MR][GEMM_NV],
                            const struct gemm_end *end, int64_t i, int64_t j, int64_t nr) {
  if (nr != nv * GEMM_VL) {
    gemm_finish(mr, nv, false, acc, end, i, j, nr);
  } else if (!gemm_finish_fast(mr, nv, acc, end, i, j)) {
    gemm_finish(mr, nv, true, acc, end, i, j, nr);
  }
}

/* Asks for the tile's lines of C, to be written when its chunk is done. */
V_INLINE void gemm_expect(const int mr, const struct gemm_end *end, int64_t i, int64_t j) {
  for (int r = 0; r < mr; r++) {
    __builtin_prefetch(end->c + (i + r) * end->ldc + j, 1);
  }
}

/* The chunk's sums go to C at once where nothing else is to be done with them. */
#if defined(GEMM_OWN_LOOP)
#define GEMM_CHUNK_TO(KIND, mr, nv)                             \
  const bool at_once = end->at_once && nr == nv * GEMM_VL;      \
  const int add = at_once && end->add;                          \
  real *to = at_once ? end->c + i * end->ldc + j : (real *)acc; \
  const int64_t stride = at_once ? end->ldc : GEMM_NR;          \
  GEMM_CHUNK_##KIND(mr, nv);                                    \
  if (!at_once) {                                               \
    gemm_end_tile(mr, nv, acc, end, i, j, nr);                  \
  }
#else
#define GEMM_CHUNK_TO(KIND, mr, nv) \
  GEMM_CHUNK_##KIND(mr, nv);        \
  gemm_end_tile(mr, nv, acc, end, i, j, nr);
#endif

#define GEMM_TILE_OF(kind, KIND, mr, nv)                                                 \
  static void gemm_tile_##kind##_##mr##_##nv(                                            \
      int64_t kc, const real *a, int64_t a_row, int64_t a_k, const real *b, int64_t b_k, \
      const struct gemm_end *end, int64_t i, int64_t j, int64_t nr) {                    \
    tv acc[GEMM_MR][GEMM_NV];                                                            \
    (void)a_row, (void)a_k, (void)b_k;                                                   \
    gemm_expect(mr, end, i, j);                                                          \
    GEMM_CHUNK_TO(KIND, mr, nv);                                                         \
  }
#define GEMM_TILE(mr, nv)            \
  GEMM_TILE_OF(panel, PANEL, mr, nv) \
  GEMM_TILE_OF(lines, LINES, mr, nv) GEMM_TILE_OF(place, PLACE, mr, nv)
#define GEMM_TILE_ROW(mr, p) GEMM_TILE(mr, 1) GEMM_TILE(mr, 2)
#define GEMM_TILE_ENTRY(mr, p) {p##mr##_1, p##mr##_2},

GEMM_ROWS(GEMM_TILE_ROW, )

/* B's panel has width GEMM_NR in the first two. */
typedef enum gemm_operands {
  GEMM_PANEL, /* A lies in panels of width GEMM_MR */
  GEMM_LINES, /* A lies in place, contiguous along k */
  GEMM_PLACE  /* both lie anyhow */
} gemm_operands;

V_INLINE gemm_tile_fn gemm_tile_select(gemm_operands operands, int64_t mr, int64_t nr) {
  static const gemm_tile_fn tiles[3][GEMM_MR][GEMM_NV] = {
      {GEMM_ROWS(GEMM_TILE_ENTRY, gemm_tile_panel_)},
      {GEMM_ROWS(GEMM_TILE_ENTRY, gemm_tile_lines_)},
      {GEMM_ROWS(GEMM_TILE_ENTRY, gemm_tile_place_)},
  };
  return tiles[operands][mr - 1][(nr - 1) / GEMM_VL];
}

#endif
