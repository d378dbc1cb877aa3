/* proto/base/opt.h: each type read, refused and printed; and the tables of options.h as a whole. */
#include "tests/lib/tt.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/opt.h"
#include "proto/base/options.h"

struct all {
  bool b;
  int64_t i, d, s, flag;
  double f;
  const char *text;
  int e;
  struct sp_count c;
  struct sp_strings list;
  struct sp_ints ints;
  struct sp_floats floats;
};

static const struct sp_refusal refusals[] = {{"bleu|gone*", "it is not built"}, {NULL, NULL}};

static const struct sp_opt rows[] = {
    {"b", SP_OPT_BOOL, 0, offsetof(struct all, b), "true", 0, 0, NULL, NULL, NULL, NULL, "A."},
    {"i", SP_OPT_INT, SP_OPT_NONE | SP_OPT_AUTO, offsetof(struct all, i), "none", 1, 100, NULL,
     NULL, NULL, NULL, "An int."},
    {"d", SP_OPT_DURATION, SP_OPT_NONE, offsetof(struct all, d), "none", 0, 1e6, NULL, NULL, NULL,
     NULL, "A time."},
    {"s", SP_OPT_SIZE, 0, offsetof(struct all, s), "64KiB", 0, 0, NULL, NULL, NULL, NULL, "Bytes."},
    {"flag", SP_OPT_INT, SP_OPT_BOOLISH, offsetof(struct all, flag), "0", 0, 50, NULL, NULL, NULL,
     NULL, "A flag."},
    {"f", SP_OPT_FLOAT, SP_OPT_POSITIVE, offsetof(struct all, f), "0.5", 0, 2, NULL, NULL, NULL,
     NULL, "A number."},
    {"text", SP_OPT_STRING, SP_OPT_NONE, offsetof(struct all, text), "none", 0, 0, NULL, NULL, NULL,
     NULL, "A text."},
    {"e", SP_OPT_ENUM, 0, offsetof(struct all, e), "red", 0, 0, "red|green|blue", "rot=red",
     refusals, NULL, "A color."},
    {"c", SP_OPT_COUNT, 0, offsetof(struct all, c), "1.0", 0, INFINITY, NULL, NULL, NULL, NULL,
     "A count."},
    {"list", SP_OPT_LIST, SP_OPT_NONE, offsetof(struct all, list), "", 0, 0, NULL, NULL, NULL, NULL,
     "Texts."},
    {"ints", SP_OPT_INTS, 0, offsetof(struct all, ints), "1,2", 0, 9, NULL, NULL, NULL, NULL,
     "Ints."},
    {"floats", SP_OPT_FLOATS, 0, offsetof(struct all, floats), "0.5", 0, 0, NULL, NULL, NULL, NULL,
     "Numbers."},
    {"old", SP_OPT_STRING, SP_OPT_REFUSED, 0, NULL, 0, 0, "null|0", NULL, NULL, NULL, "it is gone"},
};

enum { N = sizeof rows / sizeof rows[0] };

static struct sp_arena arena;
static struct all self;

static int setup(void **state) {
  int failed = tt_leak_setup(state);
  self = (struct all){0};
  return failed || sp_opt_defaults(rows, N, &self, &arena, NULL) != SP_OK;
}

static int teardown(void **state) {
  sp_arena_clear(&arena);
  return tt_leak_teardown(state);
}

#define opt_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static sp_status set(const char *key, const char *text, struct sp_err *err) {
  return sp_opt_set_one(sp_opt_find(rows, N, key), &self, text, &arena, err);
}

static void expect_text(const char *key, const char *text, const char *printed) {
  char buf[SP_OPT_PRINT];
  struct sp_err err = {0};
  if (set(key, text, &err) != SP_OK) {
    fail_msg("%s = %s: %s", key, text, err.text);
  }
  const char *got = sp_opt_print(sp_opt_find(rows, N, key), &self, 0, buf);
  assert_string_equal(got, printed);
}

