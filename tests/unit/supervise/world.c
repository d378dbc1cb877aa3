/* The model. One array of processes, one of events to come; time jumps from one to the next. */
#include "tests/unit/supervise/world.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/supervise/drive.h"

#define US INT64_C(1000)
#define MS (1000 * US)
#define S (1000 * MS)

enum { MAX_PROCS = 3000, MAX_COMING = 4096, NOBODY = -1 };

struct process {
  uint32_t proc;
  sw_role role;
  int rank;
  uint32_t generation;
  int64_t pid, stream_ns; /* its stream's newest message arrives then */
  int64_t inbox_ns;       /* and the newest to it */
  bool lives, reaped, is_stopped, is_stuck, is_inside, has_failed, was_told_to_quit;
  bool was_killed;
};

enum coming_kind {
  DELIVER, /* ev goes to the core */
  FORK,    /* the zygote `who` takes a request */
  PREPARE, /* a rank is ready */
  LEAVE,
  QUIT,
  WORK, /* a persister is through */
  TICK, /* the ranks may have finished a step */
  WATCH,
  FAULT,
};

struct coming {
  int64_t due_ns;
  uint64_t order;
  enum coming_kind kind;
  int who;
  struct sw_action asked;
  struct sw_event ev;
};

struct world {
  uint64_t random;
  enum world_mode mode;
  struct sw_core core;
  struct sw_actions out;
  struct world_report *report;
  int64_t now_ns, faults_end_ns, wake_ns;
  struct process all[MAX_PROCS];
  int n_all;
  struct coming coming[MAX_COMING];
  int n_coming;
  uint64_t n_queued;
  /* the group page */
  uint32_t open, durable;
  int n_open;
  bool abort, ask_leave, ask_finish, finished;
  uint64_t commits, last_commit_ns;
  int64_t step, bad_step, last_step;
  uint64_t order, acked;
  int attempts, failures, opens; /* since the last commit */
  bool publishing, receipt, killed_all, ended, expect_error;
  int n_stops, lanes;
};

/* ---- chance */

static uint64_t draw(struct world *w) {
  uint64_t z = (w->random += UINT64_C(0x9E3779B97F4A7C15));
  z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
  return z ^ (z >> 31);
}

static int64_t between(struct world *w, int64_t lo, int64_t hi) {
  return lo + (int64_t)(draw(w) % (uint64_t)(hi - lo + 1));
}

static bool one_in(struct world *w, int n) {
  return draw(w) % (uint64_t)n == 0;
}

static int64_t soon(struct world *w) {
  return one_in(w, 8) ? between(w, 1 * MS, 20 * MS) : between(w, 20 * US, 1 * MS);
}

/* ---- the report */

static char *story_line(struct world *w) {
  return w->report->story[w->report->n_story++ % 64];
}

static void violated(struct world *w, const char *what) {
  if (!w->report->violation) {
    w->report->violation = what;
    snprintf(story_line(w), 160, "%9.3f ms  VIOLATION: %s", (double)w->now_ns / 1e6, what);
  }
}

void world_print(const struct world_report *r) {
  unsigned from = r->n_story > 64 ? r->n_story - 64 : 0;
  for (unsigned i = from; i < r->n_story; i++) {
    print_message("%s\n", r->story[i % 64]);
  }
}

/* ---- the queue */

static struct coming *queue(struct world *w, enum coming_kind kind, int who, int64_t after_ns) {
  if (w->n_coming == MAX_COMING) {
    violated(w, "the model's queue is full");
    w->n_coming--;
  }
  struct coming *c = &w->coming[w->n_coming++];
  *c = (struct coming){
      .due_ns = w->now_ns + after_ns, .order = w->n_queued++, .kind = kind, .who = who};
  return c;
}

/* On a process's stream: in order. */
static void say(struct world *w, int who, struct sw_event ev) {
  struct process *p = &w->all[who];
  struct coming *c = queue(w, DELIVER, NOBODY, soon(w));
  c->due_ns = c->due_ns > p->stream_ns ? c->due_ns : p->stream_ns;
  p->stream_ns = c->due_ns;
  c->ev = ev;
}

