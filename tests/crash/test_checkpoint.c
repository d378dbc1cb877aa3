/* Power loss at every point of a checkpoint's life: saving, publishing, links, best.json, removal,
 * sweeping. Whatever the disk kept, recovery finds the old or the new checkpoint, whole, and the
 * new one once its publication was reported; no name leads to half a checkpoint or nowhere. Then
 * the same with one kind of sync left out, which has to be noticed.
 */
#include "tests/lib/tt.h"

#include "engine/checkpoint/load.h"
#include "proto/base/file.h"
#include "proto/base/mem.h"
#include "tests/crash/crash.h"
#include "tests/crash/saved.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- recovery, and what it may find */

/* What a recovered directory has to show, by the last mark. */
struct promise {
  const char *parent; /* below the root */
  int64_t newest_at_least[8];
  int64_t newest_at_most;
  int64_t last_at_least[8]; /* step that the link `last` leads to; 0: it may be absent */
  int64_t best_at_least[8];
};

static void note_rejected(void *ctx, const char *name, const char *why) {
  struct sp_err *err = ctx;
  (void)sp_fail(err, SP_ECORRUPT, "%s is published and damaged: %s", name, why);
}

static bool check_newest(const char *parent, const struct promise *p, int mark,
                         struct sp_err *err) {
  struct stk_ckpt *ck = sp_alloc(sizeof *ck);
  struct sp_err rejected = {0};
  int64_t step = 0;
  sp_status st = stk_ckpt_open_newest_valid(parent, true, note_rejected, &rejected, ck, err);
  if (st == SP_OK) {
    step = cr_is_of_step(ck, err) ? ck->manifest.step : -1;
    stk_ckpt_close(ck);
  }
  sp_free(ck);
  if (rejected.status) {
    return sp_fail(err, SP_ECORRUPT, "%s", rejected.text) == SP_OK;
  }
  bool good = st == SP_OK || st == SP_ENOENT;
  return (good && step >= p->newest_at_least[mark] && step <= p->newest_at_most) ||
         sp_fail(err, SP_ECORRUPT, "the newest is %" PRId64 ", promised was %" PRId64, step,
                 p->newest_at_least[mark]) == SP_OK;
}

/* Every published name, not the newest alone: a reader never sees half of one. */
static bool check_all(const char *parent, struct sp_err *err) {
  struct stk_ckpt_info *infos;
  size_t n;
  if (stk_ckpt_list(parent, &infos, &n, err) != SP_OK) {
    return false;
  }
  bool good = true;
  for (size_t i = 0; i < n && good; i++) {
    char path[5000];
    snprintf(path, sizeof path, "%.4000s/%s", parent, infos[i].name);
    good = cr_whole_step(path, err) == infos[i].step;
  }
  sp_free(infos);
  return good;
}

static bool check_name(const char *path, int64_t at_least, const char *what, struct sp_err *err) {
  struct stat st;
  if (lstat(path, &st) != 0) {
    return at_least == 0 || sp_fail(err, SP_ENOENT, "%s is lost", what) == SP_OK;
  }
  int64_t step = cr_whole_step(path, err);
  return step >= at_least && step > 0
             ? true
             : sp_fail(err, SP_ECORRUPT, "%s leads to step %" PRId64 " (%.200s)", what, step,
                       err->text) == SP_OK;
}

static bool check_best(const char *parent, int64_t at_least, struct sp_err *err) {
  char path[PATH_MAX];
  sp_status st = stk_ckpt_find(parent, "best", path, err);
  if (st == SP_ENOENT) {
    return at_least == 0 || sp_fail(err, SP_ENOENT, "best.json is lost") == SP_OK;
  }
  return st == SP_OK && check_name(path, at_least, "best", err);
}

static bool check_swept(const char *parent, struct sp_err *err) {
  DIR *d = opendir(parent);
  bool good = true;
  for (const struct dirent *e = d ? readdir(d) : NULL; e && good; e = readdir(d)) {
    good = !strstr(e->d_name, "tmp-") && strncmp(e->d_name, "trash-", 6) != 0;
    if (!good) {
      (void)sp_fail(err, SP_EEXIST, "%s is left after the sweep", e->d_name);
    }
  }
  if (d) {
    closedir(d);
  }
  return good;
}

static bool recover(void *ctx, const char *root, int mark, char why[512]) {
  const struct promise *p = ctx;
  char parent[4096];
  char last[5000];
  struct sp_err err = {0};
  snprintf(parent, sizeof parent, "%.3000s/%s", root, p->parent);
  snprintf(last, sizeof last, "%s/last", parent);
  bool good = stk_ckpt_sweep(parent, 2, 0, &err) == SP_OK && check_swept(parent, &err) &&
              check_newest(parent, p, mark, &err) && check_all(parent, &err) &&
              check_name(last, p->last_at_least[mark], "last", &err) &&
              check_best(parent, p->best_at_least[mark], &err);
  snprintf(why, 512, "%.500s", err.text);
  return good;
}

