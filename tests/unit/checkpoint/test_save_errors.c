/* Every call to the file system failing in turn, with every error that it may give: the save or
 * whatever it was ends with a status and the reason, nothing published is lost, nothing half done
 * stays, no sync is tried again on what it failed for, and once the disk is well again all goes on.
 */
#include "tests/lib/tt.h"

#include "engine/checkpoint/load.h"
#include "proto/base/fs.h"
#include "proto/base/mem.h"
#include "tests/unit/checkpoint/plan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a table that fails */

enum call {
  OPEN,
  CLOSE,
  WRITE,
  PWRITE,
  TRUNCATE,
  ALLOCATE,
  FSYNC,
  FDATASYNC,
  RENAME,
  UNLINK,
  MKDIR,
  SYMLINK,
  N_CALLS
};

enum { SHORT = -1, EVERY = 0 };

struct bad_disk {
  struct sp_fs table;
  enum call call;
  int code;    /* errno, or SHORT: half of a write is done */
  int nth;     /* of that kind, from 1; EVERY */
  int n_calls; /* of that kind so far */
  int n_failed;
  ino_t unsynced[16]; /* what a sync failed for */
  int n_unsynced;
  int n_again; /* syncs of these */
};

static bool fails(struct bad_disk *d, enum call call) {
  if (d->call != call || (++d->n_calls != d->nth && d->nth != EVERY)) {
    return false;
  }
  d->n_failed++;
  errno = d->code;
  return true;
}

static int bad_open(void *ctx, int dir_fd, const char *path, int flags, mode_t mode) {
  struct bad_disk *d = ctx;
  bool interrupted = d->code == EINTR;
  return fails(d, OPEN) && !(interrupted && d->n_failed > 3) ? -1
                                                             : openat(dir_fd, path, flags, mode);
}

static int bad_close(void *ctx, int fd) {
  bool failed = fails(ctx, CLOSE);
  int code = errno;
  int done = close(fd); /* it is closed in any case */
  errno = failed ? code : errno;
  return failed ? -1 : done;
}

static ssize_t bad_write(void *ctx, int fd, const void *data, size_t n) {
  struct bad_disk *d = ctx;
  return !fails(d, WRITE)   ? write(fd, data, n)
         : d->code != SHORT ? -1
                            : write(fd, data, (n + 1) / 2);
}

static ssize_t bad_pwrite(void *ctx, int fd, const void *data, size_t n, off_t offset) {
  struct bad_disk *d = ctx;
  return !fails(d, PWRITE)  ? pwrite(fd, data, n, offset)
         : d->code != SHORT ? -1
                            : pwrite(fd, data, (n + 1) / 2, offset);
}

static int bad_truncate(void *ctx, int fd, off_t bytes) {
  return fails(ctx, TRUNCATE) ? -1 : ftruncate(fd, bytes);
}

static int bad_allocate(void *ctx, int fd, off_t bytes) {
  return fails(ctx, ALLOCATE) ? -1 : sp_fs_kernel()->allocate(NULL, fd, bytes);
}

static int bad_sync(struct bad_disk *d, enum call call, int fd) {
  struct stat st;
  assert_int_equal(fstat(fd, &st), 0);
  for (int i = 0; i < d->n_unsynced; i++) {
    d->n_again += d->unsynced[i] == st.st_ino;
  }
  if (fails(d, call)) {
    assert_true(d->n_unsynced < 16);
    d->unsynced[d->n_unsynced++] = st.st_ino;
    return -1;
  }
  return 0;
}

static int bad_fsync(void *ctx, int fd) {
  return bad_sync(ctx, FSYNC, fd);
}

static int bad_fdatasync(void *ctx, int fd) {
  return bad_sync(ctx, FDATASYNC, fd);
}

static int bad_rename(void *ctx, int from_dir, const char *from, int to_dir, const char *to,
                      unsigned flags) {
  return fails(ctx, RENAME) ? -1 : sp_fs_kernel()->rename(NULL, from_dir, from, to_dir, to, flags);
}

static int bad_unlink(void *ctx, int dir_fd, const char *path, int flags) {
  return fails(ctx, UNLINK) ? -1 : unlinkat(dir_fd, path, flags);
}

