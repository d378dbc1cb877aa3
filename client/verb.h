/* The verbs of `stoker`: one table, which finds, suggests, helps and runs. */
#ifndef SC_VERB_H
#define SC_VERB_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/base/buf.h"

struct sc_verb {
  const char *name;
  const char *args;     /* "JOB [--key value]..." */
  const char *summary;  /* one line */
  const char *details;  /* whole lines, may be "" */
  bool has_job_options; /* --help goes on with the sections of the job file */
  bool trains;          /* the first Ctrl-C asks for a checkpoint */
  bool text_on_stderr;  /* standard output is for data alone */
  int (*run)(const struct sc_verb *verb, char *const *args); /* returns the exit code */
};

/* All verbs in the order of the help page. */
const struct sc_verb *sc_verbs(size_t *out_n);

/* NULL when there is no such verb. */
const struct sc_verb *sc_verb_find(const char *name);

/* The verb that name is a likely typo of, or NULL. */
const char *sc_verb_suggest(const char *name);

/* `stoker help` and `stoker VERB --help`. */
void sc_verb_put_overview(struct sp_buf *b);
void sc_verb_put_help(struct sp_buf *b, const struct sc_verb *verb);

/* Runs the worker with the verb's name and these arguments, and returns its exit code. */
int sc_verb_relay(const struct sc_verb *verb, char *const *args);

/* The families. */
int sc_verb_init(const struct sc_verb *verb, char *const *args);
int sc_verb_doctor(const struct sc_verb *verb, char *const *args);
int sc_verb_events(const struct sc_verb *verb, char *const *args);
int sc_verb_show(const struct sc_verb *verb, char *const *args);
int sc_verb_scale(const struct sc_verb *verb, char *const *args);
int sc_verb_stop(const struct sc_verb *verb, char *const *args);
int sc_verb_version(const struct sc_verb *verb, char *const *args);
int sc_verb_help(const struct sc_verb *verb, char *const *args);

/* Writes a finished buffer to standard output and releases it; the exit code. */
int sc_print(struct sp_buf *b);

/* "error: ..." and the exit code for a wrong command line. */
int sc_usage_error(const char *fmt, ...) SP_PRINTF(1, 2);

/* Whether "-o json" (or --output=json) is among the arguments. */
bool sc_args_want_json(char *const *args);

#endif
