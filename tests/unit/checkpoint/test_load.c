/* Loading: everything comes back, damage is found and named, last and best. */
#include "tests/lib/tt.h"

#include "engine/checkpoint/load.h"
#include "proto/base/mem.h"
#include "tests/unit/checkpoint/plan.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Targets into another plan's memory. */
static void make_targets(struct test_plan *p, struct stk_ckpt_target out[PLAN_TENSORS]) {
  for (int i = 0; i < PLAN_TENSORS; i++) {
    const struct stk_ckpt_tensor *t = &p->tensors[i];
    out[i] = (struct stk_ckpt_target){
        .name = t->name, .dtype = t->dtype, .rank = t->rank, .data = (void *)(uintptr_t)t->data};
    memcpy(out[i].dims, t->dims, sizeof out[i].dims);
  }
}

static void test_load_gives_every_tensor_and_the_control_page(void **state) {
  (void)state;
  for (uint64_t shard_bytes = 0; shard_bytes < 60; shard_bytes += 30) {
    struct test_plan saved;
    struct test_plan loaded;
    struct stk_ckpt_target targets[PLAN_TENSORS];
    struct stk_ckpt ck;
    make_plan(&saved, tt_tmpfile(shard_bytes ? "round30" : "round"), 1);
    make_plan(&loaded, "unused", 2);
    make_targets(&loaded, targets);
    saved.plan.shard_bytes = shard_bytes;
    assert_int_equal(stk_ckpt_open(save_plan(&saved), &ck, NULL), SP_OK);
    assert_int_equal(stk_ckpt_read(&ck, targets, PLAN_TENSORS, true, NULL), SP_OK);
    assert_memory_equal(saved.weight, loaded.weight, sizeof saved.weight);
    assert_memory_equal(saved.exp_avg_sq, loaded.exp_avg_sq, sizeof saved.exp_avg_sq);
    assert_int_equal(loaded.tracked, 1);
    assert_true(loaded.step == 1.0);
    assert_int_equal(ck.manifest.control_bytes, sizeof saved.control);
    assert_memory_equal(ck.manifest.control, saved.control, sizeof saved.control);
    assert_int_equal(ck.manifest.control_version, 5);
    assert_string_equal(stk_manifest_hparam(&ck.manifest, "name"), "a \"quoted\" \n \xc3\xa9");
    assert_int_equal(stk_ckpt_verify(&ck, NULL), SP_OK);
    stk_ckpt_close(&ck);
  }
}

static void test_load_of_another_model_names_both_sides(void **state) {
  (void)state;
  struct test_plan p;
  struct stk_ckpt_target targets[PLAN_TENSORS];
  struct stk_ckpt ck;
  struct sp_err err = {0};
  make_plan(&p, tt_tmpfile("another"), 1);
  assert_int_equal(stk_ckpt_open(save_plan(&p), &ck, NULL), SP_OK);
  make_targets(&p, targets);
  targets[0].dims[1] = 4;
  assert_int_equal(stk_ckpt_read(&ck, targets, PLAN_TENSORS, true, &err), SP_EMISMATCH);
  assert_non_null(strstr(err.text, "net.weight is F32[2,4] in the model, F32[2,3]"));
  make_targets(&p, targets);
  targets[0].dtype = STK_ST_F64;
  assert_int_equal(stk_ckpt_read(&ck, targets, PLAN_TENSORS, true, &err), SP_EMISMATCH);
  assert_non_null(strstr(err.text, "F64[2,3] in the model"));
  make_targets(&p, targets);
  targets[2].name = "bn.running_var";
  assert_int_equal(stk_ckpt_read(&ck, targets, PLAN_TENSORS, true, &err), SP_EMISMATCH);
  assert_non_null(strstr(err.text, "bn.running_var"));
  make_targets(&p, targets);
  assert_int_equal(stk_ckpt_read(&ck, targets, 4, true, &err), SP_EMISMATCH);
  assert_non_null(strstr(err.text, "exp_avg.net.weight"));
  assert_int_equal(stk_ckpt_read(&ck, targets, 4, false, &err), SP_OK);
  stk_ckpt_close(&ck);
}

static void flip(const char *dir, const char *name, size_t offset) {
  char path[1024];
  size_t n;
  snprintf(path, sizeof path, "%s/%s", dir, name);
  char *bytes = tt_read_file(path, &n);
  assert_true(offset < n);
  bytes[offset] ^= 4;
  tt_write_file(path, bytes, n);
  sp_free(bytes);
}

static void test_load_every_flipped_byte_of_a_shard_is_found(void **state) {
  (void)state;
  struct test_plan p;
  struct stk_ckpt ck;
  make_plan(&p, tt_tmpfile("flips"), 1);
  const char *path = save_plan(&p);
  assert_int_equal(stk_ckpt_open(path, &ck, NULL), SP_OK);
  static const size_t at[] = {0, 8, 9, 40, 500, 4095, 4096, 4100, 4151};
  for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
    flip(path, "model.safetensors", at[i]);
    assert_int_equal(stk_ckpt_verify(&ck, NULL), SP_ECORRUPT);
    flip(path, "model.safetensors", at[i]);
  }
  assert_int_equal(stk_ckpt_verify(&ck, NULL), SP_OK);
  stk_ckpt_close(&ck);
}

