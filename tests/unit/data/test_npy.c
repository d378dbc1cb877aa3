/* .npy files: types, pairing, headers that lie. */
#include "tests/lib/tt.h"

#include "engine/data/dataset.h"
#include "tests/unit/data/files.h"

#include <string.h>

static sp_status try_open(const char *path, struct stk_dataset **ds, struct sp_err *err) {
  struct stk_data_spec spec = {.kind = SP_DATA_NPY, .path = path};
  return stk_dataset_open(&spec, ds, err);
}

static void test_npy_floats_are_read_in_both_precisions(void **state) {
  (void)state;
  const float a[] = {1.5f, -2.25f, 0.1f, 4.0f};
  struct stk_dataset *ds;
  float x[2];
  double x64[2];
  stk_reader_request one = {.ids = (int64_t[]){1}, .n = 1};
  const char *dictionary = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }   \n";
  assert_int_equal(try_open(write_npy("f4.npy", dictionary, a, sizeof a), &ds, NULL), SP_OK);
  assert_int_equal(stk_dataset_read(ds, &one, false, x, NULL, NULL), SP_OK);
  assert_int_equal(stk_dataset_read(ds, &one, true, x64, NULL, NULL), SP_OK);
  assert_memory_equal(x, a + 2, sizeof x);
  assert_true(x64[0] == (double)0.1f && x64[1] == 4.0);
  stk_dataset_close(ds);
}

static void test_npy_doubles_are_rounded_for_float(void **state) {
  (void)state;
  const double a[] = {0.1, 1e300, 1e-320};
  struct stk_dataset *ds;
  float x[3];
  stk_reader_request all = {.ids = (int64_t[]){0, 1, 2}, .n = 3};
  const char *dictionary = "{'shape': (3,), 'fortran_order': False, 'descr': '<f8'}\n";
  assert_int_equal(try_open(write_npy("f8.npy", dictionary, a, sizeof a), &ds, NULL), SP_OK);
  assert_int_equal(stk_dataset_info(ds)->x.rank, 0);
  assert_int_equal(stk_dataset_read(ds, &all, false, x, NULL, NULL), SP_OK);
  assert_true(x[0] == 0.1f && x[1] > 3.4e38f && x[2] == 0.0f);
  stk_dataset_close(ds);
}

static void test_npy_y_is_found_beside_x(void **state) {
  (void)state;
  const uint8_t pixels[] = {0, 51, 255};
  const int64_t labels[] = {2, 0, 1};
  struct stk_dataset *ds;
  make_dir("pair");
  write_npy("pair/x.npy", "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 1)}\n", pixels, 3);
  write_npy("pair/y.npy", "{'descr': '<i8', 'fortran_order': False, 'shape': (3,)}\n", labels, 24);
  struct stk_data_spec spec = {.path = tt_tmpfile("pair")};
  assert_int_equal(stk_dataset_open(&spec, &ds, NULL), SP_OK);
  float x[3];
  int32_t y[3];
  stk_reader_request all = {.ids = (int64_t[]){0, 1, 2}, .n = 3};
  assert_int_equal(stk_dataset_read(ds, &all, false, x, y, NULL), SP_OK);
  assert_true(x[0] == 0.0f && x[1] == 51.0f / 255.0f && x[2] == 1.0f);
  assert_true(y[0] == 2 && y[1] == 0 && y[2] == 1);
  stk_dataset_close(ds);
}

static void test_npy_i8_out_of_range_names_the_sample(void **state) {
  (void)state;
  const int64_t a[] = {1, (int64_t)1 << 40};
  struct stk_dataset *ds;
  struct sp_err err = {0};
  int32_t x[2];
  stk_reader_request all = {.ids = (int64_t[]){0, 1}, .n = 2};
  const char *dictionary = "{'descr': '<i8', 'fortran_order': False, 'shape': (2,)}\n";
  assert_int_equal(try_open(write_npy("i8.npy", dictionary, a, sizeof a), &ds, NULL), SP_OK);
  assert_int_equal(stk_dataset_read(ds, &all, false, x, NULL, &err), SP_ERANGE);
  assert_non_null(strstr(err.text, "sample 1"));
  stk_dataset_close(ds);
}

