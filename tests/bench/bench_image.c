/* How fast the image kernels are on one thread, against ceilings measured in the same run.
 *
 * Convolutions in GFLOP/s and as a share of this core's fma rate; pooling and batch norm in
 * images/s; optimizer steps in GB/s (bytes read and written) and as a share of a plain copy of the
 * same size. Every figure is the best of several rounds in which all of them take turns, since
 * machines drift. Gradients of maxima over 2 x 2 are counted with their zeros.
 *
 *   bench_image [ref|avx2|avx512 [PART_OF_A_NAME]]
 */
#include <immintrin.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "engine/kernel/kernel.h"
#include "proto/base/mem.h"

enum { ROUNDS = 7, MOST = 64 };

struct entry {
  char name[48];
  const struct stk_kernel *kernel;
  union {
    struct stk_conv_args conv;
    struct stk_conv_dx_args dx;
    struct stk_conv_dw_args dw;
    struct stk_pool_args pool;
    struct stk_pool_bwd_args pool_bwd;
    struct stk_batchnorm_stats_args bn;
    struct stk_optim_args optim;
    struct stk_sumsq_args sumsq;
    struct stk_accumulate_args accumulate;
  } args;
  double flops, bytes;
  double best; /* seconds */
};

struct bench {
  const struct stk_kernels *k;
  const char *only; /* names with this in them; NULL: all */
  struct entry entry[MOST];
  int n;
  float *x, *y, *w, *g;
  int32_t *index;
  double fma_rate, copy_rate;
};

/* This thread's processor time: others may share the machine. */
static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Independent chains of fma, as many as hide its latency: FLOP/s of this core, with the vectors of
 * the kernels' instruction set. */
#define FMA_RATE(NAME, TARGET, VECTOR, SET, FMA, FIRST)                  \
  __attribute__((target(TARGET))) static double NAME(void) {             \
    enum { CHAINS = 12, REPEATS = 3000000, LANES = sizeof(VECTOR) / 4 }; \
    VECTOR acc[CHAINS];                                                  \
    for (int i = 0; i < CHAINS; i++) {                                   \
      acc[i] = SET((float)i);                                            \
    }                                                                    \
    const VECTOR a = SET(0.999f), b = SET(0.5f);                         \
    const double start = seconds();                                      \
    for (int k = 0; k < REPEATS; k++) {                                  \
      _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++) {        \
        acc[i] = FMA(acc[i], a, b);                                      \
      }                                                                  \
    }                                                                    \
    const double spent = seconds() - start;                              \
    volatile float sink = 0;                                             \
    for (int i = 0; i < CHAINS; i++) {                                   \
      sink = sink + FIRST(acc[i]);                                       \
    }                                                                    \
    return 2.0 * CHAINS * REPEATS * LANES / spent;                       \
  }
FMA_RATE(fma_rate_avx2, "avx2,fma", __m256, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_cvtss_f32)
FMA_RATE(fma_rate_avx512, "avx512f", __m512, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_cvtss_f32)

static double copy_rate(float *to, const float *from, size_t bytes) {
  const double start = seconds();
  memcpy(to, from, bytes);
  return 2.0 * (double)bytes / (seconds() - start);
}

static struct entry *add(struct bench *b, const struct stk_kernel *kernel, const char *what,
                         const char *name) {
  if (!kernel || b->n == MOST) {
    return NULL;
  }
  struct entry *e = &b->entry[b->n];
  snprintf(e->name, sizeof e->name, "%s %s", what, name);
  if (b->only && !strstr(e->name, b->only)) {
    return NULL;
  }
  b->n++;
  e->kernel = kernel;
  e->best = 1e9;
  return e;
}

static void add_conv(struct bench *b, const char *name, int64_t n, int64_t c, int64_t hw,
                     int64_t co, int64_t kernel, int64_t stride) {
  struct stk_conv_shape s = {.n = n,
                             .c = c,
                             .h = hw,
                             .w = hw,
                             .co = co,
                             .kh = kernel,
                             .kw = kernel,
                             .stride_h = stride,
                             .stride_w = stride,
                             .pad_h = kernel / 2,
                             .pad_w = kernel / 2,
                             .dil_h = 1,
                             .dil_w = 1,
                             .groups = 1};
  s.oh = s.ow = (hw + 2 * s.pad_h - kernel) / stride + 1;
  const double flops = 2.0 * (double)(n * co * s.oh * s.ow * c * kernel * kernel);
  struct entry *e = add(b, b->k->conv, "conv", name);
  if (e) {
    e->flops = flops;
    e->args.conv = (struct stk_conv_args){s, b->x, b->w, b->w, b->y, true, NULL, false};
  }
  if ((e = add(b, b->k->conv_dx, "conv_dx", name))) {
    e->flops = flops;
    e->args.dx = (struct stk_conv_dx_args){s, b->y, b->w, b->x, NULL};
  }
  if ((e = add(b, b->k->conv_dw, "conv_dw", name))) {
    e->flops = flops;
    e->args.dw = (struct stk_conv_dw_args){s, b->x, b->y, b->g, b->g + (1 << 22), NULL, NULL};
  }
}

