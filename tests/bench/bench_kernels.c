/* How fast the elementwise, row, reduction, embedding and attention kernels are on one thread.
 *
 * Every line gives ns per element and GB/s (bytes that must move, each once) beside a plain copy
 * measured in the same run; attention gives GFLOP/s of its products instead, causal ones counted
 * once. Each figure is the best of several rounds in which all of them take turns, in this thread's
 * processor time, since machines are shared. Usage: bench_kernels [ref|avx2|avx512]
 */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <xmmintrin.h>

#include "engine/kernel/kernel.h"
#include "proto/base/mem.h"

enum { ROUNDS = 9, MOST = 48, FLOATS = 256 * 50304, FTZ_DAZ = 0x8040 };

struct entry {
  char name[48];
  const struct stk_kernel *kernel;
  const void *args;
  double elements, bytes, flops;
  double best; /* seconds */
};

struct bench {
  const struct stk_kernels *k;
  struct entry entry[MOST];
  int n;
  float *x, *y, *z, *small[6];
  int32_t *ids;
  void *scratch;
};

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *copy_of(const void *args, size_t bytes) {
  return memcpy(sp_alloc(bytes), args, bytes);
}

#define ADD(B, NAME, KERNEL, ARGS, ELEMENTS, BYTES, FLOPS)                             \
  (B)->entry[(B)->n++] = (struct entry) {                                              \
    NAME, KERNEL, copy_of(&(ARGS), sizeof(ARGS)), (double)(ELEMENTS), (double)(BYTES), \
        (double)(FLOPS), 1e9                                                           \
  }

static void add_chain(struct bench *b, const char *name, int op, int n_in, int64_t rows, int64_t n,
                      bool bias) {
  struct stk_chain_args a = {.in = {b->x, b->z, b->small[0]}, .out = {b->y}};
  a.dim[0] = a.dim[1] = 1;
  a.dim[2] = rows;
  a.dim[3] = n;
  a.n_in = n_in;
  a.n_op = a.n_out = 1;
  for (int k = 0; k < n_in; k++) {
    a.in_stride[k][3] = 1;
    a.in_stride[k][2] = bias && k == 1 ? 0 : n;
  }
  a.op[0] = (struct stk_chain_op){.op = (uint8_t)op, .a = 0, .b = 1, .d = 2, .c = 0.5};
  a.out_reg[0] = (uint8_t)n_in;
  ADD(b, "", b->k->chain, a, rows * n, 4 * rows * n * (n_in + 1 - bias), 0);
  snprintf(b->entry[b->n - 1].name, 48, "%s %lldx%lld", name, (long long)rows, (long long)n);
}

static void add_rows(struct bench *b, int64_t rows, int64_t n) {
  const struct stk_layernorm_args f = {b->x,        b->small[0], b->small[1], b->y, b->small[2],
                                       b->small[3], rows,        n,           1e-5};
  const struct stk_layernorm_bwd_args d = {b->x,        b->z, b->small[0], b->small[2],
                                           b->small[3], b->y, rows,        n};
  const struct stk_layernorm_dparam_args p = {b->x,        b->z,        b->small[2], b->small[3],
                                              b->small[4], b->small[5], rows,        n};
  const struct stk_reduce_args r = {b->x, b->y, 1, rows, n, 1};
  const int64_t size = rows * n, from = b->n;
  ADD(b, "layernorm", b->k->layernorm, f, size, 8 * size, 0);
  ADD(b, "layernorm dx", b->k->layernorm_bwd, d, size, 12 * size, 0);
  ADD(b, "layernorm dparam", b->k->layernorm_dparam, p, size, 8 * size, 0);
  ADD(b, "column sums", b->k->reduce, r, size, 4 * size, 0);
  for (int64_t i = from; i < b->n; i++) {
    const size_t used = strlen(b->entry[i].name);
    snprintf(b->entry[i].name + used, 48 - used, " %lldx%lld", (long long)rows, (long long)n);
  }
}

