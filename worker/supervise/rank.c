/* A rank, or the spare, which is one of no generation until it is told to join.
 *
 * A rank prepares for a generation when told to join, runs it when told that it is open, leaves it
 * when it is aborted, and waits for the next one. Rank 0 leads: it runs the fit loop with
 * everything that is done once per job; the others follow (engine/trainer/session.h).
 *
 * Outside of a generation it changes nothing that is shared. One thread, and the pool's; before,
 * the spare's.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "engine/trainer/follow.h"
#include "proto/base/clock.h"
#include "proto/base/fault.h"
#include "proto/base/mem.h"
#include "worker/profile.h"
#include "worker/supervise/spare.h"
#include "worker/supervise/zygote.h"

enum { PROGRESS_NS = 50000000, LOOK_NS = 50000000, ROOM_NS = 500000 };

struct rank {
  struct sw_zygote *z;
  int stream;
  int32_t rank, n_ranks; /* rank -1: the spare */
  struct sw_spare spare;
  int64_t generation;
  int threads;
  int64_t first_step; /* of the generation: its end is told at once; -1: it was */
  sp_event_reader *reader;
  char run_dir[PATH_MAX], ckpt_dir[PATH_MAX];
  cpu_set_t cpus; /* of the whole job */
  int32_t n_cpus; /* of these, what quotas leave */
  uint64_t rows_head;
  int32_t phase_rows; /* put since the last commit */
  int32_t known_rows; /* that a phase begun before has committed, and that come again */
  struct sw_emit e;
  int64_t last_progress_ns, window_ns, window_steps, window_samples;
  double steps_per_s, items_per_s;
};

static int64_t mono_ns(void *ctx) {
  (void)ctx;
  return sp_mono_now(sp_clock_system()).ns;
}

static void say(struct rank *r, struct sp_supervise m) {
  if (sp_supervise_send(r->stream, &m, -1, NULL)) {
    _exit(SP_EXIT_JOB_LOST); /* nobody is there: whoever comes next starts others */
  }
}

/* ---- the host of the loop (engine/trainer/fit.h) */

static stk_ask host_asked(void *ctx) {
  struct rank *r = ctx;
  if (r->first_step >= 0 && stk_session_state(r->z->s.session)->now->global_step > r->first_step) {
    r->first_step = -1; /* the supervisor counts from a death to this commit */
    say(r, (struct sp_supervise){.kind = SP_SUPERVISE_HELLO, .u.hello = {getpid(), r->rank}});
  }
  uint32_t stop = atomic_load_explicit(&r->z->group->stop, memory_order_acquire);
  return stk_group_aborted(r->z->group) || stop == SW_GROUP_LEAVE ? STK_ASK_LEAVE
         : stop == SW_GROUP_FINISH                                ? STK_ASK_STOP
                                                                  : STK_ASK_NOTHING;
}

static void host_say(void *ctx, const char *text) {
  struct rank *r = ctx;
  sw_emit_text(&r->e, SP_TEXT_INFO, "%s\n", text);
}

static bool is_text(const struct rank *r) {
  return stk_dataset_x_type(r->z->s.train) == STK_I32;
}

/* Steps and items per second, smoothed, over the time since the last progress. */
static void measure(struct rank *r, int64_t now) {
  const struct sw_setup *s = &r->z->s;
  double per_sample =
      is_text(r) ? (double)stk_sample_elements(&stk_dataset_info(s->train)->x) : 1.0;
  double seconds = (double)(now - r->window_ns) * 1e-9;
  double a = r->steps_per_s > 0.0 ? 0.3 : 1.0;
  r->steps_per_s += a * ((double)r->window_steps / seconds - r->steps_per_s);
  r->items_per_s += a * ((double)r->window_samples * per_sample / seconds - r->items_per_s);
}

