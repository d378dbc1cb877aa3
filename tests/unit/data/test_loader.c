/* The loader: order, guesses, errors that belong to their batch. */
#include "tests/lib/tt.h"

#include "engine/data/loader.h"
#include "tests/unit/data/files.h"

#include <stdio.h>
#include <string.h>

/* A reader of ten samples: x is the id, y its tenfold. Reading id `broken` fails. */
struct counting_reader {
  int64_t broken;
};

static stk_status counting_open(const stk_reader_args *args, void **out_self,
                                stk_reader_info *out_info, stk_reader_why *why) {
  (void)why;
  static struct counting_reader self;
  self.broken = args->path ? args->path[0] - '0' : -1;
  *out_self = &self;
  out_info->n_samples = 10;
  out_info->x = (stk_sample){.dtype = STK_F32};
  out_info->y = (stk_sample){.dtype = STK_I32};
  out_info->has_y = 1;
  return 0;
}

static stk_status counting_read(void *self, const stk_reader_request *request, void *x, void *y,
                                stk_reader_why *why) {
  const struct counting_reader *r = self;
  for (int32_t k = 0; k < request->n; k++) {
    if (request->ids[k] == r->broken) {
      snprintf(why->text, sizeof why->text, "the disk is on fire");
      return 5;
    }
    ((float *)x)[k] = (float)request->ids[k] + 100.0f * (float)request->epoch;
    ((int32_t *)y)[k] = (int32_t)(10 * request->ids[k]);
  }
  return 0;
}

static void counting_close(void *self) {
  (void)self;
}

static const stk_reader_ops counting = {
    .abi = STK_READER_ABI,
    .size = sizeof(stk_reader_ops),
    .name = "counting",
    .open = counting_open,
    .read = counting_read,
    .close = counting_close,
};

static struct stk_dataset *open_counting(const char *path) {
  struct stk_data_spec spec = {.reader = &counting, .path = path};
  struct stk_dataset *ds;
  assert_int_equal(stk_dataset_open(&spec, &ds, NULL), SP_OK);
  return ds;
}

static struct stk_loader *open_loader(struct stk_dataset *ds, bool prefetch, int64_t lanes) {
  struct stk_loader_config config = {
      .sampler = {.n = 10, .n_lanes = lanes, .batch_size = 3, .pad = true},
      .prefetch = prefetch,
  };
  struct stk_loader *ld;
  assert_int_equal(stk_loader_open(ds, &config, &ld, NULL), SP_OK);
  return ld;
}

static void test_loader_gives_batches_in_order(void **state) {
  (void)state;
  for (int prefetch = 0; prefetch < 2; prefetch++) {
    struct stk_dataset *ds = open_counting(NULL);
    struct stk_loader *ld = open_loader(ds, prefetch, 1);
    for (int64_t b = 0; b < 4; b++) {
      struct stk_loader_batch batch;
      struct stk_loader_at then = {.batch = b + 1};
      struct stk_loader_at at = {.batch = b};
      assert_int_equal(stk_loader_next(ld, at, &then, &batch, NULL), SP_OK);
      assert_int_equal(batch.n, b < 3 ? 3 : 1);
      for (int64_t k = 0; k < batch.n; k++) {
        assert_int_equal(batch.ids[k], 3 * b + k);
        assert_true(((float *)batch.x)[k] == (float)(3 * b + k));
        assert_int_equal(((int32_t *)batch.y)[k], 10 * (3 * b + k));
      }
    }
    stk_loader_close(ld);
    stk_dataset_close(ds);
  }
}

