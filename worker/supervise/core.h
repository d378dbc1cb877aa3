/* The supervisor's decisions: one pure step from an event to actions.
 *
 *   struct sw_core core;
 *   st = sw_core_init(&core, &config, &err);
 *   for (each event e, with its time in it)
 *     sw_core_step(&core, &e, &actions);      carry out actions.at[0..n) in this order, then set
 *                                             the only timer to actions.wake_ns (SW_EV_TIMER)
 *   ... until SW_DO_END
 *
 * No clock, descriptor or process is reached from here; the driver (driver.c) has them all. A step
 * never fails, allocates or blocks. One thread. Times are monotonic nanoseconds, and never go back.
 *
 * Processes. Every process that is asked for has a number of its own, `proc`, never used again. The
 * driver reports what it learns of it:
 *   SW_EV_PID      its process id, from whoever knows first: the spawn, the zygote's answer, or the
 *                  process's own hello; again is harmless
 *   SW_EV_FAILED   an error that it reports itself (before it exits), or that its start failed with
 *   SW_EV_EOF      nobody holds the other end of its stream any more
 *   SW_EV_EXIT     waitpid gave this pid; every pid that is reaped is reported, known or not
 * A pid and its exit may come in either order. Events of a process that is gone are ignored:
 * nothing breaks when its last message comes after its exit, but what it said is lost, so the
 * driver reads a stream to its end before it reports the exit.
 *
 * Generations. A membership of ranks has a number. It is durable (SW_DO_WRITE_GENERATION, answered
 * by SW_EV_WRITTEN) before any process is forked or told for it. Ranks prepare for it without
 * touching the state or each other (they are READY), and it opens when all are, and every process
 * of the one before has left or is reaped. What stands in the slots may be read from SW_DO_OPEN on,
 * not before: survivors of the old generation may commit one more step while replacements prepare.
 *
 *   forming --OPEN--> running --a death, an error, scale--> forming ...
 *      |                 |  lead has finished, job error, budget, second stop
 *      +-----------------+--> ending --SW_DO_END--> over
 *
 * A death while a generation forms is repaired inside it: one change however many die. Survivors
 * are asked to leave (SW_DO_ABORT), then invited (SW_DO_JOIN); only one that misses a deadline is
 * killed.
 *
 * The spare is forked for no rank while a generation runs, and takes the place of the next one that
 * is missing: a death then waits for no fork, and the spare has its memory already. It belongs to
 * no generation until it is told to JOIN; its own death costs nothing but another one, a few times.
 *
 * Orders (checkpoints to save) are served one at a time, in their sequence, from the pinned slot,
 * independently of generations; the slot may be unpinned when the order is acknowledged.
 *
 * Invariants (sw_core_check): at most one process per rank; ranks inside carry the open generation;
 * generation >= written generation >= open one; nothing is forked before it is written; after the
 * end no process lives.
 */
#ifndef SW_SUPERVISE_CORE_H
#define SW_SUPERVISE_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "proto/wire/event.h"
#include "worker/supervise/cause.h"

enum {
  SW_RANKS_MAX = 64,   /* as STK_RANKS_MAX of the group page */
  SW_ORDERS_MAX = 8,   /* orders waiting at a time */
  SW_STRAYS_MAX = 64,  /* exits whose pid nobody has claimed yet */
  SW_CORE_TEXT = 1024, /* longest text of an action */
  SW_ACTIONS_MAX = 4 * SW_RANKS_MAX + 32,
};

#define SW_NEVER INT64_MAX

typedef enum sw_role { SW_ROLE_ZYGOTE, SW_ROLE_RANK, SW_ROLE_PERSISTER, SW_ROLE_SPARE } sw_role;

/* ---- events */

