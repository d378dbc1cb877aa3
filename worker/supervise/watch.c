/* Hangs and stragglers; the rules are in the header. */
#include "worker/supervise/watch.h"

#include <stdio.h>
#include <string.h>

#include "proto/base/strutil.h"

#define MS INT64_C(1000000)
#define LIFE_LOOK_NS (2000 * MS)
#define LIFE_LATE_NS (60000 * MS)

enum {
  HANG_FACTOR = 5,    /* medians */
  WARM_FACTOR = 20,   /* the same for a first step */
  STARVED_FACTOR = 4, /* longer, where the machine may be to blame */
  LATE_FACTOR = 2,    /* the longest of the user's code so far */
  AGAIN_FACTOR = 3,   /* the user's code, after it was given up */
  AGAIN_MOST = 2,
  STARVED_PART = 10, /* runnable, and got less than a tenth of a CPU */
  LEARNED_STEPS = 3,
  WINDOW_STEPS = 8,
  WINDOW_NS = 800000000,
  LIFE_BYTES = 65536, /* that are no fluctuation */
};
static const double slow_factor = 1.4, like_others = 1.25, least_part = 0.2;

void sw_watch_init(struct sw_watch *w, const struct sw_watch_config *config) {
  *w = (struct sw_watch){.config = *config};
  struct sw_watch_config *c = &w->config;
  c->period_ns = c->period_ns > 0 ? c->period_ns : 100 * MS;
  c->min_ns = c->min_ns > 0 ? c->min_ns : 750 * MS;
  c->warm_ns = c->warm_ns > 0 ? c->warm_ns : 10000 * MS;
  c->long_ns = c->long_ns > 0 ? c->long_ns : 600000 * MS;
  c->user_ns = c->user_ns > 0 ? c->user_ns : 60000 * MS;
  c->stopped_ns = c->stopped_ns > 0 ? c->stopped_ns : 500 * MS;
}

void sw_watch_open(struct sw_watch *w, int32_t n_ranks) {
  w->n_ranks = n_ranks;
  w->is_warm = false;
  w->open_step = -1;
  for (int32_t r = 0; r < SW_WATCH_RANKS; r++) {
    w->ranks[r] = (struct sw_watch_seen){.stopped_ns = -1};
  }
}

/* ---- medians */

static void learn(struct sw_median *m, int64_t value) {
  m->value[m->next] = value;
  m->next = (m->next + 1) % SW_WATCH_SAMPLES;
  m->n += m->n < SW_WATCH_SAMPLES;
}

/* Of n values, which are sorted in place; 0 for none. */
static int64_t median_of(int64_t *v, int32_t n) {
  for (int32_t i = 1; i < n; i++) {
    int64_t x = v[i];
    int32_t j = i;
    for (; j > 0 && v[j - 1] > x; j--) {
      v[j] = v[j - 1];
    }
    v[j] = x;
  }
  return n > 0 ? v[n / 2] : 0;
}

static int64_t median(const struct sw_median *m) {
  int64_t sorted[SW_WATCH_SAMPLES];
  memcpy(sorted, m->value, sizeof sorted);
  return median_of(sorted, m->n);
}

int64_t sw_watch_step_ns(const struct sw_watch *w) {
  return w->step.n >= LEARNED_STEPS ? median(&w->step) : 0;
}

static int64_t at_least(int64_t a, int64_t b) {
  return a > b ? a : b;
}

/* ---- what a rank may take */

static bool is_users(const struct sw_watch_rank *p) {
  return p->kind == SW_WATCH_READ || p->kind == SW_WATCH_HOOK;
}

static int64_t allowed_user(const struct sw_watch *w, const struct sw_watch_rank *p) {
  const struct sw_watch_config *c = &w->config;
  int64_t ns = c->user_ns;
  for (int32_t i = 0; i < w->given_up[p->phase] && i < AGAIN_MOST; i++) {
    ns *= AGAIN_FACTOR;
  }
  ns = w->step.n > 0 ? ns : at_least(ns, c->long_ns);
  return at_least(ns, HANG_FACTOR * w->longest_ns[p->phase]);
}

