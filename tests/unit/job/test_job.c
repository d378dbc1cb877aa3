/* proto/job/job.h: what a job file and the command line become, and the exact text of every
 * refusal. */
#include "tests/lib/tt.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/mem.h"
#include "proto/job/job.h"

/* The smallest job, on lines 1 to 4. Tests append to it. */
#define MODEL "model:\n  class: mlp\n"
#define DATA "data:\n  path: digits\n"
#define BASE MODEL DATA

static struct sp_job *job;

static int teardown(void **state) {
  sp_job_free(job);
  job = NULL;
  return tt_leak_teardown(state);
}

#define job_test(f) cmocka_unit_test_setup_teardown(f, tt_leak_setup, teardown)

static size_t count(const char *const *args) {
  size_t n = 0;
  while (args && args[n]) {
    n++;
  }
  return n;
}

static sp_status parse(const char *text, const char *const *args, struct sp_err *err) {
  sp_job_free(job);
  job = NULL;
  return sp_job_parse("job.yaml", text, strlen(text), args, count(args), &job, err);
}

static void load(const char *text, const char *const *args) {
  struct sp_err err = {0};
  if (parse(text, args, &err) != SP_OK) {
    fail_msg("%s", err.text);
  }
}

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void expect_error(const char *text, const char *const *args, const char *message) {
  struct sp_err err = {0};
  assert_int_not_equal(parse(text, args, &err), SP_OK);
  assert_string_equal(err.text, message);
}

static void test_job_defaults_are_lightnings(void **state) {
  (void)state;
  load(BASE, NULL);
  const struct sp_trainer_opts *t = &job->trainer;
  assert_int_equal(job->root.seed_everything, 0);
  assert_int_equal(t->max_epochs, 1000);
  assert_int_equal(t->max_steps, -1);
  assert_int_equal(t->num_sanity_val_steps, 2);
  assert_int_equal(t->log_every_n_steps, 50);
  assert_int_equal(t->limit_val_batches.kind, SP_COUNT_FRACTION);
  assert_int_equal(t->lanes, 1);
  assert_int_equal(t->ranks, 1);
  assert_null(job->root.resume);
  assert_true(isnan(t->gradient_clip_val));
  assert_int_equal(job->loggers.n, 1);
  assert_int_equal(job->loggers.items[0].kind, SP_LOGGER_TENSORBOARD);
  assert_int_equal(job->callbacks.n, 0);
  assert_false(job->optimizer.given);
  assert_string_equal(sp_job_model_class(job), "mlp");
  assert_null(sp_job_model_module(job));
}

static void test_job_max_epochs_follows_lightnings_rule(void **state) {
  (void)state;
  load(BASE "trainer: {max_steps: 10}\n", NULL);
  assert_int_equal(job->trainer.max_epochs, -1);
  load(BASE "trainer: {max_time: 1h}\n", NULL);
  assert_int_equal(job->trainer.max_epochs, -1);
  load(BASE "trainer: {max_steps: 10, max_epochs: 2}\n", NULL);
  assert_int_equal(job->trainer.max_epochs, 2);
}

static void test_job_devices_set_lanes(void **state) {
  (void)state;
  load(BASE "trainer: {devices: 4}\n", NULL);
  assert_int_equal(job->trainer.lanes, 4);
  load(BASE "trainer: {devices: 2, lanes: 8}\n", NULL);
  assert_int_equal(job->trainer.lanes, 8);
}

static void test_job_ranks_are_devices_unless_given(void **state) {
  (void)state;
  load(BASE "trainer: {devices: 4}\n", NULL);
  assert_int_equal(job->trainer.ranks, 4);
  load(BASE "trainer: {lanes: 4}\n", NULL);
  assert_int_equal(job->trainer.ranks, 1);
  load(BASE "trainer: {devices: 4, ranks: 3}\n", NULL);
  assert_int_equal(job->trainer.ranks, 3);
  assert_int_equal(job->trainer.lanes, 4);
  load(BASE "trainer: {lanes: 4}\n", ARGS("--ranks", "2"));
  assert_int_equal(job->trainer.ranks, 2);
  assert_int_equal(job->trainer.lanes, 4);
  load(BASE "trainer: {devices: 2}\n", ARGS("--ranks=auto"));
  assert_int_equal(job->trainer.ranks, 2);
}

