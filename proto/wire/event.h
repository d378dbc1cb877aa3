/* Events: what a worker tells the command that started it, as plain structs.
 *
 * struct sp_event is a tagged union over borrowed memory. A sender fills one and calls
 * sp_event_send; a receiver gets one from sp_event_reader_next, valid until the next call on that
 * reader. Nothing here knows protobuf: proto/wire's sources do.
 *
 * Sending never fails on content that only displays badly: a string is cut at its limit on a
 * character border and bytes that are not UTF-8 become '?', so that an error text about a hostile
 * file always arrives. A NULL string is "". Receiving is strict: bad UTF-8, a control character
 * in a one-line string, an unknown enum, a count or a length over its limit is SP_ECORRUPT.
 * Unknown integers (totals that have no bound) are -1.
 */
#ifndef SP_WIRE_EVENT_H
#define SP_WIRE_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

enum {
  SP_EVENT_PROTOCOL = 1,            /* Hello.protocol; a reader refuses any other */
  SP_EVENT_MAX_METRICS = 256,       /* pairs in one event */
  SP_EVENT_MAX_ROWS = 2048,         /* rows of a model summary */
  SP_EVENT_MAX_NEXT = 16,           /* suggested commands */
  SP_EVENT_MAX_NAME = 256,          /* bytes of a metric, layer or unit name */
  SP_EVENT_MAX_STRING = 4096,       /* bytes of any other string */
  SP_EVENT_MAX_TEXT = 64 * 1024,    /* bytes of one Text */
  SP_EVENT_MAX_OUTPUT = 256 * 1024, /* bytes of one Output; sp_event_send_output cuts longer ones */
};

/* The tag of the frame that carries the event. The numbers are stable: they cross process
 * borders. */
enum sp_event_kind {
  SP_EVENT_HELLO = 1,       /* first, once */
  SP_EVENT_TEXT = 2,        /* lines for a person */
  SP_EVENT_RUN_STARTED = 3, /* the plan is made, the first batch is next */
  SP_EVENT_SUMMARY = 4,     /* the table of layers */
  SP_EVENT_PROGRESS = 5,    /* at the sender's pace; the receiver drops what it cannot draw */
  SP_EVENT_METRICS = 6,     /* logged values of one step */
  SP_EVENT_VALIDATION = 7,  /* a whole evaluation loop ended */
  SP_EVENT_CHECKPOINT = 8,  /* published, or failed to */
  SP_EVENT_STOPPED = 9,     /* why the loop ended before its limits */
  SP_EVENT_OUTPUT = 10,     /* raw bytes for standard output (listings, -o json) */
  SP_EVENT_ERROR = 11,      /* the verb failed; an orderly end follows with Result */
  SP_EVENT_RESULT = 12,     /* last, once */
  SP_EVENT_RECOVERY = 13,   /* something died, and the job has finished a step since */
  SP_EVENT_GENERATION = 14, /* the ranks that compute from now on */
};

enum sp_stage {
  SP_STAGE_TRAIN = 1,
  SP_STAGE_SANITY = 2,
  SP_STAGE_VALIDATE = 3,
  SP_STAGE_TEST = 4,
  SP_STAGE_PREDICT = 5,
};

enum sp_text_level { SP_TEXT_INFO = 1, SP_TEXT_WARNING = 2 };

enum sp_stop_reason {
  SP_STOP_SIGNAL = 1,      /* SIGINT or SIGTERM, handed on by the command */
  SP_STOP_EARLY = 2,       /* EarlyStopping */
  SP_STOP_MAX_TIME = 3,    /* trainer.max_time */
  SP_STOP_MODULE = 4,      /* a hook of the user's module asked for it */
  SP_STOP_CLIENT_GONE = 5, /* the command that watched went away */
};

/* Where a recovery took the state from. */
enum sp_source {
  SP_SOURCE_SLOTS = 1,      /* memory: the newest committed step */
  SP_SOURCE_CHECKPOINT = 2, /* the newest valid checkpoint */
  SP_SOURCE_START = 3,      /* nothing was left: from the first step */
};

/* Exit codes of `stoker`, and what Result carries. Stable, documented in docs/. */
enum sp_exit {
  SP_EXIT_OK = 0,
  SP_EXIT_FAILED = 1,      /* anything without a class of its own */
  SP_EXIT_USAGE = 2,       /* bad command line or job file */
  SP_EXIT_NOT_FOUND = 3,   /* a file, checkpoint or job is not there */
  SP_EXIT_REFUSED = 4,     /* permissions, quota, policy */
  SP_EXIT_UNREACHABLE = 5, /* the daemon does not answer */
  SP_EXIT_CONFLICT = 6,    /* exists already, or belongs to something else */
  SP_EXIT_TIMED_OUT = 7,   /* gave up waiting */
  SP_EXIT_JOB_FAILED = 10, /* the job ran and failed */
  SP_EXIT_JOB_CANCELED = 11,
  SP_EXIT_JOB_TIMED_OUT = 12,
  SP_EXIT_JOB_LOST = 13, /* killed from outside, or its machine failed */
  SP_EXIT_PREEMPTED = 14,
};

