/* The table of built-in modules. A new one is a file of its own and one line here. */
#include "engine/models/models.h"

#include <string.h>

#include "engine/models/builtin.h"

static const stk_module_def *const models[] = {
    &stk_model_autoencoder, &stk_model_cnn, &stk_model_gpt, &stk_model_mlp, &stk_model_sequential,
};

const stk_module_def *stk_model_at(size_t i) {
  return i < sizeof models / sizeof *models ? models[i] : NULL;
}

const stk_module_def *stk_model_find(const char *name) {
  for (size_t i = 0; name && stk_model_at(i); i++) {
    if (strcmp(stk_model_at(i)->name, name) == 0) {
      return stk_model_at(i);
    }
  }
  return NULL;
}
