/* worker/supervise/core.h: the spare, event by event. */
#include "tests/lib/tt.h"

#include "tests/unit/supervise/drive.h"

#include <signal.h>

#define EV(...) drive_event(&d, (struct sw_event){__VA_ARGS__})

/* Two ranks, 2 and 3, whose generation has finished a step; the spare is process 4. */
static void open_with_spare(struct drive *d) {
  drive_init(d, 4, 2);
  d->core.config.spare = true;
  drive_start(d, 2);
  d->commits = 7;
  drive_event(d, (struct sw_event){.kind = SW_EV_PROGRESS});
  drive_said(d, "spare #4");
  drive_proc(d, SW_EV_PID, 4);
  drive_said(d, "");
}

static void test_core_spare_takes_the_place_of_a_dead_rank(void **state) {
  (void)state;
  static struct drive d;
  open_with_spare(&d);
  drive_killed(&d, 3, SIGKILL);
  drive_said(&d, "(died); abort g1; write g2x2");
  drive_written(&d, 2);
  drive_said(&d, "join r1 #4 g2x2"); /* no fork */
  drive_rank(&d, SW_EV_READY, 4, 2);
  drive_rank(&d, SW_EV_LEFT, 2, 1);
  drive_said(&d, "join r0 #2 g2x2");
  drive_rank(&d, SW_EV_READY, 2, 2);
  drive_said(&d, "open g2x2; (opened)");
  EV(.kind = SW_EV_PROGRESS);
  drive_said(&d, ""); /* another one when a step is finished */
  d.commits = 8;
  EV(.kind = SW_EV_PROGRESS);
  drive_said(&d, "(recovered); spare #6");
  drive_proc(&d, SW_EV_PID, 6);
  drive_finish(&d);
}

static void test_core_spare_is_enough_while_there_is_no_zygote(void **state) {
  (void)state;
  static struct drive d;
  open_with_spare(&d);
  drive_killed(&d, 1, SIGKILL);
  drive_said(&d, "(died); zygote #5");
  drive_killed(&d, 2, SIGKILL);
  drive_written(&d, 2);
  drive_said(&d, "(died); abort g1; write g2x2; join r0 #4 g2x2");
  drive_rank(&d, SW_EV_LEFT, 3, 1);
  drive_rank(&d, SW_EV_READY, 3, 2);
  drive_rank(&d, SW_EV_READY, 4, 2);
  drive_said(&d, "join r1 #3 g2x2; open g2x2; (opened)");
  drive_proc(&d, SW_EV_PID, 5);
  drive_finish(&d);
}

static void test_core_spare_that_is_not_there_yet_is_not_waited_for(void **state) {
  (void)state;
  static struct drive d;
  drive_init(&d, 4, 2);
  d.core.config.spare = true;
  drive_start(&d, 2);
  d.commits = 7;
  EV(.kind = SW_EV_PROGRESS);
  drive_killed(&d, 3, SIGKILL);
  drive_written(&d, 2);
  drive_said(&d, "spare #4; (died); abort g1; write g2x2; fork r1 #5 g2x2");
  drive_proc(&d, SW_EV_PID, 4); /* for the next one */
  drive_rank_is_up(&d, 5, 2);
  drive_killed(&d, 5, SIGKILL);
  drive_said(&d, "(died); (retry)");
  drive_wake(&d);
  drive_said(&d, "join r1 #4 g2x2");
}

static void test_core_spare_that_joined_and_dies_is_charged(void **state) {
  (void)state;
  static struct drive d;
  open_with_spare(&d);
  drive_killed(&d, 3, SIGSEGV);
  drive_written(&d, 2);
  drive_rank(&d, SW_EV_LEFT, 2, 1);
  drive_rank(&d, SW_EV_READY, 2, 2);
  drive_rank(&d, SW_EV_READY, 4, 2);
  d.now_ns += 2 * (int64_t)DRIVE_MS; /* within the window of the first death */
  drive_killed(&d, 4, SIGSEGV);
  assert_int_equal(d.core.poison, 2);
  assert_int_equal(d.core.restarts, 2);
}

