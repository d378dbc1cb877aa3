/* Requests on RUN/control.sock. See driver.h. */
#include <stdio.h>
#include <unistd.h>

#include "worker/supervise/driver.h"

static void done(struct sw_driver *d, uint64_t ticket, const char *text) {
  struct sp_control m = {.kind = SP_CONTROL_DONE, .u.done = {text}};
  sp_control_server_answer(d->control, ticket, &m);
}

static void status(struct sw_driver *d, uint64_t ticket) {
  static const char *const states[] = {"forming", "forming", "running", "ending", "ending"};
  struct sw_committed now = sw_books_committed(&d->books);
  struct sp_control m = {.kind = SP_CONTROL_STATUS,
                         .u.status = {.state = states[d->core.phase],
                                      .pid = getpid(),
                                      .step = now.step,
                                      .epoch = now.epoch,
                                      .total_steps = d->total_steps,
                                      .generation = d->generation,
                                      .ranks = d->n_ranks,
                                      .lanes = d->lanes,
                                      .deaths = d->deaths,
                                      .recoveries = d->recoveries}};
  sp_control_server_answer(d->control, ticket, &m);
}

static void on_request(void *ctx, uint64_t ticket, const struct sp_control *m) {
  struct sw_driver *d = ctx;
  if (m->kind == SP_CONTROL_SCALE) {
    sw_driver_event(
        d, (struct sw_event){
               .kind = SW_EV_SCALE, .n_ranks = (int32_t)m->u.scale.ranks, .request = ticket});
  } else if (m->kind == SP_CONTROL_STOP) {
    sw_driver_event(d, (struct sw_event){.kind = SW_EV_STOP});
    if (m->u.stop.now) {
      sw_driver_event(d, (struct sw_event){.kind = SW_EV_STOP});
    }
    done(d, ticket,
         m->u.stop.now ? "ending at once" : "stopping at the next step, with a checkpoint");
  } else {
    status(d, ticket);
  }
}

void sw_driver_listen(struct sw_driver *d) {
  struct sp_control_server_options o = {.ctx = d, .on_request = on_request};
  struct sp_err err = {0};
  if (sp_control_server_open(&d->loop, d->run.dir, &o, &d->control, &err)) {
    d->control = NULL;
    sw_emit_text(d->client, SP_TEXT_WARNING, "nobody can ask this run anything: %s\n", err.text);
  }
}

void sw_driver_answer(struct sw_driver *d, const struct sw_action *a) {
  struct sp_control m = {.kind = SP_CONTROL_REFUSED, .u.refused = {a->status, a->text}};
  if (!a->status) {
    done(d, a->request, a->text);
  } else {
    sp_control_server_answer(d->control, a->request, &m);
  }
}
