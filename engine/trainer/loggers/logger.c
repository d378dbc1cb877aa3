/* Calls through the class of a logger. */
#include "engine/trainer/loggers/logger.h"

sp_status stk_logger_log(struct stk_logger *l, const struct stk_log_values *v, struct sp_err *err) {
  return l->class->log_metrics(l, v, err);
}

sp_status stk_logger_log_hparams(struct stk_logger *l, const struct stk_hparam_text *hparams,
                                 size_t n, double wall_s, struct sp_err *err) {
  return l->class->log_hparams(l, hparams, n, wall_s, err);
}

int64_t stk_logger_position(const struct stk_logger *l) {
  return l->class->position(l);
}

sp_status stk_logger_rewind(struct stk_logger *l, int64_t position, struct sp_err *err) {
  return l->class->rewind(l, position, err);
}

sp_status stk_logger_finalize(struct stk_logger *l, stk_log_end end, struct sp_err *err) {
  return l->class->finalize(l, end, err);
}

void stk_logger_free(struct stk_logger *l) {
  if (l) {
    l->class->release(l);
  }
}
