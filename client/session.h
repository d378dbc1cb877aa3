/* One worker from start to end: its events drawn, its output passed on, signals handed to it, its
 * death reported.
 *
 * Blocks until the worker is gone. Opens and closes everything it uses. Not reentrant: signals
 * belong to the process.
 */
#ifndef SC_SESSION_H
#define SC_SESSION_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/wire/event.h"

struct sc_session_options {
  const char *verb;
  char *const *args;   /* NULL-terminated: what follows the verb */
  bool text_on_stderr; /* standard output is for data alone */
  bool graceful;       /* the first Ctrl-C asks for a checkpoint, the second ends it */
  int data_fd;         /* Output events; usually standard output */
};

struct sc_session_result {
  enum sp_exit exit;
  size_t n_data_bytes;
};

struct sc_session_result sc_session_run(const struct sc_session_options *o);

/* Prints "error: ..." on standard error, in colour where that is wanted. */
void sc_print_error(const char *text);

#endif
