/* audit.log: the text of a record, the chain, a writer that goes on where it stood, torn and
 * changed files. */
#include "tests/lib/tt.h"

#include "proto/base/file.h"
#include "proto/base/mem.h"
#include "proto/base/sha256.h"
#include "proto/run/audit_log.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *directory(const char *name) {
  const char *path = tt_tmpfile(name);
  assert_int_equal(sp_mkdir_p(path, 0755, NULL), SP_OK);
  return path;
}

static struct sp_audit_record record(int64_t step) {
  struct sp_audit_record r = {.step = step};
  for (size_t i = 0; i < sizeof r.digest; i++) {
    r.digest[i] = (uint8_t)((size_t)step * 7 + i);
  }
  r.tag[1][2] = (uint8_t)step;
  return r;
}

/* Steps [lo, hi) go into the log of dir, which is opened at lo. */
static void write_steps(const char *dir, int64_t lo, int64_t hi) {
  struct sp_audit_writer w;
  struct sp_err err = {0};
  assert_int_equal(sp_audit_open(dir, lo, &w, &err), SP_OK);
  for (int64_t step = lo; step < hi; step++) {
    struct sp_audit_record r = record(step);
    assert_int_equal(sp_audit_put(&w, &r, &err), SP_OK);
  }
  assert_int_equal(sp_audit_sync(&w, &err), SP_OK);
  sp_audit_close(&w);
}

static char *contents(const char *dir, const char *name, size_t *out_n) {
  char path[PATH_MAX], *text = NULL;
  snprintf(path, sizeof path, "%s/%s", dir, name);
  assert_int_equal(sp_file_read(path, 1 << 20, &text, out_n, NULL), SP_OK);
  return text;
}

static void assert_same(const char *a, const char *b) {
  size_t na, nb;
  char *x = contents(a, SP_AUDIT_FILE, &na), *y = contents(b, SP_AUDIT_FILE, &nb);
  assert_int_equal(na, nb);
  assert_memory_equal(x, y, na);
  sp_free(x);
  sp_free(y);
}

static void flip(const char *dir, off_t at, char with) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/%s", dir, SP_AUDIT_FILE);
  int fd = open(path, O_WRONLY);
  assert_true(fd >= 0);
  assert_int_equal(pwrite(fd, &with, 1, at), 1);
  close(fd);
}

static void cut(const char *dir, off_t bytes) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/%s", dir, SP_AUDIT_FILE);
  assert_int_equal(truncate(path, bytes), 0);
}

static void assert_steps(const char *dir, int64_t first, int64_t n) {
  struct sp_audit_reader r;
  struct sp_err err = {0};
  if (sp_audit_read_open(dir, &r, &err) != SP_OK) {
    fail_msg("%s", err.text);
  }
  assert_int_equal(r.first, first);
  assert_int_equal(r.n, n);
  if (sp_audit_check(&r, first, first + n, &err) != SP_OK) {
    fail_msg("%s", err.text);
  }
  for (int64_t step = first; step < first + n; step++) {
    struct sp_audit_record got, want = record(step);
    assert_int_equal(sp_audit_get(&r, step, &got, &err), SP_OK);
    assert_memory_equal(got.digest, want.digest, sizeof want.digest);
    assert_memory_equal(got.tag, want.tag, sizeof want.tag);
  }
  sp_audit_read_close(&r);
}

static void test_record_text_and_back(void **state) {
  (void)state;
  char text[SP_AUDIT_RECORD];
  struct sp_audit_record r = record(5), got;
  static const uint8_t none[SP_AUDIT_DIGEST];
  sp_audit_link(none, r.step, r.digest, r.link);
  sp_audit_format(&r, text);
  static const char want[] =
      "0000000000000005 232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f404142 "
      "00000000 00000500 00000000 00000000 "
      "19d15ad91496c7e218914ba0fc1340b73283b4bff52adf2f38709a7f34203b2d 701b1917";
  assert_memory_equal(text, want, sizeof want - 1);
  assert_int_equal(text[SP_AUDIT_RECORD - 1], '\n');
  assert_int_equal(sp_audit_parse(text, &got, NULL), SP_OK);
  assert_memory_equal(&got, &r, sizeof r);
}

