/* Attention backward: dq, dk, dv from q, k, v, o, the gradient of o and the saved log-sums.
 *
 * A unit is one (batch, head). Blocks of keys are the outer loop, ascending; blocks of queries the
 * inner one, ascending: so dk and dv of a block add their products in ascending query block, and dq
 * of a block adds its products in ascending key block. Probabilities are rebuilt as
 * exp(scale q k' - lse). docs/numerics.md, "Attention".
 */
#include "engine/kernel/attention.h"

/* One (batch, head) in scratch. */
struct backward {
  const struct stk_attention_bwd_args *a;
  int64_t b, h, width;
  struct drop drop;
  real *q, *k, *go, *dq; /* (blocks * 64, width) */
  real *kt, *vt;         /* per block: (dim, 64) */
  real *lse, *delta;     /* (blocks * 64): delta = sum of o * go */
  real *p, *ds;          /* (64, 64) */
  real *dk, *dv;         /* (64, width) */
};

static int64_t attention_bwd_units(const void *args, int n_threads) {
  const struct stk_attention_bwd_args *a = args;
  (void)n_threads;
  return a->batch * a->heads;
}

/* A call's layout, and with no scratch only how many bytes it takes. */
static struct backward backward_of(const struct stk_attention_bwd_args *a, char *scratch,
                                   size_t *out_bytes) {
  const int64_t rows = n_blocks(a->t) * BLOCK, width = padded_width(a->dim);
  struct backward w = {.a = a, .width = width};
  struct carve c = {scratch, 0};
  w.q = carve(&c, rows * width, sizeof(real));
  w.k = carve(&c, rows * width, sizeof(real));
  w.go = carve(&c, rows * width, sizeof(real));
  w.dq = carve(&c, rows * width, sizeof(real));
  w.kt = carve(&c, rows * a->dim, sizeof(real));
  w.vt = carve(&c, rows * a->dim, sizeof(real));
  w.lse = carve(&c, rows, sizeof(real));
  w.delta = carve(&c, rows, sizeof(real));
  w.p = carve(&c, BLOCK * BLOCK, sizeof(real));
  w.ds = carve(&c, BLOCK * BLOCK, sizeof(real));
  w.dk = carve(&c, BLOCK * width, sizeof(real));
  w.dv = carve(&c, BLOCK * width, sizeof(real));
  *out_bytes = c.at;
  return w;
}

static size_t attention_bwd_scratch(const void *args) {
  size_t bytes;
  (void)backward_of(args, NULL, &bytes);
  return bytes;
}

static void backward_pack(struct backward *w, int64_t block) {
  const struct stk_attention_bwd_args *a = w->a;
  const int64_t first = block * BLOCK, n = block_size(a->t, block);
  const real *k = head_of(&a->k, w->b, w->h) + first * a->k.st;
  const real *go = head_of(&a->go, w->b, w->h) + first * a->go.st;
  const real *o = head_of(&a->o, w->b, w->h) + first * a->o.st;
  pack_rows(head_of(&a->q, w->b, w->h) + first * a->q.st, a->q.st, n, a->dim,
            w->q + first * w->width);
  pack_rows(k, a->k.st, n, a->dim, w->k + first * w->width);
  pack_rows(go, a->go.st, n, a->dim, w->go + first * w->width);
  pack_transposed(k, a->k.st, n, a->dim, w->kt + first * a->dim);
  pack_transposed(head_of(&a->v, w->b, w->h) + first * a->v.st, a->v.st, n, a->dim,
                  w->vt + first * a->dim);
  memset(w->dq + first * w->width, 0, (size_t)(BLOCK * w->width) * sizeof(real));
  memset(w->lse + first, 0, BLOCK * sizeof(real));
  memcpy(w->lse + first, (const real *)a->lse + (w->b * a->heads + w->h) * a->t + first,
         (size_t)n * sizeof(real));
  for (int64_t i = 0; i < n; i++) {
    const real *oi = o + i * a->o.st, *gi = go + i * a->go.st;
    real sum;
    V_REDUCE_WITH(sum, a->dim, c, left, v_mul(load_some(oi + c, left), load_some(gi + c, left)));
    w->delta[first + i] = sum;
  }
}

/* to = four rows at `from` times a block's columns, `columns` of them and up to 31 more. */
V_INLINE void product_rows(const struct backward *w, real *to, const real *from, const real *right,
                           int64_t columns) {
  const int64_t dim = w->a->dim;
  for (int64_t j = 0; j < columns; j += V_LANES) {
    if (in_twos(columns - j)) {
      const struct tiles t = tiles_dot(from, w->width, right + j, BLOCK, dim);
      tile_store(to + j, BLOCK, t.one);
      j += V_LANES;
      tile_store(to + j, BLOCK, t.two);
    } else {
      tile_store(to + j, BLOCK, tile_dot(from, w->width, right + j, BLOCK, dim));
    }
  }
}

/* p = q k' and ds = go v' of one pair of blocks, raw products. */
static void backward_products(struct backward *w, int64_t query, int64_t n_queries, int64_t key,
                              int64_t n_keys, bool diagonal) {
  const int64_t at = key * w->a->dim;
  for (int64_t i = 0; i < n_queries; i += TILE) {
    const int64_t columns = diagonal ? min64(i + TILE, n_keys) : n_keys;
    const int64_t row = (query + i) * w->width;
    product_rows(w, w->p + i * BLOCK, w->q + row, w->kt + at, columns);
    product_rows(w, w->ds + i * BLOCK, w->go + row, w->vt + at, columns);
  }
}

/* p = exp(scale p - lse), ds = (p (ds - delta)) scale over a row's n keys, +0 up to the next
 * multiple of 16. `keep` holds the dropout factors, or is NULL. */
