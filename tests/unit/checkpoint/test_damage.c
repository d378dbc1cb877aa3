/* Damage of every kind to every file of a checkpoint in shards: it is found before anything is
 * used, and the older checkpoint is taken. The intact one is found whole between any two cases. */
#include "tests/lib/tt.h"

#include "engine/checkpoint/load.h"
#include "proto/base/mem.h"
#include "tests/unit/checkpoint/plan.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FILES = 16, PADDING_STRIDE = 61 };

/* Two checkpoints of one job, steps 12 and 13; all damage is done to the newer one. */
struct fixture {
  struct test_plan p;
  char newer[1024];
  char names[MAX_FILES][64]; /* its files, MANIFEST included */
  int n_names;
};

static void list_files(struct fixture *f) {
  DIR *d = opendir(f->newer);
  assert_non_null(d);
  for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
    if (e->d_name[0] != '.') {
      assert_true(f->n_names < MAX_FILES);
      snprintf(f->names[f->n_names++], sizeof f->names[0], "%.63s", e->d_name);
    }
  }
  closedir(d);
}

static void make_fixture(struct fixture *f, const char *name) {
  memset(f, 0, sizeof *f);
  make_plan(&f->p, tt_tmpfile(name), 1);
  f->p.plan.shard_bytes = 30; /* three shards of each kind and an index */
  save_plan(&f->p);
  f->p.plan.step = 13;
  snprintf(f->newer, sizeof f->newer, "%.1000s", save_plan(&f->p));
  list_files(f);
  assert_int_equal(f->n_names, 8);
}

/* The step that is taken, and how many checkpoints were passed over. */
static void count_rejection(void *ctx, const char *name, const char *why) {
  int *n = ctx;
  assert_string_equal(name, "step-13");
  assert_true(why[0] != 0);
  ++*n;
}

static int64_t taken(const struct fixture *f, int *out_rejected) {
  struct stk_ckpt ck;
  struct sp_err err = {0};
  *out_rejected = 0;
  if (stk_ckpt_open_newest_valid(f->p.plan.parent, true, count_rejection, out_rejected, &ck,
                                 &err) != SP_OK) {
    fail_msg("%s", err.text);
  }
  int64_t step = ck.manifest.step;
  stk_ckpt_close(&ck);
  return step;
}

static void expect_older(const struct fixture *f, const char *what, const char *file, size_t at) {
  int n;
  if (taken(f, &n) != 12 || n != 1) {
    fail_msg("%s of %s at byte %zu was not found", what, file, at);
  }
}

static void expect_newer(const struct fixture *f) {
  int n;
  assert_int_equal(taken(f, &n), 13);
  assert_int_equal(n, 0);
}

static const char *file_path(const struct fixture *f, const char *name) {
  static char paths[2][1200];
  static int turn;
  char *path = paths[turn++ % 2];
  snprintf(path, sizeof paths[0], "%s/%s", f->newer, name);
  return path;
}

static void flip_at(int fd, size_t at, int bit) {
  uint8_t byte;
  assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
  byte = (uint8_t)(byte ^ 1 << bit);
  assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
}

/* Header length, header, payload and every text: each byte; of the padding some. */
static void test_damage_of_any_byte_is_found(void **state) {
  (void)state;
  struct fixture f;
  int n_flips = 0;
  make_fixture(&f, "flips");
  for (int i = 0; i < f.n_names; i++) {
    size_t n;
    char *bytes = tt_read_file(file_path(&f, f.names[i]), &n);
    int fd = open(file_path(&f, f.names[i]), O_RDWR);
    assert_true(fd >= 0);
    for (size_t at = 0; at < n;) {
      flip_at(fd, at, (int)(at % 8));
      expect_older(&f, "a flip", f.names[i], at);
      flip_at(fd, at, (int)(at % 8));
      n_flips++;
      bool padding = at + PADDING_STRIDE < 4096 && n > 4096 && bytes[at] == ' ' &&
                     bytes[at + PADDING_STRIDE] == ' ';
      at += padding ? PADDING_STRIDE : 1;
    }
    close(fd);
    sp_free(bytes);
    expect_newer(&f);
  }
  assert_true(n_flips > 4000);
}

