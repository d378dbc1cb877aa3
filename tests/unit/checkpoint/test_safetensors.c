/* safetensors: what is written is read back; headers that lie are refused, each for its reason. */
#include "tests/lib/tt.h"

#include "engine/checkpoint/safetensors.h"
#include "proto/base/mem.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A file of this header and n_data zero bytes, parsed. */
static sp_status parse(const char *header, size_t n_data, struct stk_st_index *out,
                       struct sp_err *err) {
  uint8_t head[4096] = {0};
  size_t n = strlen(header);
  head[0] = (uint8_t)n;
  head[1] = (uint8_t)(n >> 8);
  memcpy(head + 8, header, n);
  return stk_st_parse(head, 8 + n, 8 + n + n_data, out, err);
}

static void test_safetensors_written_file_is_read_back(void **state) {
  (void)state;
  const float a[] = {1, 2, 3, 4};
  const double b[] = {5};
  const uint8_t c[] = {6, 7, 8};
  struct stk_st_entry entries[] = {
      {.name = "c", .dtype = STK_ST_U8, .rank = 1, .dims = {3}},
      {.name = "a", .dtype = STK_ST_F32, .rank = 2, .dims = {2, 2}},
      {.name = "b \"q\" \xc3\xa9", .dtype = STK_ST_F64, .rank = 0},
  };
  const void *data[] = {c, a, b};
  const struct stk_st_pair metadata[] = {{"k", "v\n"}};
  const char *path = tt_tmpfile("x.safetensors");
  assert_int_equal(stk_st_write_file(path, entries, data, 3, metadata, 1, NULL), SP_OK);
  int fd = open(path, O_RDONLY);
  struct stk_st_index index;
  assert_int_equal(stk_st_read_index(fd, path, &index, NULL), SP_OK);
  assert_int_equal(index.n_entries, 3);
  assert_int_equal(index.data_offset, STK_ST_ALIGN);
  assert_string_equal(index.entries[0].name, "b \"q\" \xc3\xa9");
  assert_string_equal(index.metadata[0].value, "v\n");
  const struct stk_st_entry *e = stk_st_find(&index, "a");
  float got[4];
  assert_int_equal(e->rank, 2);
  assert_int_equal(pread(fd, got, sizeof got, (off_t)(index.data_offset + e->begin)), 16);
  assert_memory_equal(got, a, sizeof a);
  assert_null(stk_st_find(&index, "d"));
  stk_st_index_free(&index);
  close(fd);
}

static void test_safetensors_empty_and_scalar_tensors_are_allowed(void **state) {
  (void)state;
  struct stk_st_index index;
  assert_int_equal(parse("{}", 0, &index, NULL), SP_OK);
  stk_st_index_free(&index);
  assert_int_equal(parse("{\"a\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[0,0]},"
                         "\"b\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}   ",
                         4, &index, NULL),
                   SP_OK);
  assert_int_equal(index.n_entries, 2);
  stk_st_index_free(&index);
}

