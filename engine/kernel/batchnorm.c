/* Batch normalisation: statistics, normalisation, gradients. x is (n, c, inner).
 *
 * A channel's sum: per image the engine's sum of its `inner` contiguous elements (v_reduce), then
 * over images in chunks of 256, each a chain of additions from +0, chunk sums added in order. Mean
 * is the sum over N = n * inner; the variance is a second pass over (x - mean)^2. With inner == 1
 * the same order runs over 16 channels at a time. docs/numerics.md, "Batch normalisation".
 *
 * Statistics and gradient sums: a unit is a channel (16 with inner == 1). Normalisation and dx: a
 * unit is a few (n, c) planes, or rows with inner == 1.
 */
#include "engine/kernel/kernel.h"
#include "engine/kernel/vec.h"

enum { CHUNK = 256, UNIT = 16384 };

static int64_t min64(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

V_INLINE vreal load(const real *x, int64_t n) {
  return n >= V_LANES ? v_load(x) : v_load_n(x, n);
}

V_INLINE void store(real *y, vreal x, int64_t n) {
  if (n >= V_LANES) {
    v_store(y, x);
  } else {
    v_store_n(y, x, n);
  }
}

/* ---- sums over a channel */

typedef enum sum_kind { SUM_X, SUM_SQUARE, SUM_PRODUCT } sum_kind;

/* What is summed: x; (x - mean)^2; or g * ((x - mean) * rstd). */
V_INLINE vreal term(sum_kind kind, vreal x, vreal g, vreal mean, vreal rstd) {
  if (kind == SUM_X) {
    return x;
  }
  const vreal d = v_sub(x, mean);
  return kind == SUM_SQUARE ? v_mul(d, d) : v_mul(g, v_mul(d, rstd));
}

struct channel {
  const real *x, *g; /* the channel's first element; g for SUM_PRODUCT */
  int64_t n, c, inner;
};

V_INLINE real channel_sum(const struct channel *ch, sum_kind kind, real mean, real rstd) {
  const vreal m = v_set1(mean), r = v_set1(rstd);
  real total = (real)0;
  for (int64_t at = 0; at < ch->n; at += CHUNK) {
    const int64_t end = min64(at + CHUNK, ch->n);
    real chain = (real)0;
    for (int64_t i = at; i < end; i++) {
      const real *x = ch->x + i * ch->c * ch->inner;
      const real *g = kind == SUM_PRODUCT ? ch->g + i * ch->c * ch->inner : x;
      real sum;
      if (kind == SUM_X) {
        sum = v_reduce(x, ch->inner);
      } else {
        V_REDUCE_WITH(sum, ch->inner, j, count,
                      v_select(v_mask_n(count),
                               term(kind, load(x + j, count), load(g + j, count), m, r), v_zero()));
      }
      chain += sum;
    }
    total = at == 0 ? chain : total + chain;
  }
  return total;
}

/* The same for `lanes` channels with inner == 1. */
V_INLINE vreal columns_sum(const struct channel *ch, int64_t lanes, sum_kind kind, vreal mean,
                           vreal rstd) {
  vreal total = v_zero();
  for (int64_t at = 0; at < ch->n; at += CHUNK) {
    const int64_t end = min64(at + CHUNK, ch->n);
    vreal chain = v_zero();
    for (int64_t i = at; i < end; i++) {
      const vreal x = load(ch->x + i * ch->c, lanes);
      const vreal g = kind == SUM_PRODUCT ? load(ch->g + i * ch->c, lanes) : x;
      chain = v_add(chain, term(kind, x, g, mean, rstd));
    }
    total = at == 0 ? chain : v_add(total, chain);
  }
  return total;
}

static int64_t channel_units(int64_t c, int64_t inner) {
  return inner == 1 ? ceil_div(c, V_LANES) : c;
}

/* ---- statistics */

/* running' = fma(m, statistic, (1 - m) running) */
V_INLINE vreal running(const struct stk_batchnorm_stats_args *a, vreal old, vreal now) {
  return v_fma(v_set1((real)a->momentum), now, v_mul(v_set1((real)(1.0 - a->momentum)), old));
}

static void stats_store(const struct stk_batchnorm_stats_args *a, int64_t at, int64_t lanes,
                        vreal mean, vreal squares) {
  const int64_t count = a->n * a->inner;
  const vreal var = v_div(squares, v_set1((real)count));
  const vreal rstd = v_div(v_set1((real)1), v_sqrt(v_add(var, v_set1((real)a->eps))));
  store((real *)a->mean + at, mean, lanes);
  store((real *)a->rstd + at, rstd, lanes);
  if (a->run_mean_out) {
    const vreal unbiased = v_div(squares, v_set1((real)(count > 1 ? count - 1 : 1)));
    const vreal old_mean = load((const real *)a->run_mean + at, lanes);
    const vreal old_var = load((const real *)a->run_var + at, lanes);
    store((real *)a->run_mean_out + at, running(a, old_mean, mean), lanes);
    store((real *)a->run_var_out + at, running(a, old_var, unbiased), lanes);
  }
}

static void stats_columns(const struct stk_batchnorm_stats_args *a, int64_t at) {
  const int64_t lanes = min64(a->c - at, V_LANES);
  const struct channel ch = {(const real *)a->x + at, NULL, a->n, a->c, 1};
  const vreal none = v_zero();
  const vreal mean = v_div(columns_sum(&ch, lanes, SUM_X, none, none), v_set1((real)a->n));
  stats_store(a, at, lanes, mean, columns_sum(&ch, lanes, SUM_SQUARE, mean, none));
}

static void stats_channel(const struct stk_batchnorm_stats_args *a, int64_t c) {
  const struct channel ch = {(const real *)a->x + c * a->inner, NULL, a->n, a->c, a->inner};
  const real mean = channel_sum(&ch, SUM_X, (real)0, (real)0) / (real)(a->n * a->inner);
  const real squares = channel_sum(&ch, SUM_SQUARE, mean, (real)0);
  stats_store(a, c, 1, v_set1(mean), v_set1(squares));
}

static int64_t stats_units(const void *args, int n_threads) {
  const struct stk_batchnorm_stats_args *a = args;
  (void)n_threads;
  return channel_units(a->c, a->inner);
}

static void stats_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_batchnorm_stats_args *a = args;
  (void)scratch;
  for (int64_t u = lo; u < hi; u++) {
    if (a->inner == 1) {
      stats_columns(a, u * V_LANES);
    } else {
      stats_channel(a, u);
    }
  }
}

