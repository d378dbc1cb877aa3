/* Tables of proto/base/options.h: top-level keys and the trainer. Rows are in Lightning's order,
 * then Stoker's own; a row marked REFUSED is known by name, so that its error says why. */
#include "proto/base/options.h"

#include "proto/base/opt_rows.h"

#include <math.h>

#define SELF sp_root_opts

static const struct sp_refusal seed_refusals[] = {
    {"true|True", "say which seed; the default is 0"},
    {"false|False", "every run has a seed, or it could not be repeated; leave the key out for 0"},
    {NULL, NULL},
};

static const struct sp_opt root_rows[] = {
    ROW(INT, seed_everything, .def = "0", .min = 0, .max = 4294967295.0, .refusals = seed_refusals,
        .lightning = "seed_everything",
        .help =
            "The seed of initial weights, sample order, dropout and every other random number."),
    ROW(STRING, ckpt_path, .def = "none", .flags = SP_OPT_NONE, .lightning = "ckpt_path",
        .help = "Where to go on from: a checkpoint directory, last, or best."),
    ROW(STRING, resume, .def = "none", .flags = SP_OPT_NONE,
        .help =
            "Go on with a run that was interrupted: its directory, or auto (also --resume alone), "
            "the newest one of this job. It goes on from the memory that it left on this machine, "
            "else from its newest whole checkpoint."),
};

const struct sp_opt_table sp_root_table = {"", "Keys at the top of the file.", root_rows,
                                           N_ROWS(root_rows)};

#undef SELF
#define SELF sp_trainer_opts

static const struct sp_refusal accelerator_refusals[] = {
    {"gpu|cuda", "GPUs are not built yet; leave it out or use cpu"},
    {"mps|tpu|xla|hpu", "only CPUs are supported"},
    {NULL, NULL},
};

static const struct sp_refusal devices_refusals[] = {
    {"-1|*,*", "say how many: CPUs have no device numbers; devices D runs D lanes"},
    {NULL, NULL},
};

static const struct sp_refusal precision_refusals[] = {
    {"16*|bf16*|transformer-engine*", "mixed and half precision are not built yet; use 32-true"},
    {NULL, NULL},
};

static const struct sp_refusal profiler_refusals[] = {
    {"advanced|pytorch|xla", "use simple"},
    {NULL, NULL},
};

static const struct sp_refusal interval_refusals[] = {
    {"*:*|*[0-9][smhdw]",
     "validation by the clock is not built yet; give a count of batches or "
     "a fraction of an epoch"},
    {NULL, NULL},
};

static const struct sp_refusal deterministic_refusals[] = {
    {"false|False", "every run is deterministic; leave it out"},
    {NULL, NULL},
};

#define BATCHES(name, what, default_value)                                                         \
  ROW(COUNT, name, .def = default_value, .min = 0, .max = INFINITY, .lightning = "Trainer." #name, \
      .help = what)

