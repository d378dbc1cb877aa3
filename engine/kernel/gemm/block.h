/* The loop nest of a matrix product: blocks for the caches around the register tile.
 *
 * gemm_block computes C (m x n) from two sources (pack.h), in the arithmetic of gemm.h, on one
 * thread. Other kernels use it for products whose operands are not matrices in memory (convolution:
 * a source with its own pack function) or whose ends differ. From the outside in:
 *
 *   columns in blocks of `nc`               B's packed block stays in the last-level cache
 *     k in spans of GEMM_SPAN               a few chunks, so that totals visit memory rarely
 *       rows in blocks of `mc`              A's packed block
 *         columns in groups of GEMM_GROUP   C's block and B's panels stay in L2 over the span
 *           chunks                          the arithmetic's 256
 *             panels, tiles                 B's panel stays in L1, A's block streams from L2
 *
 * B is packed when first needed, for all row blocks; with a single row block its buffer is one
 * group of one chunk, hot in L2 when used. An operand that would be used too few times to repay
 * packing is read in place.
 */
#ifndef STK_KERNEL_GEMM_BLOCK_H
#define STK_KERNEL_GEMM_BLOCK_H

#include <string.h>

#include "engine/kernel/gemm.h"
#include "engine/kernel/gemm/pack.h"

/* A kernel source uses some of what follows. */
#define GEMM_UNUSED __attribute__((unused))

enum {
  GEMM_SPAN = 4 * STK_GEMM_CHUNK,
  GEMM_MC = 264 / GEMM_MR * GEMM_MR, /* x 256 x 4 bytes: half of a 512 KiB L2 */
  GEMM_GROUP = 64,
  GEMM_ROW = 2048, /* columns of a lone row at a time */
  GEMM_ALIGN = 64,
  GEMM_B_BLOCK = 1 << 20, /* elements of B's packed block, with several row blocks */
  GEMM_COMPACT_A = 512,   /* lines of A as short as this lie close enough already */
  GEMM_PACK_A = 16,       /* pack A's longer lines when at least so many of B's panels use them */
  GEMM_PACK_A_ACROSS = 3, /* the same where k goes across A's lines: each tile's are lines apart */
  GEMM_PACK_B_TILES = 3   /* pack B when at least so many row tiles use it */
};

_Static_assert(GEMM_GROUP % GEMM_NR == 0, "a group is whole panels");

/* One product on one thread. c is m x n; sources have at least m and n rows or columns, and k. */
struct gemm_job {
  struct gemm_source a, b;
  int64_t m, n, k;
  real *c;
  int64_t ldc;
  const real *bias_column, *bias_row; /* or NULL */
  bool accumulate, relu;
};

/* The blocking of a job, and the buffers it needs in scratch (sizes in elements). */
struct gemm_plan {
  int64_t mc, nc;
  int64_t group;          /* columns of a group */
  int64_t chunk;          /* lines of a full chunk: min(k, 256) */
  int64_t a_slot, b_slot; /* one row block, one group: a chunk of it */
  bool pack_a, pack_b;
  bool keep_b; /* several row blocks use one packed block of B */
  bool totals; /* totals cannot live in C */
  size_t a_size, b_size, t_size;
};

struct gemm_buffers {
  real *a, *b, *t;
};

static inline int64_t gemm_min(int64_t x, int64_t y) {
  return x < y ? x : y;
}

static inline int64_t gemm_ceil(int64_t x, int64_t y) {
  return (x + y - 1) / y;
}

static inline int64_t gemm_round_up(int64_t x, int64_t y) {
  return gemm_ceil(x, y) * y;
}

