/* The step: what each event changes, and then what the state as a whole asks for.
 *
 * Events only change the state (and answer who asked). Everything else that is to be done is
 * derived by settle from the state after the event, whatever came before: so an event in an odd
 * moment, or in an odd order, needs no case of its own.
 */
#include "worker/supervise/core.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "worker/supervise/core_step.h"

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)

static void take_default(int64_t *v, int64_t value) {
  *v = *v > 0 ? *v : value;
}

static void take_default_count(int32_t *v, int32_t value) {
  *v = *v > 0 ? *v : value;
}

sp_status sw_core_init(struct sw_core *core, const struct sw_core_config *config,
                       struct sp_err *err) {
  int32_t most = config->n_lanes < SW_RANKS_MAX ? config->n_lanes : SW_RANKS_MAX;
  if (config->n_lanes < 1 || config->n_ranks < 1 || config->n_ranks > most) {
    return sp_fail(err, SP_EINVAL, "%d ranks: a job of %d lanes runs on 1 to %d",
                   (int)config->n_ranks, (int)config->n_lanes, (int)(most > 1 ? most : 1));
  }
  *core = (struct sw_core){.config = *config,
                           .generation = config->generation,
                           .written = config->generation,
                           .n_ranks = config->n_ranks,
                           .n_wanted = config->n_ranks};
  struct sw_core_config *c = &core->config;
  take_default(&c->leave_ns, 2 * SECOND);
  take_default(&c->culprit_ns, 200 * MS);
  take_default(&c->window_ns, 6 * MS);
  take_default(&c->fork_ns, 5 * SECOND);
  take_default(&c->ready_ns, 30 * SECOND);
  take_default(&c->zygote_ns, 600 * SECOND);
  take_default(&c->persist_ns, 600 * SECOND);
  take_default(&c->backoff_ns, 100 * MS);
  take_default_count(&c->restarts, 3);
  take_default_count(&c->poison, 3);
  take_default_count(&c->save_attempts, 3);
  return SP_OK;
}

/* ---- the end */

static void begin_end(struct sw_step *s, sw_end end, enum sp_exit exit, sp_status status,
                      const char *text) {
  struct sw_core *c = s->c;
  if (c->phase >= SW_PHASE_ENDING) {
    return;
  }
  if (c->phase == SW_PHASE_RUNNING && !c->aborted) {
    sw_act(s, SW_DO_ABORT)->generation = c->opened;
    c->aborted = true;
  }
  c->phase = SW_PHASE_ENDING;
  c->end = end;
  c->end_exit = exit;
  c->end_status = status;
  snprintf(c->end_text, sizeof c->end_text, "%s", text);
}

/* An error that trying again would not help. */
static void end_with_error(struct sw_step *s, sp_status status, const char *text) {
  bool ran = s->c->opened != 0;
  begin_end(s, ran ? SW_END_JOB_ERROR : SW_END_START_ERROR, sp_exit_of_status(status, ran), status,
            text);
}

/* Too many deaths: by whose hand decides whose fault it is. */
static void end_with_cause(struct sw_step *s, sw_end end, const struct sw_cause *cause,
                           const char *text) {
  bool outside =
      cause->kind == SW_CAUSE_OOM || cause->kind == SW_CAUSE_STOPPED ||
      (cause->kind == SW_CAUSE_SIGNAL && (cause->number == SIGKILL || cause->number == SIGTERM ||
                                          cause->number == SIGINT || cause->number == SIGHUP));
  begin_end(s, end, outside && end != SW_END_POISONED ? SP_EXIT_JOB_LOST : SP_EXIT_JOB_FAILED,
            cause->kind == SW_CAUSE_ERROR ? (sp_status)cause->number : SP_EINTERNAL, text);
}

/* ---- generations and the budget */

