/* How many of its threads a loop is best given, found by trying while it does its work.
 *
 * Threads that share little work lose more on each other's caches than they win: a step of a tenth
 * of a millisecond may be faster on one of two CPUs, and a machine of 64 is the worse for it. What
 * is best depends on where the host puts its CPUs just now, so nobody can say beforehand. Results
 * do not depend on the number.
 *
 * The numbers tried are the most, halves of it, and 1. A trial is a few steps; the fastest of them
 * counts, since disturbances only add. From where it stands the tuner goes on as long as halving
 * wins a twentieth, or else doubling, then rests for some thousand steps. Where a step is long, all
 * threads are right and nothing is tried.
 *
 * Pure: it is told times and knows no clock.
 */
#ifndef STK_EXEC_TUNER_H
#define STK_EXEC_TUNER_H

#include <stdbool.h>
#include <stdint.h>

struct stk_tuner {
  int most, now, best; /* threads: to be had, of the next step, of the fastest trial */
  int direction;       /* -1 halving, +1 doubling, 0 measuring where it stands */
  int steps;           /* of the trial */
  int64_t least_ns;    /* of the trial */
  int64_t best_ns;
  int rests;      /* steps still to rest */
  bool has_moved; /* since the last rest */
};

/* Begins with all; most < 2: it stays there. */
void stk_tuner_init(struct stk_tuner *t, int most);

/* A step with t->now threads took so long. t->now is then the next one's. */
void stk_tuner_took(struct stk_tuner *t, int64_t ns);

#endif
