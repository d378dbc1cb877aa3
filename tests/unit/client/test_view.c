/* What a person sees, as golden text. Streams are marked: ">" out, "!" err, "=" data. */
#include "tests/lib/tt.h"

#include "client/view.h"
#include "proto/base/buf.h"

#include <string.h>

struct fixture {
  struct sp_buf seen;
  struct sc_view v;
};

static void sink(void *ctx, sc_stream stream, const char *bytes, size_t n) {
  struct fixture *f = ctx;
  sp_buf_putc(&f->seen, "=>!"[stream]);
  sp_buf_append(&f->seen, bytes, n);
}

static void begin(struct fixture *f, bool bar) {
  sp_buf_init(&f->seen, 1 << 20);
  struct sc_view_options o = {.sink = sink, .ctx = f, .bar = bar, .terminal = {bar, bar, bar}};
  sc_view_init(&f->v, &o, 60);
}

static void saw(struct fixture *f, const char *want) {
  assert_string_equal(sp_buf_text(&f->seen), want);
  sp_buf_clear(&f->seen);
}

static void end(struct fixture *f) {
  sp_buf_free(&f->seen);
}

static struct sp_mono at_ms(int64_t ms) {
  return (struct sp_mono){ms * 1000000};
}

static void progress(struct fixture *f, int64_t batch) {
  static const struct sp_event_metric metrics[] = {{"loss", 0.5}};
  struct sp_event e = {.kind = SP_EVENT_PROGRESS,
                       .u.progress = {.stage = SP_STAGE_TRAIN,
                                      .max_epochs = 1,
                                      .batch = batch,
                                      .n_batches = 100,
                                      .global_step = batch,
                                      .total_steps = 100,
                                      .unit = "images",
                                      .n_metrics = 1,
                                      .metrics = metrics}};
  sc_view_event(&f->v, &e);
}

static void started(struct fixture *f, const char *verb) {
  struct sp_event e = {.kind = SP_EVENT_RUN_STARTED,
                       .u.run_started = {.verb = verb,
                                         .model = "autoencoder",
                                         .log_dir = "stoker_logs/version_0",
                                         .resumed_from = "",
                                         .kernels = "avx2",
                                         .precision = "32-true",
                                         .n_params = 101315,
                                         .max_epochs = 3,
                                         .n_train_batches = 100,
                                         .lanes = 1,
                                         .threads = 2,
                                         .plan_peak_bytes = 3 << 20}};
  sc_view_event(&f->v, &e);
}

static void test_run_started_says_what_runs(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, false);
  started(&f, "fit");
  saw(&f,
      ">fit autoencoder: 101,315 parameters, 3 epochs of 100 batches, 1 lane, 2 threads, "
      "avx2, 32-true, 3.00 MiB planned\n"
      "logs in stoker_logs/version_0\n");
  end(&f);
}

static void test_ranks_are_told_at_the_start_and_when_they_change(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, false);
  struct sp_event e = {.kind = SP_EVENT_RUN_STARTED,
                       .u.run_started = {.verb = "fit",
                                         .model = "gpt",
                                         .log_dir = "",
                                         .resumed_from = "",
                                         .kernels = "avx2",
                                         .precision = "32-true",
                                         .n_params = 5,
                                         .lanes = 4,
                                         .ranks = 2,
                                         .threads = 1,
                                         .plan_peak_bytes = -1}};
  sc_view_event(&f.v, &e);
  saw(&f, ">fit gpt: 5 parameters, 4 lanes, 2 ranks, 1 thread, avx2, 32-true\n");
  struct sp_event g = {.kind = SP_EVENT_GENERATION, .u.generation = {2, 2}};
  sc_view_event(&f.v, &g);
  saw(&f, "");
  g.u.generation = (struct sp_event_generation){3, 1};
  sc_view_event(&f.v, &g);
  saw(&f, ">1 rank computes from here on (generation 3)\n");
  end(&f);
}

static void test_recovery_is_one_line(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, false);
  struct sp_event e = {.kind = SP_EVENT_RECOVERY,
                       .u.recovery = {.who = "rank 1",
                                      .cause = "killed by signal 9, SIGKILL",
                                      .rank = 1,
                                      .step = 57,
                                      .next_step = 58,
                                      .generation = 2,
                                      .source = SP_SOURCE_SLOTS,
                                      .n_recomputed = 1,
                                      .ms = 30.6}};
  sc_view_event(&f.v, &e);
  saw(&f,
      ">rank 1 died at step 57 (killed by signal 9, SIGKILL); step 58 was finished 31 ms later "
      "(generation 2, from the slots, 1 step recomputed)\n");
  e.u.recovery.source = SP_SOURCE_CHECKPOINT;
  e.u.recovery.cause = "rank 1 was killed by signal 9, SIGKILL";
  e.u.recovery.n_recomputed = 17;
  e.u.recovery.ms = 2500;
  sc_view_event(&f.v, &e);
  saw(&f,
      ">rank 1 died at step 57 (killed by signal 9, SIGKILL); step 58 was finished 2.50 s later "
      "(generation 2, from a checkpoint, 17 steps recomputed)\n");
  end(&f);
}

