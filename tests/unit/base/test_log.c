/* proto/base/log.h: form of a line, escaping of hostile values, the level, and the bound. */
#include "tests/lib/tt.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "proto/base/mem.h"

struct capture {
  char text[SP_LOG_LINE + 1];
  size_t n;
  int calls;
};

static void capture_write(void *ctx, sp_log_level level, const char *line, size_t n) {
  struct capture *c = ctx;
  (void)level;
  assert_true(n <= SP_LOG_LINE);
  memcpy(c->text, line, n);
  c->text[n] = '\0';
  c->n = n;
  c->calls++;
}

static struct sp_log log_to(struct capture *c) {
  *c = (struct capture){.n = 0};
  return (struct sp_log){SP_LOG_INFO, NULL, {capture_write, c}};
}

static void test_log_line_has_level_message_and_pairs(void **state) {
  (void)state;
  struct capture c;
  struct sp_log log = log_to(&c);
  struct sp_log_line line;
  sp_log_begin(&line, &log, SP_LOG_WARN, "checkpoint published");
  sp_log_i64(&line, "step", -7);
  sp_log_f64(&line, "loss", 0.25);
  sp_log_str(&line, "path", "a/b.ckpt");
  sp_log_end(&line);
  assert_string_equal(c.text, "warn checkpoint published step=-7 loss=0.25 path=a/b.ckpt\n");
  assert_int_equal(c.calls, 1);
}

static void test_log_hostile_value_stays_on_one_line(void **state) {
  (void)state;
  struct capture c;
  struct sp_log log = log_to(&c);
  struct sp_log_line line;
  sp_log_begin(&line, &log, SP_LOG_INFO, "m\nn");
  sp_log_str(&line, "v", "a b\"c\\\n\x1b[0m=\x7f");
  sp_log_str(&line, "empty", "");
  sp_log_end(&line);
  assert_string_equal(c.text, "info m\\nn v=\"a b\\\"c\\\\\\n\\x1b[0m=\\x7f\" empty=\"\"\n");
}

static void test_log_below_level_writes_nothing(void **state) {
  (void)state;
  struct capture c;
  struct sp_log log = log_to(&c);
  sp_log_printf(&log, SP_LOG_DEBUG, "%d", 1);
  sp_log_printf(NULL, SP_LOG_ERROR, "%d", 1);
  struct sp_log_line line;
  sp_log_begin(&line, &log, SP_LOG_DEBUG, "m");
  sp_log_i64(&line, "k", 1);
  sp_log_end(&line);
  log.level = SP_LOG_OFF;
  sp_log_printf(&log, SP_LOG_ERROR, "%d", 1);
  assert_int_equal(c.calls, 0);
}

static void check_cut(char fill) {
  struct capture c;
  struct sp_log log = log_to(&c);
  struct sp_log_line line;
  char big[2 * SP_LOG_LINE];
  memset(big, fill, sizeof big - 1);
  big[sizeof big - 1] = '\0';
  sp_log_begin(&line, &log, SP_LOG_INFO, "m");
  sp_log_str(&line, "v", big);
  sp_log_i64(&line, "after", 1);
  sp_log_end(&line);
  assert_string_equal(c.text + c.n - 5, " ...\n");
  assert_null(strstr(c.text, "after"));
}

static void test_log_long_value_is_cut_and_marked(void **state) {
  (void)state;
  check_cut('"');
  check_cut('a');
}

static void test_log_with_clock_begins_with_time(void **state) {
  (void)state;
  struct capture c;
  struct sp_manual_clock clock;
  struct sp_log log = log_to(&c);
  sp_manual_clock_init(&clock);
  sp_manual_clock_advance(&clock, SP_NS_PER_S);
  log.clock = &clock.clock;
  sp_log_printf(&log, SP_LOG_ERROR, "x %d", 5);
  assert_string_equal(c.text, "1970-01-01T00:00:01.000Z error x 5\n");
}

static void test_log_fd_sink_writes_the_line(void **state) {
  (void)state;
  const char *path = tt_tmpfile("log");
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  struct sp_log log = {SP_LOG_INFO, NULL, sp_log_fd_sink(fd)};
  sp_log_printf(&log, SP_LOG_INFO, "hello");
  close(fd);
  char *text = tt_read_file(path, NULL);
  assert_string_equal(text, "info hello\n");
  sp_free(text);
}

static void test_log_level_names_parse_back(void **state) {
  (void)state;
  sp_log_level level;
  for (int i = SP_LOG_DEBUG; i <= SP_LOG_OFF; i++) {
    assert_int_equal(sp_log_level_parse(sp_log_level_name((sp_log_level)i), &level), SP_OK);
    assert_int_equal(level, i);
  }
  assert_int_equal(sp_log_level_parse("loud", &level), SP_EINVAL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_log_line_has_level_message_and_pairs),
      tt_test(test_log_hostile_value_stays_on_one_line),
      tt_test(test_log_below_level_writes_nothing),
      tt_test(test_log_long_value_is_cut_and_marked),
      tt_test(test_log_with_clock_begins_with_time),
      tt_test(test_log_fd_sink_writes_the_line),
      tt_test(test_log_level_names_parse_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