void sw_close(struct sw_step *s) {
  struct sw_core *c = s->c;
  if (c->phase != SW_PHASE_RUNNING) {
    return;
  }
  c->phase = SW_PHASE_FORMING;
  c->generation++;
  c->n_ranks = c->n_wanted;
  c->closed_ns = s->e->now_ns;
  c->has_died = false;
  c->not_before_ns = 0;
  sw_act(s, SW_DO_ABORT)->generation = c->opened;
  c->aborted = true;
  for (int32_t r = 0; r < SW_RANKS_MAX; r++) {
    if (c->ranks[r].state == SW_PROC_INSIDE) {
      c->ranks[r].deadline_ns = sw_after(s->e->now_ns, c->config.leave_ns);
    }
  }
}

/* The same step again? True when it has ended the job. */
static bool is_poisoned(struct sw_step *s, const struct sw_cause *cause) {
  struct sw_core *c = s->c;
  bool again = c->poison > 0 && c->poison_commits == c->commits;
  c->poison = again ? c->poison + 1 : 1;
  c->poison_commits = c->commits;
  if (c->poison < c->config.poison) {
    return false;
  }
  end_with_cause(s, SW_END_POISONED, cause,
                 sw_text(s, "poisoned: the step after step %lld failed %d times; the last time %s",
                         (long long)c->step, (int)c->poison, cause->text));
  return true;
}

/* A death that asks for a restart. Those of members of the generation that is being left anyway
 * cost nothing more, nor do those soon after one that was charged of processes that were there
 * then, though the next generation may be open already. */
static void charge(struct sw_step *s, const struct sw_cause *cause, const struct sw_proc *p) {
  struct sw_core *c = s->c;
  int64_t now = s->e->now_ns;
  if (c->phase != SW_PHASE_FORMING) {
    return;
  }
  bool first = !c->has_died;
  bool soon =
      c->charged_ns && now - c->charged_ns <= c->config.window_ns && p->since <= c->charged_proc;
  c->died_ns = c->died_ns ? c->died_ns : c->closed_ns ? c->closed_ns : now;
  c->has_died = true;
  if (soon || (!first && p->generation != c->generation)) {
    return;
  }
  c->charged_ns = now;
  c->charged_proc = c->last_proc;
  if (first && p->generation == c->opened && is_poisoned(s, cause)) {
    return;
  }
  c->restarts = c->restart_commits == c->commits ? c->restarts + 1 : 1;
  c->restart_commits = c->commits;
  if (c->restarts > c->config.restarts) {
    end_with_cause(s, SW_END_BUDGET, cause,
                   sw_text(s,
                           "%d restarts without a finished step in between (at step %lld); the "
                           "last time %s",
                           (int)c->config.restarts, (long long)c->step, cause->text));
    return;
  }
  int64_t wait = sw_backoff(c, c->restarts);
  c->not_before_ns = sw_after(now, wait);
  if (wait > 0) {
    sw_tell_act(s, SW_TELL_RETRY,
                sw_text(s, "no step was finished since the last restart: the next one in %lld ms",
                        (long long)(wait / MS)))
        ->ns = wait;
  }
}

void sw_tell_died(struct sw_step *s, sw_role role, int32_t rank, uint32_t generation,
                  const struct sw_cause *cause) {
  struct sw_action *a = sw_tell_act(s, SW_TELL_DIED, cause->text);
  a->role = role;
  a->rank = rank;
  a->generation = generation;
  a->cause = cause;
}

/* ---- ranks */

static bool was_clean(const struct sw_cause *cause) {
  return cause->kind == SW_CAUSE_EXIT && cause->number == 0;
}

void sw_rank_gone(struct sw_step *s, const struct sw_proc *was, int32_t rank,
                  const struct sw_cause *cause) {
  struct sw_core *c = s->c;
  bool is_leaving = was->state == SW_PROC_QUITTING || c->phase >= SW_PHASE_ENDING;
  bool expected = is_leaving && (was_clean(cause) || c->kill_all);
  if (!expected && !was->counted) {
    sw_tell_died(s, SW_ROLE_RANK, rank, was->generation, cause);
  }
  if (is_leaving || was->counted) {
    return;
  }
  sw_close(s);
  charge(s, cause, was);
}

