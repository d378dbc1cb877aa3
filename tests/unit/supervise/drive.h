/* Driving the supervisor's core by hand: one line per event, and what it did as a line of text.
 *
 * Processes get pid 100 + proc. Every step checks the core's invariants.
 */
#ifndef TT_SUPERVISE_DRIVE_H
#define TT_SUPERVISE_DRIVE_H

#include "worker/supervise/core.h"

struct drive {
  struct sw_core core;
  struct sw_actions out;
  int64_t now_ns;
  uint64_t commits;
  int64_t step;
  char said[8192];
};

enum { DRIVE_MS = 1000000 };

/* A core of n_lanes lanes with the default limits, before its start. */
void drive_init(struct drive *d, int n_lanes, int n_ranks);

/* One event, at d->now_ns and with d's commits. What the core does is added to d->said. */
void drive_event(struct drive *d, struct sw_event e);

/* An event of one process. */
void drive_proc(struct drive *d, sw_event_kind kind, uint32_t proc);

/* A rank's READY or LEFT for a generation. */
void drive_rank(struct drive *d, sw_event_kind kind, uint32_t proc, uint32_t generation);

/* An exit by a signal, or with a status. */
void drive_killed(struct drive *d, uint32_t proc, int signal_number);
void drive_exits(struct drive *d, uint32_t proc, int status);

void drive_failed(struct drive *d, uint32_t proc, sp_status status, const char *text);

/* Goes to the core's wake time (and checks that there is one). */
void drive_wake(struct drive *d);

/* What was said since the last call is exactly this, or the test fails. Actions are joined by
 * "; ", told texts are left out but for their kind. */
void drive_said(struct drive *d, const char *want);

/* The text of the newest TELL of this kind, or of END for -1; NULL if there is none in the last
 * step. */
const char *drive_text(const struct drive *d, int tell);

/* From the start to an open generation 1: proc 1 is the zygote, ranks are 2, 3, ... */
void drive_open(struct drive *d, int n_lanes, int n_ranks);
void drive_start(struct drive *d, int n_ranks); /* the same after drive_init */

/* The exits of all that was told to quit or killed in what was said. */
void drive_exits_of_quitters(struct drive *d);

/* The answer to WRITE_GENERATION: it is durable. */
void drive_written(struct drive *d, uint32_t generation);

/* A rank that was forked: its pid, and it is ready. */
void drive_rank_is_up(struct drive *d, uint32_t proc, uint32_t generation);

/* Ends a core whose generation is open, so that a test's story is whole. */
void drive_finish(struct drive *d);

/* An action as a few words: "fork r0 #2 g1x2". */
void drive_print_action(const struct sw_action *a, char *to, size_t n);

#endif
