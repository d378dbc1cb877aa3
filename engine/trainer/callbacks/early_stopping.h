/* EarlyStopping: stop when a monitored value no longer improves (Lightning's callback of that
 * name).
 *
 * Pure. The options are constant for the job; the state is a POD that lives in the control page and
 * is a function of the values it saw. One check runs the tests in Lightning's order: not finite,
 * stopping_threshold reached, divergence_threshold passed, improved by more than min_delta (wait
 * starts over), else one more check without improvement. Patience counts checks, not epochs.
 *
 * When to check (on_validation_end, or at the end of the training epoch), that the monitored name
 * exists (`strict`), and that min_epochs and min_steps delay the stop, is the loop's business.
 */
#ifndef STK_TRAINER_CALLBACKS_EARLY_STOPPING_H
#define STK_TRAINER_CALLBACKS_EARLY_STOPPING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/trainer/callbacks/monitor.h"

struct stk_early_stopping_options {
  enum stk_monitor_mode mode;
  double min_delta; /* >= 0; its sign is dropped, as Lightning's is */
  int64_t patience; /* >= 0 checks */
  bool check_finite;
  double stopping_threshold;   /* NaN: none */
  double divergence_threshold; /* NaN: none */
};

enum stk_early_verdict {
  STK_EARLY_GO_ON = 0,
  STK_EARLY_IMPROVED = 1, /* goes on too */
  STK_EARLY_NOT_FINITE = 2,
  STK_EARLY_THRESHOLD = 3,
  STK_EARLY_DIVERGED = 4,
  STK_EARLY_PATIENCE = 5,
};

struct stk_early_stopping {
  double best_score;
  int64_t wait_count;
  int64_t stopped_epoch; /* 0 until it stops, as Lightning's */
  int64_t verdict;       /* enum stk_early_verdict of the last check */
};

/* Lightning's defaults: mode min, min_delta 0, patience 3, check_finite, no thresholds. */
struct stk_early_stopping_options stk_early_stopping_defaults(void);

void stk_early_stopping_init(struct stk_early_stopping *s,
                             const struct stk_early_stopping_options *o);

/* Judges one value; changes the state. */
enum stk_early_verdict stk_early_stopping_check(struct stk_early_stopping *s,
                                                const struct stk_early_stopping_options *o,
                                                double value, int64_t epoch);

/* Whether the verdict asks to stop. */
bool stk_early_verdict_stops(enum stk_early_verdict v);

/* One sentence about the last check of `monitor`, whose value was `value`; always terminated. */
void stk_early_stopping_text(const struct stk_early_stopping *s,
                             const struct stk_early_stopping_options *o, const char *monitor,
                             double value, char *out_text, size_t text_bytes);

#endif
