/* Gradients of two processes become an optimizer step, on demand: tests/bench/run starts it beside
 * Open MPI and gloo and asks each in turn.
 *
 *   bench_reduce [MIB]
 *
 * Two ranks with one thread each hold MIB (25) of f32 gradients in shared memory, as two lanes of a
 * job have them. First a line of facts, then for each line of input one of output:
 *
 *   step S   seconds per mean of both and AdamW into the other slot, the mean over about S seconds
 *   clip S   the same with clipping by norm: in two passes
 *   sum S    the mean alone, with its squares, where both can read it: what an all-reduce gives
 *   meet S   seconds per barrier between the two
 *
 * Before each step both ranks write their gradients anew, as a backward pass does; that is not
 * counted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "engine/comm/group.h"
#include "engine/comm/reduce.h"
#include "engine/exec/cpu.h"
#include "engine/exec/fpenv.h"
#include "proto/base/mem.h"
#include "proto/base/strutil.h"

enum { RANKS = 2, SECTIONS = 3 };

enum task { STEP, CLIP, SUM, MEET, QUIT };

struct shared {
  _Atomic int32_t task;
  _Atomic int32_t go_on;
  struct stk_tree_part parts[RANKS];
  struct stk_tree_add adds[RANKS];
};

struct bench {
  struct shared *shared;
  struct stk_group *group;
  struct stk_reduce r;
  struct stk_apply a;
  struct stk_optimizer optimizer;
  struct stk_optim_slice slice;
  struct stk_optim_scalars scalars;
  void *part[RANKS];
  float *fresh; /* of this process: what a backward pass would leave */
  bool spin;
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *map(size_t bytes) {
  void *p =
      mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (p == MAP_FAILED) {
    fprintf(stderr, "bench_reduce: no %zu bytes of shared memory\n", bytes);
    exit(1);
  }
  return p;
}

static void meet(struct bench *b) {
  if (stk_group_barrier(b->group, 1, b->spin)) {
    exit(1);
  }
}

static void one_step(struct bench *b, int32_t rank, enum task task) {
  int64_t lo, hi;
  stk_tree_share(stk_reduce_chunks(b->r.n), rank, RANKS, &lo, &hi);
  if (task != STEP) {
    stk_reduce_sums(&b->r, lo, hi);
  }
  if (task == SUM) {
    return;
  }
  if (task == CLIP) {
    double norm;
    meet(b);
    b->scalars.grad_scale = stk_optim_grad_scale(b->r.sums, stk_reduce_chunks(b->r.n), 1.0, &norm);
  } else {
    b->scalars.grad_scale = 1.0;
  }
  stk_reduce_apply(&b->r, &b->a, task == CLIP, lo, hi);
}

/* Both ranks do the same until rank 0 has had enough; *out is rank 0's seconds per turn. */
static void run_task(struct bench *b, int32_t rank, enum task task, double seconds, double *out) {
  const double begin = now();
  double spent = 0.0;
  int64_t n = 0;
  for (int32_t go_on = 1; go_on;) {
    if (task != MEET) {
      memcpy(b->part[rank], b->fresh, (size_t)b->r.n * sizeof(float));
    }
    meet(b);
    const double start = now();
    if (task == MEET) {
      for (int i = 0; i < 100; i++) {
        meet(b);
      }
    } else {
      one_step(b, rank, task);
      meet(b);
    }
    spent += now() - start;
    n += task == MEET ? 100 : 1;
    if (rank == 0) {
      atomic_store(&b->shared->go_on, now() - begin < seconds);
    }
    meet(b);
    go_on = atomic_load(&b->shared->go_on);
  }
  *out = spent / (double)n;
}

static void follow(struct bench *b, int32_t rank) {
  for (;;) {
    double seconds;
    meet(b);
    const enum task task = (enum task)atomic_load(&b->shared->task);
    if (task == QUIT) {
      _exit(0);
    }
    run_task(b, rank, task, 0.0, &seconds);
  }
}

