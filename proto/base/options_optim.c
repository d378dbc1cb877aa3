/* Tables of proto/base/options.h: optimizers, parameter groups, learning-rate schedules. Names
 * and defaults are torch's. */
#include "proto/base/options.h"

#include "proto/base/opt_rows.h"

#include <math.h>

#define SELF sp_optimizer_opts

static const struct sp_refusal betas_refusals[] = {
    {"1|1.0", "a beta of 1 never forgets; it must be below 1"},
    {NULL, NULL},
};

#define LR(default_value) \
  ROW(FLOAT, lr, .def = default_value, .min = 0, .max = INFINITY, .help = "Learning rate.")
#define WEIGHT_DECAY(default_value, what) \
  ROW(FLOAT, weight_decay, .def = default_value, .min = 0, .max = INFINITY, .help = what)
#define BETAS                                                                            \
  ROW(FLOATS, betas, .def = "0.9,0.999", .min = 0, .max = 1, .refusals = betas_refusals, \
      .help = "Decay of the two moments' averages: two numbers below 1.")
#define EPS                                                                    \
  ROW(FLOAT, eps, .def = "1e-8", .flags = SP_OPT_POSITIVE, .min = 0, .max = 1, \
      .help = "Added to the root of the second moment.")
#define AMSGRAD \
  REFUSE(amsgrad, .choices = "false|null", .help = "the AMSGrad variant is not built yet")
#define MAXIMIZE \
  REFUSE(maximize, .choices = "false|null", .help = "log the loss with its sign turned")

static const struct sp_opt sgd_rows[] = {
    LR("1e-3"),
    ROW(FLOAT, momentum, .def = "0.0", .min = 0, .max = INFINITY, .help = "Momentum factor."),
    ROW(FLOAT, dampening, .def = "0.0", .min = 0, .max = 1, .help = "Dampening of the momentum."),
    WEIGHT_DECAY("0.0", "L2 penalty, added to the gradient."),
    ROW(BOOL, nesterov, .def = "false",
        .help = "Nesterov's momentum: needs momentum > 0 and dampening 0."),
    MAXIMIZE,
};

static const struct sp_opt adam_rows[] = {
    LR("1e-3"), BETAS,    EPS, WEIGHT_DECAY("0.0", "L2 penalty, added to the gradient."),
    AMSGRAD,    MAXIMIZE,
};

static const struct sp_opt adamw_rows[] = {
    LR("1e-3"), BETAS,    EPS, WEIGHT_DECAY("0.01", "Decoupled decay, times the learning rate."),
    AMSGRAD,    MAXIMIZE,
};

static const struct sp_opt_class optimizer_rows[] = {
    {"sgd", "SGD", "Stochastic gradient descent.", sgd_rows, N_ROWS(sgd_rows)},
    {"adam", "Adam", "Adam.", adam_rows, N_ROWS(adam_rows)},
    {"adamw", "AdamW", "Adam with decoupled weight decay.", adamw_rows, N_ROWS(adamw_rows)},
};

static const struct sp_opt optimizer_common_rows[] = {
    ROW(LIST, freeze, .def = "", .flags = SP_OPT_NONE,
        .help = "Globs of parameter names (encoder.*) that are not trained."),
};

static const struct sp_refusal optimizer_refused[] = {
    {"LBFGS|lbfgs|RMSprop|rmsprop|Adagrad|adagrad|Adadelta|adadelta|NAdam|nadam|RAdam|radam|"
     "Adamax|"
     "adamax|Rprop|rprop|ASGD|asgd|SparseAdam|Adafactor|adafactor|Muon|muon|lion|Lion",
     "this optimizer is not built yet; use sgd, adam or adamw"},
    {NULL, NULL},
};

const struct sp_opt_class_table sp_optimizer_classes = {
    .name = "optimizer",
    .help =
        "How parameters move. Without the section the module's own configure_optimizers decides.",
    .classes = optimizer_rows,
    .n_classes = N_ROWS(optimizer_rows),
    .common = optimizer_common_rows,
    .n_common = N_ROWS(optimizer_common_rows),
    .kind_offset = offsetof(struct sp_optimizer_opts, kind),
    .self_bytes = sizeof(struct sp_optimizer_opts),
    .refused = optimizer_refused,
};

#undef SELF
#define SELF sp_group_opts

static const struct sp_opt group_rows[] = {
    ROW(STRING, match, .flags = SP_OPT_REQUIRED,
        .help = "Glob of parameter names; the first group that matches a parameter takes it."),
    ROW(FLOAT, lr, .def = "none", .flags = SP_OPT_NONE, .min = 0, .max = INFINITY,
        .help = "Learning rate of the group; none is the optimizer's."),
    ROW(FLOAT, weight_decay, .def = "none", .flags = SP_OPT_NONE, .min = 0, .max = INFINITY,
        .help = "Weight decay of the group; none is the optimizer's."),
};

const struct sp_opt_table sp_group_table = {"optimizer.groups",
                                            "Numbers for the parameters whose names match.",
                                            group_rows, N_ROWS(group_rows)};

#undef SELF
#define SELF sp_lr_opts

