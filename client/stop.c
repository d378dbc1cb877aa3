/* The two-step stop; the rule is in the header. */
#include "client/stop.h"

#include <signal.h>

enum sc_stop_action sc_stop_signal(enum sc_stop_state *state, int signal_number, bool graceful) {
  bool again = *state == SC_STOP_ASKED && signal_number != SIGHUP;
  if (again || (*state == SC_STOP_NONE && !graceful)) {
    *state = SC_STOP_KILLED;
    return SC_STOP_DO_KILL;
  }
  if (*state == SC_STOP_NONE) {
    *state = SC_STOP_ASKED;
    return SC_STOP_DO_ASK;
  }
  return SC_STOP_DO_NOTHING;
}
