/* Trials up and down from where it stands: see tuner.h. */
#include "engine/exec/tuner.h"

enum {
  SETTLE = 2, /* steps until caches know the new number */
  TRIAL = 8,  /* with these */
  REST = 4000,
  LONG_NS = 20000000,
  WIN = 20 /* a twentieth */
};

static void begin_trial(struct stk_tuner *t, int threads) {
  t->now = threads;
  t->steps = 0;
  t->least_ns = INT64_MAX;
}

void stk_tuner_init(struct stk_tuner *t, int most) {
  *t = (struct stk_tuner){.most = most, .best = most};
  begin_trial(t, most);
}

static void rest(struct stk_tuner *t) {
  begin_trial(t, t->best);
  t->rests = REST;
  t->direction = 0;
  t->has_moved = false;
}

static int neighbour(const struct stk_tuner *t, int direction) {
  const int twice = 2 * t->best < t->most ? 2 * t->best : t->most;
  return direction < 0 ? (t->best + 1) / 2 : twice;
}

static void try_next(struct stk_tuner *t, int direction);

/* Nothing more is won this way: doubling is tried where halving won nothing at all. */
static void turn(struct stk_tuner *t) {
  if (t->direction < 0 && !t->has_moved && neighbour(t, 1) != t->best) {
    try_next(t, 1);
  } else {
    rest(t);
  }
}

static void try_next(struct stk_tuner *t, int direction) {
  t->direction = direction;
  if (neighbour(t, direction) != t->best) {
    begin_trial(t, neighbour(t, direction));
  } else {
    turn(t);
  }
}

static void judge(struct stk_tuner *t) {
  if (t->direction == 0) {
    t->best_ns = t->least_ns;
    if (t->best == t->most && t->best_ns > LONG_NS) {
      rest(t);
    } else {
      try_next(t, -1);
    }
  } else if (t->least_ns < t->best_ns - t->best_ns / WIN) {
    t->best = t->now;
    t->best_ns = t->least_ns;
    t->has_moved = true;
    try_next(t, t->direction);
  } else {
    turn(t);
  }
}

void stk_tuner_took(struct stk_tuner *t, int64_t ns) {
  if (t->most < 2) {
    return;
  }
  if (t->rests > 0) {
    t->rests--;
    return;
  }
  t->steps++;
  if (t->steps > SETTLE && ns < t->least_ns) {
    t->least_ns = ns;
  }
  if (t->steps == SETTLE + TRIAL) {
    judge(t);
  }
}
