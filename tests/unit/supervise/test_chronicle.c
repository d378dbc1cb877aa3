/* Appending to the chronicle through everything that can go wrong with its file. */
#include "tests/lib/tt.h"

#include "proto/base/file.h"
#include "proto/base/mem.h"
#include "worker/supervise/chronicle.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

struct fixture {
  const char *dir;
  const char *path;
  struct sp_manual_clock clock;
  struct sw_chronicle c;
  int n_told;
  char told[512];
};

static void tell(void *ctx, const char *text) {
  struct fixture *f = ctx;
  f->n_told++;
  snprintf(f->told, sizeof f->told, "%s", text);
}

static void begin(struct fixture *f, const char *name) {
  char file[64];
  *f = (struct fixture){.dir = tt_tmpfile(name)};
  snprintf(file, sizeof file, "%s/" SP_CHRONICLE_FILE, name);
  f->path = tt_tmpfile(file);
  sp_manual_clock_init(&f->clock);
  sp_manual_clock_advance(&f->clock, 1000);
  assert_int_equal(sp_mkdir_p(f->dir, 0755, NULL), SP_OK);
  sw_chronicle_open(&f->c, f->dir, &f->clock.clock, tell, f);
}

static void append(struct fixture *f, int64_t step) {
  struct sp_chronicle_entry e = sp_chronicle_entry(SP_CHRONICLE_GENERATION);
  e.generation = 1;
  e.step = step;
  sw_chronicle_append(&f->c, &e);
}

/* The steps of the whole entries as text, "1:10 2:20": seq:step; "!" for a line that is none. */
static const char *contents(const struct fixture *f) {
  static char text[512];
  struct sp_chronicle_reader r = {0};
  struct sp_chronicle_entry e;
  size_t n, used = 0;
  char *bytes = tt_read_file(f->path, &n);
  assert_int_equal(sp_chronicle_feed(&r, bytes, n, NULL), SP_OK);
  text[0] = '\0';
  for (bool have = true;;) {
    sp_status status = sp_chronicle_next(&r, &e, &have, NULL);
    if (!have) {
      break;
    }
    used += (size_t)(status == SP_OK ? snprintf(text + used, sizeof text - used, "%s%d:%d",
                                                used ? " " : "", (int)e.seq, (int)e.step)
                                     : snprintf(text + used, sizeof text - used, "!"));
  }
  if (r.offset != (int64_t)n) {
    snprintf(text + used, sizeof text - used, " torn");
  }
  sp_chronicle_reader_fini(&r);
  sp_free(bytes);
  return text;
}

static void test_append_counts_and_stamps(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, "counts");
  append(&f, 10);
  sp_manual_clock_advance(&f.clock, 5);
  append(&f, 20);
  assert_string_equal(contents(&f), "1:10 2:20");
  size_t n;
  char *bytes = tt_read_file(f.path, &n);
  assert_non_null(strstr(bytes, "\"time\":\"1970-01-01T00:00:00.000001000Z\",\"mono_ns\":1000,"));
  assert_non_null(strstr(bytes, "\"time\":\"1970-01-01T00:00:00.000001005Z\",\"mono_ns\":1005,"));
  assert_int_equal(f.n_told, 0);
  sp_free(bytes);
  sw_chronicle_close(&f.c);
}

static void test_open_goes_on_behind_what_is_there(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, "goes_on");
  append(&f, 10);
  sw_chronicle_close(&f.c);
  begin(&f, "goes_on");
  append(&f, 20);
  assert_string_equal(contents(&f), "1:10 2:20");
  sw_chronicle_close(&f.c);
}

static void test_open_cuts_a_torn_last_line(void **state) {
  (void)state;
  static const char *const tails[] = {"{\"seq\":2,", "{\"seq\":2,\"ti\n", "\n\n"};
  for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
    struct fixture f;
    begin(&f, "torn");
    assert_int_equal(ftruncate(f.c.fd, 0), 0);
    f.c.good_bytes = f.c.seq = 0;
    append(&f, 10);
    assert_int_equal(write(f.c.fd, tails[i], strlen(tails[i])), strlen(tails[i]));
    sw_chronicle_close(&f.c);
    begin(&f, "torn");
    append(&f, 20);
    assert_string_equal(contents(&f), "1:10 2:20");
    sw_chronicle_close(&f.c);
  }
}

static void test_open_cuts_what_a_power_loss_left(void **state) {
  (void)state;
  struct fixture f;
  static char zeros[100000];
  begin(&f, "zeros");
  append(&f, 10);
  assert_int_equal(write(f.c.fd, zeros, sizeof zeros), sizeof zeros);
  sw_chronicle_close(&f.c);
  begin(&f, "zeros");
  append(&f, 20);
  assert_string_equal(contents(&f), "1:10 2:20");
  sw_chronicle_close(&f.c);
}

