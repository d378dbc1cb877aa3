/* ModelCheckpoint against Lightning's semantics. A fixture plays the loop: it decides, "publishes"
 * into a list of files, commits, removes. */
#include "tests/lib/tt.h"

#include "engine/trainer/callbacks/model_checkpoint.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { FILES = 16 };

struct fixture {
  struct stk_model_checkpoint_options o;
  struct stk_model_checkpoint s;
  struct stk_ckpt_decision d;
  char files[FILES][STK_CKPT_NAME];
  const char *resumed_from;
};

static bool has(void *ctx, const char *name) {
  struct fixture *f = ctx;
  for (int i = 0; i < FILES; i++) {
    if (strcmp(f->files[i], name) == 0) {
      return true;
    }
  }
  return false;
}

static void put(struct fixture *f, const char *name) {
  for (int i = 0; !has(f, name); i++) {
    assert_true(i < FILES);
    if (!*f->files[i]) {
      snprintf(f->files[i], STK_CKPT_NAME, "%s", name);
    }
  }
}

static int count(struct fixture *f) {
  int n = 0;
  for (int i = 0; i < FILES; i++) {
    n += *f->files[i] != 0;
  }
  return n;
}

static void begin(struct fixture *f) {
  memset(f, 0, sizeof *f);
  f->o = stk_model_checkpoint_defaults();
  stk_model_checkpoint_init(&f->s);
}

static void begin_monitor(struct fixture *f, int64_t k) {
  begin(f);
  f->o.monitor = "val_loss";
  f->o.save_top_k = k;
}

static struct stk_ckpt_situation situation(struct fixture *f, enum stk_ckpt_moment moment,
                                           int64_t epoch, int64_t step) {
  return (struct stk_ckpt_situation){.moment = moment,
                                     .scores = {.epoch = epoch, .step = step},
                                     .resumed_from = f->resumed_from,
                                     .exists = has,
                                     .ctx = f};
}

static sp_status happen(struct fixture *f, struct stk_ckpt_situation now) {
  sp_status status = stk_model_checkpoint_decide(&f->s, &f->o, &now, &f->d, NULL);
  if (status != SP_OK) {
    return status;
  }
  if (*f->d.save) {
    put(f, f->d.save);
  }
  if (*f->d.last) {
    put(f, f->d.last);
  }
  stk_model_checkpoint_commit(&f->s, &f->o, &now, &f->d);
  for (size_t r = 0; r < f->d.n_remove; r++) {
    for (int i = 0; i < FILES; i++) {
      if (strcmp(f->files[i], f->d.remove[r]) == 0) {
        memset(f->files[i], 0, STK_CKPT_NAME);
      }
    }
  }
  return SP_OK;
}

static void epoch_end(struct fixture *f, int64_t epoch) {
  assert_int_equal(happen(f, situation(f, STK_CKPT_TRAIN_EPOCH_END, epoch, (epoch + 1) * 10)),
                   SP_OK);
}

static void epoch_end_scored(struct fixture *f, int64_t epoch, double loss) {
  static const char *const names[] = {"val_loss"};
  struct stk_ckpt_situation now = situation(f, STK_CKPT_TRAIN_EPOCH_END, epoch, (epoch + 1) * 10);
  now.scores.n = 1;
  now.scores.names = names;
  now.scores.values = &loss;
  assert_int_equal(happen(f, now), SP_OK);
}

static void test_default_keeps_the_newest_epoch(void **state) {
  (void)state;
  struct fixture f;
  begin(&f);
  epoch_end(&f, 0);
  assert_true(has(&f, "epoch=0-step=10"));
  epoch_end(&f, 1);
  assert_true(has(&f, "epoch=1-step=20"));
  assert_int_equal(count(&f), 1);
  assert_string_equal(f.s.best.name, "epoch=1-step=20");
}

static void test_top_k_keeps_the_best(void **state) {
  (void)state;
  struct fixture f;
  begin_monitor(&f, 2);
  epoch_end_scored(&f, 0, 3);
  epoch_end_scored(&f, 1, 1);
  epoch_end_scored(&f, 2, 2);
  epoch_end_scored(&f, 3, 9);
  assert_int_equal(count(&f), 2);
  assert_true(has(&f, "epoch=1-step=20"));
  assert_true(has(&f, "epoch=2-step=30"));
  assert_string_equal(f.s.best.name, "epoch=1-step=20");
  assert_true(f.s.current_score == 2);
}

