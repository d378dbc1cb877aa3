/* Steps done again. See replay.h. */
#include "worker/replay.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/trainer/follow.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "worker/ckpt.h"
#include "worker/verbs.h"

enum { REGIONS = 1024, NAME = 24 };

struct region {
  char name[NAME];
  void *p;
  size_t bytes;
};

struct sw_replay {
  struct sw_setup s;
  struct sw_fit_options options;
  struct stk_memory memory;
  struct region region[REGIONS];
  int n_regions;
  bool closed; /* what is shared was made before the fork */
  struct stk_group *group;
  size_t group_bytes;
  int32_t n_ranks;
  pid_t pid[STK_RANKS_MAX]; /* of ranks from 1 on */
  struct {
    _Atomic int32_t rank; /* the first that died; 0: none */
    _Atomic int status;   /* as wait tells it */
  } lost;
  sw_replay_fn *fn;
  void *ctx;
  bool enough;
};

/* ---- memory: made before the first fork, mapped by all */

static sp_status map_shared(size_t bytes, void **out, struct sp_err *err) {
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) {
    return sp_fail(err, SP_ENOMEM, "no memory for the state (%zu bytes)", bytes);
  }
  *out = p;
  return SP_OK;
}

static sp_status get_region(void *ctx, const char *name, size_t bytes, void **out_p,
                            struct sp_err *err) {
  struct sw_replay *r = ctx;
  for (int i = 0; i < r->n_regions; i++) {
    if (strcmp(r->region[i].name, name) == 0) {
      *out_p = r->region[i].p;
      return SP_OK;
    }
  }
  if (r->closed || r->n_regions == REGIONS) {
    return sp_fail(err, SP_EINTERNAL, "memory %s was not foreseen", name);
  }
  struct region *at = &r->region[r->n_regions];
  sp_status st = map_shared(bytes, &at->p, err);
  if (!st) {
    snprintf(at->name, sizeof at->name, "%s", name);
    at->bytes = bytes;
    r->n_regions++;
    *out_p = at->p;
  }
  return st;
}

static sp_status join(struct sw_replay *r, int32_t rank, int32_t threads, struct sp_err *err) {
  const struct stk_membership m = {.group = r->group,
                                   .generation = 1,
                                   .rank = rank,
                                   .n_ranks = r->n_ranks,
                                   .n_threads = threads,
                                   .pid = getpid()};
  return stk_session_join(r->s.session, &m, err);
}

/* Every region that some rank asks for. */
static sp_status foresee(struct sw_replay *r, struct sp_err *err) {
  sp_status st = SP_OK;
  for (int32_t rank = 0; rank < r->n_ranks && !st; rank++) {
    st = join(r, rank, 1, err);
  }
  r->closed = true;
  return st;
}

/* ---- making */

sp_status sw_replay_new(const struct sw_replay_spec *spec, struct sw_replay **out,
                        struct sp_err *err) {
  struct sw_replay *r = sp_alloc(sizeof *r);
  void *group = NULL;
  if (!r) {
    return sp_fail(err, SP_ENOMEM, "no memory to do steps again");
  }
  r->memory = (struct stk_memory){get_region, r};
  const struct sw_setup_spec setup = {.file = spec->job_file,
                                      .args = spec->args,
                                      .n_args = spec->n_args,
                                      .stage = STK_TRAIN,
                                      .memory = &r->memory};
  sp_status st = sw_setup_prepare(&setup, &r->s, err);
  st = st ? st : sw_fit_options_read(&r->s, &r->options, err);
  if (!st) {
    const int32_t lanes = stk_session_config_of(r->s.session)->n_lanes;
    r->options.c.n_ckpt = 0; /* what was saved is no part of a digest */
    r->n_ranks = (int32_t)r->s.job->trainer.ranks;
    r->group_bytes = stk_group_bytes(lanes);
    st = map_shared(r->group_bytes, &group, err);
    if (!st) {
      r->group = group;
      stk_group_init(r->group, lanes);
    }
  }
  st = st ? st : foresee(r, err);
  if (st) {
    sw_replay_free(r);
    return st;
  }
  *out = r;
  return SP_OK;
}

void sw_replay_free(struct sw_replay *r) {
  if (!r) {
    return;
  }
  sw_setup_close(&r->s);
  for (int i = 0; i < r->n_regions; i++) {
    munmap(r->region[i].p, r->region[i].bytes);
  }
  if (r->group) {
    munmap(r->group, r->group_bytes);
  }
  sp_free(r);
}

const struct sw_setup *sw_replay_setup(const struct sw_replay *r) {
  return &r->s;
}

/* As a run begins (worker/supervise/zygote.c). */
static sp_status first_state(struct sw_replay *r, const char *checkpoint, struct sp_err *err) {
  struct stk_state *state = stk_session_state(r->s.session);
  const struct sp_job *job = r->s.job;
  char text[512];
  stk_state_init(state, r->s.module, (uint64_t)job->root.seed_everything, NULL);
  sp_status st = stk_schedule_init(&job->lr, r->options.total_steps, r->options.c.max_epochs,
                                   &r->options.c.schedules, state->now->schedules, err);
  if (!st && job->weights.path && !*checkpoint) {
    st = sw_ckpt_fine_tune(&r->s, text, sizeof text, err);
  }
  if (!st && *checkpoint) {
    st = sw_ckpt_resume(&r->s, checkpoint, err);
  }
  if (!st) {
    stk_fit_first_page(&r->options.c, state->now);
    stk_state_commit(state);
  }
  return st;
}