/* Worth another try: what the machine was short of, as against what the job is. */
static bool may_pass(sp_status status) {
  return status == SP_ENOMEM || status == SP_ENOSPC || status == SP_EIO;
}

/* More ranks take more memory. Where there is too little for those that were asked for, the job
 * goes on with as many as it had. */
static void fall_back(struct sw_step *s, const struct sw_proc *p) {
  struct sw_core *c = s->c;
  bool scarce = p->status == SP_ENOMEM || p->status == SP_ENOSPC;
  if (!scarce || p->generation != c->opened || c->phase != SW_PHASE_RUNNING ||
      c->commits != c->open_commits || c->n_proved == 0 || c->n_ranks <= c->n_proved ||
      c->n_wanted != c->n_ranks) {
    return;
  }
  c->n_wanted = c->n_proved;
  sw_tell_act(
      s, SW_TELL_SCALING,
      sw_text(s, "back to %d rank%s: %s", (int)c->n_proved, c->n_proved == 1 ? "" : "s", p->text))
      ->n_ranks = c->n_proved;
}

void sw_rank_failed(struct sw_step *s, struct sw_proc *p) {
  if (p->state == SW_PROC_QUITTING || s->c->phase >= SW_PHASE_ENDING) {
    return;
  }
  if (!may_pass(p->status)) {
    struct sw_cause *cause = sw_cause_new(s);
    sw_cause_of_error(cause, sw_who(s, p), p->status, p->text);
    sw_tell_died(s, SW_ROLE_RANK, sw_rank_of(s->c, p), p->generation, cause);
    p->counted = true;
    end_with_error(s, p->status, p->text);
    return;
  }
  fall_back(s, p);
  if (p->generation == s->c->opened) {
    sw_close(s);
  }
  sw_proc_kill(s, p, SW_CAUSE_NONE, "");
}

static void on_ready(struct sw_step *s, struct sw_proc *p) {
  bool asked = p->state == SW_PROC_STARTING || p->state == SW_PROC_JOINING;
  if (asked && p->pid && p->generation == s->e->generation) {
    p->state = SW_PROC_READY;
    p->deadline_ns = SW_NEVER;
  }
}

static void on_left(struct sw_step *s, struct sw_proc *p) {
  if (p->state != SW_PROC_INSIDE || p->generation != s->e->generation) {
    return;
  }
  struct sw_core *c = s->c;
  p->state = SW_PROC_LEFT;
  p->deadline_ns = SW_NEVER;
  p->why = SW_CAUSE_NONE;
  if (c->phase == SW_PHASE_RUNNING && !(c->leave_asked && p == &c->ranks[0])) {
    struct sw_cause *cause = sw_cause_new(s); /* unasked: somebody inside had set the abort word */
    sw_cause_of_error(cause, sw_who(s, p), SP_ECANCELED, "it left its generation unasked");
    sw_close(s);
    charge(s, cause, p);
  }
  sw_close(s);
}

/* The zygote or the persister: stopped by a signal, it is replaced. */
static void on_stopped_proc(struct sw_step *s) {
  struct sw_proc *p = sw_proc_of_id(s->c, s->e->proc);
  if (p && sw_role_of(s->c, p) != SW_ROLE_RANK && p->pid && p->state != SW_PROC_DYING) {
    sw_proc_kill(s, p, s->e->cause_kind, s->e->text ? s->e->text : "made no progress");
  }
}

static void on_alive(struct sw_step *s) {
  struct sw_proc *z = &s->c->zygote;
  if (z->state == SW_PROC_STARTING && z->id == s->e->proc) {
    z->deadline_ns = sw_after(s->e->now_ns, s->c->config.zygote_ns);
  }
}

