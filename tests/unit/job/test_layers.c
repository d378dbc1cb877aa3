/* proto/job/layers.h: every spelling of a layer becomes the same text, and errors say where. */
#include "tests/lib/tt.h"

#include <string.h>

#include "proto/job/job.h"

#define JOB(layers) "model:\n  class: sequential\n  layers:\n" layers "data: {path: digits}\n"

static struct sp_job *job;

static int teardown(void **state) {
  sp_job_free(job);
  job = NULL;
  return tt_leak_teardown(state);
}

static sp_status parse(const char *text, struct sp_err *err) {
  sp_job_free(job);
  job = NULL;
  return sp_job_parse("job.yaml", text, strlen(text), NULL, 0, &job, err);
}

static void expect_text(const char *text, const char *layers) {
  struct sp_err err = {0};
  if (parse(text, &err) != SP_OK) {
    fail_msg("%s", err.text);
  }
  assert_string_equal(job->layers, layers);
}

static void expect_error(const char *text, const char *message) {
  struct sp_err err = {0};
  assert_int_not_equal(parse(text, &err), SP_OK);
  assert_string_equal(err.text, message);
}

static void test_layers_spellings_give_one_text(void **state) {
  (void)state;
  const char *text = "flatten(), linear(in=auto, out=5, bias=true)";
  expect_text(JOB("    - flatten\n    - linear: {out: 5}\n"), text);
  expect_text(JOB("    - class: flatten\n    - {class: linear, out: 5}\n"), text);
  expect_text(JOB("    - flatten:\n    - {class_path: torch.nn.Linear, init_args: {out: 5}}\n"),
              text);
}

static void test_layers_lists_are_split_by_blanks(void **state) {
  (void)state;
  expect_text(JOB("    - reshape: {shape: [1, 28, 28]}\n    - gelu\n"),
              "reshape(shape=1 28 28), gelu(approximate=none)");
}

static void test_layers_errors_say_where(void **state) {
  (void)state;
  expect_error(JOB("    - flatten\n    - liner: {out: 5}\n"),
               "job.yaml:5:7: model.layers: unknown class liner; did you mean linear?");
  expect_error(JOB("    - linear: {out: 5, bais: true}\n"),
               "job.yaml:4:24: model.layers.bais: unknown key; did you mean bias?");
  expect_error(JOB("    - linear: {in: 5}\n"),
               "job.yaml:4:7: model.layers.out is missing: Outputs.");
  expect_error(JOB("    - linear: {out: -5}\n"),
               "job.yaml:4:21: model.layers.out: \"-5\" is too small: it must be at least 1");
  expect_error(JOB("    - lstm\n"),
               "job.yaml:4:7: model.layers: lstm is refused: this layer is not built yet; a module "
               "in C can make it from others");
  expect_error("model: {class: sequential}\ndata: {path: digits}\n",
               "job.yaml:1:16: model.layers is missing: a list such as [flatten, {linear: {out: "
               "10}}]");
  expect_error("model: {class: sequential, layers: []}\ndata: {path: digits}\n",
               "job.yaml:1:36: model.layers: 1 to 256 layers, not 0");
}

static void test_layers_of_another_model_are_its_own(void **state) {
  (void)state;
  struct sp_err err = {0};
  assert_int_equal(parse("model: {class: mlp, layers: 3}\ndata: {path: digits}\n", &err), SP_OK);
  assert_null(job->layers);
}

#define layers_test(f) cmocka_unit_test_setup_teardown(f, tt_leak_setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      layers_test(test_layers_spellings_give_one_text),
      layers_test(test_layers_lists_are_split_by_blanks),
      layers_test(test_layers_errors_say_where),
      layers_test(test_layers_of_another_model_are_its_own),
  };
  return cmocka_run_group_tests_name("layers", tests, NULL, NULL);
}
