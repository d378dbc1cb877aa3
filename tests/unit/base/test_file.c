/* proto/base/file.h: whole reads with a cap, atomic replacement, directories, paths. */
#include "tests/lib/tt.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/fault.h"
#include "proto/base/file.h"
#include "proto/base/mem.h"

static int count_entries(const char *path) {
  DIR *dir = opendir(path);
  int n = 0;
  assert_non_null(dir);
  for (struct dirent *entry; (entry = readdir(dir));) {
    n += entry->d_name[0] != '.';
  }
  closedir(dir);
  return n;
}

static void test_file_read_returns_contents_and_zero(void **state) {
  (void)state;
  char *data;
  size_t n;
  const char *path = tt_tmpfile("read");
  tt_write_file(path, "a\0b", 3);
  assert_int_equal(sp_file_read(path, 3, &data, &n, NULL), SP_OK);
  assert_int_equal(n, 3);
  assert_memory_equal(data, "a\0b", 4);
  sp_free(data);
}

static void test_file_read_empty_file_is_empty_text(void **state) {
  (void)state;
  char *data;
  size_t n = 9;
  const char *path = tt_tmpfile("empty");
  tt_write_file(path, "", 0);
  assert_int_equal(sp_file_read(path, 0, &data, &n, NULL), SP_OK);
  assert_int_equal(n, 0);
  assert_string_equal(data, "");
  sp_free(data);
}

static void test_file_read_over_cap_is_refused(void **state) {
  (void)state;
  char *data = NULL;
  size_t n;
  struct sp_err err;
  static char big[200000];
  const char *path = tt_tmpfile("big");
  tt_write_file(path, big, sizeof big);
  assert_int_equal(sp_file_read(path, sizeof big - 1, &data, &n, &err), SP_ERANGE);
  assert_null(data);
  assert_non_null(strstr(err.text, path));
  assert_int_equal(sp_file_read(path, sizeof big, &data, &n, &err), SP_OK);
  assert_int_equal(n, sizeof big);
  sp_free(data);
}

static void test_file_read_missing_file_names_it(void **state) {
  (void)state;
  char *data;
  size_t n;
  struct sp_err err;
  assert_int_equal(sp_file_read(tt_tmpfile("none"), 10, &data, &n, &err), SP_ENOENT);
  assert_non_null(strstr(err.text, "none: No such file"));
}

static void test_file_read_without_memory_leaks_nothing(void **state) {
  (void)state;
  char *data;
  size_t n;
  const char *path = tt_tmpfile("oom");
  tt_write_file(path, "abc", 3);
  for (long i = 1;; i++) {
    tt_fail_alloc(i);
    sp_status status = sp_file_read(path, 100, &data, &n, NULL);
    if (!tt_alloc_failed()) {
      assert_int_equal(status, SP_OK);
      break;
    }
    assert_int_equal(status, SP_ENOMEM);
  }
  sp_free(data);
}

static void test_file_replace_swaps_contents_and_leaves_no_other_file(void **state) {
  (void)state;
  const char *dir = tt_tmpfile("replace");
  const char *path = tt_tmpfile("replace/state");
  struct stat st;
  assert_int_equal(sp_mkdir_p(dir, 0700, NULL), SP_OK);
  assert_int_equal(sp_file_replace(path, "old", 3, 0600, NULL), SP_OK);
  assert_int_equal(sp_file_replace(path, "newer", 5, 0600, NULL), SP_OK);
  char *text = tt_read_file(path, NULL);
  assert_string_equal(text, "newer");
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  assert_int_equal(count_entries(dir), 1);
  sp_free(text);
}

static void test_file_temporary_names_are_told_from_others(void **state) {
  (void)state;
  static const char *const temporary[] = {"run.json.tmp-28806-0", "a.tmp-b.tmp-1-99", "a.tmp-1-2"};
  static const char *const other[] = {"run.json",       "run.json.tmp-",    "run.json.tmp-28806",
                                      "tmp-3-1-0123ab", "a.tmp-28806-",     "a.tmp--0",
                                      ".tmp-28806-0",   "a.tmp-28806-0.gz", "predictions.tmp-x-0"};
  for (size_t i = 0; i < sizeof temporary / sizeof *temporary; i++) {
    assert_true(sp_file_is_temporary(temporary[i]));
  }
  for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
    assert_false(sp_file_is_temporary(other[i]));
  }
}

static void test_file_replace_failure_keeps_the_old_file(void **state) {
  (void)state;
  struct sp_err err;
  const char *dir = tt_tmpfile("kept");
  assert_int_equal(sp_mkdir_p(tt_tmpfile("kept/target/inside"), 0700, NULL), SP_OK);
  /* Renaming a file over a directory that is not empty fails at the last moment. */
  assert_int_not_equal(sp_file_replace(tt_tmpfile("kept/target"), "x", 1, 0600, &err), SP_OK);
  assert_int_equal(count_entries(dir), 1);
  assert_int_equal(sp_file_replace(tt_tmpfile("kept/no/file"), "x", 1, 0600, &err), SP_ENOENT);
}

