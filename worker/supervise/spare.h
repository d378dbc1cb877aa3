/* A rank of no generation yet: forked ahead, it takes the page faults of its first step while it
 * waits (core.h, "The spare").
 *
 * A thread of its own, of low priority, does it, and only where memory is plenty: what it takes is
 * another copy of a rank's activations. Should memory run out all the same, the kernel is to kill
 * the spare before anybody else (oom_score_adj).
 */
#ifndef SW_SUPERVISE_SPARE_H
#define SW_SUPERVISE_SPARE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "engine/trainer/session.h"

enum { SW_SPARE_SCORE = 16 };

struct sw_spare {
  const stk_session *session;
  char score[SW_SPARE_SCORE]; /* oom_score_adj as it was; "": it could not be read */
  pthread_t thread;
  bool runs;
  atomic_bool stop;
};

/* Begins. Nobody else may use the session until sw_spare_end. */
void sw_spare_begin(struct sw_spare *w, const stk_session *session);

/* Waits for the portion in progress, at most; the process is as any other then. */
void sw_spare_end(struct sw_spare *w);

#endif
