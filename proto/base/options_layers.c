/* Table of proto/base/options.h: the layers of `model: sequential`. Names are ours in lower case
 * and torch.nn's as class paths; defaults are torch's. What can be taken from the layer before is
 * auto. */
#include "proto/base/options.h"

#include "proto/base/opt_rows.h"

#define SELF sp_layer_opts

#define AUTO_SIZE(name, what) \
  ROW(INT, name, .def = "auto", .flags = SP_OPT_AUTO, .min = 1, .max = 1 << 24, .help = what)
#define SIZE(name, what) \
  ROW(INT, name, .flags = SP_OPT_REQUIRED, .min = 1, .max = 1 << 24, .help = what)
#define BIAS ROW(BOOL, bias, .def = "true", .help = "Whether it adds a bias.")
#define EPS ROW(FLOAT, eps, .def = "1e-5", .min = 0, .max = 1, .help = "Added to the variance.")

static const struct sp_opt linear_rows[] = {
    AUTO_SIZE(in, "Inputs: the size of the last dimension. auto: what the layer before gives."),
    SIZE(out, "Outputs."),
    BIAS,
};

static const struct sp_opt conv2d_rows[] = {
    AUTO_SIZE(in, "Channels in. auto: what the layer before gives."),
    SIZE(out, "Channels out."),
    SIZE(kernel, "Height and width of the window."),
    ROW(INT, stride, .def = "1", .min = 1, .max = 1 << 16, .help = "Step of the window."),
    ROW(INT, padding, .def = "0", .min = 0, .max = 1 << 16, .help = "Zeros around the image."),
    ROW(INT, dilation, .def = "1", .min = 1, .max = 1 << 16,
        .help = "Distance of the window's taps."),
    ROW(INT, groups, .def = "1", .min = 1, .max = 1 << 24,
        .help = "Channels are cut into so many groups that do not mix."),
    BIAS,
};

static const struct sp_opt batch_norm_rows[] = {
    AUTO_SIZE(features, "Channels. auto: what the layer before gives."),
    EPS,
    ROW(FLOAT, momentum, .def = "0.1", .min = 0, .max = 1,
        .help = "Weight of a batch in the running statistics."),
};

static const struct sp_opt layer_norm_rows[] = {
    AUTO_SIZE(features, "Size of the last dimension. auto: what the layer before gives."),
    EPS,
    BIAS,
};

static const struct sp_opt embedding_rows[] = {
    SIZE(vocab, "Number of different ids."),
    SIZE(dim, "Length of the vector that stands for an id."),
};

static const struct sp_opt pool_rows[] = {
    SIZE(kernel, "Height and width of the window."),
    ROW(INT, stride, .def = "auto", .flags = SP_OPT_AUTO, .min = 1, .max = 1 << 16,
        .help = "Step of the window. auto: its size."),
};

static const struct sp_opt dropout_rows[] = {
    ROW(FLOAT, p, .def = "0.5", .min = 0, .max = 0.99, .help = "Chance of an element to be 0."),
};

static const struct sp_opt reshape_rows[] = {
    ROW(INTS, shape, .flags = SP_OPT_REQUIRED, .min = 1, .max = 1 << 24,
        .help = "Dimensions of a sample, without the batch: [1, 28, 28]."),
};

static const struct sp_opt gelu_rows[] = {
    ROW(ENUM, approximate, .def = "none", .choices = "none|tanh",
        .help = "none: by the error function; tanh: GPT-2's form."),
};

static const struct sp_opt_class layer_rows[] = {
    {"linear", "Linear", "x W' + b over the last dimension.", linear_rows, N_ROWS(linear_rows)},
    {"conv2d", "Conv2d", "Convolution of (channels, height, width); (height, width) has 1 channel.",
     conv2d_rows, N_ROWS(conv2d_rows)},
    {"batch_norm", "BatchNorm2d", "Batch norm over the first dimension of a sample.",
     batch_norm_rows, N_ROWS(batch_norm_rows)},
    {"layer_norm", "LayerNorm", "Layer norm over the last dimension.", layer_norm_rows,
     N_ROWS(layer_norm_rows)},
    {"embedding", "Embedding", "Ids to vectors: one more dimension.", embedding_rows,
     N_ROWS(embedding_rows)},
    {"max_pool", "MaxPool2d", "Maximum of each window.", pool_rows, N_ROWS(pool_rows)},
    {"avg_pool", "AvgPool2d", "Mean of each window.", pool_rows, N_ROWS(pool_rows)},
    {"dropout", "Dropout", "Zeros at random in training, the rest scaled up.", dropout_rows,
     N_ROWS(dropout_rows)},
    {"flatten", "Flatten", "All dimensions of a sample become one.", NULL, 0},
    {"reshape", "Unflatten", "Another shape of as many elements.", reshape_rows,
     N_ROWS(reshape_rows)},
    {"relu", "ReLU", "max(x, 0).", NULL, 0},
    {"gelu", "GELU", "x times the normal distribution's probability below x.", gelu_rows,
     N_ROWS(gelu_rows)},
    {"tanh", "Tanh", "Hyperbolic tangent.", NULL, 0},
    {"sigmoid", "Sigmoid", "1 / (1 + exp(-x)).", NULL, 0},
    {"silu", "SiLU", "x sigmoid(x).", NULL, 0},
    {"softplus", "Softplus", "log(1 + exp(x)).", NULL, 0},
};

static const struct sp_refusal layer_refused[] = {
    {"Conv1d|Conv3d|conv1d|conv3d|ConvTranspose2d|LSTM|GRU|RNN|lstm|gru|rnn",
     "this layer is not built yet; a module in C can make it from others"},
    {"Softmax|softmax|LogSoftmax|log_softmax",
     "loss cross_entropy takes logits, so nothing follows the last linear layer"},
    {"LeakyReLU|leaky_relu|ELU|elu|PReLU|prelu|Mish|mish|Hardtanh|hardtanh|Hardswish|hardswish",
     "this activation is not built yet; there are relu, gelu, tanh, sigmoid, silu, softplus"},
    {"BatchNorm1d", "batch_norm serves both: write class: batch_norm"},
    {"Sequential|sequential", "layers are one list; put the inner ones in it"},
    {NULL, NULL},
};

const struct sp_opt_class_table sp_layer_classes = {
    .name = "model.layers",
    .help =
        "The layers of `model.class: sequential`, applied in order; parameters are "
        "layers.0.weight, ...",
    .classes = layer_rows,
    .n_classes = N_ROWS(layer_rows),
    .kind_offset = offsetof(struct sp_layer_opts, kind),
    .self_bytes = sizeof(struct sp_layer_opts),
    .refused = layer_refused,
};