static void on_hang(struct sw_step *s) {
  struct sw_core *c = s->c;
  const struct sw_event *e = s->e;
  if (e->proc) {
    on_stopped_proc(s);
    return;
  }
  if (e->rank < 0 || e->rank >= SW_RANKS_MAX || c->phase >= SW_PHASE_ENDING) {
    return;
  }
  struct sw_proc *p = &c->ranks[e->rank];
  if (p->state == SW_PROC_NONE || p->state == SW_PROC_DYING || p->pid == 0 || p->why) {
    return;
  }
  const char *text = e->text ? e->text : "made no progress";
  if (c->phase != SW_PHASE_RUNNING || p->state != SW_PROC_INSIDE) {
    if (e->cause_kind == SW_CAUSE_STOPPED) { /* deadlines find the rest */
      sw_proc_kill(s, p, SW_CAUSE_STOPPED, text);
    }
    return;
  }
  struct sw_cause *cause = sw_cause_new(s);
  sw_cause_of_kill(cause, sw_who(s, p), e->cause_kind, text);
  sw_close(s);
  p->why = e->cause_kind;
  snprintf(p->text, sizeof p->text, "%s", text);
  p->deadline_ns = sw_after(e->now_ns, c->config.culprit_ns);
  charge(s, cause, p);
}

/* ---- the zygote */

bool sw_zygote_is_up(const struct sw_core *c) {
  return c->zygote.state == SW_PROC_UP;
}

bool sw_zygote_is_lost(const struct sw_core *c) {
  return c->zygote.state == SW_PROC_NONE && c->zygote_failures > c->config.restarts &&
         c->zygote_commits == c->commits;
}

void sw_zygote_failed(struct sw_step *s, struct sw_proc *p) {
  if (p->state == SW_PROC_QUITTING) {
    return;
  }
  if (!s->c->zygote_was_up) {
    end_with_error(s, p->status, p->text);
  }
  sw_proc_kill(s, p, SW_CAUSE_NONE, "");
}

/* Before it was ever up: would it end the same way again? */
static bool is_own_fault(const struct sw_cause *cause) {
  bool outside =
      cause->kind == SW_CAUSE_SIGNAL && (cause->number == SIGKILL || cause->number == SIGTERM ||
                                         cause->number == SIGINT || cause->number == SIGHUP);
  return cause->kind == SW_CAUSE_EXIT || cause->kind == SW_CAUSE_ERROR ||
         cause->kind == SW_CAUSE_HANG || (cause->kind == SW_CAUSE_SIGNAL && !outside);
}

void sw_zygote_gone(struct sw_step *s, const struct sw_proc *was, const struct sw_cause *cause) {
  struct sw_core *c = s->c;
  bool is_leaving = was->state == SW_PROC_QUITTING || c->kill_all;
  if (is_leaving || (c->phase >= SW_PHASE_ENDING && c->n_orders == 0)) {
    return;
  }
  sw_tell_died(s, SW_ROLE_ZYGOTE, -1, c->generation, cause);
  snprintf(c->zygote_text, sizeof c->zygote_text, "%s", cause->text);
  if (!c->zygote_was_up && is_own_fault(cause)) {
    end_with_error(s, was->status ? was->status : SP_EMODULE,
                   was->status ? was->text : cause->text);
    return;
  }
  c->zygote_failures = c->zygote_commits == c->commits ? c->zygote_failures + 1 : 1;
  c->zygote_commits = c->commits;
  int64_t wait = sw_backoff(c, c->zygote_failures);
  c->zygote_not_before_ns = sw_after(s->e->now_ns, wait);
  if (wait > 0) {
    sw_tell_act(s, SW_TELL_RETRY,
                sw_text(s, "the zygote is started again in %lld ms", (long long)(wait / MS)))
        ->ns = wait;
  }
}

/* ---- requests from outside */

