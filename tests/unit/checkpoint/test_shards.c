/* Shards have nothing to do with who saves or loads. A plan knows no ranks, so the same state gives
 * the same files whatever N was, and a checkpoint in any number of shards loads into any layout: by
 * byte ranges, straight into the targets, without memory for more than one piece.
 */
#include "tests/lib/tt.h"

#include "engine/checkpoint/hash.h"
#include "engine/checkpoint/load.h"
#include "proto/base/mem.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_TENSORS = 16, N_MODEL = 8, ELEMENTS = 1 << 18, BYTES = 4 * ELEMENTS };

static float values[N_TENSORS][ELEMENTS];
static float loaded[N_TENSORS][ELEMENTS];
static char names[N_TENSORS][32];

/* Eight parameters of one megabyte and their moments. */
static void make_state(struct stk_ckpt_tensor out[N_TENSORS], uint32_t seed) {
  for (int i = 0; i < N_TENSORS; i++) {
    snprintf(names[i], sizeof names[i], "%slayer.%d", i < N_MODEL ? "" : "exp_avg.", i % N_MODEL);
    for (int k = 0; k < ELEMENTS; k++) {
      seed = seed * 1664525u + 1013904223u;
      values[i][k] = (float)(seed >> 8) * 0x1p-24f;
    }
    out[i] = (struct stk_ckpt_tensor){.name = names[i],
                                      .role = i < N_MODEL ? STK_CKPT_MODEL : STK_CKPT_OPTIM,
                                      .dtype = STK_ST_F32,
                                      .rank = 1,
                                      .dims = {ELEMENTS},
                                      .data = values[i]};
  }
}

static struct stk_ckpt_plan make_plan_of(const struct stk_ckpt_tensor *tensors, const char *parent,
                                         int n_shards) {
  return (struct stk_ckpt_plan){
      .parent = parent,
      .job = "shards",
      .step = n_shards,
      .lanes = 8,
      .precision = "32-true",
      .module = "toy",
      .tensors = tensors,
      .n_tensors = N_TENSORS,
      .nonce = 1,
      .shard_bytes = (uint64_t)((N_MODEL + n_shards - 1) / n_shards) * BYTES};
}

static void make_targets(struct stk_ckpt_target out[N_TENSORS], int first, int n) {
  for (int i = 0; i < n; i++) {
    out[i] = (struct stk_ckpt_target){.name = names[first + i],
                                      .dtype = STK_ST_F32,
                                      .rank = 1,
                                      .dims = {ELEMENTS},
                                      .data = loaded[first + i]};
  }
}

/* ---- an allocator that knows its peak */

struct meter {
  size_t now;
  size_t peak;
};

static void count(struct meter *m, size_t bytes) {
  m->now += bytes;
  m->peak = m->now > m->peak ? m->now : m->peak;
}

static void *meter_alloc(void *ctx, size_t bytes) {
  void *p = calloc(1, bytes ? bytes : 1);
  count(ctx, p ? malloc_usable_size(p) : 0);
  return p;
}

static void *meter_resize(void *ctx, void *p, size_t bytes) {
  struct meter *m = ctx;
  size_t before = p ? malloc_usable_size(p) : 0;
  void *q = realloc(p, bytes);
  m->now -= q ? before : 0;
  count(m, q ? malloc_usable_size(q) : 0);
  return q;
}

static void meter_release(void *ctx, void *p) {
  struct meter *m = ctx;
  m->now -= p ? malloc_usable_size(p) : 0;
  free(p);
}

static void meter_start(struct meter *m) {
  static struct sp_allocator a;
  *m = (struct meter){0};
  a = (struct sp_allocator){meter_alloc, meter_resize, meter_release, m};
  sp_set_allocator(&a);
}

static void meter_stop(const struct meter *m) {
  sp_set_allocator(NULL);
  assert_int_equal(m->now, 0);
}

/* Bytes that this process has read so far, or -1 where the kernel does not count. */
static int64_t bytes_read(void) {
  FILE *f = fopen("/proc/self/io", "r");
  int64_t n = -1;
  if (f) {
    if (fscanf(f, "rchar: %" SCNd64, &n) != 1) {
      n = -1;
    }
    fclose(f);
  }
  return n;
}

static void test_shards_of_any_number_load_to_the_same_state(void **state) {
  (void)state;
  static const int n_shards[] = {1, 2, 3, 8};
  struct stk_ckpt_tensor tensors[N_TENSORS];
  struct stk_ckpt_target targets[N_TENSORS];
  char state_hash[65] = "";
  uint8_t weights[STK_HASH_BYTES] = {0};
  const char *parent = tt_tmpfile("any");
  make_state(tensors, 1);
  make_targets(targets, 0, N_TENSORS);
  for (size_t i = 0; i < sizeof n_shards / sizeof *n_shards; i++) {
    struct stk_ckpt_plan plan = make_plan_of(tensors, parent, n_shards[i]);
    struct stk_ckpt_saved saved;
    struct stk_ckpt ck;
    uint8_t hash[STK_HASH_BYTES];
    assert_int_equal(stk_ckpt_save(&plan, &saved, NULL), SP_OK);
    assert_int_equal(stk_ckpt_open_newest_valid(parent, true, NULL, NULL, &ck, NULL), SP_OK);
    assert_int_equal(ck.manifest.step, n_shards[i]);
    assert_int_equal(ck.manifest.n_files, 2 * n_shards[i] + (n_shards[i] > 1));
    memset(loaded, 0, sizeof loaded);
    assert_int_equal(stk_ckpt_read(&ck, targets, N_TENSORS, true, NULL), SP_OK);
    assert_memory_equal(loaded, values, sizeof values);
    assert_int_equal(stk_ckpt_hash(ck.path, hash, NULL), SP_OK);
    if (i == 0) {
      snprintf(state_hash, sizeof state_hash, "%s", ck.manifest.state_hash);
      memcpy(weights, hash, sizeof hash);
    }
    assert_string_equal(ck.manifest.state_hash, state_hash);
    assert_memory_equal(hash, weights, sizeof hash);
    stk_ckpt_close(&ck);
  }
}

