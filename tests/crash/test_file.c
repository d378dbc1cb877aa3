/* Power loss while a small file is replaced or a directory made: sp_file_replace, sp_mkdir_p and
 * the run directories that are made with them. */
#include "tests/lib/tt.h"

#include "engine/trainer/loggers/rundir.h"
#include "proto/base/file.h"
#include "proto/base/mem.h"
#include "tests/crash/crash.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OLD_BYTES = 700, NEW_BYTES = 1300 };

static void fill(char *text, size_t n, char c) {
  memset(text, c, n);
  text[n] = 0;
}

/* ctx: the least mark from which the file must exist, of which the contents follow the mark. */
static bool check_file(void *ctx, const char *root, int mark, char why[512]) {
  const int *must_exist = ctx;
  char path[4096];
  char want[2][NEW_BYTES + 1];
  char *got;
  size_t n;
  snprintf(path, sizeof path, "%.4000s/a/b/file", root);
  fill(want[0], OLD_BYTES, 'o');
  fill(want[1], NEW_BYTES, 'n');
  if (sp_file_read(path, 1 << 16, &got, &n, NULL) != SP_OK) {
    snprintf(why, 512, "there is no file");
    return mark < *must_exist;
  }
  bool old = n == OLD_BYTES && memcmp(got, want[0], n) == 0;
  bool new = n == NEW_BYTES &&memcmp(got, want[1], n) == 0;
  snprintf(why, 512, "%zu bytes that begin with '%.3s'", n, got);
  sp_free(got);
  return new || (old && mark < 2);
}

static bool of_file(const struct cr_note *n) {
  return strstr(n->to, "/file.tmp-") != NULL;
}

static bool of_directory(const struct cr_note *n) {
  return strcmp(n->to, "/a/b") == 0;
}

static bool of_new_directories(const struct cr_note *n) {
  return strcmp(n->to, "/a") == 0 || strcmp(n->to, "/") == 0;
}

/* Writes the old contents and the new ones, into directories that are made for it. */
static struct cr_replay replace(bool (*forget)(const struct cr_note *)) {
  static int turn;
  struct cr_record r;
  char text[NEW_BYTES + 1];
  char name[32];
  char path[4096];
  int must_exist = 1;
  snprintf(name, sizeof name, "replace%d", turn++);
  const char *root = tt_tmpfile(name);
  assert_int_equal(mkdir(root, 0755), 0);
  cr_start(&r, root);
  snprintf(path, sizeof path, "%.4000s/a/b", root);
  assert_int_equal(sp_mkdir_p(path, 0755, NULL), SP_OK);
  snprintf(path, sizeof path, "%.4000s/a/b/file", root);
  fill(text, OLD_BYTES, 'o');
  assert_int_equal(sp_file_replace(path, text, OLD_BYTES, 0644, NULL), SP_OK);
  cr_mark(&r, 1);
  fill(text, NEW_BYTES, 'n');
  assert_int_equal(sp_file_replace(path, text, NEW_BYTES, 0644, NULL), SP_OK);
  cr_mark(&r, 2);
  cr_stop();
  struct cr_replay p = {
      .check = check_file, .ctx = &must_exist, .forget = forget, .seed = 7, .max_bits = 12};
  cr_replay(&r, &p);
  cr_free(&r);
  return p;
}

static void test_replace_leaves_the_old_or_the_new_contents(void **state) {
  (void)state;
  struct cr_replay p = replace(NULL);
  cr_assert_right(&p);
  assert_true(p.n_trees >= 20);
}

static void test_replace_without_a_sync_is_noticed(void **state) {
  (void)state;
  assert_true(replace(of_file).n_wrong > 0);
  assert_true(replace(of_directory).n_wrong > 0);
  assert_true(replace(of_new_directories).n_wrong > 0);
}

static bool check_run(void *ctx, const char *root, int mark, char why[512]) {
  (void)ctx;
  char path[4096];
  snprintf(path, sizeof path, "%.3000s/logs/name/version_0/file", root);
  snprintf(why, 512, "the run's file is lost");
  return mark == 0 || access(path, F_OK) == 0;
}

static bool of_versions(const struct cr_note *n) {
  return strcmp(n->to, "/logs/name") == 0;
}

static void test_rundir_is_durable_before_anything_is_in_it(void **state) {
  (void)state;
  for (int k = 0; k < 2; k++) {
    struct cr_record r;
    char save_dir[4096];
    char *run;
    const char *root = tt_tmpfile(k ? "rundir1" : "rundir0");
    assert_int_equal(mkdir(root, 0755), 0);
    snprintf(save_dir, sizeof save_dir, "%.4000s/logs", root);
    cr_start(&r, root);
    assert_int_equal(stk_rundir_create(save_dir, "name", NULL, &run, NULL), SP_OK);
    assert_int_equal(stk_rundir_write(run, "file", "x", 1, NULL), SP_OK);
    cr_mark(&r, 1);
    cr_stop();
    struct cr_replay p = {.check = check_run, .seed = 3, .forget = k ? of_versions : NULL};
    cr_replay(&r, &p);
    if (k == 0 && p.n_wrong) {
      fail_msg("%s", p.first_wrong);
    }
    assert_true(k == 0 || p.n_wrong > 0);
    sp_free(run);
    cr_free(&r);
  }
}

/* The model itself: what a disk may keep of three plain steps is counted by hand. */
static bool count(void *ctx, const char *root, int mark, char why[512]) {
  (void)mark;
  (void)why;
  int *n = ctx;
  char path[4096];
  struct stat st;
  snprintf(path, sizeof path, "%.4000s/f", root);
  bool there = stat(path, &st) == 0;
  n[!there ? 0 : st.st_size == 0 ? 1 : 2]++;
  return true;
}

static void test_model_of_create_write_and_sync(void **state) {
  (void)state;
  struct cr_record r;
  int n[3] = {0};
  const char *root = tt_tmpfile("model");
  assert_int_equal(mkdir(root, 0755), 0);
  cr_start(&r, root);
  int dir = open(root, O_RDONLY | O_DIRECTORY);
  int fd = sp_fs_open(dir, "f", O_WRONLY | O_CREAT, 0644);
  assert_int_equal(sp_fs_write(fd, "abc", 3), 3);
  assert_int_equal(sp_fs_fsync(fd), 0);
  assert_int_equal(sp_fs_fsync(dir), 0);
  cr_mark(&r, 1);
  sp_fs_close(fd);
  close(dir);
  cr_stop();
  assert_int_equal(r.n_notes, 5);
  struct cr_replay p = {.check = count, .ctx = n, .seed = 1, .n_random = 10};
  cr_replay(&r, &p);
  /* By trees and marks: no file; an empty one; three zeros, junk, or the data; at the end the data
   * alone, once more for the mark. */
  assert_int_equal(n[0], 1);
  assert_int_equal(n[1], 1);
  assert_int_equal(n[2], 4);
  cr_free(&r);
}

int main(void) {
  cr_use_memory();
  const struct CMUnitTest tests[] = {
      tt_test(test_model_of_create_write_and_sync),
      tt_test(test_replace_leaves_the_old_or_the_new_contents),
      tt_test(test_replace_without_a_sync_is_noticed),
      tt_test(test_rundir_is_durable_before_anything_is_in_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