static void test_job_resume_alone_is_auto(void **state) {
  (void)state;
  load(BASE, ARGS("--resume"));
  assert_string_equal(job->root.resume, "auto");
  load(BASE, ARGS("--resume", "--trainer.max_epochs", "5"));
  assert_string_equal(job->root.resume, "auto");
  assert_int_equal(job->trainer.max_epochs, 5);
  load(BASE, ARGS("--resume", "logs/version_3"));
  assert_string_equal(job->root.resume, "logs/version_3");
  load(BASE, ARGS("--resume=null"));
  assert_null(job->root.resume);
}

static void test_job_options_of_the_command_line_win(void **state) {
  (void)state;
  load(BASE "trainer:\n  max_epochs: 3\n",
       ARGS("--trainer.max_epochs", "5", "--data.batch_size=32", "--trainer.fast_dev_run",
            "--model.hidden", "[64, 3]", "--seed_everything", "7"));
  assert_int_equal(job->trainer.max_epochs, 5);
  assert_int_equal(job->data.batch_size, 32);
  assert_int_equal(job->trainer.fast_dev_run, 1);
  assert_int_equal(job->root.seed_everything, 7);
  assert_int_equal(sp_node_get(job->model, "hidden")->n_children, 2);
  assert_string_equal(sp_job_where(job, "trainer.max_epochs").source, "--trainer.max_epochs");
  assert_int_equal(sp_job_where(job, "data.path").line, 4);
  assert_null(sp_job_where(job, "data.val_path").source);
}

static void test_job_config_files_lie_over_each_other(void **state) {
  (void)state;
  const char *a = tt_tmpfile("a.yaml");
  const char *b = tt_tmpfile("b.yaml");
  tt_write_file(a, BASE "trainer: {max_epochs: 1, min_epochs: 1}\n",
                strlen(BASE "trainer: {max_epochs: 1, min_epochs: 1}\n"));
  tt_write_file(b, "trainer: {max_epochs: 2}\n", strlen("trainer: {max_epochs: 2}\n"));
  struct sp_err err = {0};
  assert_int_equal(sp_job_load(a, ARGS("--config", b), 2, &job, &err), SP_OK);
  assert_int_equal(job->trainer.max_epochs, 2);
  assert_int_equal(job->trainer.min_epochs, 1);
  assert_int_equal(sp_job_load(NULL, ARGS("--config", "/nowhere.yaml"), 2, &job, &err), SP_ENOENT);
  assert_string_equal(err.text, "opening /nowhere.yaml: No such file or directory");
}

static void test_job_item_of_a_list_can_be_overridden(void **state) {
  (void)state;
  load(BASE
       "trainer:\n  callbacks:\n    - early_stopping: {monitor: val_loss}\n"
       "    - {class: lr_monitor}\n",
       ARGS("--trainer.callbacks.0.patience", "9", "--trainer.callbacks.1.logging_interval",
            "step"));
  assert_int_equal(job->callbacks.items[0].early_stopping.patience, 9);
  assert_int_equal(job->callbacks.items[1].lr_monitor.logging_interval, SP_LOG_INTERVAL_STEP);
}

