/* Chronicle entries in words, what they come to, and the page of a run, as golden text. */
#include "tests/lib/tt.h"

#include "client/history.h"

#include <string.h>

static struct sp_chronicle_entry entry(sp_chronicle_kind kind, int64_t seq, int64_t step) {
  struct sp_chronicle_entry e = sp_chronicle_entry(kind);
  e.seq = seq;
  e.time.ns = INT64_C(1709210096123456789) + seq * SP_NS_PER_S;
  e.generation = 2;
  e.step = step;
  return e;
}

/* The line without its time, generation and kind. */
static void says(const struct sp_chronicle_entry *e, const char *want) {
  struct sp_buf b;
  sp_buf_init(&b, 1 << 16);
  sc_history_put_entry(&b, e);
  assert_non_null(strstr(b.data, want));
  assert_string_equal(strstr(b.data, want), want);
  assert_ptr_equal(strchr(b.data, '\n'), b.data + b.length - 1);
  sp_buf_free(&b);
}

static void test_entry_line_has_time_generation_and_kind(void **state) {
  (void)state;
  struct sp_chronicle_entry e = entry(SP_CHRONICLE_DEATH, 1, 57);
  struct sp_buf b;
  e.rank = 1;
  e.text = "killed by signal 9, SIGKILL";
  sp_buf_init(&b, 1 << 16);
  sc_history_put_entry(&b, &e);
  assert_string_equal(b.data,
                      "2024-02-29T12:34:57.123Z    2  death       rank 1 at step 57: killed "
                      "by signal 9, SIGKILL\n");
  sp_buf_free(&b);
}

static void test_entry_says_what_its_kind_has(void **state) {
  (void)state;
  struct sp_chronicle_entry e = entry(SP_CHRONICLE_START, 1, 0);
  e.ranks = 2;
  e.source = "start";
  says(&e, "  2 ranks, step 0, from the start\n");
  e.ranks = 0; /* not known yet */
  says(&e, "start       step 0, from the start\n");
  e = entry(SP_CHRONICLE_GENERATION, 1, -1);
  e.ranks = 1;
  e.text = "rank 1 died";
  says(&e, "  1 rank: rank 1 died\n");
  e = entry(SP_CHRONICLE_RECOVERY, 1, 57);
  e.next_step = 58;
  e.ms = 31;
  e.source = "slots";
  e.recomputed = 1;
  e.text = "rank 1";
  says(&e, "  step 58 finished after 31.0 ms, from the slots, 1 step recomputed: rank 1\n");
  e = entry(SP_CHRONICLE_CHECKPOINT, 1, 60);
  e.path = "checkpoints/step-60";
  e.ok = 1;
  e.ms = 1500;
  says(&e, "  checkpoints/step-60 of step 60 in 1.50 s\n");
  e.ok = 0;
  e.ms = -1;
  e.text = "no space\nfree some\n";
  says(&e, "  FAILED checkpoints/step-60 of step 60: no space; free some\n");
  e = entry(SP_CHRONICLE_STALL, 1, 9);
  e.rank = 3;
  e.text = "stopped in reduce";
  says(&e, "  rank 3 at step 9: stopped in reduce\n");
  e.text = "rank 3 was killed by signal 9 (SIGKILL)";
  says(&e, "  rank 3 at step 9: killed by signal 9 (SIGKILL)\n");
  e.rank = -1;
  e.text = "the zygote exited with code 1";
  says(&e, "  at step 9: the zygote exited with code 1\n");
  e = entry(SP_CHRONICLE_REJECTED, 1, -1);
  e.path = "checkpoints/step-60";
  e.text = "model.safetensors is cut";
  says(&e, "  rejected    checkpoints/step-60: model.safetensors is cut\n");
  e = entry(SP_CHRONICLE_END, 1, 300);
  e.ok = 0;
  e.text = "poisoned";
  says(&e, "  FAILED step 300: poisoned\n");
}

static void add(struct sc_history *h, const struct sp_chronicle_entry *e) {
  assert_true(sc_history_add(h, e));
}

static void add_recovery(struct sc_history *h, int64_t seq, double ms) {
  struct sp_chronicle_entry e = entry(SP_CHRONICLE_RECOVERY, seq, seq);
  e.next_step = seq + 1;
  e.ms = ms;
  e.recomputed = 1;
  add(h, &e);
}

