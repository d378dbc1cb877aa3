/* The reduction over parts and the optimizer in one pass: see reduce.h. */
#include "engine/comm/reduce.h"

#include <string.h>

#include "proto/base/fault.h"

enum {
  BLOCK = 16384, /* elements: what kernels take for a unit */
  BLOCKS = STK_STATE_CHUNK / BLOCK,
  SUM_MAX = STK_CHAIN_IN - 1, /* parts of one chain; its last input is the divisor */
  CHAIN_SCRATCH = 128 << 10,
  STREAM_BYTES = 8 << 20 /* a slot above this leaves the cache before it is read again */
};

size_t stk_reduce_scratch_bytes(void) {
  return BLOCK * sizeof(double) + CHAIN_SCRATCH;
}

/* ---- the sum over parts */

/* The register of a part that is still to be added; the first time it becomes an input. */
static uint8_t register_of(struct stk_reduce *r, uint8_t reg[SUM_MAX], int32_t part) {
  for (int32_t i = 0; i < r->chain.n_in; i++) {
    if (r->in_part[i] == part) {
      return reg[i];
    }
  }
  const int32_t i = r->chain.n_in++;
  r->in_part[i] = part;
  r->chain.in_stride[i][STK_CHAIN_RANK - 1] = 1;
  return reg[i] = (uint8_t)i;
}

/* Inputs are numbered before operations: their count is known beforehand, since every addition
 * takes one part away. */
void stk_reduce_prepare(struct stk_reduce *r) {
  struct stk_chain_args *c = &r->chain;
  uint8_t reg[SUM_MAX];
  *c = (struct stk_chain_args){.n_out = 1, .dim = {1, 1, 1, 1}};
  r->n_in_place = r->n_parts > SUM_MAX ? r->n_parts - SUM_MAX : 0;
  const int32_t n_in = r->n_parts - r->n_in_place + 1;
  for (int32_t i = r->n_in_place; i + 1 < r->n_parts; i++) {
    const uint8_t a = register_of(r, reg, r->adds[i].into),
                  b = register_of(r, reg, r->adds[i].from);
    c->op[c->n_op] = (struct stk_chain_op){.op = STK_EW_ADD, .a = a, .b = b};
    for (int32_t k = 0; k < c->n_in; k++) {
      if (r->in_part[k] == r->adds[i].into) {
        reg[k] = (uint8_t)(n_in + c->n_op);
      }
    }
    c->n_op++;
  }
  c->op[c->n_op] = (struct stk_chain_op){
      .op = STK_EW_DIV, .a = (uint8_t)(n_in + c->n_op - 1), .b = (uint8_t)c->n_in};
  c->out_reg[0] = (uint8_t)(n_in + c->n_op++);
  c->n_in++;
}

/* The mean of n elements from `at` on goes to `out`, which may be part 0's. */
static void mean_block(const struct stk_reduce *r, int64_t at, int64_t n, void *out,
                       uint8_t *scratch) {
  const int64_t offset = at * r->real_bytes;
  double d = r->n_lanes;
  float f = (float)d;
  for (int32_t i = 0; i < r->n_in_place; i++) {
    const struct stk_accumulate_args a = {(uint8_t *)r->part[r->adds[i].from] + offset,
                                          (uint8_t *)r->part[r->adds[i].into] + offset, n};
    r->kernels->accumulate->run(&a, 0, 1, NULL);
  }
  struct stk_chain_args c = r->chain;
  for (int32_t i = 0; i + 1 < c.n_in; i++) {
    c.in[i] = (uint8_t *)r->part[r->in_part[i]] + offset;
  }
  c.in[c.n_in - 1] = r->real_bytes == 8 ? (void *)&d : (void *)&f;
  c.dim[STK_CHAIN_RANK - 1] = n;
  c.out[0] = out;
  r->kernels->chain->run(&c, 0, 1, scratch);
}

struct pass {
  const struct stk_reduce *r;
  const struct stk_apply *a;
  bool is_reduced;
  int64_t first; /* chunk, or block, of unit 0 */
  int64_t half;  /* unit in whose middle a test may stop the process */
};

static int64_t length_at(const struct stk_reduce *r, int64_t at, int64_t most) {
  return r->n - at < most ? r->n - at : most;
}

static void sums_units(void *ctx, int64_t lo, int64_t hi, int thread) {
  const struct pass *p = ctx;
  const struct stk_reduce *r = p->r;
  uint8_t *scratch = r->scratch + (size_t)thread * stk_reduce_scratch_bytes();
  for (int64_t chunk = p->first + lo; chunk < p->first + hi; chunk++) {
    const int64_t at = chunk * STK_STATE_CHUNK, n = length_at(r, at, STK_STATE_CHUNK);
    uint8_t *mean = (uint8_t *)r->part[0] + at * r->real_bytes;
    for (int64_t done = 0; r->n_parts > 1 && done < n; done += BLOCK) {
      mean_block(r, at + done, length_at(r, at + done, BLOCK), mean + done * r->real_bytes,
                 scratch);
    }
    const struct stk_sumsq_args a = {mean, &r->sums[chunk], n};
    r->kernels->sumsq->run(&a, 0, 1, scratch);
  }
}

