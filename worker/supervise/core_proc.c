/* Processes of any role: asking for them, learning of them, and how they go.
 *
 * A process is known by its number from the moment it is asked for. Its pid comes later, perhaps
 * after its exit: exits that nobody claims are kept as strays while a pid is awaited.
 */
#include "worker/supervise/core_step.h"

#include <stdio.h>
#include <string.h>

/* ---- who is who */

static struct sw_proc *proc_at(struct sw_core *c, int32_t i) {
  struct sw_proc *others[] = {&c->zygote, &c->persister, &c->spare};
  return i < SW_RANKS_MAX ? &c->ranks[i] : others[i - SW_RANKS_MAX];
}

enum { N_PROCS = SW_RANKS_MAX + 3 };

struct sw_proc *sw_proc_of_id(struct sw_core *c, uint32_t id) {
  for (int32_t i = 0; i < N_PROCS && id; i++) {
    struct sw_proc *p = proc_at(c, i);
    if (p->state != SW_PROC_NONE && p->id == id) {
      return p;
    }
  }
  return NULL;
}

struct sw_proc *sw_proc_of_pid(struct sw_core *c, int64_t pid) {
  for (int32_t i = 0; i < N_PROCS && pid > 0; i++) {
    struct sw_proc *p = proc_at(c, i);
    if (p->state != SW_PROC_NONE && p->pid == pid) {
      return p;
    }
  }
  return NULL;
}

bool sw_core_knows(const struct sw_core *core, int64_t pid) {
  bool known = pid == core->zygote.pid || pid == core->persister.pid || pid == core->spare.pid;
  for (int32_t r = 0; r < SW_RANKS_MAX && !known; r++) {
    known = core->ranks[r].pid == pid;
  }
  return known && pid > 0;
}

sw_role sw_role_of(const struct sw_core *c, const struct sw_proc *p) {
  return p == &c->zygote      ? SW_ROLE_ZYGOTE
         : p == &c->persister ? SW_ROLE_PERSISTER
         : p == &c->spare     ? SW_ROLE_SPARE
                              : SW_ROLE_RANK;
}

int32_t sw_rank_of(const struct sw_core *c, const struct sw_proc *p) {
  return sw_role_of(c, p) == SW_ROLE_RANK ? (int32_t)(p - c->ranks) : -1;
}

const char *sw_who(struct sw_step *s, const struct sw_proc *p) {
  switch (sw_role_of(s->c, p)) {
    case SW_ROLE_ZYGOTE:
      return "the zygote";
    case SW_ROLE_PERSISTER:
      return "the persister";
    case SW_ROLE_SPARE:
      return "the spare rank";
    default:
      return sw_text(s, "rank %d", (int)sw_rank_of(s->c, p));
  }
}

/* ---- asking */

struct sw_action *sw_proc_start(struct sw_step *s, struct sw_proc *p, sw_action_kind kind,
                                int64_t within_ns) {
  *p = (struct sw_proc){.state = SW_PROC_STARTING,
                        .id = ++s->c->last_proc,
                        .since = s->c->last_proc,
                        .generation = s->c->generation,
                        .deadline_ns = sw_after(s->e->now_ns, within_ns)};
  struct sw_action *a = sw_act(s, kind);
  a->proc = p->id;
  a->rank = sw_rank_of(s->c, p);
  a->generation = s->c->generation;
  a->n_ranks = s->c->n_ranks;
  return a;
}

void sw_proc_quit(struct sw_step *s, struct sw_proc *p) {
  p->state = SW_PROC_QUITTING;
  p->deadline_ns = sw_after(s->e->now_ns, s->c->config.leave_ns);
  struct sw_action *a = sw_act(s, SW_DO_QUIT);
  a->proc = p->id;
  a->role = sw_role_of(s->c, p);
  a->rank = sw_rank_of(s->c, p);
}

static void send_kill(struct sw_step *s, struct sw_proc *p) {
  if (p->pid == 0 || p->killed) {
    return;
  }
  struct sw_action *a = sw_act(s, SW_DO_KILL);
  a->proc = p->id;
  a->pid = p->pid;
  a->role = sw_role_of(s->c, p);
  a->rank = sw_rank_of(s->c, p);
  p->killed = true;
}