static void on_stop(struct sw_step *s) {
  struct sw_core *c = s->c;
  bool is_signal = s->e->kind == SW_EV_STOP;
  if (c->stop_asked) {
    if (is_signal && !c->kill_all) {
      begin_end(s, SW_END_CANCELED, SP_EXIT_JOB_CANCELED, SP_ECANCELED,
                "stopped at once; steps after the newest checkpoint are lost");
      c->kill_all = true;
    }
    return;
  }
  c->stop_asked = true;
  c->stop_reason = is_signal ? SP_STOP_SIGNAL : SP_STOP_CLIENT_GONE;
  if (c->phase < SW_PHASE_ENDING) {
    sw_tell_act(s, SW_TELL_STOPPING,
                is_signal ? "asked to stop: at the next step edge, with a checkpoint"
                          : "the command that watched went away: stopping at the next step edge")
        ->reason = c->stop_reason;
  }
  if (c->phase == SW_PHASE_RUNNING) {
    sw_act(s, SW_DO_ASK_FINISH)->reason = c->stop_reason;
  }
}

static void on_scale(struct sw_step *s) {
  struct sw_core *c = s->c;
  int32_t n = s->e->n_ranks;
  int32_t most = c->config.n_lanes < SW_RANKS_MAX ? c->config.n_lanes : SW_RANKS_MAX;
  sp_status status = SP_OK;
  const char *text;
  if (n < 1 || n > most) {
    status = SP_ERANGE;
    text = sw_text(s, "%d ranks: this job has %d lanes, and runs on 1 to %d ranks", (int)n,
                   (int)c->config.n_lanes, (int)most);
  } else if (c->phase >= SW_PHASE_ENDING || c->stop_asked) {
    status = SP_EPERM;
    text = "the job is ending, and keeps the ranks it has";
  } else if (n == c->n_wanted) {
    text = sw_text(s, "the job runs on %d rank%s already", (int)n, n == 1 ? "" : "s");
  } else {
    c->n_wanted = n;
    text = sw_text(s, "to %d rank%s at the next step edge", (int)n, n == 1 ? "" : "s");
    sw_tell_act(s, SW_TELL_SCALING, text)->n_ranks = n;
  }
  struct sw_action *a = sw_act(s, SW_DO_ANSWER);
  a->request = s->e->request;
  a->status = status;
  a->text = text;
}

static void on_written(struct sw_step *s) {
  struct sw_core *c = s->c;
  if (s->e->generation != c->writing) {
    return;
  }
  c->writing = 0;
  if (s->e->status == SP_OK) {
    c->written = s->e->generation;
    c->write_failures = 0;
    return;
  }
  const char *text = s->e->text ? s->e->text : sp_status_text(s->e->status);
  if (c->opened == 0) {
    end_with_error(s, s->e->status, text);
    return;
  }
  int64_t wait = sw_backoff(c, ++c->write_failures + 1);
  c->write_not_before_ns = sw_after(s->e->now_ns, wait);
  sw_tell_act(s, SW_TELL_NOT_WRITTEN,
              sw_text(s, "generation %u cannot be made durable (%s): again in %lld ms",
                      (unsigned)s->e->generation, text, (long long)(wait / MS)))
      ->ns = wait;
}

/* ---- what the state asks for */

static void invite(struct sw_step *s, int32_t r) {
  struct sw_core *c = s->c;
  struct sw_proc *p = &c->ranks[r];
  p->state = SW_PROC_JOINING;
  p->generation = c->generation;
  p->deadline_ns = sw_after(s->e->now_ns, c->config.ready_ns);
  struct sw_action *a = sw_act(s, SW_DO_JOIN);
  a->proc = p->id;
  a->rank = r;
  a->generation = c->generation;
  a->n_ranks = c->n_ranks;
}

