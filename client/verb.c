/* The table of verbs and their help. */
#include "client/verb.h"

#include "client/session.h"
#include "proto/base/file.h"
#include "proto/base/strutil.h"
#include "proto/job/help.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char job_details[] =
    "JOB is a YAML file. Every option of it can be given here too: --trainer.max_epochs 3,\n"
    "--data.path DIR. Later ones win.\n";

static const char ckpt_details[] =
    "  ls DIR        checkpoints of a run, or of every run below DIR, newest first\n"
    "  show PATH     what a checkpoint holds\n"
    "  verify PATH   reads it whole and compares every checksum\n"
    "  hash PATH     SHA-256 over the raw weights in the order of their names\n"
    "PATH is a checkpoint directory or a run directory (its newest). -o json prints JSON.\n";

static const char order_details[] =
    "  --steps A:B   the steps A to B-1 (default: the first epoch)\n"
    "Prints the sample ids of every step and lane; with init-weights, anybody can replay the job\n"
    "in another framework. -o json prints JSON.\n";

#define RUN_DETAILS \
  "RUN is the directory of a run, or one above several: then the newest is meant.\n"

static const char run_details[] = RUN_DETAILS;

static const char events_details[] =
    "  -f            waits for more, until the run ends\n"
    "Columns: time, generation, kind, what. -o json prints the chronicle's own "
    "lines.\n" RUN_DETAILS;

static const char scale_details[] =
    "M is 1 to the job's lanes. The change happens at the next step; the result stays the "
    "same.\n" RUN_DETAILS;

static const char stop_details[] =
    "  --now         at once: what came after the newest checkpoint is lost\n" RUN_DETAILS;

#define AUDIT_DETAILS                                                                      \
  "A run keeps an audit log with `stoker fit JOB --trainer.audit true` (docs/audit.md).\n" \
  "Exit status: 0 alike, 10 they differ or a log was changed.\n" RUN_DETAILS

static const char audit_details[] =
    "  --steps A:B   the steps A to B-1 (default: all that the log has)\n"
    "  --ranks M     by so many ranks, instead of the run's number\n"
    "Begins with the newest checkpoint at or before A, else at the beginning. Options of the job\n"
    "may be given, such as --trainer.kernels ref or --trainer.threads 1.\n" AUDIT_DETAILS;

static const char bisect_details[] =
    "Names the step and what of the state differs, or which run goes on.\n" AUDIT_DETAILS;

static const struct sc_verb verbs[] = {
    {.name = "fit",
     .args = "JOB [--ranks N] [--resume [RUN]] [--ckpt_path PATH|last|best] [--key value]...",
     .summary = "train",
     .details = "Ctrl-C stops at the next step with a checkpoint; a second one stops at once.\n",
     .has_job_options = true,
     .trains = true,
     .run = sc_verb_relay},
    {.name = "validate",
     .args = "JOB [--ckpt_path PATH|last|best] [--key value]...",
     .summary = "run the validation loop once",
     .details = "",
     .has_job_options = true,
     .run = sc_verb_relay},
    {.name = "test",
     .args = "JOB [--ckpt_path PATH|last|best] [--key value]...",
     .summary = "run the test loop once",
     .details = "",
     .has_job_options = true,
     .run = sc_verb_relay},
    {.name = "predict",
     .args = "JOB [--ckpt_path PATH|last|best] [--generate N] [--key value]...",
     .summary = "write predictions.npy, or sample text",
     .details = "",
     .has_job_options = true,
     .text_on_stderr = true,
     .run = sc_verb_relay},
    {.name = "init",
     .args = "NAME",
     .summary = "write a module and its job file that train at once",
     .details = "Writes NAME.c and NAME.yaml in the current directory and prints the build line.\n"
                "Nothing that exists is overwritten.\n",
     .run = sc_verb_init},
    {.name = "check",
     .args = "JOB [--key value]...",
     .summary = "check a job file without running it",
     .details = "Errors are shown as file:line:column.\n",
     .has_job_options = true,
     .text_on_stderr = true,
     .run = sc_verb_relay},
    {.name = "plan",
     .args = "JOB [-o json] [--key value]...",
     .summary = "print graph, memory and FLOPs of a job",
     .details = "",
     .has_job_options = true,
     .text_on_stderr = true,
     .run = sc_verb_relay},
    {.name = "order",
     .args = "JOB [--steps A:B]",
     .summary = "print which samples each step and lane takes",
     .details = order_details,
     .has_job_options = true,
     .text_on_stderr = true,
     .run = sc_verb_relay},
    {.name = "init-weights",
     .args = "JOB -o FILE",
     .summary = "write the initial weights as safetensors",
     .details = "",
     .has_job_options = true,
     .text_on_stderr = true,
     .run = sc_verb_relay},
    {.name = "ckpt",
     .args = "ls|show|verify|hash PATH",
     .summary = "list, show, verify and hash checkpoints",
     .details = ckpt_details,
     .text_on_stderr = true,
     .run = sc_verb_relay},
    {.name = "show",
     .args = "RUN [-o json]",
     .summary = "show a run: state, step, deaths, recoveries, checkpoints",
     .details = run_details,
     .run = sc_verb_show},
    {.name = "events",
     .args = "RUN [-f] [-o json]",
     .summary = "list everything that happened to a run",
     .details = events_details,
     .run = sc_verb_events},
    {.name = "scale",
     .args = "RUN --ranks M",
     .summary = "change the number of processes of a run while it trains",
     .details = scale_details,
     .run = sc_verb_scale},
    {.name = "stop",
     .args = "RUN [--now]",
     .summary = "stop a run at its next step, with a checkpoint",
     .details = stop_details,
     .run = sc_verb_stop},
    {.name = "audit",
     .args = "RUN [--steps A:B] [--ranks M] [-o json] [--key value]...",
     .summary = "do steps of a run again and compare them with its audit log",
     .details = audit_details,
     .text_on_stderr = true,
     .run = sc_verb_relay},
    {.name = "bisect",
     .args = "RUN1 RUN2 [-o json]",
     .summary = "find the first step at which two runs differ",
     .details = bisect_details,
     .text_on_stderr = true,
     .run = sc_verb_relay},
    {.name = "doctor",
     .args = "[-o json]",
     .summary = "check this machine and installation",
     .details = "",
     .text_on_stderr = true,
     .run = sc_verb_doctor},
    {.name = "version",
     .args = "[-o json]",
     .summary = "print the versions of stoker and stoker-worker",
     .details = "",
     .text_on_stderr = true,
     .run = sc_verb_version},
    {.name = "help",
     .args = "[VERB | SECTION]",
     .summary = "print this, help for a verb, or the options of a section of the job file",
     .details = "",
     .run = sc_verb_help},
};