static void host_progress(void *ctx, const struct stk_progress *p, int32_t n,
                          const char *const *names, const double *values) {
  struct rank *r = ctx;
  int64_t now = mono_ns(NULL), total = r->z->options.total_steps;
  if (p->stage == STK_TRAIN) {
    r->window_steps++;
    r->window_samples += p->samples;
  }
  bool last = p->n_batches == p->batch || (total >= 0 && p->global_step == total);
  if (now - r->last_progress_ns < PROGRESS_NS && !last) {
    return;
  }
  if (now > r->window_ns && p->stage == STK_TRAIN) {
    measure(r, now);
  }
  r->window_ns = r->last_progress_ns = now;
  r->window_steps = r->window_samples = 0;
  struct sp_event_metric m[STK_GRAPH_MAX_LOGS + 1];
  for (int32_t i = 0; i < n; i++) {
    m[i] = (struct sp_event_metric){names[i], values[i]};
  }
  struct sp_event ev = {.kind = SP_EVENT_PROGRESS,
                        .u.progress = {.stage = p->sanity               ? SP_STAGE_SANITY
                                                : p->stage == STK_TRAIN ? SP_STAGE_TRAIN
                                                                        : SP_STAGE_VALIDATE,
                                       .epoch = p->epoch,
                                       .max_epochs = r->z->options.c.max_epochs,
                                       .batch = p->batch,
                                       .n_batches = p->n_batches,
                                       .global_step = p->global_step,
                                       .total_steps = total,
                                       .steps_per_s = r->steps_per_s,
                                       .items_per_s = r->items_per_s,
                                       .unit = is_text(r) ? "tokens" : "samples",
                                       .n_metrics = (size_t)n,
                                       .metrics = m}};
  sw_emit_event(&r->e, &ev);
}

static void host_evaluated(void *ctx, stk_stage stage, bool sanity, int64_t n_batches, int32_t n,
                           const char *const *names, const double *values) {
  struct rank *r = ctx;
  struct sp_event_metric m[STK_GRAPH_MAX_LOGS];
  const struct stk_control *now = stk_session_state(r->z->s.session)->now;
  (void)stage;
  for (int32_t i = 0; i < n; i++) {
    m[i] = (struct sp_event_metric){names[i], values[i]};
  }
  struct sp_event ev = {.kind = SP_EVENT_VALIDATION,
                        .u.validation = {.stage = sanity ? SP_STAGE_SANITY : SP_STAGE_VALIDATE,
                                         .epoch = now->epoch,
                                         .step = now->global_step,
                                         .n_batches = n_batches,
                                         .n_metrics = (size_t)n,
                                         .metrics = m}};
  sw_emit_event(&r->e, &ev);
}

static void pause_ns(int64_t ns) {
  struct timespec t = {0, (long)ns};
  nanosleep(&t, NULL);
}

/* Rows wait for the supervisor when the ring is full, an aborted generation's too: they may be
 * committed yet. It takes committed rows only; a phase with more rows than the ring holds commits
 * how far they reach, alone, and whoever does the phase again leaves so many out. */
static void wait_for_room(struct rank *r, size_t need) {
  struct stk_state *state = stk_session_state(r->z->s.session);
  while (need <= SW_ROWS_BYTES / 2 && !sw_rows_has_room(r->z->rows, r->rows_head, need)) {
    if (r->phase_rows > 0) {
      state->journal->rows_head = r->rows_head;
      state->journal->phase_rows += r->phase_rows;
      r->phase_rows = 0;
      stk_state_commit_journal(state);
    }
    stk_group_beat(&r->z->group->rank[r->rank], STK_GROUP_SAVE);
    pause_ns(ROOM_NS);
  }
}

/* Whether the row was committed when this phase was done before; else there is room for it now. */
static bool is_known_row(struct rank *r, size_t need) {
  if (r->known_rows > 0) {
    r->known_rows--;
    return true;
  }
  wait_for_room(r, need);
  r->phase_rows++;
  return false;
}

