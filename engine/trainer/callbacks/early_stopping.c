/* EarlyStopping's tests, in order; the contract is in the header. */
#include "engine/trainer/callbacks/early_stopping.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

struct stk_early_stopping_options stk_early_stopping_defaults(void) {
  return (struct stk_early_stopping_options){
      .mode = STK_MONITOR_MIN,
      .patience = 3,
      .check_finite = true,
      .stopping_threshold = (double)NAN,
      .divergence_threshold = (double)NAN,
  };
}

void stk_early_stopping_init(struct stk_early_stopping *s,
                             const struct stk_early_stopping_options *o) {
  assert(o->patience >= 0);
  *s = (struct stk_early_stopping){.best_score = stk_monitor_worst(o->mode)};
}

/* Comparisons with a threshold that is NaN (none) are false, which is what "none" needs. */
static enum stk_early_verdict early_judge(struct stk_early_stopping *s,
                                          const struct stk_early_stopping_options *o,
                                          double value) {
  double delta = fabs(o->min_delta);
  double against = o->mode == STK_MONITOR_MIN ? value + delta : value - delta;
  if (o->check_finite && !isfinite(value)) {
    return STK_EARLY_NOT_FINITE;
  }
  if (stk_monitor_better(o->mode, value, o->stopping_threshold)) {
    return STK_EARLY_THRESHOLD;
  }
  if (stk_monitor_better(o->mode, -value, -o->divergence_threshold)) {
    return STK_EARLY_DIVERGED;
  }
  if (stk_monitor_better(o->mode, against, s->best_score)) {
    s->best_score = value;
    s->wait_count = 0;
    return STK_EARLY_IMPROVED;
  }
  s->wait_count++;
  return s->wait_count >= o->patience ? STK_EARLY_PATIENCE : STK_EARLY_GO_ON;
}

enum stk_early_verdict stk_early_stopping_check(struct stk_early_stopping *s,
                                                const struct stk_early_stopping_options *o,
                                                double value, int64_t epoch) {
  enum stk_early_verdict v = early_judge(s, o, value);
  s->verdict = v;
  if (stk_early_verdict_stops(v)) {
    s->stopped_epoch = epoch;
  }
  return v;
}

bool stk_early_verdict_stops(enum stk_early_verdict v) {
  return v >= STK_EARLY_NOT_FINITE;
}

void stk_early_stopping_text(const struct stk_early_stopping *s,
                             const struct stk_early_stopping_options *o, const char *monitor,
                             double value, char *out_text, size_t text_bytes) {
  switch ((enum stk_early_verdict)s->verdict) {
    case STK_EARLY_GO_ON:
      snprintf(out_text, text_bytes,
               "%s %.6g did not improve on %.6g (%" PRId64 " of %" PRId64 " checks)", monitor,
               value, s->best_score, s->wait_count, o->patience);
      return;
    case STK_EARLY_IMPROVED:
      snprintf(out_text, text_bytes, "%s improved to %.6g", monitor, value);
      return;
    case STK_EARLY_NOT_FINITE:
      snprintf(out_text, text_bytes, "%s is %.6g, which is not finite; best was %.6g", monitor,
               value, s->best_score);
      return;
    case STK_EARLY_THRESHOLD:
      snprintf(out_text, text_bytes, "%s %.6g reached stopping_threshold %.6g", monitor, value,
               o->stopping_threshold);
      return;
    case STK_EARLY_DIVERGED:
      snprintf(out_text, text_bytes, "%s %.6g passed divergence_threshold %.6g", monitor, value,
               o->divergence_threshold);
      return;
    case STK_EARLY_PATIENCE:
      snprintf(out_text, text_bytes,
               "%s did not improve on %.6g in the last %" PRId64 " checks (patience %" PRId64 ")",
               monitor, s->best_score, s->wait_count, o->patience);
      return;
  }
  snprintf(out_text, text_bytes, "%s was not checked", monitor);
}
