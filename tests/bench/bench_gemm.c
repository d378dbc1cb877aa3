/* Speed of the gemm kernel next to oneDNN's dnnl_sgemm on the same shapes in the same run.
 *
 *   bench_gemm [-t THREADS] [-s SECONDS_PER_SHAPE] [-i ref|avx2|avx512] [-f SUBSTRING] [-c SETS]
 *
 * With -c, calls go in turn over so many sets of operands, as in a step, where every product finds
 * its operands where others left them: beyond the caches, with enough sets.
 *
 * Calls alternate, and each side's best counts, since the machine may be noisy. oneDNN is opened at
 * run time (libdnnl.so.3 or .2) with the same number of OpenMP threads; without it only our own
 * numbers are printed. The last lines are the geometric mean of the ratios and the worst.
 */
#include <dlfcn.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/exec/cpu.h"
#include "engine/exec/pool.h"
#include "engine/kernel/gemm.h"
#include "proto/base/mem.h"

typedef int (*sgemm_fn)(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha,
                        const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                        float *c, int64_t ldc);

struct shape {
  const char *what;
  int64_t m, n, k;
  bool ta, tb;
};

static const struct shape shapes[] = {
    {"square", 1024, 1024, 1024, false, false},
    {"square", 512, 512, 512, false, true},
    {"gpt qkv", 256, 2304, 768, false, true},
    {"gpt qkv dx", 256, 768, 2304, false, false},
    {"gpt qkv dw", 2304, 768, 256, true, false},
    {"gpt fc", 256, 3072, 768, false, true},
    {"gpt fc, b plain", 256, 3072, 768, false, false},
    {"gpt proj", 256, 768, 3072, false, true},
    {"gpt fc dw", 768, 3072, 256, true, false},
    {"gpt logits", 256, 50304, 768, false, true},
    {"gpt logits dx", 256, 768, 50304, false, false},
    {"gpt logits dw", 50304, 768, 256, true, false},
    {"gpt small", 512, 384, 128, false, true},
    {"small qkv", 768, 384, 128, false, true},
    {"small qkv dx", 768, 128, 384, false, false},
    {"small qkv dw", 384, 128, 768, true, false},
    {"small fc", 768, 512, 128, false, true},
    {"small fc dx", 768, 128, 512, false, false},
    {"small fc dw", 512, 128, 768, true, false},
    {"small proj", 768, 128, 512, false, true},
    {"small proj dx", 768, 512, 128, false, false},
    {"small proj dw", 128, 512, 768, true, false},
    {"mlp fc1", 500, 500, 784, false, true},
    {"mlp fc1 dx", 500, 784, 500, false, false},
    {"mlp fc1 dw", 500, 784, 500, true, false},
    {"mlp fc2", 500, 10, 500, false, true},
    {"mlp fc2 dx", 500, 500, 10, false, false},
    {"mlp fc2 dw", 10, 500, 500, true, false},
    {"mlp b64 fc1", 64, 128, 784, false, true},
    {"mlp b64 fc1 dw", 128, 784, 64, true, false},
    {"ae enc1", 64, 64, 784, false, true},
    {"ae enc2", 64, 3, 64, false, true},
    {"ae dec1", 64, 64, 3, false, true},
    {"ae dec2", 64, 784, 64, false, true},
    {"ae enc1 dw", 64, 784, 64, true, false},
    {"ae enc2 dw", 3, 64, 64, true, false},
    {"ae dec1 dw", 64, 3, 64, true, false},
    {"ae dec2 dx", 64, 64, 784, false, false},
    {"ae dec2 dw", 784, 64, 64, true, false},
    {"attention qk", 64, 64, 64, false, true},
    {"attention pv", 64, 64, 64, false, false},
    {"row times matrix", 1, 4096, 1024, false, false},
    {"row times matrix", 1, 4096, 1024, false, true},
    {"eight rows", 8, 768, 768, false, true},
    {"matrix times column", 1024, 1, 1024, false, false},
};