extern const struct stk_kernel KFN(batchnorm_stats);
const struct stk_kernel KFN(batchnorm_stats) = {"batchnorm_stats", stats_units, NULL, stats_run};

/* ---- dgamma, dbeta */

static void sums_columns(const struct stk_batchnorm_bwd_sums_args *a, int64_t at) {
  const int64_t lanes = min64(a->c - at, V_LANES);
  const struct channel grad = {(const real *)a->g + at, NULL, a->n, a->c, 1};
  const struct channel both = {(const real *)a->x + at, (const real *)a->g + at, a->n, a->c, 1};
  const vreal mean = load((const real *)a->mean + at, lanes);
  const vreal rstd = load((const real *)a->rstd + at, lanes);
  store((real *)a->dbeta + at, columns_sum(&grad, lanes, SUM_X, mean, rstd), lanes);
  store((real *)a->dgamma + at, columns_sum(&both, lanes, SUM_PRODUCT, mean, rstd), lanes);
}

static void sums_channel(const struct stk_batchnorm_bwd_sums_args *a, int64_t c) {
  const real *x = (const real *)a->x + c * a->inner, *g = (const real *)a->g + c * a->inner;
  const struct channel grad = {g, NULL, a->n, a->c, a->inner};
  const struct channel both = {x, g, a->n, a->c, a->inner};
  ((real *)a->dbeta)[c] = channel_sum(&grad, SUM_X, (real)0, (real)0);
  ((real *)a->dgamma)[c] =
      channel_sum(&both, SUM_PRODUCT, ((const real *)a->mean)[c], ((const real *)a->rstd)[c]);
}

static int64_t sums_units(const void *args, int n_threads) {
  const struct stk_batchnorm_bwd_sums_args *a = args;
  (void)n_threads;
  return channel_units(a->c, a->inner);
}

static void sums_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_batchnorm_bwd_sums_args *a = args;
  (void)scratch;
  for (int64_t u = lo; u < hi; u++) {
    if (a->inner == 1) {
      sums_columns(a, u * V_LANES);
    } else {
      sums_channel(a, u);
    }
  }
}

extern const struct stk_kernel KFN(batchnorm_bwd_sums);
const struct stk_kernel KFN(batchnorm_bwd_sums) = {"batchnorm_bwd_sums", sums_units, NULL,
                                                   sums_run};

/* ---- elementwise parts: planes of one channel, or rows of channels when inner == 1 */

/* Runs of consecutive elements that share an index of `channel`: a plane, or a row. */
static int64_t run_length(int64_t c, int64_t inner) {
  return inner == 1 ? c : inner;
}

static int64_t runs_per_unit(int64_t c, int64_t inner) {
  const int64_t length = run_length(c, inner);
  return length >= UNIT ? 1 : UNIT / length;
}

static int64_t runs(int64_t n, int64_t c, int64_t inner) {
  return inner == 1 ? n : n * c;
}

/* One channel's parameter in all lanes, or 16 channels' in theirs. */
V_INLINE vreal parameter(const void *p, int64_t channel, int64_t lanes, bool columns) {
  const real *at = (const real *)p + channel;
  return columns ? load(at, lanes) : v_set1(*at);
}

struct affine {
  vreal mean, rstd, gamma, beta;
};