/* Both gradients from that of maxima over 2 x 2, of which RELU's mark leaves three of five. */
static void add_maxima(struct bench *b, const char *name, int64_t n, int64_t c, int64_t hw,
                       int64_t co) {
  const struct stk_conv_shape s = {n, c, hw, hw, co, 3, 3, hw, hw, 1, 1, 1, 1, 1, 1, 1};
  const int64_t cells = n * co * hw * hw / 4;
  float *g = sp_alloc_array((size_t)cells, sizeof *g);
  int32_t *at = sp_alloc_array((size_t)cells, sizeof *at);
  float *sums = sp_alloc_array((size_t)(n * hw * hw / STK_CONV_DW_CHUNK + 1),
                               sizeof *sums * (size_t)(c * 9 + 1) * (size_t)((co + 15) / 16 * 16));
  if (!g || !at || !sums) {
    return;
  }
  uint32_t random = 1;
  for (int64_t i = 0; i < cells; i++) {
    random = random * 1664525 + 1013904223;
    const int64_t row = i / (hw / 2) % (hw / 2) * 2, col = i % (hw / 2) * 2;
    g[i] = (float)(random >> 8) * 0x1p-24f - 0.5f;
    at[i] = (random >> 20) % 5 < 2
                ? -1
                : (int32_t)((row + (random >> 28) % 2) * hw + col + (random >> 29) % 2);
  }
  const double flops = 2.0 * (double)(n * co * hw * hw * c * 9);
  struct entry *e = add(b, b->k->conv_dx, "maxima dx", name);
  if (e) {
    e->flops = flops;
    e->args.dx = (struct stk_conv_dx_args){s, g, b->w, b->y, at};
  }
  if ((e = add(b, b->k->conv_dw, "maxima dw", name))) {
    e->flops = flops;
    e->args.dw = (struct stk_conv_dw_args){s, b->x, g, b->g, b->g + (1 << 22), sums, at};
  }
}

static void add_pool(struct bench *b, const char *name, int64_t n, int64_t c, int64_t hw,
                     bool max) {
  const struct stk_conv_shape s = {n, c, hw, hw, c, 2, 2, hw / 2, hw / 2, 2, 2, 0, 0, 1, 1, 1};
  const double in = (double)(n * c * hw * hw) * 4, out = in / 4;
  struct entry *e = add(b, b->k->pool, max ? "maxpool" : "avgpool", name);
  if (e) {
    e->bytes = in + (max ? 2 : 1) * out;
    e->args.pool = (struct stk_pool_args){s, b->x, b->y, b->index, max};
  }
  if ((e = add(b, b->k->pool_bwd, max ? "maxpool_bwd" : "avgpool_bwd", name))) {
    e->bytes = in + (max ? 2 : 1) * out;
    e->args.pool_bwd = (struct stk_pool_bwd_args){s, b->y, b->index, b->x, max};
  }
}

static void add_flat(struct bench *b, int64_t n, const struct stk_optim_scalars *s) {
  static const char *const names[] = {"sgd+momentum", "adam", "adamw"};
  for (int32_t kind = 0; kind < 3; kind++) {
    for (int stream = 0; stream < 2; stream++) {
      struct entry *e = add(b, b->k->optim, names[kind], stream ? "stream" : "in place");
      if (e) {
        e->bytes = (double)n * (kind == STK_OPTIM_SGD ? 5 : 7) * 4;
        float *out = stream ? b->y : b->x;
        e->args.optim = (struct stk_optim_args){
            b->x, b->x + n, b->x + 2 * n, b->g,   out,  out + n, out + 2 * n,
            s,    n,        kind,         stream, NULL, 0};
      }
    }
  }
  struct entry *e = add(b, b->k->sumsq, "sumsq", "");
  if (e) {
    e->bytes = (double)n * 4;
    e->args.sumsq = (struct stk_sumsq_args){b->g, (double *)(void *)b->w, n};
  }
  if ((e = add(b, b->k->accumulate, "accumulate", ""))) {
    e->bytes = (double)n * 12;
    e->args.accumulate = (struct stk_accumulate_args){b->g, b->y, n};
  }
}