static void deliver(struct world *w, struct sw_event ev, int64_t after_ns) {
  queue(w, DELIVER, NOBODY, after_ns)->ev = ev;
}

/* To a process: in order. */
static struct coming *tell(struct world *w, enum coming_kind kind, int who) {
  struct coming *c = queue(w, kind, who, soon(w));
  if (who != NOBODY) {
    struct process *p = &w->all[who];
    c->due_ns = c->due_ns > p->inbox_ns ? c->due_ns : p->inbox_ns;
    p->inbox_ns = c->due_ns;
  }
  return c;
}

/* ---- processes */

static int live(const struct world *w, sw_role role, int rank) {
  for (int i = w->n_all; i-- > 0;) {
    const struct process *p = &w->all[i];
    if (p->lives && p->role == role && (role != SW_ROLE_RANK || p->rank == rank)) {
      return i;
    }
  }
  return NOBODY;
}

static int process_of(const struct world *w, uint32_t proc) {
  for (int i = w->n_all; i-- > 0;) {
    if (w->all[i].proc == proc) {
      return i;
    }
  }
  return NOBODY;
}

static int add_process(struct world *w, const struct sw_action *a, sw_role role) {
  if (w->n_all == MAX_PROCS) {
    violated(w, "the model's table of processes is full");
    w->n_all--;
  }
  struct process *p = &w->all[w->n_all];
  *p = (struct process){.proc = a->proc,
                        .role = role,
                        .rank = a->rank,
                        .generation = a->generation,
                        .pid = 1000 + w->n_all,
                        .lives = true};
  return w->n_all++;
}

static void dies(struct world *w, int who, int wait_status) {
  struct process *p = &w->all[who];
  if (!p->lives) {
    return;
  }
  p->lives = p->is_inside = false;
  w->report->n_deaths++;
  say(w, who, (struct sw_event){.kind = SW_EV_EOF, .proc = p->proc});
  /* A driver that is well behaved has read the stream to its end before. */
  int64_t after = w->mode == WORLD_CALM ? p->stream_ns - w->now_ns : soon(w);
  deliver(w, (struct sw_event){.kind = SW_EV_EXIT, .pid = p->pid, .wait_status = wait_status},
          after);
}

static int random_death(struct world *w) {
  static const int statuses[] = {SIGKILL, SIGKILL, SIGSEGV, SIGABRT, SIGBUS, 0, 1 << 8, 3 << 8};
  return statuses[draw(w) % (sizeof statuses / sizeof *statuses)];
}

/* ---- what processes do */

static sw_role role_of_fork(sw_action_kind kind) {
  return kind == SW_DO_FORK_RANK    ? SW_ROLE_RANK
         : kind == SW_DO_FORK_SPARE ? SW_ROLE_SPARE
                                    : SW_ROLE_PERSISTER;
}

static void fork_happens(struct world *w, const struct coming *c) {
  const struct sw_action *a = &c->asked;
  if (c->who == NOBODY || !w->all[c->who].lives) { /* the stream that went with it is closed */
    deliver(w, (struct sw_event){.kind = SW_EV_EOF, .proc = a->proc}, soon(w));
    return;
  }
  if (w->mode != WORLD_CALM && one_in(w, 200) && w->now_ns < w->faults_end_ns) {
    say(w, c->who, (struct sw_event){.kind = SW_EV_FAILED, .proc = a->proc, .status = SP_ENOMEM});
    return;
  }
  sw_role role = role_of_fork(a->kind);
  if (live(w, role, a->rank) != NOBODY) {
    violated(w, "two live processes for one place");
  }
  int who = add_process(w, a, role);
  int64_t pid = w->all[who].pid;
  struct sw_event hello = {.kind = SW_EV_PID, .proc = a->proc, .pid = pid};
  say(w, who, hello);
  bool has_fault = w->mode != WORLD_CALM && w->now_ns < w->faults_end_ns;
  if (has_fault && one_in(w, 60)) {
    dies(w, c->who, SIGKILL); /* the zygote, before it could answer */
  } else {
    say(w, c->who, hello);
  }
  w->all[who].inbox_ns =
      w->now_ns + (role == SW_ROLE_PERSISTER ? 20 * MS : between(w, 500 * US, 5 * MS));
  if (role != SW_ROLE_SPARE) {
    tell(w, role == SW_ROLE_RANK ? PREPARE : WORK, who)->asked = *a;
  }
}