static void test_core_spare_that_dies_costs_no_restart_and_is_replaced_three_times(void **state) {
  (void)state;
  static struct drive d;
  open_with_spare(&d);
  drive_killed(&d, 4, SIGKILL);
  drive_said(&d, "(died); spare #5");
  drive_proc(&d, SW_EV_PID, 5);
  drive_proc(&d, SW_EV_EOF, 5);
  drive_said(&d, "kill #5");
  drive_killed(&d, 5, SIGKILL);
  drive_said(&d, "(died)");
  drive_wake(&d);
  drive_said(&d, "spare #6");
  drive_failed(&d, 6, SP_ENOMEM, "fork: no memory"); /* it was never there */
  drive_said(&d, "(died)");
  drive_wake(&d);
  drive_said(&d, "spare #7");
  drive_proc(&d, SW_EV_PID, 7);
  drive_killed(&d, 7, SIGKILL);
  drive_said(&d, "(died); (retry)");
  d.commits = 20;
  d.now_ns += 100000 * (int64_t)DRIVE_MS;
  EV(.kind = SW_EV_PROGRESS);
  drive_said(&d, "");
  assert_int_equal(d.core.restarts, 0);
  assert_int_equal(d.core.phase, SW_PHASE_RUNNING);
  drive_finish(&d);
}

static void test_core_spare_that_was_stopped_is_replaced(void **state) {
  (void)state;
  static struct drive d;
  open_with_spare(&d);
  EV(.kind = SW_EV_HANG, .rank = -1, .proc = 4, .cause_kind = SW_CAUSE_STOPPED, .text = "sleeps");
  drive_said(&d, "(killed); kill #4");
  drive_killed(&d, 4, SIGKILL);
  drive_said(&d, "(died); spare #5");
  drive_proc(&d, SW_EV_PID, 5);
  drive_finish(&d);
}

static void test_core_spare_becomes_the_rank_that_scaling_asks_for(void **state) {
  (void)state;
  static struct drive d;
  open_with_spare(&d);
  EV(.kind = SW_EV_SCALE, .n_ranks = 3, .request = 9);
  drive_said(&d, "(scaling); answer 9 0; ask-leave");
  drive_rank(&d, SW_EV_LEFT, 2, 1);
  drive_written(&d, 2);
  drive_said(&d, "abort g1; write g2x3; join r0 #2 g2x3; join r2 #4 g2x3");
}

static void test_core_spare_that_is_being_forked_at_the_end_is_told_to_quit(void **state) {
  (void)state;
  static struct drive d;
  drive_init(&d, 4, 1);
  d.core.config.spare = true;
  drive_start(&d, 1);
  d.commits = 7;
  EV(.kind = SW_EV_PROGRESS);
  drive_proc(&d, SW_EV_FINISHED, 2);
  drive_said(&d, "spare #3; abort g1; quit #1; quit #2");
  drive_exits(&d, 1, 0);
  drive_exits(&d, 2, 0);
  drive_said(&d, "");
  drive_proc(&d, SW_EV_PID, 3);
  drive_said(&d, "quit #3");
  drive_exits(&d, 3, 0);
  drive_said(&d, "end finished 0");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_core_spare_takes_the_place_of_a_dead_rank),
      tt_test(test_core_spare_is_enough_while_there_is_no_zygote),
      tt_test(test_core_spare_that_is_not_there_yet_is_not_waited_for),
      tt_test(test_core_spare_that_joined_and_dies_is_charged),
      tt_test(test_core_spare_that_dies_costs_no_restart_and_is_replaced_three_times),
      tt_test(test_core_spare_that_was_stopped_is_replaced),
      tt_test(test_core_spare_becomes_the_rank_that_scaling_asks_for),
      tt_test(test_core_spare_that_is_being_forked_at_the_end_is_told_to_quit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
