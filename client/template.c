/* A small classifier on synthetic data, so that it trains without any file; NAME stands for the
 * module's name. The build line is the documented one: installed headers and pkg-config's flags. */
#include "client/template.h"

#include <ctype.h>
#include <string.h>

#include "proto/job/job.h"

static const char module_text[] =
    "/* NAME: a classifier with one hidden layer.\n"
    " *\n"
    " *   BUILD\n"
    " *   stoker fit NAME.yaml\n"
    " *\n"
    " * Step functions describe the computation once; the engine differentiates and replays it.\n"
    " */\n"
    "#include <stoker/stoker.h>\n"
    "\n"
    "typedef struct NAME_module {\n"
    "  int64_t in, hidden, classes; /* hyper-parameters: keys of the job file's model section */\n"
    "  stk_layer *net;\n"
    "} NAME_module;\n"
    "\n"
    "static const stk_hparam hparams[] = {\n"
    "  {.name = \"in\", .type = STK_HP_INT, .offset = offsetof(NAME_module, in),\n"
    "   .default_value = \"784\", .min = 1, .max = 1 << 20, .help = \"values of a sample\"},\n"
    "  {.name = \"hidden\", .type = STK_HP_INT, .offset = offsetof(NAME_module, hidden),\n"
    "   .default_value = \"64\", .min = 1, .max = 1 << 20, .help = \"width of the hidden "
    "layer\"},\n"
    "  {.name = \"classes\", .type = STK_HP_INT, .offset = offsetof(NAME_module, classes),\n"
    "   .default_value = \"10\", .min = 2, .max = 1 << 20, .help = \"number of classes\"},\n"
    "  {.name = NULL},\n"
    "};\n"
    "\n"
    "static stk_status setup(stk_module *m, void *self) {\n"
    "  NAME_module *s = self;\n"
    "  s->net = stk_nn_add(m, \"net\",\n"
    "                      STK_SEQUENTIAL(m, stk_nn_linear(m, s->in, s->hidden, true),\n"
    "                                     stk_nn_activation(m, \"relu\"),\n"
    "                                     stk_nn_linear(m, s->hidden, s->classes, true)));\n"
    "  return 0;\n"
    "}\n"
    "\n"
    "static stk_t logits(const NAME_module *s, const stk_batch *b) {\n"
    "  return stk_apply(s->net, stk_flatten(b->x, 1));\n"
    "}\n"
    "\n"
    "static stk_t training_step(const void *self, const stk_batch *b) {\n"
    "  stk_t loss = stk_cross_entropy(logits(self, b), b->y);\n"
    "  stk_log(\"train_loss\", loss, STK_ON_STEP | STK_PROG_BAR);\n"
    "  return loss;\n"
    "}\n"
    "\n"
    "static stk_t validation_step(const void *self, const stk_batch *b) {\n"
    "  stk_t y = logits(self, b);\n"
    "  stk_t loss = stk_cross_entropy(y, b->y);\n"
    "  stk_log(\"val_loss\", loss, STK_PROG_BAR);\n"
    "  stk_log_accuracy(\"val_acc\", y, b->y, STK_PROG_BAR);\n"
    "  return loss;\n"
    "}\n"
    "\n"
    "static stk_t predict_step(const void *self, const stk_batch *b) {\n"
    "  return stk_softmax(logits(self, b));\n"
    "}\n"
    "\n"
    "static void configure_optimizers(stk_optim *o, const void *self) {\n"
    "  (void)self;\n"
    "  stk_optim_adam(o, 1e-3);\n"
    "}\n"
    "\n"
    "static const stk_module_def def = {\n"
    "  .abi = STK_ABI,\n"
    "  .size = sizeof def,\n"
    "  .name = \"NAME\",\n"
    "  .hparams = hparams,\n"
    "  .self_size = sizeof(NAME_module),\n"
    "  .setup = setup,\n"
    "  .training_step = training_step,\n"
    "  .validation_step = validation_step,\n"
    "  .predict_step = predict_step,\n"
    "  .configure_optimizers = configure_optimizers,\n"
    "};\n"
    "\n"
    "STK_MODULE(def)\n";

static const char job_text[] =
    "# A job for NAME.c.\n"
    "#\n"
    "#   BUILD\n"
    "#   stoker fit NAME.yaml\n"
    "seed_everything: 0\n"
    "\n"
    "model:\n"
    "  module: ./NAME.so\n"
    "  in: 784\n"
    "  hidden: 64\n"
    "  classes: 10\n"
    "\n"
    "data:\n"
    "  kind: synthetic # made up, so that this runs at once; idx with a path reads MNIST's files\n"
    "  batch_size: 64\n"
    "\n"
    "trainer:\n"
    "  max_epochs: 3\n";

bool sc_template_name_ok(const char *name) {
  size_t n = strlen(name);
  if (n == 0 || n >= SC_TEMPLATE_NAME || isdigit((unsigned char)name[0])) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    if (!isalnum((unsigned char)name[i]) && name[i] != '_') {
      return false;
    }
  }
  return true;
}

/* text with NAME and BUILD replaced. */
static void put_text(struct sp_buf *b, const char *text, const char *name) {
  while (*text) {
    if (strncmp(text, "NAME", 4) == 0) {
      sp_buf_puts(b, name);
      text += 4;
    } else if (strncmp(text, "BUILD", 5) == 0) {
      sc_template_put_build_line(b, name);
      text += 5;
    } else {
      sp_buf_putc(b, *text++);
    }
  }
}

void sc_template_put_module(struct sp_buf *b, const char *name) {
  put_text(b, module_text, name);
}

void sc_template_put_job(struct sp_buf *b, const char *name) {
  put_text(b, job_text, name);
}

void sc_template_put_build_line(struct sp_buf *b, const char *name) {
  sp_buf_printf(b, SP_MODULE_COMPILE " -o %s.so %s.c", name, name);
}