static void host_metrics(void *ctx, int64_t step, int32_t n, const char *const *names,
                         const double *values) {
  struct rank *r = ctx;
  struct sp_err err = {0};
  if (!is_known_row(r, sw_rows_need(n, names)) &&
      sw_rows_put(r->z->rows, &r->rows_head, step, n, names, values, &err)) {
    sw_emit_text(&r->e, SP_TEXT_WARNING, "%s\n", err.text);
  }
}

static void host_audited(void *ctx, int64_t step, const struct stk_audit *a) {
  struct rank *r = ctx;
  if (!is_known_row(r, 2 * (size_t)SW_ROW_AUDIT_BYTES)) {
    sw_rows_put_audit(r->z->rows, &r->rows_head, step, a);
  }
}

/* Asked at the end of each phase. */
static uint64_t host_rows_head(void *ctx) {
  struct rank *r = ctx;
  r->phase_rows = r->known_rows = 0;
  return r->rows_head;
}

static bool host_exists(void *ctx, const char *name) {
  const struct rank *r = ctx;
  char path[PATH_MAX + 200];
  struct stat st;
  snprintf(path, sizeof path, "%s/%s", r->ckpt_dir, name);
  return lstat(path, &st) == 0;
}

/* The supervisor reads the order in the committed page; this only wakes it. */
static void host_ordered(void *ctx, struct stk_order *order) {
  struct rank *r = ctx;
  (void)order;
  (void)SP_FAULT("rank.ordered");
  say(r, (struct sp_supervise){.kind = SP_SUPERVISE_HELLO, .u.hello = {getpid(), r->rank}});
}

static sp_status host_wait(void *ctx, const struct stk_order *order, struct sp_err *err) {
  const struct rank *r = ctx;
  struct timespec look = {0, LOOK_NS};
  _Atomic uint32_t *word = (_Atomic uint32_t *)(uintptr_t)&order->state;
  stk_group_beat(&r->z->group->rank[r->rank], STK_GROUP_SAVE);
  while (atomic_load_explicit(word, memory_order_acquire) == STK_ORDER_OPEN) {
    if (stk_group_aborted(r->z->group)) {
      return sp_fail(err, SP_ECANCELED, "the generation is over");
    }
    syscall(SYS_futex, word, FUTEX_WAIT, STK_ORDER_OPEN, &look, NULL, 0);
  }
  return SP_OK;
}

/* ---- a generation */

/* The rank's share of the CPUs that the job may use, and of its threads. */
static sp_status take_cpus(struct rank *r, struct sp_err *err) {
  stk_pool *pool = r->z->s.pool;
  int64_t asked = r->z->s.job->trainer.threads;
  int n_cpus = CPU_COUNT(&r->cpus), first = n_cpus * r->rank / r->n_ranks;
  int end = n_cpus * (r->rank + 1) / r->n_ranks, k = 0, threads = stk_pool_n_threads(pool);
  cpu_set_t mine;
  if (r->n_ranks > n_cpus) {
    first = n_cpus > 0 ? r->rank % n_cpus : 0;
    end = first + 1;
  }
  stk_pool_stop(pool); /* which gives back the CPUs of the generation before */
  CPU_ZERO(&mine);
  for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (CPU_ISSET(cpu, &r->cpus)) {
      if (k >= first && k < end) {
        CPU_SET(cpu, &mine);
      }
      k++;
    }
  }
  (void)sched_setaffinity(0, sizeof mine, &mine);
  if (asked == SP_INT_AUTO || asked <= 0) {
    threads = threads * (r->rank + 1) / r->n_ranks - threads * r->rank / r->n_ranks;
  }
  r->threads = threads > 0 ? threads : 1;
  return stk_pool_start(pool, r->threads, err);
}

/* For ps, top and pgrep. */
static void take_name(int32_t rank) {
  char name[24] = "stoker-spare";
  if (rank >= 0) {
    snprintf(name, sizeof name, "stoker-rank-%d", (int)rank);
  }
  (void)prctl(PR_SET_NAME, name);
}

