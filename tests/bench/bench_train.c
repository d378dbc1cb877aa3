/* Training steps of one job, on demand: tests/bench/run starts it beside the peers' processes and
 * asks each in turn, so that a slow spell of the machine falls on all alike.
 *
 *   bench_train [-r RANKS] JOB [--key value ...]
 *
 * The job runs through the same setup, loader and fit loop as `stoker fit`, without loggers and
 * checkpoints; with -r, this process leads so many ranks over shared memory. First a line of facts,
 * then for each line of input one of output:
 *
 *   step S    seconds per step, the mean over about S seconds
 *   sgemm S   GFLOP/s of dnnl_sgemm, a product per thread, over about S seconds; 0: no oneDNN
 *   copy S    bytes read and written per second by memcpy of 64 MiB, over about S seconds
 *
 * All three are means: what disturbs the machine takes its share of each.
 */
#include <dlfcn.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/trainer/fit.h"
#include "engine/trainer/follow.h"
#include "proto/base/mem.h"
#include "proto/base/strutil.h"
#include "tests/lib/regions.h"
#include "worker/setup.h"

typedef int (*sgemm_fn)(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha,
                        const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                        float *c, int64_t ldc);

enum { SQUARE = 768, COPY_BYTES = 64 << 20 };

static int64_t now_ns(void *ctx) {
  struct timespec t;
  (void)ctx;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static double seconds_since(int64_t begin) {
  return (double)(now_ns(NULL) - begin) * 1e-9;
}

static stk_ask never(void *ctx) {
  (void)ctx;
  return STK_ASK_NOTHING;
}

static stk_fit *open_loop(struct sw_setup *s, struct stk_fit_config *c, struct sp_err *err) {
  struct stk_state *state = stk_session_state(s->session);
  stk_fit *loop = NULL;
  *c = (struct stk_fit_config){.max_epochs = -1,
                               .max_steps = -1,
                               .n_train_batches = s->n_train_batches,
                               .log_every = 0,
                               .train = s->train_loader,
                               .host = {.asked = never, .now_ns = now_ns}};
  stk_state_init(state, s->module, (uint64_t)s->job->root.seed_everything, s->pool);
  sp_status st = stk_schedule_init(&s->job->lr, -1, -1, &c->schedules, state->now->schedules, err);
  st = st ? st : stk_fit_new(c, s->session, &loop, err);
  return st ? NULL : loop;
}

/* Seconds per step over about `seconds`, at least one step; -1: failed, err says why. */
static double run_steps(stk_fit *loop, const struct stk_state *state, double seconds,
                        struct sp_err *err) {
  const int64_t first = state->now->global_step, begin = now_ns(NULL);
  do {
    bool done = false;
    if (stk_fit_advance(loop, &done, err) || done) {
      return -1;
    }
  } while (seconds_since(begin) < seconds || state->now->global_step == first);
  return seconds_since(begin) / (double)(state->now->global_step - first);
}

/* A square product per unit, by oneDNN on the calling thread alone. */
struct squares {
  sgemm_fn sgemm;
  float *m;
};

static void square(void *ctx, int64_t lo, int64_t hi, int thread) {
  const struct squares *s = ctx;
  (void)thread;
  for (int64_t i = lo; i < hi; i++) {
    float *m = s->m + i * 3 * SQUARE * SQUARE;
    s->sgemm('N', 'N', SQUARE, SQUARE, SQUARE, 1.0f, m, SQUARE, m + SQUARE * SQUARE, SQUARE, 0.0f,
             m + 2 * SQUARE * SQUARE, SQUARE);
  }
}

/* Rounds of n units of fn per second, over about `seconds`, after one that warms up. */
static double rounds_a_second(stk_pool *pool, stk_pool_fn fn, void *ctx, int64_t n,
                              double seconds) {
  int64_t rounds = 0;
  stk_pool_run(pool, fn, ctx, n);
  const int64_t begin = now_ns(NULL);
  do {
    stk_pool_run(pool, fn, ctx, n);
    rounds++;
  } while (seconds_since(begin) < seconds);
  return (double)rounds / seconds_since(begin);
}

static double sgemm_rate(stk_pool *pool, double seconds) {
  const int64_t threads = stk_pool_n_threads(pool), n = threads * 3 * SQUARE * SQUARE;
  struct squares s = {.m = sp_alloc_aligned(64, sizeof(float) * (size_t)n)};
  setenv("OMP_NUM_THREADS", "1", 1);
  void *library = dlopen("libdnnl.so.3", RTLD_NOW | RTLD_LOCAL);
  library = library ? library : dlopen("libdnnl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (library) {
    *(void **)&s.sgemm = dlsym(library, "dnnl_sgemm");
  }
  double rate = 0;
  for (int64_t i = 0; s.sgemm && s.m && i < n; i++) {
    s.m[i] = (float)(i % 97) * 0.01f;
  }
  if (s.sgemm && s.m) {
    rate = 2e-9 * SQUARE * SQUARE * SQUARE * (double)threads *
           rounds_a_second(pool, square, &s, threads, seconds);
  }
  sp_free_aligned(s.m);
  return rate;
}

static void copy_part(void *ctx, int64_t lo, int64_t hi, int thread) {
  char *memory = ctx;
  (void)thread;
  memcpy(memory + COPY_BYTES + lo, memory + lo, (size_t)(hi - lo));
}

static double copy_rate(stk_pool *pool, double seconds) {
  char *memory = sp_alloc_aligned(64, 2 * (size_t)COPY_BYTES);
  if (!memory) {
    return 0;
  }
  memset(memory, 1, 2 * (size_t)COPY_BYTES);
  const double rate =
      2.0 * COPY_BYTES * rounds_a_second(pool, copy_part, memory, COPY_BYTES, seconds);
  sp_free_aligned(memory);
  return rate;
}

/* What a step cannot do without: its arithmetic, and the bytes of the optimizer (parameters and
 * moments read and written, gradients written and read) and of activations (written and read). */
static bool tell_facts(const struct sw_setup *s, struct sp_err *err) {
  stk_program *program;
  struct stk_program_report r;
  if (stk_session_program(s->session, STK_TRAIN, s->job->data.batch_size, &program, err)) {
    return false;
  }
  stk_program_report(program, &r);
  const struct stk_layout *layout = &stk_session_state(s->session)->layout;
  const double state = 2.0 * (double)layout->section_bytes * (layout->n_sections + 1);
  printf("flops %.6g bytes %.6g samples %" PRId64 " threads %d kernels %s\n", r.flops,
         state + 2.0 * (double)r.act_bytes, s->job->data.batch_size, stk_pool_n_threads(s->pool),
         s->kernels->isa);
  fflush(stdout);
  return true;
}

static bool answer(struct sw_setup *s, stk_fit *loop, const char *line, struct sp_err *err) {
  char what[16];
  double seconds, value = 0;
  if (sscanf(line, "%15s %lf", what, &seconds) != 2) {
    return false;
  }
  if (strcmp(what, "step") == 0) {
    value = run_steps(loop, stk_session_state(s->session), seconds, err);
  } else if (strcmp(what, "sgemm") == 0) {
    value = sgemm_rate(s->pool, seconds);
  } else if (strcmp(what, "copy") == 0) {
    value = copy_rate(s->pool, seconds);
  } else {
    return false;
  }
  printf("%.9g\n", value);
  fflush(stdout);
  return value >= 0;
}

/* The ranks behind -r. */
struct ranks {
  struct tt_regions regions;
  struct stk_group *group;
  int32_t n; /* 0: no group page */
  pid_t pid[STK_RANKS_MAX];
};

static sp_status join(struct sw_setup *s, const struct ranks *r, int32_t rank, struct sp_err *err) {
  const struct stk_membership m = {.group = r->group,
                                   .generation = 1,
                                   .rank = rank,
                                   .n_ranks = r->n,
                                   .n_cpus = stk_cpu_count(),
                                   .pid = getpid()};
  tt_take_cpus(rank, r->n);
  sp_status st = stk_pool_start(s->pool, stk_pool_n_threads(s->pool), err);
  return st ? st : stk_session_join(s->session, &m, err);
}

/* Forks the followers. This process has no threads yet. */
static sp_status start_ranks(struct sw_setup *s, struct ranks *r, struct sp_err *err) {
  if (r->n == 0) {
    return stk_pool_start(s->pool, stk_pool_n_threads(s->pool), err);
  }
  sp_status st = tt_regions_foresee(&r->regions, s->session, r->n, &r->group, err);
  if (!st) {
    stk_group_open(r->group, 1, (uint32_t)r->n);
  }
  for (int32_t rank = 1; rank < r->n && !st; rank++) {
    r->pid[rank] = fork();
    if (r->pid[rank] == 0) {
      const struct stk_follow_loaders l = {.train = s->train_loader,
                                           .n_train_batches = s->n_train_batches};
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      st = join(s, r, rank, err);
      st = st ? st : stk_follow(s->session, &l, err);
      _exit(st ? 1 : 0);
    }
  }
  return st ? st : join(s, r, 0, err);
}

static void end_ranks(struct sw_setup *s, struct ranks *r, struct sp_err *err) {
  if (r->n > 1 && stk_session_dismiss(s->session, err)) {
    fprintf(stderr, "bench_train: %s\n", err->text);
  }
  for (int32_t rank = 1; rank < r->n; rank++) {
    waitpid(r->pid[rank], NULL, 0);
  }
}

int main(int argc, char **argv) {
  struct sp_err err = {0};
  struct stk_fit_config config;
  static struct ranks ranks;
  struct sw_setup *s = sp_alloc(sizeof *s);
  stk_fit *loop = NULL;
  char line[64];
  int64_t n_ranks = 0;
  if (argc > 2 && !strcmp(argv[1], "-r") && !sp_parse_i64(argv[2], &n_ranks)) {
    argc -= 2;
    argv += 2;
  }
  if (!s || argc < 2 || n_ranks < 0 || n_ranks > STK_RANKS_MAX) {
    fprintf(stderr, "usage: bench_train [-r RANKS] JOB [--key value ...]\n");
    return 2;
  }
  ranks.n = (int32_t)n_ranks;
  tt_regions_init(&ranks.regions);
  const struct sw_setup_spec spec = {.file = argv[1],
                                     .args = (const char *const *)(argv + 2),
                                     .n_args = (size_t)(argc - 2),
                                     .stage = STK_TRAIN,
                                     .memory = &ranks.regions.memory};
  bool ok = sw_setup_prepare(&spec, s, &err) == SP_OK && start_ranks(s, &ranks, &err) == SP_OK;
  loop = ok ? open_loop(s, &config, &err) : NULL;
  ok = loop && tell_facts(s, &err);
  while (ok && fgets(line, sizeof line, stdin)) {
    ok = answer(s, loop, line, &err);
  }
  if (!ok) {
    fprintf(stderr, "bench_train: %s\n", err.text);
  }
  end_ranks(s, &ranks, &err);
  stk_fit_free(loop);
  sw_setup_close(s);
  tt_regions_free(&ranks.regions);
  sp_free(s);
  return ok ? 0 : 1;
}
