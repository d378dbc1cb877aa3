/* Sampling from a trained model. See generate.h. */
#include "engine/trainer/generate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/num/dmath.h"
#include "engine/num/philox.h"
#include "proto/base/mem.h"

static int falling(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x < y) - (x > y);
}

/* Weights that are below the k-th largest become 0; of equal ones the first are kept. */
static void keep_top(int64_t k, int64_t n, double *weight, double *sorted) {
  memcpy(sorted, weight, sizeof *weight * (size_t)n);
  qsort(sorted, (size_t)n, sizeof *sorted, falling);
  double least = sorted[k - 1];
  int64_t equal = 0; /* how many of the least are kept */
  for (int64_t i = k - 1; i >= 0 && sorted[i] == least; i--) {
    equal++;
  }
  for (int64_t i = 0; i < n; i++) {
    if (weight[i] < least || (weight[i] == least && equal-- <= 0)) {
      weight[i] = 0.0;
    }
  }
}

/* [0, 1) with 53 bits. */
static double draw(uint64_t seed, uint64_t index) {
  uint32_t counter[4], word[4];
  stk_philox_counter(STK_PHILOX_GENERATE, index, 0, 0, 0, counter);
  stk_philox(seed, counter, word);
  return (double)((uint64_t)word[0] << 21 | word[1] >> 11) * 0x1p-53;
}

int32_t stk_choose_token(const struct stk_sampling *c, uint64_t index, const void *logits,
                         int32_t real_bits, int64_t n, double *weight) {
  int64_t best = 0;
  double *sorted = weight + n;
  for (int64_t i = 0; i < n; i++) {
    weight[i] = real_bits == 64 ? ((const double *)logits)[i] : (double)((const float *)logits)[i];
    best = weight[i] > weight[best] ? i : best;
    if (isnan(weight[i])) {
      return -1;
    }
  }
  if (c->temperature == 0.0 || isinf(weight[best])) {
    return (int32_t)best;
  }
  double most = weight[best], sum = 0.0, below = 0.0;
  for (int64_t i = 0; i < n; i++) {
    weight[i] = stk_exp_d((weight[i] - most) / c->temperature);
  }
  if (c->top_k > 0 && c->top_k < n) {
    keep_top(c->top_k, n, weight, sorted);
  }
  for (int64_t i = 0; i < n; i++) {
    sum += weight[i];
  }
  double target = draw(c->seed, index) * sum;
  for (int64_t i = 0; i < n; i++) {
    below += weight[i];
    if (below > target) {
      return (int32_t)i;
    }
  }
  return (int32_t)best;
}

/* ---- the loop */

static sp_status predict_graph(stk_session *s, const struct stk_graph **out_g, struct sp_err *err) {
  stk_program *p;
  sp_status st = stk_session_program(s, STK_PREDICT, 1, &p, err);
  if (st) {
    return st;
  }
  const struct stk_graph *g = stk_program_graph(p);
  const struct stk_shape *x = g->x >= 0 ? &g->values[g->x].shape : NULL;
  const struct stk_shape *y = &g->values[g->loss].shape;
  bool fits = x && x->rank == 2 && y->rank == 3 && y->dim[1] == x->dim[1] &&
              g->values[g->x].dtype == STK_I32 && g->values[g->loss].dtype == g->real;
  if (!fits) {
    return sp_fail(err, SP_EUNSUPPORTED,
                   "predict.generate: module %s gives no logits (batch, t, vocabulary) for token "
                   "ids (batch, t)",
                   stk_session_config_of(s)->module->def->name);
  }
  *out_g = g;
  return SP_OK;
}

sp_status stk_generate_vocab(stk_session *s, int64_t *out_n, struct sp_err *err) {
  const struct stk_graph *g;
  sp_status st = predict_graph(s, &g, err);
  if (!st) {
    *out_n = g->values[g->loss].shape.dim[2];
  }
  return st;
}

struct window {
  int32_t *id; /* size tokens, the first n of them known */
  int64_t size, n, vocab;
  double *weight;
};

static void push(struct window *w, int32_t id) {
  if (w->n == w->size) {
    memmove(w->id, w->id + 1, sizeof *w->id * (size_t)(w->size - 1));
    w->n--;
  }
  w->id[w->n++] = id;
}

static sp_status next_token(stk_session *s, const struct stk_sampling *c, struct window *w,
                            int64_t index, int32_t *out_id, struct sp_err *err) {
  const struct stk_session_config *sc = stk_session_config_of(s);
  struct stk_lane_batch b = {w->id, NULL, 1, (uint64_t)index};
  const void *result;
  sp_status st = stk_session_eval(s, STK_PREDICT, 0, &b, NULL, NULL, &result, err);
  if (st) {
    return st;
  }
  size_t at = (size_t)((w->n - 1) * w->vocab) * (size_t)(sc->real_bits / 8);
  *out_id = stk_choose_token(c, (uint64_t)index, (const uint8_t *)result + at, sc->real_bits,
                             w->vocab, w->weight);
  return *out_id >= 0 ? SP_OK : sp_fail(err, SP_EMODULE, "the model's logits are no numbers (NaN)");
}

static sp_status take_prompt(const struct stk_generate_config *c, struct window *w,
                             struct sp_err *err) {
  if (c->n_prompt < 1) {
    return sp_fail(err, SP_EINVAL, "predict.prompt: at least one token is needed to go on from");
  }
  for (int64_t i = 0; i < c->n_prompt; i++) {
    if (c->prompt[i] < 0 || c->prompt[i] >= w->vocab) {
      return sp_fail(err, SP_EINVAL,
                     "predict.prompt: token %d is not one of the model's, 0 to %lld",
                     (int)c->prompt[i], (long long)w->vocab - 1);
    }
    push(w, c->prompt[i]);
  }
  return SP_OK;
}

sp_status stk_generate(stk_session *s, const struct stk_generate_config *c, struct sp_err *err) {
  const struct stk_graph *g;
  sp_status st = predict_graph(s, &g, err);
  if (st) {
    return st;
  }
  struct window w = {.size = g->values[g->x].shape.dim[1],
                     .vocab = g->values[g->loss].shape.dim[2]};
  w.id = sp_alloc_array((size_t)w.size, sizeof *w.id);
  w.weight = sp_alloc_array((size_t)w.vocab * 2, sizeof *w.weight);
  st = w.id && w.weight ? SP_OK : sp_fail(err, SP_ENOMEM, "no memory to sample text");
  st = st ? st : take_prompt(c, &w, err);
  bool done = false;
  for (int64_t i = 0; i < c->n_tokens && !st && !done; i++) {
    int32_t id;
    st = next_token(s, &c->sampling, &w, i, &id, err);
    if (!st) {
      push(&w, id);
      done = c->token(c->ctx, id);
    }
  }
  sp_free(w.id);
  sp_free(w.weight);
  return st;
}
