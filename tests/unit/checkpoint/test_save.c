/* Saving: names, shards, collisions, failures that leave nothing behind, removal, interop. */
#include "tests/lib/tt.h"

#include "engine/checkpoint/load.h"
#include "proto/base/mem.h"
#include "tests/unit/checkpoint/plan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int count_entries(const char *dir) {
  int n = 0;
  DIR *d = opendir(dir);
  for (const struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
    n += e->d_name[0] != '.';
  }
  if (d) {
    closedir(d);
  }
  return n;
}

static bool exists(const char *dir, const char *name) {
  char path[1024];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  return access(path, F_OK) == 0;
}

static void test_save_publishes_only_the_final_directory(void **state) {
  (void)state;
  struct test_plan p;
  make_plan(&p, tt_tmpfile("publish/deep"), 1);
  const char *path = save_plan(&p);
  assert_string_equal(strrchr(path, '/'), "/step-12");
  assert_int_equal(count_entries(p.plan.parent), 1);
  assert_int_equal(count_entries(path), 3);
  assert_true(exists(path, "MANIFEST"));
  assert_true(exists(path, "model.safetensors"));
  assert_true(exists(path, "optim.safetensors"));
}

static void test_save_of_the_same_step_gets_a_version(void **state) {
  (void)state;
  struct test_plan p;
  make_plan(&p, tt_tmpfile("versions"), 1);
  save_plan(&p);
  assert_string_equal(strrchr(save_plan(&p), '/'), "/step-12-v1");
  assert_string_equal(strrchr(save_plan(&p), '/'), "/step-12-v2");
}

static void test_save_in_shards_writes_names_and_an_index(void **state) {
  (void)state;
  struct test_plan p;
  make_plan(&p, tt_tmpfile("shards"), 1);
  p.plan.shard_bytes = 30;
  const char *path = save_plan(&p);
  assert_true(exists(path, "model-00001-of-00003.safetensors"));
  assert_true(exists(path, "model-00003-of-00003.safetensors"));
  assert_true(exists(path, "optim-00003-of-00003.safetensors"));
  char file[1024];
  size_t n;
  snprintf(file, sizeof file, "%s/model.safetensors.index.json", path);
  char *text = tt_read_file(file, &n);
  assert_non_null(strstr(text, "\"net.weight\": \"model-00001-of-00003.safetensors\""));
  assert_non_null(strstr(text, "\"total_size\": 56"));
  sp_free(text);
  struct stk_ckpt ck;
  assert_int_equal(stk_ckpt_open(path, &ck, NULL), SP_OK);
  assert_int_equal(ck.manifest.n_files, 7);
  assert_int_equal(stk_ckpt_verify(&ck, NULL), SP_OK);
  stk_ckpt_close(&ck);
}

static void test_save_state_hash_sees_values_and_identity_only(void **state) {
  (void)state;
  struct test_plan p;
  char hash[3][65];
  static const uint8_t identity[] = {1, 2, 3};
  make_plan(&p, tt_tmpfile("hashes"), 1);
  p.plan.identity = identity;
  p.plan.identity_bytes = sizeof identity;
  for (int i = 0; i < 3; i++) {
    struct stk_ckpt ck;
    p.plan.shard_bytes = i == 1 ? 30 : 0;
    p.control[0]++;
    p.bias[1] += i == 2 ? 1.0f : 0.0f;
    assert_int_equal(stk_ckpt_open(save_plan(&p), &ck, NULL), SP_OK);
    snprintf(hash[i], sizeof hash[i], "%s", ck.manifest.state_hash);
    stk_ckpt_close(&ck);
  }
  assert_int_equal(strlen(hash[0]), 64);
  assert_string_equal(hash[0], hash[1]);
  assert_string_not_equal(hash[0], hash[2]);
}

static void test_save_impossible_plans_are_refused(void **state) {
  (void)state;
  struct test_plan p;
  struct stk_ckpt_saved saved;
  const char *parent = tt_tmpfile("impossible");
  make_plan(&p, parent, 1);
  p.plan.lanes = 0;
  assert_int_equal(stk_ckpt_save(&p.plan, &saved, NULL), SP_EINVAL);
  make_plan(&p, parent, 1);
  p.tensors[1].name = "net.weight";
  assert_int_equal(stk_ckpt_save(&p.plan, &saved, NULL), SP_EINVAL);
  make_plan(&p, parent, 1);
  p.tensors[1].dims[0] = -1;
  assert_int_equal(stk_ckpt_save(&p.plan, &saved, NULL), SP_EINVAL);
  make_plan(&p, parent, 1);
  p.plan.control_bytes = STK_MANIFEST_MAX_CONTROL + 1;
  assert_int_equal(stk_ckpt_save(&p.plan, &saved, NULL), SP_ERANGE);
  make_plan(&p, parent, 1);
  p.plan.job = NULL;
  assert_int_equal(stk_ckpt_save(&p.plan, &saved, NULL), SP_EINVAL);
  assert_int_equal(access(parent, F_OK), -1);
}

