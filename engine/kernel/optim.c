/* Optimizer steps over one slice: SGD, Adam and AdamW (PyTorch's single-tensor formulas).
 *
 * One pass: p, m, v and g are read once and p, m, v written once, to other memory (the next slot)
 * or in place. Every scalar is computed in double and rounded to `real` once, in scalars_of; from
 * there each element is a fixed sequence of IEEE operations (docs/numerics.md, "Optimizers"), so a
 * slice may be cut anywhere. A unit is a block of 16 Ki elements, which divides STK_STATE_CHUNK.
 */
#include <math.h>

#include "engine/kernel/kernel.h"
#include "engine/kernel/vec.h"

#if !defined(STK_ISA_REF)
#include <immintrin.h>
#endif

enum { BLOCK = 16384 };

struct scalars {
  real grad_scale, clip, weight_decay, minus_step;
  real decay;                                   /* AdamW: 1 - lr wd */
  real momentum, undampened;                    /* SGD */
  real one_minus_beta1, beta2, one_minus_beta2; /* Adam */
  real inv_sqrt_bias2, eps;
  real n_lanes;
  bool scaled, clipped, decayed, has_momentum, first, nesterov;
};

struct slice {
  const real *p, *m, *v, *g, *g_add;
  real *p_out, *m_out, *v_out;
};

static struct scalars scalars_of(const struct stk_optim_args *a) {
  const struct stk_optim_scalars *s = a->scalars;
  struct scalars r = {
      .grad_scale = (real)s->grad_scale,
      .clip = (real)s->clip_value,
      .weight_decay = (real)s->weight_decay,
      .decay = (real)(1.0 - s->lr * s->weight_decay),
      .momentum = (real)s->momentum,
      .undampened = (real)(1.0 - s->dampening),
      .one_minus_beta1 = (real)(1.0 - s->beta1),
      .beta2 = (real)s->beta2,
      .one_minus_beta2 = (real)(1.0 - s->beta2),
      .eps = (real)s->eps,
      .n_lanes = (real)a->n_lanes,
      .scaled = s->grad_scale != 1.0,
      .clipped = s->clip_value > 0.0,
      .decayed = s->weight_decay != 0.0,
      .has_momentum = s->momentum != 0.0,
      .first = s->first != 0,
      .nesterov = s->nesterov != 0,
  };
  if (a->kind == STK_OPTIM_SGD) {
    r.minus_step = (real)-s->lr;
  } else {
    r.minus_step = (real) - (s->lr / s->bias1);
    r.inv_sqrt_bias2 = (real)(1.0 / sqrt(s->bias2));
  }
  return r;
}

V_INLINE vreal load(const real *x, int64_t n) {
  return n == V_LANES ? v_load(x) : v_load_n(x, n);
}

V_INLINE void store(real *y, vreal x, int64_t n, bool stream) {
  if (n != V_LANES) {
    v_store_n(y, x, n);
  } else if (stream) {
    v_stream(y, x);
  } else {
    v_store(y, x);
  }
}

/* The gradient: the root of the lane tree if it comes in two parts, scaling (clip by norm), clip by
 * value; NaN stays NaN. */
V_INLINE vreal gradient(const struct scalars *s, const struct slice *x, int64_t i, int64_t n) {
  vreal g = load(x->g + i, n);
  if (x->g_add) {
    g = v_div(v_add(g, load(x->g_add + i, n)), v_set1(s->n_lanes));
  }
  if (s->scaled) {
    g = v_mul(g, v_set1(s->grad_scale));
  }
  if (s->clipped) {
    g = v_max(v_set1(-s->clip), v_min(v_set1(s->clip), g));
  }
  return g;
}

V_INLINE void sgd(const struct scalars *s, const struct slice *x, int64_t i, int64_t n,
                  bool stream) {
  const vreal p = load(x->p + i, n);
  vreal g = gradient(s, x, i, n);
  if (s->decayed) {
    g = v_fma(v_set1(s->weight_decay), p, g);
  }
  if (s->has_momentum) {
    vreal m = g;
    if (!s->first) {
      m = v_mul(v_set1(s->momentum), load(x->m + i, n));
      m = v_fma(v_set1(s->undampened), g, m);
    }
    store(x->m_out + i, m, n, stream);
    g = s->nesterov ? v_fma(v_set1(s->momentum), m, g) : m;
  }
  store(x->p_out + i, v_fma(v_set1(s->minus_step), g, p), n, stream);
}

