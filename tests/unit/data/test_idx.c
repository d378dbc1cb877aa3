/* IDX files: types, pairing with labels, directories, headers that lie. */
#include "tests/lib/tt.h"

#include "engine/data/dataset.h"
#include "tests/unit/data/files.h"

#include <string.h>

static const uint8_t pixels[24] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11,
                                   12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 255};

static sp_status try_open(const char *path, struct stk_dataset **ds, struct sp_err *err) {
  struct stk_data_spec spec = {.kind = SP_DATA_IDX, .path = path};
  return stk_dataset_open(&spec, ds, err);
}

static struct stk_dataset *open_idx(const char *path) {
  struct stk_dataset *ds = NULL;
  struct sp_err err = {0};
  if (try_open(path, &ds, &err) != SP_OK) {
    fail_msg("%s", err.text);
  }
  return ds;
}

static void test_idx_images_are_read_as_x_over_255(void **state) {
  (void)state;
  struct stk_dataset *ds =
      open_idx(write_idx("plain-images-idx3-ubyte", 3, (uint32_t[]){2, 3, 4}, pixels, 24));
  const stk_reader_info *info = stk_dataset_info(ds);
  assert_int_equal(info->n_samples, 2);
  assert_int_equal(info->x.rank, 3);
  assert_int_equal(info->x.dims[0], 1);
  assert_int_equal(info->x.dims[1], 3);
  assert_int_equal(info->x.dims[2], 4);
  assert_false(info->has_y);
  float x[12];
  stk_reader_request one = {.ids = (int64_t[]){1}, .n = 1};
  assert_int_equal(stk_dataset_read(ds, &one, false, x, NULL, NULL), SP_OK);
  for (int i = 0; i < 12; i++) {
    assert_true(x[i] == (float)pixels[12 + i] / 255.0f);
  }
  stk_dataset_close(ds);
}

static void test_idx_labels_are_paired_by_name(void **state) {
  (void)state;
  write_idx("a-labels-idx1-ubyte", 1, (uint32_t[]){2}, (uint8_t[]){7, 9}, 2);
  struct stk_dataset *ds =
      open_idx(write_idx("a-images-idx3-ubyte", 3, (uint32_t[]){2, 3, 4}, pixels, 24));
  double x[24];
  int32_t y[2];
  stk_reader_request both = {.ids = (int64_t[]){1, 0}, .n = 2};
  assert_true(stk_dataset_info(ds)->has_y);
  assert_int_equal(stk_dataset_y_type(ds), STK_I32);
  assert_int_equal(stk_dataset_read(ds, &both, true, x, y, NULL), SP_OK);
  assert_int_equal(y[0], 9);
  assert_int_equal(y[1], 7);
  assert_true(x[11] == 1.0);
  assert_true(x[13] == 1.0 / 255.0);
  stk_dataset_close(ds);
}

static void test_idx_label_count_mismatch_is_refused(void **state) {
  (void)state;
  struct stk_dataset *ds = NULL;
  struct sp_err err = {0};
  write_idx("b-labels-idx1-ubyte", 1, (uint32_t[]){3}, (uint8_t[]){7, 9, 1}, 3);
  const char *path = write_idx("b-images-idx3-ubyte", 3, (uint32_t[]){2, 3, 4}, pixels, 24);
  assert_int_equal(try_open(path, &ds, &err), SP_EMISMATCH);
  assert_non_null(strstr(err.text, "b-labels-idx1-ubyte"));
}

static void test_idx_directory_role_chooses_the_file(void **state) {
  (void)state;
  make_dir("both");
  write_idx("both/train-images-idx3-ubyte", 3, (uint32_t[]){2, 3, 4}, pixels, 24);
  write_idx("both/t10k-images-idx3-ubyte", 3, (uint32_t[]){1, 3, 4}, pixels, 12);
  static const int64_t n_samples[] = {2, 1, 1, 1};
  for (int role = STK_DATA_TRAIN; role <= STK_DATA_PREDICT; role++) {
    struct stk_data_spec spec = {
        .kind = SP_DATA_AUTO, .path = tt_tmpfile("both"), .role = (enum stk_data_role)role};
    struct stk_dataset *ds;
    assert_int_equal(stk_dataset_open(&spec, &ds, NULL), SP_OK);
    assert_int_equal(stk_dataset_info(ds)->n_samples, n_samples[role]);
    assert_int_equal(stk_data_holds_role(&spec), role != STK_DATA_TRAIN);
    stk_dataset_close(ds);
  }
}

static void test_idx_directory_with_one_file_serves_training_only(void **state) {
  (void)state;
  make_dir("single");
  write_idx("single/mnist-t10k-images-idx3-ubyte", 3, (uint32_t[]){2, 3, 4}, pixels, 24);
  struct stk_dataset *ds = open_idx(tt_tmpfile("single"));
  assert_int_equal(stk_dataset_info(ds)->n_samples, 2);
  stk_dataset_close(ds);
  struct stk_data_spec spec = {.path = tt_tmpfile("single"), .role = STK_DATA_VAL};
  assert_false(stk_data_holds_role(&spec));
}

