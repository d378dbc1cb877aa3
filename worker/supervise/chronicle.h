/* Writing the chronicle of a run (proto/run/chronicle.h).
 *
 * Nothing here stops a job: what cannot be written is told once per outage and tried again with the
 * next entry; the gap in seq stays. Each entry is one write(2); a partial one is cut off again.
 * start, generation, stop and end are fsynced, and with them all before. One thread. Fault points:
 * chronicle.open, chronicle.write, chronicle.fsync.
 */
#ifndef SW_SUPERVISE_CHRONICLE_H
#define SW_SUPERVISE_CHRONICLE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/clock.h"
#include "proto/run/chronicle.h"

/* Told once when writing begins to fail: one sentence. */
typedef void sw_chronicle_tell_fn(void *ctx, const char *text);

struct sw_chronicle {
  char *run_dir, *path;
  int fd;             /* -1: not open */
  int64_t seq;        /* of the newest entry, written or not */
  int64_t good_bytes; /* whole entries in the file */
  bool failing;
  const struct sp_clock *clock;
  sw_chronicle_tell_fn *tell;
  void *ctx;
};

/* Opens run_dir/chronicle.jsonl, cuts a torn last line off and goes on counting behind the last
 * entry. The clock is borrowed. Safe to use whatever happens; close releases it. */
void sw_chronicle_open(struct sw_chronicle *c, const char *run_dir, const struct sp_clock *clock,
                       sw_chronicle_tell_fn *tell, void *ctx);

/* Appends the entry; seq, time and mono_ns are set here. */
void sw_chronicle_append(struct sw_chronicle *c, const struct sp_chronicle_entry *e);

void sw_chronicle_close(struct sw_chronicle *c);

#endif