/* ---- scenarios: what is there before, and what is done under the recorder */

struct scenario {
  const char *name;
  struct promise promise;
  void (*before)(const char *root, const char *parent); /* NULL: nothing */
  void (*run)(struct cr_record *r, const char *parent);
};

static void first_save(struct cr_record *r, const char *parent) {
  cr_save(parent, 1, 0);
  cr_mark(r, 1);
}

static void one_old(const char *root, const char *parent) {
  (void)root;
  cr_save(parent, 1, 0);
  assert_int_equal(stk_ckpt_link(parent, "last", "step-1", NULL), SP_OK);
  assert_int_equal(stk_ckpt_mark_best(parent, "step-1", "loss", 1, NULL), SP_OK);
}

/* As a run does it: publish, link, best, and only then the old one goes. */
static void replace_old(struct cr_record *r, const char *parent) {
  cr_save(parent, 2, 0);
  cr_mark(r, 1);
  assert_int_equal(stk_ckpt_link(parent, "last", "step-2", NULL), SP_OK);
  cr_mark(r, 2);
  assert_int_equal(stk_ckpt_mark_best(parent, "step-2", "loss", 0.5, NULL), SP_OK);
  cr_mark(r, 3);
  assert_int_equal(stk_ckpt_remove(parent, "step-1", NULL, NULL), SP_OK);
  cr_mark(r, 4);
}

static void save_in_shards(struct cr_record *r, const char *parent) {
  cr_save(parent, 2, 200);
  cr_mark(r, 1);
}

/* A name is removed with its checkpoint, while a newer one stands. */
static void two_old(const char *root, const char *parent) {
  one_old(root, parent);
  cr_save(parent, 2, 0);
  assert_int_equal(stk_ckpt_mark_best(parent, "step-2", "loss", 1, NULL), SP_OK);
}

static void drop_name(struct cr_record *r, const char *parent) {
  assert_int_equal(stk_ckpt_unlink(parent, "last", NULL), SP_OK);
  assert_int_equal(stk_ckpt_remove(parent, "step-1", NULL, NULL), SP_OK);
  cr_mark(r, 1);
}

/* A save whose publication never came, swept while the next run begins. */
static void leftovers(const char *root, const char *parent) {
  struct cr_state j;
  struct stk_ckpt_receipt receipt;
  one_old(root, parent);
  struct stk_ckpt_plan plan = cr_plan(&j, parent, 2, 0);
  assert_int_equal(stk_ckpt_write(&plan, &receipt, NULL), SP_OK);
  char name[4096];
  snprintf(name, sizeof name, "%.3000s/trash-step-7-0123456789abcdef", parent);
  assert_int_equal(mkdir(name, 0755), 0);
  snprintf(name, sizeof name, "%.3000s/trash-step-7-0123456789abcdef/MANIFEST", parent);
  tt_write_file(name, "x", 1);
}

static void sweep_and_save(struct cr_record *r, const char *parent) {
  assert_int_equal(stk_ckpt_sweep(parent, 2, 0, NULL), SP_OK);
  cr_save(parent, 2, 0);
  cr_mark(r, 1);
}

/* Published twice from one receipt, as by a publisher that died after its rename. */
static void publish_again(struct cr_record *r, const char *parent) {
  struct cr_state j;
  struct stk_ckpt_receipt receipt;
  struct stk_ckpt_saved saved;
  struct stk_ckpt_plan plan = cr_plan(&j, parent, 2, 0);
  assert_int_equal(stk_ckpt_write(&plan, &receipt, NULL), SP_OK);
  assert_int_equal(stk_ckpt_publish(parent, &receipt, &saved, NULL), SP_OK);
  cr_mark(r, 1);
  assert_int_equal(stk_ckpt_publish(parent, &receipt, &saved, NULL), SP_OK);
  assert_string_equal(saved.name, "step-2");
}

static void discard(struct cr_record *r, const char *parent) {
  struct cr_state j;
  struct stk_ckpt_receipt receipt;
  struct stk_ckpt_plan plan = cr_plan(&j, parent, 2, 0);
  assert_int_equal(stk_ckpt_write(&plan, &receipt, NULL), SP_OK);
  assert_int_equal(stk_ckpt_discard(parent, &receipt, NULL), SP_OK);
  cr_save(parent, 3, 0);
  cr_mark(r, 1);
}

