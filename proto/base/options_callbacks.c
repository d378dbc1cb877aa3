/* Tables of proto/base/options.h: callbacks and loggers, with Lightning's names and defaults. */
#include "proto/base/options.h"

#include "proto/base/opt_rows.h"

#include <math.h>

#define SELF sp_callback_opts
/* A row in one member of the union. */
#define IN(member, TYPE, name, ...)                                                                \
  {                                                                                                \
    .key = #name, .type = SP_OPT_##TYPE, .offset = offsetof(struct sp_callback_opts, member.name), \
    __VA_ARGS__                                                                                    \
  }

static const struct sp_opt checkpoint_rows[] = {
    IN(checkpoint, STRING, dirpath, .def = "none", .flags = SP_OPT_NONE,
       .help = "Where checkpoints go. none: checkpoints in the log directory."),
    IN(checkpoint, STRING, filename, .def = "none", .flags = SP_OPT_NONE,
       .help = "Name with fields: {epoch}-{val_loss:.2f}. none: {epoch}-{step}."),
    IN(checkpoint, STRING, monitor, .def = "none", .flags = SP_OPT_NONE,
       .help = "The logged metric that tells good checkpoints. none: the newest is kept."),
    IN(checkpoint, ENUM, mode, .def = "min", .choices = "min|max",
       .help = "Whether less or more of the metric is better."),
    IN(checkpoint, INT, save_top_k, .def = "1", .min = -1, .max = 1e6,
       .help = "Checkpoints to keep; 0 none, -1 all. More than 1 needs monitor."),
    IN(checkpoint, ENUM, save_last, .def = "false", .choices = "false|true|link",
       .aliases = "False=false|True=true|no=false|yes=true|none=false|null=false",
       .help = "Also keep the newest under the name last; link makes it a symbolic link."),
    IN(checkpoint, INT, every_n_train_steps, .def = "none", .flags = SP_OPT_NONE, .min = 0,
       .max = 1e12, .help = "Save every so many steps. Not with every_n_epochs."),
    IN(checkpoint, INT, every_n_epochs, .def = "none", .flags = SP_OPT_NONE, .min = 0, .max = 1e12,
       .help = "Save every so many epochs. With neither: every epoch."),
    REFUSE(train_time_interval, .choices = "null|none",
           .help = "checkpoints by the clock are not built yet; use every_n_train_steps"),
    IN(checkpoint, ENUM, save_on_train_epoch_end, .def = "none", .choices = "none|false|true",
       .aliases = "null=none|False=false|True=true",
       .help = "Save at the end of the training epoch (true) or after validation (false). none: "
               "after validation where it runs at other times than once per epoch."),
    IN(checkpoint, BOOL, auto_insert_metric_name, .def = "true",
       .help = "Fields of filename become name=value."),
    IN(checkpoint, BOOL, enable_version_counter, .def = "true",
       .help = "A name that is taken gets -v1, -v2, ... instead of being replaced."),
    IN(checkpoint, BOOL, verbose, .def = "false", .help = "Say when a checkpoint is written."),
    REFUSE(save_weights_only, .choices = "false|null",
           .help = "a checkpoint always holds all state; its weights are files of their own"),
    REFUSE(save_on_exception, .choices = "false|null",
           .help = "not built yet; an interrupted run writes a checkpoint in any case"),
};

static const struct sp_opt early_stopping_rows[] = {
    IN(early_stopping, STRING, monitor, .flags = SP_OPT_REQUIRED,
       .help = "The logged metric to watch."),
    IN(early_stopping, FLOAT, min_delta, .def = "0.0", .min = 0, .max = INFINITY,
       .help = "A change must be larger to count as an improvement."),
    IN(early_stopping, INT, patience, .def = "3", .min = 0, .max = 1e12,
       .help = "Checks without improvement after which training stops."),
    IN(early_stopping, ENUM, mode, .def = "min", .choices = "min|max",
       .help = "Whether less or more is better."),
    IN(early_stopping, BOOL, strict, .def = "true",
       .help = "It is an error when the metric was not logged."),
    IN(early_stopping, BOOL, check_finite, .def = "true",
       .help = "Stop when the metric is NaN or infinite."),
    IN(early_stopping, FLOAT, stopping_threshold, .def = "none", .flags = SP_OPT_NONE,
       .help = "Stop at once when the metric is better than this."),
    IN(early_stopping, FLOAT, divergence_threshold, .def = "none", .flags = SP_OPT_NONE,
       .help = "Stop at once when the metric is worse than this."),
    IN(early_stopping, ENUM, check_on_train_epoch_end, .def = "none", .choices = "none|false|true",
       .aliases = "null=none|False=false|True=true",
       .help = "Check at the end of the training epoch (true) or after validation (false). none: "
               "after validation where it runs at other times than once per epoch."),
    IN(early_stopping, BOOL, verbose, .def = "false", .help = "Say when the metric improves."),
    REFUSE(log_rank_zero_only, .choices = "false|true|null",
           .help = "messages are written once in any case"),
};