static void test_job_classes_have_four_spellings(void **state) {
  (void)state;
  static const char *const spellings[] = {
      "optimizer: {class: adam, lr: 0.5}\n", "optimizer: {adam: {lr: 0.5}}\n",
      "optimizer: {class_path: torch.optim.Adam, init_args: {lr: 0.5}}\n",
      "optimizer: {class: Adam, lr: 0.5}\n"};
  for (size_t i = 0; i < 4; i++) {
    char text[200];
    snprintf(text, sizeof text, BASE "%s", spellings[i]);
    load(text, NULL);
    assert_true(job->optimizer.given);
    assert_int_equal(job->optimizer.kind, SP_OPTIM_ADAM);
    assert_true(job->optimizer.lr == 0.5);
    assert_true(job->optimizer.betas.items[1] == 0.999);
  }
  load(BASE "optimizer: sgd\n", ARGS("--optimizer.momentum", "0.9"));
  assert_int_equal(job->optimizer.kind, SP_OPTIM_SGD);
  assert_true(job->optimizer.momentum == 0.9);
}

static void test_job_another_class_discards_the_old_options(void **state) {
  (void)state;
  load(BASE "optimizer: {class: sgd, momentum: 0.9, lr: 0.5}\n", ARGS("--optimizer", "adam"));
  assert_int_equal(job->optimizer.kind, SP_OPTIM_ADAM);
  assert_true(job->optimizer.lr == 1e-3);
  load(BASE "optimizer: {class: sgd, momentum: 0.9}\n", ARGS("--optimizer.class", "sgd"));
  assert_true(job->optimizer.momentum == 0.9);
}

static void test_job_groups_freeze_and_schedules_are_lists(void **state) {
  (void)state;
  load(BASE
       "optimizer:\n  class: adamw\n  freeze: [encoder.*]\n  groups:\n"
       "    - {match: '*.bias', weight_decay: 0}\n"
       "lr_scheduler:\n  - {class: linear_warmup, interval: step, total_iters: 10}\n"
       "  - {class: cosine, interval: step, begin: 10}\n",
       NULL);
  assert_int_equal(job->optimizer.n_groups, 1);
  assert_string_equal(job->optimizer.groups[0].match, "*.bias");
  assert_true(job->optimizer.groups[0].weight_decay == 0);
  assert_true(isnan(job->optimizer.groups[0].lr));
  assert_string_equal(job->optimizer.freeze.items[0], "encoder.*");
  assert_int_equal(job->lr.n, 2);
  assert_int_equal(job->lr.items[1].kind, SP_LR_COSINE);
  assert_true(job->lr.items[1].t_max == SP_INT_NONE);
  load(BASE "optimizer: {freeze: 'encoder.*'}\n", NULL);
  assert_false(job->optimizer.given);
  assert_int_equal(job->optimizer.freeze.n, 1);
}

static void test_job_weights_map_and_reader_options_are_pairs(void **state) {
  (void)state;
  load(
      "model: {module: ./m.so}\ndata: {kind: module, options: {language: de, n: 3}}\n"
      "weights: {path: w.safetensors, strict: false, map: {a.weight: b.weight}}\n",
      NULL);
  assert_string_equal(job->data.options.keys[1], "n");
  assert_string_equal(job->data.options.values[1], "3");
  assert_string_equal(job->weights.map[0].theirs, "a.weight");
  assert_string_equal(job->weights.map[0].ours, "b.weight");
  assert_string_equal(sp_job_model_module(job), "./m.so");
}

static void test_job_logger_can_be_off_one_or_many(void **state) {
  (void)state;
  load(BASE "trainer: {logger: false}\n", NULL);
  assert_int_equal(job->loggers.n, 0);
  load(BASE "trainer: {logger: csv}\n", NULL);
  assert_int_equal(job->loggers.items[0].kind, SP_LOGGER_CSV);
  load(BASE "trainer: {logger: [tensorboard, {class: csv, name: x, version: 3}]}\n", NULL);
  assert_int_equal(job->loggers.n, 2);
  assert_string_equal(job->loggers.items[1].version, "3");
  load(BASE "trainer: {logger: true}\n", NULL);
  assert_int_equal(job->loggers.n, 1);
}