static void test_loader_wrong_guess_changes_nothing(void **state) {
  (void)state;
  struct stk_dataset *ds = open_counting(NULL);
  struct stk_loader *ld = open_loader(ds, true, 2);
  struct stk_loader_batch batch;
  struct stk_loader_at guess = {.epoch = 9, .lane = 1, .batch = 1};
  for (int64_t epoch = 0; epoch < 50; epoch++) {
    struct stk_loader_at at = {.epoch = epoch, .lane = epoch % 2, .batch = 0};
    assert_int_equal(stk_loader_next(ld, at, &guess, &batch, NULL), SP_OK);
    assert_int_equal(batch.n, 3);
    assert_true(((float *)batch.x)[1] == (float)(2 + epoch % 2) + 100.0f * (float)epoch);
  }
  stk_loader_close(ld);
  stk_dataset_close(ds);
}

static void test_loader_batch_stays_while_the_next_is_read(void **state) {
  (void)state;
  struct stk_dataset *ds = open_counting(NULL);
  struct stk_loader *ld = open_loader(ds, true, 1);
  struct stk_loader_batch first;
  struct stk_loader_batch second;
  struct stk_loader_at next = {.batch = 1};
  assert_int_equal(stk_loader_next(ld, (struct stk_loader_at){0}, &next, &first, NULL), SP_OK);
  float held[3];
  memcpy(held, first.x, sizeof held);
  assert_int_equal(stk_loader_next(ld, next, NULL, &second, NULL), SP_OK);
  assert_ptr_not_equal(first.x, second.x);
  assert_memory_equal(held, first.x, sizeof held);
  stk_loader_close(ld);
  stk_dataset_close(ds);
}

static void test_loader_failure_belongs_to_its_batch(void **state) {
  (void)state;
  for (int prefetch = 0; prefetch < 2; prefetch++) {
    struct stk_dataset *ds = open_counting("4");
    struct stk_loader *ld = open_loader(ds, prefetch, 1);
    struct stk_loader_batch batch;
    struct sp_err err = {0};
    struct stk_loader_at bad = {.batch = 1};
    struct stk_loader_at good = {.batch = 2};
    assert_int_equal(stk_loader_next(ld, (struct stk_loader_at){0}, &bad, &batch, &err), SP_OK);
    assert_int_equal(stk_loader_next(ld, bad, &good, &batch, &err), SP_EMODULE);
    assert_non_null(strstr(err.text, "the disk is on fire"));
    assert_non_null(strstr(err.text, "counting"));
    assert_int_equal(stk_loader_next(ld, good, NULL, &batch, &err), SP_OK);
    assert_int_equal(batch.ids[0], 6);
    stk_loader_close(ld);
    stk_dataset_close(ds);
  }
}

static void test_loader_missing_batch_is_empty(void **state) {
  (void)state;
  struct stk_dataset *ds = open_counting(NULL);
  struct stk_loader *ld = open_loader(ds, true, 1);
  struct stk_loader_batch batch;
  struct stk_loader_at beyond = {.batch = 4};
  assert_int_equal(stk_loader_next(ld, beyond, NULL, &batch, NULL), SP_OK);
  assert_int_equal(batch.n, 0);
  stk_loader_close(ld);
  stk_dataset_close(ds);
}

static void test_loader_impossible_configs_are_refused(void **state) {
  (void)state;
  static const struct stk_sampler bad[] = {
      {.n = 10, .n_lanes = 1, .batch_size = 0},
      {.n = 10, .n_lanes = 0, .batch_size = 1},
      {.n = 11, .n_lanes = 1, .batch_size = 1},
      {.n = 0, .n_lanes = 1, .batch_size = 1},
      {.first = 5, .n = 6, .n_lanes = 1, .batch_size = 1},
      {.first = -1, .n = 6, .n_lanes = 1, .batch_size = 1},
      {.n = 10, .n_lanes = 1, .batch_size = (int64_t)1 << 40},
  };
  struct stk_dataset *ds = open_counting(NULL);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct stk_loader_config config = {.sampler = bad[i]};
    struct stk_loader *ld;
    assert_int_equal(stk_loader_open(ds, &config, &ld, NULL), SP_EINVAL);
  }
  stk_dataset_close(ds);
}

