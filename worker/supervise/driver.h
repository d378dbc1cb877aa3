/* The supervisor's hands: carries out what the core decides (core.h), and tells it what happens.
 *
 * One libuv loop, one thread; publishing alone (fsync, rename) goes to a thread of libuv's pool.
 * The driver decides nothing: events go into a queue, each is given to the core, its actions are
 * carried out in order. It loads no user code and reads no manifest. It never waits for the
 * command: events (proto/wire/outbox.h) and output that are not taken wait in bounded memory.
 */
#ifndef SW_SUPERVISE_DRIVER_H
#define SW_SUPERVISE_DRIVER_H

#include <uv.h>

#include "proto/base/arena.h"
#include "proto/job/job.h"
#include "proto/net/control_server.h"
#include "proto/run/run_file.h"
#include "proto/wire/supervise.h"
#include "worker/publish.h"
#include "worker/supervise/books.h"
#include "worker/supervise/chronicle.h"
#include "worker/supervise/core.h"
#include "worker/supervise/run.h"
#include "worker/supervise/watch.h"

enum { SW_QUEUE = 256, SW_FORKS_MAX = 256 };

struct sw_driver;

/* One process's end of its stream. Owned by libuv until its handle is closed. */
struct sw_stream {
  uv_poll_t poll; /* first: its handle is the stream */
  struct sw_driver *d;
  struct sw_stream *next;
  sw_role role;
  uint32_t proc;
  int32_t rank;
  int fd;
  int64_t pid; /* 0: not known yet */
  sp_event_reader *reader;
  uint64_t order;             /* persister */
  int n_hellos;               /* with a descriptor */
  char words[SW_CAUSE_WORDS]; /* the error that it reported, for its death */
};

/* What a rank prints: one of its standard streams. Owned by libuv until its handle is closed. */
struct sw_output {
  uv_poll_t poll; /* first: its handle is the output */
  struct sw_driver *d;
  struct sw_output *next;
  int fd, to; /* read end; where it is shown: 1 or 2 */
  int32_t rank;
  int64_t pid;
  char words[SW_CAUSE_WORDS]; /* the end of it */
};

/* What is to be shown on standard output or error and was not taken yet. */
struct sw_shown {
  struct sp_buf waiting;
  int64_t left_out; /* bytes behind it that found no room */
};

/* A death that nothing has followed yet, for the sentence of the recovery. */
struct sw_incident {
  char who[64];
  char cause[SW_CAUSE_TEXT];
  int32_t rank;
  int64_t step;
  int64_t recomputed; /* a step was begun and not committed: 1 */
  int32_t n;
};

struct sw_outcome {
  bool over;
  sw_end end;
  enum sp_exit exit;
  sp_status status;
  char text[SW_CORE_TEXT];
  uint32_t stop;    /* enum sp_stop_reason that the lead gave; 0: its limits */
  bool save_failed; /* the newest order */
  char save_error[600];
};

struct sw_driver {
  const char *job_file;
  char **args; /* after the job file */
  int n_args;
  struct sp_job *job;
  struct sw_emit *client;
  struct sw_run run;
  struct sw_logs logs;
  struct sw_publish publish;
  struct sw_books books;
  bool has_books;
  struct sw_chronicle chronicle;
  sp_control_server *control;
  struct sw_watch watch;
  struct sw_life zygote_life, persister_life, spare_life;
  int64_t deaths, recoveries;
  bool zygote_spoke; /* an error was reported of it: it did not just die */
  struct sw_core core;
  struct sw_actions actions;
  struct sw_event queue[SW_QUEUE];
  char queue_text[SW_QUEUE][SW_CORE_TEXT];
  unsigned queue_head, queue_tail, ticks;
  bool pumping;
  uv_loop_t loop;
  uv_timer_t wake, tick;
  uv_signal_t child, term, interrupt;
  struct sw_stream *streams;
  struct sw_output *outputs;
  struct sw_shown shown[2];     /* output, error */
  uint32_t forks[SW_FORKS_MAX]; /* processes that the zygote was asked for, oldest first */
  int n_forks;
  int64_t zygote_pid;
  uint32_t zygote_proc;
  int n_zygotes;          /* started so far */
  uint32_t write_pending; /* generation to write once there is a directory; 0: none */
  int32_t write_ranks;
  int32_t n_ranks; /* of the generation that is written */
  uint32_t generation;
  struct stk_order *order; /* being carried out */
  struct stk_ckpt_receipt receipt;
  bool has_receipt;
  bool save_torn; /* a persister has died since the directory of checkpoints was swept */
  uv_work_t publishing;
  struct sw_published published;
  sp_status publish_status;
  struct sp_err publish_err;
  int64_t order_since_ns, oom_kills;
  char words[SW_CAUSE_WORDS];
  struct sw_incident incident;
  struct sw_outcome outcome;
  bool told_start;
  int64_t threads, lanes, n_params, n_trainable, n_train_batches, n_val_batches, total_steps,
      max_epochs;
  char model[256], kernels[32], precision[32];
};