void sw_proc_kill(struct sw_step *s, struct sw_proc *p, sw_cause_kind why, const char *text) {
  if (why != SW_CAUSE_NONE && p->why == SW_CAUSE_NONE) {
    p->why = why;
    snprintf(p->text, sizeof p->text, "%s", text);
  }
  if (why != SW_CAUSE_NONE && p->pid && !p->killed) {
    const char *said = sw_text(s, "%s %s: killed", sw_who(s, p), p->text);
    sw_tell_act(s, SW_TELL_KILLED, said)->rank = sw_rank_of(s->c, p);
  }
  p->state = SW_PROC_DYING;
  /* Without a pid, what was asked for must show up, or its maker is looked at. */
  p->deadline_ns = p->pid ? SW_NEVER : p->deadline_ns;
  send_kill(s, p);
}

/* ---- going */

static void gone(struct sw_step *s, struct sw_proc *p, const struct sw_cause *cause) {
  sw_role role = sw_role_of(s->c, p);
  int32_t rank = sw_rank_of(s->c, p);
  struct sw_proc was = *p;
  *p = (struct sw_proc){0};
  if (role == SW_ROLE_ZYGOTE) {
    sw_zygote_gone(s, &was, cause);
  } else if (role == SW_ROLE_PERSISTER) {
    sw_persister_gone(s, &was, cause);
  } else if (role == SW_ROLE_SPARE) {
    sw_spare_gone(s, &was, cause);
  } else {
    sw_rank_gone(s, &was, rank, cause);
  }
}

/* Its zygote died over it, and was counted. */
static void gone_without_trace(struct sw_step *s, struct sw_proc *p) {
  struct sw_cause *cause = sw_cause_new(s);
  p->counted = true;
  sw_cause_of_error(cause, sw_who(s, p), SP_EINTERNAL, "it ended while it was being forked");
  gone(s, p, cause);
}

static void exited(struct sw_step *s, struct sw_proc *p, int wait_status, bool oom,
                   const char *words) {
  struct sw_cause *cause = sw_cause_new(s);
  if (p->status) {
    sw_cause_of_error(cause, sw_who(s, p), p->status, p->text);
  } else if (p->why && p->killed) {
    sw_cause_of_kill(cause, sw_who(s, p), p->why, p->text);
  } else {
    sw_cause_of_exit(cause, sw_who(s, p), wait_status, oom, words);
  }
  bool is_zygote = p == &s->c->zygote;
  gone(s, p, cause);
  for (int32_t i = 0; is_zygote && i < N_PROCS; i++) {
    struct sw_proc *asked = proc_at(s->c, i);
    if (asked->state != SW_PROC_NONE && asked->pid == 0 && asked->eof) {
      gone_without_trace(s, asked);
    }
  }
}

/* ---- events */

static void forget_strays(struct sw_core *c) {
  for (int32_t i = 0; i < N_PROCS; i++) {
    const struct sw_proc *p = proc_at(c, i);
    if (p->state != SW_PROC_NONE && p->pid == 0) {
      return;
    }
  }
  c->n_strays = 0;
}

static void on_pid(struct sw_step *s, struct sw_proc *p) {
  struct sw_core *c = s->c;
  if (p->pid || s->e->pid <= 0) {
    return;
  }
  p->pid = s->e->pid;
  for (int32_t i = 0; i < c->n_strays; i++) {
    if (c->strays[i].pid == p->pid) {
      exited(s, p, c->strays[i].wait_status, c->strays[i].oom, NULL);
      return;
    }
  }
  if (p->state == SW_PROC_STARTING && p == &c->spare) {
    p->state = SW_PROC_UP;
    p->deadline_ns = SW_NEVER;
  } else if (p->state == SW_PROC_STARTING && p != &c->zygote) {
    p->deadline_ns =
        sw_after(s->e->now_ns, p == &c->persister ? c->config.persist_ns : c->config.ready_ns);
  }
  if (p->state == SW_PROC_DYING || (p->eof && (p->state != SW_PROC_UP || p == &c->spare))) {
    sw_proc_kill(s, p, SW_CAUSE_NONE, "");
  }
}