static void expect_error(const char *key, const char *text, const char *message) {
  struct sp_err err = {0};
  static struct all before;
  memcpy(&before, &self, sizeof self);
  assert_int_not_equal(set(key, text, &err), SP_OK);
  assert_string_equal(err.text, message);
  assert_memory_equal(&before, &self, sizeof self);
}

static void test_defaults_fill_every_field(void **state) {
  (void)state;
  assert_true(self.b);
  assert_true(self.i == SP_INT_NONE && self.d == SP_INT_NONE);
  assert_int_equal(self.s, 65536);
  assert_true(self.f == 0.5);
  assert_null(self.text);
  assert_int_equal(self.c.kind, SP_COUNT_FRACTION);
  assert_int_equal(self.ints.n, 2);
  assert_int_equal(self.ints.items[1], 2);
  assert_int_equal(self.list.n, 0);
}

static void test_values_print_as_they_read_back(void **state) {
  (void)state;
  expect_text("b", "no", "false");
  expect_text("i", "1_00", "100");
  expect_text("i", "auto", "auto");
  expect_text("i", "null", "null");
  expect_text("d", "90s", "1m30s");
  expect_text("d", "00:01:00:00", "1h");
  expect_text("s", "1MiB", "1048576");
  expect_text("flag", "true", "1");
  expect_text("f", "1e-8", "1.0e-08");
  expect_text("f", "1", "1.0");
  expect_text("f", "0.1", "0.1");
  expect_text("f", "0.30000000000000004", "0.30000000000000004");
  expect_text("text", "none", "null");
  expect_text("e", "rot", "red");
  expect_text("e", "blue", "blue");
  expect_text("c", "1", "1");
  expect_text("c", "1.0", "1.0");
  expect_text("c", "0.25", "0.25");
  expect_text("floats", "0.9, 0.99", "0.9");
}

static void test_none_without_meaning_gives_default(void **state) {
  (void)state;
  expect_text("b", "null", "true");
  expect_text("c", "none", "1.0");
  expect_text("e", "null", "red");
}

static void test_quoted_none_is_a_text(void **state) {
  (void)state;
  const char *word = "none";
  const struct sp_opt_text text = {.items = &word, .n = 1, .is_quoted = true};
  assert_int_equal(sp_opt_set(sp_opt_find(rows, N, "text"), &self, &text, &arena, NULL), SP_OK);
  assert_string_equal(self.text, "none");
}

static void test_bad_values_say_what_would_be_right(void **state) {
  (void)state;
  expect_error("b", "maybe", "expected true or false, got \"maybe\"");
  expect_error("i", "1.5", "expected an integer, auto or none, got \"1.5\"");
  expect_error("i", "0", "\"0\" is too small: it must be at least 1");
  expect_error("i", "101", "\"101\" is too large: it must be at most 100");
  expect_error("i", "99999999999999999999",
               "\"99999999999999999999\" does not fit; expected an "
               "integer, auto or none");
  expect_error("d", "5", "expected a duration (90s, 1h30m, DD:HH:MM:SS) or none, got \"5\"");
  expect_error("f", "0", "\"0\" is too small: it must be greater than 0");
  expect_error("f", "nan", "expected a number, got \"nan\"");
  expect_error("e", "bleu", "\"bleu\" is refused: it is not built");
  expect_error("e", "gren", "expected one of red, green, blue, got \"gren\"; did you mean green?");
  expect_error("c", "1.5", "\"1.5\" is a fraction and must lie in 0.0..1.0; a count has no point");
  expect_error("ints", "1,x", "expected an integer, got \"x\"");
}

static void test_long_and_binary_text_is_cut_and_cleaned(void **state) {
  (void)state;
  struct sp_err err = {0};
  char text[200];
  memset(text, 'x', sizeof text - 1);
  text[0] = '\n';
  text[sizeof text - 1] = '\0';
  assert_int_equal(set("b", text, &err), SP_EINVAL);
  assert_non_null(strstr(err.text, "got \"?xxx"));
  assert_non_null(strstr(err.text, "xxx...\""));
  assert_true(strlen(err.text) < 120);
}

