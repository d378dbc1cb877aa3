/* The options of a job: plain structs that the trainer, the data readers and the optimizers take,
 * and the tables (proto/base/opt.h) that fill them from the job file and the command line.
 *
 * Every struct is complete after sp_opt_defaults and stays plain data: no YAML type, no owner of
 * its own; strings and lists live in the arena of the job (proto/job/job.h) and are read only.
 * Names and defaults are Lightning's (torch's for optimizers and schedules) where it has them.
 * Unset numbers are SP_INT_NONE, NaN (floats) or kind SP_COUNT_NONE, said at each field. The
 * enums' order is the order of the tables' choices.
 */
#ifndef SP_BASE_OPTIONS_H
#define SP_BASE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/opt.h"

typedef enum sp_clip { SP_CLIP_NORM, SP_CLIP_VALUE } sp_clip;
typedef enum sp_profiler { SP_PROFILER_NONE, SP_PROFILER_SIMPLE } sp_profiler;
typedef enum sp_precision { SP_PRECISION_32, SP_PRECISION_64 } sp_precision;
typedef enum sp_kernels {
  SP_KERNELS_AUTO,
  SP_KERNELS_REF,
  SP_KERNELS_AVX2,
  SP_KERNELS_AVX512
} sp_kernels;

struct sp_trainer_opts {
  int64_t max_epochs; /* -1 unlimited, 0 nothing; never NONE after sp_job_load: see job.h */
  int64_t max_steps;  /* optimizer steps; -1 unlimited */
  int64_t min_epochs; /* SP_INT_NONE unset */
  int64_t min_steps;  /* SP_INT_NONE unset */
  int64_t max_time;   /* ns; SP_INT_NONE no limit */
  struct sp_count limit_train_batches; /* per lane */
  struct sp_count limit_val_batches;
  struct sp_count limit_test_batches;
  struct sp_count limit_predict_batches;
  struct sp_count overfit_batches;    /* fraction 0.0 or count 0: off */
  int64_t fast_dev_run;               /* batches of each loop; 0 off */
  struct sp_count val_check_interval; /* of an epoch, or every n batches */
  int64_t check_val_every_n_epoch;    /* SP_INT_NONE: val_check_interval counts across epochs */
  int64_t num_sanity_val_steps;       /* -1 all */
  int64_t log_every_n_steps;          /* 0 never */
  bool enable_checkpointing;
  bool enable_progress_bar;
  bool enable_model_summary;
  int64_t accumulate_grad_batches;
  double gradient_clip_val;    /* NaN or 0: off */
  int gradient_clip_algorithm; /* sp_clip */
  bool detect_anomaly;
  int profiler;  /* sp_profiler */
  int precision; /* sp_precision */
  bool barebones;
  const char *default_root_dir; /* relative paths count from the working directory */
  int64_t devices;              /* >= 1 */
  int64_t lanes;                /* >= 1 after sp_job_load: devices unless given */
  int64_t ranks;                /* 1 to lanes after sp_job_load: devices unless given */
  int64_t threads;              /* SP_INT_AUTO: CPU affinity and cgroup quota */
  int kernels;                  /* sp_kernels */
  int64_t recompute; /* SP_INT_NONE off, SP_INT_AUTO, else the budget in bytes of activations */
  bool audit, spare_rank;
  struct sp_strings passes; /* "-fuse" switches a pass off, "fuse" on; the engine knows the names */
};

typedef enum sp_data_kind {
  SP_DATA_AUTO, /* by the files that are there */
  SP_DATA_IDX,
  SP_DATA_BYTES,
  SP_DATA_UINT16,
  SP_DATA_UINT32,
  SP_DATA_NPY,
  SP_DATA_SYNTHETIC,
  SP_DATA_MODULE /* the module's own reader */
} sp_data_kind;

typedef enum sp_synthetic {
  SP_SYNTHETIC_IMAGES,
  SP_SYNTHETIC_TOKENS,
  SP_SYNTHETIC_REGRESSION
} sp_synthetic;

/* Keys and values for a module's own reader, as written. */
struct sp_pairs {
  const char **keys;
  const char **values;
  size_t n;
};