struct sp_event_metric {
  const char *name;
  double value; /* may be NaN or infinite */
};

struct sp_event_hello {
  uint32_t protocol;   /* SP_EVENT_PROTOCOL */
  const char *version; /* of the worker's build, as `stoker version` prints it */
  int64_t pid;
};

struct sp_event_text {
  enum sp_text_level level;
  const char *text; /* n_bytes bytes, any bytes, may hold several lines */
  size_t n_bytes;
};

struct sp_event_run_started {
  const char *verb;         /* "fit", "validate", "test", "predict" */
  const char *model;        /* class name */
  const char *log_dir;      /* run directory, "" if none */
  const char *resumed_from; /* checkpoint path, "" when fresh */
  const char *kernels;      /* "ref", "avx2", "avx512" */
  const char *precision;    /* "32-true" */
  int64_t n_params, n_trainable;
  int64_t max_epochs;                     /* -1: unlimited */
  int64_t total_steps;                    /* -1: unlimited */
  int64_t n_train_batches, n_val_batches; /* per epoch and lane */
  int64_t epoch, global_step;             /* where it starts */
  int64_t lanes, ranks, threads;
  int64_t plan_peak_bytes; /* exact memory of the plan; -1 if the verb has none */
};

struct sp_event_summary_row {
  const char *name, *type;          /* "encoder.0", "Linear" */
  const char *in_shape, *out_shape; /* "[64, 784]"; "" if unknown */
  int64_t n_params;
  bool frozen;
};

struct sp_event_summary {
  size_t n_rows;
  const struct sp_event_summary_row *rows;
  int64_t n_rows_left_out; /* rows that did not fit */
  int64_t n_params, n_trainable, n_param_bytes;
};

struct sp_event_progress {
  enum sp_stage stage;
  int64_t epoch, max_epochs;        /* epoch counts from 0; max_epochs -1: unlimited */
  int64_t batch, n_batches;         /* done, and in all of this stage; n_batches -1: unknown */
  int64_t global_step, total_steps; /* optimizer steps done; total_steps -1: unlimited */
  double steps_per_s, items_per_s;  /* 0: not measured yet */
  const char *unit;                 /* what items are: "tokens", "images", "samples" */
  size_t n_metrics;
  const struct sp_event_metric *metrics; /* loss first, then prog_bar values */
};

struct sp_event_metrics {
  int64_t epoch, step;
  size_t n_metrics;
  const struct sp_event_metric *metrics;
};

struct sp_event_validation {
  enum sp_stage stage;
  int64_t epoch, step, n_batches;
  double seconds;
  size_t n_metrics;
  const struct sp_event_metric *metrics;
};

struct sp_event_checkpoint {
  bool ok;
  const char *path;
  const char *error; /* "" when ok */
  int64_t epoch, step, n_bytes;
  double seconds;
};

struct sp_event_stopped {
  enum sp_stop_reason reason;
  const char *text; /* one sentence, may be "" */
  int64_t epoch, step;
};

struct sp_event_output {
  const char *bytes;
  size_t n_bytes;
};

struct sp_event_error {
  sp_status status; /* not SP_OK */
  const char *text; /* what, where, why, and the next command; may hold several lines */
};

struct sp_event_result {
  sp_status status;
  enum sp_exit exit;
  const char *message;   /* one line, may be "" */
  const char *ckpt_last; /* newest published checkpoint, "" if none */
  const char *ckpt_best; /* best by the monitor, "" if none */
  int64_t epoch, step;   /* reached */
  double seconds;
  size_t n_next;
  const char *const *next; /* commands ready to paste */
};

struct sp_event_recovery {
  const char *who;   /* "rank 1", "2 ranks", "the supervisor" */
  const char *cause; /* "killed by signal 9, SIGKILL", "exit code 3", "stopped answering" */
  int64_t rank;      /* -1: not one rank */
  int64_t step;      /* committed when it died */
  int64_t next_step; /* finished first after that */
  int64_t generation;
  enum sp_source source;
  int64_t n_recomputed; /* committed or begun steps that were computed again */
  double ms;            /* from the death to next_step */
};

struct sp_event_generation {
  int64_t generation, n_ranks;
};

struct sp_event {
  enum sp_event_kind kind;
  union {
    struct sp_event_hello hello;
    struct sp_event_text text;
    struct sp_event_run_started run_started;
    struct sp_event_summary summary;
    struct sp_event_progress progress;
    struct sp_event_metrics metrics;
    struct sp_event_validation validation;
    struct sp_event_checkpoint checkpoint;
    struct sp_event_stopped stopped;
    struct sp_event_output output;
    struct sp_event_error error;
    struct sp_event_result result;
    struct sp_event_recovery recovery;
    struct sp_event_generation generation;
  } u;
};

/* The exit code that a verb ends with when it failed with status before (ran false) or after (ran
 * true) the job began to run. */
enum sp_exit sp_exit_of_status(sp_status status, bool ran);

/* "train", "sanity check", "validate", "test", "predict"; "?" for anything else. */
const char *sp_stage_name(enum sp_stage stage);

/* "slots", "checkpoint", "start"; "?" for anything else. */
const char *sp_source_name(enum sp_source source);

#endif