static const struct scenario scenarios[] = {
    {"first", {"run/deep/checkpoints", {0, 1}, 1, {0}, {0}}, NULL, first_save},
    {"replace",
     {"checkpoints", {1, 2, 2, 2, 2}, 2, {1, 1, 2, 2, 2}, {1, 1, 1, 2, 2}},
     one_old,
     replace_old},
    {"shards", {"checkpoints", {1, 2}, 2, {1, 1}, {1, 1}}, one_old, save_in_shards},
    {"drop", {"checkpoints", {2, 2}, 2, {0, 0}, {2, 2}}, two_old, drop_name},
    {"sweep", {"checkpoints", {1, 2}, 2, {1, 1}, {1, 1}}, leftovers, sweep_and_save},
    {"again", {"checkpoints", {1, 2}, 2, {1, 1}, {1, 1}}, one_old, publish_again},
    {"discard", {"checkpoints", {1, 3}, 3, {1, 1}, {1, 1}}, one_old, discard},
};

/* Records a scenario and replays it. */
static struct cr_replay play(const struct scenario *s, bool (*forget)(const struct cr_note *),
                             int n_random) {
  static int turn;
  struct cr_record r;
  char root[4096];
  char parent[5000];
  char name[64];
  snprintf(name, sizeof name, "%s-%d", s->name, turn++);
  snprintf(root, sizeof root, "%.3000s", tt_tmpfile(name));
  snprintf(parent, sizeof parent, "%.3000s/%s", root, s->promise.parent);
  assert_int_equal(mkdir(root, 0755), 0);
  if (s->before) {
    s->before(root, parent);
  }
  cr_start(&r, root);
  s->run(&r, parent);
  cr_stop();
  struct promise promise = s->promise;
  struct cr_replay p = {
      .check = recover, .ctx = &promise, .forget = forget, .seed = 1, .n_random = n_random};
  cr_replay(&r, &p);
  cr_remove_tree(root);
  cr_free(&r);
  return p;
}

static void test_power_loss_leaves_the_old_or_the_new_checkpoint(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
    struct cr_replay p = play(&scenarios[i], NULL, 0);
    print_message("%s: seed %" PRIu64 ", %" PRId64 " states, %" PRId64 " trees recovered\n",
                  scenarios[i].name, p.seed, p.n_states, p.n_trees);
    if (p.n_wrong) {
      fail_msg("%s: %" PRId64 " wrong; %s", scenarios[i].name, p.n_wrong, p.first_wrong);
    }
    assert_true(p.n_trees >= 10);
  }
}

/* ---- negative controls: every kind of sync is there for a reason */

static bool ends_in(const char *s, const char *end) {
  return strlen(s) >= strlen(end) && strcmp(s + strlen(s) - strlen(end), end) == 0;
}

static bool of_model(const struct cr_note *n) {
  return ends_in(n->to, "/model.safetensors");
}

static bool of_optim(const struct cr_note *n) {
  return ends_in(n->to, "/optim.safetensors");
}

static bool of_index(const struct cr_note *n) {
  return ends_in(n->to, "index.json");
}

static bool of_manifest(const struct cr_note *n) {
  return ends_in(n->to, "/MANIFEST.tmp");
}

static bool of_tmp_dir(const struct cr_note *n) {
  const char *slash = strrchr(n->to, '/');
  return slash && strncmp(slash, "/tmp-", 5) == 0;
}

static bool of_parent(const struct cr_note *n) {
  return ends_in(n->to, "/checkpoints");
}

static bool of_grandparent(const struct cr_note *n) {
  return ends_in(n->to, "/deep");
}

static bool of_root(const struct cr_note *n) {
  return strcmp(n->to, "/") == 0;
}

static bool of_best(const struct cr_note *n) {
  return strstr(n->to, "/best.json.tmp-") != NULL;
}

static void test_power_loss_is_noticed_where_a_sync_is_left_out(void **state) {
  (void)state;
  static const struct {
    const char *what;
    bool (*forget)(const struct cr_note *);
    int scenario;
  } controls[] = {
      {"a shard", of_model, 1},
      {"the other shard", of_optim, 1},
      {"the index of shards", of_index, 2},
      {"MANIFEST", of_manifest, 1},
      {"the temporary directory", of_tmp_dir, 1},
      {"the parent, saving", of_parent, 0},
      {"the parent, replacing", of_parent, 1},
      {"the parent, removing", of_parent, 3},
      {"the directory above a new one", of_grandparent, 0},
      {"the directory above all", of_root, 0},
      {"best.json", of_best, 1},
  };
  for (size_t i = 0; i < sizeof controls / sizeof *controls; i++) {
    struct cr_replay p = play(&scenarios[controls[i].scenario], controls[i].forget, 100);
    print_message("without sync of %s: %" PRId64 " of %" PRId64 " trees wrong: %.120s\n",
                  controls[i].what, p.n_wrong, p.n_trees, p.first_wrong);
    if (p.n_wrong == 0) {
      fail_msg("the sync of %s is not missed", controls[i].what);
    }
  }
}

int main(void) {
  cr_use_memory();
  const struct CMUnitTest tests[] = {
      tt_test(test_power_loss_leaves_the_old_or_the_new_checkpoint),
      tt_test(test_power_loss_is_noticed_where_a_sync_is_left_out),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