static void test_history_counts_what_happened(void **state) {
  (void)state;
  struct sc_history h = {0};
  assert_true(sc_history_quantile(&h, 0.5) == -1);
  for (int i = 0; i < 100; i++) {
    add_recovery(&h, i + 1, (i * 37) % 100 + 1); /* 1 to 100 in some order */
  }
  struct sp_chronicle_entry e = entry(SP_CHRONICLE_STALL, 105, 300);
  add(&h, &e);
  assert_int_equal(h.n_recoveries, 100);
  assert_true(sc_history_quantile(&h, 0.5) == 50);
  assert_true(sc_history_quantile(&h, 0) == 1);
  assert_true(sc_history_quantile(&h, 1) == 100);
  assert_int_equal(h.recomputed, 100);
  assert_int_equal(h.n_lost, 4);
  assert_int_equal(h.n_stalls, 1);
  assert_int_equal(h.step, 300);
  sc_history_fini(&h);
}

static void test_history_a_later_checkpoint_forgives_a_failure(void **state) {
  (void)state;
  struct sc_history h = {0};
  struct sp_chronicle_entry e = entry(SP_CHRONICLE_CHECKPOINT, 1, 10);
  e.ok = 1;
  e.path = "a";
  add(&h, &e);
  e.seq = 2;
  e.ok = 0;
  e.path = "b";
  e.text = "no space";
  add(&h, &e);
  assert_string_equal(h.checkpoint, "a");
  assert_string_equal(h.ckpt_failure, "no space");
  e.seq = 3;
  e.ok = 1;
  e.path = "c";
  add(&h, &e);
  assert_string_equal(h.checkpoint, "c");
  assert_string_equal(h.ckpt_failure, "");
  assert_int_equal(h.n_ckpt_failures, 1);
  sc_history_fini(&h);
}

static void test_history_long_text_is_cut_in_front_of_a_character(void **state) {
  (void)state;
  struct sc_history h = {0};
  struct sp_chronicle_entry e = entry(SP_CHRONICLE_END, 1, 10);
  char text[SP_CHRONICLE_MAX_TEXT];
  for (size_t i = 0; i + 2 < sizeof text; i += 2) {
    memcpy(text + i, "\xC3\xA9", 3);
  }
  e.text = text;
  add(&h, &e);
  assert_int_equal(strlen(h.end), SC_HISTORY_TEXT - 2);
  sc_history_fini(&h);
}

static void test_history_without_memory_says_so(void **state) {
  (void)state;
  struct sc_history h = {0};
  struct sp_chronicle_entry e = entry(SP_CHRONICLE_RECOVERY, 1, 10);
  tt_fail_alloc(1);
  assert_false(sc_history_add(&h, &e));
  tt_fail_alloc(0);
  sc_history_fini(&h);
}

static const char *const args[] = {"--ranks", "2"};

static struct sc_run sample(void) {
  return (struct sc_run){.dir = "/runs/a",
                         .life = SC_LIFE_RUNNING,
                         .slots_there = true,
                         .file = {.state = SP_RUN_RUNNING,
                                  .nonce = "00c0ffee",
                                  .boot_id = "b",
                                  .slots_dir = "/dev/shm/s",
                                  .generation = 2,
                                  .ranks = 2,
                                  .lanes = 4,
                                  .pid = 77,
                                  .started = {INT64_C(1709210096123456789)},
                                  .model = "gpt",
                                  .ckpt_dir = "",
                                  .job_file = "job.yaml",
                                  .cwd = "/home/a",
                                  .n_args = 2,
                                  .args = args}};
}

static void page(const struct sc_run *r, void (*put)(struct sp_buf *, const struct sc_run *),
                 const char *want) {
  struct sp_buf b;
  sp_buf_init(&b, 1 << 16);
  put(&b, r);
  assert_int_equal(sp_buf_check(&b, "page", NULL), SP_OK);
  assert_string_equal(b.data, want);
  sp_buf_free(&b);
}

static void test_run_page(void **state) {
  (void)state;
  struct sc_run r = sample();
  struct sp_chronicle_entry e = entry(SP_CHRONICLE_DEATH, 1, 57);
  e.rank = 1;
  e.text = "killed by signal 9, SIGKILL";
  add(&r.history, &e);
  add_recovery(&r.history, 2, 31);
  add_recovery(&r.history, 3, 45);
  page(&r, sc_run_put,
       "run         /runs/a\n"
       "state       running, supervisor 77 (does not answer)\n"
       "job         job.yaml --ranks 2, in /home/a\n"
       "started     2024-02-29T12:34:56.123Z\n"
       "model       gpt, 4 lanes, 2 ranks, generation 2\n"
       "step        4 (the chronicle's newest, of 2024-02-29T12:34:59.123Z)\n"
       "deaths      1, the last: rank 1 at step 57: killed by signal 9, SIGKILL\n"
       "recovered   2 times, p50 31.0 ms, at most 45.0 ms, 2 steps recomputed\n"
       "slots       /dev/shm/s\n");
  sc_history_fini(&r.history);
}