/* Paths are files or directories; the names a directory must hold are in docs/job-file.md. */
struct sp_data_opts {
  int kind;                 /* sp_data_kind */
  const char *path;         /* NULL: none (synthetic, module) */
  const char *val_path;     /* NULL: what a directory holds, or none */
  double val_fraction;      /* the tail of the training set, in (0, 1); NaN unset */
  const char *test_path;    /* NULL: what a directory holds, else the validation set */
  const char *predict_path; /* NULL: the test set */
  const char *labels;       /* of path, val_path and test_path; NULL: by name beside it, or none */
  const char *val_labels;
  const char *test_labels;
  int64_t batch_size;      /* per lane */
  bool shuffle;            /* training only */
  bool drop_last;          /* training only */
  int64_t seq_len;         /* tokens of a text sample; SP_INT_NONE: the model's */
  int64_t stride;          /* tokens from sample to sample; SP_INT_NONE: seq_len */
  int synthetic;           /* sp_synthetic: what kind synthetic makes */
  int64_t num_samples;     /* synthetic: for training */
  int64_t num_val_samples; /* synthetic: for validation; 0 none */
  struct sp_ints shape;    /* synthetic: of one sample, at most 4 dimensions */
  int64_t num_classes;     /* synthetic: labels (0 none), vocabulary or outputs */
  int64_t synthetic_seed;
  struct sp_pairs options; /* module */
};

typedef enum sp_optimizer_class { SP_OPTIM_SGD, SP_OPTIM_ADAM, SP_OPTIM_ADAMW } sp_optimizer_class;

/* Parameters whose name matches the glob get these values; the first match wins. NaN: the
 * optimizer's. */
struct sp_group_opts {
  const char *match;
  double lr;
  double weight_decay;
};

enum { SP_GROUPS_MAX = 31 }; /* of groups and of freeze, each */

struct sp_optimizer_opts {
  bool given; /* false: the module's configure_optimizers decides, and nothing below counts */
  int kind;   /* sp_optimizer_class */
  double lr;
  double weight_decay;
  double momentum;          /* sgd */
  double dampening;         /* sgd */
  bool nesterov;            /* sgd */
  struct sp_floats betas;   /* adam, adamw: two */
  double eps;               /* adam, adamw */
  struct sp_strings freeze; /* globs of parameter names; counts also when `given` is false */
  struct sp_group_opts *groups;
  size_t n_groups;
};

typedef enum sp_lr_class {
  SP_LR_CONSTANT,
  SP_LR_STEP,
  SP_LR_COSINE,
  SP_LR_LINEAR_WARMUP,
  SP_LR_REDUCE_ON_PLATEAU
} sp_lr_class;
typedef enum sp_lr_interval { SP_LR_BY_EPOCH, SP_LR_BY_STEP } sp_lr_interval;
typedef enum sp_mode { SP_MODE_MIN, SP_MODE_MAX } sp_mode;
typedef enum sp_threshold_mode { SP_THRESHOLD_REL, SP_THRESHOLD_ABS } sp_threshold_mode;

/* One schedule: a factor on the learning rate as a function of its own count, which is the number
 * of steps or epochs (divided by frequency) since `begin`. Before `begin` its factor is 1. The
 * factors of a chain multiply, so a warm-up followed by a cosine is a cosine with `begin` at the
 * warm-up's end. */
struct sp_lr_opts {
  int kind;     /* sp_lr_class */
  int interval; /* sp_lr_interval */
  int64_t frequency;
  int64_t begin;
  double factor;                   /* constant, reduce_on_plateau */
  int64_t total_iters;             /* constant, linear_warmup: how long; SP_INT_NONE: for ever */
  int64_t step_size;               /* step */
  double gamma;                    /* step */
  int64_t t_max;                   /* cosine; SP_INT_NONE: to the end of the run */
  double eta_min;                  /* cosine: the lowest learning rate, not a factor */
  double start_factor, end_factor; /* linear_warmup */
  const char *monitor;             /* reduce_on_plateau */
  int mode;                        /* sp_mode */
  int64_t patience;
  double threshold;
  int threshold_mode; /* sp_threshold_mode */
  int64_t cooldown;
  double min_lr;
  double eps;
  bool strict; /* a monitored metric that is not there is an error */
};

enum { SP_SCHEDULES_MAX = 8 };

struct sp_lr_chain {
  struct sp_lr_opts *items;
  size_t n;
};

typedef enum sp_callback_class {
  SP_CALLBACK_MODEL_CHECKPOINT,
  SP_CALLBACK_EARLY_STOPPING,
  SP_CALLBACK_LR_MONITOR,
  SP_CALLBACK_MODEL_SUMMARY
} sp_callback_class;
typedef enum sp_save_last { SP_SAVE_LAST_NO, SP_SAVE_LAST_YES, SP_SAVE_LAST_LINK } sp_save_last;
typedef enum sp_log_interval {
  SP_LOG_INTERVAL_BOTH, /* Lightning's None: each schedule at its own interval */
  SP_LOG_INTERVAL_STEP,
  SP_LOG_INTERVAL_EPOCH
} sp_log_interval;
typedef enum sp_when { SP_WHEN_DEFAULT, SP_WHEN_NO, SP_WHEN_YES } sp_when;