typedef enum sw_event_kind {
  SW_EV_START,    /* first, once */
  SW_EV_TIMER,    /* wake_ns has come */
  SW_EV_PROGRESS, /* nothing but commits and step */

  SW_EV_PID,    /* proc, pid */
  SW_EV_FAILED, /* proc, status, text */
  SW_EV_EOF,    /* proc */
  SW_EV_EXIT,   /* pid, wait_status, oom, text: last words, or NULL */

  SW_EV_WRITTEN,  /* generation, status, text: the answer to WRITE_GENERATION */
  SW_EV_UP,       /* proc: the zygote has loaded everything and takes orders */
  SW_EV_READY,    /* proc, generation: the rank has prepared for it */
  SW_EV_LEFT,     /* proc, generation: the rank is outside of it, and touches nothing */
  SW_EV_FINISHED, /* proc: the lead's loop has ended, the end is committed; all its orders were told
                     before (SW_EV_ORDER) */
  SW_EV_HANG,     /* rank, or proc where it is no rank's, cause_kind (HANG or STOPPED), text: a half
                     sentence for sw_cause_of_kill */
  SW_EV_ALIVE,    /* proc: the zygote is not up yet, but gets on */

  SW_EV_ORDER,     /* order, slot: the committed page asks for a save; again is harmless. Numbers
                      grow by one */
  SW_EV_RECEIPT,   /* proc: the persister's files are all durable */
  SW_EV_PUBLISHED, /* order, status, text: the answer to PUBLISH */

  SW_EV_STOP,        /* a signal; the second one ends at once */
  SW_EV_CLIENT_GONE, /* as a first stop */
  SW_EV_SCALE,       /* n_ranks, request: answered by SW_DO_ANSWER in the same step */
} sw_event_kind;

struct sw_event {
  sw_event_kind kind;
  int64_t now_ns;
  uint64_t commits; /* in every event: sequence number of the newest committed page; 0: none */
  int64_t step;     /* in every event: its optimizer steps */
  uint32_t proc;
  uint32_t generation;
  int64_t pid;
  int wait_status;
  bool oom;
  int32_t rank;
  int32_t n_ranks;
  int32_t slot;
  uint64_t order;
  uint64_t request;
  sw_cause_kind cause_kind;
  sp_status status;
  const char *text; /* borrowed; may be NULL */
};

/* ---- actions */

typedef enum sw_action_kind {
  SW_DO_WRITE_GENERATION, /* generation, n_ranks: make it durable in run.json, then SW_EV_WRITTEN */
  SW_DO_START_ZYGOTE,     /* proc: spawn; SW_EV_PID, or SW_EV_FAILED with why not */
  SW_DO_FORK_RANK,        /* proc, rank, generation, n_ranks: through the zygote. The rank prepares
                             as if it had been told to JOIN */
  SW_DO_FORK_SPARE,       /* proc: through the zygote. It prepares its memory and waits for JOIN */
  SW_DO_FORK_PERSISTER,   /* proc, order, slot, generation, attempt (from 1) */
  SW_DO_JOIN,             /* proc, rank, generation, n_ranks: prepare for it, and say READY. May
                             replace an earlier one that is not open yet */
  SW_DO_ABORT,            /* generation: set the abort word; whoever waits inside leaves */
  SW_DO_OPEN,         /* generation, n_ranks: reset barriers and abort word, publish, let all go.
                         The ranks inside are 0..n_ranks-1 */
  SW_DO_ASK_FINISH,   /* reason: the lead ends the run at the next step edge, with a checkpoint,
                         and says FINISHED */
  SW_DO_ASK_LEAVE,    /* the lead leaves at the next step edge, and says LEFT */
  SW_DO_QUIT,         /* proc: told to exit with 0; the zygote: its stream is closed */
  SW_DO_KILL,         /* proc, pid: SIGKILL */
  SW_DO_KILL_UNKNOWN, /* SIGKILL to every child of this process whose pid was in no SW_EV_PID: a
                         fork whose zygote died before it could say the pid */
  SW_DO_PUBLISH,      /* proc, order, slot: check the receipt, rename, links, collect garbage;
                         then SW_EV_PUBLISHED */
  SW_DO_ACK_ORDER,    /* order, slot, status, text: acknowledged in the group page, unpinned */
  SW_DO_ANSWER,       /* request, status, text: to who asked */
  SW_DO_TELL,         /* tell: for the chronicle and the client; text says it all */
  SW_DO_END,          /* end, exit, status, text: nothing lives any more; last, once */
} sw_action_kind;