static void test_save_without_enough_space_says_what_is_missing(void **state) {
  (void)state;
  struct test_plan p;
  struct stk_ckpt_saved saved;
  struct sp_err err = {0};
  make_plan(&p, tt_tmpfile("space"), 1);
  save_plan(&p);
  p.plan.reserve_bytes = (uint64_t)1 << 60;
  assert_int_equal(stk_ckpt_save(&p.plan, &saved, &err), SP_ENOSPC);
  assert_non_null(strstr(err.text, "MiB are needed"));
  assert_int_equal(count_entries(p.plan.parent), 1);
}

static void test_save_on_a_full_disk_keeps_the_older_checkpoint(void **state) {
  (void)state;
  const char *disk = tt_tmpfile("disk");
  assert_int_equal(mkdir(disk, 0700), 0);
  if (mount("tmpfs", disk, "tmpfs", 0, "size=400k,mode=700") != 0) {
    skip(); /* mounting needs root */
  }
  static float big[50000];
  struct test_plan p;
  struct stk_ckpt_saved saved;
  struct sp_err err = {0};
  make_plan(&p, disk, 1);
  p.plan.reserve_bytes = 1;
  save_plan(&p);
  p.tensors[0].data = big;
  p.tensors[0].dims[0] = 25000;
  p.tensors[0].dims[1] = 2;
  p.tensors[4].data = big;
  p.tensors[4].dims[0] = 25000;
  p.tensors[4].dims[1] = 2;
  sp_status st = stk_ckpt_save(&p.plan, &saved, &err);
  int n = count_entries(disk);
  bool older = exists(disk, "step-12/MANIFEST");
  umount2(disk, MNT_DETACH);
  assert_int_equal(st, SP_ENOSPC);
  assert_int_equal(n, 1);
  assert_true(older);
}

static void test_save_into_a_file_fails(void **state) {
  (void)state;
  struct test_plan p;
  struct stk_ckpt_saved saved;
  tt_write_file(tt_tmpfile("file"), "x", 1);
  make_plan(&p, tt_tmpfile("file"), 1);
  assert_int_not_equal(stk_ckpt_save(&p.plan, &saved, NULL), SP_OK);
}

static void test_save_without_memory_leaves_nothing(void **state) {
  (void)state;
  for (long n = 1;; n++) {
    struct test_plan p;
    struct stk_ckpt_saved saved;
    make_plan(&p, tt_tmpfile("memory"), 1);
    tt_fail_alloc(n);
    sp_status st = stk_ckpt_save(&p.plan, &saved, NULL);
    bool failed = tt_alloc_failed();
    tt_fail_alloc(0);
    if (!failed) {
      assert_int_equal(st, SP_OK);
      break;
    }
    assert_int_not_equal(st, SP_OK);
    assert_int_equal(count_entries(p.plan.parent), 0);
  }
}

static void test_remove_takes_the_directory_away(void **state) {
  (void)state;
  struct test_plan p;
  make_plan(&p, tt_tmpfile("remove"), 1);
  save_plan(&p);
  p.plan.step = 13;
  save_plan(&p);
  assert_int_equal(stk_ckpt_remove(p.plan.parent, "step-12", NULL, NULL), SP_OK);
  assert_int_equal(count_entries(p.plan.parent), 1);
  assert_int_equal(stk_ckpt_remove(p.plan.parent, "step-12", NULL, NULL), SP_ENOENT);
  assert_int_equal(stk_ckpt_remove(p.plan.parent, "../remove", NULL, NULL), SP_EINVAL);
  assert_int_equal(stk_ckpt_remove(p.plan.parent, "step-012", NULL, NULL), SP_EINVAL);
}