static const struct sp_opt lr_common_rows[] = {
    ROW(ENUM, interval, .def = "epoch", .choices = "epoch|step",
        .help = "What the schedule counts: epochs or optimizer steps."),
    ROW(INT, frequency, .def = "1", .min = 1, .max = 1e12,
        .help = "Count only every n-th epoch or step."),
    ROW(INT, begin, .def = "0", .min = 0, .max = 1e12,
        .help = "Epoch or step where the schedule begins; before it, its factor is 1."),
};

static const struct sp_opt constant_rows[] = {
    ROW(FLOAT, factor, .def = "0.3333333333333333", .flags = SP_OPT_POSITIVE, .min = 0, .max = 1,
        .help = "The learning rate is multiplied by this."),
    ROW(INT, total_iters, .def = "5", .flags = SP_OPT_NONE, .min = 0, .max = 1e12,
        .help = "For so many counts; none is for ever."),
};

static const struct sp_opt step_rows[] = {
    ROW(INT, step_size, .flags = SP_OPT_REQUIRED, .min = 1, .max = 1e12,
        .help = "Counts from one drop to the next."),
    ROW(FLOAT, gamma, .def = "0.1", .flags = SP_OPT_POSITIVE, .min = 0, .max = INFINITY,
        .help = "The learning rate is multiplied by this at each drop."),
};

static const struct sp_opt cosine_rows[] = {
    ROW(INT, t_max, .def = "none", .flags = SP_OPT_NONE, .min = 1, .max = 1e12,
        .help = "Counts until the lowest rate is reached; none: at the end of the run."),
    ROW(FLOAT, eta_min, .def = "0.0", .min = 0, .max = INFINITY, .help = "The lowest rate."),
};

static const struct sp_opt warmup_rows[] = {
    ROW(FLOAT, start_factor, .def = "0.3333333333333333", .flags = SP_OPT_POSITIVE, .min = 0,
        .max = 1, .help = "The first factor on the learning rate."),
    ROW(FLOAT, end_factor, .def = "1.0", .min = 0, .max = 1, .help = "The last factor."),
    ROW(INT, total_iters, .def = "5", .min = 1, .max = 1e12,
        .help = "Counts from the first to the last."),
};

static const struct sp_opt plateau_rows[] = {
    ROW(STRING, monitor, .flags = SP_OPT_REQUIRED, .help = "The logged metric to watch."),
    ROW(ENUM, mode, .def = "min", .choices = "min|max", .help = "Whether less or more is better."),
    ROW(FLOAT, factor, .def = "0.1", .flags = SP_OPT_POSITIVE, .min = 0, .max = 0.999999999,
        .help = "The learning rate is multiplied by this."),
    ROW(INT, patience, .def = "10", .min = 0, .max = 1e12,
        .help = "Checks without improvement to tolerate."),
    ROW(FLOAT, threshold, .def = "1e-4", .min = 0, .max = INFINITY,
        .help = "What counts as an improvement."),
    ROW(ENUM, threshold_mode, .def = "rel", .choices = "rel|abs",
        .help = "threshold is relative to the best value, or a difference."),
    ROW(INT, cooldown, .def = "0", .min = 0, .max = 1e12,
        .help = "Checks to wait after a reduction."),
    ROW(FLOAT, min_lr, .def = "0.0", .min = 0, .max = INFINITY, .help = "The lowest rate."),
    ROW(FLOAT, eps, .def = "1e-8", .min = 0, .max = INFINITY,
        .help = "A reduction smaller than this is not done."),
    ROW(BOOL, strict, .def = "true", .help = "It is an error when the metric was not logged."),
};

static const struct sp_opt_class lr_rows[] = {
    {"constant", "ConstantLR", "A constant factor for a while.", constant_rows,
     N_ROWS(constant_rows)},
    {"step", "StepLR", "Drops at equal distances.", step_rows, N_ROWS(step_rows)},
    {"cosine", "CosineAnnealingLR", "Half a cosine down to eta_min, which then stays.", cosine_rows,
     N_ROWS(cosine_rows)},
    {"linear_warmup", "LinearLR", "A straight line from start_factor to end_factor.", warmup_rows,
     N_ROWS(warmup_rows)},
    {"reduce_on_plateau", "ReduceLROnPlateau", "Drops when a metric no longer improves.",
     plateau_rows, N_ROWS(plateau_rows)},
};

static const struct sp_refusal lr_refused[] = {
    {"SequentialLR|ChainedScheduler|chain|sequential",
     "give a list of schedules: their factors multiply, and `begin` says where each begins"},
    {"LambdaLR|MultiplicativeLR", "the schedule cannot be a function of your own yet"},
    {"MultiStepLR|ExponentialLR|PolynomialLR|CyclicLR|OneCycleLR|CosineAnnealingWarmRestarts",
     "this schedule is not built yet"},
    {NULL, NULL},
};

const struct sp_opt_class_table sp_lr_classes = {
    .name = "lr_scheduler",
    .help = "How the learning rate changes: one schedule, or a list whose factors multiply.",
    .classes = lr_rows,
    .n_classes = N_ROWS(lr_rows),
    .common = lr_common_rows,
    .n_common = N_ROWS(lr_common_rows),
    .kind_offset = offsetof(struct sp_lr_opts, kind),
    .self_bytes = sizeof(struct sp_lr_opts),
    .refused = lr_refused,
};
