/* The core by hand. */
#include "tests/unit/supervise/drive.h"

#include "tests/lib/tt.h"

#include <stdio.h>
#include <string.h>

void drive_init(struct drive *d, int n_lanes, int n_ranks) {
  memset(d, 0, sizeof *d);
  struct sw_core_config config = {.n_lanes = n_lanes, .n_ranks = n_ranks};
  assert_int_equal(sw_core_init(&d->core, &config, NULL), SP_OK);
  d->now_ns = 1000 * (int64_t)DRIVE_MS;
}

static const char *tell_name(sw_tell tell) {
  static const char *const names[] = {"opened",  "died",     "retry",       "recovered",  "killed",
                                      "scaling", "stopping", "save-failed", "not-written"};
  return names[tell];
}

static const char *end_name(sw_end end) {
  static const char *const names[] = {"none",     "finished", "start-error", "job-error",
                                      "poisoned", "budget",   "canceled"};
  return names[end];
}

void drive_print_action(const struct sw_action *a, char *to, size_t n) {
  unsigned p = a->proc, g = a->generation;
  int r = (int)a->rank, x = (int)a->n_ranks;
  switch (a->kind) {
    case SW_DO_WRITE_GENERATION:
      snprintf(to, n, "write g%ux%d", g, x);
      break;
    case SW_DO_START_ZYGOTE:
      snprintf(to, n, "zygote #%u", p);
      break;
    case SW_DO_FORK_RANK:
      snprintf(to, n, "fork r%d #%u g%ux%d", r, p, g, x);
      break;
    case SW_DO_FORK_SPARE:
      snprintf(to, n, "spare #%u", p);
      break;
    case SW_DO_FORK_PERSISTER:
      snprintf(to, n, "persist #%u o%d s%d try%d", p, (int)a->order, (int)a->slot, (int)a->attempt);
      break;
    case SW_DO_JOIN:
      snprintf(to, n, "join r%d #%u g%ux%d", r, p, g, x);
      break;
    case SW_DO_ABORT:
      snprintf(to, n, "abort g%u", g);
      break;
    case SW_DO_OPEN:
      snprintf(to, n, "open g%ux%d", g, x);
      break;
    case SW_DO_ASK_FINISH:
      snprintf(to, n, "ask-finish %d", (int)a->reason);
      break;
    case SW_DO_ASK_LEAVE:
      snprintf(to, n, "ask-leave");
      break;
    case SW_DO_QUIT:
      snprintf(to, n, "quit #%u", p);
      break;
    case SW_DO_KILL:
      snprintf(to, n, "kill #%u", p);
      break;
    case SW_DO_KILL_UNKNOWN:
      snprintf(to, n, "kill-unknown");
      break;
    case SW_DO_PUBLISH:
      snprintf(to, n, "publish o%d s%d", (int)a->order, (int)a->slot);
      break;
    case SW_DO_ACK_ORDER:
      snprintf(to, n, "ack o%d s%d %d", (int)a->order, (int)a->slot, (int)a->status);
      break;
    case SW_DO_ANSWER:
      snprintf(to, n, "answer %d %d", (int)a->request, (int)a->status);
      break;
    case SW_DO_TELL:
      snprintf(to, n, "(%s)", tell_name(a->tell));
      break;
    case SW_DO_END:
      snprintf(to, n, "end %s %d", end_name(a->end), (int)a->exit);
      break;
  }
}

void drive_event(struct drive *d, struct sw_event e) {
  e.now_ns = d->now_ns;
  e.commits = d->commits;
  e.step = d->step;
  sw_core_step(&d->core, &e, &d->out);
  for (size_t i = 0; i < d->out.n; i++) {
    size_t at = strlen(d->said);
    snprintf(d->said + at, sizeof d->said - at, "%s", at ? "; " : "");
    at = strlen(d->said);
    drive_print_action(&d->out.at[i], d->said + at, sizeof d->said - at);
  }
  const char *broken = sw_core_check(&d->core);
  if (broken) {
    assert_string_equal(broken, "");
  }
}

