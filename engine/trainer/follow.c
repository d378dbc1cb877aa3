/* A follower's batches from its loaders: see follow.h. */
#include "engine/trainer/follow.h"

static struct stk_loader_at position(const struct stk_batch_at *at) {
  return (struct stk_loader_at){at->epoch, at->lane, at->batch};
}

static sp_status next_batch(void *ctx, const struct stk_batch_at *at,
                            const struct stk_batch_at *then, struct stk_lane_batch *out,
                            struct sp_err *err) {
  const struct stk_follow_loaders *l = ctx;
  const bool trains = at->stage == STK_TRAIN;
  struct stk_loader *loader = trains ? l->train : at->stage == STK_VALIDATE ? l->val : l->test;
  const struct stk_loader_at next = position(then);
  struct stk_loader_batch b;
  if (!loader) {
    return sp_fail(err, SP_EINTERNAL, "no data for stage %d", (int)at->stage);
  }
  sp_status st = stk_loader_next(loader, position(at), &next, &b, err);
  if (!st && trains && b.n == 0) {
    st = sp_fail(err, SP_EINTERNAL, "lane %d has no batch %lld", (int)at->lane,
                 (long long)at->batch);
  }
  if (!st) {
    const int64_t before = trains ? at->epoch * l->n_train_batches : 0;
    *out = (struct stk_lane_batch){b.x, b.y, b.n, (uint64_t)(before + at->batch)};
  }
  return st;
}

sp_status stk_follow(stk_session *s, const struct stk_follow_loaders *loaders, struct sp_err *err) {
  struct stk_follow_loaders l = *loaders;
  const struct stk_follow f = {next_batch, &l};
  return stk_session_follow(s, &f, err);
}
