/* Orders carried out: names, what goes with its last name and what stays, doing it twice. */
#include "tests/lib/tt.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/checkpoint/load.h"
#include "proto/base/mem.h"
#include "worker/publish.h"

enum { RUN = 9 };

struct fixture {
  char dir[512];
  struct sw_publish p;
  struct sw_published published;
  struct stk_order *order;
};

static void open_fixture(struct fixture *f, const char *name, const char *resumed) {
  snprintf(f->dir, sizeof f->dir, "%.500s", tt_tmpfile(name));
  sw_publish_init(&f->p, f->dir, resumed, RUN);
  f->order = sp_alloc(sizeof *f->order);
  assert_non_null(f->order);
}

static struct stk_ckpt_receipt write_step(const struct fixture *f, int64_t step) {
  static float value[2] = {1, 2};
  struct stk_ckpt_receipt r;
  const struct stk_ckpt_tensor tensor = {"w", STK_CKPT_MODEL, STK_ST_F32, 1, {2}, value};
  const struct stk_ckpt_plan plan = {.parent = f->dir,
                                     .job = "job",
                                     .step = step,
                                     .lanes = 1,
                                     .module = "toy",
                                     .order_run = RUN,
                                     .order_seq = (uint64_t)step,
                                     .tensors = &tensor,
                                     .n_tensors = 1};
  assert_int_equal(stk_ckpt_write(&plan, &r, NULL), SP_OK);
  return r;
}

/* Publishes a step as `save` and `last` ("" for none), removing a name ("" for none). */
static sp_status publish(struct fixture *f, int64_t step, const char *save, const char *last,
                         const char *gone) {
  struct stk_ckpt_receipt r = write_step(f, step);
  struct stk_ckpt_decision *d = &f->order->items[0].decision;
  *d = (struct stk_ckpt_decision){.n_remove = *gone ? 1 : 0};
  f->order->seq = (uint64_t)step;
  f->order->n_items = 1;
  snprintf(d->save, sizeof d->save, "%s", save);
  snprintf(d->last, sizeof d->last, "%s", last);
  snprintf(d->remove[0], sizeof d->remove[0], "%s", gone);
  return sw_publish_order(&f->p, f->order, &r, "", &f->published, NULL);
}

static bool exists(const struct fixture *f, const char *name) {
  char path[1024];
  struct stat st;
  snprintf(path, sizeof path, "%s/%s", f->dir, name);
  return lstat(path, &st) == 0;
}

static void expect_link(const struct fixture *f, const char *name, const char *target) {
  char path[1024];
  char to[256] = "";
  snprintf(path, sizeof path, "%s/%s", f->dir, name);
  assert_true(readlink(path, to, sizeof to - 1) > 0);
  assert_string_equal(to, target);
}

static void test_publish_directory_goes_with_its_last_name(void **state) {
  (void)state;
  struct fixture f;
  open_fixture(&f, "names", "");
  assert_int_equal(publish(&f, 1, "a", "last", ""), SP_OK);
  expect_link(&f, "a", "step-1");
  expect_link(&f, "last", "step-1");
  assert_int_equal(publish(&f, 2, "b", "", "a"), SP_OK);
  assert_false(exists(&f, "a"));
  assert_true(exists(&f, "step-1")); /* it is the last one still */
  assert_int_equal(publish(&f, 3, "c", "last", ""), SP_OK);
  assert_false(exists(&f, "step-1"));
  assert_true(exists(&f, "step-2"));
  expect_link(&f, "last", "step-3");
  assert_false(exists(&f, "drop-step-1"));
  assert_string_equal(f.published.note, "");
  sp_free(f.order);
}

static void test_publish_what_the_run_resumed_from_stays(void **state) {
  (void)state;
  struct fixture f;
  char resumed[1024];
  open_fixture(&f, "resumed", "");
  assert_int_equal(publish(&f, 1, "a", "last", ""), SP_OK);
  snprintf(resumed, sizeof resumed, "%s/last", f.dir);
  sw_publish_init(&f.p, f.dir, resumed, RUN);
  assert_true(sw_publish_goes_on(&f.p));
  assert_int_equal(publish(&f, 2, "b", "last", "a"), SP_OK);
  assert_false(exists(&f, "a"));
  assert_true(exists(&f, "step-1"));
  sp_free(f.order);
}

static void test_publish_twice_does_no_more_and_no_less(void **state) {
  (void)state;
  struct fixture f;
  open_fixture(&f, "twice", "");
  assert_int_equal(publish(&f, 1, "a", "last", ""), SP_OK);
  assert_int_equal(publish(&f, 2, "b", "last", "a"), SP_OK);
  assert_int_equal(sw_publish_order(&f.p, f.order, NULL, "", &f.published, NULL), SP_OK);
  assert_string_equal(f.published.saved.name, "step-2");
  expect_link(&f, "last", "step-2");
  assert_false(exists(&f, "step-1"));
  f.order->seq = 3;
  assert_int_equal(sw_publish_order(&f.p, f.order, NULL, "", &f.published, NULL), SP_ENOENT);
  sp_free(f.order);
}

/* Died between the removal of a name and of its directory. */
static void test_publish_finishes_removals_of_the_dead(void **state) {
  (void)state;
  struct fixture f;
  char path[1024];
  open_fixture(&f, "dead", "");
  assert_int_equal(publish(&f, 1, "a", "", ""), SP_OK);
  assert_int_equal(publish(&f, 2, "b", "", ""), SP_OK);
  assert_int_equal(stk_ckpt_link(f.dir, "drop-step-1", "step-1", NULL), SP_OK);
  assert_int_equal(stk_ckpt_link(f.dir, "drop-step-2", "step-2", NULL), SP_OK);
  assert_int_equal(stk_ckpt_unlink(f.dir, "a", NULL), SP_OK);
  write_step(&f, 3); /* unpublished */
  sw_publish_init(&f.p, f.dir, "", RUN);
  assert_false(exists(&f, "step-1"));
  assert_true(exists(&f, "step-2")); /* it has its name */
  assert_false(exists(&f, "drop-step-1") || exists(&f, "drop-step-2"));
  /* The newest whole one does not go, whoever asked for it. */
  assert_int_equal(stk_ckpt_link(f.dir, "drop-step-2", "step-2", NULL), SP_OK);
  assert_int_equal(stk_ckpt_unlink(f.dir, "b", NULL), SP_OK);
  sw_publish_init(&f.p, f.dir, "", RUN);
  assert_true(exists(&f, "step-2"));
  snprintf(path, sizeof path, "%s/step-2", f.dir);
  assert_int_equal(access(path, F_OK), 0);
  sp_free(f.order);
}

static void test_publish_that_fails_leaves_nothing_of_the_attempt(void **state) {
  (void)state;
  struct fixture f;
  open_fixture(&f, "fails", "");
  struct stk_ckpt_receipt r = write_step(&f, 1);
  struct stk_ckpt_receipt left = write_step(&f, 1); /* of a persister that died */
  r.manifest_crc32c++;
  assert_int_equal(sw_publish_order(&f.p, f.order, &r, "", &f.published, NULL), SP_EMISMATCH);
  assert_false(exists(&f, r.tmp));
  assert_false(exists(&f, left.tmp));
  sp_free(f.order);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_publish_directory_goes_with_its_last_name),
      tt_test(test_publish_what_the_run_resumed_from_stays),
      tt_test(test_publish_twice_does_no_more_and_no_less),
      tt_test(test_publish_finishes_removals_of_the_dead),
      tt_test(test_publish_that_fails_leaves_nothing_of_the_attempt),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