static void test_lines_first_then_every_ten_seconds_and_at_the_end(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, false);
  progress(&f, 1);
  assert_int_equal(sc_view_tick(&f.v, at_ms(5000)), -1);
  saw(&f, ">Epoch 0/1  1/100  loss 0.5\n");
  progress(&f, 2);
  assert_int_equal(sc_view_tick(&f.v, at_ms(6000)), 9 * SP_NS_PER_S);
  saw(&f, "");
  assert_int_equal(sc_view_tick(&f.v, at_ms(15000)), -1);
  saw(&f, ">Epoch 0/1  2/100  loss 0.5\n");
  progress(&f, 100);
  sc_view_tick(&f.v, at_ms(15001));
  saw(&f, ">Epoch 0/1  100/100  loss 0.5\n");
  end(&f);
}

static void test_bar_is_redrawn_at_most_ten_times_a_second(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, true);
  progress(&f, 1);
  sc_view_tick(&f.v, at_ms(1000));
  saw(&f, ">\rEpoch 0/1  [>                           ]   1/100  loss 0.5\x1b[K");
  progress(&f, 50);
  assert_int_equal(sc_view_tick(&f.v, at_ms(1040)), 60 * 1000000);
  saw(&f, "");
  sc_view_tick(&f.v, at_ms(1100));
  saw(&f, ">\rEpoch 0/1  [==============>             ]  50/100  loss 0.5\x1b[K");
  end(&f);
}

static void test_bar_makes_room_for_prints_and_comes_back(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, true);
  progress(&f, 1);
  sc_view_tick(&f.v, at_ms(1000));
  sp_buf_clear(&f.seen);
  struct sp_event e = {.kind = SP_EVENT_TEXT, .u.text = {SP_TEXT_WARNING, "lr\x1b is high\n", 12}};
  sc_view_event(&f.v, &e);
  saw(&f, ">\r\x1b[K!warning: lr? is high\n");
  assert_true(sc_view_tick(&f.v, at_ms(1001)) > 0);
  sc_view_tick(&f.v, at_ms(1100));
  saw(&f, ">\rEpoch 0/1  [>                           ]   1/100  loss 0.5\x1b[K");
  sc_view_end(&f.v);
  saw(&f, ">\n");
  end(&f);
}

static void test_raw_without_a_newline_keeps_its_line(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, true);
  sc_view_raw(&f.v, SC_DATA, "part", 4);
  progress(&f, 1);
  sc_view_tick(&f.v, at_ms(1000));
  saw(&f, "=part=\n>\rEpoch 0/1  [>                           ]   1/100  loss 0.5\x1b[K");
  end(&f);
}

static void test_raw_to_a_file_is_untouched(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, true);
  f.v.o.terminal[SC_DATA] = false;
  progress(&f, 1);
  sc_view_tick(&f.v, at_ms(1000));
  sp_buf_clear(&f.seen);
  sc_view_raw(&f.v, SC_DATA, "part", 4);
  sc_view_notice(&f.v, "x");
  saw(&f, "=part>\r\x1b[K!stoker: x\n");
  end(&f);
}

static void test_validation_in_fit_is_one_line(void **state) {
  (void)state;
  static const struct sp_event_metric metrics[] = {{"val_loss", 1.25}, {"val_acc", 0.5}};
  struct fixture f;
  begin(&f, false);
  started(&f, "fit");
  sp_buf_clear(&f.seen);
  struct sp_event e = {.kind = SP_EVENT_VALIDATION,
                       .u.validation = {.stage = SP_STAGE_VALIDATE,
                                        .epoch = 1,
                                        .step = 200,
                                        .n_batches = 20,
                                        .seconds = 1.5,
                                        .n_metrics = 2,
                                        .metrics = metrics}};
  sc_view_event(&f.v, &e);
  saw(&f, ">Epoch 1  step 200  val_loss 1.25  val_acc 0.5  (20 batches, 0:02)\n");
  end(&f);
}

static void test_validation_alone_is_a_list(void **state) {
  (void)state;
  static const struct sp_event_metric metrics[] = {{"val_loss", 1.23456789}, {"acc", 0.5}};
  struct fixture f;
  begin(&f, false);
  struct sp_event e = {
      .kind = SP_EVENT_VALIDATION,
      .u.validation = {.stage = SP_STAGE_TEST, .n_batches = 1, .n_metrics = 2, .metrics = metrics}};
  sc_view_event(&f.v, &e);
  saw(&f,
      ">test  (1 batch, 0:00)\n"
      "  val_loss  1.23456789\n"
      "  acc       0.5\n");
  end(&f);
}