static void test_job_barebones_switches_everything_off(void **state) {
  (void)state;
  load(BASE "trainer: {barebones: true}\n", NULL);
  assert_int_equal(job->loggers.n, 0);
  assert_false(job->trainer.enable_checkpointing);
  assert_false(job->trainer.enable_progress_bar);
  assert_int_equal(job->trainer.num_sanity_val_steps, 0);
}

static void test_job_model_is_bound_against_the_modules_table(void **state) {
  (void)state;
  struct hyper {
    int64_t hidden;
    double dropout;
    const char *activation;
  } h = {0};
  const struct sp_opt rows[] = {
      {.key = "hidden",
       .type = SP_OPT_INT,
       .flags = SP_OPT_REQUIRED,
       .help = "Units.",
       .offset = offsetof(struct hyper, hidden),
       .min = 1,
       .max = 4096},
      {.key = "dropout",
       .type = SP_OPT_FLOAT,
       .def = "0.1",
       .offset = offsetof(struct hyper, dropout)},
      {.key = "activation",
       .type = SP_OPT_STRING,
       .def = "relu",
       .choices = "relu|gelu",
       .offset = offsetof(struct hyper, activation)},
  };
  struct sp_arena arena = {0};
  struct sp_err err;
  load(BASE, ARGS("--model.hidden", "64"));
  assert_int_equal(sp_job_bind_model(job, rows, 3, &h, &arena, &err), SP_OK);
  assert_int_equal(h.hidden, 64);
  assert_true(h.dropout == 0.1);
  assert_string_equal(h.activation, "relu");
  load(BASE, NULL);
  assert_int_equal(sp_job_bind_model(job, rows, 3, &h, &arena, &err), SP_EINVAL);
  assert_string_equal(err.text, "job.yaml:2:3: model.hidden is missing: Units.");
  load(MODEL "  hiden: 3\n" DATA, NULL);
  assert_int_equal(sp_job_bind_model(job, rows, 3, &h, &arena, &err), SP_EINVAL);
  assert_string_equal(err.text, "job.yaml:3:3: model.hiden: unknown key; did you mean hidden?");
  load(MODEL "  hidden: 3\n  activation: tanh\n" DATA, NULL);
  assert_int_equal(sp_job_bind_model(job, rows, 3, &h, &arena, &err), SP_EINVAL);
  assert_string_equal(err.text,
                      "job.yaml:4:15: model.activation: expected one of relu, gelu, got \"tanh\"");
  sp_arena_clear(&arena);
}

static void test_job_unknown_keys_are_answered_with_the_nearest(void **state) {
  (void)state;
  expect_error(BASE "trainer:\n  max_epoch: 3\n", NULL,
               "job.yaml:6:3: trainer.max_epoch: unknown key; did you mean max_epochs?");
  expect_error(BASE "max_epochs: 3\n", NULL,
               "job.yaml:5:1: max_epochs: unknown key; did you mean trainer.max_epochs?");
  expect_error(BASE "trainr: {}\n", NULL,
               "job.yaml:5:1: trainr: unknown key; did you mean trainer?");
  expect_error(BASE "callbacks: []\n", NULL,
               "job.yaml:5:1: callbacks: unknown key; did you mean trainer.callbacks?");
  expect_error(BASE "optimizer: {class: adam, momentum: 0.9}\n", NULL,
               "job.yaml:5:26: optimizer.momentum: unknown key");
  expect_error(BASE "optimizer: {class: adem}\n", NULL,
               "job.yaml:5:20: optimizer: unknown class adem; did you mean adam?");
  expect_error(BASE, ARGS("--trainer.max_epoch", "3"),
               "--trainer.max_epoch: unknown key; did you mean max_epochs?");
}

