/* Text: windows, shifted targets, wide tokens, limits. */
#include "tests/lib/tt.h"

#include "engine/data/dataset.h"
#include "tests/unit/data/files.h"

#include <string.h>

static sp_status try_open(sp_data_kind kind, const char *path, int64_t block, int64_t stride,
                          struct stk_dataset **ds, struct sp_err *err) {
  struct stk_data_spec spec = {.kind = kind, .path = path, .block = block, .stride = stride};
  return stk_dataset_open(&spec, ds, err);
}

static void test_raw_targets_are_shifted_by_one(void **state) {
  (void)state;
  struct stk_dataset *ds;
  int32_t x[8];
  int32_t y[8];
  const char *path = write_raw("text", "abcdefghi", 9);
  assert_int_equal(try_open(SP_DATA_BYTES, path, 4, 0, &ds, NULL), SP_OK);
  assert_int_equal(stk_dataset_info(ds)->n_samples, 2);
  stk_reader_request both = {.ids = (int64_t[]){1, 0}, .n = 2};
  assert_int_equal(stk_dataset_read(ds, &both, false, x, y, NULL), SP_OK);
  const int32_t want_x[] = {'e', 'f', 'g', 'h', 'a', 'b', 'c', 'd'};
  const int32_t want_y[] = {'f', 'g', 'h', 'i', 'b', 'c', 'd', 'e'};
  assert_memory_equal(x, want_x, sizeof x);
  assert_memory_equal(y, want_y, sizeof y);
  stk_dataset_close(ds);
}

static void test_raw_sample_count_needs_a_last_target(void **state) {
  (void)state;
  static const struct {
    int64_t n_tokens, block, stride, n_samples, overlap;
  } cases[] = {
      {5, 4, 0, 1, 0}, {8, 4, 0, 1, 0}, {9, 4, 0, 2, 0}, {9, 4, 1, 5, 3},
      {9, 4, 2, 3, 1}, {9, 4, 3, 2, 1}, {2, 1, 0, 1, 0}, {10, 2, 5, 2, 0},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct stk_dataset *ds;
    const char *path = write_raw("count", "0123456789", (size_t)cases[i].n_tokens);
    sp_status st = try_open(SP_DATA_BYTES, path, cases[i].block, cases[i].stride, &ds, NULL);
    assert_int_equal(st, SP_OK);
    assert_int_equal(stk_dataset_info(ds)->n_samples, cases[i].n_samples);
    assert_int_equal(stk_dataset_overlap(ds), cases[i].overlap);
    stk_dataset_close(ds);
  }
}

static void test_raw_split_with_overlap_shares_no_token(void **state) {
  (void)state;
  struct stk_dataset *ds;
  struct stk_data_range train;
  struct stk_data_range val;
  const char *path = write_raw("overlap", "0123456789abcdefghijk", 21);
  assert_int_equal(try_open(SP_DATA_BYTES, path, 4, 1, &ds, NULL), SP_OK);
  assert_int_equal(stk_dataset_split(ds, 0.25, &train, &val, NULL), SP_OK);
  assert_int_equal(val.n, 4);
  assert_int_equal(val.first, 13);
  assert_true(train.n - 1 + 4 <= val.first);
  stk_dataset_close(ds);
}

static void test_raw_wide_tokens_are_little_endian(void **state) {
  (void)state;
  struct stk_dataset *ds;
  int32_t x[1];
  int32_t y[1];
  stk_reader_request one = {.ids = (int64_t[]){0}, .n = 1};
  const char *path = write_raw("u16", "\x01\x02\x03\xff", 4);
  assert_int_equal(try_open(SP_DATA_UINT16, path, 1, 0, &ds, NULL), SP_OK);
  assert_int_equal(stk_dataset_read(ds, &one, false, x, y, NULL), SP_OK);
  assert_int_equal(x[0], 0x0201);
  assert_int_equal(y[0], 0xff03);
  stk_dataset_close(ds);
  path = write_raw("u32", "\x01\x02\x03\x04\xff\xff\xff\x7f", 8);
  assert_int_equal(try_open(SP_DATA_UINT32, path, 1, 0, &ds, NULL), SP_OK);
  assert_int_equal(stk_dataset_read(ds, &one, false, x, y, NULL), SP_OK);
  assert_int_equal(x[0], 0x04030201);
  assert_int_equal(y[0], INT32_MAX);
  stk_dataset_close(ds);
}

