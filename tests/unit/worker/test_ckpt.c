/* A session's tensors to and from checkpoints: what is in the files, what a failed load leaves. */
#include "tests/lib/tt.h"

#include "worker/ckpt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/nn/module.h"
#include "proto/base/mem.h"

static const char cnn_job[] =
    "model: {class: sequential, layers: [conv2d: {out: 2, kernel: 3}, batch_norm, relu, "
    "flatten, linear: {out: 4}], loss: cross_entropy}\n"
    "data: {kind: synthetic, shape: [1, 6, 6], num_classes: 4, num_samples: 40, batch_size: 8}\n"
    "trainer: {threads: 1, max_epochs: 1}\n";

static struct sw_setup *open_job(const char *name, const char *text, const char *option,
                                 const char *value) {
  struct sp_err err = {0};
  const char *path = tt_tmpfile(name), *args[] = {option, value};
  struct sw_setup *s = sp_alloc(sizeof *s);
  assert_non_null(s);
  tt_write_file(path, text, strlen(text));
  if (sw_setup_open(path, args, option ? 2 : 0, STK_TRAIN, s, &err)) {
    fail_msg("%s", err.text);
  }
  stk_state_init(stk_session_state(s->session), s->module, 1, NULL);
  return s;
}

static void close_job(struct sw_setup *s) {
  sw_setup_close(s);
  sp_free(s);
}

static const char *save(struct sw_setup *s) {
  static char path[PATH_MAX];
  struct sp_err err = {0};
  struct stk_ckpt_saved saved;
  if (sw_ckpt_save(s, tt_tmpfile("checkpoints"), "run", &saved, &err)) {
    fail_msg("%s", err.text);
  }
  snprintf(path, sizeof path, "%s/%s", tt_tmpfile("checkpoints"), saved.name);
  return path;
}

static const struct stk_manifest_tensor *find(const struct stk_ckpt *ck, const char *name) {
  for (size_t i = 0; i < ck->manifest.n_tensors; i++) {
    if (strcmp(ck->manifest.tensors[i].name, name) == 0) {
      return &ck->manifest.tensors[i];
    }
  }
  return NULL;
}

static void test_save_of_batch_norm_has_batches_tracked(void **state) {
  (void)state;
  struct sp_err err = {0};
  struct sw_setup *s = open_job("bn.yaml", cnn_job, NULL, NULL);
  stk_session_state(s->session)->now->total_batches = 7;
  struct stk_ckpt ck = {0};
  int64_t tracked = 0;
  assert_int_equal(stk_ckpt_open(save(s), &ck, &err), SP_OK);
  const struct stk_manifest_tensor *t = find(&ck, "layers.1.num_batches_tracked");
  assert_non_null(t);
  assert_int_equal(t->dtype, STK_ST_I64);
  assert_int_equal(t->rank, 0);
  const struct stk_ckpt_target to = {.name = t->name, .dtype = STK_ST_I64, .data = &tracked};
  assert_int_equal(stk_ckpt_read(&ck, &to, 1, false, &err), SP_OK);
  assert_int_equal(tracked, 7);
  stk_ckpt_close(&ck);
  close_job(s);
}

static void test_resume_reads_what_save_wrote(void **state) {
  (void)state;
  struct sp_err err = {0};
  struct sw_setup *a = open_job("a.yaml", cnn_job, NULL, NULL);
  struct sw_setup *b = open_job("b.yaml", cnn_job, "--trainer.passes", "[-fuse]");
  struct stk_state *sa = stk_session_state(a->session), *sb = stk_session_state(b->session);
  uint8_t ha[32], hb[32];
  memset(sa->slot[0] + sa->layout.section_bytes, 0x3c, 64); /* a moment */
  sa->now->total_batches = 5;
  sa->now->global_step = 5;
  sa->now->log_position[1] = 99;
  if (sw_ckpt_resume(b, save(a), &err)) {
    fail_msg("%s", err.text);
  }
  stk_state_hash(sa, ha);
  stk_state_hash(sb, hb);
  assert_memory_equal(ha, hb, sizeof ha);
  assert_memory_equal(sb->slot[0], sb->slot[1], (size_t)sb->layout.section_bytes * 3);
  close_job(a);
  close_job(b);
}

/* Clocks, sequence numbers, slots and log positions are no part of a state. */
static void test_identity_of_other_clocks_is_equal(void **state) {
  (void)state;
  struct sw_setup *s = open_job("id.yaml", cnn_job, NULL, NULL);
  struct stk_state *st = stk_session_state(s->session);
  uint8_t a[32], b[32], c[32];
  stk_state_hash(st, a);
  stk_state_commit(st);
  st->now->slot = 1;
  st->now->running = 1;
  st->now->elapsed_ns = 12345;
  st->now->log_position[0] = 1;
  snprintf(st->now->ckpt[0].newest, sizeof st->now->ckpt[0].newest, "epoch=0-v1");
  stk_state_hash(st, b);
  assert_memory_equal(a, b, sizeof a);
  st->now->batch++;
  stk_state_hash(st, c);
  assert_memory_not_equal(a, c, sizeof a);
  close_job(s);
}

static void test_failed_load_leaves_the_other_slot(void **state) {
  (void)state;
  struct sp_err err = {0};
  struct sw_setup *s = open_job("fail.yaml", cnn_job, NULL, NULL);
  struct stk_state *st = stk_session_state(s->session);
  char *path = sp_strdup(save(s)), file[PATH_MAX];
  size_t n;
  snprintf(file, sizeof file, "%s/model.safetensors", path);
  char *bytes = tt_read_file(file, &n);
  bytes[n - 1] ^= 1;
  tt_write_file(file, bytes, n);
  memset(st->slot[0], 0x11, 64);
  memset(st->slot[1], 0x22, 64);
  assert_int_equal(sw_ckpt_load_weights(s, path, &err), SP_ECORRUPT);
  for (int i = 0; i < 64; i++) {
    assert_int_equal(st->slot[1][i], 0x22);
  }
  sp_free(bytes);
  sp_free(path);
  close_job(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_save_of_batch_norm_has_batches_tracked),
      tt_test(test_resume_reads_what_save_wrote),
      tt_test(test_identity_of_other_clocks_is_equal),
      tt_test(test_failed_load_leaves_the_other_slot),
  };
  return cmocka_run_group_tests_name("worker/ckpt", tests, NULL, NULL);
}