static void prepared(struct world *w, const struct coming *c) {
  struct process *p = &w->all[c->who];
  p->generation = c->asked.generation;
  say(w, c->who,
      (struct sw_event){.kind = SW_EV_READY, .proc = p->proc, .generation = p->generation});
}

static void leaves(struct world *w, int who) {
  struct process *p = &w->all[who];
  if (p->is_inside) {
    p->is_inside = false;
    say(w, who,
        (struct sw_event){.kind = SW_EV_LEFT, .proc = p->proc, .generation = p->generation});
  }
}

static void persister_works(struct world *w, int who) {
  struct process *p = &w->all[who];
  bool fails = w->now_ns < w->faults_end_ns && w->mode == WORLD_DISK && one_in(w, 3);
  if (fails) {
    say(w, who,
        (struct sw_event){
            .kind = SW_EV_FAILED, .proc = p->proc, .status = SP_ENOSPC, .text = "no space left"});
    dies(w, who, 1 << 8);
    return;
  }
  say(w, who, (struct sw_event){.kind = SW_EV_RECEIPT, .proc = p->proc});
  if (one_in(w, 4)) {
    dies(w, who, SIGKILL); /* too late to matter */
  } else {
    queue(w, QUIT, who, soon(w));
  }
}

/* The rank's processes that the open generation consists of; false when one is missing. */
static bool all_inside(const struct world *w) {
  for (int r = 0; r < w->n_open; r++) {
    int who = live(w, SW_ROLE_RANK, r);
    const struct process *p = who == NOBODY ? NULL : &w->all[who];
    if (!p || !p->is_inside || p->is_stopped || p->is_stuck || p->has_failed) {
      return false;
    }
  }
  return w->open != 0 && !w->abort;
}

static void a_step_edge(struct world *w) {
  int lead = live(w, SW_ROLE_RANK, 0);
  if (w->step == w->bad_step && w->mode == WORLD_POISON) {
    dies(w, live(w, SW_ROLE_RANK, (int)between(w, 0, w->n_open - 1)), SIGSEGV);
    return;
  }
  if (w->step == w->bad_step && w->mode == WORLD_ERROR) {
    int who = live(w, SW_ROLE_RANK, (int)between(w, 0, w->n_open - 1));
    w->all[who].has_failed = w->expect_error = true;
    say(w, who,
        (struct sw_event){.kind = SW_EV_FAILED,
                          .proc = w->all[who].proc,
                          .status = SP_ENUMERIC,
                          .text = "loss is nan"});
    w->all[who].is_stuck = one_in(w, 2);
    w->bad_step = -1;
    return;
  }
  w->commits++;
  w->step++;
  w->failures = w->opens = 0;
  bool over = w->step >= w->last_step || w->ask_finish;
  if (w->order == w->acked && (over || one_in(w, 12))) {
    w->order++;
    w->attempts = 0;
    deliver(w, (struct sw_event){.kind = SW_EV_ORDER, .order = w->order, .slot = 1}, 0);
    deliver(w, (struct sw_event){.kind = SW_EV_ORDER, .order = w->order, .slot = 1}, soon(w));
  }
  deliver(w, (struct sw_event){.kind = SW_EV_PROGRESS}, 0);
  if (over) {
    w->finished = true;
    say(w, lead,
        (struct sw_event){.kind = SW_EV_FINISHED,
                          .proc = w->all[lead].proc,
                          .status = w->ask_finish ? SP_ECANCELED : SP_OK});
  } else if (w->ask_leave) {
    w->ask_leave = false;
    leaves(w, lead);
  }
}

static void tick(struct world *w) {
  if (!w->finished && all_inside(w)) {
    a_step_edge(w);
    w->last_commit_ns = (uint64_t)w->now_ns;
  } else if (w->finished && w->open && !w->abort && all_inside(w) && one_in(w, 4)) {
    int lead = live(w, SW_ROLE_RANK, 0); /* a new lead finds the end committed */
    say(w, lead, (struct sw_event){.kind = SW_EV_FINISHED, .proc = w->all[lead].proc});
  }
  queue(w, TICK, NOBODY, between(w, 3 * MS, 8 * MS));
}