static void test_idx_ambiguous_directory_names_both_files(void **state) {
  (void)state;
  struct stk_dataset *ds = NULL;
  struct sp_err err = {0};
  make_dir("two");
  write_idx("two/one-images-idx3-ubyte", 3, (uint32_t[]){2, 3, 4}, pixels, 24);
  write_idx("two/two-images-idx3-ubyte", 3, (uint32_t[]){2, 3, 4}, pixels, 24);
  assert_int_equal(try_open(tt_tmpfile("two"), &ds, &err), SP_EINVAL);
  assert_non_null(strstr(err.text, "one-images"));
  assert_non_null(strstr(err.text, "two-images"));
}

static void test_idx_empty_directory_says_what_it_wants(void **state) {
  (void)state;
  struct stk_dataset *ds = NULL;
  struct sp_err err = {0};
  make_dir("empty");
  assert_int_equal(try_open(tt_tmpfile("empty"), &ds, &err), SP_ENOENT);
  assert_non_null(strstr(err.text, "images-idx3-ubyte"));
}

static void test_idx_lying_headers_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *what;
    uint8_t bytes[20];
    size_t n;
  } cases[] = {
      {"short", {0, 0, 8, 1, 0, 0, 0}, 7},
      {"magic", {1, 0, 8, 1, 0, 0, 0, 1, 5}, 9},
      {"type", {0, 0, 7, 1, 0, 0, 0, 1, 5}, 9},
      {"no dimension", {0, 0, 8, 0, 0, 0, 0, 1}, 8},
      {"six dimensions", {0, 0, 8, 6, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1}, 20},
      {"header cut", {0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1}, 12},
      {"zero dimension", {0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 0}, 12},
      {"too few bytes", {0, 0, 8, 1, 0, 0, 0, 3, 1, 2}, 10},
      {"too many bytes", {0, 0, 8, 1, 0, 0, 0, 1, 1, 2}, 10},
      {"overflow", {0, 0, 14, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}, 16},
      {"no samples", {0, 0, 8, 1, 0, 0, 0, 0}, 8},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct stk_dataset *ds = NULL;
    struct sp_err err = {0};
    sp_status st = try_open(write_raw("lying", cases[i].bytes, cases[i].n), &ds, &err);
    if (st == SP_OK || !strstr(err.text, "lying")) {
      fail_msg("%s: status %d, '%s'", cases[i].what, st, err.text);
    }
  }
}

static void test_idx_gzip_without_inflater_is_named(void **state) {
  (void)state;
  struct stk_dataset *ds = NULL;
  struct sp_err err = {0};
  const uint8_t gz[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0};
  assert_int_equal(try_open(write_raw("z.gz", gz, 8), &ds, &err), SP_EUNSUPPORTED);
  assert_non_null(strstr(err.text, "gunzip"));
}

static void test_idx_wider_types_are_swapped(void **state) {
  (void)state;
  static const struct {
    uint8_t bytes[16];
    size_t n;
    double value;
  } cases[] = {
      {{0, 0, 0x09, 1, 0, 0, 0, 1, 0x85}, 9, -123},
      {{0, 0, 0x0b, 1, 0, 0, 0, 1, 0xff, 0xfe}, 10, -2},
      {{0, 0, 0x0c, 1, 0, 0, 0, 1, 0, 1, 0, 0}, 12, 65536},
      {{0, 0, 0x0d, 1, 0, 0, 0, 1, 0x3f, 0xc0, 0, 0}, 12, 1.5},
      {{0, 0, 0x0e, 1, 0, 0, 0, 1, 0xbf, 0xe0, 0, 0, 0, 0, 0, 0}, 16, -0.5},
  };
  stk_reader_request one = {.ids = (int64_t[]){0}, .n = 1};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct stk_dataset *ds = open_idx(write_raw("wide", cases[i].bytes, cases[i].n));
    union {
      double real;
      int32_t id;
    } x = {0};
    sp_status st = stk_dataset_read(ds, &one, true, &x, NULL, NULL);
    if (cases[i].value < 0 && stk_dataset_x_type(ds) == STK_I32) {
      assert_int_equal(st, SP_ERANGE);
    } else {
      assert_int_equal(st, SP_OK);
      double got = stk_dataset_x_type(ds) == STK_I32 ? (double)x.id : x.real;
      assert_true(got == cases[i].value);
    }
    stk_dataset_close(ds);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_idx_images_are_read_as_x_over_255),
      tt_test(test_idx_labels_are_paired_by_name),
      tt_test(test_idx_label_count_mismatch_is_refused),
      tt_test(test_idx_directory_role_chooses_the_file),
      tt_test(test_idx_directory_with_one_file_serves_training_only),
      tt_test(test_idx_ambiguous_directory_names_both_files),
      tt_test(test_idx_empty_directory_says_what_it_wants),
      tt_test(test_idx_lying_headers_are_refused),
      tt_test(test_idx_gzip_without_inflater_is_named),
      tt_test(test_idx_wider_types_are_swapped),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