#ifdef STOKER_FAULTS
static void test_file_replace_full_disk_keeps_the_old_file(void **state) {
  (void)state;
  struct sp_err err;
  const char *path = tt_tmpfile("full");
  assert_int_equal(sp_file_replace(path, "old", 3, 0600, NULL), SP_OK);
  setenv("STOKER_FAULT", "file.write:1:errno=EINTR,file.write:2:errno=ENOSPC", 1);
  assert_int_equal(sp_file_replace(path, "new", 3, 0600, &err), SP_ENOSPC);
  unsetenv("STOKER_FAULT");
  char *text = tt_read_file(path, NULL);
  assert_string_equal(text, "old");
  sp_free(text);
}
#endif

static void test_read_exact_short_file_is_corrupt(void **state) {
  (void)state;
  char bytes[8];
  struct sp_err err;
  const char *path = tt_tmpfile("short");
  tt_write_file(path, "12345", 5);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  assert_int_equal(sp_read_exact(fd, bytes, 4, path, &err), SP_OK);
  assert_int_equal(sp_read_exact(fd, bytes, 8, "header", &err), SP_ECORRUPT);
  assert_string_equal(err.text, "header: ends 7 bytes too early");
  close(fd);
}

static void test_write_all_closed_pipe_is_an_error(void **state) {
  (void)state;
  int ends[2];
  struct sp_err err;
  assert_int_equal(pipe(ends), 0);
  close(ends[0]);
  void (*before)(int) = signal(SIGPIPE, SIG_IGN);
  assert_int_equal(sp_write_all(ends[1], "x", 1, "pipe", &err), SP_EIO);
  signal(SIGPIPE, before);
  close(ends[1]);
}

static void test_pwrite_all_writes_at_the_offset(void **state) {
  (void)state;
  const char *path = tt_tmpfile("offset");
  tt_write_file(path, "abcdef", 6);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  assert_int_equal(sp_pwrite_all(fd, "XY", 2, 2, path, NULL), SP_OK);
  close(fd);
  char *text = tt_read_file(path, NULL);
  assert_string_equal(text, "abXYef");
  sp_free(text);
}

static void test_mkdir_p_creates_parents_and_accepts_existing(void **state) {
  (void)state;
  struct stat st;
  const char *path = tt_tmpfile("p//q/r/");
  assert_int_equal(sp_mkdir_p(path, 0755, NULL), SP_OK);
  assert_int_equal(sp_mkdir_p(path, 0755, NULL), SP_OK);
  assert_int_equal(stat(path, &st), 0);
  assert_true(S_ISDIR(st.st_mode));
}

static void test_mkdir_p_file_in_the_way_is_refused(void **state) {
  (void)state;
  struct sp_err err;
  tt_write_file(tt_tmpfile("file"), "", 0);
  assert_int_equal(sp_mkdir_p(tt_tmpfile("file/sub"), 0755, &err), SP_EEXIST);
  assert_non_null(strstr(err.text, "a file of that name is there"));
}

static void check_dirname(const char *path, const char *want) {
  char *directory = sp_path_dirname(path);
  assert_string_equal(directory, want);
  sp_free(directory);
}

static void test_path_dirname_of_every_form(void **state) {
  (void)state;
  check_dirname("file", ".");
  check_dirname("a/b", "a");
  check_dirname("a//b", "a");
  check_dirname("/b", "/");
  check_dirname("//b", "/");
  check_dirname("a/b/", "a/b");
}

static void check_join(const char *directory, const char *name, const char *want) {
  char *path = sp_path_join(directory, name);
  assert_string_equal(path, want);
  sp_free(path);
}

static void test_path_join_of_every_form(void **state) {
  (void)state;
  check_join("a", "b", "a/b");
  check_join("a//", "b", "a/b");
  check_join("/", "b", "/b");
  check_join("a", "/b", "/b");
  check_join("", "b", "b");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_file_read_returns_contents_and_zero),
      tt_test(test_file_read_empty_file_is_empty_text),
      tt_test(test_file_read_over_cap_is_refused),
      tt_test(test_file_read_missing_file_names_it),
      tt_test(test_file_read_without_memory_leaks_nothing),
      tt_test(test_file_replace_swaps_contents_and_leaves_no_other_file),
      tt_test(test_file_temporary_names_are_told_from_others),
      tt_test(test_file_replace_failure_keeps_the_old_file),
#ifdef STOKER_FAULTS
      tt_test(test_file_replace_full_disk_keeps_the_old_file),
#endif
      tt_test(test_read_exact_short_file_is_corrupt),
      tt_test(test_write_all_closed_pipe_is_an_error),
      tt_test(test_pwrite_all_writes_at_the_offset),
      tt_test(test_mkdir_p_creates_parents_and_accepts_existing),
      tt_test(test_mkdir_p_file_in_the_way_is_refused),
      tt_test(test_path_dirname_of_every_form),
      tt_test(test_path_join_of_every_form),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
