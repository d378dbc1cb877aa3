/* Events survive the wire; what may not be shown does not. The strict side is tested with messages
 * made by hand, since the packing side repairs them. */
#include "tests/lib/tt.h"

#include "proto/base/mem.h"
#include "proto/wire/convert.h"

#include <math.h>
#include <string.h>

/* Packs e and unpacks it into c; the status of the step that failed. */
static sp_status round_trip(const struct sp_event *e, struct sp_convert *c, struct sp_err *err) {
  uint8_t *bytes = NULL;
  size_t n = 0;
  sp_status status = sp_convert_pack(e, &bytes, &n, err);
  if (status == SP_OK) {
    struct sp_frame frame = {(uint16_t)e->kind, (uint32_t)(n - SP_FRAME_HEADER_BYTES),
                             bytes + SP_FRAME_HEADER_BYTES};
    status = sp_convert_unpack(c, &frame, err);
    sp_free(bytes);
  }
  return status;
}

static sp_status unpack(uint16_t tag, const void *bytes, size_t n) {
  struct sp_convert c = {0};
  struct sp_frame frame = {tag, (uint32_t)n, bytes};
  sp_status status = sp_convert_unpack(&c, &frame, NULL);
  sp_convert_clear(&c);
  return status;
}

static void test_progress_comes_back_equal(void **state) {
  (void)state;
  const struct sp_event_metric metrics[] = {{"loss", 2.25}, {"acc", NAN}};
  struct sp_event e = {.kind = SP_EVENT_PROGRESS,
                       .u.progress = {.stage = SP_STAGE_TRAIN,
                                      .epoch = 1,
                                      .max_epochs = -1,
                                      .batch = 120,
                                      .n_batches = 500,
                                      .global_step = 620,
                                      .total_steps = 1500,
                                      .steps_per_s = 21.5,
                                      .items_per_s = 18200,
                                      .unit = "tokens",
                                      .n_metrics = 2,
                                      .metrics = metrics}};
  struct sp_convert c = {0};
  assert_int_equal(round_trip(&e, &c, NULL), SP_OK);
  const struct sp_event_progress *p = &c.event.u.progress;
  assert_int_equal(c.event.kind, SP_EVENT_PROGRESS);
  assert_int_equal(p->stage, SP_STAGE_TRAIN);
  assert_int_equal(p->max_epochs, -1);
  assert_int_equal(p->batch, 120);
  assert_int_equal(p->total_steps, 1500);
  assert_true(p->items_per_s == 18200);
  assert_string_equal(p->unit, "tokens");
  assert_int_equal(p->n_metrics, 2);
  assert_string_equal(p->metrics[0].name, "loss");
  assert_true(p->metrics[0].value == 2.25);
  assert_true(isnan(p->metrics[1].value));
  sp_convert_clear(&c);
}

static void test_result_comes_back_equal(void **state) {
  (void)state;
  const char *const next[] = {"stoker test job.yaml --ckpt_path last", "stoker ckpt ls"};
  struct sp_event e = {.kind = SP_EVENT_RESULT,
                       .u.result = {.status = SP_ECANCELED,
                                    .exit = SP_EXIT_JOB_CANCELED,
                                    .message = "stopped",
                                    .ckpt_last = "/runs/last",
                                    .step = 7,
                                    .seconds = 1.5,
                                    .n_next = 2,
                                    .next = next}};
  struct sp_convert c = {0};
  assert_int_equal(round_trip(&e, &c, NULL), SP_OK);
  const struct sp_event_result *r = &c.event.u.result;
  assert_int_equal(r->status, SP_ECANCELED);
  assert_int_equal(r->exit, SP_EXIT_JOB_CANCELED);
  assert_string_equal(r->ckpt_last, "/runs/last");
  assert_string_equal(r->ckpt_best, "");
  assert_int_equal(r->n_next, 2);
  assert_string_equal(r->next[1], "stoker ckpt ls");
  sp_convert_clear(&c);
}

static void test_summary_comes_back_equal(void **state) {
  (void)state;
  const struct sp_event_summary_row rows[] = {
      {"encoder.0", "Linear", "[64, 784]", "[64, 64]", 50240, false},
      {"encoder.1", "ReLU", "", "", 0, true}};
  struct sp_event e = {.kind = SP_EVENT_SUMMARY,
                       .u.summary = {.n_rows = 2, .rows = rows, .n_params = 50240}};
  struct sp_convert c = {0};
  assert_int_equal(round_trip(&e, &c, NULL), SP_OK);
  assert_int_equal(c.event.u.summary.n_rows, 2);
  assert_string_equal(c.event.u.summary.rows[0].in_shape, "[64, 784]");
  assert_int_equal(c.event.u.summary.rows[0].n_params, 50240);
  assert_true(c.event.u.summary.rows[1].frozen);
  sp_convert_clear(&c);
}

