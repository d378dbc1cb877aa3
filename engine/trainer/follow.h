/* Following with loaders: the batches of a rank other than 0 come from data sets of its own.
 *
 * What a loader gives depends on the position alone, so a follower reads the batches that the lead
 * would have read for its lanes. One thread.
 */
#ifndef STK_TRAINER_FOLLOW_H
#define STK_TRAINER_FOLLOW_H

#include "engine/data/loader.h"
#include "engine/trainer/session.h"

struct stk_follow_loaders {
  struct stk_loader *train, *val, *test; /* borrowed; NULL: the stage does not come */
  int64_t n_train_batches;               /* per epoch and lane, after limits: numbers batches */
};

/* stk_session_follow with these. */
SP_NODISCARD sp_status stk_follow(stk_session *s, const struct stk_follow_loaders *loaders,
                                  struct sp_err *err);

#endif