static void test_job_bad_values_are_refused_where_they_are(void **state) {
  (void)state;
  expect_error(BASE "trainer:\n  max_epochs: three\n", NULL,
               "job.yaml:6:15: trainer.max_epochs: expected an integer or none, got \"three\"");
  expect_error(BASE "trainer:\n  max_epochs: {a: 1}\n", NULL,
               "job.yaml:6:15: trainer.max_epochs: expected an integer or none, got a map");
  expect_error(BASE "trainer: 3\n", NULL, "job.yaml:5:10: trainer: expected a map, got a value");
  expect_error(
      BASE, ARGS("--trainer.limit_train_batches=1.5"),
      "--trainer.limit_train_batches: \"1.5\" is a fraction and must lie in 0.0..1.0; a count "
      "has no point");
  expect_error(BASE, ARGS("--data.batch_size", "0"),
               "--data.batch_size: \"0\" is too small: it must be at least 1");
  expect_error("- a\n", NULL, "job.yaml:1:1: a job file is a map of sections, not a list");
  expect_error(
      BASE "optimizer: {class: adam, groups: [{lr: 1}]}\n", NULL,
      "job.yaml:5:35: optimizer.groups.match is missing: Glob of parameter names; the first "
      "group that matches a parameter takes it.");
}

static void test_job_what_is_not_built_is_refused_by_name(void **state) {
  (void)state;
  expect_error(
      BASE, ARGS("--trainer.accelerator", "gpu"),
      "--trainer.accelerator: \"gpu\" is refused: GPUs are not built yet; leave it out or use "
      "cpu");
  expect_error(
      BASE, ARGS("--trainer.precision", "bf16-mixed"),
      "--trainer.precision: \"bf16-mixed\" is refused: mixed and half precision are not built "
      "yet; use 32-true");
  expect_error(BASE, ARGS("--trainer.strategy", "ddp"),
               "--trainer.strategy: only auto can be given: the result is always that of ddp; see "
               "trainer.lanes and trainer.ranks");
  expect_error(
      BASE, ARGS("--trainer.deterministic", "false"),
      "--trainer.deterministic: \"false\" is refused: every run is deterministic; leave it "
      "out");
  expect_error(BASE "trainer: {callbacks: [Timer]}\n", NULL,
               "job.yaml:5:23: trainer.callbacks: Timer is refused: use trainer.max_time");
  load(BASE
       "trainer: {accelerator: auto, strategy: auto, deterministic: true, exact: true,\n"
       "  sync_batchnorm: false, plugins: null, benchmark: null, inference_mode: true}\n",
       NULL);
}

static void test_job_command_line_must_be_options(void **state) {
  (void)state;
  expect_error(BASE, ARGS("fast"), "\"fast\": expected an option like --trainer.max_epochs 3");
  expect_error(BASE, ARGS("--trainer.max_epochs"), "--trainer.max_epochs: needs a value");
  expect_error(BASE, ARGS("--trainer.max_epochs", "--trainer.fast_dev_run"),
               "--trainer.max_epochs: needs a value");
  expect_error(BASE, ARGS("--trainer..max_epochs", "1"),
               "--trainer..max_epochs: this is not a dotted key");
  expect_error(BASE, ARGS("--.a", "1"), "--.a: this is not a dotted key");
  expect_error(BASE, ARGS("--a.", "1"), "--a.: this is not a dotted key");
  expect_error(BASE, ARGS("--data.path", "\xff"), "--data.path: the value is not UTF-8");
  expect_error(
      BASE, ARGS("--model.layers", "[1"),
      "--model.layers: YAML: while parsing a flow sequence, did not find expected ',' or ']'");
}

