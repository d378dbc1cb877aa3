/* What the files of the core share: one step in progress. Nobody else includes this. */
#ifndef SW_SUPERVISE_CORE_STEP_H
#define SW_SUPERVISE_CORE_STEP_H

#include "worker/supervise/core.h"

struct sw_step {
  struct sw_core *c;
  const struct sw_event *e;
  struct sw_actions *out;
};

/* ---- core_out.c: actions, texts, time */

/* The next action, zeroed but for rank -1 and text "". */
struct sw_action *sw_act(struct sw_step *s, sw_action_kind kind);

/* The next TELL, with the newest step and the given text. */
struct sw_action *sw_tell_act(struct sw_step *s, sw_tell tell, const char *text);

/* A text that lives as long as the actions; "" when they have no room left. */
const char *sw_text(struct sw_step *s, const char *fmt, ...) SP_PRINTF(2, 3);

/* A cause that lives as long as the actions. */
struct sw_cause *sw_cause_new(struct sw_step *s);

/* t + ns, or SW_NEVER. */
int64_t sw_after(int64_t t, int64_t ns);

/* Before attempt n (from 1) after failures without progress: 0, then backoff_ns times 4 each. */
int64_t sw_backoff(const struct sw_core *c, int32_t n);

/* The earliest deadline or back-off that is still to come. */
int64_t sw_wake(const struct sw_core *c, int64_t now);

/* ---- core_proc.c: processes of any role */

/* The process that has the number, or the pid; NULL: none, or gone. */
struct sw_proc *sw_proc_of_id(struct sw_core *c, uint32_t id);
struct sw_proc *sw_proc_of_pid(struct sw_core *c, int64_t pid);

sw_role sw_role_of(const struct sw_core *c, const struct sw_proc *p);
int32_t sw_rank_of(const struct sw_core *c, const struct sw_proc *p); /* -1: no rank */

/* "rank 3", "the zygote", "the persister" */
const char *sw_who(struct sw_step *s, const struct sw_proc *p);

/* Asks for a process: the action START or FORK, with proc and rank filled in. */
struct sw_action *sw_proc_start(struct sw_step *s, struct sw_proc *p, sw_action_kind kind,
                                int64_t within_ns);

void sw_proc_quit(struct sw_step *s, struct sw_proc *p);

/* SIGKILL, as soon as the pid is known. why: NONE, or HANG or STOPPED with a half sentence. */
void sw_proc_kill(struct sw_step *s, struct sw_proc *p, sw_cause_kind why, const char *text);

/* Events about processes, and deadlines that have passed. */
void sw_proc_event(struct sw_step *s);
void sw_proc_expire(struct sw_step *s);

/* ---- core.c */

/* A process is gone; p holds what it was, its place is free already. */
void sw_rank_gone(struct sw_step *s, const struct sw_proc *was, int32_t rank,
                  const struct sw_cause *cause);
void sw_zygote_gone(struct sw_step *s, const struct sw_proc *was, const struct sw_cause *cause);

/* It reported an error and is still there. */
void sw_rank_failed(struct sw_step *s, struct sw_proc *p);
void sw_zygote_failed(struct sw_step *s, struct sw_proc *p);

/* The open generation is over: all leave. */
void sw_close(struct sw_step *s);

/* Forks can be had: now, later (the zygote is being restarted), or not any more. */
bool sw_zygote_is_up(const struct sw_core *c);
bool sw_zygote_is_lost(const struct sw_core *c);

void sw_tell_died(struct sw_step *s, sw_role role, int32_t rank, uint32_t generation,
                  const struct sw_cause *cause);

/* ---- core_spare.c: the spare */

/* The spare becomes p, whose place is free; false: there is none. */
bool sw_spare_take(struct sw_step *s, struct sw_proc *p);
void sw_spare_settle(struct sw_step *s);
void sw_spare_gone(struct sw_step *s, const struct sw_proc *was, const struct sw_cause *cause);

/* ---- core_save.c: orders and their persister */

void sw_save_event(struct sw_step *s);
void sw_save_settle(struct sw_step *s);
void sw_persister_gone(struct sw_step *s, const struct sw_proc *was, const struct sw_cause *cause);

#endif