void stk_reduce_sums(const struct stk_reduce *r, int64_t lo, int64_t hi) {
  struct pass p = {.r = r, .first = lo};
  stk_pool_run(r->pool, sums_units, &p, hi - lo);
}

/* ---- the optimizer */

/* Gradients of elements `from` on: their mean, or with add the two parts of the root. */
struct gradient {
  const uint8_t *g, *add;
  int64_t from;
};

static const uint8_t *gradient_at(const struct stk_reduce *r, const struct gradient *g,
                                  const uint8_t *p, int64_t at) {
  return p ? p + (at - g->from) * r->real_bytes : NULL;
}

/* Elements [from, to) of the region. */
static void step_range(const struct stk_reduce *r, const struct stk_apply *a, int64_t from,
                       int64_t to, const struct gradient *g) {
  const struct stk_optimizer *o = a->optimizer;
  for (size_t i = 0; i < o->n_slices; i++) {
    const struct stk_optim_slice *sl = &o->slice[i];
    const int64_t lo = sl->offset > from ? sl->offset : from;
    const int64_t hi = sl->offset + sl->n < to ? sl->offset + sl->n : to;
    if (lo >= hi) {
      continue;
    }
    const int64_t at = lo * r->real_bytes, second = a->section_bytes, third = 2 * second;
    const bool has_m = a->n_sections > 1, has_v = a->n_sections > 2;
    const struct stk_optim_args args = {
        .p = a->from + at,
        .g = gradient_at(r, g, g->g, lo),
        .g_add = gradient_at(r, g, g->add, lo),
        .n_lanes = r->n_lanes,
        .p_out = a->to + at,
        .m = has_m ? a->from + second + at : NULL,
        .m_out = has_m ? a->to + second + at : NULL,
        .v = has_v ? a->from + third + at : NULL,
        .v_out = has_v ? a->to + third + at : NULL,
        .scalars = &a->scalars[sl->group],
        .n = hi - lo,
        .kind = (int32_t)o->kind,
        .stream = a->section_bytes * a->n_sections > STREAM_BYTES,
    };
    r->kernels->optim->run(&args, 0, r->kernels->optim->units(&args, 1), NULL);
  }
}

static bool has_step(const struct stk_optimizer *o, int64_t from, int64_t to) {
  for (size_t i = 0; i < o->n_slices; i++) {
    if (o->slice[i].offset < to && o->slice[i].offset + o->slice[i].n > from) {
      return true;
    }
  }
  return false;
}

static void apply_units(void *ctx, int64_t lo, int64_t hi, int thread) {
  const struct pass *p = ctx;
  const struct stk_reduce *r = p->r;
  uint8_t *scratch = r->scratch + (size_t)thread * stk_reduce_scratch_bytes();
  for (int64_t u = lo; u < hi; u++) {
    const int64_t at = (p->first + u) * BLOCK, n = length_at(r, at, BLOCK);
    struct gradient g = {.g = (const uint8_t *)r->part[0] + at * r->real_bytes, .from = at};
    if (!has_step(p->a->optimizer, at, at + n)) {
      continue;
    }
    if (!p->is_reduced && r->n_parts == 2) {
      g.add = (const uint8_t *)r->part[1] + at * r->real_bytes;
    } else if (!p->is_reduced && r->n_parts > 2) {
      mean_block(r, at, n, scratch, scratch + BLOCK * sizeof(double));
      g.g = scratch;
    }
    if (u == p->half) {
      const int64_t part = n / 2 / 16 * 16;
      step_range(r, p->a, at, at + part, &g);
      (void)SP_FAULT("optim.half");
      step_range(r, p->a, at + part, at + n, &g);
    } else {
      step_range(r, p->a, at, at + n, &g);
    }
  }
}

void stk_reduce_apply(const struct stk_reduce *r, const struct stk_apply *a, bool is_reduced,
                      int64_t lo, int64_t hi) {
  const int64_t end =
      hi * BLOCKS < (r->n + BLOCK - 1) / BLOCK ? hi * BLOCKS : (r->n + BLOCK - 1) / BLOCK;
  const int64_t n = end - lo * BLOCKS;
  struct pass p = {r, a, is_reduced, lo * BLOCKS, n / 2};
  stk_pool_run(r->pool, apply_units, &p, n);
}