static void test_job_impossible_combinations_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *text, *message;
  } cases[] = {
      {DATA,
       "job.yaml:1:1: model is missing: give model.class (mlp, autoencoder, cnn, gpt, "
       "sequential) or model.module, the path of a shared object; `stoker init NAME` writes both "
       "a module and its job file"},
      {"model: {hidden: 3}\n" DATA,
       "job.yaml:1:8: model: class (mlp, autoencoder, cnn, gpt, "
       "sequential) or module (the path of a shared object) is missing"},
      {"model: {class: mlp, module: x.so}\n" DATA,
       "job.yaml:1:21: model.class and model.module exclude each other"},
      {MODEL,
       "job.yaml:1:1: data.path is missing: give a file or directory, or data.kind: synthetic"},
      {MODEL "data: {kind: synthetic, path: x}\n",
       "job.yaml:3:31: data.path: data.kind synthetic makes its data and reads no file"},
      {MODEL "data: {path: x, val_path: y, val_fraction: 0.1}\n",
       "job.yaml:3:44: data.val_fraction: it excludes data.val_path; give one of the two"},
      {MODEL "data: {path: x, test_labels: y}\n",
       "job.yaml:3:30: data.test_labels: the path of the samples is missing"},
      {MODEL "data: {path: x, kind: bytes, labels: y}\n",
       "job.yaml:3:38: data.labels: only kinds idx and npy have labels"},
      {MODEL "data: {kind: synthetic, shape: [1, 2, 3, 4, 5]}\n",
       "job.yaml:3:32: data.shape: it must have one to four dimensions"},
      {MODEL "data: {kind: idx, path: x, seq_len: 4}\n",
       "job.yaml:3:37: data.seq_len: only text data is cut into samples (data.kind bytes, uint16, "
       "uint32)"},
      {BASE "trainer: {min_epochs: 5, max_epochs: 3}\n",
       "job.yaml:5:23: trainer.min_epochs: it is above trainer.max_epochs (3)"},
      {BASE "trainer: {min_steps: 5, max_steps: 3}\n",
       "job.yaml:5:22: trainer.min_steps: it is above trainer.max_steps (3)"},
      {BASE "trainer: {devices: 4, lanes: 2}\n",
       "job.yaml:5:30: trainer.lanes: 2 lanes cannot keep 4 devices busy; give at least as many "
       "lanes"},
      {BASE "trainer: {ranks: 3, lanes: 2}\n",
       "job.yaml:5:18: trainer.ranks: 3 ranks, but the job has 2 lanes to share; give "
       "trainer.lanes too (it is part of the result)"},
      {BASE "ckpt_path: last\nresume: auto\n",
       "job.yaml:6:9: resume: it goes on with a run as it stands; ckpt_path starts one; give one"},
      {BASE "resume: logs\nweights: {path: w}\n",
       "job.yaml:5:9: resume: it goes on with a run as it stands; weights.path starts one; give "
       "one"},
      {BASE "trainer: {check_val_every_n_epoch: null}\n",
       "job.yaml:5:36: trainer.check_val_every_n_epoch: none counts batches across epochs, so "
       "trainer.val_check_interval must be a count of batches"},
      {BASE "trainer: {precision: 64-true, kernels: avx2}\n",
       "job.yaml:5:40: trainer.kernels: 64-true runs on the ref kernels only; use ref or auto"},
      {BASE "trainer: {callbacks: [{model_checkpoint: {save_top_k: 3}}]}\n",
       "job.yaml:5:22: trainer.callbacks: model_checkpoint: save_top_k 3 needs monitor, the metric "
       "to "
       "compare by; without one it is -1, 0 or 1"},
      {BASE
       "trainer: {callbacks: [{class: model_checkpoint, every_n_train_steps: 3, every_n_epochs: "
       "1}]}\n",
       "job.yaml:5:22: trainer.callbacks: model_checkpoint: every_n_train_steps and every_n_epochs "
       "exclude each other"},
      {BASE "trainer: {enable_checkpointing: false, callbacks: [model_checkpoint]}\n",
       "job.yaml:5:33: trainer.enable_checkpointing: false excludes the model_checkpoint callback"},
      {BASE "trainer: {logger: false, callbacks: [lr_monitor]}\n",
       "job.yaml:5:37: trainer.callbacks: lr_monitor needs a logger; remove it or trainer.logger: "
       "false"},
      {BASE "trainer: {barebones: true, logger: csv}\n",
       "job.yaml:5:36: trainer.logger: trainer.barebones runs without loggers; remove one of the "
       "two"},
      {BASE "trainer: {barebones: true, fast_dev_run: 2}\n",
       "job.yaml:5:42: trainer.fast_dev_run: it excludes trainer.barebones"},
      {BASE "optimizer: {class: sgd, nesterov: true}\n",
       "job.yaml:5:35: optimizer.nesterov: it needs optimizer.momentum > 0 and optimizer.dampening "
       "0"},
      {BASE "optimizer: {class: adam, betas: [0.9]}\n",
       "job.yaml:5:33: optimizer.betas: expected two numbers, got 1"},
      {BASE "optimizer: {class: adam, betas: [0.9, 1]}\n",
       "job.yaml:5:33: optimizer.betas: \"1\" is refused: a beta of 1 never forgets; it must be "
       "below "
       "1"},
      {BASE "lr_scheduler: cosine\ntrainer: {max_epochs: -1}\n",
       "job.yaml:5:15: lr_scheduler: cosine needs t_max, or a run with an end (trainer.max_epochs, "
       "trainer.max_steps)"},
      {BASE
       "lr_scheduler: [cosine, cosine, cosine, cosine, cosine, cosine, cosine, cosine, cosine]\n",
       "job.yaml:5:15: lr_scheduler: more than 8 schedules"},
      {BASE "weights: {map: {a: b}}\n",
       "job.yaml:5:16: weights.map: weights.path is missing: the file whose names are mapped"},
      {BASE "ckpt_path: last\nweights: {path: w}\n",
       "job.yaml:6:17: weights.path: it starts a new run and ckpt_path goes on with an old one; "
       "give "
       "one"},
      {BASE "predict: {prompt: x}\n", "job.yaml:5:19: predict.prompt: it needs predict.generate"},
      {BASE "weights: {path: a, map: {'a.*': b}}\n",
       "job.yaml:5:25: weights.map: \"a.*\": \"b\": one * at most, and the same number on both "
       "sides"},
      {BASE "predict: {seed: 3}\n", "job.yaml:5:17: predict.seed: it needs predict.generate"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    expect_error(cases[i].text, NULL, cases[i].message);
  }
}

