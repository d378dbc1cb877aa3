/* worker/supervise/core.h: the stories of a run, event by event. */
#include "tests/lib/tt.h"

#include "tests/unit/supervise/drive.h"

#include <signal.h>
#include <string.h>

#define EV(...) drive_event(&d, (struct sw_event){__VA_ARGS__})

/* Of two ranks the lead dies; its replacement, process 4, and the survivor, 3, open generation 2.
 */
static void replace_the_lead(struct drive *d) {
  drive_killed(d, 2, SIGKILL);
  drive_written(d, 2);
  drive_rank(d, SW_EV_LEFT, 3, 1);
  drive_rank(d, SW_EV_READY, 3, 2);
  drive_rank_is_up(d, 4, 2);
}

/* ---- start and end */

static void test_core_start_to_finish_is_this_story(void **state) {
  (void)state;
  static struct drive d;
  drive_init(&d, 4, 2);
  EV(.kind = SW_EV_START);
  drive_said(&d, "write g1x2; zygote #1");
  drive_proc(&d, SW_EV_PID, 1);
  drive_proc(&d, SW_EV_UP, 1);
  drive_said(&d, ""); /* not before generation 1 is durable */
  drive_written(&d, 1);
  drive_said(&d, "fork r0 #2 g1x2; fork r1 #3 g1x2");
  drive_rank_is_up(&d, 3, 1);
  drive_said(&d, "");
  drive_rank_is_up(&d, 2, 1);
  drive_said(&d, "open g1x2; (opened)");
  d.commits = 7;
  EV(.kind = SW_EV_PROGRESS);
  drive_said(&d, "");
  drive_proc(&d, SW_EV_FINISHED, 3); /* not the lead */
  drive_said(&d, "");
  drive_proc(&d, SW_EV_FINISHED, 2);
  drive_said(&d, "abort g1; quit #1; quit #2; quit #3");
  drive_rank(&d, SW_EV_LEFT, 3, 1);
  drive_exits(&d, 3, 0);
  drive_exits(&d, 1, 0);
  drive_said(&d, "");
  drive_exits(&d, 2, 0);
  drive_said(&d, "end finished 0");
  EV(.kind = SW_EV_STOP);
  drive_said(&d, "");
}

static void test_core_quitter_that_does_not_end_is_killed(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 2, 2);
  drive_proc(&d, SW_EV_FINISHED, 2);
  drive_exits(&d, 1, 0);
  drive_exits(&d, 2, 0);
  d.said[0] = '\0';
  drive_wake(&d);
  drive_said(&d, "(killed); kill #3");
  drive_killed(&d, 3, SIGKILL);
  drive_said(&d, "(died); end finished 0");
}

static void test_core_next_supervisor_begins_with_the_next_generation(void **state) {
  (void)state;
  static struct drive d;
  struct sw_core_config config = {.n_lanes = 2, .n_ranks = 1, .generation = 5};
  drive_init(&d, 2, 1);
  assert_int_equal(sw_core_init(&d.core, &config, NULL), SP_OK);
  d.commits = 77; /* of the supervisor before */
  EV(.kind = SW_EV_START);
  drive_said(&d, "write g6x1; zygote #1");
  drive_proc(&d, SW_EV_PID, 1);
  drive_proc(&d, SW_EV_UP, 1);
  drive_written(&d, 5); /* not the one that was asked for */
  drive_said(&d, "");
  drive_written(&d, 6);
  drive_said(&d, "fork r0 #2 g6x1");
  drive_rank_is_up(&d, 2, 6);
  drive_said(&d, "open g6x1; (opened)");
  drive_finish(&d);
}

static void test_core_ranks_outside_the_lanes_are_refused(void **state) {
  (void)state;
  struct sp_err err;
  static struct sw_core core;
  static const int bad[][2] = {{4, 0}, {4, 5}, {0, 1}, {1000, SW_RANKS_MAX + 1}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct sw_core_config config = {.n_lanes = bad[i][0], .n_ranks = bad[i][1]};
    assert_int_equal(sw_core_init(&core, &config, &err), SP_EINVAL);
  }
}

/* ---- deaths */