void drive_proc(struct drive *d, sw_event_kind kind, uint32_t proc) {
  drive_event(d, (struct sw_event){.kind = kind, .proc = proc, .pid = 100 + (int64_t)proc});
}

void drive_rank(struct drive *d, sw_event_kind kind, uint32_t proc, uint32_t generation) {
  drive_event(d, (struct sw_event){.kind = kind, .proc = proc, .generation = generation});
}

void drive_killed(struct drive *d, uint32_t proc, int signal_number) {
  drive_event(d, (struct sw_event){
                     .kind = SW_EV_EXIT, .pid = 100 + (int64_t)proc, .wait_status = signal_number});
}

void drive_exits(struct drive *d, uint32_t proc, int status) {
  drive_event(d, (struct sw_event){
                     .kind = SW_EV_EXIT, .pid = 100 + (int64_t)proc, .wait_status = status << 8});
}

void drive_failed(struct drive *d, uint32_t proc, sp_status status, const char *text) {
  drive_event(
      d, (struct sw_event){.kind = SW_EV_FAILED, .proc = proc, .status = status, .text = text});
}

void drive_wake(struct drive *d) {
  assert_true(d->out.wake_ns != SW_NEVER && d->out.wake_ns > d->now_ns);
  d->now_ns = d->out.wake_ns;
  drive_event(d, (struct sw_event){.kind = SW_EV_TIMER});
}

void drive_said(struct drive *d, const char *want) {
  assert_string_equal(d->said, want);
  d->said[0] = '\0';
}

const char *drive_text(const struct drive *d, int tell) {
  for (size_t i = d->out.n; i-- > 0;) {
    const struct sw_action *a = &d->out.at[i];
    if (tell < 0 ? a->kind == SW_DO_END : a->kind == SW_DO_TELL && (int)a->tell == tell) {
      return a->text;
    }
  }
  return NULL;
}

void drive_open(struct drive *d, int n_lanes, int n_ranks) {
  drive_init(d, n_lanes, n_ranks);
  drive_start(d, n_ranks);
}

void drive_start(struct drive *d, int n_ranks) {
  drive_event(d, (struct sw_event){.kind = SW_EV_START});
  drive_event(d, (struct sw_event){.kind = SW_EV_WRITTEN, .generation = 1});
  drive_proc(d, SW_EV_PID, 1);
  drive_proc(d, SW_EV_UP, 1);
  for (int r = 0; r < n_ranks; r++) {
    drive_proc(d, SW_EV_PID, 2 + (uint32_t)r);
    drive_rank(d, SW_EV_READY, 2 + (uint32_t)r, 1);
  }
  assert_int_equal(d->core.phase, SW_PHASE_RUNNING);
  d->said[0] = '\0';
}

void drive_exits_of_quitters(struct drive *d) {
  char said[sizeof d->said];
  memcpy(said, d->said, sizeof said);
  d->said[0] = '\0';
  for (const char *part = said; *part; part += strspn(part, "; ")) {
    unsigned proc;
    if (sscanf(part, "quit #%u", &proc) == 1) {
      drive_exits(d, proc, 0);
    } else if (sscanf(part, "kill #%u", &proc) == 1) {
      drive_killed(d, proc, 9);
    }
    part += strcspn(part, ";");
  }
}

void drive_written(struct drive *d, uint32_t generation) {
  drive_event(d, (struct sw_event){.kind = SW_EV_WRITTEN, .generation = generation});
}

void drive_rank_is_up(struct drive *d, uint32_t proc, uint32_t generation) {
  drive_proc(d, SW_EV_PID, proc);
  drive_rank(d, SW_EV_READY, proc, generation);
}

void drive_finish(struct drive *d) {
  d->said[0] = '\0';
  drive_proc(d, SW_EV_FINISHED, d->core.ranks[0].id);
  drive_exits_of_quitters(d);
  drive_said(d, "end finished 0");
}