static const struct sp_opt lr_monitor_rows[] = {
    IN(lr_monitor, ENUM, logging_interval, .def = "none", .choices = "none|step|epoch",
       .aliases = "null=none",
       .help = "Log the rate at steps or epochs; none: as each schedule does."),
    IN(lr_monitor, BOOL, log_momentum, .def = "false", .help = "Also log momentum or beta1."),
    IN(lr_monitor, BOOL, log_weight_decay, .def = "false", .help = "Also log weight decay."),
    IN(lr_monitor, STRING, log_key_prefix, .def = "none", .flags = SP_OPT_NONE,
       .help = "Put in front of the names."),
};

static const struct sp_opt summary_rows[] = {
    IN(model_summary, INT, max_depth, .def = "1", .min = -1, .max = 64,
       .help = "Levels of layers to show; -1 is all, 0 only the totals."),
};

static const struct sp_opt_class callback_rows[] = {
    {"model_checkpoint", "ModelCheckpoint", "Writes checkpoints and keeps the best or the newest.",
     checkpoint_rows, N_ROWS(checkpoint_rows)},
    {"early_stopping", "EarlyStopping", "Stops when a metric no longer improves.",
     early_stopping_rows, N_ROWS(early_stopping_rows)},
    {"lr_monitor", "LearningRateMonitor", "Logs the learning rate.", lr_monitor_rows,
     N_ROWS(lr_monitor_rows)},
    {"model_summary", "ModelSummary", "Prints the layers and their sizes.", summary_rows,
     N_ROWS(summary_rows)},
};

static const struct sp_refusal callback_refused[] = {
    {"Timer|timer", "use trainer.max_time"},
    {"TQDMProgressBar|RichProgressBar|ProgressBar", "use trainer.enable_progress_bar"},
    {"RichModelSummary", "use model_summary"},
    {"GradientAccumulationScheduler|StochasticWeightAveraging|WeightAveraging|EMAWeightAveraging|"
     "BaseFinetuning|BackboneFinetuning|ModelPruning|SpikeDetection|BatchSizeFinder|"
     "LearningRateFinder|DeviceStatsMonitor|ThroughputMonitor|BasePredictionWriter|"
     "OnExceptionCheckpoint|LambdaCallback",
     "this callback is not built yet"},
    {NULL, NULL},
};

const struct sp_opt_class_table sp_callback_classes = {
    .name = "trainer.callbacks",
    .help = "What happens beside training: a list.",
    .classes = callback_rows,
    .n_classes = N_ROWS(callback_rows),
    .kind_offset = offsetof(struct sp_callback_opts, kind),
    .self_bytes = sizeof(struct sp_callback_opts),
    .refused = callback_refused,
};

#undef SELF
#define SELF sp_logger_opts

static const struct sp_opt logger_common_rows[] = {
    ROW(STRING, save_dir, .def = "none", .flags = SP_OPT_NONE,
        .help = "Where name/version is made. none: trainer.default_root_dir."),
    ROW(STRING, name, .def = "lightning_logs",
        .help = "Directory of the experiment; may be empty."),
    ROW(STRING, version, .def = "none", .flags = SP_OPT_NONE,
        .help =
            "Directory of the run; a number N is version_N. none: the next number that is free."),
};

static const struct sp_opt tensorboard_rows[] = {
    REFUSE(log_graph, .choices = "false|null", .help = "graphs are not logged yet"),
    REFUSE(default_hp_metric, .choices = "false|true|null",
           .help = "there is no placeholder metric"),
};

static const struct sp_opt csv_rows[] = {
    ROW(INT, flush_logs_every_n_steps, .def = "100", .min = 1, .max = 1e9,
        .help = "Steps from one write to the next."),
};

static const struct sp_opt_class logger_rows[] = {
    {"tensorboard", "TensorBoardLogger", "TensorBoard event files.", tensorboard_rows,
     N_ROWS(tensorboard_rows)},
    {"csv", "CSVLogger", "metrics.csv.", csv_rows, N_ROWS(csv_rows)},
};

static const struct sp_refusal logger_refused[] = {
    {"WandbLogger|wandb|MLFlowLogger|mlflow|CometLogger|comet|NeptuneLogger|neptune|LitLogger",
     "only tensorboard and csv are built; both can be read by other tools"},
    {NULL, NULL},
};

const struct sp_opt_class_table sp_logger_classes = {
    .name = "trainer.logger",
    .help = "Where logged values go: one, a list, or false. The first owns the log directory.",
    .classes = logger_rows,
    .n_classes = N_ROWS(logger_rows),
    .common = logger_common_rows,
    .n_common = N_ROWS(logger_common_rows),
    .kind_offset = offsetof(struct sp_logger_opts, kind),
    .self_bytes = sizeof(struct sp_logger_opts),
    .refused = logger_refused,
};
