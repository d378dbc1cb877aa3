/* What became of the worker, in words and as an exit code. Pure. */
#ifndef SC_DEATH_H
#define SC_DEATH_H

#include <stdbool.h>

#include "proto/base/buf.h"
#include "proto/wire/event.h"

struct sc_death {
  int wait_status;   /* of waitpid */
  bool ran;          /* the job had started to run */
  bool killed_here;  /* this command sent SIGKILL */
  bool stopped_here; /* this command asked it to stop */
};

/* The exit code for a worker that ended without a Result. */
enum sp_exit sc_death_exit(const struct sc_death *d);

/* One sentence: "stoker-worker was killed by SIGSEGV (Segmentation fault)", with a hint where one
 * helps. No newline. */
void sc_death_put(const struct sc_death *d, struct sp_buf *b);

#endif