static void test_top_k_mode_max_keeps_the_highest(void **state) {
  (void)state;
  struct fixture f;
  begin_monitor(&f, 1);
  f.o.mode = STK_MONITOR_MAX;
  epoch_end_scored(&f, 0, 0.5);
  epoch_end_scored(&f, 1, 0.4);
  epoch_end_scored(&f, 2, 0.6);
  assert_int_equal(count(&f), 1);
  assert_true(has(&f, "epoch=2-step=30"));
}

static void test_top_k_equal_score_does_not_replace(void **state) {
  (void)state;
  struct fixture f;
  begin_monitor(&f, 1);
  epoch_end_scored(&f, 0, 1);
  epoch_end_scored(&f, 1, 1);
  assert_true(has(&f, "epoch=0-step=10"));
}

static void test_top_k_nan_counts_as_worst(void **state) {
  (void)state;
  struct fixture f;
  begin_monitor(&f, 1);
  epoch_end_scored(&f, 0, NAN);
  assert_true(has(&f, "epoch=0-step=10"));
  epoch_end_scored(&f, 1, NAN);
  assert_true(has(&f, "epoch=0-step=10"));
  epoch_end_scored(&f, 2, 1e30);
  assert_true(has(&f, "epoch=2-step=30"));
  assert_int_equal(count(&f), 1);
}

static void test_top_k_all_keeps_all_and_knows_the_best(void **state) {
  (void)state;
  struct fixture f;
  begin_monitor(&f, -1);
  epoch_end_scored(&f, 0, 2);
  epoch_end_scored(&f, 1, 1);
  epoch_end_scored(&f, 2, 3);
  assert_int_equal(count(&f), 3);
  assert_string_equal(f.s.best.name, "epoch=1-step=20");
}

static void test_top_k_zero_saves_nothing_but_last(void **state) {
  (void)state;
  struct fixture f;
  begin(&f);
  f.o.save_top_k = 0;
  f.o.save_last = STK_CKPT_LAST_YES;
  epoch_end(&f, 0);
  assert_int_equal(count(&f), 1);
  assert_true(has(&f, "last"));
}

static void test_last_is_reused_not_removed(void **state) {
  (void)state;
  struct fixture f;
  begin(&f);
  f.o.save_last = STK_CKPT_LAST_LINK;
  epoch_end(&f, 0);
  epoch_end(&f, 1);
  assert_true(f.d.last_is_link);
  assert_int_equal(count(&f), 2);
  assert_true(has(&f, "last"));
  assert_true(has(&f, "epoch=1-step=20"));
}

static void test_last_foreign_file_is_never_overwritten(void **state) {
  (void)state;
  struct fixture f;
  begin(&f);
  f.o.save_last = STK_CKPT_LAST_YES;
  put(&f, "last");
  epoch_end(&f, 0);
  assert_string_equal(f.s.last, "last-v1");
  epoch_end(&f, 1);
  assert_string_equal(f.s.last, "last-v1");
  assert_true(has(&f, "last"));
}

static void test_every_n_epochs_skips_the_others(void **state) {
  (void)state;
  struct fixture f;
  begin(&f);
  f.o.every_n_epochs = 2;
  epoch_end(&f, 0);
  assert_int_equal(count(&f), 0);
  epoch_end(&f, 1);
  assert_int_equal(count(&f), 1);
}

static void test_every_n_steps_saves_at_multiples_once(void **state) {
  (void)state;
  struct fixture f;
  begin(&f);
  f.o.every_n_epochs = 0;
  f.o.every_n_train_steps = 5;
  assert_int_equal(happen(&f, situation(&f, STK_CKPT_TRAIN_BATCH_END, 0, 0)), SP_OK);
  assert_int_equal(happen(&f, situation(&f, STK_CKPT_TRAIN_BATCH_END, 0, 4)), SP_OK);
  assert_int_equal(count(&f), 0);
  assert_int_equal(happen(&f, situation(&f, STK_CKPT_TRAIN_BATCH_END, 0, 5)), SP_OK);
  assert_string_equal(f.d.save, "epoch=0-step=5");
  assert_int_equal(happen(&f, situation(&f, STK_CKPT_TRAIN_BATCH_END, 0, 5)), SP_OK);
  assert_string_equal(f.d.save, "");
}

