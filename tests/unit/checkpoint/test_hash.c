/* The hash of weights: the same from memory, a checkpoint, a file and plain SHA-256. */
#include "tests/lib/tt.h"

#include "engine/checkpoint/hash.h"
#include "proto/base/sha256.h"
#include "tests/unit/checkpoint/plan.h"

#include <stdio.h>
#include <string.h>

static void test_hash_is_sha256_in_order_of_names(void **state) {
  (void)state;
  struct test_plan p;
  uint8_t plain[64];
  uint8_t want[STK_HASH_BYTES];
  uint8_t got[STK_HASH_BYTES];
  make_plan(&p, tt_tmpfile("order"), 1);
  memcpy(plain, &p.tracked, 8);
  memcpy(plain + 8, p.running_mean, 12);
  memcpy(plain + 20, p.bias, 12);
  memcpy(plain + 32, p.weight, 24);
  sp_sha256_of(plain, 56, want);
  assert_int_equal(stk_ckpt_hash_tensors(p.tensors, PLAN_TENSORS, got, NULL), SP_OK);
  assert_memory_equal(got, want, sizeof want);
  p.plan.shard_bytes = 30;
  const char *path = save_plan(&p);
  assert_int_equal(stk_ckpt_hash(path, got, NULL), SP_OK);
  assert_memory_equal(got, want, sizeof want);
}

static void test_hash_of_a_file_and_its_hex(void **state) {
  (void)state;
  struct test_plan p;
  uint8_t got[STK_HASH_BYTES];
  uint8_t want[STK_HASH_BYTES];
  char hex[2 * STK_HASH_BYTES + 1];
  char file[1024];
  make_plan(&p, tt_tmpfile("file"), 1);
  snprintf(file, sizeof file, "%s/model.safetensors", save_plan(&p));
  assert_int_equal(stk_ckpt_hash(file, got, NULL), SP_OK);
  assert_int_equal(stk_ckpt_hash_tensors(p.tensors, PLAN_TENSORS, want, NULL), SP_OK);
  assert_memory_equal(got, want, sizeof want);
  stk_hash_hex(got, hex);
  assert_int_equal(strlen(hex), 64);
}

static void test_hash_maps_every_nan_to_one(void **state) {
  (void)state;
  const uint32_t a[] = {0x7fc00000, 0x3f800000};
  const uint32_t b[] = {0xffc12345, 0x3f800000};
  const uint32_t c[] = {0x7f800000, 0x3f800000};
  uint8_t hash[3][STK_HASH_BYTES];
  const void *data[] = {a, b, c};
  for (int i = 0; i < 3; i++) {
    const struct stk_ckpt_tensor t = {"x", STK_CKPT_MODEL, STK_ST_F32, 1, {2}, data[i]};
    assert_int_equal(stk_ckpt_hash_tensors(&t, 1, hash[i], NULL), SP_OK);
  }
  assert_memory_equal(hash[0], hash[1], STK_HASH_BYTES);
  assert_memory_not_equal(hash[0], hash[2], STK_HASH_BYTES);
  assert_int_equal(b[0], 0xffc12345);
}

static void test_hash_of_nothing_fails(void **state) {
  (void)state;
  uint8_t got[STK_HASH_BYTES];
  assert_int_equal(stk_ckpt_hash(tt_tmpfile("absent"), got, NULL), SP_ENOENT);
  tt_write_file(tt_tmpfile("text"), "not a safetensors file", 22);
  assert_int_equal(stk_ckpt_hash(tt_tmpfile("text"), got, NULL), SP_ECORRUPT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_hash_is_sha256_in_order_of_names),
      tt_test(test_hash_of_a_file_and_its_hex),
      tt_test(test_hash_maps_every_nan_to_one),
      tt_test(test_hash_of_nothing_fails),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
