/* Actions, their texts, and when to wake. */
#include "worker/supervise/core_step.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

enum { BACKOFF_FACTOR = 4 };
#define BACKOFF_MAX_NS (INT64_C(30) * 1000000000)

struct sw_action *sw_act(struct sw_step *s, sw_action_kind kind) {
  assert(s->out->n < SW_ACTIONS_MAX);
  struct sw_action *a = &s->out->at[s->out->n++];
  *a = (struct sw_action){.kind = kind, .rank = -1, .text = ""};
  return a;
}

struct sw_action *sw_tell_act(struct sw_step *s, sw_tell tell, const char *text) {
  struct sw_action *a = sw_act(s, SW_DO_TELL);
  a->tell = tell;
  a->generation = s->c->generation;
  a->step = s->c->step;
  a->text = text;
  return a;
}

const char *sw_text(struct sw_step *s, const char *fmt, ...) {
  struct sw_actions *out = s->out;
  size_t left = sizeof out->text - out->n_text;
  if (left < SW_CORE_TEXT) {
    return "";
  }
  char *at = out->text + out->n_text;
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(at, SW_CORE_TEXT, fmt, ap);
  va_end(ap);
  out->n_text += n < 0 ? 1 : n < SW_CORE_TEXT ? (size_t)n + 1 : SW_CORE_TEXT;
  return n < 0 ? "" : at;
}

struct sw_cause *sw_cause_new(struct sw_step *s) {
  size_t last = sizeof s->out->causes / sizeof *s->out->causes - 1;
  struct sw_cause *c = &s->out->causes[s->out->n_causes];
  s->out->n_causes += s->out->n_causes < last;
  return c;
}

int64_t sw_after(int64_t t, int64_t ns) {
  return ns >= SW_NEVER - t ? SW_NEVER : t + ns;
}

int64_t sw_backoff(const struct sw_core *c, int32_t n) {
  int64_t ns = n < 2 ? 0 : c->config.backoff_ns;
  for (int32_t i = 2; i < n && ns < BACKOFF_MAX_NS; i++) {
    ns *= BACKOFF_FACTOR;
  }
  return ns < BACKOFF_MAX_NS ? ns : BACKOFF_MAX_NS;
}

static void earlier(int64_t *wake, int64_t now, int64_t t) {
  *wake = t > now && t < *wake ? t : *wake;
}

int64_t sw_wake(const struct sw_core *c, int64_t now) {
  int64_t wake = SW_NEVER;
  if (c->phase == SW_PHASE_OVER) {
    return wake;
  }
  for (int32_t r = 0; r < SW_RANKS_MAX; r++) {
    if (c->ranks[r].state != SW_PROC_NONE) {
      earlier(&wake, now, c->ranks[r].deadline_ns);
    }
  }
  earlier(&wake, now, c->zygote.state ? c->zygote.deadline_ns : 0);
  earlier(&wake, now, c->persister.state ? c->persister.deadline_ns : 0);
  earlier(&wake, now, c->zygote.state ? 0 : c->zygote_not_before_ns);
  earlier(&wake, now, c->spare.state ? c->spare.deadline_ns : c->spare_not_before_ns);
  earlier(&wake, now, c->n_orders ? c->save_not_before_ns : 0);
  if (c->phase == SW_PHASE_FORMING) {
    earlier(&wake, now, c->not_before_ns);
    earlier(&wake, now, c->written < c->generation ? c->write_not_before_ns : 0);
  }
  return wake;
}
