/* Writing in one process and publishing in another: receipts, their comparison, orders. */
#include "tests/lib/tt.h"

#include "engine/checkpoint/load.h"
#include "proto/base/mem.h"
#include "tests/unit/checkpoint/plan.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
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

static const char *beneath(const char *dir, const char *name) {
  static char path[1024];
  snprintf(path, sizeof path, "%.900s/%.100s", dir, name);
  return path;
}

/* A written, unpublished save of make_plan(p, tt_tmpfile(name), 1). */
static struct stk_ckpt_receipt written(struct test_plan *p, const char *name) {
  struct stk_ckpt_receipt r;
  struct sp_err err = {0};
  make_plan(p, tt_tmpfile(name), 1);
  p->plan.generation = 4;
  p->plan.order_run = 0xfeedfacecafebeef;
  p->plan.order_seq = 7;
  if (stk_ckpt_write(&p->plan, &r, &err) != SP_OK) {
    fail_msg("%s", err.text);
  }
  return r;
}

static void test_write_in_a_child_is_published_by_its_receipt(void **state) {
  (void)state;
  struct test_plan p;
  struct stk_ckpt_receipt r;
  struct stk_ckpt_saved saved;
  struct stk_ckpt ck;
  int ends[2];
  make_plan(&p, tt_tmpfile("child"), 1);
  p.plan.nonce = 0xab;
  p.plan.generation = 3;
  assert_int_equal(pipe(ends), 0);
  pid_t pid = fork();
  if (pid == 0) {
    bool good = stk_ckpt_write(&p.plan, &r, NULL) == SP_OK &&
                write(ends[1], &r, sizeof r) == (ssize_t)sizeof r;
    _exit(good ? 0 : 1);
  }
  assert_int_equal(read(ends[0], &r, sizeof r), sizeof r);
  int status = -1;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
  close(ends[0]);
  close(ends[1]);
  assert_string_equal(r.tmp, "tmp-12-3-00000000000000ab");
  char found[PATH_MAX];
  assert_int_equal(stk_ckpt_find(p.plan.parent, "last", found, NULL), SP_ENOENT);
  assert_int_equal(stk_ckpt_publish(p.plan.parent, &r, &saved, NULL), SP_OK);
  assert_string_equal(saved.name, "step-12");
  assert_int_equal(saved.bytes, r.total_bytes);
  assert_int_equal(count_entries(p.plan.parent), 1);
  assert_int_equal(stk_ckpt_open(beneath(p.plan.parent, "step-12"), &ck, NULL), SP_OK);
  assert_int_equal(stk_ckpt_verify(&ck, NULL), SP_OK);
  assert_string_equal(ck.manifest.nonce, "00000000000000ab");
  assert_int_equal(ck.manifest.generation, 3);
  assert_int_equal(ck.manifest.order_run, 0);
  stk_ckpt_close(&ck);
}

static void test_publish_again_gives_the_name_and_makes_no_second(void **state) {
  (void)state;
  struct test_plan p;
  struct stk_ckpt_saved saved = {.name = ""};
  struct stk_ckpt_receipt r = written(&p, "again");
  save_plan(&p); /* another one of the same step and order has the name step-12 */
  assert_int_equal(stk_ckpt_publish(p.plan.parent, &r, &saved, NULL), SP_OK);
  assert_string_equal(saved.name, "step-12-v1");
  assert_int_equal(stk_ckpt_remove(p.plan.parent, "step-12", NULL, NULL), SP_OK);
  saved.name[0] = 0;
  assert_int_equal(stk_ckpt_publish(p.plan.parent, &r, &saved, NULL), SP_OK);
  assert_string_equal(saved.name, "step-12-v1");
  assert_int_equal(count_entries(p.plan.parent), 1);
  /* Another save of the same step is not this receipt's. */
  assert_string_equal(strrchr(save_plan(&p), '/'), "/step-12");
  assert_int_equal(stk_ckpt_remove(p.plan.parent, "step-12-v1", "step-12", NULL), SP_OK);
  assert_int_equal(stk_ckpt_publish(p.plan.parent, &r, &saved, NULL), SP_ENOENT);
}

static void test_publish_of_a_receipt_that_contradicts_itself_is_refused(void **state) {
  (void)state;
  struct test_plan p;
  struct stk_ckpt_saved saved;
  const struct stk_ckpt_receipt good = written(&p, "nonsense");
  struct stk_ckpt_receipt bad[6];
  for (int i = 0; i < 6; i++) {
    bad[i] = good;
  }
  bad[0].magic++;
  bad[1].step++;
  bad[2].nonce++;
  bad[3].generation = -1;
  snprintf(bad[4].tmp, sizeof bad[4].tmp, "../%.60s", good.tmp);
  memset(bad[5].tmp, 'x', sizeof bad[5].tmp);
  for (int i = 0; i < 6; i++) {
    assert_int_equal(stk_ckpt_publish(p.plan.parent, &bad[i], &saved, NULL), SP_EINVAL);
    assert_int_equal(stk_ckpt_discard(p.plan.parent, &bad[i], NULL), SP_EINVAL);
  }
  assert_int_equal(stk_ckpt_publish(p.plan.parent, &good, &saved, NULL), SP_OK);
}