static void test_core_death_of_a_rank_costs_one_generation(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 4, 3);
  d.commits = 5;
  drive_proc(&d, SW_EV_EOF, 3);
  drive_said(&d, "kill #3; abort g1; write g2x3");
  drive_killed(&d, 3, SIGSEGV);
  drive_said(&d, "(died)");
  drive_rank(&d, SW_EV_LEFT, 2, 1);
  drive_said(&d, "");
  drive_written(&d, 2);
  drive_said(&d, "join r0 #2 g2x3; fork r1 #5 g2x3");
  drive_rank_is_up(&d, 5, 2);
  drive_rank(&d, SW_EV_READY, 2, 2);
  drive_said(&d, ""); /* rank 2 is still inside generation 1 */
  drive_rank(&d, SW_EV_LEFT, 4, 1);
  drive_said(&d, "join r2 #4 g2x3");
  drive_rank(&d, SW_EV_READY, 4, 2);
  drive_said(&d, "open g2x3; (opened)");
  EV(.kind = SW_EV_PROGRESS);
  drive_said(&d, "");
  d.commits = 6;
  d.now_ns += 10 * DRIVE_MS;
  EV(.kind = SW_EV_PROGRESS);
  drive_said(&d, "(recovered)");
  EV(.kind = SW_EV_PROGRESS);
  drive_finish(&d);
}

static void test_core_death_is_told_with_its_cause(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 4, 2);
  EV(.kind = SW_EV_EXIT, .pid = 103, .wait_status = SIGKILL, .oom = true, .text = "loading\n");
  assert_string_equal(drive_text(&d, SW_TELL_DIED),
                      "rank 1 was killed by signal 9 (SIGKILL) by the kernel, because memory had "
                      "run out; its last words: loading");
}

static void test_core_survivor_that_does_not_leave_is_killed(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 2, 2);
  drive_killed(&d, 2, SIGKILL);
  drive_written(&d, 2);
  drive_said(&d, "(died); abort g1; write g2x2; fork r0 #4 g2x2");
  drive_rank_is_up(&d, 4, 2);
  int64_t t = d.now_ns;
  while (d.now_ns - t < INT64_C(2000) * DRIVE_MS) {
    drive_said(&d, "");
    drive_wake(&d);
  }
  drive_said(&d, "(killed); kill #3");
  drive_killed(&d, 3, SIGKILL);
  drive_said(&d, "(died); fork r1 #5 g2x2");
  assert_int_equal(d.core.restarts, 1); /* the same incident */
  drive_rank_is_up(&d, 5, 2);
  drive_said(&d, "open g2x2; (opened)");
  drive_finish(&d);
}

static void test_core_death_while_a_generation_forms_is_the_same_change(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 4, 4);
  drive_killed(&d, 3, SIGKILL);
  d.now_ns += 1 * DRIVE_MS;
  drive_written(&d, 2);
  for (uint32_t proc = 2; proc <= 5; proc++) {
    drive_rank(&d, SW_EV_LEFT, proc, 1);
    drive_rank(&d, SW_EV_READY, proc, 2);
  }
  d.said[0] = '\0';
  drive_killed(&d, 4, SIGKILL);
  drive_said(&d, "(died); fork r2 #7 g2x4");
  drive_rank_is_up(&d, 6, 2);
  drive_rank_is_up(&d, 7, 2);
  drive_said(&d, "open g2x4; (opened)");
  assert_int_equal(d.core.restarts, 1);
  drive_finish(&d);
}

/* Nobody waits for a second death, but one that comes at once is part of the first. */
static void test_core_death_soon_after_the_first_costs_nothing_more(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 2, 2);
  int64_t t = d.now_ns;
  replace_the_lead(&d);
  drive_said(&d,
             "(died); abort g1; write g2x2; fork r0 #4 g2x2; join r1 #3 g2x2; open g2x2; (opened)");
  assert_int_equal(d.now_ns, t);
  d.now_ns += 5 * DRIVE_MS;
  drive_killed(&d, 3, SIGKILL);
  drive_written(&d, 3);
  drive_rank(&d, SW_EV_LEFT, 4, 2);
  drive_rank(&d, SW_EV_READY, 4, 3);
  drive_rank_is_up(&d, 5, 3);
  drive_said(&d,
             "(died); abort g2; write g3x2; fork r1 #5 g3x2; join r0 #4 g3x2; open g3x2; (opened)");
  assert_int_equal(d.core.restarts, 1);
  assert_int_equal(d.core.poison, 1);
  drive_killed(&d, 4, SIGKILL); /* what was started since is another matter */
  drive_said(&d, "(died); abort g3; (retry); write g4x2");
  assert_int_equal(d.core.restarts, 2);
  assert_int_equal(d.core.poison, 2);
}

static void test_core_death_later_than_the_window_is_another_one(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 2, 2);
  replace_the_lead(&d);
  d.now_ns += 7 * DRIVE_MS;
  d.said[0] = '\0';
  drive_killed(&d, 3, SIGKILL);
  drive_said(&d, "(died); abort g2; (retry); write g3x2");
  assert_int_equal(d.core.restarts, 2);
}