static void test_loader_lane_outside_is_refused(void **state) {
  (void)state;
  struct stk_dataset *ds = open_counting(NULL);
  struct stk_loader *ld = open_loader(ds, true, 2);
  struct stk_loader_batch batch;
  struct stk_loader_at at = {.lane = 2};
  assert_int_equal(stk_loader_next(ld, at, NULL, &batch, NULL), SP_EINVAL);
  stk_loader_close(ld);
  stk_dataset_close(ds);
}

/* 60 images of 28 x 28 with labels, batches of 32: several units, and a short batch at the end. */
static void test_loader_small_batches_by_the_pool_are_those_of_the_thread(void **state) {
  (void)state;
  stk_pool *pool;
  assert_int_equal(stk_pool_new(3, false, &pool, NULL), SP_OK);
  struct stk_data_spec spec = {
      .kind = SP_DATA_SYNTHETIC,
      .synthetic = {.n_samples = 60, .rank = 3, .dims = {1, 28, 28}, .n_classes = 9}};
  struct stk_dataset *ds;
  assert_int_equal(stk_dataset_open(&spec, &ds, NULL), SP_OK);
  struct stk_loader_config c = {
      .sampler = {.n = 60, .n_lanes = 1, .batch_size = 32, .seed = 4, .shuffle = true},
      .prefetch = true};
  struct stk_loader *by_thread, *by_pool;
  assert_int_equal(stk_loader_open(ds, &c, &by_thread, NULL), SP_OK);
  c.pool = pool;
  assert_int_equal(stk_loader_open(ds, &c, &by_pool, NULL), SP_OK);
  for (int64_t i = 0; i < 6; i++) {
    struct stk_loader_at at = {.epoch = i / 2, .batch = i % 2};
    struct stk_loader_at then = {.epoch = (i + 1) / 2, .batch = (i + 1) % 2};
    struct stk_loader_batch a, b;
    assert_int_equal(stk_loader_next(by_thread, at, &then, &a, NULL), SP_OK);
    assert_int_equal(stk_loader_next(by_pool, at, &then, &b, NULL), SP_OK);
    assert_int_equal(a.n, i % 2 ? 28 : 32);
    assert_int_equal(b.n, a.n);
    assert_memory_equal(b.ids, a.ids, (size_t)a.n * sizeof *a.ids);
    assert_memory_equal(b.x, a.x, (size_t)a.n * 784 * sizeof(float));
    assert_memory_equal(b.y, a.y, (size_t)a.n * sizeof(int32_t));
  }
  stk_loader_close(by_thread);
  stk_loader_close(by_pool);
  stk_dataset_close(ds);
  stk_pool_free(pool);
}

static void test_loader_without_memory_fails_cleanly(void **state) {
  (void)state;
  struct stk_dataset *ds = open_counting(NULL);
  for (long n = 1;; n++) {
    struct stk_loader_config config = {.sampler = {.n = 10, .n_lanes = 1, .batch_size = 3},
                                       .prefetch = true};
    struct stk_loader *ld = NULL;
    tt_fail_alloc(n);
    sp_status st = stk_loader_open(ds, &config, &ld, NULL);
    bool failed = tt_alloc_failed();
    tt_fail_alloc(0);
    assert_int_equal(st, failed ? SP_ENOMEM : SP_OK);
    stk_loader_close(ld);
    if (!failed) {
      break;
    }
  }
  stk_dataset_close(ds);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_loader_gives_batches_in_order),
      tt_test(test_loader_wrong_guess_changes_nothing),
      tt_test(test_loader_batch_stays_while_the_next_is_read),
      tt_test(test_loader_failure_belongs_to_its_batch),
      tt_test(test_loader_missing_batch_is_empty),
      tt_test(test_loader_impossible_configs_are_refused),
      tt_test(test_loader_lane_outside_is_refused),
      tt_test(test_loader_small_batches_by_the_pool_are_those_of_the_thread),
      tt_test(test_loader_without_memory_fails_cleanly),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