V_INLINE struct affine affine_of(const struct stk_batchnorm_apply_args *a, int64_t channel,
                                 int64_t lanes, bool columns) {
  struct affine f = {.mean = parameter(a->mean, channel, lanes, columns),
                     .rstd = parameter(a->rstd, channel, lanes, columns),
                     .gamma = v_zero(),
                     .beta = v_zero()};
  if (a->from_var) {
    f.rstd = v_div(v_set1((real)1), v_sqrt(v_add(f.rstd, v_set1((real)a->eps))));
  }
  if (a->gamma) {
    f.gamma = parameter(a->gamma, channel, lanes, columns);
  }
  if (a->beta) {
    f.beta = parameter(a->beta, channel, lanes, columns);
  }
  return f;
}

V_INLINE vreal applied(const struct stk_batchnorm_apply_args *a, const struct affine *f, vreal x) {
  vreal y = v_mul(v_sub(x, f->mean), f->rstd);
  if (a->gamma && a->beta) {
    y = v_fma(y, f->gamma, f->beta);
  } else if (a->gamma) {
    y = v_mul(y, f->gamma);
  } else if (a->beta) {
    y = v_add(y, f->beta);
  }
  return a->relu ? v_max(v_zero(), y) : y;
}

static int64_t apply_units(const void *args, int n_threads) {
  const struct stk_batchnorm_apply_args *a = args;
  (void)n_threads;
  return ceil_div(runs(a->n, a->c, a->inner), runs_per_unit(a->c, a->inner));
}

static void apply_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_batchnorm_apply_args *a = args;
  const bool columns = a->inner == 1;
  const int64_t length = run_length(a->c, a->inner), per_unit = runs_per_unit(a->c, a->inner);
  const int64_t end = min64(hi * per_unit, runs(a->n, a->c, a->inner));
  (void)scratch;
  for (int64_t i = lo * per_unit; i < end; i++) {
    const real *x = (const real *)a->x + i * length;
    real *y = (real *)a->y + i * length;
    struct affine f = affine_of(a, columns ? 0 : i % a->c, min64(length, V_LANES), columns);
    for (int64_t j = 0; j < length; j += V_LANES) {
      if (columns && j > 0) {
        f = affine_of(a, j, length - j, true);
      }
      store(y + j, applied(a, &f, load(x + j, length - j)), length - j);
    }
  }
}

extern const struct stk_kernel KFN(batchnorm_apply);
const struct stk_kernel KFN(batchnorm_apply) = {"batchnorm_apply", apply_units, NULL, apply_run};

/* dx = (gamma rstd) ((g - dbeta / N) - xhat (dgamma / N)), xhat = (x - mean) rstd */
struct slope {
  vreal mean, rstd, a, b, scale;
};

V_INLINE struct slope slope_of(const struct stk_batchnorm_bwd_args *a, int64_t channel,
                               int64_t lanes, bool columns) {
  const vreal count = v_set1((real)(a->n * a->inner));
  struct slope s = {.mean = parameter(a->mean, channel, lanes, columns),
                    .rstd = parameter(a->rstd, channel, lanes, columns),
                    .a = v_div(parameter(a->dbeta, channel, lanes, columns), count),
                    .b = v_div(parameter(a->dgamma, channel, lanes, columns), count)};
  s.scale = a->gamma ? v_mul(parameter(a->gamma, channel, lanes, columns), s.rstd) : s.rstd;
  return s;
}

V_INLINE vreal sloped(const struct slope *s, vreal x, vreal g) {
  const vreal xhat = v_mul(v_sub(x, s->mean), s->rstd);
  return v_mul(v_fnma(xhat, s->b, v_sub(g, s->a)), s->scale);
}

static int64_t bwd_units(const void *args, int n_threads) {
  const struct stk_batchnorm_bwd_args *a = args;
  (void)n_threads;
  return ceil_div(runs(a->n, a->c, a->inner), runs_per_unit(a->c, a->inner));
}

static void bwd_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_batchnorm_bwd_args *a = args;
  const bool columns = a->inner == 1;
  const int64_t length = run_length(a->c, a->inner), per_unit = runs_per_unit(a->c, a->inner);
  const int64_t end = min64(hi * per_unit, runs(a->n, a->c, a->inner));
  (void)scratch;
  for (int64_t i = lo * per_unit; i < end; i++) {
    const real *x = (const real *)a->x + i * length, *g = (const real *)a->g + i * length;
    real *dx = (real *)a->dx + i * length;
    struct slope s = slope_of(a, columns ? 0 : i % a->c, min64(length, V_LANES), columns);
    for (int64_t j = 0; j < length; j += V_LANES) {
      if (columns && j > 0) {
        s = slope_of(a, j, length - j, true);
      }
      const vreal d = sloped(&s, load(x + j, length - j), load(g + j, length - j));
      store(dx + j, d, length - j);
    }
  }
}

extern const struct stk_kernel KFN(batchnorm_bwd);
const struct stk_kernel KFN(batchnorm_bwd) = {"batchnorm_bwd", bwd_units, NULL, bwd_run};