static void test_core_all_ranks_at_once_are_one_change(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 2, 2);
  drive_killed(&d, 2, SIGKILL);
  drive_killed(&d, 3, SIGKILL);
  drive_written(&d, 2);
  drive_said(&d, "(died); abort g1; write g2x2; (died); fork r0 #4 g2x2; fork r1 #5 g2x2");
  assert_int_equal(d.core.restarts, 1);
}

static void test_core_death_in_recovery_is_repaired_inside_it(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 2, 2);
  drive_killed(&d, 2, SIGKILL);
  drive_written(&d, 2);
  drive_rank(&d, SW_EV_LEFT, 3, 1);
  drive_proc(&d, SW_EV_PID, 4);
  d.said[0] = '\0';
  d.now_ns += 20 * DRIVE_MS;
  drive_killed(&d, 4, SIGKILL);
  drive_said(&d, "(died); (retry)");
  assert_int_equal(d.core.restarts, 2);
  int64_t t = d.now_ns;
  drive_rank(&d, SW_EV_READY, 3, 2);
  while (d.said[0] == '\0') {
    drive_wake(&d);
  }
  drive_said(&d, "fork r0 #5 g2x2");
  assert_int_equal(d.now_ns - t, 100 * (int64_t)DRIVE_MS);
  drive_rank_is_up(&d, 5, 2);
  drive_said(&d, "open g2x2; (opened)");
  drive_finish(&d);
}

static void test_core_exit_before_its_pid_is_claimed_later(void **state) {
  (void)state;
  static struct drive d;
  drive_init(&d, 1, 1);
  EV(.kind = SW_EV_START);
  drive_proc(&d, SW_EV_PID, 1);
  drive_proc(&d, SW_EV_UP, 1);
  drive_written(&d, 1);
  drive_killed(&d, 2, SIGKILL);
  drive_proc(&d, SW_EV_EOF, 2);
  d.said[0] = '\0';
  drive_proc(&d, SW_EV_PID, 2);
  drive_said(&d, "(died); fork r0 #3 g1x1");
}

static void test_core_early_exit_zero_is_a_death(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 1, 1);
  drive_exits(&d, 2, 0);
  assert_non_null(strstr(drive_text(&d, SW_TELL_DIED), "before its work was done"));
  assert_int_equal(d.core.phase, SW_PHASE_FORMING);
}

static void test_core_error_of_the_job_is_not_retried(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 2, 2);
  drive_failed(&d, 3, SP_ENUMERIC, "loss is nan at step 12");
  drive_said(&d, "(died); abort g1; quit #1; quit #2; quit #3");
  drive_exits(&d, 1, 0);
  drive_exits(&d, 2, 0);
  drive_exits(&d, 3, 1);
  drive_said(&d, "end job-error 10");
  assert_string_equal(drive_text(&d, -1), "loss is nan at step 12");
}

static void test_core_shortage_of_a_rank_is_retried(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 1, 1);
  drive_failed(&d, 2, SP_ENOMEM, "no memory for a batch");
  drive_said(&d, "abort g1; kill #2; write g2x1");
  drive_killed(&d, 2, SIGKILL);
  assert_string_equal(drive_text(&d, SW_TELL_DIED), "rank 0 failed: no memory for a batch");
}

static void test_core_news_of_another_generation_is_ignored(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 2, 2);
  drive_killed(&d, 2, SIGKILL);
  drive_written(&d, 2);
  drive_rank(&d, SW_EV_LEFT, 3, 1);
  drive_rank(&d, SW_EV_READY, 3, 1);
  drive_rank_is_up(&d, 4, 1);
  assert_int_equal(d.core.phase, SW_PHASE_FORMING); /* nobody is ready for 2 */
  drive_rank(&d, SW_EV_READY, 3, 2);
  drive_rank(&d, SW_EV_READY, 4, 2);
  drive_rank(&d, SW_EV_LEFT, 3, 1); /* said twice */
  drive_rank(&d, SW_EV_LEFT, 99, 2);
  assert_int_equal(d.core.phase, SW_PHASE_RUNNING);
  drive_finish(&d);
}

/* ---- the budget */

/* A death of the lead some time after the one before, and its replacement, up to OPEN or the end.
 */
static void die_and_recover(struct drive *d) {
  uint32_t proc = d->core.ranks[0].id;
  d->now_ns += 10 * DRIVE_MS;
  drive_killed(d, proc, SIGSEGV);
  if (d->core.phase == SW_PHASE_FORMING) {
    drive_written(d, d->core.generation);
    while (d->core.ranks[0].state == SW_PROC_NONE) {
      drive_wake(d);
    }
    drive_rank_is_up(d, d->core.ranks[0].id, d->core.generation);
    while (d->core.phase == SW_PHASE_FORMING) {
      drive_wake(d);
    }
  }
}