/* 0: no step was seen. Two looks go by in addition: until the last change was seen, and until this
 * is over. */
static int64_t allowed_step(const struct sw_watch *w) {
  const struct sw_watch_config *c = &w->config;
  int64_t step = sw_watch_step_ns(w);
  if (step == 0) {
    return w->step.n > 0 ? at_least(c->warm_ns, WARM_FACTOR * median(&w->step)) : 0;
  }
  return w->is_warm ? at_least(c->min_ns, HANG_FACTOR * step - 2 * c->period_ns)
                    : at_least(c->warm_ns, WARM_FACTOR * step);
}

/* When the user's code is named. */
static int64_t late_ns(const struct sw_watch *w, const struct sw_watch_rank *p) {
  int64_t ns = allowed_step(w);
  return at_least(ns > 0 ? ns : w->config.user_ns, LATE_FACTOR * w->longest_ns[p->phase]);
}

static int64_t allowed(const struct sw_watch *w, const struct sw_watch_rank *p) {
  const struct sw_watch_config *c = &w->config;
  int64_t step = sw_watch_step_ns(w);
  const struct sw_median *m = &w->phase[p->phase];
  bool known = m->n >= LEARNED_STEPS;
  if (is_users(p)) {
    return allowed_user(w, p);
  }
  if (step == 0 && w->step.n > 0 && (p->kind == SW_WATCH_WORK || p->kind == SW_WATCH_WAIT)) {
    return allowed_step(w);
  }
  if (step == 0 || p->kind == SW_WATCH_LONG || (p->kind == SW_WATCH_OTHER && !known)) {
    return at_least(c->long_ns, HANG_FACTOR * median(m));
  }
  int64_t ns = allowed_step(w);
  return known && p->kind != SW_WATCH_WAIT ? at_least(ns, HANG_FACTOR * median(m)) : ns;
}

static int64_t still_ns(const struct sw_watch *w, const struct sw_watch_seen *s) {
  return w->now_ns - s->changed_ns;
}

static bool is_starved(const struct sw_watch *w, const struct sw_watch_seen *s) {
  return s->page.state == 'R' && s->page.cpu_ns >= 0 &&
         s->page.cpu_ns - s->changed_cpu_ns < still_ns(w, s) / STARVED_PART;
}

/* ---- looking */

static void look_at(struct sw_watch *w, int32_t r, const struct sw_watch_rank *now) {
  struct sw_watch_seen *s = &w->ranks[r];
  const struct sw_watch_rank *old = &s->page;
  bool again = s->known && now->is_there;
  bool same = again && old->phase == now->phase && old->step == now->step &&
              old->sequence == now->sequence && old->beat_ns == now->beat_ns;
  if (again && !same && old->kind != SW_WATCH_WAIT) {
    int64_t took = w->now_ns - s->changed_ns;
    learn(&w->phase[old->phase], took);
    w->longest_ns[old->phase] = at_least(w->longest_ns[old->phase], took);
  }
  if (!same) {
    s->said_late = false;
    s->changed_ns = w->now_ns;
    s->changed_cpu_ns = now->cpu_ns;
  }
  if (!again || old->beat_ns == 0) { /* pages are zero until a rank begins */
    s->from_step = now->step;
    s->from_busy_ns = now->busy_ns;
    s->from_ns = w->now_ns;
    s->stopped_ns = again ? s->stopped_ns : -1;
  }
  bool is_stopped = now->is_there && now->state == 'T';
  s->stopped_ns = !is_stopped ? -1 : s->stopped_ns >= 0 ? s->stopped_ns : w->now_ns;
  w->n_others += now->is_there && now->kind >= SW_WATCH_OTHER;
  s->page = *now;
  s->known = now->is_there;
}

/* Learns what a step takes from the lead, whose page was `old` at the last look. */
static void learn_step(struct sw_watch *w, int64_t old_step) {
  const struct sw_watch_rank *lead = &w->ranks[0].page;
  if (w->open_step < 0) {
    w->open_step = lead->beat_ns ? lead->step : -1;
    w->step_since_ns = w->now_ns;
    return;
  }
  if (lead->step <= old_step) {
    return;
  }
  learn(&w->step, (w->now_ns - w->step_since_ns) / (lead->step - old_step));
  w->step_since_ns = w->now_ns;
  w->is_warm = true;
}