/* What two savers of one state write is equal byte for byte: nothing of who they are is in it. */
static void test_shards_are_a_function_of_the_plan_alone(void **state) {
  (void)state;
  struct stk_ckpt_tensor tensors[N_TENSORS];
  char files[2][1024];
  make_state(tensors, 2);
  for (int i = 0; i < 2; i++) {
    struct stk_ckpt_saved saved;
    struct stk_ckpt_plan plan = make_plan_of(tensors, tt_tmpfile(i ? "twin-b" : "twin-a"), 3);
    assert_int_equal(stk_ckpt_save(&plan, &saved, NULL), SP_OK);
    snprintf(files[i], sizeof files[i], "%.900s/%s", plan.parent, saved.name);
  }
  struct stk_ckpt ck;
  assert_int_equal(stk_ckpt_open(files[0], &ck, NULL), SP_OK);
  for (size_t i = 0; i <= ck.manifest.n_files; i++) {
    const char *name = i < ck.manifest.n_files ? ck.manifest.files[i].name : "MANIFEST";
    char *bytes[2];
    size_t n[2];
    for (int k = 0; k < 2; k++) {
      char path[1200];
      snprintf(path, sizeof path, "%.1000s/%.100s", files[k], name);
      bytes[k] = tt_read_file(path, &n[k]);
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(bytes[0], bytes[1], n[0]);
    sp_free(bytes[0]);
    sp_free(bytes[1]);
  }
  stk_ckpt_close(&ck);
}

/* 16 MiB of state, and tables of a few kilobytes beside the piece that a comparison reads. */
static void test_shards_take_no_memory_beyond_a_piece(void **state) {
  (void)state;
  enum { TABLES = 128 << 10, PIECE = 1 << 20 };
  struct stk_ckpt_tensor tensors[N_TENSORS];
  struct stk_ckpt_target targets[N_TENSORS];
  struct stk_ckpt_saved saved;
  struct stk_ckpt ck;
  struct meter m;
  const char *parent = tt_tmpfile("memory");
  make_state(tensors, 3);
  make_targets(targets, 0, N_TENSORS);
  struct stk_ckpt_plan plan = make_plan_of(tensors, parent, 3);
  meter_start(&m);
  assert_int_equal(stk_ckpt_save(&plan, &saved, NULL), SP_OK);
  meter_stop(&m);
  print_message("save: %zu bytes\n", m.peak);
  assert_in_range(m.peak, 1, TABLES);
  meter_start(&m);
  assert_int_equal(stk_ckpt_open_newest_valid(parent, false, NULL, NULL, &ck, NULL), SP_OK);
  assert_int_equal(stk_ckpt_read(&ck, targets, N_TENSORS, true, NULL), SP_OK);
  stk_ckpt_close(&ck);
  meter_stop(&m);
  print_message("read: %zu bytes\n", m.peak);
  assert_in_range(m.peak, 1, TABLES);
  meter_start(&m);
  assert_int_equal(stk_ckpt_open_newest_valid(parent, true, NULL, NULL, &ck, NULL), SP_OK);
  stk_ckpt_close(&ck);
  meter_stop(&m);
  print_message("verify: %zu bytes\n", m.peak);
  assert_in_range(m.peak, PIECE, PIECE + TABLES);
}

/* A part of the state costs its own bytes, however the shards are cut. */
static void test_shards_are_read_by_byte_ranges(void **state) {
  (void)state;
  static const int n_shards[] = {1, 3, 8};
  struct stk_ckpt_tensor tensors[N_TENSORS];
  struct stk_ckpt_target targets[N_TENSORS];
  const char *parent = tt_tmpfile("ranges");
  if (bytes_read() < 0) {
    skip(); /* the kernel does not count (/proc/self/io) */
  }
  make_state(tensors, 4);
  for (size_t i = 0; i < sizeof n_shards / sizeof *n_shards; i++) {
    struct stk_ckpt_plan plan = make_plan_of(tensors, parent, n_shards[i]);
    struct stk_ckpt_saved saved;
    struct stk_ckpt ck;
    assert_int_equal(stk_ckpt_save(&plan, &saved, NULL), SP_OK);
    assert_int_equal(stk_ckpt_open_newest_valid(parent, false, NULL, NULL, &ck, NULL), SP_OK);
    make_targets(targets, 3, 2); /* two neighbours in the middle */
    memset(loaded, 0, sizeof loaded);
    int64_t before = bytes_read();
    assert_int_equal(stk_ckpt_read(&ck, targets, 2, false, NULL), SP_OK);
    int64_t n = bytes_read() - before;
    assert_in_range(n, 2 * BYTES, 2 * BYTES + (16 << 10));
    assert_memory_equal(loaded[3], values[3], 2 * (size_t)BYTES);
    assert_true(loaded[2][5] == 0.0f && loaded[5][5] == 0.0f);
    stk_ckpt_close(&ck);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_shards_of_any_number_load_to_the_same_state),
      tt_test(test_shards_are_a_function_of_the_plan_alone),
      cmocka_unit_test(test_shards_take_no_memory_beyond_a_piece),
      tt_test(test_shards_are_read_by_byte_ranges),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
