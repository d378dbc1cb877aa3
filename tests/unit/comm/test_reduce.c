/* The reduction over parts: the mean of any number of parts has the bits of the lane tree added
 * element by element, in one pass with the optimizer or in two, whatever chunks a rank has; what
 * belongs to other ranks or to no slice is not touched. */
#include "tests/lib/tt.h"

#include <math.h>
#include <string.h>

#include "engine/comm/reduce.h"
#include "engine/exec/cpu.h"
#include "engine/exec/fpenv.h"
#include "proto/base/mem.h"

enum { LANES_MAX = 20, N = 2 * STK_STATE_CHUNK + 48, GAP = 70000, GAP_END = 90000 };

struct bed {
  struct stk_reduce r;
  struct stk_apply a;
  struct stk_tree_part parts[LANES_MAX];
  struct stk_tree_add adds[LANES_MAX];
  void *at[LANES_MAX];
  double sums[3];
  struct stk_optim_slice slices[2];
  struct stk_optimizer optimizer;
  struct stk_optim_scalars scalars;
  uint8_t *from, *to;
  int32_t real;
};

static double get(const struct bed *b, const void *p, int64_t i) {
  return b->real == 8 ? ((const double *)p)[i] : (double)((const float *)p)[i];
}

static void put(const struct bed *b, void *p, int64_t i, double v) {
  if (b->real == 8) {
    ((double *)p)[i] = v;
  } else {
    ((float *)p)[i] = (float)v;
  }
}

static double value_of(int32_t lane, int64_t i) {
  uint32_t h = (uint32_t)i * 2654435761u + (uint32_t)lane * 40503u + 7u;
  h ^= h >> 15;
  h *= 2246822519u;
  h ^= h >> 13;
  return ((double)h / 4294967296.0 - 0.5) * (lane % 3 == 0 ? 1000.0 : 0.001);
}

/* The sum of a node, in the width of the reals. */
static double node(const struct bed *b, int32_t lo, int32_t hi, int64_t i) {
  if (hi - lo == 1) {
    return b->real == 8 ? value_of(lo, i) : (double)(float)value_of(lo, i);
  }
  const int32_t mid = stk_tree_split(lo, hi);
  const double l = node(b, lo, mid, i), r = node(b, mid, hi, i);
  return b->real == 8 ? l + r : (double)((float)l + (float)r);
}

static double mean_of(const struct bed *b, int64_t i) {
  const double sum = node(b, 0, b->r.n_lanes, i);
  return b->real == 8 ? sum / b->r.n_lanes : (double)((float)sum / (float)b->r.n_lanes);
}

static struct bed *bed_new(int32_t n_lanes, int32_t n_ranks, int32_t real, stk_isa isa,
                           stk_pool *pool) {
  struct stk_cpu cpu;
  struct bed *b = sp_alloc(sizeof *b);
  assert_non_null(b);
  stk_cpu_detect(&cpu);
  b->real = real;
  b->r = (struct stk_reduce){.kernels = stk_kernels_get(isa, real * 8, cpu.fma),
                             .pool = pool,
                             .real_bytes = real,
                             .n_lanes = n_lanes,
                             .n = N,
                             .n_parts = stk_tree_parts(n_lanes, n_ranks, b->parts),
                             .part = b->at,
                             .adds = b->adds,
                             .sums = b->sums};
  stk_tree_adds(n_lanes, b->parts, b->r.n_parts, b->adds);
  b->r.scratch =
      sp_alloc_aligned(64, stk_reduce_scratch_bytes() * (size_t)stk_pool_n_threads(pool));
  for (int32_t p = 0; p < b->r.n_parts; p++) {
    b->at[p] = sp_alloc_aligned(64, (size_t)(N * real));
    for (int64_t i = 0; i < N; i++) {
      put(b, b->at[p], i, node(b, b->parts[p].lo, b->parts[p].hi, i));
    }
  }
  b->from = sp_alloc_aligned(64, (size_t)(N * real));
  b->to = sp_alloc_aligned(64, (size_t)(N * real));
  memset(b->from, 0, (size_t)(N * real));
  memset(b->to, 0xff, (size_t)(N * real)); /* NaN */
  b->slices[0] = (struct stk_optim_slice){0, GAP / 16 * 16, 0};
  b->slices[1] = (struct stk_optim_slice){GAP_END / 16 * 16, N - GAP_END / 16 * 16, 0};
  b->optimizer = (struct stk_optimizer){.kind = STK_OPTIM_SGD, .slice = b->slices, .n_slices = 2};
  b->scalars = (struct stk_optim_scalars){.lr = 1.0, .grad_scale = 1.0, .first = 1};
  b->a = (struct stk_apply){.optimizer = &b->optimizer,
                            .scalars = &b->scalars,
                            .from = b->from,
                            .to = b->to,
                            .section_bytes = N * real,
                            .n_sections = 1};
  stk_reduce_prepare(&b->r);
  return b;
}

static void bed_free(struct bed *b) {
  for (int32_t p = 0; p < b->r.n_parts; p++) {
    sp_free_aligned(b->at[p]);
  }
  sp_free_aligned(b->r.scratch);
  sp_free_aligned(b->from);
  sp_free_aligned(b->to);
  sp_free(b);
}

