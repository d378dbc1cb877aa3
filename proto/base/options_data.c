/* Tables of proto/base/options.h: data, weights to start from, and prediction. */
#include "proto/base/options.h"

#include "proto/base/opt_rows.h"

#include <math.h>

#define SELF sp_data_opts

static const struct sp_opt data_rows[] = {
    ROW(ENUM, kind, .def = "auto", .choices = "auto|idx|bytes|uint16|uint32|npy|synthetic|module",
        .aliases = "uint8=bytes",
        .help =
            "What the files hold: IDX images (MNIST's format), bytes or little-endian tokens, a "
            "NumPy array; numbers made up; or what the module's own reader knows. auto: module "
            "where it has a reader, else by the names of the files."),
    ROW(STRING, path, .def = "none", .flags = SP_OPT_NONE,
        .help = "Training data: a file, or a directory that holds files by their usual names."),
    ROW(STRING, val_path, .def = "none", .flags = SP_OPT_NONE,
        .help = "Validation data. none: what path's directory holds, or val_fraction, or nothing."),
    ROW(FLOAT, val_fraction, .def = "none", .flags = SP_OPT_NONE | SP_OPT_POSITIVE, .min = 0,
        .max = 0.999, .help = "Split off this fraction, at the end of the data, for validation."),
    ROW(STRING, test_path, .def = "none", .flags = SP_OPT_NONE,
        .help = "Test data. none: what path's directory holds, else the validation data."),
    ROW(STRING, predict_path, .def = "none", .flags = SP_OPT_NONE,
        .help = "Data to predict on. none: the test data."),
    ROW(STRING, labels, .def = "none", .flags = SP_OPT_NONE,
        .help = "kind idx, npy: the file of path's labels. none: the one that its name asks for."),
    ROW(STRING, val_labels, .def = "none", .flags = SP_OPT_NONE, .help = "The same for val_path."),
    ROW(STRING, test_labels, .def = "none", .flags = SP_OPT_NONE,
        .help = "The same for test_path."),
    ROW(INT, batch_size, .def = "64", .min = 1, .max = 1 << 24,
        .help = "Samples of a batch, per lane."),
    ROW(BOOL, shuffle, .def = "true",
        .help = "Train in an order drawn anew in each epoch. Evaluation never shuffles."),
    ROW(BOOL, drop_last, .def = "false",
        .help = "Leave out a last training batch that is not full."),
    ROW(INT, seq_len, .def = "none", .flags = SP_OPT_NONE, .min = 1, .max = 1 << 24,
        .help = "Tokens of a text sample; targets are the same text one token on. none: the "
                "model's."),
    ROW(INT, stride, .def = "none", .flags = SP_OPT_NONE, .min = 1, .max = 1 << 24,
        .help =
            "Tokens from the start of one text sample to the start of the next. none: seq_len."),
    ROW(ENUM, synthetic, .def = "images", .choices = "images|tokens|regression",
        .help = "kind synthetic: what to make."),
    ROW(INT, num_samples, .def = "1024", .min = 1, .max = 1e12,
        .help = "kind synthetic: samples for training."),
    ROW(INT, num_val_samples, .def = "0", .min = 0, .max = 1e12,
        .help = "kind synthetic: samples for validation."),
    ROW(INTS, shape, .def = "1,28,28", .min = 1, .max = 1 << 24,
        .help = "kind synthetic: the shape of one sample, at most four dimensions."),
    ROW(INT, num_classes, .def = "10", .min = 0, .max = 1 << 30,
        .help = "kind synthetic: classes of images (0: no labels), the vocabulary of tokens, "
                "outputs of "
                "regression."),
    ROW(INT, synthetic_seed, .def = "0", .min = 0, .max = 4294967295.0,
        .help = "kind synthetic: another seed makes other samples."),
    REFUSE(num_workers, .choices = "0|null", .lightning = "DataLoader.num_workers",
           .help = "one batch is always read ahead; there is nothing to set"),
    REFUSE(pin_memory, .choices = "false|null", .lightning = "DataLoader.pin_memory",
           .help = "it concerns GPUs, which are not built yet"),
};

const struct sp_opt_table sp_data_table = {
    "data", "Where samples come from and how they become batches.", data_rows, N_ROWS(data_rows)};

#undef SELF
#define SELF sp_weights_opts

static const struct sp_opt weights_rows[] = {
    ROW(STRING, path, .def = "none", .flags = SP_OPT_NONE,
        .help = "A safetensors file or a checkpoint directory whose weights training starts from."),
    ROW(BOOL, strict, .def = "true",
        .help = "Every parameter must be in the file and every tensor of the file must be used."),
};

const struct sp_opt_table sp_weights_table = {"weights", "Weights to start from: fine-tuning.",
                                              weights_rows, N_ROWS(weights_rows)};

#undef SELF
#define SELF sp_predict_opts

static const struct sp_opt predict_rows[] = {
    ROW(STRING, output, .def = "none", .flags = SP_OPT_NONE,
        .help =
            "The file that predictions go to, in dataset order. none: predictions.npy in the log "
            "directory."),
    ROW(INT, generate, .def = "0", .min = 0, .max = 1 << 24,
        .help = "gpt: sample this many tokens, to standard output, instead of predicting a data "
                "set. Also --generate, as the next four have short names."),
    ROW(STRING, prompt, .def = "none", .flags = SP_OPT_NONE,
        .help = "gpt: the text to go on from; with more than 256 tokens their numbers. none: the "
                "beginning of a line."),
    ROW(FLOAT, temperature, .def = "1.0", .min = 0, .max = 1000,
        .help =
            "gpt: below 1 is more careful, above 1 bolder; 0 always takes the likeliest token."),
    ROW(INT, top_k, .def = "0", .min = 0, .max = 1 << 24,
        .help = "gpt: sample from the k likeliest tokens only; 0 is all."),
    ROW(INT, seed, .def = "none", .flags = SP_OPT_NONE, .min = 0, .max = 1e15,
        .help = "gpt: another seed gives another text. none: seed_everything."),
};

const struct sp_opt_table sp_predict_table = {"predict", "What `stoker predict` writes.",
                                              predict_rows, N_ROWS(predict_rows)};