static void test_core_same_step_three_times_is_poison(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 1, 1);
  d.commits = 40;
  d.step = 38;
  die_and_recover(&d);
  die_and_recover(&d);
  assert_int_equal(d.core.phase, SW_PHASE_RUNNING);
  d.said[0] = '\0';
  die_and_recover(&d);
  drive_said(&d, "(died); abort g3; quit #1");
  drive_exits(&d, 1, 0);
  drive_said(&d, "end poisoned 10");
  assert_string_equal(drive_text(&d, -1),
                      "poisoned: the step after step 38 failed 3 times; the last time rank 0 was "
                      "killed by signal 11 (SIGSEGV); if the model is a module of your own, look "
                      "there first");
}

static void test_core_progress_refills_the_budget(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 1, 1);
  for (int i = 0; i < 50; i++) {
    int64_t t = d.now_ns;
    d.commits++;
    die_and_recover(&d);
    assert_int_equal(d.core.phase, SW_PHASE_RUNNING);
    assert_int_equal(d.now_ns - t, 10 * DRIVE_MS); /* and is at once */
  }
  drive_finish(&d);
}

static void test_core_fourth_restart_without_progress_ends_it(void **state) {
  (void)state;
  static struct drive d;
  drive_init(&d, 1, 1);
  EV(.kind = SW_EV_START);
  drive_written(&d, 1);
  drive_proc(&d, SW_EV_PID, 1);
  drive_proc(&d, SW_EV_UP, 1);
  int64_t pauses[] = {0, 100, 400};
  for (int i = 0; i < 3; i++) {
    uint32_t proc = d.core.ranks[0].id;
    drive_proc(&d, SW_EV_PID, proc);
    d.now_ns += 50 * DRIVE_MS;
    int64_t t = d.now_ns;
    drive_killed(&d, proc, SIGKILL);
    while (d.core.ranks[0].state == SW_PROC_NONE) {
      drive_wake(&d);
    }
    assert_int_equal((d.now_ns - t) / DRIVE_MS, pauses[i]);
  }
  drive_proc(&d, SW_EV_PID, d.core.ranks[0].id);
  d.now_ns += 50 * DRIVE_MS;
  d.said[0] = '\0';
  drive_killed(&d, d.core.ranks[0].id, SIGKILL);
  drive_said(&d, "(died); quit #1");
  drive_exits(&d, 1, 0);
  drive_said(&d, "end budget 13"); /* killed from outside: lost */
}

/* ---- the zygote */

static void test_core_zygote_error_at_start_is_not_retried(void **state) {
  (void)state;
  static struct drive d;
  drive_init(&d, 1, 1);
  EV(.kind = SW_EV_START);
  drive_proc(&d, SW_EV_PID, 1);
  d.said[0] = '\0';
  drive_failed(&d, 1, SP_EMODULE, "module 'x.so' has no stk_module");
  drive_said(&d, "kill #1");
  drive_killed(&d, 1, SIGKILL);
  drive_said(&d, "end start-error 2");
  assert_string_equal(drive_text(&d, -1), "module 'x.so' has no stk_module");
}

static void test_core_zygote_crash_at_start_is_an_error_of_the_module(void **state) {
  (void)state;
  static struct drive d;
  drive_init(&d, 1, 1);
  EV(.kind = SW_EV_START);
  drive_proc(&d, SW_EV_PID, 1);
  d.said[0] = '\0';
  drive_killed(&d, 1, SIGSEGV);
  drive_said(&d, "(died); end start-error 2");
}

static void test_core_zygote_killed_at_start_is_started_again(void **state) {
  (void)state;
  static struct drive d;
  drive_init(&d, 1, 1);
  EV(.kind = SW_EV_START);
  drive_proc(&d, SW_EV_PID, 1);
  d.said[0] = '\0';
  drive_killed(&d, 1, SIGKILL);
  drive_said(&d, "(died); zygote #2");
}

static void test_core_zygote_death_in_training_changes_no_generation(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 2, 2);
  drive_killed(&d, 1, SIGKILL);
  drive_said(&d, "(died); zygote #4");
  drive_proc(&d, SW_EV_PID, 4);
  drive_killed(&d, 3, SIGKILL); /* a rank needs it now */
  drive_written(&d, 2);
  drive_rank(&d, SW_EV_LEFT, 2, 1);
  drive_rank(&d, SW_EV_READY, 2, 2);
  drive_said(&d, "(died); abort g1; write g2x2; join r0 #2 g2x2");
  drive_proc(&d, SW_EV_UP, 4);
  drive_said(&d, "fork r1 #5 g2x2");
  drive_rank_is_up(&d, 5, 2);
  drive_said(&d, "open g2x2; (opened)");
  drive_finish(&d);
}