static void test_remove_spares_the_newest_whole_one(void **state) {
  (void)state;
  struct test_plan p;
  struct sp_err err = {0};
  make_plan(&p, tt_tmpfile("spared"), 1);
  const char *parent = p.plan.parent;
  for (p.plan.step = 10; p.plan.step < 14; p.plan.step++) {
    save_plan(&p);
  }
  assert_int_equal(stk_ckpt_remove(parent, "step-13", NULL, &err), SP_EPERM);
  assert_non_null(strstr(err.text, "newest whole one"));
  /* 13 is damaged: it may go, and 12 is the newest whole one. */
  char file[1024];
  snprintf(file, sizeof file, "%s/step-13/optim.safetensors", parent);
  assert_int_equal(truncate(file, 100), 0);
  assert_int_equal(stk_ckpt_remove(parent, "step-12", NULL, NULL), SP_EPERM);
  assert_int_equal(stk_ckpt_remove(parent, "step-12", "step-12", NULL), SP_EPERM);
  assert_int_equal(stk_ckpt_remove(parent, "step-12", "step-13", NULL), SP_EPERM);
  assert_int_equal(stk_ckpt_remove(parent, "step-12", "step-99", NULL), SP_EPERM);
  assert_int_equal(stk_ckpt_remove(parent, "step-13", NULL, NULL), SP_OK);
  /* A run that went back to 10 and saved again says so. */
  assert_int_equal(stk_ckpt_remove(parent, "step-12", "step-10", NULL), SP_OK);
  assert_int_equal(count_entries(parent), 2);
}

static void make_leftover(const char *parent, const char *name) {
  char path[1024];
  snprintf(path, sizeof path, "%s/%s", parent, name);
  assert_int_equal(mkdir(path, 0700), 0);
  snprintf(path, sizeof path, "%s/%s/model.safetensors", parent, name);
  tt_write_file(path, "x", 1);
}

static void test_sweep_removes_what_the_dead_left_only(void **state) {
  (void)state;
  static const char *const dead[] = {"tmp-5-0-0123456789abcdef", "tmp-6-3-0123456789abcdef",
                                     "trash-step-1-0123456789abcdef",
                                     "trash-step-1-v2-0123456789abcdef"};
  static const char *const alive[] = {"tmp-5-4-0123456789abcdef",
                                      "tmp-5-3-00000000000000ff",
                                      "tmp-5-0-0123",
                                      "tmp-5-0-0123456789ABCDEF",
                                      "tmp-notes",
                                      "trash-can",
                                      "trash-step-x-0123456789abcdef"};
  struct test_plan p;
  make_plan(&p, tt_tmpfile("sweep"), 1);
  const char *parent = p.plan.parent;
  save_plan(&p);
  for (size_t i = 0; i < sizeof dead / sizeof *dead; i++) {
    make_leftover(parent, dead[i]);
  }
  for (size_t i = 0; i < sizeof alive / sizeof *alive; i++) {
    make_leftover(parent, alive[i]);
  }
  assert_int_equal(stk_ckpt_sweep(parent, 4, 0xff, NULL), SP_OK);
  for (size_t i = 0; i < sizeof dead / sizeof *dead; i++) {
    assert_false(exists(parent, dead[i]));
  }
  for (size_t i = 0; i < sizeof alive / sizeof *alive; i++) {
    assert_true(exists(parent, alive[i]));
  }
  assert_true(exists(parent, "step-12/MANIFEST"));
  assert_int_equal(stk_ckpt_sweep(parent, 4, 0, NULL), SP_OK);
  assert_false(exists(parent, alive[1]));
  assert_int_equal(stk_ckpt_sweep(tt_tmpfile("absent"), 1, 0, NULL), SP_OK);
}

static void test_sweep_leaves_a_living_writer_its_directory(void **state) {
  (void)state;
  static const char name[] = "tmp-5-0-0123456789abcdef";
  char path[1024];
  const char *parent = tt_tmpfile("living");
  assert_int_equal(mkdir(parent, 0700), 0);
  make_leftover(parent, name);
  snprintf(path, sizeof path, "%s/%s", parent, name);
  int fd = open(path, O_RDONLY | O_DIRECTORY);
  assert_true(fd >= 0);
  assert_int_equal(flock(fd, LOCK_EX), 0);
  assert_int_equal(stk_ckpt_sweep(parent, 1, 0, NULL), SP_OK);
  assert_true(exists(parent, name));
  close(fd);
  assert_int_equal(stk_ckpt_sweep(parent, 1, 0, NULL), SP_OK);
  assert_false(exists(parent, name));
}

static void test_sweep_goes_on_after_what_it_cannot_remove(void **state) {
  (void)state;
  /* Whichever comes first in the directory, it is stuck in all rounds but one. */
  for (int loose = 0; loose < 3; loose++) {
    char name[64];
    char path[1024];
    snprintf(name, sizeof name, "stuck%d", loose);
    const char *parent = tt_tmpfile(name);
    assert_int_equal(mkdir(parent, 0700), 0);
    for (int i = 0; i < 3; i++) {
      snprintf(name, sizeof name, "tmp-%d-0-0123456789abcdef", i);
      make_leftover(parent, name);
      snprintf(path, sizeof path, "%s/%s/inner", parent, name);
      assert_int_equal(i == loose ? 0 : mkdir(path, 0700), 0);
    }
    assert_int_not_equal(stk_ckpt_sweep(parent, 1, 0, NULL), SP_OK);
    assert_int_equal(count_entries(parent), 2);
  }
}

