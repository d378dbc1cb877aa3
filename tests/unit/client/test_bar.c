/* The progress line at several widths, as golden text. */
#include "tests/lib/tt.h"

#include "client/bar.h"

#include <string.h>

static const struct sp_event_metric metrics[] = {{"loss", 2.3124}, {"train_acc", 0.5}};

static struct sp_event_progress training(void) {
  return (struct sp_event_progress){.stage = SP_STAGE_TRAIN,
                                    .max_epochs = 3,
                                    .batch = 120,
                                    .n_batches = 500,
                                    .global_step = 120,
                                    .total_steps = 1500,
                                    .steps_per_s = 10,
                                    .items_per_s = 18200,
                                    .unit = "tokens",
                                    .n_metrics = 2,
                                    .metrics = metrics};
}

static void draws(const struct sp_event_progress *p, size_t width, bool bar, const char *want) {
  struct sp_buf b;
  sp_buf_init(&b, 4096);
  sc_bar_put(&b, p, width, bar);
  assert_string_equal(sp_buf_text(&b), want);
  sp_buf_free(&b);
}

static void test_bar_wide_shows_everything(void **state) {
  (void)state;
  struct sp_event_progress p = training();
  draws(&p, 140, true,
        "Epoch 0/3  [=========>                              ] 120/500  step  120/1500  "
        "loss 2.312  train_acc 0.5  18.2k tok/s  ETA 2:18");
}

static void test_bar_narrower_leaves_parts_out_in_order(void **state) {
  (void)state;
  struct sp_event_progress p = training();
  draws(&p, 90, true,
        "Epoch 0/3  [====>             ] 120/500  step  120/1500  loss 2.312  18.2k tok/s  "
        "ETA 2:18");
  draws(&p, 70, true, "Epoch 0/3  120/500  step  120/1500  loss 2.312  18.2k tok/s  ETA 2:18");
  draws(&p, 60, true, "Epoch 0/3  120/500  loss 2.312  18.2k tok/s  ETA 2:18");
  draws(&p, 41, true, "Epoch 0/3  120/500  loss 2.312  ETA 2:18");
  draws(&p, 31, true, "Epoch 0/3  120/500  loss 2.312");
  draws(&p, 5, true, "Epoch 0/3  120/500");
}

static void test_bar_of_a_single_epoch_does_not_repeat_the_step(void **state) {
  (void)state;
  struct sp_event_progress p = training();
  p.max_epochs = 1;
  p.total_steps = 500;
  p.n_metrics = 1;
  draws(&p, 200, false, "Epoch 0/1  120/500  loss 2.312  18.2k tok/s  ETA 0:38");
}

static void test_bar_unknown_totals_are_left_out(void **state) {
  (void)state;
  struct sp_event_progress p = training();
  p.max_epochs = -1;
  p.n_batches = -1;
  p.total_steps = -1;
  p.global_step = 620;
  p.n_metrics = 0;
  draws(&p, 80, true, "Epoch 0  batch 120  step 620  18.2k tok/s");
}

static void test_bar_of_another_stage_is_named(void **state) {
  (void)state;
  struct sp_event_progress p = {
      .stage = SP_STAGE_VALIDATE, .batch = 20, .n_batches = 20, .steps_per_s = 5, .unit = "images"};
  draws(&p, 60, true, "Validate  [================================] 20/20  ETA 0:00");
}

static void test_bar_longest_names_stay_in_the_width(void **state) {
  (void)state;
  char name[200];
  memset(name, 'n', sizeof name - 1);
  name[sizeof name - 1] = '\0';
  struct sp_event_metric many[12];
  for (size_t i = 0; i < 12; i++) {
    many[i] = (struct sp_event_metric){name, 1e-300};
  }
  struct sp_event_progress p = training();
  p.n_metrics = 12;
  p.metrics = many;
  for (size_t width = 20; width < 500; width++) {
    struct sp_buf b;
    sp_buf_init(&b, 4096);
    sc_bar_put(&b, &p, width, true);
    assert_true(b.length <= width);
    sp_buf_free(&b);
  }
}

static void test_eta_counts_the_whole_run_in_training(void **state) {
  (void)state;
  struct sp_event_progress p = training();
  assert_true(sc_bar_eta(&p) == 138);
  p.total_steps = -1;
  assert_true(sc_bar_eta(&p) == 38);
  p.steps_per_s = 0;
  assert_true(sc_bar_eta(&p) < 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_bar_wide_shows_everything),
      tt_test(test_bar_narrower_leaves_parts_out_in_order),
      tt_test(test_bar_of_a_single_epoch_does_not_repeat_the_step),
      tt_test(test_bar_unknown_totals_are_left_out),
      tt_test(test_bar_of_another_stage_is_named),
      tt_test(test_bar_longest_names_stay_in_the_width),
      tt_test(test_eta_counts_the_whole_run_in_training),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