static const struct sp_opt trainer_rows[] = {
    REFUSE(accelerator, .choices = "auto|cpu", .refusals = accelerator_refusals,
           .lightning = "Trainer.accelerator", .help = "jobs run on CPUs"),
    ROW(INT, devices, .def = "auto", .flags = SP_OPT_AUTO, .min = 1, .max = 1024,
        .refusals = devices_refusals, .lightning = "Trainer.devices",
        .help = "Data-parallel width as Lightning counts it: D devices are D lanes on D ranks, "
                "unless trainer.lanes or trainer.ranks say otherwise. auto is 1."),
    REFUSE(
        num_nodes, .choices = "1", .lightning = "Trainer.num_nodes",
        .help = "several hosts are not built yet; use trainer.lanes for data-parallel semantics"),
    REFUSE(strategy, .choices = "auto", .lightning = "Trainer.strategy",
           .help = "the result is always that of ddp; see trainer.lanes and trainer.ranks"),
    ROW(ENUM, precision, .def = "32-true", .choices = "32-true|64-true",
        .aliases = "32=32-true|64=64-true", .refusals = precision_refusals,
        .lightning = "Trainer.precision",
        .help = "Element type of parameters and arithmetic. 64-true runs on the ref kernels."),
    ROW(INT, fast_dev_run, .def = "0", .flags = SP_OPT_BOOLISH, .min = 0, .max = 1e9,
        .lightning = "Trainer.fast_dev_run",
        .help =
            "Run this many batches of each loop (true is 1) to try the job: one epoch, no sanity "
            "check, no loggers, no checkpoints."),
    ROW(INT, max_epochs, .def = "none", .flags = SP_OPT_NONE, .min = -1, .max = 1e12,
        .lightning = "Trainer.max_epochs",
        .help = "Stop after this many epochs; -1 is no limit. none is 1000, or no limit where "
                "max_steps "
                "or max_time is set."),
    ROW(INT, min_epochs, .def = "none", .flags = SP_OPT_NONE, .min = 0, .max = 1e12,
        .lightning = "Trainer.min_epochs", .help = "An early stop waits for this many epochs."),
    ROW(INT, max_steps, .def = "-1", .min = -1, .max = 1e15, .lightning = "Trainer.max_steps",
        .help = "Stop after this many optimizer steps; -1 is no limit."),
    ROW(INT, min_steps, .def = "none", .flags = SP_OPT_NONE, .min = 0, .max = 1e15,
        .lightning = "Trainer.min_steps", .help = "An early stop waits for this many steps."),
    ROW(DURATION, max_time, .def = "none", .flags = SP_OPT_NONE, .min = 0, .max = 3e8,
        .lightning = "Trainer.max_time",
        .help = "Stop when training has taken this long, resumed runs counted together. Such a "
                "job is no "
                "pure function of its file."),
    BATCHES(limit_train_batches, "How much of an epoch to train on, per lane.", "1.0"),
    BATCHES(limit_val_batches, "How much of the validation data to use; 0 switches validation off.",
            "1.0"),
    BATCHES(limit_test_batches, "How much of the test data to use.", "1.0"),
    BATCHES(limit_predict_batches, "How much of the prediction data to use.", "1.0"),
    BATCHES(
        overfit_batches,
        "Train and validate on the first batches of the training data, not shuffled. 0.0 is off.",
        "0.0"),
    ROW(COUNT, val_check_interval, .def = "1.0", .flags = SP_OPT_POSITIVE, .min = 0,
        .max = INFINITY, .refusals = interval_refusals, .lightning = "Trainer.val_check_interval",
        .help = "Validate after this fraction of an epoch, or every so many batches."),
    ROW(INT, check_val_every_n_epoch, .def = "1", .flags = SP_OPT_NONE, .min = 1, .max = 1e12,
        .lightning = "Trainer.check_val_every_n_epoch",
        .help = "Validate in every n-th epoch. none: val_check_interval, then a count, goes on "
                "counting "
                "across epochs."),
    ROW(INT, num_sanity_val_steps, .def = "2", .min = -1, .max = 1e12,
        .lightning = "Trainer.num_sanity_val_steps",
        .help = "Validation batches to run before training; -1 is all of them."),
    ROW(INT, log_every_n_steps, .def = "50", .min = 0, .max = 1e12,
        .lightning = "Trainer.log_every_n_steps",
        .help = "Steps from one row of the loggers to the next; 0 is never."),
    ROW(BOOL, enable_checkpointing, .def = "true", .lightning = "Trainer.enable_checkpointing",
        .help = "Keep the newest checkpoint where no model_checkpoint callback is given."),
    ROW(BOOL, enable_progress_bar, .def = "true", .lightning = "Trainer.enable_progress_bar",
        .help = "Draw progress: a bar on a terminal, lines elsewhere."),
    ROW(BOOL, enable_model_summary, .def = "true", .lightning = "Trainer.enable_model_summary",
        .help = "Print the layers and their sizes at the start."),
    ROW(INT, accumulate_grad_batches, .def = "1", .min = 1, .max = 1e9,
        .lightning = "Trainer.accumulate_grad_batches",
        .help =
            "Batches whose gradients add up to one optimizer step; each loss is divided by it."),
    ROW(FLOAT, gradient_clip_val, .def = "none", .flags = SP_OPT_NONE, .min = 0, .max = INFINITY,
        .lightning = "Trainer.gradient_clip_val",
        .help = "Clip gradients to this; none or 0 is off."),
    ROW(ENUM, gradient_clip_algorithm, .def = "norm", .choices = "norm|value",
        .lightning = "Trainer.gradient_clip_algorithm",
        .help = "Clip by the global L2 norm, or every element."),
    REFUSE(deterministic, .choices = "true|warn|null", .refusals = deterministic_refusals,
           .lightning = "Trainer.deterministic", .help = "every run is deterministic"),
    REFUSE(benchmark, .choices = "null|false", .lightning = "Trainer.benchmark",
           .help = "kernels are chosen by a rule, never by timing; see trainer.kernels"),
    REFUSE(inference_mode, .choices = "null|true", .lightning = "Trainer.inference_mode",
           .help = "evaluation never keeps gradients"),
    REFUSE(use_distributed_sampler, .choices = "null|true",
           .lightning = "Trainer.use_distributed_sampler",
           .help = "lanes always take different samples"),
    ROW(ENUM, profiler, .def = "none", .choices = "none|simple", .refusals = profiler_refusals,
        .lightning = "Trainer.profiler",
        .help = "simple measures each part of the loop and each kind of kernel; two tables at the "
                "end, and in VERB-profile-0.txt of the log directory."),
    ROW(BOOL, detect_anomaly, .def = "false", .lightning = "Trainer.detect_anomaly",
        .help = "Look at every value of every step and name the node that first made a NaN."),
    ROW(BOOL, barebones, .def = "false", .lightning = "Trainer.barebones",
        .help = "Nothing but training: no checkpoints, loggers, bar, summary or sanity check."),
    REFUSE(plugins, .choices = "null", .lightning = "Trainer.plugins",
           .help = "there are no plugins"),
    REFUSE(sync_batchnorm, .choices = "null|false", .lightning = "Trainer.sync_batchnorm",
           .help = "batch normalisation over all lanes is not built yet"),
    REFUSE(reload_dataloaders_every_n_epochs, .choices = "null|0",
           .lightning = "Trainer.reload_dataloaders_every_n_epochs",
           .help = "data is opened once and must not change under a run"),
    ROW(STRING, default_root_dir, .def = ".", .lightning = "Trainer.default_root_dir",
        .help = "Where logs and checkpoints go."),
    REFUSE(enable_autolog_hparams, .choices = "null|true",
           .lightning = "Trainer.enable_autolog_hparams",
           .help = "hyper-parameters are always written to hparams.yaml"),
    REFUSE(model_registry, .choices = "null", .lightning = "Trainer.model_registry",
           .help = "there is no registry"),
    REFUSE(suggest_integrations, .choices = "null|true|false",
           .lightning = "Trainer.suggest_integrations", .help = "there is nothing to suggest"),
    ROW(INT, lanes, .def = "auto", .flags = SP_OPT_AUTO, .min = 1, .max = 1024,
        .help =
            "V, the number of data-parallel workers whose result this job computes, however many "
            "processes do the work. auto is devices."),
    ROW(INT, ranks, .def = "auto", .flags = SP_OPT_AUTO, .min = 1, .max = 1024,
        .help = "N, the number of processes that share the lanes: 1 to trainer.lanes. auto is "
                "devices. The result does not depend on it. Also --ranks N."),
    ROW(INT, threads, .def = "auto", .flags = SP_OPT_AUTO, .min = 1, .max = 1024,
        .help = "Threads that compute. auto: what CPU affinity and the cgroup's quota allow, or "
                "fewer where short steps are faster with fewer, which is tried from time to time. "
                "The result does not depend on it."),
    ROW(BOOL, spare_rank, .def = "true",
        .help = "Keep a process ready for the place of the next rank that dies. It takes a rank's "
                "activations of memory beforehand, where that is at most a quarter of what is "
                "free. The result does not depend on it."),
    ROW(ENUM, kernels, .def = "auto", .choices = "auto|ref|avx2|avx512",
        .help = "Instruction set of the kernels. The result does not depend on it."),
    ROW(SIZE, recompute, .def = "none", .flags = SP_OPT_NONE | SP_OPT_AUTO, .min = 1,
        .max = INFINITY,
        .help = "Bytes of activations to keep: what exceeds them is computed again in the backward "
                "pass. auto drops all that take no product, convolution or attention to make. The "
                "result does not depend on it."),
    ROW(LIST, passes, .def = "", .flags = SP_OPT_NONE,
        .help = "Compiler passes to switch: -NAME is off, NAME is on. stoker plan lists the "
                "names. The "
                "result does not depend on them."),
    REFUSE(exact, .choices = "true", .help = "every run on CPUs is exact"),
    ROW(BOOL, audit, .def = "false",
        .help = "Keep a digest of the state after every step in audit.log of the run's directory, "
                "for stoker audit and stoker bisect. The result does not depend on it."),
};

const struct sp_opt_table sp_trainer_table = {
    "trainer", "How long, how often and where to run: the flags of Lightning's Trainer.",
    trainer_rows, N_ROWS(trainer_rows)};
