/* Data sets: a module's reader that lies, splits, kind auto, names. */
#include "tests/lib/tt.h"

#include "engine/data/dataset.h"
#include "tests/unit/data/files.h"

#include <stdio.h>
#include <string.h>

/* A module's reader that answers as the test wants. */
static stk_reader_info answer;
static stk_status answer_status;
static int n_closed;

static stk_status scripted_open(const stk_reader_args *args, void **out_self,
                                stk_reader_info *out_info, stk_reader_why *why) {
  (void)args;
  *out_self = NULL;
  *out_info = answer;
  memset(why->text, 'w', sizeof why->text);
  return answer_status;
}

static stk_status scripted_read(void *self, const stk_reader_request *request, void *x, void *y,
                                stk_reader_why *why) {
  (void)self;
  (void)request;
  (void)x;
  (void)y;
  (void)why;
  return 0;
}

static void scripted_close(void *self) {
  (void)self;
  n_closed++;
}

static const stk_reader_ops scripted = {
    .abi = STK_READER_ABI,
    .size = sizeof(stk_reader_ops),
    .name = "scripted",
    .open = scripted_open,
    .read = scripted_read,
    .close = scripted_close,
};

static sp_status try_scripted(const stk_reader_ops *ops, struct sp_err *err) {
  struct stk_data_spec spec = {.reader = ops};
  struct stk_dataset *ds = NULL;
  sp_status st = stk_dataset_open(&spec, &ds, err);
  stk_dataset_close(ds);
  return st;
}

static void test_dataset_module_reader_failure_is_reported_bounded(void **state) {
  (void)state;
  struct sp_err err = {0};
  answer = (stk_reader_info){.n_samples = 1};
  answer_status = 3;
  n_closed = 0;
  assert_int_equal(try_scripted(&scripted, &err), SP_EMODULE);
  assert_non_null(strstr(err.text, "scripted"));
  assert_int_equal(n_closed, 0);
  answer_status = 0;
}

static void test_dataset_module_reader_of_another_abi_is_refused(void **state) {
  (void)state;
  struct sp_err err = {0};
  stk_reader_ops ops = scripted;
  ops.abi = STK_READER_ABI + 1;
  assert_int_equal(try_scripted(&ops, &err), SP_EMODULE);
  assert_non_null(strstr(err.text, "rebuild"));
  ops = scripted;
  ops.size = 8;
  assert_int_equal(try_scripted(&ops, &err), SP_EMODULE);
  ops = scripted;
  ops.read = NULL;
  assert_int_equal(try_scripted(&ops, &err), SP_EMODULE);
}

static void test_dataset_module_shapes_that_lie_are_refused(void **state) {
  (void)state;
  static const stk_reader_info lies[] = {
      {.n_samples = 0},
      {.n_samples = 1, .x = {.rank = 5}},
      {.n_samples = 1, .x = {.rank = -1}},
      {.n_samples = 1, .x = {.rank = 1, .dims = {0}}},
      {.n_samples = 1, .x = {.rank = 2, .dims = {INT64_MAX, 2}}},
      {.n_samples = 1, .x = {.dtype = (stk_dtype)77}},
      {.n_samples = 1, .has_y = 1, .y = {.rank = 9}},
  };
  for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
    answer = lies[i];
    n_closed = 0;
    assert_int_not_equal(try_scripted(&scripted, NULL), SP_OK);
    assert_int_equal(n_closed, 1);
  }
}

static void test_dataset_module_stream_is_refused_by_name(void **state) {
  (void)state;
  struct sp_err err = {0};
  answer = (stk_reader_info){.n_samples = -1};
  assert_int_equal(try_scripted(&scripted, &err), SP_EUNSUPPORTED);
  assert_non_null(strstr(err.text, "stream"));
}