/* SGD from zero with rate 1 leaves minus the mean, in the slices of chunks [lo, hi). */
static void check_step(const struct bed *b, int64_t lo, int64_t hi) {
  for (int64_t i = 0; i < N; i++) {
    const int64_t chunk = i / STK_STATE_CHUNK;
    const bool in_gap = i >= GAP / 16 * 16 && i < GAP_END / 16 * 16;
    const double got = get(b, b->to, i);
    if (chunk < lo || chunk >= hi || in_gap) {
      assert_true(isnan(got));
    } else if (got != -mean_of(b, i)) {
      fail_msg("%d lanes in %d parts: element %d is %a, not %a", (int)b->r.n_lanes,
               (int)b->r.n_parts, (int)i, got, -mean_of(b, i));
    }
  }
}

static stk_isa best_isa(int32_t real) {
  struct stk_cpu cpu;
  stk_cpu_detect(&cpu);
  return real == 8 ? STK_ISA_KIND_REF : cpu.best;
}

static void check_lanes(int32_t n_lanes, int32_t n_ranks, int32_t real, stk_pool *pool) {
  struct bed *b = bed_new(n_lanes, n_ranks, real, best_isa(real), pool);
  stk_reduce_apply(&b->r, &b->a, false, 0, 3);
  check_step(b, 0, 3);
  bed_free(b);
}

/* Seven parts fit into one chain; more are added in place first. */
static void test_reduce_any_number_of_parts_is_the_tree(void **state) {
  (void)state;
  static const int32_t lanes[] = {2, 3, 4, 5, 6, 7, 8, 9, 13, 20};
  stk_pool *pool;
  const uint32_t previous = stk_fp_enter();
  assert_int_equal(stk_pool_new(2, false, &pool, NULL), SP_OK);
  for (size_t i = 0; i < sizeof lanes / sizeof *lanes; i++) {
    check_lanes(lanes[i], lanes[i], 4, pool);
  }
  check_lanes(7, 2, 4, pool);
  check_lanes(20, 3, 4, pool);
  check_lanes(3, 3, 8, pool);
  check_lanes(9, 9, 8, pool);
  stk_pool_free(pool);
  stk_fp_leave(previous);
}

static void test_reduce_own_chunks_alone_are_written(void **state) {
  (void)state;
  stk_pool *pool;
  const uint32_t previous = stk_fp_enter();
  assert_int_equal(stk_pool_new(1, false, &pool, NULL), SP_OK);
  struct bed *b = bed_new(4, 2, 4, best_isa(4), pool);
  stk_reduce_apply(&b->r, &b->a, false, 1, 1);
  check_step(b, 0, 0);
  stk_reduce_apply(&b->r, &b->a, false, 1, 2);
  check_step(b, 1, 2);
  stk_reduce_apply(&b->r, &b->a, false, 2, 3);
  check_step(b, 1, 3);
  bed_free(b);
  stk_pool_free(pool);
  stk_fp_leave(previous);
}

/* Two ranks in two passes: the squares of all chunks, then the step from the mean that is there. */
static void test_reduce_in_two_passes_is_the_same(void **state) {
  (void)state;
  stk_pool *pool;
  const uint32_t previous = stk_fp_enter();
  assert_int_equal(stk_pool_new(2, false, &pool, NULL), SP_OK);
  struct bed *b = bed_new(9, 4, 4, best_isa(4), pool);
  double want[3] = {0};
  stk_reduce_sums(&b->r, 0, 1);
  stk_reduce_sums(&b->r, 1, 3);
  for (int64_t i = 0; i < N; i++) {
    const double mean = mean_of(b, i);
    assert_true(get(b, b->at[0], i) == mean);
    want[i / STK_STATE_CHUNK] += mean * mean;
  }
  for (int i = 0; i < 3; i++) { /* another order of the same sum */
    assert_true(fabs(b->sums[i] - want[i]) <= 1e-9 * want[i]);
  }
  stk_reduce_apply(&b->r, &b->a, true, 0, 3);
  check_step(b, 0, 3);
  bed_free(b);
  stk_pool_free(pool);
  stk_fp_leave(previous);
}

static void test_reduce_every_kernel_gives_the_same(void **state) {
  (void)state;
  stk_pool *pool;
  struct stk_cpu cpu;
  stk_cpu_detect(&cpu);
  const uint32_t previous = stk_fp_enter();
  assert_int_equal(stk_pool_new(1, false, &pool, NULL), SP_OK);
  for (int isa = STK_ISA_KIND_REF; isa <= (int)cpu.best; isa++) {
    struct bed *b = bed_new(6, 3, 4, (stk_isa)isa, pool);
    stk_reduce_apply(&b->r, &b->a, false, 0, 3);
    check_step(b, 0, 3);
    bed_free(b);
  }
  stk_pool_free(pool);
  stk_fp_leave(previous);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_reduce_any_number_of_parts_is_the_tree),
      tt_test(test_reduce_own_chunks_alone_are_written),
      tt_test(test_reduce_in_two_passes_is_the_same),
      tt_test(test_reduce_every_kernel_gives_the_same),
  };
  return cmocka_run_group_tests_name("reduce", tests, NULL, NULL);
}
