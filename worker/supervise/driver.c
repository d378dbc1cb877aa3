/* The supervisor's loop: events in, actions out. See driver.h. */
#include "worker/supervise/driver.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/fault.h"
#include "worker/supervise/zygote.h"

enum { TICK_MS = 20, WATCH_TICKS = 5, OTHERS_TICKS = 50 }; /* looks every 100 ms, 1 s */

static int64_t now_ns(void) {
  return sp_mono_now(sp_clock_system()).ns;
}

/* ---- events */

void sw_driver_event(struct sw_driver *d, struct sw_event e) {
  unsigned at = d->queue_tail++ % SW_QUEUE;
  char *text = d->queue_text[at];
  if (d->queue_tail - d->queue_head > SW_QUEUE) {
    abort(); /* more events in one turn than all processes together can cause */
  }
  snprintf(text, SW_CORE_TEXT, "%s", e.text ? e.text : "");
  e.text = e.text ? text : NULL;
  d->queue[at] = e;
}

struct sw_committed sw_driver_look(struct sw_driver *d) {
  struct sw_committed now = {0};
  struct stk_order *o = NULL;
  if (!d->has_books) {
    return now;
  }
  sw_books_look(&d->books, &now, &o);
  if (o && !sw_driver_link(d, o)) {
    d->order = o;
    d->order_since_ns = now_ns();
    sw_driver_event(d, (struct sw_event){.kind = SW_EV_ORDER, .order = o->seq, .slot = o->slot});
  }
  return now;
}

/* ---- actions */

static void kill_proc(const struct sw_action *a) {
  if (a->pid > 1) {
    (void)kill((pid_t)a->pid, SIGKILL);
  }
}

static void ask_lead(struct sw_driver *d, uint32_t what) {
  if (d->has_books) {
    atomic_store_explicit(&d->books.group->stop, what, memory_order_release);
  }
}

static void abort_group(struct sw_driver *d) {
  (void)SP_FAULT("supervisor.abort");
  sw_watch_open(&d->watch, 0);
  if (d->has_books) {
    stk_group_abort(d->books.group);
  }
}

static void end(struct sw_driver *d, const struct sw_action *a) {
  d->outcome.over = true;
  d->outcome.end = a->end;
  d->outcome.exit = a->exit;
  d->outcome.status = a->status;
  snprintf(d->outcome.text, sizeof d->outcome.text, "%s", a->text);
  uv_stop(&d->loop);
}

static void carry_out(struct sw_driver *d, const struct sw_action *a) {
  switch (a->kind) {
    case SW_DO_WRITE_GENERATION:
      sw_driver_write_generation(d, a->generation, a->n_ranks);
      break;
    case SW_DO_START_ZYGOTE:
      sw_driver_start_zygote(d, a);
      break;
    case SW_DO_FORK_RANK:
    case SW_DO_FORK_SPARE:
    case SW_DO_FORK_PERSISTER:
      sw_driver_fork(d, a);
      break;
    case SW_DO_JOIN:
      sw_driver_join(d, a);
      break;
    case SW_DO_ABORT:
      abort_group(d);
      break;
    case SW_DO_OPEN:
      sw_driver_open(d, a);
      break;
    case SW_DO_ASK_FINISH:
      ask_lead(d, SW_GROUP_FINISH);
      break;
    case SW_DO_ASK_LEAVE:
      ask_lead(d, SW_GROUP_LEAVE);
      break;
    case SW_DO_QUIT:
      sw_driver_quit(d, a);
      break;
    case SW_DO_KILL:
      kill_proc(a);
      break;
    case SW_DO_KILL_UNKNOWN:
      sw_driver_kill_unknown(d);
      break;
    case SW_DO_PUBLISH:
      sw_driver_publish(d);
      break;
    case SW_DO_ACK_ORDER:
      sw_driver_acknowledge(d, a);
      break;
    case SW_DO_ANSWER:
      sw_driver_answer(d, a);
      break;
    case SW_DO_TELL:
      sw_driver_tell(d, a);
      break;
    case SW_DO_END:
      end(d, a);
      break;
  }
}

static void on_wake(uv_timer_t *t);

static void set_timer(struct sw_driver *d) {
  int64_t wait = d->actions.wake_ns - now_ns();
  if (d->actions.wake_ns == SW_NEVER) {
    uv_timer_stop(&d->wake);
    return;
  }
  uv_update_time(&d->loop);
  uv_timer_start(&d->wake, on_wake, wait > 0 ? (uint64_t)((wait + 999999) / 1000000) : 0, 0);
}