/* ---- verdicts */

static const char *name_of(const struct sw_watch_rank *p) {
  return p->phase_text ? p->phase_text : "?";
}

static bool find_stopped(struct sw_watch *w, int32_t n, struct sw_verdict *v) {
  for (int32_t r = 0; r < n; r++) {
    const struct sw_watch_seen *s = &w->ranks[r];
    if (s->known && s->stopped_ns >= 0 && w->now_ns - s->stopped_ns >= w->config.stopped_ns) {
      char since[SP_UNIT_TEXT];
      sp_format_duration(w->now_ns - s->stopped_ns, since);
      *v = (struct sw_verdict){.kind = SW_VERDICT_STOPPED, .rank = r};
      snprintf(v->text, sizeof v->text, "was stopped by a signal for %s (%s, step %lld)", since,
               name_of(&s->page), (long long)s->page.step);
      return true;
    }
  }
  return false;
}

/* Returns how much of v->text it takes. */
static int say_still(const struct sw_watch *w, int32_t r, sw_verdict_kind kind,
                     struct sw_verdict *v) {
  const struct sw_watch_seen *s = &w->ranks[r];
  char since[SP_UNIT_TEXT], step[SP_UNIT_TEXT];
  int64_t cpu = s->page.cpu_ns < 0 ? -1 : s->page.cpu_ns - s->changed_cpu_ns;
  const char *how = cpu < 0                               ? ""
                    : cpu > still_ns(w, s) / 2            ? ", it keeps the CPU busy"
                    : cpu > still_ns(w, s) / STARVED_PART ? ", it uses the CPU"
                    : s->page.state == 'D'                ? ", it waits for a disk or a driver"
                                                          : ", it does not use the CPU";
  sp_format_duration(still_ns(w, s), since);
  sp_format_duration(sw_watch_step_ns(w), step);
  *v = (struct sw_verdict){.kind = kind, .rank = r};
  return snprintf(
      v->text, sizeof v->text, "made no progress for %s in %s at step %lld%s (a step takes %s)",
      since, name_of(&s->page), (long long)s->page.step, how, sw_watch_step_ns(w) ? step : "?");
}

static void say_late(const struct sw_watch *w, int32_t r, struct sw_verdict *v) {
  char most[SP_UNIT_TEXT];
  int n = say_still(w, r, SW_VERDICT_LATE, v);
  sp_format_duration(allowed(w, &w->ranks[r].page), most);
  if (n > 0 && (size_t)n < sizeof v->text) {
    snprintf(v->text + n, sizeof v->text - (size_t)n,
             "; the module's own code is given %s before it is taken for hanging", most);
  }
}

static int64_t place_of(const struct sw_watch_rank *p, int32_t key) {
  return key == 0 ? (int64_t)p->sequence : key == 1 ? -p->step : (int64_t)p->phase;
}

/* The rank that is not where most are; of equals the lowest place. -1: all are in one. */
static int32_t minority(const struct sw_watch *w, int32_t key) {
  int32_t odd = 0, fewest = w->n_ranks;
  for (int32_t r = 0; r < w->n_ranks; r++) {
    int64_t place = place_of(&w->ranks[r].page, key);
    int32_t alike = 0;
    for (int32_t q = 0; q < w->n_ranks; q++) {
      alike += place_of(&w->ranks[q].page, key) == place;
    }
    bool lower = place < place_of(&w->ranks[odd].page, key);
    if (alike < fewest || (alike == fewest && lower)) {
      fewest = alike;
      odd = r;
    }
  }
  return fewest == w->n_ranks ? -1 : odd;
}

/* Who skipped a barrier has passed fewer than the others, or is a step ahead of them, or waits for
 * something else; -1 when nothing tells them apart. */
static int32_t odd_one(const struct sw_watch *w) {
  int32_t odd = -1;
  for (int32_t key = 0; key < 3 && odd < 0; key++) {
    odd = minority(w, key);
  }
  return odd;
}