static void test_open_keeps_what_follows_a_damaged_line(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, "damaged");
  append(&f, 10);
  assert_int_equal(write(f.c.fd, "junk\n", 5), 5);
  f.c.good_bytes += 5;
  append(&f, 20);
  sw_chronicle_close(&f.c);
  begin(&f, "damaged");
  append(&f, 30);
  assert_string_equal(contents(&f), "1:10! 2:20 3:30");
  sw_chronicle_close(&f.c);
}

/* Files may grow to this many bytes; the signal that comes with it is ignored. */
static void limit_files(rlim_t bytes) {
  struct rlimit limit;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
  limit.rlim_cur = bytes;
  signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_append_that_fits_in_part_leaves_whole_lines_and_is_told_once(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, "full");
  append(&f, 10);
  limit_files((rlim_t)f.c.good_bytes + 20);
  append(&f, 20);
  append(&f, 30);
  limit_files(RLIM_INFINITY);
  assert_int_equal(f.n_told, 1);
  assert_non_null(strstr(f.told, "the job goes on"));
  assert_string_equal(contents(&f), "1:10");
  append(&f, 40);
  assert_string_equal(contents(&f), "1:10 4:40");
  limit_files((rlim_t)f.c.good_bytes);
  append(&f, 50);
  limit_files(RLIM_INFINITY);
  assert_int_equal(f.n_told, 2);
  sw_chronicle_close(&f.c);
}

static void test_append_after_the_directory_vanished_is_told_and_comes_back(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, "vanished");
  append(&f, 10);
  assert_int_equal(unlink(f.path), 0);
  assert_int_equal(rmdir(f.dir), 0);
  append(&f, 20);
  append(&f, 30);
  assert_int_equal(f.n_told, 1);
  assert_int_equal(sp_mkdir_p(f.dir, 0755, NULL), SP_OK);
  append(&f, 40);
  assert_string_equal(contents(&f), "4:40");
  sw_chronicle_close(&f.c);
}

static void test_append_goes_to_the_file_that_has_the_name(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, "replaced");
  append(&f, 10);
  assert_int_equal(unlink(f.path), 0);
  tt_write_file(f.path, "", 0);
  append(&f, 20);
  assert_string_equal(contents(&f), "2:20");
  sw_chronicle_close(&f.c);
}

static void test_open_where_nothing_can_be_made_is_told_once(void **state) {
  (void)state;
  struct fixture f = {.dir = "/proc/self/nowhere"};
  sp_manual_clock_init(&f.clock);
  sw_chronicle_open(&f.c, f.dir, &f.clock.clock, tell, &f);
  append(&f, 1);
  append(&f, 2);
  assert_int_equal(f.n_told, 1);
  sw_chronicle_close(&f.c);
}

static void test_open_does_not_follow_a_link(void **state) {
  (void)state;
  struct fixture f = {.dir = tt_tmpfile("link")};
  const char *target = tt_tmpfile("target");
  tt_write_file(target, "precious", 8);
  assert_int_equal(sp_mkdir_p(f.dir, 0755, NULL), SP_OK);
  assert_int_equal(symlink(target, tt_tmpfile("link/" SP_CHRONICLE_FILE)), 0);
  sp_manual_clock_init(&f.clock);
  sw_chronicle_open(&f.c, f.dir, &f.clock.clock, tell, &f);
  append(&f, 1);
  assert_int_equal(f.n_told, 1);
  size_t n;
  char *bytes = tt_read_file(target, &n);
  assert_string_equal(bytes, "precious");
  sp_free(bytes);
  sw_chronicle_close(&f.c);
}

static void test_append_without_memory_is_told_and_leaks_nothing(void **state) {
  (void)state;
  struct fixture f;
  begin(&f, "memory");
  for (long n = 1;; n++) {
    f.n_told = 0;
    f.c.failing = false;
    tt_fail_alloc(n);
    append(&f, n);
    bool failed = tt_alloc_failed();
    tt_fail_alloc(0);
    assert_int_equal(f.n_told, failed);
    if (!failed) {
      break;
    }
  }
  sw_chronicle_close(&f.c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_append_counts_and_stamps),
      tt_test(test_open_goes_on_behind_what_is_there),
      tt_test(test_open_cuts_a_torn_last_line),
      tt_test(test_open_cuts_what_a_power_loss_left),
      tt_test(test_open_keeps_what_follows_a_damaged_line),
      tt_test(test_append_that_fits_in_part_leaves_whole_lines_and_is_told_once),
      tt_test(test_append_after_the_directory_vanished_is_told_and_comes_back),
      tt_test(test_append_goes_to_the_file_that_has_the_name),
      tt_test(test_open_where_nothing_can_be_made_is_told_once),
      tt_test(test_open_does_not_follow_a_link),
      tt_test(test_append_without_memory_is_told_and_leaks_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
