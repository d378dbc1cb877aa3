/* A whole run without a system: processes, streams, a zygote, disks and a watch as a model, with
 * faults at random moments; the supervisor's core decides, and the world judges.
 *
 * Everything follows from the seed. Streams keep their order; everything else arrives after a
 * random while: an exit may come before the last messages of its process, a pid after its exit.
 */
#ifndef TT_SUPERVISE_WORLD_H
#define TT_SUPERVISE_WORLD_H

#include "tests/lib/tt.h"
#include "worker/supervise/core.h"

enum world_mode {
  WORLD_CALM,   /* no fault */
  WORLD_KILLS,  /* signals, exits and stops of any process, one now and then */
  WORLD_STORM,  /* the same in bursts: two within 5 ms, all ranks, zygote and rank */
  WORLD_DISK,   /* writes, saves and publications fail; persisters die */
  WORLD_SCALE,  /* scales and kills */
  WORLD_STOP,   /* kills, then a first stop, perhaps a second */
  WORLD_POISON, /* one step kills a rank whenever it runs */
  WORLD_ERROR,  /* one step fails with an error of the job */
  WORLD_MODES
};

struct world_report {
  const char *violation; /* NULL: all is as it must be */
  sw_end end;
  sp_status status;
  int n_opened, n_deaths, n_hangs, n_acked, n_failed_orders, n_scaled, n_strays, n_unknown,
      n_spares;
  uint64_t commits, needed;
  int64_t sim_ns;
  char story[64][160]; /* the last events and actions, a ring */
  unsigned n_story;
};

void world_run(uint64_t seed, enum world_mode mode, struct world_report *r);

void world_print(const struct world_report *r);

#endif
