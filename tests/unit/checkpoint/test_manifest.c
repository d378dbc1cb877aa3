/* MANIFEST: round trip, every single-bit flip and truncation found, fields that lie. */
#include "tests/lib/tt.h"

#include "engine/checkpoint/manifest.h"
#include "proto/base/crc32c.h"
#include "proto/base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static uint8_t control[] = {0, 1, 2, 255, 254};
static struct stk_manifest_pair hparams[] = {
    {(char *)(uintptr_t) "lr", (char *)(uintptr_t) "1e-3"}};

static struct stk_manifest_file files[] = {{(char *)(uintptr_t) "model.safetensors", 4196, 7}};
static struct stk_manifest_tensor tensors[] = {
    {(char *)(uintptr_t) "net.w\"\n",
     STK_CKPT_MODEL,
     STK_ST_F32,
     2,
     {5, 5},
     0,
     4096,
     100,
     0xabcdef01},
};

static struct stk_manifest example(void) {
  char *empty = (char *)(uintptr_t) "";
  return (struct stk_manifest){
      .job = (char *)(uintptr_t) "j",
      .step = 9,
      .nonce = empty,
      .precision = (char *)(uintptr_t) "32-true",
      .lanes = 3,
      .graph_hash = empty,
      .module = empty,
      .module_sha256 = empty,
      .state_hash = empty,
      .hparams = hparams,
      .n_hparams = 1,
      .control = control,
      .control_bytes = sizeof control,
      .files = files,
      .n_files = 1,
      .tensors = tensors,
      .n_tensors = 1,
  };
}

static void test_manifest_round_trip_keeps_everything(void **state) {
  (void)state;
  struct stk_manifest m = example();
  struct stk_manifest got;
  char *text;
  size_t n;
  assert_int_equal(stk_manifest_render(&m, &text, &n, NULL), SP_OK);
  assert_int_equal(stk_manifest_parse(text, n, &got, NULL), SP_OK);
  assert_int_equal(got.step, 9);
  assert_int_equal(got.lanes, 3);
  assert_string_equal(got.precision, "32-true");
  assert_string_equal(stk_manifest_hparam(&got, "lr"), "1e-3");
  assert_null(stk_manifest_hparam(&got, "momentum"));
  assert_null(stk_manifest_summary(&got, "lr"));
  assert_int_equal(got.control_bytes, sizeof control);
  assert_memory_equal(got.control, control, sizeof control);
  assert_string_equal(got.tensors[0].name, "net.w\"\n");
  assert_int_equal(got.tensors[0].crc32c, 0xabcdef01);
  assert_int_equal(got.tensors[0].offset, 4096);
  char *again;
  size_t n_again;
  assert_int_equal(stk_manifest_render(&got, &again, &n_again, NULL), SP_OK);
  assert_int_equal(n, n_again);
  assert_memory_equal(text, again, n);
  sp_free(text);
  sp_free(again);
  stk_manifest_free(&got);
}

static void test_manifest_every_bit_flip_is_found(void **state) {
  (void)state;
  struct stk_manifest m = example();
  struct stk_manifest got;
  char *text;
  size_t n;
  assert_int_equal(stk_manifest_render(&m, &text, &n, NULL), SP_OK);
  for (size_t i = 0; i < 8 * n; i++) {
    text[i / 8] = (char)(text[i / 8] ^ 1 << i % 8);
    assert_int_equal(stk_manifest_parse(text, n, &got, NULL), SP_ECORRUPT);
    text[i / 8] = (char)(text[i / 8] ^ 1 << i % 8);
  }
  sp_free(text);
}

static void test_manifest_every_truncation_is_found(void **state) {
  (void)state;
  struct stk_manifest m = example();
  struct stk_manifest got;
  char *text;
  size_t n;
  assert_int_equal(stk_manifest_render(&m, &text, &n, NULL), SP_OK);
  for (size_t cut = 0; cut < n; cut++) {
    assert_int_equal(stk_manifest_parse(text, cut, &got, NULL), SP_ECORRUPT);
  }
  sp_free(text);
}

/* Replaces `from` by `to` in the example's text, mends the checksum, and parses. */
static sp_status parse_changed(const char *from, const char *to, struct sp_err *err) {
  struct stk_manifest m = example();
  struct stk_manifest got = {0};
  char *text;
  size_t n;
  char changed[8192];
  assert_int_equal(stk_manifest_render(&m, &text, &n, NULL), SP_OK);
  text[n - 16] = 0;
  char *at = strstr(text, from);
  assert_non_null(at);
  int length =
      snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
  uint32_t crc = sp_crc32c(0, changed, (size_t)length);
  length +=
      snprintf(changed + length, sizeof changed - (size_t)length, "crc32c %08" PRIx32 "\n", crc);
  sp_status st = stk_manifest_parse(changed, (size_t)length, &got, err);
  stk_manifest_free(&got);
  sp_free(text);
  return st;
}

