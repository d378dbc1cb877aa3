/* Ranks in tests (ranks.h). */
#include "tests/exact/ranks.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/trainer/follow.h"
#include "proto/base/mem.h"

enum { LEAVE = -1, WAIT_NS = 100000, PATIENCE = 600000 /* waits */ };

static void wait_briefly(void) {
  const struct timespec t = {0, WAIT_NS};
  nanosleep(&t, NULL);
}

/* ---- a rank's process */

static stk_ask asked(void *ctx) {
  struct xr *w = ctx;
  const int64_t at = atomic_load(&w->shared->stop_at);
  bool stop = at >= 0 && stk_session_state(w->s.session)->now->global_step >= at;
  return stop ? STK_ASK_STOP : STK_ASK_NOTHING;
}

/* Loss and samples are told, not kept: a step that is done again tells the same. */
static void note(void *ctx, const struct stk_progress *p, int32_t n, const char *const *names,
                 const double *values) {
  struct xr *w = ctx;
  const bool is_step = p->stage == STK_TRAIN && n > 0 && strcmp(names[0], "loss") == 0;
  if (is_step && p->global_step < XR_STEPS) {
    w->shared->loss[p->global_step] = values[0];
    w->shared->samples[p->global_step] = p->samples;
  }
}

static sp_status run_lead(struct xr *w, bool *out_done, struct sp_err *err) {
  stk_fit *fit = NULL;
  stk_stop why = STK_STOP_NONE;
  struct stk_fit_config c = w->c;
  c.host.ctx = w;
  c.host.asked = asked;
  c.host.progress = note;
  sp_status st = stk_fit_new(&c, w->s.session, &fit, err);
  st = st ? st : stk_fit_run(fit, &why, err);
  *out_done = !st && why != STK_STOP_SIGNAL;
  st = st ? st : stk_session_dismiss(w->s.session, err);
  stk_fit_free(fit);
  return st;
}

static sp_status run_follower(struct xr *w, struct sp_err *err) {
  const struct stk_follow_loaders loaders = {w->s.train_loader, w->s.val_loader, NULL,
                                             w->s.n_train_batches};
  struct stk_follow_loaders broken = loaders;
  broken.train = NULL;
  return stk_follow(w->s.session, atomic_load(&w->shared->bad_epoch) < 0 ? &loaders : &broken, err);
}

static sp_status run_generation(struct xr *w, struct xr_seat *seat, bool *out_done,
                                struct sp_err *err) {
  const struct stk_membership m = {.group = w->group,
                                   .generation = atomic_load(&seat->command),
                                   .rank = atomic_load(&seat->rank),
                                   .n_ranks = atomic_load(&seat->n_ranks),
                                   .n_threads = w->n_threads,
                                   .pid = getpid()};
  (void)stk_state_reload(stk_session_state(w->s.session));
  sp_status st = stk_session_join(w->s.session, &m, err);
  if (st) {
    return st;
  }
  return m.rank == 0 ? run_lead(w, out_done, err) : run_follower(w, err);
}

/* Never returns. Nothing here may fail the test: that is the parent's. */
static void rank_main(struct xr *w, struct xr_seat *seat) {
  struct sp_err err = {0};
  static const int faults[] = {SIGSEGV, SIGFPE, SIGILL, SIGBUS, SIGSYS};
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
    signal(faults[i], SIG_DFL); /* cmocka's would go on with the parent's tests here */
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  tt_take_cpus((int32_t)(seat - w->shared->seat) % 2, 2); /* or all would be pinned to the first */
  if (stk_pool_start(w->s.pool, w->n_threads, &err)) {
    fprintf(stderr, "%s\n", err.text);
    _exit(2);
  }
  for (uint32_t seen = 0;;) {
    const uint32_t command = atomic_load(&seat->command);
    if (command == seen) {
      wait_briefly();
      continue;
    }
    if (command == (uint32_t)LEAVE) {
      _exit(0);
    }
    bool done = false;
    sp_status st = run_generation(w, seat, &done, &err);
    snprintf(seat->text, sizeof seat->text, "%s", st ? err.text : "");
    atomic_store(&seat->status, (int32_t)st);
    atomic_store(&seat->is_done, done);
    seen = command;
    atomic_store(&seat->answer, command);
  }
}