V_INLINE void backward_row(struct backward *w, int64_t i, int64_t query, int64_t n,
                           const real *keep) {
  const vreal scale = v_set1((real)w->a->scale);
  const vreal lse = v_set1(w->lse[query + i]), delta = v_set1(w->delta[query + i]);
  for (int64_t j = 0; j < n; j += V_LANES) {
    real *p = w->p + i * BLOCK + j, *ds = w->ds + i * BLOCK + j;
    const int64_t left = min64(n - j, V_LANES);
    const vreal e = keep_some(v_exp(v_sub(v_mul(v_load(p), scale), lse)), left);
    vreal d = v_load(ds);
    if (keep) {
      d = v_mul(d, v_load(keep + j));
    }
    v_store(ds, keep_some(v_mul(v_mul(e, v_sub(d, delta)), scale), left));
    v_store(p, keep ? v_mul(e, v_load(keep + j)) : e);
  }
}

static void backward_softmax(struct backward *w, int64_t query, int64_t n_queries, int64_t key,
                             int64_t n_keys, bool diagonal) {
  const int64_t t = w->a->t;
  for (int64_t i = 0; i < n_queries; i++) {
    const int64_t n = diagonal ? min64(i + 1, n_keys) : n_keys;
    if (w->drop.on) {
      const int64_t row = (w->b * w->a->heads + w->h) * t + query + i;
      real keep[BLOCK];
      drop_row(&w->drop, (uint64_t)(row * t + key), keep);
      backward_row(w, i, query, n, keep);
    } else {
      backward_row(w, i, query, n, NULL);
    }
  }
}

/* Four rows of c, `width` wide, += the chains of four rows of `left` over n rows of `right`. */
V_INLINE void add_rows(int64_t width, real *c, const real *left, int64_t row, int64_t step,
                       const real *right, int64_t n) {
  for (int64_t i = 0; i < width; i += V_LANES) {
    if (in_twos(width - i)) {
      const struct tiles t = tiles_chain(left, row, step, right + i, width, n);
      tile_add(c + i, width, t.one);
      i += V_LANES;
      tile_add(c + i, width, t.two);
    } else {
      tile_add(c + i, width, tile_chain(left, row, step, right + i, width, n));
    }
  }
}

/* dv += p' go, dk += ds' q, dq += ds k of one pair of blocks. */
static void backward_accumulate(struct backward *w, int64_t query, int64_t n_queries, int64_t key,
                                int64_t n_keys, bool diagonal) {
  const int64_t width = w->width;
  for (int64_t j = 0; j < n_keys; j += TILE) {
    const int64_t from = diagonal ? j : 0, n = n_queries - from, row = (query + from) * width;
    add_rows(width, w->dv + j * width, w->p + from * BLOCK + j, 1, BLOCK, w->go + row, n);
    add_rows(width, w->dk + j * width, w->ds + from * BLOCK + j, 1, BLOCK, w->q + row, n);
  }
  for (int64_t i = 0; i < n_queries; i += TILE) {
    const int64_t n = diagonal ? min64(i + TILE, n_keys) : n_keys;
    add_rows(width, w->dq + (query + i) * width, w->ds + i * BLOCK, BLOCK, 1, w->k + key * width,
             n);
  }
}

/* n packed rows back to a head of x, from row `first` on. */
static void backward_store(const struct backward *w, const struct stk_heads *x, int64_t first,
                           int64_t n, const real *from) {
  real *to = (real *)x->p + w->b * x->sb + w->h * x->sh + first * x->st;
  for (int64_t i = 0; i < n; i++) {
    for (int64_t c = 0; c < w->a->dim; c += V_LANES) {
      store_some(to + i * x->st + c, v_load(from + i * w->width + c),
                 min64(w->a->dim - c, V_LANES));
    }
  }
}

static void backward_head(struct backward *w) {
  const struct stk_attention_bwd_args *a = w->a;
  const int64_t blocks = n_blocks(a->t);
  for (int64_t block = 0; block < blocks; block++) {
    backward_pack(w, block);
  }
  for (int64_t at = 0; at < blocks; at++) {
    const int64_t key = at * BLOCK, n_keys = block_size(a->t, at);
    memset(w->dk, 0, (size_t)(BLOCK * w->width) * sizeof(real));
    memset(w->dv, 0, (size_t)(BLOCK * w->width) * sizeof(real));
    for (int64_t block = a->causal ? at : 0; block < blocks; block++) {
      const int64_t query = block * BLOCK, n_queries = block_size(a->t, block);
      const bool diagonal = a->causal && block == at;
      backward_products(w, query, n_queries, key, n_keys, diagonal);
      backward_softmax(w, query, n_queries, key, n_keys, diagonal);
      backward_accumulate(w, query, n_queries, key, n_keys, diagonal);
    }
    backward_store(w, &a->dk, key, n_keys, w->dk);
    backward_store(w, &a->dv, key, n_keys, w->dv);
  }
  backward_store(w, &a->dq, 0, a->t, w->dq);
}

static void attention_bwd_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_attention_bwd_args *a = args;
  size_t bytes;
  struct backward w = backward_of(a, scratch, &bytes);
  w.drop = drop_of(a->dropout_p, a->rng, a->ordinal);
  for (int64_t unit = lo; unit < hi; unit++) {
    w.b = unit / a->heads;
    w.h = unit % a->heads;
    backward_head(&w);
  }
}

extern const struct stk_kernel KFN(attention_bwd);
const struct stk_kernel KFN(attention_bwd) = {"attention_bwd", attention_bwd_units,
                                              attention_bwd_scratch, attention_bwd_run};
