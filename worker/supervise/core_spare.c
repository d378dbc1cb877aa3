/* The spare: forked while all goes well, so that a death waits for no fork and no first touch of
 * memory.
 */
#include "worker/supervise/core_step.h"

bool sw_spare_take(struct sw_step *s, struct sw_proc *p) {
  struct sw_core *c = s->c;
  if (c->spare.state != SW_PROC_UP || c->spare.eof) {
    return false;
  }
  *p = c->spare;
  p->since = ++c->last_proc;
  c->spare = (struct sw_proc){0};
  c->spare_failures = 0;
  return true;
}

/* Not before the generation has finished a step: what is forked costs its ranks time. */
static bool is_wanted(const struct sw_core *c, int64_t now) {
  return c->config.spare && c->spare_failures <= c->config.restarts && !c->stop_asked &&
         !c->leave_asked && c->phase == SW_PHASE_RUNNING && c->commits > c->open_commits &&
         now >= c->spare_not_before_ns;
}

void sw_spare_settle(struct sw_step *s) {
  struct sw_core *c = s->c;
  if (c->spare.state == SW_PROC_NONE && is_wanted(c, s->e->now_ns) && sw_zygote_is_up(c)) {
    sw_proc_start(s, &c->spare, SW_DO_FORK_SPARE, c->config.fork_ns);
  }
}

void sw_spare_gone(struct sw_step *s, const struct sw_proc *was, const struct sw_cause *cause) {
  struct sw_core *c = s->c;
  if (was->counted || was->state == SW_PROC_QUITTING || c->phase >= SW_PHASE_ENDING) {
    return;
  }
  sw_tell_died(s, SW_ROLE_SPARE, -1, c->generation, cause);
  c->spare_failures++;
  c->spare_not_before_ns = sw_after(s->e->now_ns, sw_backoff(c, c->spare_failures));
  if (c->spare_failures > c->config.restarts) {
    sw_tell_act(s, SW_TELL_RETRY,
                sw_text(s, "the spare rank died %d times in a row: none is kept any more",
                        (int)c->spare_failures))
        ->ns = -1;
  }
}
