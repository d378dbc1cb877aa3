/* The two-step stop; the rule is in the header. */
#include "client/stop.h"

#include <signal.h>

enum sc_stop_action sc_stop_signal(enum sc_stop_state *state, int signal_number, bool graceful) {
  if (!graceful && *state == SC_STOP_NONE) {
    *state = SC_STOP_KILLED;
    return SC_STOP_DO_KILL;
  }
  if (*state == SC_STOP_NONE) {
    *state = SC_STOP_ASKED;
    return SC_STOP_DO_ASK;
  }
  if (signal_number == SIGHUP || *state == SC_STOP_KILLED) {
    return SC_STOP_DO_NOTHING;
  }
  bool first = *state == SC_STOP_ASKED;
  *state = first ? SC_STOP_TOLD : SC_STOP_KILLED;
  return first ? SC_STOP_DO_TELL : SC_STOP_DO_KILL;
}