static int bad_mkdir(void *ctx, int dir_fd, const char *path, mode_t mode) {
  return fails(ctx, MKDIR) ? -1 : mkdirat(dir_fd, path, mode);
}

static int bad_symlink(void *ctx, const char *target, int dir_fd, const char *path) {
  return fails(ctx, SYMLINK) ? -1 : symlinkat(target, dir_fd, path);
}

static void spoil(struct bad_disk *d, enum call call, int code, int nth) {
  *d = (struct bad_disk){
      .table = {bad_open, bad_close, bad_write, bad_pwrite, bad_truncate, bad_allocate, bad_fsync,
                bad_fdatasync, bad_rename, bad_unlink, bad_mkdir, bad_symlink, d},
      .call = call,
      .code = code,
      .nth = nth};
  sp_set_fs(&d->table);
}

static void mend(void) {
  sp_set_fs(NULL);
}

/* ---- what has to hold */

static int count_entries(const char *dir, const char *prefix) {
  int n = 0;
  DIR *d = opendir(dir);
  for (const struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
    n += e->d_name[0] != '.' && strncmp(e->d_name, prefix, strlen(prefix)) == 0;
  }
  if (d) {
    closedir(d);
  }
  return n;
}

static void never_rejected(void *ctx, const char *name, const char *why) {
  fail_msg("%s: %s is damaged: %s", (const char *)ctx, name, why);
}

/* The newest whole checkpoint's step; no other may be damaged before it. */
static int64_t newest(const char *parent, const char *what) {
  struct stk_ckpt ck;
  struct sp_err err = {0};
  char context[200];
  snprintf(context, sizeof context, "%s", what);
  if (stk_ckpt_open_newest_valid(parent, true, never_rejected, context, &ck, &err) != SP_OK) {
    fail_msg("%s: %s", what, err.text);
  }
  int64_t step = ck.manifest.step;
  stk_ckpt_close(&ck);
  return step;
}

/* A directory's path that stays, and one beneath it. */
static const char *keep_path(char out[512], const char *name) {
  snprintf(out, 512, "%.500s", tt_tmpfile(name));
  return out;
}

static const char *beneath(const char *parent, const char *name) {
  static char path[1024];
  snprintf(path, sizeof path, "%.900s/%s", parent, name);
  return path;
}

static void remove_step(const char *parent, const char *name) {
  char path[1024];
  DIR *d;
  snprintf(path, sizeof path, "%.900s/%s", parent, name);
  d = opendir(path);
  for (const struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
    unlinkat(dirfd(d), e->d_name, 0);
  }
  if (d) {
    closedir(d);
  }
  rmdir(path);
}

struct sweep {
  enum call call;
  int code;
  sp_status status;
};

static const struct sweep sweeps[] = {
    {OPEN, EIO, SP_EIO},         {OPEN, ENOSPC, SP_ENOSPC},   {OPEN, EROFS, SP_EPERM},
    {OPEN, EMFILE, SP_EIO},      {CLOSE, EIO, SP_EIO},        {CLOSE, EDQUOT, SP_ENOSPC},
    {WRITE, EIO, SP_EIO},        {WRITE, ENOSPC, SP_ENOSPC},  {PWRITE, EIO, SP_EIO},
    {PWRITE, ENOSPC, SP_ENOSPC}, {PWRITE, EDQUOT, SP_ENOSPC}, {ALLOCATE, ENOSPC, SP_ENOSPC},
    {ALLOCATE, EIO, SP_EIO},     {FSYNC, EIO, SP_EIO},        {FSYNC, ENOSPC, SP_ENOSPC},
    {FSYNC, EINTR, SP_EIO},      {FDATASYNC, EIO, SP_EIO},    {FDATASYNC, EDQUOT, SP_ENOSPC},
    {FDATASYNC, EINTR, SP_EIO},  {RENAME, EIO, SP_EIO},       {RENAME, EROFS, SP_EPERM},
    {RENAME, ENOSPC, SP_ENOSPC}, {UNLINK, EIO, SP_EIO},       {UNLINK, EROFS, SP_EPERM},
    {MKDIR, ENOSPC, SP_ENOSPC},  {MKDIR, EROFS, SP_EPERM},    {SYMLINK, ENOSPC, SP_ENOSPC},
    {SYMLINK, EIO, SP_EIO},
};