V_INLINE void adam(const struct scalars *s, const struct slice *x, int64_t i, int64_t n,
                   bool stream, bool decoupled) {
  vreal p = load(x->p + i, n);
  vreal g = gradient(s, x, i, n);
  vreal m = load(x->m + i, n);
  vreal v = load(x->v + i, n);
  if (s->decayed) {
    if (decoupled) {
      p = v_mul(p, v_set1(s->decay));
    } else {
      g = v_fma(v_set1(s->weight_decay), p, g);
    }
  }
  m = v_fma(v_set1(s->one_minus_beta1), v_sub(g, m), m);
  v = v_fma(v_mul(v_set1(s->one_minus_beta2), g), g, v_mul(v_set1(s->beta2), v));
  const vreal denominator = v_fma(v_sqrt(v), v_set1(s->inv_sqrt_bias2), v_set1(s->eps));
  p = v_fma(v_set1(s->minus_step), v_div(m, denominator), p);
  store(x->p_out + i, p, n, stream);
  store(x->m_out + i, m, n, stream);
  store(x->v_out + i, v, n, stream);
}

/* Elements lo .. hi-1; kind and stream are constants after inlining. */
V_INLINE void range(const struct scalars *s, const struct slice *x, int64_t lo, int64_t hi,
                    int32_t kind, bool stream) {
  for (int64_t i = lo; i < hi; i += V_LANES) {
    const int64_t n = hi - i < V_LANES ? hi - i : V_LANES;
    if (kind == STK_OPTIM_SGD) {
      sgd(s, x, i, n, stream);
    } else {
      adam(s, x, i, n, stream, kind == STK_OPTIM_ADAMW);
    }
  }
}

static void range_sgd(const struct scalars *s, const struct slice *x, int64_t lo, int64_t hi,
                      bool stream) {
  if (stream) {
    range(s, x, lo, hi, STK_OPTIM_SGD, true);
  } else {
    range(s, x, lo, hi, STK_OPTIM_SGD, false);
  }
}

static void range_adam(const struct scalars *s, const struct slice *x, int64_t lo, int64_t hi,
                       bool stream) {
  if (stream) {
    range(s, x, lo, hi, STK_OPTIM_ADAM, true);
  } else {
    range(s, x, lo, hi, STK_OPTIM_ADAM, false);
  }
}

static void range_adamw(const struct scalars *s, const struct slice *x, int64_t lo, int64_t hi,
                        bool stream) {
  if (stream) {
    range(s, x, lo, hi, STK_OPTIM_ADAMW, true);
  } else {
    range(s, x, lo, hi, STK_OPTIM_ADAMW, false);
  }
}

static int64_t optim_units(const void *args, int n_threads) {
  const struct stk_optim_args *a = args;
  (void)n_threads;
  return (a->n + BLOCK - 1) / BLOCK;
}

static void optim_run(const void *args, int64_t lo, int64_t hi, void *scratch) {
  const struct stk_optim_args *a = args;
  (void)scratch;
  const struct scalars s = scalars_of(a);
  const struct slice x = {a->p, a->m, a->v, a->g, a->g_add, a->p_out, a->m_out, a->v_out};
  const int64_t from = lo * BLOCK;
  const int64_t to = hi * BLOCK < a->n ? hi * BLOCK : a->n;
  switch ((stk_optim_kind)a->kind) {
    case STK_OPTIM_SGD:
      range_sgd(&s, &x, from, to, a->stream);
      break;
    case STK_OPTIM_ADAM:
      range_adam(&s, &x, from, to, a->stream);
      break;
    case STK_OPTIM_ADAMW:
      range_adamw(&s, &x, from, to, a->stream);
      break;
  }
#if !defined(STK_ISA_REF)
  if (a->stream) {
    _mm_sfence();
  }
#endif
}

extern const struct stk_kernel KFN(optim);
const struct stk_kernel KFN(optim) = {"optim", optim_units, NULL, optim_run};