static void test_core_zygote_that_keeps_dying_ends_it_only_when_needed(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 1, 1);
  for (int i = 0; i < 6; i++) {
    while (d.core.zygote.state == SW_PROC_NONE) {
      drive_wake(&d);
    }
    drive_proc(&d, SW_EV_PID, d.core.zygote.id);
    drive_killed(&d, d.core.zygote.id, SIGKILL);
    assert_int_equal(d.core.phase, SW_PHASE_RUNNING);
  }
  d.said[0] = '\0';
  drive_killed(&d, 2, SIGKILL);
  drive_written(&d, 2);
  drive_said(&d, "(died); abort g1; write g2x1; end budget 10");
}

static void test_core_fork_without_an_answer_kills_the_zygote(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 1, 1);
  drive_killed(&d, 2, SIGKILL);
  drive_written(&d, 2);
  drive_said(&d, "(died); abort g1; write g2x1; fork r0 #3 g2x1");
  drive_wake(&d);
  drive_said(&d, "(killed); kill #1");
  drive_killed(&d, 1, SIGKILL);
  drive_said(&d, "(died); zygote #4");
  drive_proc(&d, SW_EV_PID, 4);
  drive_proc(&d, SW_EV_UP, 4);
  drive_said(&d, ""); /* 3 may live */
  drive_wake(&d);
  drive_said(&d, "kill-unknown");
  drive_proc(&d, SW_EV_EOF, 3);
  drive_said(&d, "fork r0 #5 g2x1"); /* at once, and free: it was the zygote that died */
  assert_int_equal(d.core.restarts, 1);
}

/* Deadlines of a start go by what moves: a large state may take long. */
static void test_core_zygote_that_gets_on_is_waited_for_and_one_that_does_not_ends_it(
    void **state) {
  (void)state;
  static struct drive d;
  const int64_t minute = 60000 * (int64_t)DRIVE_MS;
  drive_init(&d, 1, 1);
  EV(.kind = SW_EV_START);
  drive_proc(&d, SW_EV_PID, 1);
  d.said[0] = '\0';
  for (int i = 0; i < 10; i++) {
    d.now_ns += 9 * minute;
    drive_proc(&d, SW_EV_ALIVE, 1);
    drive_said(&d, "");
  }
  d.now_ns += 11 * minute;
  EV(.kind = SW_EV_TIMER);
  drive_said(&d, "(killed); kill #1");
  drive_killed(&d, 1, SIGKILL);
  drive_said(&d, "(died); end start-error 2"); /* the next one would hang as well */
  assert_non_null(strstr(drive_text(&d, -1), "stood still before it was ready"));
}

static void test_core_zygote_that_is_stopped_is_started_anew(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 2, 2);
  EV(.kind = SW_EV_HANG, .rank = -1, .proc = 1, .cause_kind = SW_CAUSE_STOPPED,
     .text = "was stopped by a signal");
  EV(.kind = SW_EV_HANG, .rank = -1, .proc = 1, .cause_kind = SW_CAUSE_STOPPED,
     .text = "was stopped by a signal");
  drive_said(&d, "(killed); kill #1");
  drive_killed(&d, 1, SIGKILL);
  drive_said(&d, "(died); zygote #4");
  EV(.kind = SW_EV_HANG, .rank = -1, .proc = 2, .cause_kind = SW_CAUSE_STOPPED, .text = "no");
  drive_said(&d, ""); /* a rank's is told by its rank */
  assert_int_equal(d.core.phase, SW_PHASE_RUNNING);
  drive_proc(&d, SW_EV_PID, 4);
  drive_proc(&d, SW_EV_UP, 4);
  drive_finish(&d);
}

/* ---- hangs */

static void test_core_hanging_rank_gets_a_short_grace(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 2, 2);
  int64_t t = d.now_ns;
  EV(.kind = SW_EV_HANG, .rank = 1, .cause_kind = SW_CAUSE_HANG, .text = "made no step for 3 s");
  drive_said(&d, "abort g1; write g2x2");
  drive_rank(&d, SW_EV_LEFT, 2, 1);
  drive_wake(&d);
  assert_int_equal(d.now_ns - t, 200 * (int64_t)DRIVE_MS);
  drive_said(&d, "(killed); kill #3");
  drive_killed(&d, 3, SIGKILL);
  assert_string_equal(drive_text(&d, SW_TELL_DIED),
                      "rank 1 made no step for 3 s, and was killed for it");
}

