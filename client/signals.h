/* Signals as readable events: blocked, and read from a signalfd. One per process. */
#ifndef SC_SIGNALS_H
#define SC_SIGNALS_H

#include <signal.h>

#include "proto/base/status.h"

struct sc_signals {
  int fd; /* non-blocking, close-on-exec */
  sigset_t before;
};

/* Blocks SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGWINCH and SIGTSTP, and ignores SIGPIPE. */
SP_NODISCARD sp_status sc_signals_open(struct sc_signals *out_signals, struct sp_err *err);

/* Restores the mask. */
void sc_signals_close(struct sc_signals *s);

/* The next signal, 0 when none waits. */
int sc_signals_next(struct sc_signals *s);

#endif
