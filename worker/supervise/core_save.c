/* Orders: checkpoints that the committed page asks for, saved one at a time by a persister.
 *
 * An order is served from its pinned slot until it is published, or has failed as often as it may;
 * either way it is acknowledged, which frees the slot. Ranks and generations are not concerned.
 */
#include "worker/supervise/core_step.h"

#include <stdio.h>
#include <string.h>

#define MS INT64_C(1000000)

static void acknowledge(struct sw_step *s, sp_status status, const char *text) {
  struct sw_core *c = s->c;
  struct sw_action *a = sw_act(s, SW_DO_ACK_ORDER);
  a->order = c->orders[0].order;
  a->slot = c->orders[0].slot;
  a->status = status;
  a->text = text;
  c->n_orders--;
  memmove(&c->orders[0], &c->orders[1], sizeof c->orders[0] * (size_t)c->n_orders);
  c->save_failures = 0;
  c->save_not_before_ns = 0;
}

static void attempt_failed(struct sw_step *s, sp_status status, const char *text) {
  struct sw_core *c = s->c;
  c->save_failures++;
  bool over = c->save_failures >= c->config.save_attempts || c->kill_all;
  int64_t wait = over ? -1 : sw_backoff(c, c->save_failures + 1);
  struct sw_action *a = sw_tell_act(s, SW_TELL_SAVE_FAILED, text);
  a->order = c->orders[0].order;
  a->attempt = c->save_failures;
  a->ns = wait;
  if (over) {
    acknowledge(s, status, text);
  } else {
    c->save_not_before_ns = sw_after(s->e->now_ns, wait);
  }
}

void sw_persister_gone(struct sw_step *s, const struct sw_proc *was, const struct sw_cause *cause) {
  if (was->receipt || s->c->n_orders == 0) {
    return;
  }
  attempt_failed(s, was->status ? was->status : SP_EIO,
                 sw_text(s, "the checkpoint was not saved: %s", cause->text));
}

static void on_order(struct sw_step *s) {
  struct sw_core *c = s->c;
  bool late = c->kill_all || (c->phase >= SW_PHASE_ENDING && !sw_zygote_is_up(c));
  if (s->e->order <= c->order_newest || c->n_orders == SW_ORDERS_MAX || late) {
    return;
  }
  c->order_newest = s->e->order;
  c->orders[c->n_orders++] = (struct sw_order){s->e->order, s->e->slot};
}

static void on_receipt(struct sw_step *s) {
  struct sw_core *c = s->c;
  struct sw_proc *p = &c->persister;
  if (p->state != SW_PROC_STARTING || p->id != s->e->proc || c->n_orders == 0) {
    return;
  }
  p->state = SW_PROC_UP;
  p->receipt = true;
  p->deadline_ns = sw_after(s->e->now_ns, c->config.leave_ns);
  c->publishing = true;
  struct sw_action *a = sw_act(s, SW_DO_PUBLISH);
  a->proc = p->id;
  a->order = c->orders[0].order;
  a->slot = c->orders[0].slot;
}

static void on_published(struct sw_step *s) {
  struct sw_core *c = s->c;
  if (!c->publishing || c->n_orders == 0 || s->e->order != c->orders[0].order) {
    return;
  }
  c->publishing = false;
  if (s->e->status == SP_OK) {
    acknowledge(s, SP_OK, "");
    return;
  }
  const char *text = s->e->text ? s->e->text : sp_status_text(s->e->status);
  attempt_failed(s, s->e->status, sw_text(s, "the checkpoint was not published: %s", text));
}

void sw_save_event(struct sw_step *s) {
  if (s->e->kind == SW_EV_ORDER) {
    on_order(s);
  } else if (s->e->kind == SW_EV_RECEIPT) {
    on_receipt(s);
  } else {
    on_published(s);
  }
}

/* Second stop: the rename that is under way is waited for, nothing else. */
static void give_up(struct sw_step *s) {
  struct sw_core *c = s->c;
  struct sw_proc *p = &c->persister;
  if (p->state != SW_PROC_NONE && p->state != SW_PROC_DYING) {
    sw_proc_kill(s, p, SW_CAUSE_NONE, "");
  }
  while (c->n_orders > 0 && !c->publishing) {
    acknowledge(s, SP_ECANCELED, "stopped before it was saved");
  }
}

void sw_save_settle(struct sw_step *s) {
  struct sw_core *c = s->c;
  struct sw_proc *p = &c->persister;
  if (c->kill_all) {
    give_up(s);
  } else if (c->n_orders > 0 && p->state == SW_PROC_NONE && !c->publishing) {
    if (sw_zygote_is_up(c) && s->e->now_ns >= c->save_not_before_ns) {
      struct sw_action *a = sw_proc_start(s, p, SW_DO_FORK_PERSISTER, c->config.fork_ns);
      a->generation = p->generation = c->written; /* another one may be forming */
      a->order = c->orders[0].order;
      a->slot = c->orders[0].slot;
      a->attempt = c->save_failures + 1;
    } else if (sw_zygote_is_lost(c)) {
      acknowledge(s, SP_EIO, sw_text(s, "the checkpoint was not saved: %s", c->zygote_text));
    }
  }
}