static void test_core_hanging_rank_that_leaves_survives(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 2, 2);
  EV(.kind = SW_EV_HANG, .rank = 1, .cause_kind = SW_CAUSE_HANG, .text = "skipped a reduction");
  drive_rank(&d, SW_EV_LEFT, 3, 1);
  drive_rank(&d, SW_EV_LEFT, 2, 1);
  drive_written(&d, 2);
  drive_rank(&d, SW_EV_READY, 2, 2);
  drive_rank(&d, SW_EV_READY, 3, 2);
  drive_said(&d, "abort g1; write g2x2; join r0 #2 g2x2; join r1 #3 g2x2; open g2x2; (opened)");
  assert_int_equal(d.core.restarts, 1); /* it costs all the same */
  drive_finish(&d);
}

/* ---- scale */

static void scale(struct drive *d, int n) {
  drive_event(d, (struct sw_event){.kind = SW_EV_SCALE, .n_ranks = n, .request = 9});
}

static void test_core_scale_up_happens_at_a_step_edge(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 4, 1);
  scale(&d, 3);
  drive_said(&d, "(scaling); answer 9 0; ask-leave");
  drive_rank(&d, SW_EV_LEFT, 2, 1);
  drive_said(&d, "abort g1; write g2x3");
  drive_written(&d, 2);
  drive_said(&d, "join r0 #2 g2x3; fork r1 #3 g2x3; fork r2 #4 g2x3");
  drive_rank_is_up(&d, 3, 2);
  drive_rank_is_up(&d, 4, 2);
  drive_rank(&d, SW_EV_READY, 2, 2);
  drive_said(&d, "open g2x3; (opened)");
  assert_int_equal(d.core.restarts, 0);
  drive_finish(&d);
}

static void test_core_scale_down_lets_the_last_ranks_go(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 4, 3);
  scale(&d, 2);
  drive_rank(&d, SW_EV_LEFT, 2, 1);
  drive_rank(&d, SW_EV_LEFT, 3, 1);
  drive_rank(&d, SW_EV_LEFT, 4, 1);
  drive_written(&d, 2);
  drive_said(&d,
             "(scaling); answer 9 0; ask-leave; abort g1; write g2x2; quit #4; "
             "join r0 #2 g2x2; join r1 #3 g2x2");
  drive_rank(&d, SW_EV_READY, 2, 2);
  drive_rank(&d, SW_EV_READY, 3, 2);
  drive_said(&d, ""); /* an old process lives */
  drive_exits(&d, 4, 0);
  drive_said(&d, "open g2x2; (opened)");
  drive_finish(&d);
}

static void test_core_scale_during_recovery_is_a_generation_of_its_own(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 4, 2);
  drive_killed(&d, 3, SIGKILL);
  drive_rank(&d, SW_EV_LEFT, 2, 1);
  drive_written(&d, 2);
  d.said[0] = '\0';
  scale(&d, 1);
  drive_said(&d, "(scaling); answer 9 0; write g3x1");
  drive_rank(&d, SW_EV_READY, 2, 2); /* too late */
  drive_written(&d, 3);
  drive_said(&d, "join r0 #2 g3x1");
  drive_proc(&d, SW_EV_PID, 4);
  drive_said(&d, "quit #4");
  drive_exits(&d, 4, 0);
  drive_rank(&d, SW_EV_READY, 2, 3);
  drive_said(&d, "open g3x1; (opened)");
  drive_finish(&d);
}

static void test_core_scale_outside_the_lanes_is_refused(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 4, 2);
  scale(&d, 5);
  drive_said(&d, "answer 9 8");
  assert_non_null(strstr(d.out.at[0].text, "4 lanes"));
  scale(&d, 0);
  drive_said(&d, "answer 9 8");
  scale(&d, 2);
  drive_said(&d, "answer 9 0"); /* and nothing happens */
  EV(.kind = SW_EV_STOP);
  d.said[0] = '\0';
  scale(&d, 3);
  drive_said(&d, "answer 9 7");
}

static void test_core_scale_up_without_memory_goes_back(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 4, 1);
  d.commits++;
  d.step++;
  EV(.kind = SW_EV_PROGRESS);
  scale(&d, 2);
  drive_rank(&d, SW_EV_LEFT, 2, 1);
  drive_written(&d, 2);
  drive_rank_is_up(&d, 3, 2);
  drive_rank(&d, SW_EV_READY, 2, 2);
  d.said[0] = '\0';
  drive_failed(&d, 3, SP_ENOSPC, "no room for a region");
  assert_non_null(strstr(drive_text(&d, SW_TELL_SCALING), "back to 1 rank: no room"));
  drive_said(&d, "(scaling); abort g2; kill #3; write g3x1");
  assert_int_equal(d.core.n_wanted, 1);
}