static void on_exit(struct sw_step *s) {
  struct sw_core *c = s->c;
  struct sw_proc *p = sw_proc_of_pid(c, s->e->pid);
  if (p) {
    exited(s, p, s->e->wait_status, s->e->oom, s->e->text);
    return;
  }
  if (c->n_strays == SW_STRAYS_MAX) {
    c->n_strays--;
    memmove(&c->strays[0], &c->strays[1], sizeof c->strays[0] * (size_t)c->n_strays);
  }
  c->strays[c->n_strays].pid = s->e->pid;
  c->strays[c->n_strays].wait_status = s->e->wait_status;
  c->strays[c->n_strays].oom = s->e->oom;
  c->n_strays++;
}

/* The zygote that was asked for p is dead: nobody will say p's pid but p itself. */
static bool is_orphan(const struct sw_core *c, const struct sw_proc *p) {
  return p != &c->zygote && (c->zygote.state == SW_PROC_NONE || c->zygote.id > p->id);
}

static void on_eof(struct sw_step *s, struct sw_proc *p) {
  p->eof = true;
  if (p->pid == 0 && is_orphan(s->c, p)) {
    gone_without_trace(s, p);
  } else if (p->pid && p->state != SW_PROC_QUITTING && p != &s->c->persister) {
    sw_proc_kill(s, p, SW_CAUSE_NONE, "");
    if (sw_role_of(s->c, p) == SW_ROLE_RANK && p->generation == s->c->opened) {
      sw_close(s);
    }
  }
}

static void on_failed(struct sw_step *s, struct sw_proc *p) {
  if (p->pid == 0) { /* it was never started */
    struct sw_cause *cause = sw_cause_new(s);
    sw_cause_of_error(cause, sw_who(s, p), s->e->status, s->e->text);
    p->status = s->e->status;
    snprintf(p->text, sizeof p->text, "%s", s->e->text ? s->e->text : "");
    gone(s, p, cause);
    return;
  }
  if (p->status || p->state == SW_PROC_DYING || s->e->status == SP_OK ||
      s->e->status == SP_ECANCELED) {
    return;
  }
  p->status = s->e->status;
  snprintf(p->text, sizeof p->text, "%s", s->e->text ? s->e->text : "");
  if (sw_role_of(s->c, p) == SW_ROLE_RANK) {
    sw_rank_failed(s, p);
  } else if (p == &s->c->zygote) {
    sw_zygote_failed(s, p);
  } else if (p == &s->c->spare) {
    sw_proc_kill(s, p, SW_CAUSE_NONE, "");
  }
}

void sw_proc_event(struct sw_step *s) {
  if (s->e->kind == SW_EV_EXIT) {
    on_exit(s);
    forget_strays(s->c);
    return;
  }
  struct sw_proc *p = sw_proc_of_id(s->c, s->e->proc);
  if (!p) {
    return;
  }
  if (s->e->kind == SW_EV_PID) {
    on_pid(s, p);
  } else if (s->e->kind == SW_EV_EOF) {
    on_eof(s, p);
  } else if (s->e->kind == SW_EV_FAILED) {
    on_failed(s, p);
  }
  forget_strays(s->c);
}

/* ---- deadlines */

/* A fork was asked for and nothing is known of it: the zygote hangs, or has died with the answer.
 */
static void fork_is_late(struct sw_step *s, struct sw_proc *p) {
  p->deadline_ns = sw_after(s->e->now_ns, s->c->config.fork_ns);
  if (is_orphan(s->c, p)) {
    sw_act(s, SW_DO_KILL_UNKNOWN);
  } else if (s->c->zygote.state != SW_PROC_DYING) {
    sw_proc_kill(s, &s->c->zygote, SW_CAUSE_HANG, "did not answer when asked for a process");
  }
}

static void expire(struct sw_step *s, struct sw_proc *p) {
  if (p->pid == 0 && p != &s->c->zygote) {
    fork_is_late(s, p);
    return;
  }
  const char *why = p->state == SW_PROC_INSIDE     ? "did not leave its generation in time"
                    : p->state == SW_PROC_QUITTING ? "did not end when told to"
                    : p == &s->c->persister        ? "did not finish a save in time"
                    : p == &s->c->zygote           ? "stood still before it was ready"
                                                   : "did not get ready in time";
  sw_proc_kill(s, p, SW_CAUSE_HANG, why);
}

void sw_proc_expire(struct sw_step *s) {
  for (int32_t i = 0; i < N_PROCS; i++) {
    struct sw_proc *p = proc_at(s->c, i);
    if (p->state != SW_PROC_NONE && p->deadline_ns <= s->e->now_ns) {
      expire(s, p);
    }
  }
}