struct bench {
  const struct stk_kernel *kernel;
  stk_pool *pool;
  sgemm_fn sgemm;
  struct stk_gemm_args args;
  float *memory; /* the sets: A, B and C of each, set_floats apart */
  int64_t sets, set_floats, turn;
  unsigned char *scratch;
  size_t scratch_bytes;
};

static double now(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Floats in whole cache lines. */
static int64_t line_up(int64_t n) {
  return (n + 15) / 16 * 16;
}

static float *fill(int64_t n) {
  float *x = sp_alloc_aligned(64, (size_t)(n * 4 + 63) / 64 * 64);
  if (!x) {
    fprintf(stderr, "bench_gemm: out of memory\n");
    exit(1);
  }
  for (int64_t i = 0; i < n; i++) {
    x[i] = (float)((i * 7919) % 1000 - 500) * 1e-3f;
  }
  return x;
}

static void run_units(void *ctx, int64_t lo, int64_t hi, int thread) {
  const struct bench *b = ctx;
  b->kernel->run(&b->args, lo, hi, b->scratch + (size_t)thread * b->scratch_bytes);
}

/* The next set of operands. */
static void next_set(struct bench *b) {
  struct stk_gemm_args *g = &b->args;
  float *a = b->memory + b->turn++ % b->sets * b->set_floats;
  g->a = a;
  g->b = a + line_up(g->m * g->k);
  g->c = a + line_up(g->m * g->k) + line_up(g->k * g->n);
}

static void run_own(struct bench *b) {
  const int threads = stk_pool_n_threads(b->pool);
  next_set(b);
  stk_pool_run(b->pool, run_units, b, b->kernel->units(&b->args, threads));
}

static void run_peer(struct bench *b) {
  const struct stk_gemm_args *g = &b->args;
  next_set(b);
  b->sgemm(g->ta ? 'T' : 'N', g->tb ? 'T' : 'N', g->m, g->n, g->k, 1.0f, g->a, g->lda, g->b, g->ldb,
           0.0f, g->c, g->ldc);
}

/* Seconds per call of n calls: of this thread's CPU time where it does all the work, which other
 * programs disturb less. */
static double timed(void (*run)(struct bench *), struct bench *b, int64_t n) {
  const clockid_t clock =
      stk_pool_n_threads(b->pool) == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
  const double begin = now(clock);
  for (int64_t i = 0; i < n; i++) {
    run(b);
  }
  return (now(clock) - begin) / (double)n;
}

/* The ratio to the peer's speed, or 0 without one. */
static double bench_shape(struct bench *b, const struct shape *s, double seconds) {
  struct stk_gemm_args *g = &b->args;
  *g = (struct stk_gemm_args){.m = s->m, .n = s->n, .k = s->k, .ta = s->ta, .tb = s->tb};
  g->lda = s->ta ? s->m : s->k;
  g->ldb = s->tb ? s->k : s->n;
  g->ldc = s->n;
  g->batch_outer = g->batch_inner = 1;
  const int threads = stk_pool_n_threads(b->pool);
  stk_gemm_split(g, threads);
  b->set_floats = line_up(s->m * s->k) + line_up(s->k * s->n) + line_up(s->m * s->n);
  b->memory = fill(b->sets * b->set_floats);
  b->turn = 0;
  b->scratch_bytes = (b->kernel->scratch(g) + 63) / 64 * 64;
  b->scratch = (unsigned char *)fill((int64_t)b->scratch_bytes * threads / 4 + 16);
  const double flop = 2.0 * (double)s->m * (double)s->n * (double)s->k;
  const int64_t calls = ((int64_t)(4e7 / (flop + 1e5)) / b->sets + 1) * b->sets;
  run_own(b);
  if (b->sgemm) {
    run_peer(b);
  }
  double own = 1e9, peer = 1e9;
  const double until = now(CLOCK_MONOTONIC) + seconds;
  for (int round = 0; round < 3 || now(CLOCK_MONOTONIC) < until; round++) {
    own = fmin(own, timed(run_own, b, calls));
    if (b->sgemm) {
      peer = fmin(peer, timed(run_peer, b, calls));
    }
  }
  const double ratio = b->sgemm ? peer / own : 0;
  printf("%-22s %6lld %6lld %6lld  %c%c  %dx%-2d %9.1f us %8.1f", s->what, (long long)s->m,
         (long long)s->n, (long long)s->k, s->ta ? 'T' : 'N', s->tb ? 'T' : 'N', g->split_m,
         g->split_n, own * 1e6, flop / own * 1e-9);
  if (b->sgemm) {
    printf(" %8.1f %6.2f", flop / peer * 1e-9, ratio);
  }
  putchar('\n');
  fflush(stdout);
  sp_free_aligned(b->memory);
  sp_free_aligned(b->scratch);
  return ratio;
}

static sgemm_fn open_peer(int threads) {
  char text[16];
  snprintf(text, sizeof text, "%d", threads);
  setenv("OMP_NUM_THREADS", text, 1);
  void *library = dlopen("libdnnl.so.3", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    library = dlopen("libdnnl.so.2", RTLD_NOW | RTLD_LOCAL);
  }
  sgemm_fn fn = NULL;
  if (library) {
    *(void **)&fn = dlsym(library, "dnnl_sgemm");
  }
  return fn;
}

static stk_isa choose_isa(const struct stk_cpu *cpu, const char *name) {
  for (int isa = STK_ISA_KIND_REF; name && isa <= (int)cpu->best; isa++) {
    if (strcmp(stk_isa_name((stk_isa)isa), name) == 0) {
      return (stk_isa)isa;
    }
  }
  return cpu->best;
}

int main(int argc, char **argv) {
  int threads = 1;
  double seconds = 0.3;
  long sets = 1;
  const char *isa_name = NULL, *only = "";
  for (int at = 1; at + 1 < argc; at += 2) {
    const char option = argv[at][0] == '-' ? argv[at][1] : '?';
    if (option == 't') {
      threads = (int)strtol(argv[at + 1], NULL, 10);
    } else if (option == 's') {
      seconds = strtod(argv[at + 1], NULL);
    } else if (option == 'i') {
      isa_name = argv[at + 1];
    } else if (option == 'f') {
      only = argv[at + 1];
    } else if (option == 'c') {
      sets = strtol(argv[at + 1], NULL, 10);
    }
  }
  struct stk_cpu cpu;
  stk_cpu_detect(&cpu);
  const stk_isa isa = choose_isa(&cpu, isa_name);
  struct bench b = {.kernel = stk_kernels_get(isa, 32, cpu.fma)->gemm, .sets = sets < 1 ? 1 : sets};
  struct sp_err err;
  if (stk_pool_new(threads, true, &b.pool, &err) != SP_OK) {
    fprintf(stderr, "bench_gemm: %s\n", err.text);
    return 1;
  }
  b.sgemm = open_peer(threads);
  printf("%s, family %d model %d, %s, %d thread(s), oneDNN %s\n", cpu.name, cpu.family, cpu.model,
         stk_isa_name(isa), threads, b.sgemm ? "found" : "absent");
  printf("%-22s %6s %6s %6s  ab  cut  %12s %8s %8s %6s\n", "shape", "m", "n", "k", "own", "GF/s",
         "oneDNN", "ratio");
  double log_sum = 0, worst = 1e9;
  int n = 0;
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    if (!strstr(shapes[i].what, only)) {
      continue;
    }
    const double ratio = bench_shape(&b, &shapes[i], seconds);
    log_sum += log(ratio);
    worst = fmin(worst, ratio);
    n++;
  }
  if (b.sgemm && n > 0) {
    printf("geometric mean of ratios %.3f, worst %.2f, %d shapes\n", exp(log_sum / n), worst, n);
  }
  stk_pool_free(b.pool);
  return 0;
}