static void test_recovery_comes_back_equal(void **state) {
  (void)state;
  struct sp_event e = {.kind = SP_EVENT_RECOVERY,
                       .u.recovery = {.who = "rank 1",
                                      .cause = "killed by signal 9, SIGKILL",
                                      .rank = 1,
                                      .step = 57,
                                      .next_step = 58,
                                      .generation = 2,
                                      .source = SP_SOURCE_SLOTS,
                                      .n_recomputed = 1,
                                      .ms = 31.5}};
  struct sp_convert c = {0};
  assert_int_equal(round_trip(&e, &c, NULL), SP_OK);
  const struct sp_event_recovery *r = &c.event.u.recovery;
  assert_string_equal(r->who, "rank 1");
  assert_string_equal(r->cause, "killed by signal 9, SIGKILL");
  assert_int_equal(r->rank, 1);
  assert_int_equal(r->step, 57);
  assert_int_equal(r->next_step, 58);
  assert_int_equal(r->generation, 2);
  assert_int_equal(r->source, SP_SOURCE_SLOTS);
  assert_int_equal(r->n_recomputed, 1);
  assert_true(r->ms == 31.5);
  sp_convert_clear(&c);
}

static void test_every_kind_empty_but_valid_survives(void **state) {
  (void)state;
  struct sp_event all[] = {
      {.kind = SP_EVENT_HELLO, .u.hello = {.protocol = SP_EVENT_PROTOCOL}},
      {.kind = SP_EVENT_TEXT, .u.text = {.level = SP_TEXT_WARNING}},
      {.kind = SP_EVENT_RUN_STARTED},
      {.kind = SP_EVENT_SUMMARY},
      {.kind = SP_EVENT_PROGRESS, .u.progress = {.stage = SP_STAGE_PREDICT}},
      {.kind = SP_EVENT_METRICS},
      {.kind = SP_EVENT_VALIDATION, .u.validation = {.stage = SP_STAGE_VALIDATE}},
      {.kind = SP_EVENT_CHECKPOINT},
      {.kind = SP_EVENT_STOPPED, .u.stopped = {.reason = SP_STOP_EARLY}},
      {.kind = SP_EVENT_OUTPUT},
      {.kind = SP_EVENT_ERROR, .u.error = {.status = SP_EIO}},
      {.kind = SP_EVENT_RESULT},
      {.kind = SP_EVENT_RECOVERY, .u.recovery = {.source = SP_SOURCE_START}},
      {.kind = SP_EVENT_GENERATION},
  };
  assert_int_equal(sizeof all / sizeof *all, SP_EVENT_GENERATION);
  struct sp_convert c = {0};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    assert_int_equal(round_trip(&all[i], &c, NULL), SP_OK);
    assert_int_equal(c.event.kind, all[i].kind);
  }
  sp_convert_clear(&c);
}

static void test_every_kind_with_each_allocation_failing_reports_no_memory(void **state) {
  (void)state;
  const struct sp_event_metric metrics[] = {{"bad \x1b name", 1}};
  struct sp_event e = {.kind = SP_EVENT_METRICS, .u.metrics = {.n_metrics = 1, .metrics = metrics}};
  for (long n = 1;; n++) {
    struct sp_convert c = {0};
    tt_fail_alloc(n);
    sp_status status = round_trip(&e, &c, NULL);
    bool failed = tt_alloc_failed();
    sp_convert_clear(&c);
    if (!failed) {
      assert_int_equal(status, SP_OK);
      break;
    }
    assert_int_not_equal(status, SP_OK);
  }
  tt_fail_alloc(0);
}

static void test_pack_dirty_text_is_repaired(void **state) {
  (void)state;
  struct sp_event e = {.kind = SP_EVENT_ERROR, .u.error = {SP_EINVAL, "key \x1b[2J\xFF in\nfile"}};
  struct sp_convert c = {0};
  assert_int_equal(round_trip(&e, &c, NULL), SP_OK);
  assert_string_equal(c.event.u.error.text, "key ?[2J? in\nfile");
  sp_convert_clear(&c);
}

static void test_pack_long_text_is_cut(void **state) {
  (void)state;
  static char text[SP_EVENT_MAX_STRING + 100];
  memset(text, 'x', sizeof text - 1);
  struct sp_event e = {.kind = SP_EVENT_ERROR, .u.error = {SP_EINVAL, text}};
  struct sp_convert c = {0};
  assert_int_equal(round_trip(&e, &c, NULL), SP_OK);
  assert_int_equal(strlen(c.event.u.error.text), SP_EVENT_MAX_STRING);
  sp_convert_clear(&c);
}

static void test_pack_rate_that_is_not_a_number_becomes_zero(void **state) {
  (void)state;
  struct sp_event e = {.kind = SP_EVENT_PROGRESS,
                       .u.progress = {.stage = SP_STAGE_TRAIN, .steps_per_s = NAN}};
  struct sp_convert c = {0};
  assert_int_equal(round_trip(&e, &c, NULL), SP_OK);
  assert_true(c.event.u.progress.steps_per_s == 0);
  sp_convert_clear(&c);
}

