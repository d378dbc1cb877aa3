/* Power loss while a supervisor carries out an order: every name in the directory leads to a whole
 * checkpoint, best.json too, and after the answer to the newest one. The supervisor that comes next
 * may carry out the rest of the order, as it does where the machine stayed up.
 */
#include "tests/lib/tt.h"

#include "proto/base/mem.h"
#include "tests/crash/crash.h"
#include "tests/crash/saved.h"
#include "worker/publish.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RUN = 77 };

/* Whether orders have the name `last`, too. */
static bool has_last = true;

/* The order of a step whose checkpoint is better than the one before, of which one is kept. */
static struct stk_order *make_order(int64_t step) {
  struct stk_order *o = sp_alloc(sizeof *o);
  assert_non_null(o);
  struct stk_order_item *it = &o->items[0];
  o->seq = (uint64_t)step;
  o->step = step;
  o->n_items = 1;
  snprintf(it->decision.save, sizeof it->decision.save, "epoch=0-step=%" PRId64, step);
  snprintf(it->decision.last, sizeof it->decision.last, "%s", has_last ? "last" : "");
  if (step > 1) {
    it->decision.n_remove = 1;
    snprintf(it->decision.remove[0], sizeof it->decision.remove[0], "epoch=0-step=%" PRId64,
             step - 1);
  }
  it->tell_best = 1;
  snprintf(it->best_name, sizeof it->best_name, "%s", it->decision.save);
  snprintf(it->best_monitor, sizeof it->best_monitor, "loss");
  it->best_score = 1.0 / (double)step;
  return o;
}

static void carry_out(const char *dir, int64_t step) {
  struct cr_state state;
  struct sw_publish p;
  struct sw_published published;
  struct stk_ckpt_receipt receipt;
  struct sp_err err = {0};
  struct stk_order *o = make_order(step);
  struct stk_ckpt_plan plan = cr_plan(&state, dir, step, 0);
  plan.order_run = RUN;
  plan.order_seq = o->seq;
  sw_publish_init(&p, dir, "", RUN);
  if (stk_ckpt_write(&plan, &receipt, &err) != SP_OK ||
      sw_publish_order(&p, o, &receipt, "", &published, &err) != SP_OK) {
    fail_msg("%s", err.text);
  }
  assert_string_equal(published.note, "");
  sp_free(o);
}

/* Every entry is a checkpoint, a link to one, or best.json. */
static bool check_entries(const char *dir, struct sp_err *err) {
  DIR *d = opendir(dir);
  bool good = d != NULL;
  for (const struct dirent *e = d ? readdir(d) : NULL; e && good; e = readdir(d)) {
    char path[5000];
    if (e->d_name[0] == '.' || strcmp(e->d_name, "best.json") == 0) {
      continue;
    }
    snprintf(path, sizeof path, "%.4000s/%.255s", dir, e->d_name);
    good = cr_whole_step(path, err) > 0;
  }
  if (d) {
    closedir(d);
  }
  return good;
}

static bool expect(const char *dir, const char *name, int64_t at_least, struct sp_err *err) {
  char path[PATH_MAX];
  struct sp_err why = {0};
  int64_t step = -1;
  if (strcmp(name, "best") == 0) {
    if (stk_ckpt_find(dir, name, path, &why) == SP_OK) {
      step = cr_whole_step(path, &why);
    }
  } else {
    snprintf(path, sizeof path, "%.4000s/%.60s", dir, name);
    step = cr_whole_step(path, &why);
  }
  return step >= at_least || sp_fail(err, SP_ECORRUPT, "%s leads to step %" PRId64 ": %.300s", name,
                                     step, why.text) == SP_OK;
}

/* The machine was off: the next supervisor knows the directory and nothing else. */
static bool recover(void *ctx, const char *root, int mark, char why[512]) {
  (void)ctx;
  struct sw_publish p;
  struct sp_err err = {0};
  int64_t at_least = mark ? 2 : 1;
  char path[PATH_MAX];
  sw_publish_init(&p, root, "", RUN);
  bool good = check_entries(root, &err) && (!has_last || expect(root, "last", at_least, &err)) &&
              expect(root, "best", at_least, &err) &&
              stk_ckpt_find(root, "last", path, &err) == SP_OK &&
              cr_whole_step(path, &err) >= at_least;
  if (good && mark) {
    good = expect(root, "epoch=0-step=2", 2, &err);
  }
  snprintf(why, 512, "%.500s", err.text);
  return good;
}

/* The order is known still: it was published, and then the rest of it is done, or it was not. */
static bool finish(void *ctx, const char *root, int mark, char why[512]) {
  (void)ctx;
  struct sw_publish p;
  struct sw_published published;
  struct sp_err err = {0};
  struct stk_order *o = make_order(2);
  sw_publish_init(&p, root, "", RUN);
  sp_status st = sw_publish_order(&p, o, NULL, "", &published, &err);
  sp_free(o);
  bool good = st == SP_OK || (st == SP_ENOENT && mark == 0);
  int64_t at_least = st == SP_OK ? 2 : 1;
  good = good && check_entries(root, &err) && (!has_last || expect(root, "last", at_least, &err)) &&
         expect(root, "best", at_least, &err);
  if (good && st == SP_OK) {
    char old[5000];
    struct stat info;
    good = expect(root, "epoch=0-step=2", 2, &err);
    snprintf(old, sizeof old, "%.4000s/step-1", root);
    if (good && lstat(old, &info) == 0) {
      good = sp_fail(&err, SP_EEXIST, "step-1 stays for ever") == SP_OK;
    }
  }
  snprintf(why, 512, "%.500s", err.text);
  return good;
}

static struct cr_replay play(cr_check *check, bool (*forget)(const struct cr_note *)) {
  static int turn;
  struct cr_record r;
  char root[4096];
  char name[32];
  snprintf(name, sizeof name, "run%d", turn++);
  snprintf(root, sizeof root, "%.4000s", tt_tmpfile(name));
  assert_int_equal(mkdir(root, 0755), 0);
  carry_out(root, 1);
  cr_start(&r, root);
  carry_out(root, 2);
  cr_mark(&r, 1);
  cr_stop();
  struct cr_replay p = {.check = check, .forget = forget, .seed = 5};
  cr_replay(&r, &p);
  cr_remove_tree(root);
  cr_free(&r);
  return p;
}

static void test_order_cut_by_power_loss_leaves_only_good_names(void **state) {
  (void)state;
  struct cr_replay p = play(recover, NULL);
  cr_assert_right(&p);
  assert_true(p.n_trees > 100);
}

static void test_order_that_was_cut_is_finished(void **state) {
  (void)state;
  for (int k = 0; k < 2; k++) {
    has_last = k == 0;
    struct cr_replay p = play(finish, NULL);
    has_last = true;
    if (p.n_wrong) {
      fail_msg("%" PRId64 " wrong; %s", p.n_wrong, p.first_wrong);
    }
  }
}

static bool of_the_directory(const struct cr_note *n) {
  return strcmp(n->to, "/") == 0;
}

static void test_order_without_syncs_of_the_directory_is_noticed(void **state) {
  (void)state;
  assert_true(play(recover, of_the_directory).n_wrong > 0);
}

int main(void) {
  cr_use_memory();
  const struct CMUnitTest tests[] = {
      tt_test(test_order_cut_by_power_loss_leaves_only_good_names),
      tt_test(test_order_that_was_cut_is_finished),
      tt_test(test_order_without_syncs_of_the_directory_is_noticed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