static void round_of(struct bench *b) {
  const double fma = strcmp(b->k->isa, "avx512") == 0 ? fma_rate_avx512() : fma_rate_avx2(),
               copy = copy_rate(b->y, b->x, (size_t)3 << 24);
  b->fma_rate = fma > b->fma_rate ? fma : b->fma_rate;
  b->copy_rate = copy > b->copy_rate ? copy : b->copy_rate;
  for (int i = 0; i < b->n; i++) {
    struct entry *e = &b->entry[i];
    const size_t bytes = e->kernel->scratch ? e->kernel->scratch(&e->args) : 0;
    void *scratch = sp_alloc_aligned(64, bytes + 64);
    if (!scratch) {
      return;
    }
    const double start = seconds();
    e->kernel->run(&e->args, 0, e->kernel->units(&e->args, 1), scratch);
    const double spent = seconds() - start;
    e->best = spent < e->best ? spent : e->best;
    sp_free_aligned(scratch);
  }
}

static void report(const struct bench *b) {
  printf("%s: fma %.1f GFLOP/s, copy %.1f GB/s (one thread)\n", b->k->isa, b->fma_rate * 1e-9,
         b->copy_rate * 1e-9);
  for (int i = 0; i < b->n; i++) {
    const struct entry *e = &b->entry[i];
    const double rate = (e->flops > 0 ? e->flops : e->bytes) / e->best;
    printf("%-34s %9.3f ms %8.1f %s  %4.2f of the ceiling\n", e->name, e->best * 1e3, rate * 1e-9,
           e->flops > 0 ? "GFLOP/s" : "GB/s   ",
           rate / (e->flops > 0 ? b->fma_rate : b->copy_rate));
  }
}

int main(int argc, char **argv) {
  const char *isa = argc > 1 ? argv[1] : "avx2";
  const stk_isa kind = strcmp(isa, "ref") == 0      ? STK_ISA_KIND_REF
                       : strcmp(isa, "avx512") == 0 ? STK_ISA_KIND_AVX512
                                                    : STK_ISA_KIND_AVX2;
  static struct bench b;
  b.only = argc > 2 ? argv[2] : NULL;
  b.k = stk_kernels_get(kind, 32, true);
  const size_t room = (size_t)3 << 24; /* reals in each buffer */
  b.x = sp_alloc_aligned(64, room * sizeof(float));
  b.y = sp_alloc_aligned(64, room * sizeof(float));
  b.w = sp_alloc_aligned(64, room / 4 * sizeof(float));
  b.g = sp_alloc_aligned(64, room * sizeof(float));
  b.index = sp_alloc_aligned(64, room / 4 * sizeof(int32_t));
  if (!b.x || !b.y || !b.w || !b.g || !b.index) {
    return 1;
  }
  _mm_setcsr(0x1f80 | 0x8040);
  const struct stk_optim_scalars s = {.lr = 1e-3,
                                      .weight_decay = 0.01,
                                      .momentum = 0.9,
                                      .beta1 = 0.9,
                                      .beta2 = 0.999,
                                      .eps = 1e-8,
                                      .bias1 = 0.1,
                                      .bias2 = 0.001,
                                      .grad_scale = 1};
  add_conv(&b, "3x3 1->8 28x28 b500", 500, 1, 28, 8, 3, 1);
  add_conv(&b, "3x3 8->16 14x14 b500", 500, 8, 14, 16, 3, 1);
  add_conv(&b, "3x3 64->64 32x32 b8", 8, 64, 32, 64, 3, 1);
  add_conv(&b, "3x3 s2 64->128 32x32 b8", 8, 64, 32, 128, 3, 2);
  add_conv(&b, "3x3 256->256 8x8 b16", 16, 256, 8, 256, 3, 1);
  add_conv(&b, "1x1 64->256 16x16 b16", 16, 64, 16, 256, 1, 1);
  add_conv(&b, "7x7 s2 3->64 64x64 b4", 4, 3, 64, 64, 7, 2);
  add_maxima(&b, "3x3 1->8 28x28 b500", 500, 1, 28, 8);
  add_maxima(&b, "3x3 8->16 14x14 b500", 500, 8, 14, 16);
  add_maxima(&b, "3x3 16->16 32x32 b100", 100, 16, 32, 16);
  add_pool(&b, "2x2 8 28x28 b500", 500, 8, 28, true);
  add_pool(&b, "2x2 16 14x14 b500", 500, 16, 14, true);
  add_pool(&b, "2x2 16 14x14 b500", 500, 16, 14, false);
  add_flat(&b, (int64_t)1 << 24, &s);
  for (int i = 0; i < ROUNDS; i++) {
    round_of(&b);
  }
  report(&b);
  return 0;
}