static void test_job_warnings_name_the_clock(void **state) {
  (void)state;
  struct sp_buf out;
  sp_buf_init(&out, 4096);
  load(BASE, NULL);
  sp_job_warnings(job, &out);
  assert_string_equal(sp_buf_text(&out), "");
  load(BASE "trainer: {max_time: 1h, devices: 2}\n", NULL);
  sp_job_warnings(job, &out);
  assert_non_null(strstr(sp_buf_text(&out), "trainer.max_time: where the run ends depends on"));
  assert_null(strstr(sp_buf_text(&out), "devices"));
  sp_buf_free(&out);
}

/* Prints a job, loads what was printed, prints again: both are equal. */
static void check_round_trip(void) {
  struct sp_buf first, second;
  sp_buf_init(&first, 1 << 20);
  sp_buf_init(&second, 1 << 20);
  sp_job_print(job, &first);
  load(sp_buf_text(&first), NULL);
  sp_job_print(job, &second);
  assert_string_equal(sp_buf_text(&first), sp_buf_text(&second));
  sp_buf_free(&first);
  sp_buf_free(&second);
}

static const char full[] =
    "seed_everything: 3\nckpt_path: \"a: b\"\n"
    "model:\n  class: sequential\n  layers: [{linear: {in: 3, out: 2}}, relu]\n"
    "  more: ['null', ~]\n"
    "data: {path: 'none', val_fraction: 0.1, batch_size: 1_0}\n"
    "optimizer: {class: adamw, betas: [0.8, 0.9], freeze: [a, 'b c'], groups: [{match: '*', lr: "
    "1}]}\n"
    "lr_scheduler: [{class: step, step_size: 3}, {class: reduce_on_plateau, monitor: x}]\n"
    "trainer: {max_time: 1h30m5s, recompute: 64KiB, passes: [-fuse], gradient_clip_val: 0.1,\n"
    "  devices: 3, overfit_batches: 5, callbacks: [model_summary, {class: EarlyStopping, monitor: "
    "m,\n"
    "  stopping_threshold: 0.5}, {model_checkpoint: {filename: '{epoch}-{v:.2f}'}}], logger: "
    "[csv]}\n"
    "predict: {generate: 30, prompt: \"two\\nlines \\u2028 \xc3\xa4\"}\n";