static inline struct gemm_plan gemm_plan_make(const struct gemm_job *job) {
  struct gemm_plan plan = {0};
  const int64_t row_blocks = gemm_ceil(job->m, GEMM_MC);
  const int64_t chunks = gemm_ceil(gemm_min(job->k, GEMM_SPAN), STK_GEMM_CHUNK);
  const int64_t panels = gemm_ceil(job->n, GEMM_NR);
  plan.chunk = gemm_min(job->k, STK_GEMM_CHUNK);
  plan.totals = job->accumulate && job->k > STK_GEMM_CHUNK;
  plan.pack_a = job->a.pack ||
                (job->a.i_stride == 1 ? panels >= GEMM_PACK_A_ACROSS
                                      : job->a.i_stride > GEMM_COMPACT_A && panels >= GEMM_PACK_A);
  plan.pack_b =
      job->b.pack || job->b.i_stride != 1 || gemm_ceil(job->m, GEMM_MR) >= GEMM_PACK_B_TILES;
  plan.keep_b = plan.pack_b && row_blocks > 1;
  plan.mc = gemm_round_up(gemm_ceil(job->m, row_blocks), GEMM_MR);
  plan.nc = panels * GEMM_NR;
  plan.group = job->m <= GEMM_MR ? GEMM_NR : GEMM_GROUP;
  if (plan.keep_b || plan.totals) {
    plan.nc = gemm_min(plan.nc, GEMM_B_BLOCK / (chunks * STK_GEMM_CHUNK) / GEMM_GROUP * GEMM_GROUP);
  }
  plan.a_slot = plan.mc * plan.chunk;
  plan.b_slot = gemm_min(plan.pack_b ? plan.nc : GEMM_NR, plan.group) * plan.chunk;
  const int64_t b_slots = plan.keep_b ? gemm_ceil(plan.nc, plan.group) * chunks : 1;
  plan.a_size = plan.pack_a ? (size_t)(plan.a_slot * chunks + GEMM_PACK_SLACK) : 0;
  plan.b_size = (size_t)(plan.b_slot * b_slots + GEMM_PACK_SLACK);
  plan.t_size = plan.totals ? (size_t)(plan.mc * plan.nc) : 0;
  return plan;
}

/* Rows that one pass over k may hold: with totals beyond one span, those of one row block. */
static inline int64_t gemm_pass_rows(const struct gemm_job *job) {
  return job->accumulate && job->k > GEMM_SPAN ? gemm_min(job->m, GEMM_MC) : job->m;
}

/* One row of C from lines of B in place: gemm_row's case. */
static inline bool gemm_is_row(const struct gemm_job *job) {
  return job->m == 1 && job->b.i_stride == 1 && !job->a.pack && !job->b.pack;
}

/* Bytes of scratch that gemm_block needs for this job; sources' pointers are not read. */
static inline size_t gemm_block_scratch(const struct gemm_job *job) {
  if (job->m <= 0 || job->n <= 0 || job->k <= 0) {
    return 0;
  }
  if (gemm_is_row(job)) {
    return 2 * GEMM_ROW * sizeof(real);
  }
  struct gemm_job pass = *job;
  pass.m = gemm_pass_rows(job);
  const struct gemm_plan plan = gemm_plan_make(&pass);
  const size_t line = GEMM_ALIGN / sizeof(real);
  return (plan.a_size + plan.b_size + plan.t_size + 3 * line) * sizeof(real);
}

/* One panel of B, nr columns from column j of the block, times the block's m rows, for one chunk.
 * */
static GEMM_UNUSED void gemm_panel(bool packed_a, int64_t m, int64_t kc, const real *a,
                                   int64_t a_row, int64_t a_k, const real *b, int64_t b_k,
                                   const struct gemm_end *end, int64_t j, int64_t nr) {
  const gemm_operands operands = b_k != GEMM_NR ? GEMM_PLACE
                                 : packed_a     ? GEMM_PANEL
                                 : a_k == 1     ? GEMM_LINES
                                                : GEMM_PLACE;
  const gemm_tile_fn tile = gemm_tile_select(operands, GEMM_MR, nr);
  const int64_t a_tile = packed_a ? GEMM_MR * kc : GEMM_MR * a_row;
  int64_t i = 0;
  for (; i + GEMM_MR <= m; i += GEMM_MR) {
    tile(kc, a, a_row, a_k, b, b_k, end, i, j, nr);
    a += a_tile;
  }
  if (i < m) {
    gemm_tile_select(operands, m - i, nr)(kc, a, a_row, a_k, b, b_k, end, i, j, nr);
  }
}

/* Columns j0 .. j0+n-1 of the column block at jc, rows ic .. ic+m-1, lines p0 .. p0+kc-1. B's
 * panels are in `b` or, if that is NULL, in place. */