static void test_npy_class_outside_limit_is_refused(void **state) {
  (void)state;
  const float a[] = {0, 0};
  const int32_t labels[] = {9, -1};
  struct stk_dataset *ds;
  struct sp_err err = {0};
  write_npy("c_y.npy", "{'descr': '<i4', 'fortran_order': False, 'shape': (2,)}\n", labels, 8);
  const char *path =
      write_npy("c_x.npy", "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}\n", a, 8);
  assert_int_equal(try_open(path, &ds, NULL), SP_OK);
  stk_dataset_set_limits(ds, 0, 10);
  float x[1];
  int32_t y[1];
  stk_reader_request good = {.ids = (int64_t[]){0}, .n = 1};
  stk_reader_request bad = {.ids = (int64_t[]){1}, .n = 1};
  assert_int_equal(stk_dataset_read(ds, &good, false, x, y, NULL), SP_OK);
  assert_int_equal(stk_dataset_read(ds, &bad, false, x, y, &err), SP_ERANGE);
  assert_non_null(strstr(err.text, "sample 1: y[0] is -1; the model takes 0 to 9"));
  stk_dataset_close(ds);
}

static void test_npy_lying_headers_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *dictionary;
    sp_status status;
  } cases[] = {
      {"{'descr': '<f4', 'fortran_order': True, 'shape': (2,)}\n", SP_EUNSUPPORTED},
      {"{'descr': '>f4', 'fortran_order': False, 'shape': (2,)}\n", SP_EUNSUPPORTED},
      {"{'descr': '|O', 'fortran_order': False, 'shape': (2,)}\n", SP_EUNSUPPORTED},
      {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}\n", SP_EUNSUPPORTED},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}\n", SP_ECORRUPT},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}\n", SP_ECORRUPT},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': ()}\n", SP_ECORRUPT},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2)}\n", SP_ECORRUPT},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 5)}\n", SP_ECORRUPT},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}\n", SP_ECORRUPT},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,2)}\n", SP_ECORRUPT},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296,4294967296,4)}\n",
       SP_ECORRUPT},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}\n", SP_ECORRUPT},
      {"{'descr': '<f4', 'fortran_order': False}\n", SP_ECORRUPT},
      {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}\n", SP_ECORRUPT},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x", SP_ECORRUPT},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)", SP_ECORRUPT},
      {"{'descr': '<f4', 'fortran_order': False, 'color': (2,)}\n", SP_ECORRUPT},
      {"[]", SP_ECORRUPT},
      {"", SP_ECORRUPT},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct stk_dataset *ds = NULL;
    struct sp_err err = {0};
    const char *path = write_npy("lying.npy", cases[i].dictionary, "12345678", 8);
    sp_status st = try_open(path, &ds, &err);
    if (st != cases[i].status || !strstr(err.text, "lying.npy")) {
      fail_msg("%s: status %d, '%s'", cases[i].dictionary, st, err.text);
    }
  }
}

static void test_npy_header_longer_than_the_file_is_refused(void **state) {
  (void)state;
  struct stk_dataset *ds = NULL;
  struct sp_err err = {0};
  const char v1[] = "\x93NUMPY\x01\x00\xff\xff{}";
  const char v2[] = "\x93NUMPY\x02\x00\xff\xff\xff\xff{}";
  const char v9[] = "\x93NUMPY\x09\x00\x02\x00{}";
  assert_int_equal(try_open(write_raw("v1.npy", v1, sizeof v1), &ds, &err), SP_ECORRUPT);
  assert_int_equal(try_open(write_raw("v2.npy", v2, sizeof v2), &ds, &err), SP_ECORRUPT);
  assert_int_equal(try_open(write_raw("v9.npy", v9, sizeof v9), &ds, &err), SP_EUNSUPPORTED);
  assert_int_equal(try_open(write_raw("v0.npy", v1, 9), &ds, &err), SP_ECORRUPT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_npy_floats_are_read_in_both_precisions),
      tt_test(test_npy_doubles_are_rounded_for_float),
      tt_test(test_npy_y_is_found_beside_x),
      tt_test(test_npy_i8_out_of_range_names_the_sample),
      tt_test(test_npy_class_outside_limit_is_refused),
      tt_test(test_npy_lying_headers_are_refused),
      tt_test(test_npy_header_longer_than_the_file_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