/* ---- the parent */

struct xr *xr_open(const char *job_file, const char *options, int n_threads) {
  struct sp_err err = {0};
  const char *args[XJ_ARGS];
  size_t n_args = 0;
  char words[1024], *rest = NULL;
  struct xr *w = sp_alloc(sizeof *w);
  assert_non_null(w);
  snprintf(words, sizeof words, "%s", options);
  for (char *a = strtok_r(words, " ", &rest); a; a = strtok_r(NULL, " ", &rest)) {
    assert_true(n_args < XJ_ARGS);
    args[n_args++] = a;
  }
  w->n_threads = n_threads;
  tt_regions_init(&w->regions);
  w->shared = tt_regions_map(&w->regions, sizeof *w->shared);
  assert_non_null(w->shared);
  atomic_store(&w->shared->stop_at, -1);
  atomic_store(&w->shared->bad_epoch, -1);
  const struct sw_setup_spec spec = {.file = job_file,
                                     .args = args,
                                     .n_args = n_args,
                                     .stage = STK_TRAIN,
                                     .memory = &w->regions.memory};
  xj_check(sw_setup_prepare(&spec, &w->s, &err), &err);
  xj_configure(&w->s, &w->c);
  xj_begin(&w->s, &w->c);
  xj_check(tt_regions_foresee(&w->regions, w->s.session, XR_SEATS, &w->group, &err), &err);
  stk_fit *fit = NULL; /* puts the callbacks' first state into the page */
  xj_check(stk_fit_new(&w->c, w->s.session, &fit, &err), &err);
  stk_fit_free(fit);
  stk_state_commit(stk_session_state(w->s.session));
  return w;
}

static void empty_seat(struct xr *w, int i) {
  if (w->pid[i]) {
    atomic_store(&w->shared->seat[i].command, (uint32_t)LEAVE);
    int status;
    for (int k = 0; k < PATIENCE && waitpid(w->pid[i], &status, WNOHANG) == 0; k++) {
      wait_briefly();
    }
    w->pid[i] = 0;
  }
}

void xr_close(struct xr *w) {
  for (int i = 0; i < XR_SEATS; i++) {
    empty_seat(w, i);
  }
  sw_setup_close(&w->s);
  tt_regions_free(&w->regions);
  sp_free(w);
}

static void fork_seat(struct xr *w, int i, int32_t rank) {
  const char *fault = w->fault[rank];
  w->fault[rank] = NULL;
  memset(&w->shared->seat[i], 0, sizeof w->shared->seat[i]);
  w->pid[i] = fork();
  assert_true(w->pid[i] >= 0);
  if (w->pid[i] == 0) {
    if (fault) {
      setenv("STOKER_FAULT", fault, 1);
    }
    rank_main(w, &w->shared->seat[i]);
  }
}

/* Survivors move up, new processes take the ranks behind them; who is too many leaves. */
static void seat_ranks(struct xr *w, int32_t n_ranks) {
  int32_t rank = 0;
  for (int i = 0; i < XR_SEATS; i++) {
    if (w->pid[i] && rank == n_ranks) {
      empty_seat(w, i);
    }
    w->rank[i] = w->pid[i] ? rank++ : -1;
  }
  for (int i = 0; i < XR_SEATS && rank < n_ranks; i++) {
    if (!w->pid[i]) {
      fork_seat(w, i, rank);
      w->rank[i] = rank++;
    }
  }
  assert_int_equal(rank, n_ranks);
  for (int i = 0; i < XR_SEATS; i++) {
    struct xr_seat *seat = &w->shared->seat[i];
    atomic_store(&seat->rank, w->rank[i]);
    atomic_store(&seat->n_ranks, n_ranks);
    if (w->pid[i]) {
      atomic_store(&seat->command, w->generation);
    }
  }
}