static void test_list_where_a_value_belongs_is_refused(void **state) {
  (void)state;
  const char *words[] = {"1", "2"};
  const struct sp_opt_text text = {.items = words, .n = 2, .is_list = true};
  struct sp_err err;
  assert_int_equal(sp_opt_set(sp_opt_find(rows, N, "i"), &self, &text, &arena, &err), SP_EINVAL);
  assert_string_equal(err.text, "expected an integer, auto or none, got a list");
  assert_int_equal(sp_opt_set(sp_opt_find(rows, N, "list"), &self, &text, &arena, &err), SP_OK);
  assert_int_equal(self.list.n, 2);
  assert_string_equal(self.list.items[1], "2");
}

static void test_refused_option_passes_only_what_changes_nothing(void **state) {
  (void)state;
  struct sp_err err;
  assert_int_equal(set("old", "0", &err), SP_OK);
  assert_int_equal(set("old", "~", &err), SP_OK);
  assert_int_equal(set("old", "1", &err), SP_EUNSUPPORTED);
  assert_string_equal(err.text, "only null, 0 can be given: it is gone");
}

static void test_suggestion_is_near_and_not_refused(void **state) {
  (void)state;
  assert_string_equal(sp_opt_suggest(rows, N, "flots"), "floats");
  assert_null(sp_opt_suggest(rows, N, "completely_else"));
}

static void test_set_without_memory_fails_clean(void **state) {
  (void)state;
  const char *words[] = {"a", "b"};
  const struct sp_opt_text text = {.items = words, .n = 2, .is_list = true};
  for (long n = 1; n < 10; n++) {
    sp_arena_clear(&arena);
    tt_fail_alloc(n);
    sp_status status = sp_opt_set(sp_opt_find(rows, N, "list"), &self, &text, &arena, NULL);
    if (!tt_alloc_failed()) {
      assert_int_equal(status, SP_OK);
      break;
    }
    assert_int_equal(status, SP_ENOMEM);
  }
  tt_fail_alloc(0);
}

/* Every row of every table: its default is valid, prints, and reads back; its help is a sentence.
 */
static void check_rows(const char *section, const struct sp_opt *opts, size_t n,
                       size_t self_bytes) {
  static _Alignas(16) char first[4096], second[4096];
  assert_true(self_bytes <= sizeof first);
  for (size_t i = 0; i < n; i++) {
    const struct sp_opt *o = &opts[i];
    assert_ptr_equal(sp_opt_find(opts, n, o->key), o);
    if (!o->help || !*o->help) {
      fail_msg("%s.%s has no help", section, o->key);
    }
    if (o->flags & SP_OPT_REFUSED) {
      continue;
    }
    assert_true(o->offset < self_bytes);
    char last = o->help[strlen(o->help) - 1];
    if (last != '.' && last != '?') {
      fail_msg("%s.%s: the help is no sentence", section, o->key);
    }
    if (o->flags & SP_OPT_REQUIRED) {
      continue;
    }
    struct sp_err err = {0};
    char buf[SP_OPT_PRINT];
    memset(first, 0, sizeof first);
    memset(second, 0, sizeof second);
    if (sp_opt_set_one(o, first, o->def, &arena, &err) != SP_OK) {
      fail_msg("%s.%s: default %s: %s", section, o->key, o->def, err.text);
    }
    if (sp_opt_is_list(o) || o->type == SP_OPT_STRING) {
      continue;
    }
    const char *printed = sp_opt_print(o, first, 0, buf);
    assert_int_equal(sp_opt_set_one(o, second, printed, &arena, &err), SP_OK);
    char again[SP_OPT_PRINT];
    assert_string_equal(sp_opt_print(o, second, 0, again), printed);
  }
}

