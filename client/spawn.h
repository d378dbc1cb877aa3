/* Starting stoker-worker: where it is, and a child of it with its descriptors.
 *
 * The child runs in its own process group, so that Ctrl-C reaches `stoker` alone; its standard
 * input is /dev/null, its output and error are pipes, descriptor 3 is the events socket
 * (proto/wire/event_io.h). It gets SIGTERM if `stoker` dies. The caller closes the descriptors and
 * reaps the child.
 */
#ifndef SC_SPAWN_H
#define SC_SPAWN_H

#include <sys/types.h>

#include "proto/base/status.h"

enum { SC_EVENTS_FD = 3 };

struct sc_child {
  pid_t pid;
  int events_fd; /* these three are non-blocking and close-on-exec */
  int out_fd;
  int err_fd;
};

/* The path of stoker-worker: $STOKER_WORKER, else next to this program, else in PATH. Released with
 * sp_free. SP_ENOENT says where it looked. */
SP_NODISCARD sp_status sc_worker_find(char **out_path, struct sp_err *err);

/* argv is NULL-terminated and includes the program's name. Failure to execute is an error here, not
 * a dead child. */
SP_NODISCARD sp_status sc_spawn(const char *path, char *const *argv, struct sc_child *out_child,
                                struct sp_err *err);

#endif
