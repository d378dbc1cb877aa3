/* The group page: what a mapped one is refused for, failures, progress. */
#include "tests/lib/tt.h"

#include <string.h>

#include "engine/comm/group.h"
#include "proto/base/mem.h"

static struct stk_group *page(int32_t n_lanes) {
  struct stk_group *g = sp_alloc_aligned(4096, stk_group_bytes(n_lanes));
  assert_non_null(g);
  stk_group_init(g, n_lanes);
  return g;
}

static void test_group_new_page_lets_nobody_wait(void **state) {
  (void)state;
  struct stk_group *g = page(2);
  assert_true(stk_group_is_over(g, 0));
  assert_int_equal(stk_group_barrier(g, 0, false), SP_ECANCELED);
  sp_free_aligned(g);
}

static void test_group_check_refuses_what_is_no_page_of_this_job(void **state) {
  (void)state;
  struct sp_err err = {0};
  struct stk_group *g = page(3);
  size_t bytes = stk_group_bytes(3);
  assert_int_equal(stk_group_check(g, bytes, 3, &err), SP_OK);
  assert_int_equal(stk_group_check(g, bytes, 2, &err), SP_ECORRUPT);
  assert_non_null(strstr(err.text, "3 lanes"));
  assert_int_equal(stk_group_check(g, bytes - 1, 3, &err), SP_ECORRUPT);
  assert_int_equal(stk_group_check(g, 16, 3, &err), SP_ECORRUPT);
  g->version++;
  assert_int_equal(stk_group_check(g, bytes, 3, &err), SP_ECORRUPT);
  assert_non_null(strstr(err.text, "version"));
  g->version--;
  g->magic ^= 1;
  assert_int_equal(stk_group_check(g, bytes, 3, &err), SP_ECORRUPT);
  sp_free_aligned(g);
}

static void test_group_first_failure_is_the_one_that_is_told(void **state) {
  (void)state;
  struct sp_err err = {0};
  struct stk_group *g = page(1);
  stk_group_open(g, 1, 1);
  assert_int_equal(stk_group_failure(g, &err), SP_ECANCELED);
  stk_group_fail(g, 2, SP_EMODULE, "no such shape");
  stk_group_fail(g, 0, SP_EIO, "later");
  assert_true(stk_group_is_over(g, 1));
  assert_int_equal(stk_group_failure(g, &err), SP_EMODULE);
  assert_string_equal(err.text, "rank 2: no such shape");
  stk_group_open(g, 2, 1);
  assert_false(stk_group_is_over(g, 2));
  assert_true(stk_group_is_over(g, 1));
  assert_int_equal(stk_group_failure(g, &err), SP_ECANCELED);
  sp_free_aligned(g);
}

static void test_group_open_keeps_what_is_asked_and_clears_progress(void **state) {
  (void)state;
  struct stk_group *g = page(1);
  atomic_store(&g->stop, 1);
  stk_group_beat_work(&g->rank[3], 17, STK_GROUP_COMPUTE);
  assert_int_equal(atomic_load(&g->rank[3].step), 17);
  stk_group_open(g, 5, 4);
  assert_int_equal(atomic_load(&g->generation), 5);
  assert_int_equal(atomic_load(&g->n_ranks), 4);
  assert_int_equal(atomic_load(&g->stop), 1);
  assert_int_equal(atomic_load(&g->rank[3].step), 0);
  assert_int_equal(atomic_load(&g->rank[3].beat_ns), 0);
  assert_int_equal(atomic_load(&g->rank[3].phase), STK_GROUP_IDLE);
  sp_free_aligned(g);
}

/* Waits are not work: a straggler's peers must not look busy. */
static void test_group_beats_count_work_but_not_waits(void **state) {
  (void)state;
  struct stk_group_rank r;
  memset(&r, 0, sizeof r);
  stk_group_beat(&r, STK_GROUP_BARRIER);
  int64_t first = atomic_load(&r.beat_ns);
  stk_group_beat(&r, STK_GROUP_COMPUTE);
  assert_true(first > 0 && atomic_load(&r.beat_ns) >= first);
  assert_int_equal(atomic_load(&r.busy_ns), 0);
  int64_t began = atomic_load(&r.beat_ns);
  stk_group_beat(&r, STK_GROUP_BARRIER);
  assert_int_equal(atomic_load(&r.busy_ns), atomic_load(&r.beat_ns) - began);
}

static void test_group_phases_have_names(void **state) {
  (void)state;
  assert_string_equal(stk_group_phase_text(STK_GROUP_COMPUTE), "forward/backward");
  assert_string_equal(stk_group_phase_text(STK_GROUP_HOOK), "hook");
  assert_string_equal(stk_group_phase_text(STK_GROUP_PHASE_COUNT), "?");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_group_new_page_lets_nobody_wait),
      tt_test(test_group_check_refuses_what_is_no_page_of_this_job),
      tt_test(test_group_first_failure_is_the_one_that_is_told),
      tt_test(test_group_open_keeps_what_is_asked_and_clears_progress),
      tt_test(test_group_beats_count_work_but_not_waits),
      tt_test(test_group_phases_have_names),
  };
  return cmocka_run_group_tests_name("group", tests, NULL, NULL);
}
