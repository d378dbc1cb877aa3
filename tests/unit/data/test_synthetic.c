/* Made-up data: a function of seed and id, pinned. */
#include "tests/lib/tt.h"

#include "engine/data/dataset.h"

#include <string.h>

enum { N = 6 };

static struct stk_dataset *open_synthetic(struct stk_data_spec spec) {
  struct stk_dataset *ds = NULL;
  struct sp_err err = {0};
  spec.kind = SP_DATA_SYNTHETIC;
  if (stk_dataset_open(&spec, &ds, &err) != SP_OK) {
    fail_msg("%s", err.text);
  }
  return ds;
}

static const struct stk_data_spec images = {
    .synthetic = {.what = STK_SYNTHETIC_IMAGES,
                  .n_samples = 100,
                  .rank = 2,
                  .dims = {3, 4},
                  .n_classes = 5,
                  .seed = 7},
};

static void test_synthetic_images_are_a_function_of_the_id(void **state) {
  (void)state;
  struct stk_dataset *a = open_synthetic(images);
  struct stk_data_spec later = images;
  later.synthetic.first = 40;
  struct stk_dataset *b = open_synthetic(later);
  float x[2 * 12];
  float x_later[12];
  int32_t y[2];
  int32_t y_later;
  stk_reader_request two = {.ids = (int64_t[]){9, 41}, .n = 2};
  stk_reader_request one = {.ids = (int64_t[]){1}, .n = 1};
  assert_int_equal(stk_dataset_read(a, &two, false, x, y, NULL), SP_OK);
  assert_int_equal(stk_dataset_read(b, &one, false, x_later, &y_later, NULL), SP_OK);
  assert_memory_equal(x + 12, x_later, sizeof x_later);
  assert_memory_not_equal(x, x_later, sizeof x_later);
  assert_int_equal(y[1], y_later);
  for (int i = 0; i < 24; i++) {
    assert_true(x[i] >= 0 && x[i] < 1);
  }
  stk_dataset_close(a);
  stk_dataset_close(b);
}

static void test_synthetic_images_first_values_are_pinned(void **state) {
  (void)state;
  struct stk_dataset *ds = open_synthetic(images);
  float x[12];
  int32_t y;
  stk_reader_request one = {.ids = (int64_t[]){0}, .n = 1};
  assert_int_equal(stk_dataset_read(ds, &one, false, x, &y, NULL), SP_OK);
  assert_int_equal(y, 2);
  assert_true(x[0] == 0x1.3fe4d8p-2f);
  stk_dataset_close(ds);
}

static void test_synthetic_text_targets_continue_the_sample(void **state) {
  (void)state;
  struct stk_data_spec spec = {
      .block = N,
      .synthetic = {.what = STK_SYNTHETIC_TOKENS, .n_samples = 10, .n_classes = 11},
  };
  struct stk_dataset *ds = open_synthetic(spec);
  int32_t x[N];
  int32_t y[N];
  stk_dataset_set_limits(ds, 11, 11);
  stk_reader_request one = {.ids = (int64_t[]){3}, .n = 1};
  assert_int_equal(stk_dataset_read(ds, &one, false, x, y, NULL), SP_OK);
  assert_memory_equal(x + 1, y, (N - 1) * sizeof *x);
  stk_dataset_close(ds);
}

static void test_synthetic_regression_has_real_targets(void **state) {
  (void)state;
  struct stk_data_spec spec = {
      .synthetic = {.what = STK_SYNTHETIC_REGRESSION,
                    .n_samples = 10,
                    .rank = 1,
                    .dims = {4},
                    .n_classes = 2},
  };
  struct stk_dataset *ds = open_synthetic(spec);
  double x[4];
  double y[2];
  stk_reader_request one = {.ids = (int64_t[]){3}, .n = 1};
  assert_int_equal(stk_dataset_y_type(ds), STK_F32);
  assert_int_equal(stk_dataset_read(ds, &one, true, x, y, NULL), SP_OK);
  assert_true(y[0] > -4.1 && y[0] < 4.1 && y[0] != y[1]);
  stk_dataset_close(ds);
}

static void test_synthetic_impossible_specs_are_refused(void **state) {
  (void)state;
  struct stk_dataset *ds;
  struct stk_data_spec none = images;
  none.kind = SP_DATA_SYNTHETIC;
  none.synthetic.n_samples = 0;
  assert_int_equal(stk_dataset_open(&none, &ds, NULL), SP_EINVAL);
  struct stk_data_spec shapeless = images;
  shapeless.kind = SP_DATA_SYNTHETIC;
  shapeless.synthetic.rank = 0;
  assert_int_equal(stk_dataset_open(&shapeless, &ds, NULL), SP_EINVAL);
  struct stk_data_spec negative = images;
  negative.kind = SP_DATA_SYNTHETIC;
  negative.synthetic.dims[1] = -1;
  assert_int_equal(stk_dataset_open(&negative, &ds, NULL), SP_EINVAL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_synthetic_images_are_a_function_of_the_id),
      tt_test(test_synthetic_images_first_values_are_pinned),
      tt_test(test_synthetic_text_targets_continue_the_sample),
      tt_test(test_synthetic_regression_has_real_targets),
      tt_test(test_synthetic_impossible_specs_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
