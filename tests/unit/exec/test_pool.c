/* The thread pool: every unit once, on any number of threads; environment, refusals, reuse. */
#include "tests/lib/tt.h"

#include <stdatomic.h>
#include <string.h>
#include <xmmintrin.h>

#include "engine/exec/fpenv.h"
#include "engine/exec/pool.h"

enum { UNITS = 1000, MANY = 20000 };

struct seen {
  atomic_int times[UNITS];
  atomic_int wrong; /* bad ranges, threads or environments */
  int n_threads;
};

static void mark(void *ctx, int64_t lo, int64_t hi, int thread) {
  struct seen *s = ctx;
  if (lo < 0 || lo >= hi || hi > UNITS || thread < 0 || thread >= s->n_threads ||
      !stk_fp_is_engine()) {
    atomic_fetch_add(&s->wrong, 1);
    return;
  }
  for (int64_t u = lo; u < hi; u++) {
    atomic_fetch_add(&s->times[u], 1);
  }
}

static void test_pool_any_thread_count_does_each_unit_once(void **state) {
  (void)state;
  static const int64_t counts[] = {0, 1, 2, 3, 7, 64, UNITS};
  for (int threads = 1; threads <= 9; threads += 2) {
    stk_pool *pool;
    assert_int_equal(stk_pool_new(threads, threads == 3, &pool, NULL), SP_OK);
    assert_int_equal(stk_pool_n_threads(pool), threads);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
      static struct seen s;
      memset(&s, 0, sizeof s);
      s.n_threads = threads;
      stk_pool_run(pool, mark, &s, counts[i]);
      assert_int_equal(atomic_load(&s.wrong), 0);
      for (int64_t u = 0; u < UNITS; u++) {
        assert_int_equal(atomic_load(&s.times[u]), u < counts[i]);
      }
    }
    stk_pool_free(pool);
  }
}

static void add(void *ctx, int64_t lo, int64_t hi, int thread) {
  (void)thread;
  long *values = ctx;
  for (int64_t u = lo; u < hi; u++) {
    values[u]++;
  }
}

/* With a limit of one everything is the caller's; with any, everything is done. */
static void test_pool_limits_leave_no_unit_out(void **state) {
  (void)state;
  stk_pool *pool;
  assert_int_equal(stk_pool_new(5, false, &pool, NULL), SP_OK);
  for (int i = 0; i < 200; i++) {
    static struct seen s;
    const int limit = i * 7 % 8;
    memset(&s, 0, sizeof s);
    s.n_threads = limit <= 1 ? 1 : 5;
    stk_pool_limit(pool, limit);
    stk_pool_run(pool, mark, &s, UNITS);
    assert_int_equal(atomic_load(&s.wrong), 0);
    for (int64_t u = 0; u < UNITS; u++) {
      assert_int_equal(atomic_load(&s.times[u]), 1);
    }
    if (i % 50 == 49) {
      stk_pool_limit(pool, 2);
      assert_int_equal(stk_pool_start(pool, 5, NULL), SP_OK); /* nobody is left asleep */
    }
  }
  stk_pool_limit(pool, 1);
  stk_pool_free(pool);
}

/* Plain memory, written by whichever thread had the unit before: run orders them all. */
static void test_pool_many_runs_see_each_other_s_writes(void **state) {
  (void)state;
  static long values[8];
  memset(values, 0, sizeof values);
  stk_pool *pool;
  assert_int_equal(stk_pool_new(3, false, &pool, NULL), SP_OK);
  for (int i = 0; i < MANY; i++) {
    stk_pool_run(pool, add, values, 8);
  }
  stk_pool_free(pool);
  for (int u = 0; u < 8; u++) {
    assert_int_equal(values[u], MANY);
  }
}

static void test_pool_run_leaves_the_caller_s_environment(void **state) {
  (void)state;
  const unsigned before = _mm_getcsr();
  _mm_setcsr(0x1f80);
  static struct seen s;
  memset(&s, 0, sizeof s);
  s.n_threads = 2;
  stk_pool *pool;
  assert_int_equal(stk_pool_new(2, false, &pool, NULL), SP_OK);
  stk_pool_run(pool, mark, &s, UNITS);
  stk_pool_run(pool, mark, &s, 1);
  stk_pool_free(pool);
  assert_int_equal(_mm_getcsr() & ~0x3fu, 0x1f80);
  assert_int_equal(atomic_load(&s.wrong), 0);
  _mm_setcsr(before);
}

static void test_pool_bad_thread_count_is_refused(void **state) {
  (void)state;
  stk_pool *pool = NULL;
  struct sp_err err = {0};
  assert_int_equal(stk_pool_new(-1, false, &pool, &err), SP_EINVAL);
  assert_non_null(strstr(err.text, "-1"));
  assert_int_equal(stk_pool_new(STK_POOL_MAX_THREADS + 1, false, &pool, &err), SP_EINVAL);
  assert_null(pool);
}

static void test_pool_without_memory_is_refused(void **state) {
  (void)state;
  stk_pool *pool = NULL;
  tt_fail_alloc(1);
  assert_int_equal(stk_pool_new(2, false, &pool, NULL), SP_ENOMEM);
  assert_true(tt_alloc_failed());
  tt_fail_alloc(0);
  assert_null(pool);
}

static void test_pool_free_accepts_null(void **state) {
  (void)state;
  stk_pool_free(NULL);
}

static void test_fpenv_flushes_denormals(void **state) {
  (void)state;
  const uint32_t previous = stk_fp_enter();
  volatile float small = 1e-38f, denormal = 1e-40f;
  assert_true(small * 0.01f == 0);
  assert_true(denormal * 1e10f == 0);
  assert_true(stk_fp_is_engine());
  stk_fp_leave(previous);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_pool_any_thread_count_does_each_unit_once),
      tt_test(test_pool_limits_leave_no_unit_out),
      tt_test(test_pool_many_runs_see_each_other_s_writes),
      tt_test(test_pool_run_leaves_the_caller_s_environment),
      tt_test(test_pool_bad_thread_count_is_refused),
      tt_test(test_pool_without_memory_is_refused),
      tt_test(test_pool_free_accepts_null),
      tt_test(test_fpenv_flushes_denormals),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