static void set_up(struct bench *b, int64_t mib) {
  struct stk_cpu cpu;
  struct sp_err err = {0};
  const int64_t n = mib * (1 << 20) / (int64_t)sizeof(float);
  const size_t section = (size_t)n * sizeof(float);
  stk_cpu_detect(&cpu);
  b->shared = map(sizeof *b->shared);
  b->group = map(stk_group_bytes(RANKS));
  stk_group_init(b->group, RANKS);
  stk_group_open(b->group, 1, RANKS);
  b->spin = stk_cpu_count() >= RANKS;
  b->r = (struct stk_reduce){.kernels = stk_kernels_get(cpu.best, 32, cpu.fma),
                             .real_bytes = 4,
                             .n_lanes = RANKS,
                             .n = n,
                             .n_parts = stk_tree_parts(RANKS, RANKS, b->shared->parts),
                             .part = b->part,
                             .adds = b->shared->adds,
                             .sums = map((size_t)stk_reduce_chunks(n) * sizeof(double)),
                             .scratch = sp_alloc_aligned(64, stk_reduce_scratch_bytes())};
  stk_tree_adds(RANKS, b->shared->parts, b->r.n_parts, b->shared->adds);
  if (stk_pool_make(1, false, &b->r.pool, &err) || !b->r.scratch) {
    fprintf(stderr, "bench_reduce: %s\n", err.text);
    exit(1);
  }
  for (int r = 0; r < RANKS; r++) {
    b->part[r] = map(section);
  }
  b->slice = (struct stk_optim_slice){0, n, 0};
  b->optimizer = (struct stk_optimizer){
      .kind = STK_OPTIM_ADAMW, .slice = &b->slice, .n_slices = 1, .n_moments = 2};
  b->scalars = (struct stk_optim_scalars){.lr = 1e-3,
                                          .weight_decay = 0.01,
                                          .beta1 = 0.9,
                                          .beta2 = 0.999,
                                          .eps = 1e-8,
                                          .bias1 = 0.5,
                                          .bias2 = 0.5,
                                          .grad_scale = 1.0};
  b->a = (struct stk_apply){.optimizer = &b->optimizer,
                            .scalars = &b->scalars,
                            .from = map(SECTIONS * section),
                            .to = map(SECTIONS * section),
                            .section_bytes = (int64_t)section,
                            .n_sections = SECTIONS};
  stk_reduce_prepare(&b->r);
}

static void set_fresh(struct bench *b) {
  b->fresh = sp_alloc_aligned(64, (size_t)b->r.n * sizeof(float));
  if (!b->fresh) {
    exit(1);
  }
  for (int64_t i = 0; i < b->r.n; i++) {
    b->fresh[i] = (float)(i % 1000) * 1e-6f;
  }
}

int main(int argc, char **argv) {
  static struct bench b;
  char line[64];
  int64_t mib = 25;
  if (argc > 1 && (sp_parse_i64(argv[1], &mib) || mib < 1)) {
    fprintf(stderr, "usage: bench_reduce [MIB]\n");
    return 2;
  }
  set_up(&b, mib);
  stk_fp_enter();
  const pid_t other = fork();
  if (other == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    set_fresh(&b);
    follow(&b, 1);
  }
  set_fresh(&b);
  printf("elements %lld\n", (long long)b.r.n);
  fflush(stdout);
  while (fgets(line, sizeof line, stdin)) {
    char word[16] = "";
    double seconds = 1.0, value = 0.0;
    if (sscanf(line, "%15s %lf", word, &seconds) < 1) {
      continue;
    }
    const enum task task = !strcmp(word, "step")   ? STEP
                           : !strcmp(word, "clip") ? CLIP
                           : !strcmp(word, "sum")  ? SUM
                                                   : MEET;
    atomic_store(&b.shared->task, (int32_t)task);
    meet(&b);
    run_task(&b, 0, task, seconds, &value);
    printf("%.9f\n", value);
    fflush(stdout);
  }
  atomic_store(&b.shared->task, QUIT);
  meet(&b);
  waitpid(other, NULL, 0);
  return 0;
}