/* Who is no rank is looked at every second or so. */
static void watch_others(struct world *w) {
  static const sw_role roles[] = {SW_ROLE_ZYGOTE, SW_ROLE_PERSISTER, SW_ROLE_SPARE};
  for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
    int who = live(w, roles[i], 0);
    if (who != NOBODY && w->all[who].is_stopped && one_in(w, 5)) {
      w->report->n_hangs++;
      deliver(w,
              (struct sw_event){.kind = SW_EV_HANG,
                                .rank = -1,
                                .proc = w->all[who].proc,
                                .cause_kind = SW_CAUSE_STOPPED,
                                .text = "was stopped"},
              0);
    }
  }
}

static void watch(struct world *w) {
  bool stalls =
      w->open && !w->abort && !w->finished && w->now_ns - (int64_t)w->last_commit_ns > 1 * S;
  for (int r = 0; r < w->n_open; r++) {
    int who = live(w, SW_ROLE_RANK, r);
    const struct process *p = who == NOBODY ? NULL : &w->all[who];
    if (p && (p->is_stopped || (stalls && p->is_stuck))) {
      w->report->n_hangs++;
      w->failures += p->is_inside && !w->abort;
      deliver(w,
              (struct sw_event){.kind = SW_EV_HANG,
                                .rank = r,
                                .cause_kind = p->is_stopped ? SW_CAUSE_STOPPED : SW_CAUSE_HANG,
                                .text = "made no progress"},
              0);
      break;
    }
  }
  watch_others(w);
  queue(w, WATCH, NOBODY, 200 * MS);
}

/* ---- faults */

static void hit(struct world *w, int who) {
  if (who == NOBODY) {
    return;
  }
  struct process *p = &w->all[who];
  int64_t how = between(w, 0, 9);
  if (how == 0) {
    p->is_stopped = true;
  } else if (how == 1) {
    p->is_stopped = false; /* SIGCONT */
    p->is_stuck = p->role == SW_ROLE_RANK;
  } else {
    /* A zygote that ends by itself before it was ever up is an error of the start. */
    bool mild = p->role == SW_ROLE_ZYGOTE && !w->core.zygote_was_up;
    dies(w, who, mild ? SIGKILL : random_death(w));
  }
}

static int random_process(struct world *w) {
  int64_t which = between(w, 0, 10);
  return which < 7    ? live(w, SW_ROLE_RANK, (int)between(w, 0, w->lanes - 1))
         : which < 9  ? live(w, SW_ROLE_ZYGOTE, 0)
         : which < 10 ? live(w, SW_ROLE_PERSISTER, 0)
                      : live(w, SW_ROLE_SPARE, 0);
}

static void burst(struct world *w) {
  switch (between(w, 0, 3)) {
    case 0:
      for (int r = 0; r < w->lanes; r++) {
        int who = live(w, SW_ROLE_RANK, r);
        if (who != NOBODY) {
          dies(w, who, SIGKILL);
        }
      }
      break;
    case 1:
      hit(w, live(w, SW_ROLE_ZYGOTE, 0));
      hit(w, random_process(w));
      break;
    case 2: {
      struct coming *c = queue(w, FAULT, NOBODY, between(w, 0, 5 * MS));
      c->who = 0; /* a single one, which brings no other */
      hit(w, random_process(w));
      break;
    }
    default:
      deliver(w, (struct sw_event){.kind = SW_EV_EXIT, .pid = 900000 + w->n_all}, 0);
      hit(w, random_process(w));
  }
}

static void ask_stop(struct world *w) {
  bool is_signal = w->n_stops > 0 || one_in(w, 2);
  w->n_stops++;
  deliver(w, (struct sw_event){.kind = is_signal ? SW_EV_STOP : SW_EV_CLIENT_GONE}, 0);
}

