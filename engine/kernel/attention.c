/* Attention forward: o = softmax(scale q k' [causal]) v per (batch, head), no T x T matrix.
 *
 * A unit is 64 queries of one (batch, head). Blocks of 64 keys are visited in ascending order with
 * a running maximum and sum per query (Milakov and Gimelshein 2018; Dao et al. 2022); keys and
 * values of a (batch, head) are packed once per call of `run` and reused by its units. Every step
 * per query is stated in docs/numerics.md, "Attention"; it does not depend on which other queries
 * share the unit.
 */
#include "engine/kernel/attention.h"

/* One (batch, head) in scratch, keys packed up to n_packed blocks, and the state of 64 queries. */
struct forward {
  const struct stk_attention_args *a;
  int64_t b, h, n_packed, width;
  struct drop drop;
  real *kt, *v;              /* per block: (dim, 64), (64, width) */
  real *q, *s, *acc;         /* (64, width), (64, 64), (64, width) */
  real *max, *sum, *rescale; /* (64) */
};

static int64_t attention_units(const void *args, int n_threads) {
  const struct stk_attention_args *a = args;
  (void)n_threads;
  return a->batch * a->heads * n_blocks(a->t);
}

/* A call's layout, and with no scratch only how many bytes it takes. */
static struct forward forward_of(const struct stk_attention_args *a, char *scratch,
                                 size_t *out_bytes) {
  const int64_t blocks = n_blocks(a->t), width = padded_width(a->dim);
  struct forward f = {.a = a, .b = -1, .width = width};
  struct carve c = {scratch, 0};
  f.kt = carve(&c, blocks * a->dim * BLOCK, sizeof(real));
  f.v = carve(&c, blocks * BLOCK * width, sizeof(real));
  f.q = carve(&c, BLOCK * width, sizeof(real));
  f.acc = carve(&c, BLOCK * width, sizeof(real));
  f.s = carve(&c, BLOCK * BLOCK, sizeof(real));
  f.max = carve(&c, BLOCK, sizeof(real));
  f.sum = carve(&c, BLOCK, sizeof(real));
  f.rescale = carve(&c, BLOCK, sizeof(real));
  *out_bytes = c.at;
  return f;
}

static size_t attention_scratch(const void *args) {
  size_t bytes;
  (void)forward_of(args, NULL, &bytes);
  return bytes;
}

static void forward_pack(struct forward *f, int64_t n) {
  const struct stk_attention_args *a = f->a;
  for (; f->n_packed < n; f->n_packed++) {
    const int64_t at = f->n_packed, keys = block_size(a->t, at);
    pack_transposed(head_of(&a->k, f->b, f->h) + at * BLOCK * a->k.st, a->k.st, keys, a->dim,
                    f->kt + at * a->dim * BLOCK);
    pack_rows(head_of(&a->v, f->b, f->h) + at * BLOCK * a->v.st, a->v.st, keys, a->dim,
              f->v + at * BLOCK * f->width);
  }
}

V_INLINE void store_scaled(real *to, struct tile t, vreal scale) {
  t.r0 = v_mul(t.r0, scale);
  t.r1 = v_mul(t.r1, scale);
  t.r2 = v_mul(t.r2, scale);
  t.r3 = v_mul(t.r3, scale);
  tile_store(to, BLOCK, t);
}

/* s = scale * q k' of one pair of blocks; on a diagonal only the columns that a tile has. */
static void forward_scores(struct forward *f, const real *kt, int64_t n_queries, int64_t n_keys,
                           bool diagonal) {
  const vreal scale = v_set1((real)f->a->scale);
  for (int64_t i = 0; i < n_queries; i += TILE) {
    const int64_t columns = diagonal ? min64(i + TILE, n_keys) : n_keys;
    const real *q = f->q + i * f->width;
    real *s = f->s + i * BLOCK;
    for (int64_t j = 0; j < columns; j += V_LANES) {
      if (in_twos(columns - j)) {
        const struct tiles t = tiles_dot(q, f->width, kt + j, BLOCK, f->a->dim);
        store_scaled(s + j, t.one, scale);
        j += V_LANES;
        store_scaled(s + j, t.two, scale);
      } else {
        store_scaled(s + j, tile_dot(q, f->width, kt + j, BLOCK, f->a->dim), scale);
      }
    }
  }
}

/* p = exp(s - max) over a row's n keys, +0 up to the next multiple of 16; returns their sum. */
V_INLINE real forward_exponentials(real *s, real max, int64_t n) {
  const vreal m = v_set1(max);
  vreal sum = v_zero();
  for (int64_t j = 0; j < n; j += V_LANES) {
    const int64_t left = min64(n - j, V_LANES);
    const vreal p = keep_some(v_exp(v_sub(v_load(s + j), m)), left);
    v_store(s + j, p);
    sum = v_add(sum, p);
  }
  return v_sum(sum);
}