static void test_run_page_of_a_live_run_says_what_its_supervisor_says(void **state) {
  (void)state;
  struct sc_run r = sample();
  struct sp_chronicle_entry e = entry(SP_CHRONICLE_START, 1, 57);
  add(&r.history, &e);
  r.live = (struct sp_control_status){.state = "forming",
                                      .pid = 99,
                                      .step = 60,
                                      .epoch = 1,
                                      .total_steps = 300,
                                      .generation = 5,
                                      .ranks = 3};
  page(&r, sc_run_put,
       "run         /runs/a\n"
       "state       running, forming, supervisor 99\n"
       "job         job.yaml --ranks 2, in /home/a\n"
       "started     2024-02-29T12:34:56.123Z\n"
       "model       gpt, 4 lanes, 3 ranks, generation 5\n"
       "step        60 of 300, epoch 1\n"
       "slots       /dev/shm/s\n");
  struct sp_buf b;
  sp_buf_init(&b, 1 << 16);
  sc_run_put_json(&b, &r);
  assert_non_null(strstr(b.data, "\"ranks\":3,\"generation\":5,\"step\":60,"));
  sp_buf_free(&b);
  sc_history_fini(&r.history);
}

static void test_run_page_of_an_interrupted_run_says_how_it_goes_on(void **state) {
  (void)state;
  struct sc_run r = sample();
  r.life = SC_LIFE_BROKEN;
  r.slots_there = false;
  page(&r, sc_run_put,
       "run         /runs/a\n"
       "state       interrupted: its supervisor 77 is gone; `stoker fit job.yaml --resume /runs/a` "
       "goes on\n"
       "job         job.yaml --ranks 2, in /home/a\n"
       "started     2024-02-29T12:34:56.123Z\n"
       "model       gpt, 4 lanes, 2 ranks, generation 2\n"
       "step        0\n"
       "slots       /dev/shm/s (gone)\n");
}

static void test_run_json(void **state) {
  (void)state;
  struct sc_run r = sample();
  r.life = SC_LIFE_OVER;
  r.file.state = SP_RUN_FINISHED;
  add_recovery(&r.history, 2, 31.5);
  struct sp_chronicle_entry e = entry(SP_CHRONICLE_END, 3, 300);
  e.text = "max_epochs";
  add(&r.history, &e);
  page(&r, sc_run_put_json,
       "{\"run\":\"/runs/a\",\"state\":\"finished\",\"pid\":77,"
       "\"started\":\"2024-02-29T12:34:56.123456789Z\",\"job_file\":\"job.yaml\","
       "\"cwd\":\"/home/a\",\"args\":[\"--ranks\",\"2\"],\"model\":\"gpt\",\"lanes\":4,\"ranks\":2,"
       "\"generation\":2,\"step\":300,\"starts\":0,\"slots_dir\":\"/dev/shm/s\","
       "\"slots_there\":true,\"checkpoint\":\"\",\"checkpoint_step\":-1,\"deaths\":0,"
       "\"recoveries\":1,\"recovery_p50_ms\":31.5,\"recovery_max_ms\":31.5,\"steps_recomputed\":1,"
       "\"stalls\":0,\"stragglers\":0,\"checkpoint_failures\":0,\"checkpoint_failure\":\"\","
       "\"last_death\":\"\",\"end\":\"max_epochs\",\"entries_lost\":1}\n");
  sc_history_fini(&r.history);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_entry_line_has_time_generation_and_kind),
      tt_test(test_entry_says_what_its_kind_has),
      tt_test(test_history_counts_what_happened),
      tt_test(test_history_a_later_checkpoint_forgives_a_failure),
      tt_test(test_history_long_text_is_cut_in_front_of_a_character),
      tt_test(test_history_without_memory_says_so),
      tt_test(test_run_page),
      tt_test(test_run_page_of_a_live_run_says_what_its_supervisor_says),
      tt_test(test_run_page_of_an_interrupted_run_says_how_it_goes_on),
      tt_test(test_run_json),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