static void test_link_replaces_what_was_there_and_leaves_nothing_beside(void **state) {
  (void)state;
  char path[1024];
  char to[64] = "";
  const char *parent = tt_tmpfile("links");
  assert_int_equal(mkdir(parent, 0700), 0);
  snprintf(path, sizeof path, "%s/last", parent);
  assert_int_equal(stk_ckpt_link(parent, "last", "step-1", NULL), SP_OK);
  assert_int_equal(stk_ckpt_link(parent, "last", "step-2", NULL), SP_OK);
  assert_int_equal(readlink(path, to, sizeof to), 6);
  assert_string_equal(to, "step-2");
  assert_int_equal(count_entries(parent), 1);
  assert_int_equal(stk_ckpt_unlink(parent, "last", NULL), SP_OK);
  assert_int_equal(count_entries(parent), 0);
  assert_int_equal(stk_ckpt_unlink(parent, "last", NULL), SP_ENOENT);
  /* Where the name cannot be taken, the link does not stay under its first name. */
  assert_int_equal(mkdir(path, 0700), 0);
  assert_int_not_equal(stk_ckpt_link(parent, "last", "step-2", NULL), SP_OK);
  assert_int_equal(count_entries(parent), 1);
  assert_int_equal(symlink("x", tt_tmpfile("links/tmp-link-0123456789abcdef")), 0);
  tt_write_file(tt_tmpfile("links/best.json.tmp-1-0"), "x", 1);
  assert_int_equal(stk_ckpt_sweep(parent, 0, 0, NULL), SP_OK);
  assert_int_equal(count_entries(parent), 1);
}

static void test_plan_bytes_is_what_a_save_writes(void **state) {
  (void)state;
  struct test_plan p;
  struct stk_ckpt_saved saved;
  uint64_t bytes;
  make_plan(&p, tt_tmpfile("bytes"), 1);
  assert_int_equal(stk_ckpt_plan_bytes(&p.plan, &bytes, NULL), SP_OK);
  assert_int_equal(stk_ckpt_save(&p.plan, &saved, NULL), SP_OK);
  assert_int_equal(bytes, saved.bytes);
}

/* Exit status of python running the script with one argument, or -1. */
static int run_python(const char *script, const char *argument) {
  const char *python = getenv("STOKER_PYTHON");
  pid_t pid = fork();
  if (pid == 0) {
    execlp(python ? python : "python3", "python3", "-c", script, argument, (char *)NULL);
    _exit(127);
  }
  int status = -1;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_save_is_opened_by_python_safetensors(void **state) {
  (void)state;
  struct test_plan p;
  if (run_python("import sys\ntry:\n import safetensors.numpy\nexcept ImportError:\n sys.exit(9)",
                 "") != 0) {
    skip(); /* no python3 with safetensors; STOKER_PYTHON names another */
  }
  make_plan(&p, tt_tmpfile("python"), 1);
  char file[1024];
  snprintf(file, sizeof file, "%s/model.safetensors", save_plan(&p));
  const char *script =
      "import sys\nfrom safetensors.numpy import load_file\n"
      "t = load_file(sys.argv[1])\n"
      "assert sorted(t) == ['bn.num_batches_tracked', 'bn.running_mean', "
      "'net.bias', 'net.weight'], t\n"
      "assert t['net.weight'].tolist() == [[5.0, 5.5, 6.0], [6.5, 7.0, 7.5]]\n"
      "assert t['bn.num_batches_tracked'] == 1\n";
  assert_int_equal(run_python(script, file), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_save_publishes_only_the_final_directory),
      tt_test(test_save_of_the_same_step_gets_a_version),
      tt_test(test_save_in_shards_writes_names_and_an_index),
      tt_test(test_save_state_hash_sees_values_and_identity_only),
      tt_test(test_save_impossible_plans_are_refused),
      tt_test(test_save_without_enough_space_says_what_is_missing),
      tt_test(test_save_on_a_full_disk_keeps_the_older_checkpoint),
      tt_test(test_save_into_a_file_fails),
      tt_test(test_save_without_memory_leaves_nothing),
      tt_test(test_remove_takes_the_directory_away),
      tt_test(test_remove_spares_the_newest_whole_one),
      tt_test(test_sweep_removes_what_the_dead_left_only),
      tt_test(test_sweep_leaves_a_living_writer_its_directory),
      tt_test(test_sweep_goes_on_after_what_it_cannot_remove),
      tt_test(test_link_replaces_what_was_there_and_leaves_nothing_beside),
      tt_test(test_plan_bytes_is_what_a_save_writes),
      tt_test(test_save_is_opened_by_python_safetensors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