static void test_load_damaged_tensor_is_named(void **state) {
  (void)state;
  struct test_plan p;
  struct stk_ckpt_target targets[PLAN_TENSORS];
  struct stk_ckpt ck;
  struct sp_err err = {0};
  make_plan(&p, tt_tmpfile("damage"), 1);
  const char *path = save_plan(&p);
  flip(path, "model.safetensors", 4100);
  assert_int_equal(stk_ckpt_open(path, &ck, NULL), SP_OK);
  make_targets(&p, targets);
  assert_int_equal(stk_ckpt_read(&ck, targets, PLAN_TENSORS, true, &err), SP_ECORRUPT);
  assert_non_null(strstr(err.text, "num_batches_tracked"));
  assert_non_null(strstr(err.text, path));
  stk_ckpt_close(&ck);
}

static void test_load_truncated_or_missing_file_is_not_a_checkpoint(void **state) {
  (void)state;
  struct test_plan p;
  struct stk_ckpt ck;
  char file[1024];
  make_plan(&p, tt_tmpfile("cut"), 1);
  const char *path = save_plan(&p);
  snprintf(file, sizeof file, "%s/optim.safetensors", path);
  assert_int_equal(truncate(file, 4100), 0);
  assert_int_equal(stk_ckpt_open(path, &ck, NULL), SP_ECORRUPT);
  assert_int_equal(unlink(file), 0);
  assert_int_equal(stk_ckpt_open(path, &ck, NULL), SP_ENOENT);
  assert_int_equal(symlink("model.safetensors", file), 0);
  assert_int_equal(stk_ckpt_open(path, &ck, NULL), SP_ECORRUPT);
}

static void test_find_last_skips_what_is_not_whole(void **state) {
  (void)state;
  struct test_plan p;
  char found[PATH_MAX];
  make_plan(&p, tt_tmpfile("last"), 1);
  p.plan.step = 9;
  save_plan(&p);
  p.plan.step = 100;
  save_plan(&p);
  p.plan.step = 20;
  save_plan(&p);
  assert_int_equal(stk_ckpt_find(p.plan.parent, "last", found, NULL), SP_OK);
  assert_string_equal(strrchr(found, '/'), "/step-100");
  flip(found, "MANIFEST", 50);
  assert_int_equal(stk_ckpt_find(p.plan.parent, "last", found, NULL), SP_OK);
  assert_string_equal(strrchr(found, '/'), "/step-20");
  struct stk_ckpt_info *infos;
  size_t n;
  assert_int_equal(stk_ckpt_list(p.plan.parent, &infos, &n, NULL), SP_OK);
  assert_int_equal(n, 3);
  assert_false(infos[0].valid);
  assert_non_null(strstr(infos[0].why, "CRC32C"));
  assert_true(infos[1].valid && infos[1].step == 20 && infos[1].bytes > 8192);
  sp_free(infos);
}

static void test_find_where_there_is_nothing_says_so(void **state) {
  (void)state;
  char found[PATH_MAX];
  struct sp_err err = {0};
  assert_int_equal(stk_ckpt_find(tt_tmpfile("nothing"), "last", found, &err), SP_ENOENT);
  assert_non_null(strstr(err.text, "holds none"));
  assert_int_equal(stk_ckpt_find(tt_tmpfile("nothing"), "best", found, &err), SP_ENOENT);
  assert_non_null(strstr(err.text, "ModelCheckpoint"));
  assert_int_equal(stk_ckpt_find(NULL, "some/path", found, &err), SP_OK);
  assert_string_equal(found, "some/path");
}

static void test_find_best_follows_the_record(void **state) {
  (void)state;
  struct test_plan p;
  char found[PATH_MAX];
  make_plan(&p, tt_tmpfile("best"), 1);
  save_plan(&p);
  assert_int_equal(stk_ckpt_mark_best(p.plan.parent, "step-12", "val_loss", 0.25, NULL), SP_OK);
  assert_int_equal(stk_ckpt_find(p.plan.parent, "best", found, NULL), SP_OK);
  assert_string_equal(strrchr(found, '/'), "/step-12");
  assert_int_equal(stk_ckpt_mark_best(p.plan.parent, "../x", "val_loss", 0.25, NULL), SP_EINVAL);
  char file[1024];
  snprintf(file, sizeof file, "%s/best.json", p.plan.parent);
  tt_write_file(file, "{\"name\": \"../../etc\"}", 21);
  assert_int_equal(stk_ckpt_find(p.plan.parent, "best", found, NULL), SP_ECORRUPT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_load_gives_every_tensor_and_the_control_page),
      tt_test(test_load_of_another_model_names_both_sides),
      tt_test(test_load_every_flipped_byte_of_a_shard_is_found),
      tt_test(test_load_damaged_tensor_is_named),
      tt_test(test_load_truncated_or_missing_file_is_not_a_checkpoint),
      tt_test(test_find_last_skips_what_is_not_whole),
      tt_test(test_find_where_there_is_nothing_says_so),
      tt_test(test_find_best_follows_the_record),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