static void test_job_printed_loads_to_an_equal_job(void **state) {
  (void)state;
  load(full, NULL);
  check_round_trip();
  assert_true(job->trainer.max_time == INT64_C(5405000000000));
  assert_string_equal(job->data.path, "none");
  assert_string_equal(job->predict.prompt, "two\nlines \xe2\x80\xa8 \xc3\xa4");
  assert_string_equal(job->callbacks.items[2].checkpoint.filename, "{epoch}-{v:.2f}");
  load(BASE "trainer: {barebones: true}\n", NULL);
  check_round_trip();
}

static void test_job_examples_load_and_print(void **state) {
  (void)state;
  static const char *const names[] = {"autoencoder", "gpt-source", "mnist-mlp",
                                      "mnist-cnn",   "maxout",     "stranger"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    char path[64];
    snprintf(path, sizeof path, "examples/%s.yaml", names[i]);
    struct sp_err err = {0};
    sp_job_free(job);
    job = NULL;
    if (sp_job_load(tt_source(path), NULL, 0, &job, &err) != SP_OK) {
      fail_msg("%s", err.text);
    }
    check_round_trip();
  }
}

static void test_job_load_without_memory_fails_clean(void **state) {
  (void)state;
  for (long n = 1;; n++) {
    tt_fail_alloc(n);
    sp_status status = parse(full, ARGS("--model.x.y", "[1]"), NULL);
    if (!tt_alloc_failed()) {
      assert_int_equal(status, SP_OK);
      assert_true(n > 4);
      break;
    }
    assert_int_equal(status, SP_ENOMEM);
    assert_int_equal(tt_live_blocks(), 0);
  }
  tt_fail_alloc(0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      job_test(test_job_defaults_are_lightnings),
      job_test(test_job_max_epochs_follows_lightnings_rule),
      job_test(test_job_devices_set_lanes),
      job_test(test_job_ranks_are_devices_unless_given),
      job_test(test_job_resume_alone_is_auto),
      job_test(test_job_options_of_the_command_line_win),
      job_test(test_job_config_files_lie_over_each_other),
      job_test(test_job_item_of_a_list_can_be_overridden),
      job_test(test_job_classes_have_four_spellings),
      job_test(test_job_another_class_discards_the_old_options),
      job_test(test_job_groups_freeze_and_schedules_are_lists),
      job_test(test_job_weights_map_and_reader_options_are_pairs),
      job_test(test_job_logger_can_be_off_one_or_many),
      job_test(test_job_barebones_switches_everything_off),
      job_test(test_job_model_is_bound_against_the_modules_table),
      job_test(test_job_unknown_keys_are_answered_with_the_nearest),
      job_test(test_job_bad_values_are_refused_where_they_are),
      job_test(test_job_what_is_not_built_is_refused_by_name),
      job_test(test_job_command_line_must_be_options),
      job_test(test_job_impossible_combinations_are_refused),
      job_test(test_job_warnings_name_the_clock),
      job_test(test_job_printed_loads_to_an_equal_job),
      job_test(test_job_examples_load_and_print),
      job_test(test_job_load_without_memory_fails_clean),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