/* Scores to probabilities against the running maximum; rescale = exp(old maximum - new). */
static void forward_softmax(struct forward *f, int64_t query, int64_t n_queries, int64_t key,
                            int64_t n_keys) {
  const bool diagonal = f->a->causal && query == key;
  real block_sum[BLOCK];
  for (int64_t i = 0; i < n_queries; i++) {
    const int64_t n = diagonal ? min64(i + 1, n_keys) : n_keys;
    const real old = f->max[i], max = r_max(row_max(f->s + i * BLOCK, n), old);
    f->rescale[i] = old - max;
    f->max[i] = max;
    block_sum[i] = forward_exponentials(f->s + i * BLOCK, max, n);
  }
  for (int64_t i = 0; i < n_queries && key > 0; i += V_LANES) {
    v_store(f->rescale + i, v_exp(v_load(f->rescale + i)));
  }
  for (int64_t i = 0; i < n_queries; i++) {
    f->sum[i] = key == 0 ? block_sum[i] : r_fma(f->sum[i], f->rescale[i], block_sum[i]);
  }
  for (int64_t i = 0; i < n_queries && f->drop.on; i++) {
    const int64_t t = f->a->t;
    const int64_t row = (f->b * f->a->heads + f->h) * t + query + i;
    real keep[BLOCK];
    drop_row(&f->drop, (uint64_t)(row * t + key), keep);
    for (int64_t j = 0; j < BLOCK; j += V_LANES) {
      v_store(f->s + i * BLOCK + j, v_mul(v_load(f->s + i * BLOCK + j), v_load(keep + j)));
    }
  }
}

V_INLINE void rescale_add(const struct forward *f, int64_t i, int64_t c, bool first,
                          struct tile t) {
  real *acc = f->acc + i * f->width + c;
  if (!first) {
    t.r0 = v_fma(v_load(acc), v_set1(f->rescale[i]), t.r0);
    t.r1 = v_fma(v_load(acc + f->width), v_set1(f->rescale[i + 1]), t.r1);
    t.r2 = v_fma(v_load(acc + 2 * f->width), v_set1(f->rescale[i + 2]), t.r2);
    t.r3 = v_fma(v_load(acc + 3 * f->width), v_set1(f->rescale[i + 3]), t.r3);
  }
  tile_store(acc, f->width, t);
}

/* acc = acc * rescale + p v */
static void forward_values(struct forward *f, const real *v, int64_t n_queries, int64_t n_keys,
                           bool first, bool diagonal) {
  for (int64_t i = 0; i < n_queries; i += TILE) {
    const int64_t n = diagonal ? min64(i + TILE, n_keys) : n_keys;
    const real *p = f->s + i * BLOCK;
    for (int64_t c = 0; c < f->width; c += V_LANES) {
      if (in_twos(f->width - c)) {
        const struct tiles t = tiles_chain(p, BLOCK, 1, v + c, f->width, n);
        rescale_add(f, i, c, first, t.one);
        c += V_LANES;
        rescale_add(f, i, c, first, t.two);
      } else {
        rescale_add(f, i, c, first, tile_chain(p, BLOCK, 1, v + c, f->width, n));
      }
    }
  }
}

static void forward_store(struct forward *f, int64_t query, int64_t n_queries) {
  const struct stk_attention_args *a = f->a;
  real *o = (real *)a->o.p + f->b * a->o.sb + f->h * a->o.sh + query * a->o.st;
  real *lse = (real *)a->lse + (f->b * a->heads + f->h) * a->t + query;
  for (int64_t i = 0; i < n_queries; i++) {
    const vreal inverse = v_set1((real)1 / f->sum[i]);
    for (int64_t c = 0; c < a->dim; c += V_LANES) {
      store_some(o + i * a->o.st + c, v_mul(v_load(f->acc + i * f->width + c), inverse),
                 min64(a->dim - c, V_LANES));
    }
  }
  for (int64_t i = 0; i < n_queries; i += V_LANES) {
    const int64_t n = min64(n_queries - i, V_LANES);
    store_some(lse + i, v_add(load_some(f->max + i, n), v_log(load_some(f->sum + i, n))), n);
  }
}

static void forward_block(struct forward *f, int64_t block) {
  const struct stk_attention_args *a = f->a;
  const int64_t n_queries = block_size(a->t, block), last = a->causal ? block + 1 : n_blocks(a->t);
  forward_pack(f, last);
  pack_rows(head_of(&a->q, f->b, f->h) + block * BLOCK * a->q.st, a->q.st, n_queries, a->dim, f->q);
  for (int64_t i = 0; i < BLOCK; i++) {
    f->max[i] = -(real)__builtin_inf();
    f->rescale[i] = (real)1;
  }
  for (int64_t at = 0; at < last; at++) {
    const int64_t n_keys = block_size(a->t, at);
    const bool diagonal = a->causal && at == block;
    forward_scores(f, f->kt + at * a->dim * BLOCK, n_queries, n_keys, diagonal);
    forward_softmax(f, block * BLOCK, n_queries, at * BLOCK, n_keys);
    forward_values(f, f->v + at * BLOCK * f->width, n_queries, n_keys, at == 0, diagonal);
  }
  forward_store(f, block * BLOCK, n_queries);
}

static void attention_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_attention_args *a = args;
  const int64_t blocks = n_blocks(a->t);
  size_t bytes;
  struct forward f = forward_of(a, scratch, &bytes);
  f.drop = drop_of(a->dropout_p, a->rng, a->ordinal);
  memset(f.s, 0, BLOCK * BLOCK * sizeof(real));
  for (int64_t unit = lo; unit < hi; unit++) {
    const int64_t pair = unit / blocks;
    if (f.b != pair / a->heads || f.h != pair % a->heads) {
      f.b = pair / a->heads;
      f.h = pair % a->heads;
      f.n_packed = 0;
    }
    forward_block(&f, unit % blocks);
  }
}

extern const struct stk_kernel KFN(attention);
const struct stk_kernel KFN(attention) = {"attention", attention_units, attention_scratch,
                                          attention_run};