static void settle_rank(struct sw_step *s, int32_t r) {
  struct sw_core *c = s->c;
  struct sw_proc *p = &c->ranks[r];
  bool durable = c->written == c->generation;
  switch (p->state) {
    case SW_PROC_NONE:
      if (r >= c->n_ranks || !durable || s->e->now_ns < c->not_before_ns) {
        break;
      }
      if (sw_spare_take(s, p)) {
        invite(s, r);
      } else if (sw_zygote_is_up(c)) {
        sw_proc_start(s, p, SW_DO_FORK_RANK, c->config.fork_ns);
      }
      break;
    case SW_PROC_STARTING:
      if (r >= c->n_ranks && p->pid) {
        sw_proc_quit(s, p);
      }
      break;
    case SW_PROC_LEFT:
    case SW_PROC_READY:
    case SW_PROC_JOINING:
      if (r >= c->n_ranks) {
        sw_proc_quit(s, p);
      } else if (p->generation != c->generation && durable) {
        invite(s, r);
      }
      break;
    default: /* waits for it to leave or to die */
      break;
  }
}

static bool may_open(const struct sw_core *c, int64_t now) {
  if (c->written != c->generation || now < c->not_before_ns) {
    return false;
  }
  for (int32_t r = 0; r < SW_RANKS_MAX; r++) {
    const struct sw_proc *p = &c->ranks[r];
    bool ready = p->state == SW_PROC_READY && p->generation == c->generation;
    if (r < c->n_ranks ? !ready : p->state != SW_PROC_NONE) {
      return false;
    }
  }
  return true;
}

static void open_generation(struct sw_step *s) {
  struct sw_core *c = s->c;
  int64_t now = s->e->now_ns;
  for (int32_t r = 0; r < c->n_ranks; r++) {
    c->ranks[r].state = SW_PROC_INSIDE;
  }
  struct sw_action *a = sw_act(s, SW_DO_OPEN);
  a->generation = c->generation;
  a->n_ranks = c->n_ranks;
  c->phase = SW_PHASE_RUNNING;
  c->opened = c->generation;
  c->open_commits = c->commits;
  c->aborted = c->leave_asked = false;
  a = sw_tell_act(s, SW_TELL_OPENED,
                  sw_text(s, "generation %u with %d rank%s, at step %lld", (unsigned)c->generation,
                          (int)c->n_ranks, c->n_ranks == 1 ? "" : "s", (long long)c->step));
  a->n_ranks = c->n_ranks;
  a->ns = c->closed_ns ? now - c->closed_ns : 0;
  c->closed_ns = 0;
  c->has_died = false;
  if (c->stop_asked) {
    sw_act(s, SW_DO_ASK_FINISH)->reason = c->stop_reason;
  }
}

static bool needs_fork(const struct sw_core *c) {
  int32_t n = 0;
  for (int32_t r = 0; r < c->n_ranks; r++) {
    n += c->ranks[r].state == SW_PROC_NONE;
  }
  return n > (c->spare.state == SW_PROC_UP);
}

static void settle_forming(struct sw_step *s) {
  struct sw_core *c = s->c;
  if (c->n_ranks != c->n_wanted) {
    bool is_told = c->written == c->generation || c->writing == c->generation;
    c->generation += is_told;
    c->n_ranks = c->n_wanted;
  }
  if (c->written < c->generation && !c->writing && s->e->now_ns >= c->write_not_before_ns) {
    c->writing = c->generation;
    struct sw_action *a = sw_act(s, SW_DO_WRITE_GENERATION);
    a->generation = c->generation;
    a->n_ranks = c->n_ranks;
  }
  if (sw_zygote_is_lost(c) && needs_fork(c)) {
    begin_end(s, SW_END_BUDGET, SP_EXIT_JOB_FAILED, SP_EINTERNAL,
              sw_text(s,
                      "no rank can be started: the zygote died %d times without a step in "
                      "between; the last time %s",
                      (int)c->zygote_failures, c->zygote_text));
    return;
  }
  for (int32_t r = 0; r < SW_RANKS_MAX; r++) {
    settle_rank(s, r);
  }
  if (may_open(c, s->e->now_ns)) {
    open_generation(s);
  }
}