static void fault(struct world *w, const struct coming *c) {
  if (w->now_ns > w->faults_end_ns) {
    if (w->mode == WORLD_STOP) {
      ask_stop(w);
      if (w->n_stops < 2 && one_in(w, 2)) {
        queue(w, FAULT, NOBODY, between(w, 0, 30 * MS));
      }
    }
    return;
  }
  if (c->who == 0) {
    hit(w, random_process(w));
    return;
  }
  if (w->mode == WORLD_STORM) {
    burst(w);
  } else if (w->mode == WORLD_SCALE && one_in(w, 2)) {
    deliver(w, (struct sw_event){.kind = SW_EV_SCALE, .n_ranks = (int)between(w, 0, w->lanes + 1)},
            0);
  } else if (w->mode == WORLD_DISK) {
    hit(w, one_in(w, 3) ? random_process(w) : live(w, SW_ROLE_PERSISTER, 0));
  } else {
    hit(w, random_process(w));
  }
  queue(w, FAULT, NOBODY, between(w, 1 * MS, w->mode == WORLD_STORM ? 400 * MS : 120 * MS));
}

/* ---- actions */

static void generation_opens(struct world *w, const struct sw_action *a) {
  if (a->generation <= w->open || a->generation > w->durable) {
    violated(w, "a generation opens that is not newer, or not durable");
  }
  for (int i = 0; i < w->n_all; i++) {
    const struct process *p = &w->all[i];
    if (p->lives && p->role == SW_ROLE_RANK && (p->is_inside || p->rank >= a->n_ranks)) {
      violated(w, "a generation opens while a process of the old one lives and has not left");
    }
  }
  w->open = a->generation;
  w->n_open = a->n_ranks;
  w->abort = w->ask_leave = w->ask_finish = false;
  w->last_commit_ns = (uint64_t)w->now_ns;
  if (++w->opens > 4) {
    violated(w, "more than three restarts without a commit");
  }
  w->report->n_opened++;
  for (int r = 0; r < a->n_ranks; r++) {
    int who = live(w, SW_ROLE_RANK, r);
    if (who != NOBODY) {
      w->all[who].is_inside = true;
      if (w->all[who].generation != a->generation) {
        violated(w, "a rank was not prepared for the generation that opens");
      }
    }
  }
}

static void abort_is_set(struct world *w) {
  w->abort = true;
  for (int r = 0; r < w->n_open; r++) {
    int who = live(w, SW_ROLE_RANK, r);
    if (who != NOBODY && w->all[who].is_inside) {
      queue(w, LEAVE, who, one_in(w, 20) ? between(w, 10 * MS, 1500 * MS) : soon(w));
    }
  }
}

static void is_killed(struct world *w, const struct sw_action *a) {
  int who = process_of(w, a->proc);
  if (who == NOBODY || w->all[who].pid != a->pid) {
    violated(w, "SIGKILL to a pid that is not the process's");
    return;
  }
  struct process *p = &w->all[who];
  if (p->reaped || p->was_killed) {
    violated(w, "SIGKILL to a pid that was reaped, or was sent one already");
  }
  p->was_killed = true;
  bool sick = p->is_stopped || p->is_stuck || p->has_failed || !p->lives;
  if (p->role == SW_ROLE_RANK && !sick && !w->killed_all && w->n_stops < 2) {
    violated(w, "SIGKILL to a rank that did nothing wrong");
  }
  dies(w, who, SIGKILL);
}

static void unknown_are_killed(struct world *w) {
  w->report->n_unknown++;
  for (int i = 0; i < w->n_all; i++) {
    if (w->all[i].lives && !sw_core_knows(&w->core, w->all[i].pid)) {
      dies(w, i, SIGKILL);
    }
  }
}

static void zygote_starts(struct world *w, const struct sw_action *a) {
  if (live(w, SW_ROLE_ZYGOTE, 0) != NOBODY) {
    violated(w, "two zygotes");
  }
  int who = add_process(w, a, SW_ROLE_ZYGOTE);
  deliver(w, (struct sw_event){.kind = SW_EV_PID, .proc = a->proc, .pid = w->all[who].pid}, 0);
  w->all[who].stream_ns = w->now_ns + between(w, 5 * MS, 50 * MS);
  say(w, who, (struct sw_event){.kind = SW_EV_UP, .proc = a->proc});
}