static GEMM_UNUSED void gemm_group(const struct gemm_job *job, const struct gemm_plan *plan,
                                   const struct gemm_buffers *buf, const real *a_packed,
                                   const real *b_packed, const struct gemm_end *end, int64_t ic,
                                   int64_t m, int64_t jc, int64_t j0, int64_t n, int64_t p0,
                                   int64_t kc) {
  const struct gemm_source *sa = &job->a, *sb = &job->b;
  const real *a = plan->pack_a ? a_packed : sa->p + ic * sa->i_stride + p0 * sa->k_stride;
  const int64_t a_row = plan->pack_a ? 1 : sa->i_stride;
  const int64_t a_k = plan->pack_a ? GEMM_MR : sa->k_stride;
  for (int64_t j = 0; j < n; j += GEMM_NR) {
    const int64_t nr = gemm_min(n - j, GEMM_NR);
    const real *b = b_packed + j * kc;
    int64_t b_k = GEMM_NR;
    if (!plan->pack_b && nr % GEMM_VL == 0) {
      b = sb->p + jc + j0 + j + p0 * sb->k_stride;
      b_k = sb->k_stride;
    } else if (!plan->pack_b) {
      gemm_pack(sb, jc + j0 + j, nr, GEMM_NR, p0, kc, buf->b);
      b = buf->b;
    }
    gemm_panel(plan->pack_a, m, kc, a, a_row, a_k, b, b_k, end, j0 + j, nr);
  }
}

/* One row block against one column block, for the span of k that begins at p0. */
static GEMM_UNUSED void gemm_rows(const struct gemm_job *job, const struct gemm_plan *plan,
                                  const struct gemm_buffers *buf, int64_t jc, int64_t p0,
                                  int64_t ic) {
  const int64_t m = gemm_min(plan->mc, job->m - ic), n = gemm_min(plan->nc, job->n - jc);
  const int64_t p1 = gemm_min(job->k, p0 + GEMM_SPAN);
  const int64_t chunks = gemm_ceil(p1 - p0, STK_GEMM_CHUNK);
  if (plan->pack_a) {
    for (int64_t q = 0; q < chunks; q++) {
      const int64_t p = p0 + q * STK_GEMM_CHUNK;
      gemm_pack(&job->a, ic, m, GEMM_MR, p, gemm_min(p1 - p, STK_GEMM_CHUNK),
                buf->a + q * plan->a_slot);
    }
  }
  struct gemm_end end = {
      .c = job->c + ic * job->ldc + jc,
      .ldc = job->ldc,
      .bias_column = job->bias_column ? job->bias_column + jc : NULL,
      .bias_row = job->bias_row ? job->bias_row + ic : NULL,
      .accumulate = job->accumulate,
      .relu = job->relu,
  };
  end.t = plan->totals ? buf->t : end.c;
  end.ldt = plan->totals ? plan->nc : end.ldc;
  for (int64_t j0 = 0; j0 < n; j0 += plan->group) {
    const int64_t nj = gemm_min(n - j0, plan->group);
    for (int64_t q = 0; q < chunks; q++) {
      const int64_t p = p0 + q * STK_GEMM_CHUNK;
      const int64_t kc = gemm_min(p1 - p, STK_GEMM_CHUNK);
      real *b = buf->b;
      if (plan->keep_b) {
        b += (j0 / plan->group * chunks + q) * plan->b_slot;
      }
      if (plan->pack_b && (ic == 0 || !plan->keep_b)) {
        gemm_pack(&job->b, jc + j0, nj, GEMM_NR, p, kc, b);
      }
      end.first = p == 0;
      end.last = p + kc == job->k;
      end.add = !end.first || (end.last && job->accumulate);
      end.at_once =
          !plan->totals && !(end.last && (job->relu || job->bias_column || job->bias_row));
      gemm_group(job, plan, buf, buf->a + q * plan->a_slot, b, &end, ic, m, jc, j0, nj, p, kc);
    }
  }
}

/* k = 0: the product is +0, and the rest of the arithmetic applies. */
static GEMM_UNUSED void gemm_empty(const struct gemm_job *job) {
  const struct gemm_end end = {
      .c = job->c,
      .ldc = job->ldc,
      .t = job->c,
      .ldt = job->ldc,
      .bias_column = job->bias_column,
      .bias_row = job->bias_row,
      .first = true,
      .last = true,
      .accumulate = job->accumulate,
      .relu = job->relu,
  };
  for (int64_t j = 0; j < job->n; j += GEMM_NR) {
    gemm_panel(false, job->m, 0, job->c, 0, 0, job->c, 0, &end, j, gemm_min(job->n - j, GEMM_NR));
  }
}

