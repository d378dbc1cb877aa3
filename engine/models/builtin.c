/* Logging and shapes that the built-in modules share (builtin.h). */
#include "engine/models/builtin.h"

stk_t stk_model_log_loss(stk_t loss) {
  switch (stk_stage_of(loss)) {
    case STK_TRAIN:
      stk_log("train_loss", loss, STK_ON_STEP | STK_PROG_BAR);
      break;
    case STK_VALIDATE:
      stk_log("val_loss", loss, STK_ON_EPOCH | STK_PROG_BAR);
      break;
    case STK_TEST:
      stk_log("test_loss", loss, STK_ON_EPOCH);
      break;
    case STK_PREDICT:
      break;
  }
  return loss;
}

stk_t stk_model_classify(stk_t logits, stk_t labels) {
  stk_t loss = stk_model_log_loss(stk_cross_entropy(logits, labels));
  switch (stk_stage_of(loss)) {
    case STK_VALIDATE:
      stk_log_accuracy("val_acc", logits, labels, STK_ON_EPOCH | STK_PROG_BAR);
      break;
    case STK_TEST:
      stk_log_accuracy("test_acc", logits, labels, STK_ON_EPOCH);
      break;
    case STK_TRAIN:
    case STK_PREDICT:
      break;
  }
  return loss;
}

int64_t stk_model_features(stk_module *m, int64_t given, const char *hparam) {
  int64_t n = 1;
  if (given > 0) {
    return given;
  }
  if (stk_setup_x_rank(m) == 0) {
    stk_setup_fail(m, "without data the size of a sample is not known; give model.%s", hparam);
    return 0;
  }
  for (int32_t axis = 0; axis < stk_setup_x_rank(m); axis++) {
    n *= stk_setup_x_dim(m, axis);
  }
  return n;
}