/* ---- stop */

static void test_core_first_stop_asks_the_lead(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 2, 2);
  EV(.kind = SW_EV_CLIENT_GONE);
  drive_said(&d, "(stopping); ask-finish 5");
  EV(.kind = SW_EV_CLIENT_GONE);
  drive_said(&d, "");
  drive_killed(&d, 2, SIGKILL); /* whoever leads next is asked anew */
  drive_written(&d, 2);
  drive_rank(&d, SW_EV_LEFT, 3, 1);
  drive_rank(&d, SW_EV_READY, 3, 2);
  d.said[0] = '\0';
  drive_rank_is_up(&d, 4, 2);
  drive_said(&d, "open g2x2; (opened); ask-finish 5");
  EV(.kind = SW_EV_FINISHED, .proc = 4, .status = SP_ECANCELED);
  drive_exits_of_quitters(&d);
  drive_said(&d, "end finished 11");
}

static void test_core_second_stop_kills_everything(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 2, 2);
  EV(.kind = SW_EV_ORDER, .order = 1, .slot = 0);
  drive_proc(&d, SW_EV_PID, 4);
  EV(.kind = SW_EV_STOP);
  d.said[0] = '\0';
  EV(.kind = SW_EV_STOP);
  drive_said(&d, "abort g1; kill #4; ack o1 s0 12; kill #2; kill #3; kill #1");
  for (uint32_t proc = 1; proc <= 4; proc++) {
    drive_killed(&d, proc, SIGKILL);
  }
  drive_said(&d, "end canceled 11");
}

static void test_core_second_stop_waits_for_a_fork_under_way(void **state) {
  (void)state;
  static struct drive d;
  drive_init(&d, 1, 1);
  EV(.kind = SW_EV_START);
  drive_proc(&d, SW_EV_PID, 1);
  drive_proc(&d, SW_EV_UP, 1);
  drive_written(&d, 1);
  EV(.kind = SW_EV_STOP);
  EV(.kind = SW_EV_STOP);
  d.said[0] = '\0';
  drive_killed(&d, 1, SIGKILL);
  drive_said(&d, "");
  drive_proc(&d, SW_EV_PID, 2);
  drive_said(&d, "kill #2");
  drive_killed(&d, 2, SIGKILL);
  drive_said(&d, "end canceled 11");
}

static void test_core_second_stop_finds_a_fork_that_nobody_answers_for(void **state) {
  (void)state;
  static struct drive d;
  drive_init(&d, 1, 1);
  EV(.kind = SW_EV_START);
  drive_proc(&d, SW_EV_PID, 1);
  drive_proc(&d, SW_EV_UP, 1);
  drive_written(&d, 1);
  EV(.kind = SW_EV_STOP);
  EV(.kind = SW_EV_STOP);
  drive_killed(&d, 1, SIGKILL);
  d.said[0] = '\0';
  drive_wake(&d);
  drive_said(&d, "kill-unknown");
  drive_proc(&d, SW_EV_EOF, 2);
  drive_said(&d, "end canceled 11");
}

/* ---- checkpoints */

static void test_core_order_is_saved_published_and_acknowledged(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 1, 1);
  EV(.kind = SW_EV_ORDER, .order = 1, .slot = 2);
  drive_said(&d, "persist #3 o1 s2 try1");
  EV(.kind = SW_EV_ORDER, .order = 1, .slot = 2);
  EV(.kind = SW_EV_ORDER, .order = 2, .slot = 0);
  drive_proc(&d, SW_EV_PID, 3);
  drive_said(&d, "");
  drive_proc(&d, SW_EV_RECEIPT, 3);
  drive_said(&d, "publish o1 s2");
  EV(.kind = SW_EV_PUBLISHED, .order = 1);
  drive_said(&d, "ack o1 s2 0");
  drive_exits(&d, 3, 0);
  drive_said(&d, "persist #4 o2 s0 try1");
  drive_proc(&d, SW_EV_FINISHED, 2);
  drive_exits(&d, 2, 0);
  drive_said(&d, "abort g1; quit #2"); /* the end waits for the order, and so does the zygote */
  drive_proc(&d, SW_EV_PID, 4);
  drive_proc(&d, SW_EV_RECEIPT, 4);
  drive_exits(&d, 4, 0);
  EV(.kind = SW_EV_PUBLISHED, .order = 2);
  drive_said(&d, "publish o2 s0; ack o2 s0 0; quit #1");
  drive_exits(&d, 1, 0);
  drive_said(&d, "end finished 0");
}

