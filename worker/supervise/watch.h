/* Who hangs, and who is slow: judged from progress pages, as the supervisor sees them now and then.
 * Pure: time comes with each look, and only its differences count.
 *
 * A rank hangs when its page has not changed for longer than its phase may take, and it is not a
 * wait for somebody else. What a phase may take is learned: five times the median step, or the
 * median of the phase where that is longer, and never under min_ns. When all wait for each other,
 * the one whose barriers do not add up skipped one. A process that the kernel shows as stopped by a
 * signal is named without asking how long its phase may take.
 *
 * The user's own code (hooks, readers) may take long for the first time after thousands of steps,
 * and nothing tells that from an endless loop. So it is named as late as soon as others would be
 * taken for hanging, unless it took half as long before; and it hangs only after a minute, or five
 * times what its phase ever took. Each time that it was given up it gets three times as long: a
 * step that is done again is not given up for the same reason until the job is.
 *
 * Time in which nobody looked (the supervisor itself was starved, the machine slept) is not held
 * against anybody, and a rank that is runnable but gets no CPU is given four times as long; so is
 * everybody when no rank at all is getting on with its work.
 *
 * A rank is a straggler when its work for one lane took at least 1.4 times what the others' median
 * took, over at least eight steps and 0.8 s (less is the scheduler's noise where steps are short),
 * and the step is a fifth longer for it. It is named once, and
 * again only after it has been like the others.
 */
#ifndef SW_SUPERVISE_WATCH_H
#define SW_SUPERVISE_WATCH_H

#include <stdbool.h>
#include <stdint.h>

enum {
  SW_WATCH_RANKS = 64,
  SW_WATCH_PHASES = 16,
  SW_WATCH_SAMPLES = 31, /* that a median is taken of */
  SW_WATCH_TEXT = 256,
};

typedef enum sw_watch_class {
  SW_WATCH_WAIT,  /* for other ranks */
  SW_WATCH_WORK,  /* a part of every step */
  SW_WATCH_READ,  /* a part of every step, and perhaps the user's code: the reader */
  SW_WATCH_OTHER, /* now and then, with a length of its own that is learned (evaluation) */
  SW_WATCH_HOOK,  /* the user's code, now and then */
  SW_WATCH_LONG,  /* may take anything: disks */
} sw_watch_class;

/* One rank as it is now. */
struct sw_watch_rank {
  bool is_there; /* a process; else nothing below is read */
  char state;    /* procfs: 'R', 'S', 'D', 'T', ...; 0: not known */
  sw_watch_class kind;
  uint32_t phase;         /* < SW_WATCH_PHASES */
  const char *phase_text; /* "forward/backward" */
  int32_t n_lanes;        /* that it owns */
  int64_t step;
  uint64_t sequence; /* barriers passed in this generation */
  int64_t beat_ns;   /* of the page: anything that changes when the rank gets on */
  int64_t busy_ns;   /* of the page: time in phases that work, so far */
  int64_t cpu_ns;    /* of the process so far, from the system; -1: not known */
};

typedef enum sw_verdict_kind {
  SW_VERDICT_NONE,
  SW_VERDICT_STRAGGLER,
  SW_VERDICT_LATE, /* named, and given time: READ and HOOK */
  SW_VERDICT_HANG,
  SW_VERDICT_STOPPED,
} sw_verdict_kind;

struct sw_verdict {
  sw_verdict_kind kind;
  int32_t rank;
  double factor;            /* STRAGGLER: slower than the others by this */
  char text[SW_WATCH_TEXT]; /* a half sentence that follows "rank 1 " */
};

struct sw_watch_config { /* 0 stands for the default */
  int64_t period_ns;     /* between looks (100 ms); a longer pause counts as twice this */
  int64_t min_ns;  /* never a hang before (750 ms: with the looks before and after, one second) */
  int64_t warm_ns; /* the same until the first step of a generation is done (10 s) */
  int64_t long_ns; /* before any step was seen, and for LONG phases (10 min) */
  int64_t user_ns;    /* READ and HOOK: what the user's code may take at first (1 min) */
  int64_t stopped_ns; /* a process may be stopped by a signal for so long (500 ms) */
};

struct sw_median {
  int64_t value[SW_WATCH_SAMPLES];
  int32_t n, next;
};

struct sw_watch_seen {
  struct sw_watch_rank page;
  bool known;
  int64_t changed_ns, stopped_ns; /* in watched time; stopped_ns -1: it is not */
  int64_t changed_cpu_ns;
  int64_t from_step, from_busy_ns, from_ns; /* where the straggler's window began */
  bool is_slow, said_slow;
  bool said_late; /* since the last change */
};

struct sw_watch {
  struct sw_watch_config config;
  int32_t n_ranks;         /* of the open generation; 0: none is open */
  int64_t now_ns, last_ns; /* watched time, and the last look's */
  bool looked, is_warm;
  int64_t open_step, step_since_ns; /* the lead's first step here; when its step last changed */
  int64_t n_others; /* sightings of phases that are no part of a step, in the straggler's window */
  struct sw_median step;
  struct sw_median phase[SW_WATCH_PHASES];
  int64_t longest_ns[SW_WATCH_PHASES]; /* seen, of a rank that went on */
  int32_t given_up[SW_WATCH_PHASES];   /* hangs in it so far */
  struct sw_watch_seen ranks[SW_WATCH_RANKS];
};

void sw_watch_init(struct sw_watch *w, const struct sw_watch_config *config);

/* A generation has opened, or (n_ranks 0) is over. What was learned stays. */
void sw_watch_open(struct sw_watch *w, int32_t n_ranks);

/* ranks: SW_WATCH_RANKS pages, or at least n_ranks of the open generation. n: how many there are.
 * Without an open generation only stopped processes are found. One verdict a look, the gravest. */
void sw_watch_look(struct sw_watch *w, int64_t now_ns, const struct sw_watch_rank *ranks, int32_t n,
                   struct sw_verdict *v);

/* A process without a page, looked at every second or so: what it has done so far is a number of
 * bytes (memory that it touched, read and written) that grows while it gets on. */
struct sw_life {
  uint32_t proc; /* that the rest is of */
  int64_t most;  /* bytes so far */
  int64_t now_ns, last_ns, changed_ns; /* watched time, as above; the last look */
  bool was_stopped, said_late;
};

typedef enum sw_life_verdict {
  SW_LIFE_STILL,
  SW_LIFE_GROWS,
  SW_LIFE_LATE,    /* still for a minute: once */
  SW_LIFE_STOPPED, /* by a signal, at two looks in a row */
} sw_life_verdict;

sw_life_verdict sw_watch_life(struct sw_life *l, uint32_t proc, int64_t now_ns, int64_t bytes,
                              bool is_stopped);

/* What a step takes, in nanoseconds; 0: not learned yet. */
int64_t sw_watch_step_ns(const struct sw_watch *w);

#endif