static void test_every_n_steps_without_the_metric_waits_for_validation(void **state) {
  (void)state;
  static const char *const names[] = {"val_loss"};
  static const double loss = 1.5;
  struct fixture f;
  begin_monitor(&f, 1);
  f.o.every_n_epochs = 0;
  f.o.every_n_train_steps = 5;
  assert_int_equal(happen(&f, situation(&f, STK_CKPT_TRAIN_BATCH_END, 0, 5)), SP_OK);
  assert_true(f.d.defer);
  assert_int_equal(count(&f), 0);
  struct stk_ckpt_situation now = situation(&f, STK_CKPT_VALIDATION_END, 0, 7);
  now.scores.n = 1;
  now.scores.names = names;
  now.scores.values = &loss;
  assert_int_equal(happen(&f, now), SP_OK);
  assert_true(has(&f, "epoch=0-step=7"));
  assert_int_equal(f.s.deferred, 0);
}

static void test_monitor_that_never_existed_is_not_found(void **state) {
  (void)state;
  static const char *const names[] = {"train_loss"};
  static const double loss = 1.5;
  struct fixture f;
  begin_monitor(&f, 1);
  struct stk_ckpt_situation now = situation(&f, STK_CKPT_TRAIN_EPOCH_END, 0, 10);
  now.scores.n = 1;
  now.scores.names = names;
  now.scores.values = &loss;
  struct sp_err err;
  assert_int_equal(stk_model_checkpoint_decide(&f.s, &f.o, &now, &f.d, &err), SP_ENOENT);
  assert_non_null(strstr(err.text, "train_loss"));
}

static void test_foreign_name_gets_a_version(void **state) {
  (void)state;
  struct fixture f;
  begin(&f);
  put(&f, "epoch=0-step=10");
  epoch_end(&f, 0);
  assert_string_equal(f.d.save, "epoch=0-step=10-v1");
}

static void test_name_of_the_entry_it_replaces_is_reused(void **state) {
  (void)state;
  struct fixture f;
  begin(&f);
  f.o.filename = "best";
  epoch_end(&f, 0);
  epoch_end(&f, 1);
  assert_string_equal(f.d.save, "best");
  assert_int_equal(f.d.n_remove, 0);
  assert_int_equal(count(&f), 1);
}

static void test_resumed_from_is_never_removed(void **state) {
  (void)state;
  struct fixture f;
  begin(&f);
  epoch_end(&f, 0);
  f.resumed_from = "epoch=0-step=10";
  epoch_end(&f, 1);
  assert_int_equal(count(&f), 2);
}

static void test_decide_without_commit_changes_nothing(void **state) {
  (void)state;
  struct fixture f;
  begin(&f);
  epoch_end(&f, 0);
  struct stk_model_checkpoint before = f.s;
  struct stk_ckpt_situation now = situation(&f, STK_CKPT_TRAIN_EPOCH_END, 1, 20);
  assert_int_equal(stk_model_checkpoint_decide(&f.s, &f.o, &now, &f.d, NULL), SP_OK);
  assert_memory_equal(&before, &f.s, sizeof before);
}

static void test_after_validation_saves_there_not_at_epoch_end(void **state) {
  (void)state;
  struct fixture f;
  begin(&f);
  f.o.at_epoch_end = false;
  epoch_end(&f, 0);
  assert_int_equal(count(&f), 0);
  assert_int_equal(happen(&f, situation(&f, STK_CKPT_VALIDATION_END, 0, 5)), SP_OK);
  assert_int_equal(count(&f), 1);
}

static void test_train_end_saves_the_last_step_without_a_monitor(void **state) {
  (void)state;
  struct fixture f;
  begin(&f);
  f.o.at_epoch_end = false;
  assert_int_equal(happen(&f, situation(&f, STK_CKPT_VALIDATION_END, 0, 10)), SP_OK);
  assert_int_equal(happen(&f, situation(&f, STK_CKPT_TRAIN_END, 0, 14)), SP_OK);
  assert_string_equal(f.d.save, "epoch=0-step=14");
  assert_int_equal(happen(&f, situation(&f, STK_CKPT_TRAIN_END, 0, 14)), SP_OK);
  assert_string_equal(f.d.save, "");
}