static void test_record_any_changed_byte_shows(void **state) {
  (void)state;
  char text[SP_AUDIT_RECORD];
  struct sp_audit_record r = record(1234567), got;
  sp_audit_format(&r, text);
  for (size_t i = 0; i < sizeof text; i++) {
    for (int bit = 0; bit < 8; bit++) {
      text[i] = (char)(text[i] ^ 1 << bit);
      assert_int_equal(sp_audit_parse(text, &got, NULL), SP_ECORRUPT);
      text[i] = (char)(text[i] ^ 1 << bit);
    }
  }
}

static void test_link_covers_step_digest_and_what_was_before(void **state) {
  (void)state;
  uint8_t before[SP_AUDIT_DIGEST] = {1}, digest[SP_AUDIT_DIGEST] = {2}, a[SP_AUDIT_DIGEST],
          b[SP_AUDIT_DIGEST], text[72] = {1}, want[SP_AUDIT_DIGEST];
  text[32] = 9; /* the step, low byte first */
  text[40] = 2;
  sp_sha256_of(text, sizeof text, want);
  sp_audit_link(before, 9, digest, a);
  assert_memory_equal(a, want, sizeof want);
  sp_audit_link(before, 10, digest, b);
  assert_memory_not_equal(a, b, sizeof a);
  digest[31] ^= 1;
  sp_audit_link(before, 9, digest, b);
  assert_memory_not_equal(a, b, sizeof a);
  digest[31] ^= 1;
  before[31] ^= 1;
  sp_audit_link(before, 9, digest, b);
  assert_memory_not_equal(a, b, sizeof a);
}

static void test_writer_in_parts_is_the_whole(void **state) {
  (void)state;
  const char *whole = directory("whole"), *parts = directory("parts");
  write_steps(whole, 0, 9);
  write_steps(parts, 0, 4);
  write_steps(parts, 4, 7);
  write_steps(parts, 5, 9); /* from an older checkpoint: step 5 and 6 are done again */
  assert_same(whole, parts);
  assert_steps(whole, 0, 9);
}

static void test_writer_open_cuts_what_comes_later(void **state) {
  (void)state;
  const char *dir = directory("later");
  struct sp_audit_writer w;
  write_steps(dir, 2, 9);
  assert_int_equal(sp_audit_open(dir, 6, &w, NULL), SP_OK);
  sp_audit_close(&w);
  assert_steps(dir, 2, 4);
}

static void test_writer_drops_a_step_that_stands(void **state) {
  (void)state;
  const char *whole = directory("once"), *again = directory("again");
  struct sp_audit_writer w;
  write_steps(whole, 0, 6);
  write_steps(again, 0, 4);
  assert_int_equal(sp_audit_open(again, 6, &w, NULL), SP_OK); /* of a run whose rows wait */
  for (int64_t step = 2; step < 6; step++) {
    struct sp_audit_record r = record(step);
    assert_int_equal(sp_audit_put(&w, &r, NULL), SP_OK);
  }
  assert_int_equal(sp_audit_flush(&w, NULL), SP_OK);
  sp_audit_close(&w);
  assert_same(whole, again);
}

static void test_writer_cuts_a_torn_or_damaged_end(void **state) {
  (void)state;
  const char *whole = directory("sound"), *torn = directory("torn");
  write_steps(whole, 0, 8);
  for (int bytes = 1; bytes < SP_AUDIT_RECORD; bytes += 38) {
    write_steps(torn, 0, 6);
    cut(torn, 6 * SP_AUDIT_RECORD + bytes); /* five steps and a piece */
    assert_steps(torn, 0, 5);
    write_steps(torn, 5, 8);
    assert_same(whole, torn);
    cut(torn, 0);
  }
  write_steps(torn, 0, 6);
  flip(torn, 6 * SP_AUDIT_RECORD + 30, 'x');
  write_steps(torn, 5, 8);
  assert_same(whole, torn);
}

