/* proto/job/help.h: every option is shown, lines fit, and docs/job-file.md is what the tables say
 * now. With STOKER_UPDATE=1 the page is written instead of compared. */
#include "tests/lib/tt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/mem.h"
#include "proto/job/help.h"

static void test_help_section_shows_every_option(void **state) {
  (void)state;
  struct sp_buf out;
  sp_buf_init(&out, 1 << 20);
  assert_int_equal(sp_help_section("trainer", 80, &out, NULL), SP_OK);
  for (size_t i = 0; i < sp_trainer_table.n_opts; i++) {
    const struct sp_opt *o = &sp_trainer_table.opts[i];
    char name[80];
    snprintf(name, sizeof name, "--trainer.%s ", o->key);
    bool is_shown = strstr(sp_buf_text(&out), name) != NULL;
    assert_int_equal(is_shown, !(o->flags & SP_OPT_REFUSED));
  }
  sp_buf_free(&out);
}

static void test_help_section_fits_the_columns(void **state) {
  (void)state;
  static const char *const names[] = {"",          "trainer",      "data",
                                      "optimizer", "lr_scheduler", "predict"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    struct sp_buf out;
    sp_buf_init(&out, 1 << 20);
    assert_int_equal(sp_help_section(names[i], 80, &out, NULL), SP_OK);
    for (const char *line = sp_buf_text(&out); *line;) {
      size_t n = strcspn(line, "\n");
      bool is_title = line[0] != ' ' || line[1] != ' ';
      if (n > 80 && !is_title) {
        fail_msg("%.*s", (int)n, line);
      }
      line += n + (line[n] == '\n');
    }
    sp_buf_free(&out);
  }
}

static void test_help_of_an_unknown_section_suggests_one(void **state) {
  (void)state;
  struct sp_buf out;
  struct sp_err err;
  sp_buf_init(&out, 1 << 20);
  assert_int_equal(sp_help_section("optimiser", 80, &out, &err), SP_ENOENT);
  assert_string_equal(err.text,
                      "\"optimiser\": a job file has no such section; did you mean optimizer?");
  assert_string_equal(sp_buf_text(&out), "");
}

static void test_help_sections_are_one_line_each(void **state) {
  (void)state;
  struct sp_buf out;
  sp_buf_init(&out, 1 << 20);
  sp_help_sections(&out);
  assert_non_null(strstr(sp_buf_text(&out), "\n  trainer.callbacks "));
  assert_non_null(strstr(sp_buf_text(&out), "\n  lr_scheduler "));
  sp_buf_free(&out);
}

static void test_reference_page_is_what_the_tables_say(void **state) {
  (void)state;
  const char *path = tt_source("docs/job-file.md");
  struct sp_buf out;
  sp_buf_init(&out, 1 << 20);
  sp_help_markdown(&out);
  assert_int_equal(sp_buf_check(&out, "the page", NULL), SP_OK);
  if (getenv("STOKER_UPDATE")) {
    tt_write_file(path, out.data, out.length);
  }
  size_t n;
  char *committed = tt_read_file(path, &n);
  if (n != out.length || memcmp(committed, out.data, n) != 0) {
    fail_msg("docs/job-file.md is old: run this test with STOKER_UPDATE=1 and commit the page");
  }
  sp_free(committed);
  sp_buf_free(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_help_section_shows_every_option),
      tt_test(test_help_section_fits_the_columns),
      tt_test(test_help_of_an_unknown_section_suggests_one),
      tt_test(test_help_sections_are_one_line_each),
      tt_test(test_reference_page_is_what_the_tables_say),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
