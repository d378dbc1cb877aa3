/* Sample order: see the header. Arithmetic only; nothing is allocated or remembered. */
#include "engine/data/sampler.h"

#include "engine/num/permute.h"

#include <assert.h>

int64_t stk_sampler_n_samples(const struct stk_sampler *s, int64_t lane) {
  assert(s->n >= 0 && s->n_lanes >= 1 && lane >= 0 && lane < s->n_lanes);
  if (s->pad) {
    return s->n / s->n_lanes + (s->n % s->n_lanes != 0);
  }
  return s->n / s->n_lanes + (lane < s->n % s->n_lanes);
}

int64_t stk_sampler_n_batches(const struct stk_sampler *s, int64_t lane) {
  assert(s->batch_size >= 1);
  int64_t n = stk_sampler_n_samples(s, lane);
  bool ragged = n % s->batch_size != 0 && !s->drop_last;
  return n / s->batch_size + ragged;
}

int64_t stk_sampler_n_steps(const struct stk_sampler *s) {
  return stk_sampler_n_batches(s, 0);
}

int64_t stk_sampler_batch(const struct stk_sampler *s, int64_t epoch, int64_t lane, int64_t batch,
                          int64_t *out_ids) {
  if (batch < 0 || batch >= stk_sampler_n_batches(s, lane)) {
    return 0;
  }
  int64_t begin = batch * s->batch_size;
  int64_t left = stk_sampler_n_samples(s, lane) - begin;
  int64_t n = left < s->batch_size ? left : s->batch_size;
  struct stk_permutation order;
  if (s->shuffle) {
    stk_permutation_init(&order, s->seed, (uint64_t)epoch, (uint64_t)s->n);
  }
  for (int64_t k = 0; k < n; k++) {
    uint64_t position = (uint64_t)(lane + (begin + k) * s->n_lanes) % (uint64_t)s->n;
    uint64_t i = s->shuffle ? stk_permutation_at(&order, position) : position;
    out_ids[k] = s->first + (int64_t)i;
  }
  return n;
}
