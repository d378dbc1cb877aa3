/* The system's clocks and the manual one. See clock.h. */
#include "proto/base/clock.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int64_t read_clock(clockid_t id) {
  struct timespec t = {0};
  clock_gettime(id, &t);
  return (int64_t)t.tv_sec * SP_NS_PER_S + (int64_t)t.tv_nsec;
}

static struct sp_mono system_mono(const struct sp_clock *clock) {
  (void)clock;
  return (struct sp_mono){read_clock(CLOCK_MONOTONIC)};
}

static struct sp_wall system_wall(const struct sp_clock *clock) {
  (void)clock;
  return (struct sp_wall){read_clock(CLOCK_REALTIME)};
}

const struct sp_clock *sp_clock_system(void) {
  static const struct sp_clock system_clock = {system_mono, system_wall};
  return &system_clock;
}

struct sp_mono sp_mono_now(const struct sp_clock *clock) {
  return clock->mono(clock);
}

struct sp_wall sp_wall_now(const struct sp_clock *clock) {
  return clock->wall(clock);
}

int64_t sp_cpu_now_ns(void) {
  return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

int64_t sp_mono_between(struct sp_mono a, struct sp_mono b) {
  return b.ns - a.ns;
}

void sp_wall_text(struct sp_wall t, char out_text[SP_WALL_TEXT]) {
  time_t seconds = (time_t)(t.ns / SP_NS_PER_S);
  int ms = (int)(t.ns % SP_NS_PER_S / 1000000);
  struct tm utc;
  char text[24];
  if (t.ns < 0 || !gmtime_r(&seconds, &utc) ||
      strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc) == 0) {
    snprintf(out_text, SP_WALL_TEXT, "?");
  } else {
    snprintf(out_text, SP_WALL_TEXT, "%s.%03dZ", text, ms);
  }
}

void sp_wall_text_ns(struct sp_wall t, char out_text[SP_WALL_TEXT]) {
  time_t seconds = (time_t)(t.ns / SP_NS_PER_S);
  int ns = (int)(t.ns % SP_NS_PER_S);
  struct tm utc;
  char text[20];
  if (t.ns < 0 || !gmtime_r(&seconds, &utc) ||
      strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc) == 0) {
    snprintf(out_text, SP_WALL_TEXT, "?");
  } else {
    snprintf(out_text, SP_WALL_TEXT, "%s.%09dZ", text, ns);
  }
}

sp_status sp_wall_parse_ns(const char *text, struct sp_wall *out_t) {
  struct tm utc = {0};
  char again[SP_WALL_TEXT];
  int ns;
  if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%9dZ", &utc.tm_year, &utc.tm_mon, &utc.tm_mday,
             &utc.tm_hour, &utc.tm_min, &utc.tm_sec, &ns) != 7 ||
      utc.tm_year < 1970 || utc.tm_year > 2261) {
    return SP_EINVAL;
  }
  utc.tm_year -= 1900;
  utc.tm_mon -= 1;
  struct sp_wall t = {(int64_t)timegm(&utc) * SP_NS_PER_S + ns};
  sp_wall_text_ns(t, again);
  if (strcmp(text, again) != 0) {
    return SP_EINVAL;
  }
  *out_t = t;
  return SP_OK;
}

static const struct sp_manual_clock *manual_of(const struct sp_clock *clock) {
  const char *base = (const char *)clock - offsetof(struct sp_manual_clock, clock);
  return (const struct sp_manual_clock *)(const void *)base;
}

static struct sp_mono manual_mono(const struct sp_clock *clock) {
  return manual_of(clock)->mono;
}

static struct sp_wall manual_wall(const struct sp_clock *clock) {
  return manual_of(clock)->wall;
}

void sp_manual_clock_init(struct sp_manual_clock *c) {
  *c = (struct sp_manual_clock){.clock = {manual_mono, manual_wall}};
}

void sp_manual_clock_advance(struct sp_manual_clock *c, int64_t ns) {
  c->mono.ns += ns;
  c->wall.ns += ns;
}