static void order_is_acked(struct world *w, const struct sw_action *a) {
  if (a->order != w->acked + 1) {
    violated(w, "an order is acknowledged twice, or out of order");
  }
  if (a->status == SP_OK && !w->receipt) {
    violated(w, "an order is acknowledged that was not published");
  }
  w->acked = a->order;
  w->receipt = false;
  w->report->n_acked++;
  w->report->n_failed_orders += a->status != SP_OK;
}

static void is_published(struct world *w, const struct sw_action *a) {
  if (w->publishing) {
    violated(w, "two publications at a time");
  }
  bool fails = w->mode == WORLD_DISK && w->now_ns < w->faults_end_ns && one_in(w, 4);
  w->publishing = true;
  deliver(w,
          (struct sw_event){
              .kind = SW_EV_PUBLISHED, .order = a->order, .status = fails ? SP_EIO : SP_OK},
          soon(w));
}

static void ends(struct world *w, const struct sw_action *a) {
  w->ended = true;
  w->report->end = a->end;
  w->report->status = a->status;
  for (int i = 0; i < w->n_all; i++) {
    if (w->all[i].lives || !w->all[i].reaped) {
      violated(w, "a process lives, or is a zombie, at the end");
    }
  }
  if (w->order != w->acked) {
    violated(w, "an order was not acknowledged before the end");
  }
}

static void write_generation(struct world *w, const struct sw_action *a) {
  bool fails = w->mode == WORLD_DISK && w->open && w->now_ns < w->faults_end_ns && one_in(w, 3);
  if (a->generation <= w->durable) {
    violated(w, "a generation number is used again");
  }
  deliver(
      w,
      (struct sw_event){
          .kind = SW_EV_WRITTEN, .generation = a->generation, .status = fails ? SP_ENOSPC : SP_OK},
      soon(w));
}

static void fork_is_asked(struct world *w, const struct sw_action *a) {
  if (a->generation > w->durable) {
    violated(w, "a process is forked for a generation that is not durable");
  }
  if (a->kind == SW_DO_FORK_PERSISTER && ++w->attempts > 3) {
    violated(w, "an order is tried more than three times");
  }
  queue(w, FORK, live(w, SW_ROLE_ZYGOTE, 0), soon(w))->asked = *a;
}

static void becomes_rank(struct world *w, int who, int rank) {
  if (live(w, SW_ROLE_RANK, rank) != NOBODY) {
    violated(w, "the spare takes the place of a rank that lives");
  }
  w->all[who].role = SW_ROLE_RANK;
  w->all[who].rank = rank;
  w->report->n_spares++;
}

static void carry_out(struct world *w, const struct sw_action *a) {
  int who = a->proc ? process_of(w, a->proc) : NOBODY;
  switch (a->kind) {
    case SW_DO_WRITE_GENERATION:
      write_generation(w, a);
      break;
    case SW_DO_START_ZYGOTE:
      zygote_starts(w, a);
      break;
    case SW_DO_FORK_RANK:
    case SW_DO_FORK_SPARE:
    case SW_DO_FORK_PERSISTER:
      fork_is_asked(w, a);
      break;
    case SW_DO_JOIN:
      if (who != NOBODY && w->all[who].is_inside) {
        violated(w, "a rank is told to join before it has left");
      }
      if (a->generation > w->durable) {
        violated(w, "a rank is told to join a generation that is not durable");
      }
      if (who != NOBODY && w->all[who].role == SW_ROLE_SPARE) {
        becomes_rank(w, who, (int)a->rank);
      }
      tell(w, PREPARE, who)->asked = *a;
      break;
    case SW_DO_ABORT:
      abort_is_set(w);
      break;
    case SW_DO_OPEN:
      generation_opens(w, a);
      break;
    case SW_DO_ASK_FINISH:
      w->ask_finish = true;
      break;
    case SW_DO_ASK_LEAVE:
      w->ask_leave = true;
      break;
    case SW_DO_QUIT:
      tell(w, QUIT, who);
      break;
    case SW_DO_KILL:
      is_killed(w, a);
      break;
    case SW_DO_KILL_UNKNOWN:
      unknown_are_killed(w);
      break;
    case SW_DO_PUBLISH:
      is_published(w, a);
      break;
    case SW_DO_ACK_ORDER:
      order_is_acked(w, a);
      break;
    case SW_DO_END:
      ends(w, a);
      break;
    case SW_DO_TELL:
      w->report->n_scaled += a->tell == SW_TELL_SCALING;
      break;
    case SW_DO_ANSWER:
      break;
  }
}