static void test_tables_have_valid_rows(void **state) {
  (void)state;
  const struct sp_opt_table *tables[] = {&sp_root_table,  &sp_trainer_table, &sp_data_table,
                                         &sp_group_table, &sp_weights_table, &sp_predict_table};
  const size_t bytes[] = {sizeof(struct sp_root_opts),    sizeof(struct sp_trainer_opts),
                          sizeof(struct sp_data_opts),    sizeof(struct sp_group_opts),
                          sizeof(struct sp_weights_opts), sizeof(struct sp_predict_opts)};
  for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
    check_rows(tables[i]->name, tables[i]->opts, tables[i]->n_opts, bytes[i]);
  }
  const struct sp_opt_class_table *tagged[] = {&sp_optimizer_classes, &sp_lr_classes,
                                               &sp_callback_classes, &sp_logger_classes,
                                               &sp_layer_classes};
  for (size_t i = 0; i < sizeof tagged / sizeof tagged[0]; i++) {
    check_rows(tagged[i]->name, tagged[i]->common, tagged[i]->n_common, tagged[i]->self_bytes);
    for (size_t k = 0; k < tagged[i]->n_classes; k++) {
      const struct sp_opt_class *c = &tagged[i]->classes[k];
      check_rows(c->name, c->opts, c->n_opts, tagged[i]->self_bytes);
      assert_int_equal(sp_opt_class_find(tagged[i]->classes, tagged[i]->n_classes, c->lightning),
                       k);
    }
  }
}

/* Every flag of Lightning's Trainer is a key here, accepted or refused by name. */
static void test_trainer_knows_every_flag_of_lightning(void **state) {
  (void)state;
  static const char *const flags[] = {"accelerator",
                                      "devices",
                                      "num_nodes",
                                      "strategy",
                                      "precision",
                                      "fast_dev_run",
                                      "max_epochs",
                                      "max_steps",
                                      "min_epochs",
                                      "min_steps",
                                      "max_time",
                                      "limit_train_batches",
                                      "limit_val_batches",
                                      "limit_test_batches",
                                      "limit_predict_batches",
                                      "overfit_batches",
                                      "val_check_interval",
                                      "check_val_every_n_epoch",
                                      "num_sanity_val_steps",
                                      "log_every_n_steps",
                                      "enable_checkpointing",
                                      "enable_progress_bar",
                                      "enable_model_summary",
                                      "accumulate_grad_batches",
                                      "gradient_clip_val",
                                      "gradient_clip_algorithm",
                                      "deterministic",
                                      "benchmark",
                                      "inference_mode",
                                      "use_distributed_sampler",
                                      "profiler",
                                      "detect_anomaly",
                                      "barebones",
                                      "plugins",
                                      "sync_batchnorm",
                                      "reload_dataloaders_every_n_epochs",
                                      "default_root_dir",
                                      "enable_autolog_hparams",
                                      "model_registry",
                                      "suggest_integrations"};
  for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
    if (!sp_opt_find(sp_trainer_table.opts, sp_trainer_table.n_opts, flags[i])) {
      fail_msg("trainer.%s is unknown", flags[i]);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      opt_test(test_defaults_fill_every_field),
      opt_test(test_values_print_as_they_read_back),
      opt_test(test_none_without_meaning_gives_default),
      opt_test(test_quoted_none_is_a_text),
      opt_test(test_bad_values_say_what_would_be_right),
      opt_test(test_long_and_binary_text_is_cut_and_cleaned),
      opt_test(test_list_where_a_value_belongs_is_refused),
      opt_test(test_refused_option_passes_only_what_changes_nothing),
      opt_test(test_suggestion_is_near_and_not_refused),
      opt_test(test_set_without_memory_fails_clean),
      opt_test(test_tables_have_valid_rows),
      opt_test(test_trainer_knows_every_flag_of_lightning),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
