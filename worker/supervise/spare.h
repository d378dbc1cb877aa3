/* A rank of no generation yet: forked ahead, it takes the page faults of its first step while it
 * waits (core.h, "The spare").
 *
 * A thread of its own, of the lowest priority, does it, and only where memory is plenty: what it
 * takes is a second copy of a rank's activations.
 */
#ifndef SW_SUPERVISE_SPARE_H
#define SW_SUPERVISE_SPARE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "engine/trainer/session.h"

struct sw_spare {
  const stk_session *session;
  pthread_t thread;
  bool runs;
  atomic_bool stop;
};

/* Begins. Nobody else may use the session until sw_spare_end. */
void sw_spare_begin(struct sw_spare *w, const stk_session *session);

/* Waits for the portion in progress, at most. Harmless when nothing was begun. */
void sw_spare_end(struct sw_spare *w);

#endif