/* Without comparing whole files first, too: a tensor is checked in the memory it was read into. */
static void test_damage_of_any_payload_byte_is_found_by_reading_alone(void **state) {
  (void)state;
  struct fixture f;
  struct stk_ckpt ck;
  struct stk_ckpt_target targets[PLAN_TENSORS];
  int n_flips = 0;
  make_fixture(&f, "payload");
  for (int i = 0; i < PLAN_TENSORS; i++) {
    const struct stk_ckpt_tensor *t = &f.p.tensors[i];
    targets[i] = (struct stk_ckpt_target){
        .name = t->name, .dtype = t->dtype, .rank = t->rank, .data = (void *)(uintptr_t)t->data};
    memcpy(targets[i].dims, t->dims, sizeof targets[i].dims);
  }
  assert_int_equal(stk_ckpt_open(f.newer, &ck, NULL), SP_OK);
  for (size_t i = 0; i < ck.manifest.n_tensors; i++) {
    const struct stk_manifest_tensor *t = &ck.manifest.tensors[i];
    int fd = open(file_path(&f, ck.manifest.files[t->file].name), O_RDWR);
    for (uint64_t at = 0; at < t->bytes; at++) {
      struct sp_err err = {0};
      flip_at(fd, t->offset + at, (int)(at % 8));
      assert_int_equal(stk_ckpt_read(&ck, targets, PLAN_TENSORS, true, &err), SP_ECORRUPT);
      assert_non_null(strstr(err.text, t->name));
      flip_at(fd, t->offset + at, (int)(at % 8));
      n_flips++;
    }
    close(fd);
  }
  assert_int_equal(stk_ckpt_read(&ck, targets, PLAN_TENSORS, true, NULL), SP_OK);
  assert_int_equal(n_flips, (6 + 3 + 3 + 6 + 6) * 4 + 2 * 8);
  stk_ckpt_close(&ck);
}

static bool all_zero(const char *bytes, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (bytes[i]) {
      return false;
    }
  }
  return true;
}

static void test_damage_by_truncation_at_any_border_is_found(void **state) {
  (void)state;
  struct fixture f;
  make_fixture(&f, "cuts");
  for (int i = 0; i < f.n_names; i++) {
    size_t n;
    char *bytes = tt_read_file(file_path(&f, f.names[i]), &n);
    const size_t cuts[] = {0,    1,     7,      8,      9,     100,   4095,
                           4096, n / 2, n - 17, n - 16, n - 8, n - 4, n - 1};
    for (size_t k = 0; k < sizeof cuts / sizeof *cuts; k++) {
      if (cuts[k] < n) {
        assert_int_equal(truncate(file_path(&f, f.names[i]), (off_t)cuts[k]), 0);
        expect_older(&f, "a cut", f.names[i], cuts[k]);
        /* A file that was allocated but never written: as long as it should be, and zero. */
        assert_int_equal(truncate(file_path(&f, f.names[i]), (off_t)n), 0);
        if (!all_zero(bytes + cuts[k], n - cuts[k])) {
          expect_older(&f, "a hole", f.names[i], cuts[k]);
        }
        tt_write_file(file_path(&f, f.names[i]), bytes, n);
      }
    }
    sp_free(bytes);
    expect_newer(&f);
  }
}

static void test_damage_by_extra_bytes_is_found(void **state) {
  (void)state;
  static const size_t extra[] = {1, 16, 512, 4096};
  struct fixture f;
  make_fixture(&f, "extra");
  for (int i = 0; i < f.n_names; i++) {
    size_t n;
    char *bytes = tt_read_file(file_path(&f, f.names[i]), &n);
    char *longer = sp_alloc(n + 4096);
    memcpy(longer, bytes, n);
    for (size_t k = 0; k < sizeof extra / sizeof *extra; k++) {
      memset(longer + n, k % 2 ? ' ' : 0, extra[k]);
      tt_write_file(file_path(&f, f.names[i]), longer, n + extra[k]);
      expect_older(&f, "extra bytes", f.names[i], n);
      /* The checksum's line once more: the text before it has another one. */
      memcpy(longer + n, bytes + n - 16, 16);
    }
    tt_write_file(file_path(&f, f.names[i]), longer, n + 16);
    expect_older(&f, "a second end", f.names[i], n);
    tt_write_file(file_path(&f, f.names[i]), bytes, n);
    sp_free(bytes);
    sp_free(longer);
    expect_newer(&f);
  }
}