static GEMM_UNUSED void gemm_pass(const struct gemm_job *job, real *scratch) {
  const struct gemm_plan plan = gemm_plan_make(job);
  const size_t line = GEMM_ALIGN / sizeof(real);
  struct gemm_buffers buf = {.a = scratch};
  buf.b = buf.a + (plan.a_size + line - 1) / line * line;
  buf.t = buf.b + (plan.b_size + line - 1) / line * line;
  for (int64_t jc = 0; jc < job->n; jc += plan.nc) {
    for (int64_t p0 = 0; p0 < job->k; p0 += GEMM_SPAN) {
      for (int64_t ic = 0; ic < job->m; ic += plan.mc) {
        gemm_rows(job, &plan, &buf, jc, p0, ic);
      }
    }
  }
}

/* sum[j] = fma(a[q], line q of B [j], sum[j]) for q = 0 .. lines-1 in turn, 1 <= lines <= 4. */
V_INLINE void gemm_row_lines(const int lines, const real *a, int64_t a_k, const real *b,
                             int64_t b_k, real *sum, int64_t n) {
  for (int64_t j = 0; j < n; j += GEMM_VL) {
    const tv_mask some = tv_first(n - j);
    tv x = tv_load(sum + j);
    GEMM_UNROLL
    for (int q = 0; q < lines; q++) {
      const real *line = b + q * b_k + j;
      x = tv_fma(tv_all(a + q * a_k), n - j < GEMM_VL ? tv_load_some(line, some) : tv_load(line),
                 x);
    }
    tv_store(sum + j, x);
  }
}

/* A lone row reads B once: line after line, four at a time, with a chunk's sums in L1. */
static GEMM_UNUSED void gemm_row(const struct gemm_job *job, real *scratch) {
  real *sum = scratch, *totals = scratch + GEMM_ROW;
  const int64_t a_k = job->a.k_stride, b_k = job->b.k_stride;
  for (int64_t jc = 0; jc < job->n; jc += GEMM_ROW) {
    const int64_t n = gemm_min(job->n - jc, GEMM_ROW);
    struct gemm_end end = {
        .c = job->c + jc,
        .t = totals,
        .bias_column = job->bias_column ? job->bias_column + jc : NULL,
        .bias_row = job->bias_row,
        .accumulate = job->accumulate,
        .relu = job->relu,
    };
    for (int64_t p0 = 0; p0 < job->k; p0 += STK_GEMM_CHUNK) {
      const int64_t p1 = gemm_min(job->k, p0 + STK_GEMM_CHUNK);
      memset(sum, 0, (size_t)gemm_round_up(n, GEMM_NR) * sizeof *sum);
      for (int64_t p = p0; p < p1; p += 4) {
        const real *a = job->a.p + p * a_k, *b = job->b.p + p * b_k + jc;
        if (p1 - p >= 4) {
          gemm_row_lines(4, a, a_k, b, b_k, sum, n);
        } else {
          for (int64_t q = 0; q < p1 - p; q++) {
            gemm_row_lines(1, a + q * a_k, a_k, b + q * b_k, b_k, sum, n);
          }
        }
      }
      end.first = p0 == 0;
      end.last = p1 == job->k;
      for (int64_t j = 0; j < n; j += GEMM_NR) {
        tv acc[GEMM_MR][GEMM_NV];
        for (int v = 0; v < GEMM_NV; v++) {
          acc[0][v] = tv_load(sum + j + v * GEMM_VL);
        }
        gemm_finish(1, GEMM_NV, false, acc, &end, 0, j, gemm_min(n - j, GEMM_NR));
      }
    }
  }
}

/* C = A.B with job's ends. scratch: gemm_block_scratch(job) bytes, aligned to GEMM_ALIGN. */
static GEMM_UNUSED void gemm_block(const struct gemm_job *job, void *scratch) {
  if (job->m <= 0 || job->n <= 0) {
    return;
  }
  if (job->k <= 0) {
    gemm_empty(job);
    return;
  }
  if (gemm_is_row(job)) {
    gemm_row(job, scratch);
    return;
  }
  const int64_t rows = gemm_pass_rows(job);
  for (int64_t i = 0; i < job->m; i += rows) {
    struct gemm_job pass = *job;
    pass.m = gemm_min(rows, job->m - i);
    pass.a = gemm_source_from(job->a, i);
    pass.c = job->c + i * job->ldc;
    pass.bias_row = job->bias_row ? job->bias_row + i : NULL;
    gemm_pass(&pass, scratch);
  }
}

#endif