static void say_skipped(const struct sw_watch *w, int32_t odd, struct sw_verdict *v) {
  int32_t r = odd < 0 ? 0 : odd;
  const struct sw_watch_rank *own = &w->ranks[r].page;
  const struct sw_watch_rank *other = &w->ranks[r == 0 && w->n_ranks > 1 ? 1 : 0].page;
  char since[SP_UNIT_TEXT];
  sp_format_duration(still_ns(w, &w->ranks[r]), since);
  *v = (struct sw_verdict){.kind = SW_VERDICT_HANG, .rank = r};
  snprintf(v->text, sizeof v->text,
           odd >= 0
               ? "has waited for %s in step %lld after %llu barriers (%s), others in step %lld "
                 "after %llu (%s): it skipped one, or took one too many"
               : "waits for %s in step %lld after %llu barriers (%s), as all ranks do",
           since, (long long)own->step, (unsigned long long)own->sequence, name_of(own),
           (long long)other->step, (unsigned long long)other->sequence, name_of(other));
}

static bool find_late(struct sw_watch *w, struct sw_verdict *v) {
  for (int32_t r = 0; r < w->n_ranks; r++) {
    struct sw_watch_seen *s = &w->ranks[r];
    int64_t most = late_ns(w, &s->page) * (is_starved(w, s) ? STARVED_FACTOR : 1);
    if (s->known && is_users(&s->page) && !s->said_late && still_ns(w, s) > most) {
      say_late(w, r, v);
      s->said_late = true;
      return true;
    }
  }
  return false;
}

static bool find_hang(struct sw_watch *w, struct sw_verdict *v) {
  int32_t worst = -1, waiting = 0, overdue = 0, working = 0;
  for (int32_t r = 0; r < w->n_ranks; r++) {
    const struct sw_watch_seen *s = &w->ranks[r];
    if (!s->known) {
      return false; /* it is dead, which others find out */
    }
    bool late = still_ns(w, s) > allowed(w, &s->page) * (is_starved(w, s) ? STARVED_FACTOR : 1);
    bool waits = s->page.kind == SW_WATCH_WAIT;
    waiting += waits && late;
    working += !waits;
    overdue += !waits && late;
    bool worse = worst < 0 || s->changed_ns < w->ranks[worst].changed_ns;
    worst = !waits && late && worse ? r : worst;
  }
  if (worst >= 0) {
    const struct sw_watch_seen *s = &w->ranks[worst];
    bool all = w->n_ranks > 1 && overdue == w->n_ranks;
    if (all && still_ns(w, s) <= STARVED_FACTOR * allowed(w, &s->page)) {
      return false;
    }
    (void)say_still(w, worst, SW_VERDICT_HANG, v);
    w->given_up[s->page.phase]++;
    return true;
  }
  if (working == 0 && waiting == w->n_ranks) {
    say_skipped(w, odd_one(w), v);
    return true;
  }
  return false;
}

/* ---- stragglers */

/* Nanoseconds of work for one lane's part of a step, over the window; 0: nothing to go by. */
static int64_t rate_of(const struct sw_watch_seen *s) {
  int64_t steps = s->page.step - s->from_step;
  int32_t lanes = s->page.n_lanes;
  return steps > 0 && lanes > 0 ? (s->page.busy_ns - s->from_busy_ns) / steps / lanes : 0;
}

static int64_t rate_of_others(const struct sw_watch *w, int32_t r) {
  int64_t rates[SW_WATCH_RANKS];
  int32_t n = 0;
  for (int32_t q = 0; q < w->n_ranks; q++) {
    if (q != r) {
      rates[n++] = rate_of(&w->ranks[q]);
    }
  }
  return median_of(rates, n);
}

static void judge_window(struct sw_watch *w, int32_t r) {
  struct sw_watch_seen *s = &w->ranks[r];
  int64_t own = rate_of(s), others = rate_of_others(w, r);
  int64_t step = (w->now_ns - s->from_ns) / (s->page.step - s->from_step);
  double factor = others > 0 ? (double)own / (double)others : 0;
  double excess = (double)(own - others) * s->page.n_lanes;
  s->is_slow = factor >= slow_factor && excess >= least_part * (double)step;
  s->said_slow = s->said_slow && factor >= like_others;
}

