/* Time behind a table, so that decisions can be tested without waiting.
 *
 * Two types that do not mix: struct sp_mono counts from an arbitrary start and never goes back (use
 * it for every interval and deadline); struct sp_wall counts from 1970-01-01 UTC, may jump, and is
 * only ever shown or stored. Code takes a `const struct sp_clock *`; programs pass
 * sp_clock_system(), tests a struct sp_manual_clock.
 */
#ifndef SP_BASE_CLOCK_H
#define SP_BASE_CLOCK_H

#include <stdint.h>

#include "proto/base/status.h"

#define SP_NS_PER_S INT64_C(1000000000)

struct sp_mono {
  int64_t ns;
};

struct sp_wall {
  int64_t ns;
};

struct sp_clock {
  struct sp_mono (*mono)(const struct sp_clock *clock);
  struct sp_wall (*wall)(const struct sp_clock *clock);
};

/* CLOCK_MONOTONIC and CLOCK_REALTIME; any thread. */
const struct sp_clock *sp_clock_system(void);

struct sp_mono sp_mono_now(const struct sp_clock *clock);
struct sp_wall sp_wall_now(const struct sp_clock *clock);

/* CPU time of this process, all threads; any thread. */
int64_t sp_cpu_now_ns(void);

/* b - a in nanoseconds. */
int64_t sp_mono_between(struct sp_mono a, struct sp_mono b);

enum { SP_WALL_TEXT = 32 };

/* "2026-11-24T16:53:10.123Z" (UTC, milliseconds); out-of-range times give "?". */
void sp_wall_text(struct sp_wall t, char out_text[SP_WALL_TEXT]);

/* "2026-11-24T16:53:10.123456789Z" (RFC 3339, UTC, nanoseconds); before 1970 or after 2261 "?". */
void sp_wall_text_ns(struct sp_wall t, char out_text[SP_WALL_TEXT]);

/* The time that sp_wall_text_ns wrote so, exactly; SP_EINVAL for anything else. */
SP_NODISCARD sp_status sp_wall_parse_ns(const char *text, struct sp_wall *out_t);

/* A clock that stands still until its fields are changed. Pass &manual.clock. */
struct sp_manual_clock {
  struct sp_clock clock;
  struct sp_mono mono;
  struct sp_wall wall;
};

void sp_manual_clock_init(struct sp_manual_clock *c);

/* Moves both times forward. */
void sp_manual_clock_advance(struct sp_manual_clock *c, int64_t ns);

#endif
