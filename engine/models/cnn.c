/* cnn: a small classifier of images.
 *
 * conv1 3x3, [bn1], ReLU, max pool 2, conv2 3x3, [bn2], ReLU, max pool 2, flatten, fc. Images are
 * (height, width) or (channels, height, width); parameters are conv1.weight, conv1.bias, ...
 * fc.bias, and with batch_norm bn1.weight, bn1.bias and the running statistics of PyTorch.
 */
#include "engine/models/builtin.h"

enum { MAX_WIDTH = 1 << 20 };

struct cnn {
  int64_t channels, height, width, conv1_out, conv2_out, classes;
  bool batch_norm;
  stk_layer *conv1, *bn1, *conv2, *bn2, *pool, *fc;
};

static const stk_hparam hparams[] = {
    {"channels", STK_HP_INT, offsetof(struct cnn, channels), "0", 0, MAX_WIDTH, NULL,
     "Channels of an image; 0 takes the data's (1 for images without channels)."},
    {"height", STK_HP_INT, offsetof(struct cnn, height), "0", 0, MAX_WIDTH, NULL,
     "Height of an image; 0 takes the data's."},
    {"width", STK_HP_INT, offsetof(struct cnn, width), "0", 0, MAX_WIDTH, NULL,
     "Width of an image; 0 takes the data's."},
    {"conv1", STK_HP_INT, offsetof(struct cnn, conv1_out), "8", 1, MAX_WIDTH, NULL,
     "Channels after the first convolution."},
    {"conv2", STK_HP_INT, offsetof(struct cnn, conv2_out), "16", 1, MAX_WIDTH, NULL,
     "Channels after the second convolution."},
    {"classes", STK_HP_INT, offsetof(struct cnn, classes), "10", 1, MAX_WIDTH, NULL,
     "Number of classes."},
    {"batch_norm", STK_HP_BOOL, offsetof(struct cnn, batch_norm), "false", 0, 0, NULL,
     "A batch norm after each convolution."},
    {NULL, STK_HP_BOOL, 0, NULL, 0, 0, NULL, NULL},
};

/* Fills what was not given from the shape of the data. */
static stk_status image_shape(stk_module *m, struct cnn *s) {
  int32_t rank = stk_setup_x_rank(m);
  if (rank == 2 || rank == 3) {
    s->channels = s->channels ? s->channels : rank == 3 ? stk_setup_x_dim(m, 0) : 1;
    s->height = s->height ? s->height : stk_setup_x_dim(m, rank - 2);
    s->width = s->width ? s->width : stk_setup_x_dim(m, rank - 1);
  }
  s->channels = s->channels ? s->channels : 1;
  if (s->height < 4 || s->width < 4) {
    return stk_setup_fail(m,
                          "images must be at least 4 by 4; give data of (height, width) or "
                          "(channels, height, width), or model.height and model.width");
  }
  return 0;
}

static stk_layer *batch_norm(stk_module *m, const struct cnn *s, const char *name, int64_t n) {
  return s->batch_norm ? stk_nn_add(m, name, stk_nn_batch_norm2d(m, n, 1e-5, 0.1)) : NULL;
}

static stk_status setup(stk_module *m, void *self) {
  struct cnn *s = self;
  const stk_conv2d_options same = {.padding = {1, 1}};
  if (image_shape(m, s)) {
    return 1;
  }
  int64_t features = s->conv2_out * (s->height / 2 / 2) * (s->width / 2 / 2);
  s->conv1 = stk_nn_add(m, "conv1", stk_nn_conv2d(m, s->channels, s->conv1_out, 3, &same, true));
  s->bn1 = batch_norm(m, s, "bn1", s->conv1_out);
  s->conv2 = stk_nn_add(m, "conv2", stk_nn_conv2d(m, s->conv1_out, s->conv2_out, 3, &same, true));
  s->bn2 = batch_norm(m, s, "bn2", s->conv2_out);
  s->pool = stk_nn_add(m, "pool", stk_nn_max_pool2d(m, 2, 2));
  s->fc = stk_nn_add(m, "fc", stk_nn_linear(m, features, s->classes, true));
  return 0;
}

static stk_t block(const stk_layer *conv, const stk_layer *bn, const stk_layer *pool, stk_t x) {
  x = stk_apply(conv, x);
  x = bn ? stk_apply(bn, x) : x;
  return stk_apply(pool, stk_relu(x));
}

static stk_t predict_step(const void *self, const stk_batch *b) {
  const struct cnn *s = self;
  const int64_t image[4] = {b->n, s->channels, s->height, s->width};
  stk_t x = stk_reshape(b->x, 4, image);
  x = block(s->conv1, s->bn1, s->pool, x);
  x = block(s->conv2, s->bn2, s->pool, x);
  return stk_apply(s->fc, stk_flatten(x, 1));
}

static stk_t step(const void *self, const stk_batch *b) {
  return stk_model_classify(predict_step(self, b), b->y);
}

static void configure_optimizers(stk_optim *o, const void *self) {
  (void)self;
  stk_optim_adam(o, 1e-3);
}

const stk_module_def stk_model_cnn = {
    .abi = STK_ABI,
    .size = sizeof(stk_module_def),
    .name = "cnn",
    .hparams = hparams,
    .self_size = sizeof(struct cnn),
    .setup = setup,
    STK_MODEL_STEPS(step, predict_step),
    .configure_optimizers = configure_optimizers,
};