/* Standard output and error become pipes to the supervisor, which shows and keeps what comes. */
static void send_outputs(struct rank *r) {
  for (int to = STDOUT_FILENO; to <= STDERR_FILENO; to++) {
    int fds[2];
    struct sp_supervise hello = {.kind = SP_SUPERVISE_HELLO, .u.hello = {getpid(), r->rank}};
    if (pipe2(fds, O_CLOEXEC) != 0) {
      say(r, hello); /* what it prints goes where the supervisor's output goes */
      continue;
    }
    if (sp_supervise_send(r->stream, &hello, fds[0], NULL) || dup2(fds[1], to) < 0) {
      _exit(SP_EXIT_JOB_LOST);
    }
    close(fds[0]);
    close(fds[1]);
  }
}

/* The rank with a number, of its own or for the first time. */
static void become(struct rank *r, int32_t rank) {
  bool was_spare = r->rank < 0;
  r->rank = rank;
  take_name(rank);
  if (was_spare) {
    sp_fault_set_role(rank, "rank");
    sw_spare_end(&r->spare);
    send_outputs(r);
  }
}

static void on_join(struct rank *r, const struct sp_join *join) {
  struct sp_err err = {0};
  r->generation = join->generation;
  become(r, (int32_t)join->rank);
  r->n_ranks = (int32_t)join->n_ranks;
  snprintf(r->run_dir, sizeof r->run_dir, "%s", join->run_dir);
  snprintf(r->ckpt_dir, sizeof r->ckpt_dir, "%s", join->ckpt_dir);
  (void)SP_FAULT("rank.join");
  if (take_cpus(r, &err)) {
    sw_zygote_fail(r->stream, &err);
    _exit(1);
  }
  say(r, (struct sp_supervise){.kind = SP_SUPERVISE_JOINED, .u.joined = {r->generation}});
}

static sp_status finish(struct rank *r, stk_fit *fit, stk_stop why, struct sp_err *err) {
  static const enum sp_stop_reason reasons[] = {0, SP_STOP_EARLY, SP_STOP_MAX_TIME, SP_STOP_MODULE,
                                                SP_STOP_SIGNAL};
  sp_status st = why == STK_STOP_SIGNAL ? stk_fit_save(fit, "last", err) : SP_OK;
  if (st == SP_ECANCELED) {
    return st;
  }
  sw_profile_report(&r->z->s, &r->e, "fit", r->run_dir);
  (void)SP_FAULT("rank.finished");
  say(r, (struct sp_supervise){.kind = SP_SUPERVISE_FINISHED,
                               .u.finished = {.stop = reasons[why], .text = ""}});
  return SP_OK;
}

static sp_status lead(struct rank *r, stk_stop *why, struct sp_err *err) {
  struct stk_state *state = stk_session_state(r->z->s.session);
  struct stk_fit_config c = r->z->options.c;
  stk_fit *fit = NULL;
  c.host = (struct stk_host){.ctx = r,
                             .asked = host_asked,
                             .now_ns = mono_ns,
                             .progress = host_progress,
                             .metrics = host_metrics,
                             .evaluated = host_evaluated,
                             .ordered = host_ordered,
                             .wait = host_wait,
                             .exists = host_exists,
                             .rows_head = host_rows_head,
                             .audited = r->z->s.job->trainer.audit ? host_audited : NULL,
                             .say = host_say};
  if (!stk_state_reload(state)) {
    return sp_fail(err, SP_EINTERNAL, "no committed page in %s", r->z->regions.dir);
  }
  r->rows_head = state->journal->rows_head;
  r->known_rows = state->journal->phase_rows;
  r->phase_rows = 0;
  r->first_step = state->now->global_step;
  r->window_ns = mono_ns(NULL);
  r->window_steps = r->window_samples = 0;
  sp_status st = stk_fit_new(&c, r->z->s.session, &fit, err);
  st = st ? st : stk_fit_run(fit, why, err);
  if (!st && *why != STK_STOP_LEAVE) {
    st = finish(r, fit, *why, err);
  }
  stk_fit_free(fit);
  return st;
}