/* Gives every queued event to the core. An action may queue more. */
static void pump(struct sw_driver *d) {
  while (d->queue_head != d->queue_tail && !d->outcome.over) {
    struct sw_event e = d->queue[d->queue_head % SW_QUEUE];
    struct sw_committed now = sw_driver_look(d);
    d->queue_head++;
    e.now_ns = now_ns();
    e.commits = now.seq;
    e.step = now.step;
    sw_core_step(&d->core, &e, &d->actions);
    for (size_t i = 0; i < d->actions.n; i++) {
      carry_out(d, &d->actions.at[i]);
    }
    set_timer(d);
  }
}

/* ---- libuv's side */

static void on_wake(uv_timer_t *t) {
  struct sw_driver *d = t->data;
  sw_driver_event(d, (struct sw_event){.kind = SW_EV_TIMER});
}

static void on_tick(uv_timer_t *t) {
  struct sw_driver *d = t->data;
  sw_emit_flush(d->client);
  sw_driver_show(d);
  if (d->client->gone && d->core.phase < SW_PHASE_ENDING && !d->core.stop_asked) {
    sw_driver_event(d, (struct sw_event){.kind = SW_EV_CLIENT_GONE});
  }
  if (++d->ticks % WATCH_TICKS == 0) {
    sw_driver_watch(d);
  }
  if (d->ticks % OTHERS_TICKS == 0) {
    sw_driver_watch_others(d);
  }
  sw_driver_event(d, (struct sw_event){.kind = SW_EV_PROGRESS});
}

static void on_signal(uv_signal_t *s, int signal_number) {
  struct sw_driver *d = s->data;
  if (signal_number == SIGCHLD) {
    sw_driver_reap(d);
  } else {
    sw_driver_event(d, (struct sw_event){.kind = SW_EV_STOP});
  }
}

static void close_handle(uv_handle_t *h, void *arg) {
  (void)arg;
  if (!uv_is_closing(h)) {
    uv_close(h, NULL);
  }
}

static sp_status open_loop(struct sw_driver *d, struct sp_err *err) {
  if (uv_loop_init(&d->loop) != 0) {
    return sp_fail(err, SP_EIO, "the event loop cannot be made");
  }
  uv_timer_init(&d->loop, &d->wake);
  uv_timer_init(&d->loop, &d->tick);
  uv_signal_init(&d->loop, &d->child);
  uv_signal_init(&d->loop, &d->term);
  uv_signal_init(&d->loop, &d->interrupt);
  d->wake.data = d->tick.data = d->child.data = d->term.data = d->interrupt.data = d;
  int rc = uv_signal_start(&d->child, on_signal, SIGCHLD);
  rc = rc ? rc : uv_signal_start(&d->term, on_signal, SIGTERM);
  rc = rc ? rc : uv_signal_start(&d->interrupt, on_signal, SIGINT);
  rc = rc ? rc : uv_timer_start(&d->tick, on_tick, TICK_MS, TICK_MS);
  return rc ? sp_fail(err, SP_EIO, "the event loop: %s", uv_strerror(rc)) : SP_OK;
}

static void unblock_stops(void) {
  sigset_t stops;
  sigemptyset(&stops);
  sigaddset(&stops, SIGTERM);
  sigaddset(&stops, SIGINT);
  sigprocmask(SIG_UNBLOCK, &stops, NULL);
}

sp_status sw_driver_run(struct sw_driver *d, int32_t n_ranks, int32_t n_lanes, uint32_t generation,
                        struct sp_err *err) {
  struct sw_core_config c = {.n_lanes = n_lanes,
                             .n_ranks = n_ranks,
                             .generation = generation,
                             .spare = d->job->trainer.spare_rank};
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
    return sp_fail_errno(err, "the supervisor cannot adopt its ranks");
  }
  sw_watch_init(&d->watch, &(struct sw_watch_config){0});
  sp_status st = sw_core_init(&d->core, &c, err);
  st = st ? st : open_loop(d, err);
  if (st) {
    return st;
  }
  unblock_stops();
  sw_driver_event(d, (struct sw_event){.kind = SW_EV_START});
  while (!d->outcome.over) {
    pump(d);
    if (!d->outcome.over) {
      uv_run(&d->loop, UV_RUN_ONCE);
    }
  }
  (void)sw_driver_look(d); /* the last rows */
  sw_driver_close_outputs(d);
  sw_driver_close_streams(d);
  if (d->control) {
    sp_control_server_close(d->control, NULL, NULL);
    d->control = NULL;
    uv_run(&d->loop, UV_RUN_NOWAIT);
  }
  uv_walk(&d->loop, close_handle, NULL);
  uv_run(&d->loop, UV_RUN_DEFAULT);
  (void)uv_loop_close(&d->loop);
  return SP_OK;
}