static void test_raw_token_above_31_bits_names_the_sample(void **state) {
  (void)state;
  struct stk_dataset *ds;
  struct sp_err err = {0};
  int32_t x[1];
  int32_t y[1];
  stk_reader_request one = {.ids = (int64_t[]){0}, .n = 1};
  const char *path = write_raw("u32bad", "\x01\x00\x00\x00\x00\x00\x00\x80", 8);
  assert_int_equal(try_open(SP_DATA_UINT32, path, 1, 0, &ds, NULL), SP_OK);
  assert_int_equal(stk_dataset_read(ds, &one, false, x, y, &err), SP_ERANGE);
  assert_non_null(strstr(err.text, "sample 0"));
  stk_dataset_close(ds);
}

static void test_raw_token_outside_vocabulary_names_sample_and_place(void **state) {
  (void)state;
  struct stk_dataset *ds;
  struct sp_err err = {0};
  int32_t x[2];
  int32_t y[2];
  const char *path = write_raw("vocab", "\x01\x02\x03\x04\x09\x02\x01", 7);
  assert_int_equal(try_open(SP_DATA_BYTES, path, 2, 0, &ds, NULL), SP_OK);
  stk_dataset_set_limits(ds, 9, 0);
  stk_reader_request one = {.ids = (int64_t[]){2}, .n = 1};
  assert_int_equal(stk_dataset_read(ds, &one, false, x, y, &err), SP_ERANGE);
  assert_non_null(strstr(err.text, "sample 2: x[0] is 9"));
  stk_dataset_close(ds);
}

static void test_raw_impossible_files_are_refused(void **state) {
  (void)state;
  struct stk_dataset *ds;
  struct sp_err err = {0};
  assert_int_equal(try_open(SP_DATA_BYTES, write_raw("s", "abcd", 4), 4, 0, &ds, &err), SP_EINVAL);
  assert_non_null(strstr(err.text, "4 tokens"));
  assert_int_equal(try_open(SP_DATA_BYTES, write_raw("e", "", 0), 4, 0, &ds, &err), SP_ECORRUPT);
  assert_int_equal(try_open(SP_DATA_UINT16, write_raw("o", "abc", 3), 1, 0, &ds, &err),
                   SP_ECORRUPT);
  assert_int_equal(try_open(SP_DATA_BYTES, write_raw("z", "abc", 3), 0, 0, &ds, &err), SP_EINVAL);
  assert_int_equal(try_open(SP_DATA_BYTES, write_raw("h", "abc", 3), INT64_MAX, 1, &ds, &err),
                   SP_EINVAL);
  assert_int_equal(try_open(SP_DATA_BYTES, tt_tmpfile("absent"), 4, 0, &ds, &err), SP_ENOENT);
  assert_int_equal(try_open(SP_DATA_BYTES, "/dev/null", 4, 0, &ds, &err), SP_EINVAL);
}

static void test_raw_directory_role_chooses_the_file(void **state) {
  (void)state;
  make_dir("texts");
  write_raw("texts/train.txt", "abcdef", 6);
  write_raw("texts/val.txt", "abc", 3);
  struct stk_data_spec spec = {.path = tt_tmpfile("texts"), .role = STK_DATA_VAL, .block = 1};
  struct stk_dataset *ds;
  assert_true(stk_data_holds_role(&spec));
  assert_int_equal(stk_dataset_open(&spec, &ds, NULL), SP_OK);
  assert_int_equal(stk_dataset_info(ds)->n_samples, 2);
  stk_dataset_close(ds);
  spec.role = STK_DATA_TEST;
  assert_false(stk_data_holds_role(&spec));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_raw_targets_are_shifted_by_one),
      tt_test(test_raw_sample_count_needs_a_last_target),
      tt_test(test_raw_split_with_overlap_shares_no_token),
      tt_test(test_raw_wide_tokens_are_little_endian),
      tt_test(test_raw_token_above_31_bits_names_the_sample),
      tt_test(test_raw_token_outside_vocabulary_names_sample_and_place),
      tt_test(test_raw_impossible_files_are_refused),
      tt_test(test_raw_directory_role_chooses_the_file),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