static void test_core_persister_deaths_are_retried_then_given_up(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 1, 1);
  EV(.kind = SW_EV_ORDER, .order = 1, .slot = 1);
  int64_t pauses[] = {100, 400};
  for (int i = 0; i < 2; i++) {
    uint32_t proc = d.core.persister.id;
    drive_proc(&d, SW_EV_PID, proc);
    int64_t t = d.now_ns;
    drive_killed(&d, proc, SIGKILL);
    drive_wake(&d);
    assert_int_equal((d.now_ns - t) / DRIVE_MS, pauses[i]);
  }
  drive_said(&d,
             "persist #3 o1 s1 try1; (save-failed); persist #4 o1 s1 try2; (save-failed); "
             "persist #5 o1 s1 try3");
  drive_proc(&d, SW_EV_PID, 5);
  drive_failed(&d, 5, SP_ENOSPC, "checkpoints/tmp-4: no space left");
  drive_exits(&d, 5, 1);
  drive_said(&d, "(save-failed); ack o1 s1 6");
  assert_non_null(strstr(drive_text(&d, SW_TELL_SAVE_FAILED), "no space left"));
  assert_int_equal(d.core.phase, SW_PHASE_RUNNING);
  drive_finish(&d);
}

static void test_core_unwritable_generation_is_tried_again(void **state) {
  (void)state;
  static struct drive d;
  drive_open(&d, 1, 1);
  drive_killed(&d, 2, SIGKILL);
  d.said[0] = '\0';
  EV(.kind = SW_EV_WRITTEN, .generation = 2, .status = SP_ENOSPC, .text = "run.json: no space");
  drive_said(&d, "(not-written)");
  drive_wake(&d);
  drive_said(&d, "write g2x1");
  drive_written(&d, 2);
  drive_said(&d, "fork r0 #3 g2x1");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_core_start_to_finish_is_this_story),
      tt_test(test_core_quitter_that_does_not_end_is_killed),
      tt_test(test_core_next_supervisor_begins_with_the_next_generation),
      tt_test(test_core_ranks_outside_the_lanes_are_refused),
      tt_test(test_core_death_of_a_rank_costs_one_generation),
      tt_test(test_core_death_is_told_with_its_cause),
      tt_test(test_core_survivor_that_does_not_leave_is_killed),
      tt_test(test_core_death_while_a_generation_forms_is_the_same_change),
      tt_test(test_core_death_soon_after_the_first_costs_nothing_more),
      tt_test(test_core_death_later_than_the_window_is_another_one),
      tt_test(test_core_all_ranks_at_once_are_one_change),
      tt_test(test_core_death_in_recovery_is_repaired_inside_it),
      tt_test(test_core_exit_before_its_pid_is_claimed_later),
      tt_test(test_core_early_exit_zero_is_a_death),
      tt_test(test_core_error_of_the_job_is_not_retried),
      tt_test(test_core_shortage_of_a_rank_is_retried),
      tt_test(test_core_news_of_another_generation_is_ignored),
      tt_test(test_core_same_step_three_times_is_poison),
      tt_test(test_core_progress_refills_the_budget),
      tt_test(test_core_fourth_restart_without_progress_ends_it),
      tt_test(test_core_zygote_error_at_start_is_not_retried),
      tt_test(test_core_zygote_crash_at_start_is_an_error_of_the_module),
      tt_test(test_core_zygote_killed_at_start_is_started_again),
      tt_test(test_core_zygote_death_in_training_changes_no_generation),
      tt_test(test_core_zygote_that_keeps_dying_ends_it_only_when_needed),
      tt_test(test_core_fork_without_an_answer_kills_the_zygote),
      tt_test(test_core_zygote_that_gets_on_is_waited_for_and_one_that_does_not_ends_it),
      tt_test(test_core_zygote_that_is_stopped_is_started_anew),
      tt_test(test_core_hanging_rank_gets_a_short_grace),
      tt_test(test_core_hanging_rank_that_leaves_survives),
      tt_test(test_core_scale_up_happens_at_a_step_edge),
      tt_test(test_core_scale_down_lets_the_last_ranks_go),
      tt_test(test_core_scale_during_recovery_is_a_generation_of_its_own),
      tt_test(test_core_scale_outside_the_lanes_is_refused),
      tt_test(test_core_scale_up_without_memory_goes_back),
      tt_test(test_core_first_stop_asks_the_lead),
      tt_test(test_core_second_stop_kills_everything),
      tt_test(test_core_second_stop_waits_for_a_fork_under_way),
      tt_test(test_core_second_stop_finds_a_fork_that_nobody_answers_for),
      tt_test(test_core_order_is_saved_published_and_acknowledged),
      tt_test(test_core_persister_deaths_are_retried_then_given_up),
      tt_test(test_core_unwritable_generation_is_tried_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