/* ---- driver.c */

/* Runs the job to its end; d->outcome says how it ended. */
SP_NODISCARD sp_status sw_driver_run(struct sw_driver *d, int32_t n_ranks, int32_t n_lanes,
                                     uint32_t generation, struct sp_err *err);

/* Queues an event; time and the committed step are put in. text is copied. */
void sw_driver_event(struct sw_driver *d, struct sw_event e);

/* Looks at what was committed: rows to loggers, new orders to the core. */
struct sw_committed sw_driver_look(struct sw_driver *d);

/* ---- driver_procs.c: processes and their streams */

void sw_driver_start_zygote(struct sw_driver *d, const struct sw_action *a);
void sw_driver_fork(struct sw_driver *d, const struct sw_action *a);
void sw_driver_join(struct sw_driver *d, const struct sw_action *a);
void sw_driver_open(struct sw_driver *d, const struct sw_action *a);
void sw_driver_quit(struct sw_driver *d, const struct sw_action *a);
void sw_driver_kill_unknown(struct sw_driver *d);
void sw_driver_reap(struct sw_driver *d);
void sw_driver_close_streams(struct sw_driver *d);

/* ---- driver_output.c: what ranks print, shown and kept in RUN/ranks/rank-R.log */

/* Takes the read end of a rank's standard output (to 1) or error (to 2). */
void sw_driver_output(struct sw_driver *d, int fd, int to, int32_t rank, int64_t pid);

/* The last thing that a process said on its standard error, NULL if nothing. Reads what is left. */
const char *sw_driver_words(struct sw_driver *d, int64_t pid);
void sw_driver_close_outputs(struct sw_driver *d);

/* Shows what waits, as far as it is taken; at the end all of it, however long that takes. */
void sw_driver_show(struct sw_driver *d);
void sw_driver_show_rest(struct sw_driver *d);

/* ---- driver_control.c: who asks from outside */

/* Listens on RUN/control.sock; a failure is told, and the run goes on without. */
void sw_driver_listen(struct sw_driver *d);
void sw_driver_answer(struct sw_driver *d, const struct sw_action *a);

/* ---- driver_watch.c: who hangs, who is slow */

void sw_driver_watch(struct sw_driver *d);

/* The zygote, the persister and the spare, every second. */
void sw_driver_watch_others(struct sw_driver *d);

/* ---- driver_run.c: the run's directory, what is told, what is published */

/* The zygote is ready for the first time: directory, loggers, books. */
SP_NODISCARD sp_status sw_driver_on_ready(struct sw_driver *d, const struct sp_ready *r,
                                          struct sp_err *err);
SP_NODISCARD sp_status sw_driver_write_run(struct sw_driver *d, sp_run_state state,
                                           struct sp_err *err);
void sw_driver_write_generation(struct sw_driver *d, uint32_t generation, int32_t n_ranks);
void sw_driver_publish(struct sw_driver *d);
/* An order for what was just saved: new names for it, and the answer. False: it is not one. */
bool sw_driver_link(struct sw_driver *d, struct stk_order *o);
void sw_driver_acknowledge(struct sw_driver *d, const struct sw_action *a);
void sw_driver_tell(struct sw_driver *d, const struct sw_action *a);

#endif
