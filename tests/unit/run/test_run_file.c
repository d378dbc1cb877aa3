/* run.json: there and back, what is refused, and which run a path means. */
#include "tests/lib/tt.h"

#include "proto/base/crc32c.h"
#include "proto/base/file.h"
#include "proto/base/mem.h"
#include "proto/run/run_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const args[] = {"--trainer.max_epochs", "3", "two\nlines"};

static struct sp_run_file sample(void) {
  return (struct sp_run_file){.state = SP_RUN_STOPPED,
                              .nonce = "00c0ffee00c0ffee",
                              .boot_id = "5f2c",
                              .slots_dir = "/dev/shm/stoker-0-00c0ffee00c0ffee",
                              .generation = 3,
                              .ranks = 2,
                              .lanes = 4,
                              .pid = 77,
                              .started = {INT64_C(1709210096123456789)},
                              .model = "gpt",
                              .ckpt_dir = "checkpoints",
                              .job_file = "job.yaml",
                              .cwd = "/home/a",
                              .n_args = 3,
                              .args = args};
}

/* A new directory of this name. */
static const char *directory(const char *name) {
  const char *path = tt_tmpfile(name);
  assert_int_equal(sp_mkdir_p(path, 0755, NULL), SP_OK);
  return path;
}

static void test_write_read_comes_back_equal(void **state) {
  (void)state;
  const char *dir = directory("equal");
  struct sp_run_file f = sample(), got;
  struct sp_arena arena = {0};
  assert_int_equal(sp_run_file_write(dir, &f, NULL), SP_OK);
  assert_int_equal(sp_run_file_read(dir, &got, &arena, NULL), SP_OK);
  assert_int_equal(got.format, SP_RUN_FORMAT);
  assert_int_equal(got.state, SP_RUN_STOPPED);
  assert_string_equal(got.nonce, f.nonce);
  assert_string_equal(got.boot_id, f.boot_id);
  assert_string_equal(got.slots_dir, f.slots_dir);
  assert_int_equal(got.generation, 3);
  assert_int_equal(got.ranks, 2);
  assert_int_equal(got.lanes, 4);
  assert_int_equal(got.pid, 77);
  assert_int_equal(got.started.ns, f.started.ns);
  assert_string_equal(got.model, "gpt");
  assert_string_equal(got.ckpt_dir, "checkpoints");
  assert_string_equal(got.job_file, "job.yaml");
  assert_string_equal(got.cwd, "/home/a");
  assert_int_equal(got.n_args, 3);
  assert_string_equal(got.args[2], "two\nlines");
  sp_arena_clear(&arena);
}

static void test_write_wrong_nonce_or_path_is_refused_and_keeps_the_old_file(void **state) {
  (void)state;
  const char *dir = directory("refused");
  struct sp_run_file f = sample(), got;
  struct sp_arena arena = {0};
  assert_int_equal(sp_run_file_write(dir, &f, NULL), SP_OK);
  f.nonce = "../../etc";
  assert_int_equal(sp_run_file_write(dir, &f, NULL), SP_ECORRUPT);
  f.nonce = "00c0";
  assert_int_equal(sp_run_file_write(dir, &f, NULL), SP_ECORRUPT);
  f = sample();
  f.slots_dir = "shm";
  assert_int_equal(sp_run_file_write(dir, &f, NULL), SP_ECORRUPT);
  assert_int_equal(sp_run_file_read(dir, &got, &arena, NULL), SP_OK);
  assert_string_equal(got.nonce, "00c0ffee00c0ffee");
  sp_arena_clear(&arena);
}

static void test_write_null_strings_are_empty(void **state) {
  (void)state;
  const char *dir = directory("null");
  struct sp_run_file f = {.nonce = "00c0ffee"}, got;
  struct sp_arena arena = {0};
  assert_int_equal(sp_run_file_write(dir, &f, NULL), SP_OK);
  assert_int_equal(sp_run_file_read(dir, &got, &arena, NULL), SP_OK);
  assert_string_equal(got.slots_dir, "");
  assert_string_equal(got.model, "");
  assert_int_equal(got.n_args, 0);
  f.nonce = NULL;
  assert_int_equal(sp_run_file_write(dir, &f, NULL), SP_ECORRUPT);
  sp_arena_clear(&arena);
}

static void test_read_any_changed_byte_is_found(void **state) {
  (void)state;
  const char *dir = directory("flip");
  struct sp_run_file f = sample(), got;
  struct sp_arena arena = {0};
  size_t n;
  assert_int_equal(sp_run_file_write(dir, &f, NULL), SP_OK);
  char *path = sp_path_join(dir, SP_RUN_FILE);
  char *text = tt_read_file(path, &n);
  for (size_t i = 0; i + 1 < n; i++) {
    text[i] = (char)(text[i] ^ 4);
    sp_status status = sp_run_file_parse(text, n, &got, &arena, NULL);
    assert_true(status == SP_ECORRUPT || (status == SP_EMISMATCH && i < 16));
    text[i] = (char)(text[i] ^ 4);
    assert_int_equal(sp_run_file_parse(text, i, &got, &arena, NULL), SP_ECORRUPT);
  }
  assert_int_equal(sp_run_file_parse(text, n, &got, &arena, NULL), SP_OK);
  sp_arena_clear(&arena);
  sp_free(text);
  sp_free(path);
}