static void test_manifest_fields_that_lie_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *from;
    const char *to;
    sp_status status;
  } cases[] = {
      {"\"step\": 9", "\"step\": 10", SP_OK}, /* the checksum is mended: a control of this test */
      {"\"format\": 1", "\"format\": 2", SP_EUNSUPPORTED},
      {"\"format\": 1", "\"format\": \"1\"", SP_ECORRUPT},
      {"\"step\": 9", "\"step\": -9", SP_ECORRUPT},
      {"\"step\": 9", "\"step\": 9.5", SP_ECORRUPT},
      {"\"step\": 9", "\"step\": 99999999999999999999", SP_ECORRUPT},
      {"\"step\": 9", "\"step\": 9, \"step\": 9", SP_ECORRUPT},
      {"\"step\": 9", "\"stop\": 9", SP_ECORRUPT},
      {"\"step\": 9,", "", SP_ECORRUPT},
      {"\"step\": 9", "\"step\": 9, \"extra\": 1", SP_ECORRUPT},
      {"\"lanes\": 3", "\"lanes\": 0", SP_ECORRUPT},
      {"\"job\": \"j\"", "\"job\": \"\"", SP_ECORRUPT},
      {"\"job\": \"j\"", "\"job\": \"\\u0000\"", SP_ECORRUPT},
      {"\"1e-3\"", "1", SP_ECORRUPT},
      {"AAEC//4=", "AAEC//4", SP_ECORRUPT},
      {"AAEC//4=", "AAEC//5=", SP_ECORRUPT},
      {"AAEC//4=", "AAE=//4=", SP_ECORRUPT},
      {"model.safetensors", "../safetensors", SP_ECORRUPT},
      {"model.safetensors", "/etc/passwd", SP_ECORRUPT},
      {"model.safetensors", ".hidden", SP_ECORRUPT},
      {"model.safetensors", "MANIFEST", SP_ECORRUPT},
      {"\"shape\": [5, 5]", "\"shape\": [5, 6]", SP_ECORRUPT},
      {"\"shape\": [5, 5]", "\"shape\": [1,1,1,1,1,1,1,5,5]", SP_ECORRUPT},
      {"\"shape\": [5, 5]", "\"shape\": [4611686018427387904, 4]", SP_ECORRUPT},
      {"\"file\": 0", "\"file\": 1", SP_ECORRUPT},
      {"\"offset\": 4096", "\"offset\": 4097", SP_ECORRUPT},
      {"\"bytes\": 100", "\"bytes\": 99", SP_ECORRUPT},
      {"\"abcdef01\"", "\"ABCDEF01\"", SP_ECORRUPT},
      {"\"role\": \"model\"", "\"role\": \"modem\"", SP_ECORRUPT},
      {"\"dtype\": \"F32\"", "\"dtype\": \"F64\"", SP_ECORRUPT},
      {"{\"format\"", "[{\"format\"", SP_ECORRUPT},
      {"\"step\": 9", "\"step\": 9, \"order\": \"00000000000000ab-7\"", SP_OK},
      {"\"step\": 9", "\"step\": 9, \"order\": \"ab-7\"", SP_ECORRUPT},
      {"\"step\": 9", "\"step\": 9, \"order\": \"00000000000000AB-7\"", SP_ECORRUPT},
      {"\"step\": 9", "\"step\": 9, \"order\": \"00000000000000ab-07\"", SP_ECORRUPT},
      {"\"step\": 9", "\"step\": 9, \"order\": \"0000000000000000-0\"", SP_ECORRUPT},
      {"\"step\": 9", "\"step\": 9, \"order\": 7", SP_ECORRUPT},
      {"\"step\": 9,", "\"order\": \"00000000000000ab-7\",", SP_ECORRUPT},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct sp_err err = {0};
    sp_status st = parse_changed(cases[i].from, cases[i].to, &err);
    if (st != cases[i].status) {
      fail_msg("%s -> %s: status %d, '%s'", cases[i].from, cases[i].to, st, err.text);
    }
  }
}

static void test_manifest_order_comes_back_and_is_left_out_where_there_is_none(void **state) {
  (void)state;
  struct stk_manifest m = example();
  struct stk_manifest got;
  char *text;
  size_t n;
  assert_int_equal(stk_manifest_render(&m, &text, &n, NULL), SP_OK);
  assert_null(strstr(text, "order"));
  sp_free(text);
  m.order_run = UINT64_MAX;
  m.order_seq = UINT64_MAX - 1;
  assert_int_equal(stk_manifest_render(&m, &text, &n, NULL), SP_OK);
  assert_int_equal(stk_manifest_parse(text, n, &got, NULL), SP_OK);
  assert_true(got.order_run == UINT64_MAX && got.order_seq == UINT64_MAX - 1);
  stk_manifest_free(&got);
  sp_free(text);
}

static void test_manifest_text_that_is_not_utf8_is_not_written(void **state) {
  (void)state;
  struct stk_manifest m = example();
  char *text;
  size_t n;
  m.job = (char *)(uintptr_t) "\xff";
  assert_int_equal(stk_manifest_render(&m, &text, &n, NULL), SP_EINVAL);
}

static void test_manifest_without_memory_fails_cleanly(void **state) {
  (void)state;
  struct stk_manifest m = example();
  char *text;
  size_t n;
  assert_int_equal(stk_manifest_render(&m, &text, &n, NULL), SP_OK);
  for (long k = 1;; k++) {
    struct stk_manifest got = {0};
    tt_fail_alloc(k);
    sp_status st = stk_manifest_parse(text, n, &got, NULL);
    bool failed = tt_alloc_failed();
    tt_fail_alloc(0);
    if (!failed) {
      assert_int_equal(st, SP_OK);
      stk_manifest_free(&got);
      break;
    }
    assert_int_equal(st, SP_ENOMEM); /* never SP_ECORRUPT: it would be passed over */
  }
  sp_free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_manifest_round_trip_keeps_everything),
      tt_test(test_manifest_every_bit_flip_is_found),
      tt_test(test_manifest_every_truncation_is_found),
      tt_test(test_manifest_fields_that_lie_are_refused),
      tt_test(test_manifest_order_comes_back_and_is_left_out_where_there_is_none),
      tt_test(test_manifest_text_that_is_not_utf8_is_not_written),
      tt_test(test_manifest_without_memory_fails_cleanly),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