enum { N_SWEEPS = sizeof sweeps / sizeof *sweeps };

static const char *describe(const struct sweep *w, int nth) {
  static char text[100];
  snprintf(text, sizeof text, "call kind %d, number %d, %s", w->call, nth, strerror(w->code));
  return text;
}

static void test_save_ends_with_the_reason_whatever_call_fails(void **state) {
  (void)state;
  int n_cases = 0;
  int n_of_close = 0;
  struct test_plan p;
  char path_of_parent[512];
  make_plan(&p, keep_path(path_of_parent, "save"), 1);
  save_plan(&p);
  p.plan.step = 13;
  p.plan.shard_bytes = 30;
  const char *parent = p.plan.parent;
  for (int i = 0; i < N_SWEEPS; i++) {
    const struct sweep *w = &sweeps[i];
    for (int nth = 1;; nth++) {
      struct bad_disk d;
      struct stk_ckpt_saved saved;
      struct sp_err err = {0};
      spoil(&d, w->call, w->code, nth);
      sp_status st = stk_ckpt_save(&p.plan, &saved, &err);
      mend();
      if (d.n_failed == 0) {
        assert_int_equal(st, SP_OK);
        remove_step(parent, "step-13");
        break;
      }
      n_cases++;
      n_of_close += w->call == CLOSE && w->code == EIO && st != SP_OK;
      /* Only what has no part in the save may fail without failing it: closing what was read,
       * making directories that are there. */
      bool published = access(beneath(parent, "step-13"), F_OK) == 0;
      bool harmless = (w->call == CLOSE || w->call == MKDIR) && st == SP_OK && published;
      if (!harmless && (st != w->status || !strstr(err.text, strerror(w->code)))) {
        fail_msg("%s: status %d, %s", describe(w, nth), st, err.text);
      }
      /* A publication that was not synced stands, and is whole; it counts as failed. */
      bool unsynced = w->call == FSYNC && published;
      assert_true(st == SP_OK || !published || unsynced);
      assert_int_equal(newest(parent, describe(w, nth)), published ? 13 : 12);
      assert_int_equal(d.n_again, 0);
      assert_int_equal(count_entries(parent, "tmp-"), 0);
      remove_step(parent, "step-13");
    }
  }
  print_message("%d failures\n", n_cases);
  assert_true(n_cases > 150);
  assert_int_equal(n_of_close, 8); /* six shards, index, MANIFEST */
}

static void test_save_goes_on_after_short_and_interrupted_calls(void **state) {
  (void)state;
  static const struct sweep mild[] = {{PWRITE, SHORT, SP_OK},
                                      {PWRITE, EINTR, SP_OK},
                                      {OPEN, EINTR, SP_OK},
                                      {CLOSE, EINTR, SP_OK},
                                      {ALLOCATE, EINTR, SP_OK}};
  struct test_plan p;
  char path_of_parent[512];
  make_plan(&p, keep_path(path_of_parent, "mild"), 1);
  p.plan.shard_bytes = 30;
  for (size_t i = 0; i < sizeof mild / sizeof *mild; i++) {
    for (int nth = 1;; nth++) {
      struct bad_disk d;
      struct stk_ckpt_saved saved;
      struct sp_err err = {0};
      p.plan.step++;
      spoil(&d, mild[i].call, mild[i].code, nth);
      sp_status st = stk_ckpt_save(&p.plan, &saved, &err);
      mend();
      if (st != SP_OK) {
        fail_msg("%s: %s", describe(&mild[i], nth), err.text);
      }
      assert_int_equal(newest(p.plan.parent, "mild"), p.plan.step);
      if (d.n_failed == 0) {
        assert_true(nth > 2);
        break;
      }
    }
  }
  /* Every write short: each is done in pieces down to single bytes. */
  struct bad_disk d;
  struct stk_ckpt_saved saved;
  p.plan.step++;
  spoil(&d, PWRITE, SHORT, EVERY);
  sp_status st = stk_ckpt_save(&p.plan, &saved, NULL);
  mend();
  assert_int_equal(st, SP_OK);
  assert_true(d.n_calls > 60);
  assert_int_equal(newest(p.plan.parent, "short"), p.plan.step);
}