static void settle_running(struct sw_step *s) {
  struct sw_core *c = s->c;
  if (c->commits > c->open_commits) {
    c->n_proved = c->n_ranks;
  }
  if (c->died_ns && c->commits > c->open_commits) {
    int64_t ns = s->e->now_ns - c->died_ns;
    sw_tell_act(s, SW_TELL_RECOVERED,
                sw_text(s, "recovered: step %lld was finished %lld ms after the death",
                        (long long)c->step, (long long)(ns / MS)))
        ->ns = ns;
    c->died_ns = 0;
  }
  sw_spare_settle(s);
  bool wants = c->n_wanted != c->n_ranks && !c->stop_asked;
  if (wants && !c->leave_asked && (c->n_wanted < c->n_ranks || sw_zygote_is_up(c))) {
    c->leave_asked = true;
    sw_act(s, SW_DO_ASK_LEAVE);
  }
}

static void settle_zygote(struct sw_step *s) {
  struct sw_core *c = s->c;
  struct sw_proc *z = &c->zygote;
  bool wanted = c->phase < SW_PHASE_ENDING || (c->n_orders > 0 && !c->kill_all);
  /* What it failed at in the background is another story once somebody needs it. */
  bool is_due = s->e->now_ns >= c->zygote_not_before_ns ||
                (c->phase == SW_PHASE_FORMING && needs_fork(c) && c->zygote_commits != c->commits);
  if (z->state == SW_PROC_NONE && wanted && is_due) {
    sw_proc_start(s, z, SW_DO_START_ZYGOTE, c->config.zygote_ns);
  } else if (!wanted && z->pid && c->persister.state == SW_PROC_NONE &&
             (z->state == SW_PROC_STARTING || z->state == SW_PROC_UP)) {
    sw_proc_quit(s, z);
  }
}

static void end_of_rank(struct sw_step *s, struct sw_proc *p) {
  bool lives = p->state != SW_PROC_NONE && p->state != SW_PROC_DYING;
  if (lives && s->c->kill_all) {
    sw_proc_kill(s, p, SW_CAUSE_NONE, "");
  } else if (lives && p->state != SW_PROC_QUITTING && p->pid) {
    sw_proc_quit(s, p);
  }
}

static void settle_ending(struct sw_step *s) {
  struct sw_core *c = s->c;
  end_of_rank(s, &c->spare);
  bool any =
      c->publishing || c->n_orders > 0 || c->zygote.state || c->persister.state || c->spare.state;
  for (int32_t r = 0; r < SW_RANKS_MAX; r++) {
    end_of_rank(s, &c->ranks[r]);
    any = any || c->ranks[r].state != SW_PROC_NONE;
  }
  if (c->kill_all && c->zygote.state != SW_PROC_NONE && c->zygote.state != SW_PROC_DYING) {
    sw_proc_kill(s, &c->zygote, SW_CAUSE_NONE, "");
  }
  if (any) {
    return;
  }
  c->phase = SW_PHASE_OVER;
  struct sw_action *a = sw_act(s, SW_DO_END);
  a->end = c->end;
  a->exit = c->end_exit;
  a->status = c->end_status;
  a->text = c->end_text;
  a->step = c->step;
  a->generation = c->opened;
}

static void settle(struct sw_step *s) {
  if (s->c->phase == SW_PHASE_FORMING) {
    settle_forming(s);
  }
  if (s->c->phase == SW_PHASE_RUNNING) {
    settle_running(s);
  }
  sw_save_settle(s);
  settle_zygote(s);
  if (s->c->phase == SW_PHASE_ENDING) {
    settle_ending(s);
  }
}

/* ---- the step */