static void test_pack_too_many_metrics_is_out_of_range(void **state) {
  (void)state;
  static struct sp_event_metric metrics[SP_EVENT_MAX_METRICS + 1];
  struct sp_event e = {.kind = SP_EVENT_METRICS,
                       .u.metrics = {.n_metrics = SP_EVENT_MAX_METRICS + 1, .metrics = metrics}};
  struct sp_convert c = {0};
  assert_int_equal(round_trip(&e, &c, NULL), SP_ERANGE);
}

static void test_pack_largest_summary_fits_the_frame(void **state) {
  (void)state;
  static struct sp_event_summary_row rows[SP_EVENT_MAX_ROWS];
  for (size_t i = 0; i < SP_EVENT_MAX_ROWS; i++) {
    rows[i] = (struct sp_event_summary_row){"transformer.h.11.attention.projection",
                                            "LayerNorm",
                                            "[12, 1024, 768]",
                                            "[12, 1024, 768]",
                                            INT64_MAX,
                                            true};
  }
  struct sp_event e = {.kind = SP_EVENT_SUMMARY,
                       .u.summary = {.n_rows = SP_EVENT_MAX_ROWS, .rows = rows}};
  struct sp_convert c = {0};
  struct sp_err err;
  assert_int_equal(round_trip(&e, &c, &err), SP_OK);
  assert_int_equal(c.event.u.summary.n_rows, SP_EVENT_MAX_ROWS);
  sp_convert_clear(&c);
}

static void test_unpack_hello_of_another_protocol_says_so(void **state) {
  (void)state;
  struct sp_event e = {.kind = SP_EVENT_HELLO, .u.hello = {.protocol = 9}};
  struct sp_convert c = {0};
  struct sp_err err;
  assert_int_equal(round_trip(&e, &c, &err), SP_EMISMATCH);
  assert_non_null(strstr(err.text, "protocol 9"));
}

static void test_unpack_hostile_fields_are_refused(void **state) {
  (void)state;
  /* Error{status 1, text ESC} */
  assert_int_equal(unpack(SP_EVENT_ERROR, "\x08\x01\x12\x01\x1b", 5), SP_ECORRUPT);
  /* Error{status 0}: an error without a status */
  assert_int_equal(unpack(SP_EVENT_ERROR, "\x08\x00", 2), SP_ECORRUPT);
  /* Error{status 99} */
  assert_int_equal(unpack(SP_EVENT_ERROR, "\x08\x63", 2), SP_ECORRUPT);
  /* Progress{stage 6} */
  assert_int_equal(unpack(SP_EVENT_PROGRESS, "\x08\x06", 2), SP_ECORRUPT);
  /* Progress{stage 1, epoch -1} */
  assert_int_equal(
      unpack(SP_EVENT_PROGRESS, "\x08\x01\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 13),
      SP_ECORRUPT);
  /* Progress{stage 1, steps_per_s infinite} */
  assert_int_equal(unpack(SP_EVENT_PROGRESS, "\x08\x01\x41\x00\x00\x00\x00\x00\x00\xf0\x7f", 11),
                   SP_ECORRUPT);
  /* Stopped{reason 0} */
  assert_int_equal(unpack(SP_EVENT_STOPPED, "", 0), SP_ECORRUPT);
  /* Text{level 3} */
  assert_int_equal(unpack(SP_EVENT_TEXT, "\x08\x03", 2), SP_ECORRUPT);
  /* Result{exit 15} */
  assert_int_equal(unpack(SP_EVENT_RESULT, "\x10\x0f", 2), SP_ECORRUPT);
  /* Recovery without a source */
  assert_int_equal(unpack(SP_EVENT_RECOVERY, "", 0), SP_ECORRUPT);
}

static void test_unpack_tag_of_no_event_is_unsupported(void **state) {
  (void)state;
  assert_int_equal(unpack(0, "", 0), SP_EUNSUPPORTED);
  assert_int_equal(unpack(SP_EVENT_GENERATION + 1, "", 0), SP_EUNSUPPORTED);
  assert_int_equal(unpack(UINT16_MAX, "", 0), SP_EUNSUPPORTED);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_progress_comes_back_equal),
      tt_test(test_result_comes_back_equal),
      tt_test(test_summary_comes_back_equal),
      tt_test(test_recovery_comes_back_equal),
      tt_test(test_every_kind_empty_but_valid_survives),
      tt_test(test_every_kind_with_each_allocation_failing_reports_no_memory),
      tt_test(test_pack_dirty_text_is_repaired),
      tt_test(test_pack_long_text_is_cut),
      tt_test(test_pack_rate_that_is_not_a_number_becomes_zero),
      tt_test(test_pack_too_many_metrics_is_out_of_range),
      tt_test(test_pack_largest_summary_fits_the_frame),
      tt_test(test_unpack_hello_of_another_protocol_says_so),
      tt_test(test_unpack_hostile_fields_are_refused),
      tt_test(test_unpack_tag_of_no_event_is_unsupported),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