/* ---- the loop */

static void note_event(struct world *w, const struct sw_event *e) {
  static const char *const names[] = {[SW_EV_START] = "start",
                                      [SW_EV_TIMER] = "timer",
                                      [SW_EV_PROGRESS] = "progress",
                                      [SW_EV_PID] = "pid",
                                      [SW_EV_FAILED] = "failed",
                                      [SW_EV_EOF] = "eof",
                                      [SW_EV_EXIT] = "exit",
                                      [SW_EV_WRITTEN] = "written",
                                      [SW_EV_UP] = "up",
                                      [SW_EV_READY] = "ready",
                                      [SW_EV_LEFT] = "left",
                                      [SW_EV_FINISHED] = "finished",
                                      [SW_EV_HANG] = "hang",
                                      [SW_EV_ALIVE] = "alive",
                                      [SW_EV_ORDER] = "order",
                                      [SW_EV_RECEIPT] = "receipt",
                                      [SW_EV_PUBLISHED] = "published",
                                      [SW_EV_STOP] = "stop",
                                      [SW_EV_CLIENT_GONE] = "client-gone",
                                      [SW_EV_SCALE] = "scale"};
  snprintf(story_line(w), 160, "%9.3f ms  %s #%u pid %lld g%u r%d n%d status %d/%d commits %llu",
           (double)w->now_ns / 1e6, names[e->kind], e->proc, (long long)e->pid, e->generation,
           (int)e->rank, (int)e->n_ranks, (int)e->status, e->wait_status,
           (unsigned long long)w->commits);
}

/* What the world must know of an event before the core does. */
static void account(struct world *w, const struct sw_event *e) {
  for (int i = 0; i < w->n_all && e->kind == SW_EV_EXIT; i++) {
    struct process *p = &w->all[i];
    if (p->pid == e->pid) {
      p->reaped = true;
      w->failures +=
          p->role != SW_ROLE_PERSISTER && p->role != SW_ROLE_SPARE && !p->was_told_to_quit;
    }
  }
  w->failures += e->kind == SW_EV_FAILED;
  if (e->kind == SW_EV_EOF && process_of(w, e->proc) == NOBODY) {
    w->failures++; /* a fork that never happened */
  }
  if (e->kind == SW_EV_WRITTEN && e->status == SP_OK) {
    w->durable = e->generation;
  }
  if (e->kind == SW_EV_PUBLISHED) {
    w->publishing = false;
    w->receipt = e->status == SP_OK;
  }
}

static void feed(struct world *w, struct sw_event ev) {
  ev.now_ns = w->now_ns;
  ev.commits = w->commits;
  ev.step = w->step;
  if (ev.kind != SW_EV_PROGRESS) {
    note_event(w, &ev);
  }
  account(w, &ev);
  w->killed_all = w->core.kill_all;
  int strays = w->core.n_strays;
  sw_core_step(&w->core, &ev, &w->out);
  w->killed_all = w->core.kill_all;
  w->report->n_strays += w->core.n_strays > strays;
  w->wake_ns = w->out.wake_ns;
  for (size_t i = 0; i < w->out.n; i++) {
    char *line = story_line(w);
    snprintf(line, 160, "                 ");
    drive_print_action(&w->out.at[i], line + 17, 140);
    carry_out(w, &w->out.at[i]);
  }
  const char *broken = sw_core_check(&w->core);
  if (broken) {
    violated(w, broken);
  }
}