static void test_writer_gap_begins_a_new_file(void **state) {
  (void)state;
  const char *dir = directory("gap");
  size_t n;
  write_steps(dir, 0, 4);
  write_steps(dir, 6, 9);
  assert_steps(dir, 6, 3);
  char *old = contents(dir, SP_AUDIT_OLD_FILE, &n);
  assert_int_equal(n, 5 * SP_AUDIT_RECORD);
  sp_free(old);
}

static void test_writer_puts_aside_what_is_no_log(void **state) {
  (void)state;
  const char *dir = directory("strange");
  write_steps(dir, 3, 5);
  flip(dir, 10, '?');
  write_steps(dir, 5, 8);
  assert_steps(dir, 5, 3);
  write_steps(dir, 2, 4); /* goes on before the file begins */
  assert_steps(dir, 2, 2);
}

static void test_check_names_the_step_that_was_changed(void **state) {
  (void)state;
  const char *dir = directory("changed");
  struct sp_audit_reader r;
  struct sp_audit_record got;
  struct sp_err err = {0};
  write_steps(dir, 10, 20);
  flip(dir, 5 * SP_AUDIT_RECORD + 40, 'g');
  assert_int_equal(sp_audit_read_open(dir, &r, &err), SP_OK);
  assert_int_equal(sp_audit_check(&r, 10, 14, &err), SP_OK);
  assert_int_equal(sp_audit_check(&r, 10, 20, &err), SP_ECORRUPT);
  assert_non_null(strstr(err.text, "step 14 "));
  assert_int_equal(sp_audit_get(&r, 14, &got, &err), SP_ECORRUPT);
  assert_int_equal(sp_audit_get(&r, 20, &got, &err), SP_ERANGE);
  assert_int_equal(sp_audit_get(&r, 9, &got, &err), SP_ERANGE);
  sp_audit_read_close(&r);
}

/* A record that somebody made anew, checksum and all, does not fit the chain. */
static void test_check_finds_a_forged_record(void **state) {
  (void)state;
  const char *dir = directory("forged");
  char path[PATH_MAX], text[SP_AUDIT_RECORD];
  struct sp_audit_reader r;
  struct sp_audit_record at;
  struct sp_err err = {0};
  write_steps(dir, 0, 6);
  assert_int_equal(sp_audit_read_open(dir, &r, &err), SP_OK);
  assert_int_equal(sp_audit_get(&r, 3, &at, &err), SP_OK);
  at.digest[0] ^= 1;
  sp_audit_format(&at, text);
  snprintf(path, sizeof path, "%s/%s", dir, SP_AUDIT_FILE);
  int fd = open(path, O_WRONLY);
  assert_int_equal(pwrite(fd, text, sizeof text, 4 * SP_AUDIT_RECORD), (ssize_t)sizeof text);
  close(fd);
  assert_int_equal(sp_audit_check(&r, 0, 6, &err), SP_ECORRUPT);
  assert_non_null(strstr(err.text, "step 3"));
  assert_int_equal(sp_audit_check(&r, 4, 6, &err), SP_OK);
  sp_audit_read_close(&r);
}

static void test_read_open_without_a_file_says_so(void **state) {
  (void)state;
  struct sp_audit_reader r;
  assert_int_equal(sp_audit_read_open(directory("empty"), &r, NULL), SP_ENOENT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_record_text_and_back),
      cmocka_unit_test(test_record_any_changed_byte_shows),
      cmocka_unit_test(test_link_covers_step_digest_and_what_was_before),
      cmocka_unit_test(test_writer_in_parts_is_the_whole),
      cmocka_unit_test(test_writer_open_cuts_what_comes_later),
      cmocka_unit_test(test_writer_drops_a_step_that_stands),
      cmocka_unit_test(test_writer_cuts_a_torn_or_damaged_end),
      cmocka_unit_test(test_writer_gap_begins_a_new_file),
      cmocka_unit_test(test_writer_puts_aside_what_is_no_log),
      cmocka_unit_test(test_check_names_the_step_that_was_changed),
      cmocka_unit_test(test_check_finds_a_forged_record),
      cmocka_unit_test(test_read_open_without_a_file_says_so),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
