/* What the files of the built-in modules share: their tables, and the logging that each stage does.
 *
 * Metrics are called as in Lightning's own examples: train_loss (every step, on the bar), then
 * val_loss and test_loss (means of the epoch), with val_acc and test_acc for classifiers. One step
 * function therefore serves training, validation and test.
 */
#ifndef STK_MODELS_BUILTIN_H
#define STK_MODELS_BUILTIN_H

#include <stoker/module.h>

extern const stk_module_def stk_model_autoencoder, stk_model_cnn, stk_model_gpt, stk_model_mlp,
    stk_model_sequential;

/* The step functions of a table: one for all stages that have a loss. */
#define STK_MODEL_STEPS(with_loss, predict)                                               \
  .training_step = (with_loss), .validation_step = (with_loss), .test_step = (with_loss), \
  .predict_step = (predict)

/* Logs the loss under the name of the stage being traced; returns it. */
stk_t stk_model_log_loss(stk_t loss);
/* Cross-entropy of logits (n, classes) against i32 labels (n), logged, with the accuracy outside
 * training. */
stk_t stk_model_classify(stk_t logits, stk_t labels);
/* Values of one sample: `given` where it is positive, else of the training data. 0: neither, and
 * setup has failed with a message that names the hyper-parameter. */
int64_t stk_model_features(stk_module *m, int64_t given, const char *hparam);

#endif