/* ---- ranks */

/* This rank's share of the job's threads. */
static int32_t share(const struct sw_replay *r, int32_t rank) {
  const int32_t all = stk_pool_n_threads(r->s.pool);
  const int32_t mine = all * (rank + 1) / r->n_ranks - all * rank / r->n_ranks;
  return mine > 0 ? mine : 1;
}

static _Noreturn void follow(struct sw_replay *r, int32_t rank, pid_t parent) {
  struct sp_err err = {0};
  const struct stk_follow_loaders loaders = {r->s.train_loader, r->s.val_loader, NULL,
                                             r->s.n_train_batches};
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) {
    _exit(1);
  }
  const int32_t threads = share(r, rank);
  sp_status st = stk_pool_start(r->s.pool, threads, &err);
  st = st ? st : join(r, rank, threads, &err);
  if (st) {
    stk_group_fail(r->group, rank, st, err.text);
  } else {
    st = stk_follow(r->s.session, &loaders, &err);
  }
  _exit(st ? 1 : 0);
}

static sp_status fork_ranks(struct sw_replay *r, struct sp_err *err) {
  const pid_t self = getpid();
  stk_group_open(r->group, 1, (uint32_t)r->n_ranks);
  fflush(NULL);
  for (int32_t rank = 1; rank < r->n_ranks; rank++) {
    r->pid[rank] = fork();
    if (r->pid[rank] == 0) {
      follow(r, rank, self);
    }
    if (r->pid[rank] < 0) {
      return sp_fail_errno(err, "rank %d cannot be started", (int)rank);
    }
  }
  return SP_OK;
}

/* A thread of its own, so that the death of a rank ends the lead's wait for it. */
static void *watch(void *ctx) {
  struct sw_replay *r = ctx;
  int status;
  for (pid_t pid; (pid = waitpid(-1, &status, 0)) > 0 || errno == EINTR;) {
    for (int32_t rank = 1; pid > 0 && rank < r->n_ranks; rank++) {
      int32_t none = 0;
      if (r->pid[rank] == pid && status != 0) {
        if (atomic_compare_exchange_strong(&r->lost.rank, &none, rank)) {
          atomic_store(&r->lost.status, status);
        }
        stk_group_abort(r->group);
      }
    }
  }
  return NULL;
}

/* Why the others left, where this rank knows no more than that they did. */
static sp_status explain(struct sw_replay *r, sp_status st, struct sp_err *err) {
  const int32_t rank = atomic_load(&r->lost.rank);
  const int status = atomic_load(&r->lost.status);
  return st == SP_ECANCELED && rank > 0 && WIFSIGNALED(status)
             ? sp_fail(err, SP_EIO, "rank %d died of signal %d (%s)", (int)rank, WTERMSIG(status),
                       strsignal(WTERMSIG(status)))
             : st;
}

/* ---- the lead */

static stk_ask host_asked(void *ctx) {
  const struct sw_replay *r = ctx;
  return r->enough || sw_stop_asked() ? STK_ASK_LEAVE : STK_ASK_NOTHING;
}

static int64_t host_now(void *ctx) {
  (void)ctx;
  return sp_mono_now(sp_clock_system()).ns;
}

static void host_say(void *ctx, const char *text) {
  (void)ctx;
  (void)text;
}

static void host_audited(void *ctx, int64_t step, const struct stk_audit *a) {
  struct sw_replay *r = ctx;
  r->enough = r->enough || !r->fn(r->ctx, step, a);
}

static sp_status lead(struct sw_replay *r, struct sp_err *err) {
  struct stk_fit_config c = r->options.c;
  stk_fit *fit = NULL;
  stk_stop why;
  c.host = (struct stk_host){
      .ctx = r, .asked = host_asked, .now_ns = host_now, .audited = host_audited, .say = host_say};
  const int32_t threads = share(r, 0);
  sp_status st = stk_pool_start(r->s.pool, threads, err);
  st = st ? st : join(r, 0, threads, err);
  st = st ? st : stk_fit_new(&c, r->s.session, &fit, err);
  st = st ? st : stk_fit_run(fit, &why, err);
  st = st ? st : stk_session_dismiss(r->s.session, err);
  stk_fit_free(fit);
  return st;
}

sp_status sw_replay_run(struct sw_replay *r, const char *checkpoint, sw_replay_fn *fn, void *ctx,
                        struct sp_err *err) {
  pthread_t watcher;
  r->fn = fn;
  r->ctx = ctx;
  sp_status st = first_state(r, checkpoint, err);
  st = st ? st : fork_ranks(r, err);
  const bool watched = !st && pthread_create(&watcher, NULL, watch, r) == 0;
  if (!st && !watched) {
    st = sp_fail(err, SP_EIO, "no thread to watch the ranks");
  }
  st = st ? st : lead(r, err);
  if (st) {
    stk_group_abort(r->group);
  }
  if (watched) {
    pthread_join(watcher, NULL);
  }
  return explain(r, st, err);
}
