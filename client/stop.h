/* What a signal to `stoker` means for the worker. Pure.
 *
 * The first SIGINT, SIGTERM or SIGHUP asks the worker to stop at a step edge with a checkpoint
 * (SIGTERM); a second SIGINT or SIGTERM tells it to end at once and take its processes and memory
 * with it (SIGINT); a third one kills (SIGKILL: published checkpoints are whole whatever
 * happens, and fit --resume finds what was committed). A verb that trains nothing is ended by the
 * first one.
 */
#ifndef SC_STOP_H
#define SC_STOP_H

#include <stdbool.h>

enum sc_stop_state { SC_STOP_NONE, SC_STOP_ASKED, SC_STOP_TOLD, SC_STOP_KILLED };

enum sc_stop_action { SC_STOP_DO_NOTHING, SC_STOP_DO_ASK, SC_STOP_DO_TELL, SC_STOP_DO_KILL };

/* The action for a signal; *state is what stands after it. graceful: the worker is training, or
 * about to. */
enum sc_stop_action sc_stop_signal(enum sc_stop_state *state, int signal_number, bool graceful);

#endif