typedef enum sw_tell {
  SW_TELL_OPENED,      /* generation, n_ranks, step; ns: since what closed the one before, or 0 */
  SW_TELL_DIED,        /* role, rank, generation, step, cause */
  SW_TELL_RETRY,       /* a back-off: ns until the next attempt; rank -1: the zygote's */
  SW_TELL_RECOVERED,   /* generation, step; ns: from the death to the first commit after it */
  SW_TELL_KILLED,      /* rank: SIGKILL, because text */
  SW_TELL_SCALING,     /* n_ranks: to so many at the next edge */
  SW_TELL_STOPPING,    /* reason */
  SW_TELL_SAVE_FAILED, /* order, attempt; ns: until the next attempt, or -1: given up */
  SW_TELL_NOT_WRITTEN, /* generation: could not be made durable; ns until the next attempt */
} sw_tell;

typedef enum sw_end {
  SW_END_NONE,
  SW_END_FINISHED,    /* the lead said so; also after a stop at a step edge */
  SW_END_START_ERROR, /* nothing has ever trained */
  SW_END_JOB_ERROR,   /* the job's own: module, data, numbers */
  SW_END_POISONED,    /* the same step failed again and again */
  SW_END_BUDGET,      /* too many restarts without a step in between */
  SW_END_CANCELED,    /* second stop */
} sw_end;

struct sw_action {
  sw_action_kind kind;
  sw_tell tell;
  sw_end end;
  enum sp_exit exit;
  sw_role role;
  uint32_t proc;
  uint32_t generation;
  int32_t rank;
  int32_t n_ranks;
  int32_t slot;
  int32_t attempt;
  int64_t pid;
  int64_t step;
  int64_t ns;
  uint64_t order;
  uint64_t request;
  enum sp_stop_reason reason;
  sp_status status;
  const struct sw_cause *cause; /* SW_TELL_DIED; both point into core or out: valid until */
  const char *text;             /* the next step. Never NULL where the kind has a text */
};

struct sw_actions {
  size_t n;
  struct sw_action at[SW_ACTIONS_MAX];
  int64_t wake_ns; /* absolute; SW_NEVER: no timer */
  size_t n_text;
  char text[16 * SW_CORE_TEXT]; /* what actions' texts and causes point to */
  size_t n_causes;
  struct sw_cause causes[SW_RANKS_MAX + 4];
};

/* ---- state: the driver reads what it likes and writes nothing */

struct sw_core_config {
  int32_t n_lanes;     /* V: at most so many ranks */
  int32_t n_ranks;     /* N to begin with */
  uint32_t generation; /* newest number that was ever written for this run; 0: none */
  /* 0 stands for the default: */
  int64_t leave_ns;   /* to leave on the abort word, to quit when told (2 s) */
  int64_t culprit_ns; /* the same for a rank that was found hanging (200 ms) */
  int64_t window_ns;  /* so soon after a charged death, another one of a process of then is part of
                         it (6 ms) */
  int64_t fork_ns;    /* from FORK to the pid (5 s); the zygote is killed when it takes longer */
  int64_t ready_ns;   /* from the pid, or JOIN, to READY (30 s) */
  int64_t zygote_ns;  /* from START_ZYGOTE, or its newest ALIVE, to UP (10 min) */
  int64_t persist_ns; /* from FORK_PERSISTER to its exit (10 min) */
  int64_t
      backoff_ns;   /* second attempt without progress; then times 4 each, at most 30 s (100 ms) */
  int32_t restarts; /* without a commit in between (3) */
  int32_t poison;   /* failures at one step that end the job (3) */
  int32_t save_attempts; /* of one order (3) */
  bool spare;            /* keep one */
};

typedef enum sw_phase {
  SW_PHASE_NEW,
  SW_PHASE_FORMING, /* `generation` is being made */
  SW_PHASE_RUNNING, /* `generation` is open */
  SW_PHASE_ENDING,
  SW_PHASE_OVER,
} sw_phase;

typedef enum sw_proc_state {
  SW_PROC_NONE,
  SW_PROC_STARTING, /* asked for; pid is 0 until it is known */
  SW_PROC_UP,       /* zygote: takes orders; persister: has sent its receipt; spare: is there */
  SW_PROC_READY,    /* rank: prepared for its generation */
  SW_PROC_INSIDE,   /* rank: in its generation, which is or was open */
  SW_PROC_LEFT,     /* rank: outside, invited to nothing */
  SW_PROC_JOINING,  /* rank: told to join its generation */
  SW_PROC_QUITTING, /* told to exit */
  SW_PROC_DYING,    /* killed, or its stream has ended: only its exit is awaited */
} sw_proc_state;