/* The lead, or a follower, of an open generation; *why says how the lead ended. */
static sp_status run_generation(struct rank *r, stk_stop *why, struct sp_err *err) {
  stk_session *s = r->z->s.session;
  const struct stk_follow_loaders loaders = {.train = r->z->s.train_loader,
                                             .val = r->z->s.val_loader,
                                             .n_train_batches = r->z->options.c.n_train_batches};
  struct stk_membership m = {.group = r->z->group,
                             .generation = (uint32_t)r->generation,
                             .rank = r->rank,
                             .n_ranks = r->n_ranks,
                             .n_threads = r->threads,
                             .n_cpus = r->n_cpus,
                             .pid = getpid()};
  sp_status st = stk_session_join(s, &m, err);
  if (st || r->rank > 0) {
    *why = STK_STOP_LEAVE;
    return st ? st : stk_follow(s, &loaders, err);
  }
  st = lead(r, why, err);
  return st ? st : stk_session_dismiss(s, err);
}

static void on_open(struct rank *r) {
  struct sp_err err = {0};
  stk_stop why = STK_STOP_NONE;
  const struct stk_state *state = stk_session_state(r->z->s.session);
  (void)SP_FAULT("rank.open");
  sp_status st = run_generation(r, &why, &err);
  if (st && st != SP_ECANCELED) {
    sw_zygote_fail(r->stream, &err);
    _exit(1);
  }
  if (st == SP_ECANCELED || why == STK_STOP_LEAVE) {
    (void)SP_FAULT("rank.left");
    say(r, (struct sp_supervise){
               .kind = SP_SUPERVISE_LEFT,
               .u.left = {r->generation, state->now->global_step, (int64_t)state->now->seq}});
  }
}

/* False: it is told to end. */
static bool on_message(struct rank *r, const struct sp_supervise *m) {
  if (m->kind == SP_SUPERVISE_JOIN) {
    on_join(r, &m->u.join);
  } else if (m->kind == SP_SUPERVISE_OPEN && m->u.open.generation == r->generation) {
    on_open(r);
  }
  return m->kind != SP_SUPERVISE_LEAVE;
}

static void default_signals(void) {
  sigset_t none;
  signal(SIGTERM, SIG_DFL);
  signal(SIGINT, SIG_DFL);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

void sw_rank_run(struct sw_zygote *z, int stream, int32_t rank) {
  struct rank *r = sp_alloc(sizeof *r);
  struct sp_err err = {0};
  bool go_on = true;
  if (!r || !(r->reader = sp_event_reader_new())) {
    _exit(1);
  }
  default_signals();
  sp_fault_set_role(rank, rank < 0 ? "spare" : "rank");
  take_name(rank);
  r->z = z;
  r->stream = stream;
  r->rank = rank;
  r->e = (struct sw_emit){.fd = stream};
  CPU_ZERO(&r->cpus);
  (void)sched_getaffinity(0, sizeof r->cpus, &r->cpus);
  r->n_cpus = stk_cpu_count();
  (void)SP_FAULT("rank.hello");
  if (rank < 0) {
    say(r, (struct sp_supervise){.kind = SP_SUPERVISE_HELLO, .u.hello = {getpid(), -1}});
    sw_spare_begin(&r->spare, z->s.session);
  } else {
    send_outputs(r);
  }
  while (go_on) {
    const struct sp_supervise *m = NULL;
    sp_status st = sw_zygote_read(r->reader, stream, &m, &err);
    if (st == SP_ECANCELED) {
      break;
    }
    if (st) {
      sw_zygote_fail(stream, &err);
      _exit(1);
    }
    go_on = on_message(r, m);
  }
  _exit(0);
}