static void test_train_end_with_a_monitor_saves_last_alone(void **state) {
  (void)state;
  struct fixture f;
  begin_monitor(&f, 2);
  f.o.at_epoch_end = false;
  assert_int_equal(happen(&f, situation(&f, STK_CKPT_TRAIN_END, 0, 14)), SP_OK);
  assert_int_equal(count(&f), 0);
  f.o.save_last = STK_CKPT_LAST_YES;
  assert_int_equal(happen(&f, situation(&f, STK_CKPT_TRAIN_END, 0, 15)), SP_OK);
  assert_string_equal(f.d.save, "");
  assert_string_equal(f.d.last, "last");
}

static void test_train_end_with_last_saves_last_alone(void **state) {
  (void)state;
  struct fixture f;
  begin(&f);
  f.o.at_epoch_end = false;
  f.o.save_last = STK_CKPT_LAST_YES;
  assert_int_equal(happen(&f, situation(&f, STK_CKPT_TRAIN_END, 0, 14)), SP_OK);
  assert_string_equal(f.d.save, "");
  assert_string_equal(f.d.last, "last");
}

static void test_forget_names_keeps_the_best_score(void **state) {
  (void)state;
  struct fixture f;
  begin_monitor(&f, 2);
  epoch_end_scored(&f, 0, 3);
  stk_model_checkpoint_forget_names(&f.s);
  assert_int_equal(f.s.n_entries, 0);
  assert_string_equal(f.s.best.name, "");
  assert_true(f.s.best.score == 3);
  assert_int_equal(f.s.last_step, 10);
}

static void test_at_epoch_end_follows_validation(void **state) {
  (void)state;
  assert_true(stk_model_checkpoint_at_epoch_end(false, 5, false, false));
  assert_true(stk_model_checkpoint_at_epoch_end(true, 1, true, false));
  assert_false(stk_model_checkpoint_at_epoch_end(true, 2, true, false));
  assert_false(stk_model_checkpoint_at_epoch_end(true, 1, false, false));
  assert_false(stk_model_checkpoint_at_epoch_end(true, 1, true, true));
}

static void test_check_impossible_options_are_refused(void **state) {
  (void)state;
  struct stk_model_checkpoint_options o = stk_model_checkpoint_defaults();
  assert_int_equal(stk_model_checkpoint_check(&o, NULL), SP_OK);
  o.save_top_k = 2;
  assert_int_equal(stk_model_checkpoint_check(&o, NULL), SP_EINVAL);
  o.monitor = "val_loss";
  assert_int_equal(stk_model_checkpoint_check(&o, NULL), SP_OK);
  o.save_top_k = STK_CKPT_TOP_K_MAX + 1;
  assert_int_equal(stk_model_checkpoint_check(&o, NULL), SP_ERANGE);
  o.save_top_k = 1;
  o.every_n_train_steps = 3;
  assert_int_equal(stk_model_checkpoint_check(&o, NULL), SP_EINVAL);
  o.every_n_epochs = 0;
  o.filename = "{";
  assert_int_equal(stk_model_checkpoint_check(&o, NULL), SP_EINVAL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_default_keeps_the_newest_epoch),
      tt_test(test_top_k_keeps_the_best),
      tt_test(test_train_end_saves_the_last_step_without_a_monitor),
      tt_test(test_train_end_with_last_saves_last_alone),
      tt_test(test_train_end_with_a_monitor_saves_last_alone),
      tt_test(test_top_k_mode_max_keeps_the_highest),
      tt_test(test_top_k_equal_score_does_not_replace),
      tt_test(test_top_k_nan_counts_as_worst),
      tt_test(test_top_k_all_keeps_all_and_knows_the_best),
      tt_test(test_top_k_zero_saves_nothing_but_last),
      tt_test(test_last_is_reused_not_removed),
      tt_test(test_last_foreign_file_is_never_overwritten),
      tt_test(test_every_n_epochs_skips_the_others),
      tt_test(test_every_n_steps_saves_at_multiples_once),
      tt_test(test_every_n_steps_without_the_metric_waits_for_validation),
      tt_test(test_monitor_that_never_existed_is_not_found),
      tt_test(test_foreign_name_gets_a_version),
      tt_test(test_name_of_the_entry_it_replaces_is_reused),
      tt_test(test_resumed_from_is_never_removed),
      tt_test(test_decide_without_commit_changes_nothing),
      tt_test(test_after_validation_saves_there_not_at_epoch_end),
      tt_test(test_forget_names_keeps_the_best_score),
      tt_test(test_at_epoch_end_follows_validation),
      tt_test(test_check_impossible_options_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