static void test_damage_by_a_missing_file_or_none_is_found(void **state) {
  (void)state;
  struct fixture f;
  make_fixture(&f, "missing");
  for (int i = 0; i < f.n_names; i++) {
    const char *path = file_path(&f, f.names[i]);
    const char *aside = file_path(&f, "aside");
    assert_int_equal(rename(path, aside), 0);
    expect_older(&f, "the loss", f.names[i], 0);
    assert_int_equal(mkdir(path, 0700), 0);
    expect_older(&f, "a directory", f.names[i], 0);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_older(&f, "a pipe", f.names[i], 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("aside", path), 0); /* even to the very file */
    expect_older(&f, "a link", f.names[i], 0);
    assert_int_equal(rename(aside, path), 0);
    expect_newer(&f);
  }
}

static void swap(const char *a, const char *b) {
  assert_int_equal(renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE), 0);
}

/* Files that are whole by themselves and have the right size. */
static void test_damage_by_files_from_elsewhere_is_found(void **state) {
  (void)state;
  struct fixture f;
  struct test_plan other;
  char path[1200];
  make_fixture(&f, "swaps");
  /* The same job's step 12; the same step and values of another job. */
  make_plan(&other, tt_tmpfile("swaps-other"), 1);
  other.plan.job = "jest";
  other.plan.step = 13;
  other.plan.shard_bytes = 30;
  char elsewhere[2][1024];
  snprintf(elsewhere[0], sizeof elsewhere[0], "%.1000s/step-12", f.p.plan.parent);
  snprintf(elsewhere[1], sizeof elsewhere[1], "%.1000s", save_plan(&other));
  for (int k = 0; k < 2; k++) {
    for (int i = 0; i < f.n_names; i++) {
      snprintf(path, sizeof path, "%.1000s/%.63s", elsewhere[k], f.names[i]);
      size_t n;
      size_t m;
      char *ours = tt_read_file(file_path(&f, f.names[i]), &n);
      char *theirs = tt_read_file(path, &m);
      bool same = n == m && memcmp(ours, theirs, n) == 0; /* the index of names, say */
      assert_true(n == m || strcmp(f.names[i], "MANIFEST") == 0);
      assert_true(!same || strstr(f.names[i], ".json"));
      tt_write_file(file_path(&f, f.names[i]), theirs, m);
      if (!same) {
        expect_older(&f, k ? "another job's" : "another step's", f.names[i], 0);
      }
      tt_write_file(file_path(&f, f.names[i]), ours, n);
      sp_free(ours);
      sp_free(theirs);
    }
  }
  expect_newer(&f);
  swap(file_path(&f, "optim-00001-of-00003.safetensors"),
       file_path(&f, "optim-00002-of-00003.safetensors"));
  expect_older(&f, "an exchange", "optim", 0);
}

/* A whole checkpoint under the name of another step is neither newer nor older than it says. */
static void test_damage_by_a_directory_under_another_step_is_found(void **state) {
  (void)state;
  struct fixture f;
  char other[1100];
  struct stk_ckpt ck;
  struct stk_ckpt_info *infos;
  size_t n;
  make_fixture(&f, "renamed");
  snprintf(other, sizeof other, "%.1000s/step-14", f.p.plan.parent);
  assert_int_equal(rename(f.newer, other), 0);
  assert_int_equal(stk_ckpt_open_newest_valid(f.p.plan.parent, false, NULL, NULL, &ck, NULL),
                   SP_OK);
  assert_int_equal(ck.manifest.step, 12);
  stk_ckpt_close(&ck);
  assert_int_equal(stk_ckpt_list(f.p.plan.parent, &infos, &n, NULL), SP_OK);
  assert_int_equal(n, 2);
  assert_false(infos[0].valid);
  assert_non_null(strstr(infos[0].why, "manifest is of step 13"));
  assert_true(infos[1].valid && !infos[1].why[0]);
  sp_free(infos);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_damage_of_any_byte_is_found),
      tt_test(test_damage_of_any_payload_byte_is_found_by_reading_alone),
      tt_test(test_damage_by_truncation_at_any_border_is_found),
      tt_test(test_damage_by_extra_bytes_is_found),
      tt_test(test_damage_by_a_missing_file_or_none_is_found),
      tt_test(test_damage_by_files_from_elsewhere_is_found),
      tt_test(test_damage_by_a_directory_under_another_step_is_found),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