static bool find_straggler(struct sw_watch *w, struct sw_verdict *v) {
  for (int32_t r = 0; r < w->n_ranks; r++) {
    const struct sw_watch_seen *s = &w->ranks[r];
    bool whole = s->page.step - s->from_step >= WINDOW_STEPS && w->now_ns - s->from_ns >= WINDOW_NS;
    bool moves = w->now_ns - s->changed_ns <= 2 * w->config.period_ns; /* else it may be a hang */
    if (w->n_ranks < 2 || !s->known || !whole || !moves) {
      return false;
    }
  }
  int32_t found = -1;
  bool counts = w->n_others == 0;
  w->n_others = 0;
  for (int32_t r = 0; r < w->n_ranks && counts; r++) {
    judge_window(w, r);
    found = w->ranks[r].is_slow && !w->ranks[r].said_slow && found < 0 ? r : found;
  }
  if (found >= 0) {
    struct sw_watch_seen *s = &w->ranks[found];
    *v = (struct sw_verdict){.kind = SW_VERDICT_STRAGGLER, .rank = found};
    v->factor = (double)rate_of(s) / (double)rate_of_others(w, found);
    snprintf(v->text, sizeof v->text,
             "is %.1f times as slow as the others since step %lld, and they wait for it", v->factor,
             (long long)s->from_step);
    s->said_slow = true;
  }
  for (int32_t r = 0; r < w->n_ranks; r++) { /* the next window */
    struct sw_watch_seen *s = &w->ranks[r];
    s->from_step = s->page.step;
    s->from_busy_ns = s->page.busy_ns;
    s->from_ns = w->now_ns;
  }
  return found >= 0;
}

/* ---- processes without a page */

sw_life_verdict sw_watch_life(struct sw_life *l, uint32_t proc, int64_t now_ns, int64_t bytes,
                              bool is_stopped) {
  if (l->proc != proc) {
    *l = (struct sw_life){.proc = proc, .last_ns = now_ns};
  }
  int64_t passed = now_ns - l->last_ns;
  bool again = is_stopped && l->was_stopped;
  l->now_ns += passed < LIFE_LOOK_NS ? passed : LIFE_LOOK_NS;
  l->last_ns = now_ns;
  l->was_stopped = is_stopped;
  if (again) {
    return SW_LIFE_STOPPED;
  }
  if (bytes >= l->most + LIFE_BYTES) {
    l->most = bytes;
    l->changed_ns = l->now_ns;
    l->said_late = false;
    return SW_LIFE_GROWS;
  }
  if (!l->said_late && l->now_ns - l->changed_ns > LIFE_LATE_NS) {
    l->said_late = true;
    return SW_LIFE_LATE;
  }
  return SW_LIFE_STILL;
}

/* ---- */

void sw_watch_look(struct sw_watch *w, int64_t now_ns, const struct sw_watch_rank *ranks, int32_t n,
                   struct sw_verdict *v) {
  int64_t passed = w->looked ? now_ns - w->last_ns : 0;
  int64_t most = 2 * w->config.period_ns;
  w->now_ns += passed < most ? passed : most;
  w->last_ns = now_ns;
  w->looked = true;
  *v = (struct sw_verdict){.kind = SW_VERDICT_NONE, .rank = -1};
  n = n < SW_WATCH_RANKS ? n : SW_WATCH_RANKS;
  int64_t old_step = w->ranks[0].page.step;
  for (int32_t r = 0; r < n; r++) {
    look_at(w, r, &ranks[r]);
  }
  if (w->n_ranks > 0 && n >= w->n_ranks && w->ranks[0].known) {
    learn_step(w, old_step);
  }
  if (find_stopped(w, n, v) || w->n_ranks == 0 || n < w->n_ranks) {
    return;
  }
  if (!find_hang(w, v) && !find_late(w, v)) {
    find_straggler(w, v);
  }
}