const struct sc_verb *sc_verbs(size_t *out_n) {
  *out_n = sizeof verbs / sizeof *verbs;
  return verbs;
}

const struct sc_verb *sc_verb_find(const char *name) {
  for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
    if (strcmp(verbs[i].name, name) == 0) {
      return &verbs[i];
    }
  }
  return NULL;
}

const char *sc_verb_suggest(const char *name) {
  const char *names[sizeof verbs / sizeof *verbs];
  for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
    names[i] = verbs[i].name;
  }
  return sp_suggest(name, names, sizeof verbs / sizeof *verbs);
}

void sc_verb_put_overview(struct sp_buf *b) {
  sp_buf_puts(b,
              "stoker trains neural networks with C alone, exactly.\n\n"
              "usage: stoker VERB ...\n\n");
  for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
    sp_buf_printf(b, "  %-13s %s\n", verbs[i].name, verbs[i].summary);
  }
  sp_buf_puts(b,
              "\nstoker VERB --help says more. First steps:\n"
              "  stoker init mymodel\n"
              "  stoker fit mymodel.yaml\n");
}

void sc_verb_put_help(struct sp_buf *b, const struct sc_verb *verb) {
  sp_buf_printf(b, "usage: stoker %s%s%s\n\n%s%s\n", verb->name, *verb->args ? " " : "", verb->args,
                verb->summary, *verb->details ? "" : ".");
  if (*verb->details) {
    sp_buf_printf(b, "\n%s", verb->details);
  }
  if (verb->has_job_options) {
    sp_buf_printf(b, "\n%s\nSections of a job file (stoker help SECTION lists the options):\n",
                  job_details);
    sp_help_sections(b);
  }
}

int sc_verb_relay(const struct sc_verb *verb, char *const *args) {
  struct sc_session_options o = {.verb = verb->name,
                                 .args = args,
                                 .text_on_stderr = verb->text_on_stderr || sc_args_want_json(args),
                                 .graceful = verb->trains,
                                 .data_fd = STDOUT_FILENO};
  return (int)sc_session_run(&o).exit;
}

int sc_print(struct sp_buf *b) {
  struct sp_err err;
  sp_status status = sp_buf_check(b, "output", &err);
  if (status == SP_OK) {
    status = sp_write_all(STDOUT_FILENO, sp_buf_text(b), b->length, "standard output", &err);
  }
  sp_buf_free(b);
  if (status != SP_OK) {
    sc_print_error(err.text);
    return SP_EXIT_FAILED;
  }
  return SP_EXIT_OK;
}

int sc_usage_error(const char *fmt, ...) {
  char text[1024];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  sc_print_error(text);
  return SP_EXIT_USAGE;
}

bool sc_args_want_json(char *const *args) {
  for (; *args; args++) {
    if (strcmp(*args, "-o") == 0 && args[1] && strcmp(args[1], "json") == 0) {
      return true;
    }
    if (strcmp(*args, "-ojson") == 0 || strcmp(*args, "--output=json") == 0) {
      return true;
    }
  }
  return false;
}