static void test_dataset_split_takes_the_end(void **state) {
  (void)state;
  static const struct {
    double fraction;
    int64_t n_val;
  } cases[] = {{0.29, 29}, {0.1, 10}, {0.999, 99}, {0.005, 0}, {0.0, 0}, {1.0, 0}, {-0.5, 0}};
  struct stk_data_spec spec = {.reader = &scripted};
  struct stk_dataset *ds;
  answer = (stk_reader_info){.n_samples = 100};
  assert_int_equal(stk_dataset_open(&spec, &ds, NULL), SP_OK);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct stk_data_range train;
    struct stk_data_range val;
    sp_status st = stk_dataset_split(ds, cases[i].fraction, &train, &val, NULL);
    assert_int_equal(st, cases[i].n_val ? SP_OK : SP_EINVAL);
    if (st == SP_OK) {
      assert_int_equal(val.n, cases[i].n_val);
      assert_int_equal(val.first + val.n, 100);
      assert_int_equal(train.n, val.first);
    }
  }
  stk_dataset_close(ds);
}

static void test_dataset_read_of_an_id_outside_is_refused(void **state) {
  (void)state;
  struct stk_data_spec spec = {.path = write_raw("some", "abcdef", 6), .block = 2};
  struct stk_dataset *ds;
  int32_t x[2];
  int32_t y[2];
  assert_int_equal(stk_dataset_open(&spec, &ds, NULL), SP_OK);
  stk_reader_request one = {.ids = (int64_t[]){2}, .n = 1};
  assert_int_equal(stk_dataset_read(ds, &one, false, x, y, NULL), SP_ERANGE);
  one.ids = (int64_t[]){-1};
  assert_int_equal(stk_dataset_read(ds, &one, false, x, y, NULL), SP_ERANGE);
  stk_dataset_close(ds);
}

static void test_dataset_kind_auto_looks_at_the_first_bytes(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    size_t n;
    stk_dtype x;
  } cases[] = {
      {"\0\0\x08\x01\0\0\0\x02"
       "yz",
       10, STK_F32},
      {"\0\0\0\0\0\0\0\x02"
       "yz",
       10, STK_I32},
      {"plain text", 10, STK_I32},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct stk_data_spec spec = {.path = write_raw("any", cases[i].bytes, cases[i].n), .block = 2};
    struct stk_dataset *ds;
    assert_int_equal(stk_dataset_open(&spec, &ds, NULL), SP_OK);
    assert_int_equal(stk_dataset_x_type(ds), cases[i].x);
    stk_dataset_close(ds);
  }
}

static void test_dataset_missing_path_and_reader_are_named(void **state) {
  (void)state;
  struct sp_err err = {0};
  struct stk_dataset *ds;
  struct stk_data_spec spec = {.kind = SP_DATA_IDX};
  assert_int_equal(stk_dataset_open(&spec, &ds, &err), SP_EINVAL);
  assert_non_null(strstr(err.text, "data.path"));
  spec.kind = SP_DATA_MODULE;
  assert_int_equal(stk_dataset_open(&spec, &ds, &err), SP_EMODULE);
  assert_non_null(strstr(err.text, "no reader"));
}

static void test_dataset_name_of_a_long_path_keeps_the_end(void **state) {
  (void)state;
  char path[1024];
  size_t n = (size_t)snprintf(path, sizeof path, "%s", tt_tmpdir());
  for (int i = 0; i < 300; i++) {
    n += (size_t)snprintf(path + n, sizeof path - n, "/.");
  }
  snprintf(path + n, sizeof path - n, "/long");
  write_raw("long", "abcdef", 6);
  struct stk_data_spec spec = {.path = path, .block = 2};
  struct stk_dataset *ds;
  assert_int_equal(stk_dataset_open(&spec, &ds, NULL), SP_OK);
  const char *name = stk_dataset_name(ds);
  assert_string_equal(name + strlen(name) - 5, "/long");
  stk_dataset_close(ds);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_dataset_module_reader_failure_is_reported_bounded),
      tt_test(test_dataset_module_reader_of_another_abi_is_refused),
      tt_test(test_dataset_module_shapes_that_lie_are_refused),
      tt_test(test_dataset_module_stream_is_refused_by_name),
      tt_test(test_dataset_split_takes_the_end),
      tt_test(test_dataset_read_of_an_id_outside_is_refused),
      tt_test(test_dataset_kind_auto_looks_at_the_first_bytes),
      tt_test(test_dataset_missing_path_and_reader_are_named),
      tt_test(test_dataset_name_of_a_long_path_keeps_the_end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