#define T(shape, offsets) "{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void test_safetensors_lying_headers_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *header;
    size_t n_data;
    const char *why;
  } cases[] = {
      {"", 0, "begin with '{'"},
      {" {}", 0, "begin with '{'"},
      {"{", 0, "string is missing"},
      {"{} x", 0, "follows the end"},
      {"{\"a\":" T("[2]", "[0,8]"), 8, "'}' is missing"},
      {"{\"a\":" T("[2]", "[0,4]") "}", 4, "disagree"},
      {"{\"a\":" T("[2]", "[8,0]") "}", 8, "backwards"},
      {"{\"a\":" T("[2]", "[4,12]") "}", 12, "begins at 4"},
      {"{\"a\":" T("[2]", "[0,8]") "}", 9, "end at 8"},
      {"{\"a\":" T("[2]", "[0,8]") "}", 7, "end at 8"},
      {"{\"a\":" T("[2]", "[0,8]") ",\"b\":" T("[2]", "[0,8]") "}", 8, "begins at 0"},
      {"{\"a\":" T("[2]", "[0,8]") ",\"b\":" T("[1]", "[12,16]") "}", 16, "begins at 12"},
      {"{\"a\":" T("[1]", "[0,4]") ",\"a\":" T("[1]", "[4,8]") "}", 8, "stands twice"},
      {"{\"a\":" T("[-1]", "[0,4]") "}", 4, "whole number"},
      {"{\"a\":" T("[1.0]", "[0,4]") "}", 4, "']' is missing"},
      {"{\"a\":" T("[1e0]", "[0,4]") "}", 4, "']' is missing"},
      {"{\"a\":" T("[01]", "[0,4]") "}", 4, "whole number"},
      {"{\"a\":" T("[9223372036854775808]", "[0,4]") "}", 4, "too large"},
      {"{\"a\":" T("[4611686018427387904,4]", "[0,0]") "}", 0, "disagree"},
      {"{\"a\":" T("[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "8 dimensions"},
      {"{\"a\":" T("[1]", "[0,4,8]") "}", 4, "']' is missing"},
      {"{\"a\":" T("[1]", "[0]") "}", 4, "',' is missing"},
      {"{\"a\":{\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "unknown dtype"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 0, "lacks"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
       "unknown field"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4,
       "unknown field"},
      {"{\"a\":[]}", 0, "'{' is missing"},
      {"{\"a\":1}", 0, "'{' is missing"},
      {"{\"a\\q\":1}", 0, "escape"},
      {"{\"a\\u12\":1}", 0, "escape"},
      {"{\"a\\ud800\":1}", 0, "surrogate"},
      {"{\"a\\u0000\":1}", 0, "zero"},
      {"{\"a\xff\":1}", 0, "UTF-8"},
      {"{\"a\xc0\x80\":1}", 0, "UTF-8"},
      {"{\"a\n\":1}", 0, "control character"},
      {"{\"a", 0, "does not end"},
      {"{\"__metadata__\":{\"a\":1}}", 0, "string is missing"},
      {"{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "stands twice"},
      {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "stands twice"},
      {"{\"__metadata__\":{\"a\":\"1\"", 0, "'}' is missing"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct stk_st_index index;
    struct sp_err err = {0};
    sp_status st = parse(cases[i].header, cases[i].n_data, &index, &err);
    if (st != SP_ECORRUPT || !strstr(err.text, cases[i].why)) {
      fail_msg("%s: status %d, '%s'", cases[i].header, st, err.text);
    }
  }
}

static void test_safetensors_header_length_is_bounded(void **state) {
  (void)state;
  struct stk_st_index index;
  const uint8_t huge[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{', '}'};
  const uint8_t more[16] = {9, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
  const uint8_t above[16] = {0x01, 0xe1, 0xf5, 0x05, 0, 0, 0, 0, '{', '}'}; /* 10^8 + 1 */
  assert_int_equal(stk_st_parse(huge, 16, 16, &index, NULL), SP_ECORRUPT);
  assert_int_equal(stk_st_parse(more, 16, 16, &index, NULL), SP_ECORRUPT);
  assert_int_equal(stk_st_parse(above, 16, (uint64_t)1 << 40, &index, NULL), SP_ECORRUPT);
  assert_int_equal(stk_st_parse(more, 7, 7, &index, NULL), SP_ECORRUPT);
}

static void test_safetensors_truncation_at_every_length_is_refused(void **state) {
  (void)state;
  struct stk_st_entry entry = {.name = "a", .dtype = STK_ST_F32, .rank = 1, .dims = {2}};
  uint8_t *head;
  size_t n;
  uint64_t bytes;
  assert_int_equal(stk_st_layout(&entry, 1, &bytes, NULL), SP_OK);
  assert_int_equal(stk_st_render(&entry, 1, NULL, 0, &head, &n, NULL), SP_OK);
  struct stk_st_index index;
  for (size_t cut = 0; cut < n + bytes; cut++) {
    assert_int_equal(stk_st_parse(head, cut < n ? cut : n, cut, &index, NULL), SP_ECORRUPT);
  }
  assert_int_equal(stk_st_parse(head, n, n + bytes, &index, NULL), SP_OK);
  stk_st_index_free(&index);
  sp_free(head);
}

static void test_safetensors_unwritable_names_are_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"", "__metadata__", "\xff"};
  uint64_t bytes;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct stk_st_entry entry = {.name = bad[i], .dtype = STK_ST_F32};
    assert_int_equal(stk_st_layout(&entry, 1, &bytes, NULL), SP_EINVAL);
  }
  struct stk_st_entry twice[] = {{.name = "a", .dtype = STK_ST_F32},
                                 {.name = "a", .dtype = STK_ST_U8}};
  assert_int_equal(stk_st_layout(twice, 2, &bytes, NULL), SP_EINVAL);
}

static void test_safetensors_without_memory_fails_cleanly(void **state) {
  (void)state;
  const char *header =
      "{\"__metadata__\":{\"k\":\"v\"},\"a\":" T("[1]", "[0,4]") ",\"b\":" T("[1]", "[4,8]") "}";
  for (long n = 1;; n++) {
    struct stk_st_index index = {0};
    tt_fail_alloc(n);
    sp_status st = parse(header, 8, &index, NULL);
    bool failed = tt_alloc_failed();
    tt_fail_alloc(0);
    if (!failed) {
      assert_int_equal(st, SP_OK);
      stk_st_index_free(&index);
      break;
    }
    assert_int_equal(st, SP_ENOMEM); /* never SP_ECORRUPT: it would be passed over */
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_safetensors_written_file_is_read_back),
      tt_test(test_safetensors_empty_and_scalar_tensors_are_allowed),
      tt_test(test_safetensors_lying_headers_are_refused),
      tt_test(test_safetensors_header_length_is_bounded),
      tt_test(test_safetensors_truncation_at_every_length_is_refused),
      tt_test(test_safetensors_unwritable_names_are_refused),
      tt_test(test_safetensors_without_memory_fails_cleanly),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