/* A write of nothing, for ever: an error, not a loop. */
static ssize_t zero_pwrite(void *ctx, int fd, const void *data, size_t n, off_t offset) {
  (void)ctx;
  (void)fd;
  (void)data;
  (void)n;
  (void)offset;
  return 0;
}

static void test_save_on_a_disk_that_writes_nothing_fails(void **state) {
  (void)state;
  struct test_plan p;
  struct stk_ckpt_saved saved;
  struct sp_fs table = *sp_fs_kernel();
  table.pwrite = zero_pwrite;
  make_plan(&p, tt_tmpfile("zero"), 1);
  sp_set_fs(&table);
  sp_status st = stk_ckpt_save(&p.plan, &saved, NULL);
  mend();
  assert_int_equal(st, SP_EIO);
}

/* What happens around a publication: link, best, removal, sweeping. */
static sp_status turn_over(const char *parent, struct sp_err *err) {
  sp_status st = stk_ckpt_link(parent, "last", "step-13", err);
  st = st ? st : stk_ckpt_mark_best(parent, "step-13", "loss", 0.5, err);
  st = st ? st : stk_ckpt_remove(parent, "step-12", NULL, err);
  return st ? st : stk_ckpt_sweep(parent, 1, 0, err);
}

static void start_over(struct test_plan *p) {
  struct stk_ckpt_receipt receipt;
  const char *parent = p->plan.parent;
  remove_step(parent, "step-12");
  remove_step(parent, "step-13");
  assert_int_equal(stk_ckpt_sweep(parent, 1, 0, NULL), SP_OK);
  p->plan.step = 12;
  save_plan(p);
  assert_int_equal(stk_ckpt_link(parent, "last", "step-12", NULL), SP_OK);
  assert_int_equal(stk_ckpt_mark_best(parent, "step-12", "loss", 1, NULL), SP_OK);
  p->plan.step = 13;
  save_plan(p);
  p->plan.step = 5;
  assert_int_equal(stk_ckpt_write(&p->plan, &receipt, NULL), SP_OK); /* a leftover */
}

static void test_turnover_ends_with_the_reason_whatever_call_fails(void **state) {
  (void)state;
  int n_cases = 0;
  struct test_plan p;
  char path_of_parent[512];
  make_plan(&p, keep_path(path_of_parent, "turn"), 1);
  const char *parent = p.plan.parent;
  assert_int_equal(mkdir(parent, 0700), 0);
  for (int i = 0; i < N_SWEEPS; i++) {
    const struct sweep *w = &sweeps[i];
    for (int nth = 1;; nth++) {
      struct bad_disk d;
      struct sp_err err = {0};
      char path[PATH_MAX];
      struct stk_ckpt ck;
      spoil(&d, N_CALLS, 0, 1); /* a good disk, but a quick one: it syncs nothing */
      start_over(&p);
      spoil(&d, w->call, w->code, nth);
      sp_status st = turn_over(parent, &err);
      mend();
      if (d.n_failed == 0) {
        assert_int_equal(st, SP_OK);
        break;
      }
      n_cases++;
      if (st != SP_OK && (st != w->status || !strstr(err.text, strerror(w->code)))) {
        fail_msg("%s: status %d, %s", describe(w, nth), st, err.text);
      }
      assert_true(st != SP_OK || w->call == CLOSE || w->call == OPEN);
      assert_int_equal(d.n_again, 0);
      assert_int_equal(newest(parent, describe(w, nth)), 13);
      /* The link and the record lead to a checkpoint, old or new. */
      assert_int_equal(stk_ckpt_open(beneath(parent, "last"), &ck, NULL), SP_OK);
      stk_ckpt_close(&ck);
      assert_int_equal(stk_ckpt_find(parent, "best", path, NULL), SP_OK);
      assert_int_equal(stk_ckpt_open(path, &ck, NULL), SP_OK);
      stk_ckpt_close(&ck);
      /* The disk is well again: what was not done is done, whether 12 is there still or not. */
      assert_int_equal(stk_ckpt_link(parent, "last", "step-13", NULL), SP_OK);
      assert_int_equal(stk_ckpt_sweep(parent, 1, 0, NULL), SP_OK);
      assert_int_equal(count_entries(parent, "tmp-") + count_entries(parent, "trash-"), 0);
    }
  }
  print_message("%d failures\n", n_cases);
  assert_true(n_cases > 60);
}