static void test_read_another_format_says_so(void **state) {
  (void)state;
  static const char text[] = "{\"format\": 2,\n\"shape\": \"another\"}\n";
  struct sp_run_file got;
  struct sp_arena arena = {0};
  struct sp_err err;
  assert_int_equal(sp_run_file_parse(text, sizeof text - 1, &got, &arena, &err), SP_EMISMATCH);
  assert_non_null(strstr(err.text, "format 2"));
}

/* The body of a sample with one member's text replaced, its checksum mended. */
static sp_status parse_with(const char *from, const char *to) {
  const char *dir = directory("mended");
  struct sp_run_file f = sample(), got;
  struct sp_arena arena = {0};
  size_t n;
  char mended[2048];
  assert_int_equal(sp_run_file_write(dir, &f, NULL), SP_OK);
  char *path = sp_path_join(dir, SP_RUN_FILE);
  char *text = tt_read_file(path, &n);
  char *at = strstr(text, from);
  assert_non_null(at);
  *strstr(text, ",\"crc32c\"") = '\0';
  int length =
      snprintf(mended, sizeof mended, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
  uint32_t crc = sp_crc32c(0, mended, (size_t)length);
  length += snprintf(mended + length, sizeof mended - (size_t)length,
                     ",\"crc32c\":\"%08" PRIx32 "\"}\n", crc);
  sp_status status = sp_run_file_parse(mended, (size_t)length, &got, &arena, NULL);
  sp_arena_clear(&arena);
  sp_free(text);
  sp_free(path);
  return status;
}

static void test_read_hostile_members_are_refused(void **state) {
  (void)state;
  assert_int_equal(parse_with("\"pid\": 77", "\"pid\": 78"), SP_OK);
  assert_int_equal(parse_with("\"pid\": 77", "\"pid\": -1"), SP_ECORRUPT);
  assert_int_equal(parse_with("\"pid\": 77", "\"pid\": \"77\""), SP_ECORRUPT);
  assert_int_equal(parse_with("\"pid\": 77", "\"kid\": 77"), SP_ECORRUPT);
  assert_int_equal(parse_with("\"pid\": 77", "\"pid\": 77, \"kid\": 1"), SP_ECORRUPT);
  assert_int_equal(parse_with("00c0ffee00c0ffee\",\n\"boot", "../../../x\",\n\"boot"), SP_ECORRUPT);
  assert_int_equal(parse_with("\"/dev/shm", "\"dev/shm"), SP_ECORRUPT);
  assert_int_equal(parse_with("\"stopped\"", "\"asleep\""), SP_ECORRUPT);
  assert_int_equal(parse_with("\"3\"", "3"), SP_ECORRUPT);
  assert_int_equal(parse_with("\"gpt\"", "\"g\\u0007t\""), SP_ECORRUPT);
}

static void test_read_missing_file_is_not_found(void **state) {
  (void)state;
  struct sp_run_file got;
  struct sp_arena arena = {0};
  assert_int_equal(sp_run_file_read(tt_tmpfile("nowhere"), &got, &arena, NULL), SP_ENOENT);
}

static void make_run(const char *path, int64_t started) {
  struct sp_run_file f = sample();
  f.started.ns = started;
  assert_int_equal(sp_run_file_write(directory(path), &f, NULL), SP_OK);
}

static void found(const char *path, const char *want) {
  char *dir = NULL;
  assert_int_equal(sp_run_find(tt_tmpfile(path), &dir, NULL), SP_OK);
  assert_string_equal(dir, tt_tmpfile(want));
  sp_free(dir);
}

static void test_find_takes_the_run_itself_or_the_newest_below(void **state) {
  (void)state;
  make_run("tree/stoker_logs/version_0", 300);
  make_run("tree/stoker_logs/version_1", 500);
  make_run("tree/other/version_9", 400);
  make_run("tree/a/b/c/d/too_deep", 900);
  make_run("tree/.hidden", 800);
  assert_int_equal(symlink(tt_tmpfile("tree/.hidden"), tt_tmpfile("tree/link")), 0);
  found("tree/stoker_logs/version_0", "tree/stoker_logs/version_0");
  found("tree/stoker_logs", "tree/stoker_logs/version_1");
  found("tree", "tree/stoker_logs/version_1");
}

static void test_find_without_a_run_is_not_found(void **state) {
  (void)state;
  char *dir = NULL;
  struct sp_err err;
  assert_int_equal(sp_run_find(directory("empty"), &dir, &err), SP_ENOENT);
  assert_non_null(strstr(err.text, "run.json"));
  assert_int_equal(sp_run_find(tt_tmpfile("nowhere"), &dir, &err), SP_ENOENT);
}

static void test_find_a_damaged_run_named_itself_is_that_run(void **state) {
  (void)state;
  directory("damaged");
  make_run("damaged/inner", 1);
  tt_write_file(tt_tmpfile("damaged/run.json"), "{}", 2);
  found("damaged", "damaged");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_write_read_comes_back_equal),
      tt_test(test_write_wrong_nonce_or_path_is_refused_and_keeps_the_old_file),
      tt_test(test_write_null_strings_are_empty),
      tt_test(test_read_any_changed_byte_is_found),
      tt_test(test_read_another_format_says_so),
      tt_test(test_read_hostile_members_are_refused),
      tt_test(test_read_missing_file_is_not_found),
      tt_test(test_find_takes_the_run_itself_or_the_newest_below),
      tt_test(test_find_without_a_run_is_not_found),
      tt_test(test_find_a_damaged_run_named_itself_is_that_run),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
