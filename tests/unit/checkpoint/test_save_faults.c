/* Saving with every step failing, and with the process killed at every step: the older checkpoint
 * stays whole, what is found is whole, and leftovers are swept. Needs a build with fault points.
 */
#include "tests/lib/tt.h"

#include "engine/checkpoint/load.h"
#include "proto/base/mem.h"
#include "tests/unit/checkpoint/plan.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef STOKER_FAULTS

static int count_entries(const char *dir) {
  int n = 0;
  DIR *d = opendir(dir);
  for (const struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
    n += e->d_name[0] != '.';
  }
  if (d) {
    closedir(d);
  }
  return n;
}

static void test_save_failing_anywhere_keeps_the_older_checkpoint(void **state) {
  (void)state;
  static const char *const points[] = {"mkdir", "allocate", "write", "sync", "manifest", "publish"};
  struct test_plan p;
  make_plan(&p, tt_tmpfile("errors"), 1);
  save_plan(&p);
  for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
    char list[128];
    struct stk_ckpt_saved saved;
    struct sp_err err = {0};
    p.plan.step = 13;
    snprintf(list, sizeof list, "checkpoint.%s:0:errno=ENOSPC", points[i]);
    setenv("STOKER_FAULT", list, 1);
    sp_status st = stk_ckpt_save(&p.plan, &saved, &err);
    unsetenv("STOKER_FAULT");
    if (st != SP_ENOSPC || count_entries(p.plan.parent) != 1) {
      fail_msg("%s: status %d, '%s'", points[i], st, err.text);
    }
  }
}

/* Saves in a child that dies at the hit-th passage of a point; true if it lived. */
static bool save_in_child(struct test_plan *p, const char *point, int hit) {
  char list[128];
  snprintf(list, sizeof list, "%s:%d:kill9", point, hit);
  pid_t pid = fork();
  if (pid == 0) {
    struct stk_ckpt_saved saved;
    setenv("STOKER_FAULT", list, 1);
    _exit(stk_ckpt_save(&p->plan, &saved, NULL) == SP_OK ? 0 : 1);
  }
  int status = 0;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
  return WIFEXITED(status);
}

static void test_save_killed_anywhere_leaves_a_whole_checkpoint(void **state) {
  (void)state;
  static const char *const points[] = {
      "checkpoint.mkdir",    "checkpoint.allocate", "checkpoint.write",  "checkpoint.sync",
      "checkpoint.manifest", "checkpoint.publish",  "checkpoint.parent",
  };
  struct test_plan p;
  int n_killed = 0;
  make_plan(&p, tt_tmpfile("kills"), 1);
  save_plan(&p);
  for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
    bool lived = false;
    for (int hit = 1; !lived; hit++) {
      char found[PATH_MAX];
      struct stk_ckpt ck;
      p.plan.step++;
      lived = save_in_child(&p, points[i], hit);
      n_killed += !lived;
      assert_int_equal(stk_ckpt_find(p.plan.parent, "last", found, NULL), SP_OK);
      assert_int_equal(stk_ckpt_open(found, &ck, NULL), SP_OK);
      assert_int_equal(stk_ckpt_verify(&ck, NULL), SP_OK);
      bool parent = strcmp(points[i], "checkpoint.parent") == 0;
      assert_true((ck.manifest.step == p.plan.step) == (lived || parent));
      stk_ckpt_close(&ck);
    }
  }
  assert_true(n_killed >= 16);
  int before = count_entries(p.plan.parent);
  assert_int_equal(stk_ckpt_sweep(p.plan.parent, 1, 0, NULL), SP_OK);
  assert_true(count_entries(p.plan.parent) < before);
  struct stk_ckpt_info *infos;
  size_t n;
  assert_int_equal(stk_ckpt_list(p.plan.parent, &infos, &n, NULL), SP_OK);
  for (size_t i = 0; i < n; i++) {
    assert_true(infos[i].valid);
  }
  sp_free(infos);
}

static void test_remove_killed_in_between_leaves_trash_for_the_sweep(void **state) {
  (void)state;
  struct test_plan p;
  make_plan(&p, tt_tmpfile("trash"), 1);
  save_plan(&p);
  p.plan.step = 13;
  save_plan(&p);
  pid_t pid = fork();
  if (pid == 0) {
    setenv("STOKER_FAULT", "checkpoint.trash:1:kill9", 1);
    _exit(stk_ckpt_remove(p.plan.parent, "step-12", NULL, NULL) == SP_OK ? 0 : 1);
  }
  int status = 0;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFSIGNALED(status));
  assert_int_equal(count_entries(p.plan.parent), 2);
  assert_int_equal(stk_ckpt_sweep(p.plan.parent, 1, 0, NULL), SP_OK);
  assert_int_equal(count_entries(p.plan.parent), 1);
}

#else

static void test_save_faults_need_a_build_with_fault_points(void **state) {
  (void)state;
  skip();
}

#endif

int main(void) {
  const struct CMUnitTest tests[] = {
#ifdef STOKER_FAULTS
      /* Passages are counted per process, so the children come before the passages of this one. */
      tt_test(test_save_killed_anywhere_leaves_a_whole_checkpoint),
      tt_test(test_remove_killed_in_between_leaves_trash_for_the_sweep),
      tt_test(test_save_failing_anywhere_keeps_the_older_checkpoint),
#else
      tt_test(test_save_faults_need_a_build_with_fault_points),
#endif
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