static void happen(struct world *w, const struct coming *c) {
  bool is_own = c->kind == PREPARE || c->kind == LEAVE || c->kind == QUIT || c->kind == WORK;
  struct process *p = c->who == NOBODY ? NULL : &w->all[c->who];
  bool is_still = (is_own || c->kind == FORK) && p && p->lives && p->is_stopped;
  bool is_deaf = p && p->is_stuck && (c->kind == LEAVE || c->kind == QUIT);
  if (is_still) {
    struct coming again = *c;
    struct coming *later = queue(w, c->kind, c->who, 50 * MS);
    later->asked = again.asked;
    return;
  }
  if (is_own && (!p || !p->lives || is_deaf)) {
    return;
  }
  switch (c->kind) {
    case DELIVER:
      feed(w, c->ev);
      break;
    case FORK:
      fork_happens(w, c);
      break;
    case PREPARE:
      prepared(w, c);
      break;
    case LEAVE:
      leaves(w, c->who);
      break;
    case QUIT:
      p->was_told_to_quit = true;
      dies(w, c->who, 0);
      break;
    case WORK:
      persister_works(w, c->who);
      break;
    case TICK:
      tick(w);
      break;
    case WATCH:
      watch(w);
      break;
    case FAULT:
      fault(w, c);
      break;
  }
}

static int earliest(const struct world *w) {
  int best = 0;
  for (int i = 1; i < w->n_coming; i++) {
    const struct coming *a = &w->coming[i], *b = &w->coming[best];
    if (a->due_ns < b->due_ns || (a->due_ns == b->due_ns && a->order < b->order)) {
      best = i;
    }
  }
  return best;
}

static void judge_end(struct world *w) {
  const struct world_report *r = w->report;
  if (!w->ended) {
    violated(w, "the run neither ended nor went on");
  } else if ((r->end == SW_END_BUDGET && w->failures < 4) ||
             (r->end == SW_END_POISONED && w->failures < 3)) {
    violated(w, "the job was given up too soon");
  } else if (r->end == SW_END_JOB_ERROR && !w->expect_error) {
    violated(w, "an error of the job that there was not");
  } else if (r->end == SW_END_CANCELED && w->n_stops < 2) {
    violated(w, "canceled without a second stop");
  } else if (r->end == SW_END_FINISHED && !w->finished) {
    violated(w, "finished before the lead said so");
  }
}

void world_run(uint64_t seed, enum world_mode mode, struct world_report *r) {
  static struct world world; /* large */
  struct world *w = &world;
  memset(w, 0, sizeof *w);
  memset(r, 0, sizeof *r);
  *w = (struct world){.random = seed * WORLD_MODES + (uint64_t)mode, .mode = mode, .report = r};
  w->lanes = (int)between(w, 1, 6);
  w->last_step = between(w, 20, 300);
  w->bad_step = between(w, 1, w->last_step - 1);
  w->faults_end_ns = mode == WORLD_CALM || mode >= WORLD_POISON ? 0 : between(w, 50 * MS, 6 * S);
  struct sw_core_config config = {.n_lanes = w->lanes,
                                  .n_ranks = (int)between(w, 1, w->lanes),
                                  .persist_ns = 5 * S,
                                  .spare = one_in(w, 2)};
  if (sw_core_init(&w->core, &config, NULL)) {
    violated(w, "the configuration was refused");
  }
  queue(w, TICK, NOBODY, 5 * MS);
  queue(w, WATCH, NOBODY, 200 * MS);
  queue(w, FAULT, NOBODY, mode == WORLD_CALM ? 0 : between(w, 0, 100 * MS));
  feed(w, (struct sw_event){.kind = SW_EV_START});
  while (!w->ended && !r->violation && w->now_ns < 3600 * S) {
    int next = earliest(w);
    if (w->wake_ns < w->coming[next].due_ns) {
      w->now_ns = w->wake_ns;
      feed(w, (struct sw_event){.kind = SW_EV_TIMER});
      continue;
    }
    struct coming c = w->coming[next];
    w->coming[next] = w->coming[--w->n_coming];
    w->now_ns = c.due_ns;
    happen(w, &c);
  }
  judge_end(w);
  r->commits = w->commits;
  r->needed = (uint64_t)w->last_step;
  r->sim_ns = w->now_ns;
}