bool xr_kill(struct xr *w, int32_t rank) {
  for (int i = 0; i < XR_SEATS; i++) {
    if (w->pid[i] && w->rank[i] == rank && !w->is_killed[i]) {
      w->is_killed[i] = true;
      return kill(w->pid[i], SIGKILL) == 0;
    }
  }
  return false;
}

/* How many processes have died since the last look; the generation is over then. */
static int reap(struct xr *w) {
  int n = 0, status;
  for (int i = 0; i < XR_SEATS; i++) {
    if (w->pid[i] && waitpid(w->pid[i], &status, WNOHANG) == w->pid[i]) {
      if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
        fail_msg("rank %d ended by itself, wait status %x", (int)w->rank[i], (unsigned)status);
      }
      w->pid[i] = 0;
      w->is_killed[i] = false;
      stk_group_abort(w->group);
      n++;
    }
  }
  w->n_died += n;
  return n;
}

static bool all_answered(const struct xr *w) {
  for (int i = 0; i < XR_SEATS; i++) {
    if (w->pid[i] && atomic_load(&w->shared->seat[i].answer) != w->generation) {
      return false;
    }
  }
  return true;
}

static enum xr_end end_of(struct xr *w, bool lost, struct sp_err *err) {
  enum xr_end end = XR_LOST;
  for (int i = 0; i < XR_SEATS; i++) {
    const struct xr_seat *seat = &w->shared->seat[i];
    if (w->pid[i] && w->rank[i] == 0) {
      const sp_status st = (sp_status)atomic_load(&seat->status);
      /* A death after the last commit takes nothing away. */
      if (atomic_load(&seat->is_done)) {
        end = XR_DONE;
      } else if (!lost && !st) {
        end = XR_STOPPED;
      } else if (!lost || st != SP_ECANCELED) {
        end = XR_FAILED;
        sp_fail(err, st, "%s", seat->text);
      }
    }
  }
  return end;
}

enum xr_end xr_generation(struct xr *w, int32_t n_ranks, void (*tick)(struct xr *w, void *ctx),
                          void *ctx, struct sp_err *err) {
  bool lost = false;
  stk_group_open(w->group, ++w->generation, (uint32_t)n_ranks);
  seat_ranks(w, n_ranks);
  for (int i = 0; i < PATIENCE; i++) {
    lost = reap(w) > 0 || lost;
    if (all_answered(w)) {
      lost = reap(w) > 0 || lost;
      return end_of(w, lost, err);
    }
    if (tick) {
      tick(w, ctx);
    }
    wait_briefly();
  }
  for (int i = 0; i < XR_SEATS; i++) {
    if (w->pid[i]) {
      print_error("rank %d: %s after %d steps\n", (int)w->rank[i],
                  stk_group_phase_text(atomic_load(&w->group->rank[w->rank[i]].phase)),
                  (int)atomic_load(&w->group->rank[w->rank[i]].step));
      kill(w->pid[i], SIGKILL);
    }
  }
  fail_msg("generation %u hangs", w->generation);
  return XR_FAILED;
}

int64_t xr_step(const struct xr *w) {
  const struct stk_control *page = stk_state_committed(stk_session_state(w->s.session));
  return page ? page->global_step : 0;
}

void xr_hash(struct xr *w, char hex[XJ_HEX]) {
  struct stk_state *state = stk_session_state(w->s.session);
  uint8_t digest[32];
  assert_true(stk_state_reload(state));
  stk_state_hash(state, digest);
  for (int i = 0; i < 32; i++) {
    snprintf(hex + 2 * i, 3, "%02x", digest[i]);
  }
}