static void test_checkpoint_failure_says_what_stays(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, false);
  struct sp_event e = {.kind = SP_EVENT_CHECKPOINT,
                       .u.checkpoint = {.ok = true, .path = "a", .error = ""}};
  sc_view_event(&f.v, &e);
  saw(&f, "");
  e.u.checkpoint = (struct sp_event_checkpoint){.path = "b", .error = "no space left", .step = 20};
  sc_view_event(&f.v, &e);
  saw(&f, "!warning: checkpoint b at step 20 failed: no space left; training goes on, a stays\n");
  end(&f);
}

static void test_result_ends_with_checkpoints_and_commands(void **state) {
  (void)state;
  static const char *const next[] = {"stoker test job.yaml --ckpt_path last", "stoker ckpt ls x"};
  struct fixture f;
  begin(&f, true);
  started(&f, "fit");
  progress(&f, 100);
  sc_view_tick(&f.v, at_ms(1000));
  sp_buf_clear(&f.seen);
  struct sp_event e = {.kind = SP_EVENT_RESULT,
                       .u.result = {.message = "",
                                    .ckpt_last = "x/last",
                                    .ckpt_best = "x/best",
                                    .step = 100,
                                    .seconds = 12.3,
                                    .n_next = 2,
                                    .next = next}};
  sc_view_event(&f.v, &e);
  saw(&f,
      ">\n>done: 100 steps in 0:12\n"
      "checkpoint: x/last\n"
      "best: x/best\n"
      "next:\n"
      "  stoker test job.yaml --ckpt_path last\n"
      "  stoker ckpt ls x\n");
  assert_true(f.v.have_result);
  end(&f);
}

static void test_result_of_a_listing_is_silent(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, false);
  struct sp_event e = {.kind = SP_EVENT_OUTPUT, .u.output = {"[1]\n", 4}};
  sc_view_event(&f.v, &e);
  e = (struct sp_event){.kind = SP_EVENT_RESULT,
                        .u.result = {.message = "", .ckpt_last = "", .ckpt_best = ""}};
  sc_view_event(&f.v, &e);
  saw(&f, "=[1]\n");
  end(&f);
}

static void test_result_failure_prints_its_error_once(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, false);
  struct sp_event e = {.kind = SP_EVENT_ERROR,
                       .u.error = {SP_EINVAL, "job.yaml:3:5: unknown key \"lrr\""}};
  sc_view_event(&f.v, &e);
  e = (struct sp_event){.kind = SP_EVENT_RESULT,
                        .u.result = {.status = SP_EINVAL,
                                     .exit = SP_EXIT_USAGE,
                                     .message = "failed",
                                     .ckpt_last = "",
                                     .ckpt_best = ""}};
  sc_view_event(&f.v, &e);
  saw(&f, "!error: job.yaml:3:5: unknown key \"lrr\"\n");
  assert_int_equal(f.v.exit, SP_EXIT_USAGE);
  end(&f);
}

static void test_error_in_colour_only_where_asked(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, false);
  f.v.o.colour = true;
  sc_view_error(&f.v, "no");
  saw(&f, "!\x1b[31merror:\x1b[0m no\n");
  end(&f);
}

static void test_stopped_names_the_reason(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, false);
  struct sp_event e = {.kind = SP_EVENT_STOPPED,
                       .u.stopped = {SP_STOP_EARLY, "val_loss did not improve", 4, 500}};
  sc_view_event(&f.v, &e);
  saw(&f, ">early stopping at epoch 4, step 500: val_loss did not improve\n");
  end(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_run_started_says_what_runs),
      tt_test(test_ranks_are_told_at_the_start_and_when_they_change),
      tt_test(test_recovery_is_one_line),
      tt_test(test_lines_first_then_every_ten_seconds_and_at_the_end),
      tt_test(test_bar_is_redrawn_at_most_ten_times_a_second),
      tt_test(test_bar_makes_room_for_prints_and_comes_back),
      tt_test(test_raw_without_a_newline_keeps_its_line),
      tt_test(test_raw_to_a_file_is_untouched),
      tt_test(test_validation_in_fit_is_one_line),
      tt_test(test_validation_alone_is_a_list),
      tt_test(test_checkpoint_failure_says_what_stays),
      tt_test(test_result_ends_with_checkpoints_and_commands),
      tt_test(test_result_of_a_listing_is_silent),
      tt_test(test_result_failure_prints_its_error_once),
      tt_test(test_error_in_colour_only_where_asked),
      tt_test(test_stopped_names_the_reason),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