static void on_message(struct sw_step *s) {
  struct sw_core *c = s->c;
  struct sw_proc *p = sw_proc_of_id(c, s->e->proc);
  if (!p) {
    return;
  }
  bool is_rank = sw_role_of(c, p) == SW_ROLE_RANK;
  if (s->e->kind == SW_EV_UP && p == &c->zygote && p->state == SW_PROC_STARTING) {
    p->state = SW_PROC_UP;
    p->deadline_ns = SW_NEVER;
    c->zygote_was_up = true;
  } else if (s->e->kind == SW_EV_READY && is_rank) {
    on_ready(s, p);
  } else if (s->e->kind == SW_EV_LEFT && is_rank) {
    on_left(s, p);
  } else if (s->e->kind == SW_EV_FINISHED && p == &c->ranks[0] && p->state == SW_PROC_INSIDE) {
    begin_end(s, SW_END_FINISHED, sp_exit_of_status(s->e->status, true), s->e->status, "");
  }
}

static void act_on(struct sw_step *s) {
  struct sw_core *c = s->c;
  switch (s->e->kind) {
    case SW_EV_START:
      if (c->phase == SW_PHASE_NEW) {
        c->phase = SW_PHASE_FORMING;
        c->generation++;
      }
      break;
    case SW_EV_PID:
    case SW_EV_FAILED:
    case SW_EV_EOF:
    case SW_EV_EXIT:
      sw_proc_event(s);
      break;
    case SW_EV_WRITTEN:
      on_written(s);
      break;
    case SW_EV_UP:
    case SW_EV_READY:
    case SW_EV_LEFT:
    case SW_EV_FINISHED:
      on_message(s);
      break;
    case SW_EV_HANG:
      on_hang(s);
      break;
    case SW_EV_ALIVE:
      on_alive(s);
      break;
    case SW_EV_ORDER:
    case SW_EV_RECEIPT:
    case SW_EV_PUBLISHED:
      sw_save_event(s);
      break;
    case SW_EV_STOP:
    case SW_EV_CLIENT_GONE:
      on_stop(s);
      break;
    case SW_EV_SCALE:
      on_scale(s);
      break;
    case SW_EV_TIMER:
    case SW_EV_PROGRESS:
      break;
  }
}

void sw_core_step(struct sw_core *core, const struct sw_event *e, struct sw_actions *out) {
  out->n = out->n_text = out->n_causes = 0;
  out->wake_ns = SW_NEVER;
  if (core->phase == SW_PHASE_OVER || (core->phase == SW_PHASE_NEW && e->kind != SW_EV_START)) {
    return;
  }
  struct sw_step s = {core, e, out};
  core->commits = e->commits > core->commits ? e->commits : core->commits;
  core->step = e->step;
  act_on(&s);
  sw_proc_expire(&s);
  settle(&s);
  out->wake_ns = sw_wake(core, e->now_ns);
}

static const char *check_rank(const struct sw_core *c, int32_t r) {
  const struct sw_proc *p = &c->ranks[r];
  if (p->state == SW_PROC_NONE) {
    return c->phase == SW_PHASE_RUNNING && r < c->n_ranks ? "a rank of the open generation is not "
                                                            "there"
                                                          : NULL;
  }
  if (c->phase == SW_PHASE_OVER) {
    return "a process lives after the end";
  }
  if (p->state == SW_PROC_INSIDE && p->generation != c->opened) {
    return "a rank is inside a generation that is not the open one";
  }
  if (p->generation > c->written) {
    return "a rank was started for a generation that is not durable";
  }
  for (int32_t i = 0; i < r; i++) {
    if (p->pid && c->ranks[i].state != SW_PROC_NONE && c->ranks[i].pid == p->pid) {
      return "two ranks have one pid";
    }
  }
  return NULL;
}

const char *sw_core_check(const struct sw_core *core) {
  if (core->written > core->generation || core->opened > core->written) {
    return "generations are out of order";
  }
  if (core->phase == SW_PHASE_RUNNING && core->opened != core->generation) {
    return "running, but the newest generation is not open";
  }
  if (core->phase == SW_PHASE_OVER &&
      (core->zygote.state || core->persister.state || core->spare.state)) {
    return "the zygote, a persister or the spare lives after the end";
  }
  const char *what = NULL;
  for (int32_t r = 0; r < SW_RANKS_MAX && !what; r++) {
    what = check_rank(core, r);
  }
  return what;
}