static void add_loss(struct bench *b, int64_t rows, int64_t n) {
  const struct stk_xent_args f = {b->x, b->ids, b->small[2], b->small[3], rows, n, -100, 0};
  const struct stk_xent_bwd_args d = {b->x, b->small[3], b->small[0], b->small[1], b->ids,
                                      b->y, rows,        n,           -100,        0};
  const struct stk_softmax_args s = {b->x, b->y, rows, n, false};
  const int64_t size = rows * n, from = b->n;
  ADD(b, "xent", b->k->xent, f, size, 4 * size, 0);
  ADD(b, "xent dx", b->k->xent_bwd, d, size, 8 * size, 0);
  ADD(b, "softmax", b->k->softmax, s, size, 8 * size, 0);
  for (int64_t i = from; i < b->n; i++) {
    const size_t used = strlen(b->entry[i].name);
    snprintf(b->entry[i].name + used, 48 - used, " %lldx%lld", (long long)rows, (long long)n);
  }
}

static struct stk_heads heads(float *p, int64_t h, int64_t t, int64_t d, int64_t width) {
  return (struct stk_heads){p, t * width * h * d, width * h * d, d};
}

static void add_attention(struct bench *b, int64_t batch, int64_t h, int64_t t, int64_t d) {
  const int64_t c = h * d;
  const struct stk_attention_args f = {heads(b->x, h, t, d, 3),
                                       heads(b->x + c, h, t, d, 3),
                                       heads(b->x + 2 * c, h, t, d, 3),
                                       heads(b->z, h, t, d, 1),
                                       b->small[5],
                                       batch,
                                       h,
                                       t,
                                       d,
                                       0.125,
                                       true,
                                       0,
                                       NULL,
                                       0};
  const struct stk_attention_bwd_args g = {f.q,
                                           f.k,
                                           f.v,
                                           f.o,
                                           heads(b->z + batch * t * c, h, t, d, 1),
                                           heads(b->y, h, t, d, 3),
                                           heads(b->y + c, h, t, d, 3),
                                           heads(b->y + 2 * c, h, t, d, 3),
                                           b->small[5],
                                           batch,
                                           h,
                                           t,
                                           d,
                                           0.125,
                                           true,
                                           0,
                                           NULL,
                                           0};
  const double pairs = (double)(batch * h) * (double)t * (double)(t + 1) / 2;
  ADD(b, "attention", b->k->attention, f, batch * t * c, 16 * batch * t * c, 4 * pairs * (double)d);
  ADD(b, "attention backward", b->k->attention_bwd, g, batch * t * c, 32 * batch * t * c,
      10 * pairs * (double)d);
  for (int i = b->n - 2; i < b->n; i++) {
    const size_t used = strlen(b->entry[i].name);
    snprintf(b->entry[i].name + used, 48 - used, " B%lld H%lld T%lld d%lld", (long long)batch,
             (long long)h, (long long)t, (long long)d);
  }
}

static void add_embedding(struct bench *b, int64_t n, int64_t dim, int64_t vocab) {
  const struct stk_embedding_bwd_args a = {b->ids, b->x, NULL, b->y, n, dim, vocab};
  ADD(b, "", b->k->embedding_bwd, a, vocab * dim, 4 * vocab * dim + 12 * n * dim, 0);
  snprintf(b->entry[b->n - 1].name, 48, "embedding dw %lld of %lldx%lld", (long long)n,
           (long long)vocab, (long long)dim);
}