struct sw_proc {
  sw_proc_state state;
  uint32_t id;               /* `proc` of events and actions; 0: none */
  uint32_t since;            /* rank: the newest number when it became one */
  uint32_t generation;       /* rank: that it is in, or prepares for */
  int64_t pid;               /* 0: not known yet */
  int64_t deadline_ns;       /* of what it was asked for last; SW_NEVER: none */
  bool killed;               /* SIGKILL was sent */
  bool eof;                  /* its stream has ended */
  bool counted;              /* its death was already acted on */
  bool receipt;              /* persister: its files are durable */
  sw_cause_kind why;         /* why it was killed here: HANG, STOPPED, or NONE */
  sp_status status;          /* that it reported; SP_OK: none */
  char text[SW_CAUSE_WORDS]; /* of status or why */
};

struct sw_order {
  uint64_t order;
  int32_t slot;
};

struct sw_core {
  struct sw_core_config config;
  sw_phase phase;
  uint32_t generation; /* the newest: open, or forming */
  uint32_t written;    /* durable up to here */
  uint32_t writing;    /* asked to be written; 0: nothing is */
  uint32_t opened;     /* the last one that was opened; 0: none yet */
  int32_t n_ranks;     /* of `generation` */
  int32_t n_wanted;    /* what the next one shall have */
  int32_t n_proved;    /* ranks of the last one that finished a step; 0: none has */
  bool aborted;        /* the abort word of `opened` is set */
  bool leave_asked;    /* ASK_LEAVE was sent in this generation */
  uint32_t last_proc;
  struct sw_proc ranks[SW_RANKS_MAX];
  struct sw_proc zygote;
  bool zygote_was_up;
  struct sw_proc spare;
  int32_t spare_failures; /* since one was of use */
  int64_t spare_not_before_ns;

  bool stop_asked; /* and to be told to every lead anew */
  enum sp_stop_reason stop_reason;
  bool kill_all; /* second stop */
  sw_end end;
  sp_status end_status;
  enum sp_exit end_exit;
  char end_text[SW_CORE_TEXT];

  uint64_t commits; /* as of the newest event */
  int64_t step;
  int64_t closed_ns;     /* first death, or leaving, of this forming; 0: none */
  bool has_died;         /* somebody, in this forming */
  int64_t charged_ns;    /* the newest death that was charged, of any forming; 0: none */
  uint32_t charged_proc; /* the newest process of then */
  int64_t died_ns;       /* what RECOVERED counts from; 0: nothing to tell */
  uint64_t open_commits;
  int64_t not_before_ns; /* back-off of forks */
  int64_t write_not_before_ns;
  int32_t write_failures;
  int32_t restarts; /* since restart_commits moved */
  uint64_t restart_commits;
  int32_t poison;
  uint64_t poison_commits;

  int32_t zygote_failures; /* since zygote_commits moved */
  uint64_t zygote_commits;
  int64_t zygote_not_before_ns;
  char zygote_text[SW_CORE_TEXT]; /* how it died last */

  struct sw_order orders[SW_ORDERS_MAX]; /* [0] is the one being saved */
  int32_t n_orders;
  uint64_t order_newest; /* seen */
  struct sw_proc persister;
  int32_t save_failures;
  bool publishing;
  int64_t save_not_before_ns;

  struct {
    int64_t pid;
    int wait_status;
    bool oom;
  } strays[SW_STRAYS_MAX];
  int32_t n_strays;
};

/* Checks the numbers (SP_EINVAL with a text) and takes the defaults for what is 0. */
SP_NODISCARD sp_status sw_core_init(struct sw_core *core, const struct sw_core_config *config,
                                    struct sp_err *err);

/* out is overwritten. */
void sw_core_step(struct sw_core *core, const struct sw_event *e, struct sw_actions *out);

/* A process of this run that has not ended has this pid. For SW_DO_KILL_UNKNOWN. */
bool sw_core_knows(const struct sw_core *core, int64_t pid);

/* The first violated invariant in words, or NULL. For tests and assertions. */
const char *sw_core_check(const struct sw_core *core);

#endif