static void test_publish_of_what_the_directory_contradicts_is_refused(void **state) {
  (void)state;
  struct test_plan p;
  struct stk_ckpt_saved saved;
  const struct stk_ckpt_receipt good = written(&p, "differs");
  struct stk_ckpt_receipt bad[6];
  for (int i = 0; i < 6; i++) {
    bad[i] = good;
  }
  bad[0].manifest_crc32c++;
  bad[1].manifest_bytes++;
  bad[2].n_files++;
  bad[3].total_bytes--;
  bad[4].order_run++;
  bad[5].order_seq++;
  for (int i = 0; i < 6; i++) {
    struct sp_err err = {0};
    assert_int_equal(stk_ckpt_publish(p.plan.parent, &bad[i], &saved, &err), SP_EMISMATCH);
    assert_non_null(strstr(err.text, good.tmp));
  }
  char tmp[1024];
  snprintf(tmp, sizeof tmp, "%s", beneath(p.plan.parent, good.tmp));
  tt_write_file(beneath(tmp, "stray"), "x", 1);
  assert_int_equal(stk_ckpt_publish(p.plan.parent, &good, &saved, NULL), SP_EMISMATCH);
  unlink(beneath(tmp, "stray"));
  assert_int_equal(truncate(beneath(tmp, "optim.safetensors"), 5000), 0);
  assert_int_equal(stk_ckpt_publish(p.plan.parent, &good, &saved, NULL), SP_ECORRUPT);
  assert_int_equal(count_entries(p.plan.parent), 1);
  assert_int_equal(stk_ckpt_discard(p.plan.parent, &good, NULL), SP_OK);
  assert_int_equal(count_entries(p.plan.parent), 0);
}

static void test_publish_of_a_link_to_a_directory_is_refused(void **state) {
  (void)state;
  struct test_plan p;
  struct stk_ckpt_saved saved;
  const struct stk_ckpt_receipt r = written(&p, "link");
  char tmp[1024];
  snprintf(tmp, sizeof tmp, "%s", beneath(p.plan.parent, r.tmp));
  assert_int_equal(rename(tmp, beneath(p.plan.parent, "elsewhere")), 0);
  assert_int_equal(symlink("elsewhere", tmp), 0);
  assert_int_equal(stk_ckpt_publish(p.plan.parent, &r, &saved, NULL), SP_EMISMATCH);
}

static void test_discard_of_what_is_gone_or_published_does_nothing(void **state) {
  (void)state;
  struct test_plan p;
  struct stk_ckpt_saved saved;
  const struct stk_ckpt_receipt r = written(&p, "discard");
  assert_int_equal(stk_ckpt_publish(p.plan.parent, &r, &saved, NULL), SP_OK);
  assert_int_equal(stk_ckpt_discard(p.plan.parent, &r, NULL), SP_OK);
  assert_int_equal(count_entries(p.plan.parent), 1);
  p.plan.step = 13;
  save_plan(&p);
  assert_int_equal(stk_ckpt_remove(p.plan.parent, "step-12", NULL, NULL), SP_OK);
  assert_int_equal(stk_ckpt_publish(p.plan.parent, &r, &saved, NULL), SP_ENOENT);
  assert_int_equal(stk_ckpt_discard_tmp(p.plan.parent, 12, 4, r.nonce, NULL), SP_OK);
}

static void test_find_order_finds_the_checkpoint_of_that_order_only(void **state) {
  (void)state;
  struct test_plan p;
  char name[64];
  struct stk_ckpt_saved saved;
  const struct stk_ckpt_receipt r = written(&p, "orders");
  const char *parent = p.plan.parent;
  assert_int_equal(stk_ckpt_find_order(parent, r.order_run, 7, name, NULL), SP_ENOENT);
  assert_int_equal(stk_ckpt_publish(parent, &r, &saved, NULL), SP_OK);
  p.plan.step = 13;
  p.plan.order_seq = 8;
  save_plan(&p);
  assert_int_equal(stk_ckpt_find_order(parent, r.order_run, 7, name, NULL), SP_OK);
  assert_string_equal(name, "step-12");
  assert_int_equal(stk_ckpt_find_order(parent, r.order_run, 8, name, NULL), SP_OK);
  assert_string_equal(name, "step-13");
  assert_int_equal(stk_ckpt_find_order(parent, r.order_run, 9, name, NULL), SP_ENOENT);
  assert_int_equal(stk_ckpt_find_order(parent, 1, 7, name, NULL), SP_ENOENT);
}

static void test_publish_without_memory_leaves_the_directory(void **state) {
  (void)state;
  for (long n = 1;; n++) {
    struct test_plan p;
    struct stk_ckpt_saved saved;
    struct stk_ckpt_receipt r = written(&p, "memory");
    tt_fail_alloc(n);
    sp_status st = stk_ckpt_publish(p.plan.parent, &r, &saved, NULL);
    bool failed = tt_alloc_failed();
    tt_fail_alloc(0);
    assert_int_equal(count_entries(p.plan.parent), 1);
    if (!failed) {
      assert_int_equal(st, SP_OK);
      break;
    }
    assert_int_not_equal(st, SP_OK);
    assert_int_equal(stk_ckpt_discard(p.plan.parent, &r, NULL), SP_OK);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_write_in_a_child_is_published_by_its_receipt),
      tt_test(test_publish_again_gives_the_name_and_makes_no_second),
      tt_test(test_publish_of_a_receipt_that_contradicts_itself_is_refused),
      tt_test(test_publish_of_what_the_directory_contradicts_is_refused),
      tt_test(test_publish_of_a_link_to_a_directory_is_refused),
      tt_test(test_discard_of_what_is_gone_or_published_does_nothing),
      tt_test(test_find_order_finds_the_checkpoint_of_that_order_only),
      tt_test(test_publish_without_memory_leaves_the_directory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