static void add_all(struct bench *b) {
  const struct stk_copy_args copy = {
      b->x, b->y, 0, 0, {1, 1, 1, 1, 1, 1 << 23}, {1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1}, 4};
  const struct stk_copy_args transpose = {
      b->x, b->y, 0, 0, {1, 1, 1, 1, 1024, 1024}, {0, 0, 0, 0, 1, 1024}, {0, 0, 0, 0, 1024, 1}, 4};
  const struct stk_reduce_args mean = {b->x, b->y, 1, 1000000, 1, 1e-6};
  ADD(b, "copy 8 Mi", b->k->copy, copy, 1 << 23, 8 << 23, 0);
  ADD(b, "transpose 1024x1024", b->k->copy, transpose, 1 << 20, 8 << 20, 0);
  ADD(b, "mean of 1e6", b->k->reduce, mean, 1000000, 4000000, 0);
  add_chain(b, "add", STK_EW_ADD, 2, 2048, 768, false);
  add_chain(b, "add bias", STK_EW_ADD, 2, 2048, 768, true);
  add_chain(b, "relu backward", STK_EW_RELU_BWD, 2, 2048, 768, false);
  add_chain(b, "gelu", STK_EW_GELU_TANH, 1, 768, 512, false);
  add_chain(b, "gelu backward", STK_EW_GELU_TANH_BWD, 2, 768, 512, false);
  add_chain(b, "gelu erf", STK_EW_GELU_ERF, 1, 768, 512, false);
  add_chain(b, "tanh", STK_EW_TANH, 1, 768, 512, false);
  add_chain(b, "exp", STK_EW_EXP, 1, 768, 512, false);
  add_rows(b, 768, 128);
  add_rows(b, 2048, 384);
  add_rows(b, 256, 768);
  add_loss(b, 768, 256);
  add_loss(b, 256, 50304);
  add_embedding(b, 768, 128, 256);
  add_embedding(b, 256, 240, 50304);
  add_attention(b, 12, 4, 64, 32);
  add_attention(b, 8, 6, 256, 64);
  add_attention(b, 4, 12, 64, 64);
  add_attention(b, 1, 12, 1024, 64);
}

static void run_entry(struct bench *b, struct entry *e, int round) {
  const int64_t units = e->kernel->units(e->args, 1);
  const int times = e->elements > 4e6 ? 1 : 4;
  double best = e->best;
  for (int i = 0; i < times; i++) {
    const double start = seconds();
    e->kernel->run(e->args, 0, units, b->scratch);
    const double took = seconds() - start;
    best = took < best ? took : best;
  }
  e->best = round == 0 ? 1e9 : best; /* the first round touches the memory */
}

int main(int argc, char **argv) {
  struct bench b = {.n = 0};
  stk_isa isa = STK_ISA_KIND_AVX2;
  if (argc > 1) {
    isa = strcmp(argv[1], "ref") == 0      ? STK_ISA_KIND_REF
          : strcmp(argv[1], "avx512") == 0 ? STK_ISA_KIND_AVX512
                                           : STK_ISA_KIND_AVX2;
  }
  _mm_setcsr(0x1f80 | FTZ_DAZ);
  b.k = stk_kernels_get(isa, 32, true);
  float **buffers[] = {&b.x, &b.y, &b.z};
  for (int i = 0; i < 3; i++) {
    *buffers[i] = sp_alloc_aligned(64, FLOATS * sizeof(float));
  }
  b.ids = sp_alloc_aligned(64, 65536 * sizeof(int32_t));
  b.scratch = sp_alloc_aligned(64, 64 << 20);
  for (int i = 0; i < FLOATS; i++) {
    const uint32_t mixed = (uint32_t)i * 2654435761u;
    b.x[i] = (float)(mixed >> 8) * 0x1p-22f - 2;
    b.z[i] = (float)(mixed >> 9) * 0x1p-22f - 1;
  }
  for (int i = 0; i < 6; i++) {
    b.small[i] = sp_alloc_aligned(64, 65536 * sizeof(float));
    for (int j = 0; j < 65536; j++) {
      b.small[i][j] = 1;
      b.ids[j] = j * 37 % 256;
    }
  }
  add_all(&b);
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < b.n; i++) {
      run_entry(&b, &b.entry[i], round);
    }
  }
  printf("%s, one thread\n", b.k->isa);
  for (int i = 0; i < b.n; i++) {
    const struct entry *e = &b.entry[i];
    printf("%-34s %9.1f us %7.3f ns/element", e->name, e->best * 1e6, e->best * 1e9 / e->elements);
    if (e->flops > 0) {
      printf(" %7.1f GFLOP/s\n", e->flops / e->best * 1e-9);
    } else {
      printf(" %7.2f GB/s %5.2f of copy\n", e->bytes / e->best * 1e-9,
             e->bytes / e->best / (b.entry[0].bytes / b.entry[0].best));
    }
  }
  return 0;
}