struct sp_checkpoint_opts {
  const char *dirpath;         /* NULL: <log dir>/checkpoints */
  const char *filename;        /* NULL: {epoch}-{step} */
  const char *monitor;         /* NULL: the newest */
  int mode;                    /* sp_mode */
  int64_t save_top_k;          /* 0 none, -1 all */
  int save_last;               /* sp_save_last */
  int64_t every_n_train_steps; /* SP_INT_NONE unset */
  int64_t every_n_epochs;      /* SP_INT_NONE unset */
  int save_on_train_epoch_end; /* sp_when */
  bool auto_insert_metric_name;
  bool enable_version_counter;
  bool verbose;
};

struct sp_early_stopping_opts {
  const char *monitor;
  int mode; /* sp_mode */
  double min_delta;
  int64_t patience;
  bool strict;
  bool check_finite;
  double stopping_threshold;    /* NaN unset */
  double divergence_threshold;  /* NaN unset */
  int check_on_train_epoch_end; /* sp_when */
  bool verbose;
};

struct sp_lr_monitor_opts {
  int logging_interval; /* sp_log_interval */
  bool log_momentum;
  bool log_weight_decay;
  const char *log_key_prefix; /* NULL none */
};

struct sp_model_summary_opts {
  int64_t max_depth; /* -1 all */
};

struct sp_callback_opts {
  int kind; /* sp_callback_class */
  union {
    struct sp_checkpoint_opts checkpoint;
    struct sp_early_stopping_opts early_stopping;
    struct sp_lr_monitor_opts lr_monitor;
    struct sp_model_summary_opts model_summary;
  };
};

struct sp_callback_list {
  struct sp_callback_opts *items; /* in the order of the job file */
  size_t n;
};

typedef enum sp_logger_class { SP_LOGGER_TENSORBOARD, SP_LOGGER_CSV } sp_logger_class;

struct sp_logger_opts {
  int kind;                         /* sp_logger_class */
  const char *save_dir;             /* NULL: trainer.default_root_dir */
  const char *name;                 /* default lightning_logs; "" for none */
  const char *version;              /* NULL: the next free version_N */
  int64_t flush_logs_every_n_steps; /* csv */
};

struct sp_logger_list {
  struct sp_logger_opts *items; /* none: logging is off; the first owns the log directory */
  size_t n;
};

/* One layer of `model.class: sequential`: only the fields of its class are set. */
struct sp_layer_opts {
  int kind;             /* index into sp_layer_classes.classes */
  int64_t in, features; /* SP_INT_AUTO: what the layer before gives */
  int64_t out, kernel;
  int64_t stride; /* SP_INT_AUTO: the kernel's size */
  int64_t padding, dilation, groups;
  bool bias;
  double eps, momentum, p;
  int64_t vocab, dim;
  struct sp_ints shape; /* of a sample */
  int approximate;      /* gelu: 1 is the tanh form */
};

enum { SP_LAYERS_MAX = 256 };

/* Names of another program's weights: tensor `theirs` of the file becomes parameter `ours`; a rule
 * without * is for names that begin with theirs. */
struct sp_weight_map {
  const char *theirs; /* may hold one *, which `ours` then repeats */
  const char *ours;
};

struct sp_weights_opts {
  const char *path;          /* safetensors file or checkpoint directory; NULL: none */
  bool strict;               /* every parameter must be found, every tensor used */
  struct sp_weight_map *map; /* the match with the most letters wins */
  size_t n_map;
};

struct sp_predict_opts {
  const char *output; /* predictions.npy; NULL: in the log directory */
  int64_t generate;   /* gpt: tokens to sample; 0 none */
  const char *prompt; /* gpt: what sampling goes on from; NULL none */
  double temperature; /* 0 takes the likeliest */
  int64_t top_k;      /* 0 all */
  int64_t seed;       /* SP_INT_NONE: seed_everything */
};

/* Top-level keys that are plain values. */
struct sp_root_opts {
  int64_t seed_everything;
  const char *ckpt_path; /* a path, "last", "best", or NULL */
  const char *resume;    /* a run's directory, "auto", or NULL */
};

extern const struct sp_opt_table sp_root_table, sp_trainer_table, sp_data_table, sp_group_table,
    sp_weights_table, sp_predict_table;

/* Tables of tagged choices, in the order of their enums. Offsets count from the tagged struct. */
struct sp_opt_class_table {
  const char *name; /* the section: "optimizer" */
  const char *help;
  const struct sp_opt_class *classes;
  size_t n_classes;
  const struct sp_opt *common; /* options that every class has, and may be given before the class */
  size_t n_common;
  size_t kind_offset;               /* of the int that holds the class */
  size_t self_bytes;                /* of the tagged struct */
  const struct sp_refusal *refused; /* class names that are known and not built; may be NULL */
};

extern const struct sp_opt_class_table sp_optimizer_classes, sp_lr_classes, sp_callback_classes,
    sp_logger_classes, sp_layer_classes;

#endif