/* ---- the real thing */

static void test_save_with_few_descriptors_fails_or_is_whole(void **state) {
  (void)state;
  struct test_plan p;
  char path_of_parent[512];
  struct rlimit before;
  int n_failed = 0;
  make_plan(&p, keep_path(path_of_parent, "few"), 1);
  save_plan(&p);
  p.plan.shard_bytes = 30;
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
  int lowest = dup(0);
  close(lowest);
  for (int room = 0;; room++) {
    struct stk_ckpt_saved saved;
    struct sp_err err = {0};
    struct rlimit few = {(rlim_t)(lowest + room), before.rlim_max};
    p.plan.step = 13;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    sp_status st = stk_ckpt_save(&p.plan, &saved, &err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(newest(p.plan.parent, err.text), st == SP_OK ? 13 : 12);
    if (st == SP_OK) {
      break;
    }
    n_failed++;
    assert_non_null(strstr(err.text, strerror(EMFILE)));
    /* What it wrote is swept at the latest when there are descriptors again. */
    assert_int_equal(stk_ckpt_sweep(p.plan.parent, 1, 0, NULL), SP_OK);
    assert_int_equal(count_entries(p.plan.parent, "tmp-"), 0);
  }
  assert_in_range(n_failed, 3, 6); /* seven files, but never more open than that */
}

static void test_save_on_a_read_only_disk_fails_until_it_is_writable(void **state) {
  (void)state;
  struct test_plan p;
  struct stk_ckpt_saved saved;
  struct sp_err err = {0};
  const char *disk = tt_tmpfile("readonly");
  assert_int_equal(mkdir(disk, 0700), 0);
  if (mount("tmpfs", disk, "tmpfs", 0, "size=4m,mode=700") != 0) {
    skip(); /* mounting needs root */
  }
  make_plan(&p, disk, 1);
  save_plan(&p);
  p.plan.step = 13;
  int locked = mount("tmpfs", disk, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL);
  sp_status st = stk_ckpt_save(&p.plan, &saved, &err);
  int64_t old = newest(disk, "read-only");
  int unlocked = mount("tmpfs", disk, "tmpfs", MS_REMOUNT, NULL);
  sp_status again = stk_ckpt_save(&p.plan, &saved, NULL);
  int64_t new = newest(disk, "writable");
  umount2(disk, MNT_DETACH);
  assert_int_equal(locked, 0);
  assert_int_equal(st, SP_EPERM);
  assert_non_null(strstr(err.text, strerror(EROFS)));
  assert_int_equal(old, 12);
  assert_int_equal(unlocked, 0);
  assert_int_equal(again, SP_OK);
  assert_int_equal(new, 13);
}

static void test_save_whose_directory_somebody_removed_fails_and_the_next_is_well(void **state) {
  (void)state;
  struct test_plan p;
  char path_of_parent[512];
  struct stk_ckpt_receipt receipt;
  struct stk_ckpt_saved saved;
  make_plan(&p, keep_path(path_of_parent, "removed"), 1);
  const char *parent = p.plan.parent;
  assert_int_equal(stk_ckpt_write(&p.plan, &receipt, NULL), SP_OK);
  remove_step(parent, receipt.tmp);
  assert_int_equal(stk_ckpt_publish(parent, &receipt, &saved, NULL), SP_ENOENT);
  assert_int_equal(rmdir(parent), 0);
  assert_int_equal(stk_ckpt_publish(parent, &receipt, &saved, NULL), SP_ENOENT);
  assert_int_equal(stk_ckpt_save(&p.plan, &saved, NULL), SP_OK);
  assert_int_equal(newest(parent, "removed"), 12);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_save_ends_with_the_reason_whatever_call_fails),
      tt_test(test_save_goes_on_after_short_and_interrupted_calls),
      tt_test(test_save_on_a_disk_that_writes_nothing_fails),
      tt_test(test_turnover_ends_with_the_reason_whatever_call_fails),
      tt_test(test_save_with_few_descriptors_fails_or_is_whole),
      tt_test(test_save_on_a_read_only_disk_fails_until_it_is_writable),
      tt_test(test_save_whose_directory_somebody_removed_fails_and_the_next_is_well),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
