/* copy and fill: every layout moves exactly its elements, in any variant and split. */
#include "tests/unit/kernel/kt.h"

#include <string.h>

struct layout {
  const char *name;
  int64_t dim[STK_COPY_RANK], x_stride[STK_COPY_RANK], y_stride[STK_COPY_RANK];
  int64_t x_off, y_off, x_size, y_size;
};

static const struct layout layouts[] = {
    {"contiguous",
     {1, 1, 1, 1, 1, 40000},
     {0, 0, 0, 0, 0, 1},
     {0, 0, 0, 0, 0, 1},
     0,
     0,
     40000,
     40000},
    {"slice", {1, 1, 1, 3, 50, 7}, {0, 0, 0, 900, 9, 1}, {0, 0, 0, 350, 7, 1}, 2, 0, 2700, 1050},
    {"concat", {1, 1, 1, 1, 90, 5}, {0, 0, 0, 0, 5, 1}, {0, 0, 0, 0, 11, 1}, 0, 6, 450, 990},
    {"transpose",
     {1, 1, 1, 2, 100, 70},
     {0, 0, 0, 7000, 1, 100},
     {0, 0, 0, 7000, 70, 1},
     0,
     0,
     14000,
     14000},
    {"small transpose", {1, 1, 1, 1, 3, 5}, {0, 0, 0, 0, 1, 3}, {0, 0, 0, 0, 5, 1}, 0, 0, 15, 15},
    {"heads",
     {1, 1, 3, 4, 33, 20},
     {0, 0, 2640, 20, 80, 1},
     {0, 0, 2640, 660, 20, 1},
     0,
     0,
     7920,
     7920},
    {"expand rows",
     {1, 1, 1, 1, 60, 300},
     {0, 0, 0, 0, 0, 1},
     {0, 0, 0, 0, 300, 1},
     0,
     0,
     300,
     18000},
    {"expand scalars",
     {1, 1, 1, 1, 60, 300},
     {0, 0, 0, 0, 1, 0},
     {0, 0, 0, 0, 300, 1},
     0,
     0,
     60,
     18000},
    {"six dims",
     {2, 3, 2, 5, 3, 9},
     {810, 1, 405, 81, 27, 3},
     {810, 270, 135, 27, 9, 1},
     0,
     0,
     1620,
     1620},
    {"scatter", {1, 1, 1, 1, 1, 99}, {0, 0, 0, 0, 0, 1}, {0, 0, 0, 0, 0, 3}, 0, 1, 99, 300},
    {"one", {1, 1, 1, 1, 1, 1}, {9, 9, 9, 9, 9, 9}, {7, 7, 7, 7, 7, 7}, 4, 5, 5, 6},
    {"none", {1, 1, 1, 4, 0, 9}, {0, 0, 0, 9, 9, 1}, {0, 0, 0, 9, 9, 1}, 0, 0, 1, 1},
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

static void naive(const struct layout *s, const unsigned char *x, unsigned char *y, size_t size) {
  int64_t n = 1;
  for (int d = 0; d < STK_COPY_RANK; d++) {
    n *= s->dim[d];
  }
  for (int64_t i = 0; i < n; i++) {
    int64_t rest = i, from = s->x_off, to = s->y_off;
    for (int d = STK_COPY_RANK - 1; d >= 0; d--) {
      from += rest % s->dim[d] * s->x_stride[d];
      to += rest % s->dim[d] * s->y_stride[d];
      rest /= s->dim[d];
    }
    memcpy(y + (size_t)to * size, x + (size_t)from * size, size);
  }
}

static void check(const struct stk_kernels *k, const struct layout *s, size_t size,
                  kt_split split) {
  unsigned char *x = kt_new(s->x_size, size), *y = kt_new(s->y_size, size);
  unsigned char *want = kt_new(s->y_size, size);
  for (size_t i = 0; i < (size_t)s->x_size * size; i++) {
    x[i] = (unsigned char)kt_random(3, (uint32_t)i);
  }
  struct stk_copy_args a = {
      .x = x, .y = y, .x_off = s->x_off, .y_off = s->y_off, .elem_bytes = (int32_t)size};
  memcpy(a.dim, s->dim, sizeof a.dim);
  memcpy(a.x_stride, s->x_stride, sizeof a.x_stride);
  memcpy(a.y_stride, s->y_stride, sizeof a.y_stride);
  kt_run(k->copy, &a, split);
  naive(s, x, want, size);
  if (memcmp(y, want, (size_t)s->y_size * size) != 0) {
    fail_msg("%s, %zu bytes, %s: other bytes", s->name, size, k->isa);
  }
  kt_reset(s->name);
}

static void test_copy_any_layout_moves_its_elements(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  (void)state;
  for (int at = 0; at < n; at++) {
    for (int i = 0; i < LAYOUTS; i++) {
      for (int split = 0; split < KT_SPLITS; split++) {
        check(v[at].kernels, &layouts[i], 4, (kt_split)split);
        check(v[at].kernels, &layouts[i], 8, (kt_split)split);
      }
    }
  }
}

static void test_fill_sizes_write_value_only(void **state) {
  static const int64_t sizes[] = {0, 1, 17, 65536, 65537, 200001};
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  (void)state;
  for (int at = 0; at < n; at++) {
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
      for (int split = 0; split < KT_SPLITS; split++) {
        float *y = kt_new_shifted(sizes[i], 4, 1);
        struct stk_fill_args a = {y, sizes[i], split == KT_WHOLE ? -0.0 : 2.5};
        kt_run(v[at].kernels->fill, &a, (kt_split)split);
        for (int64_t j = 0; j < sizes[i]; j++) {
          const float want = split == KT_WHOLE ? 0.0f : 2.5f;
          assert_memory_equal(&y[j], &want, 4);
        }
        kt_reset("fill");
      }
    }
  }
}

static void test_kernels_get_pairs_that_do_not_exist_give_null(void **state) {
  (void)state;
  assert_null(stk_kernels_get(STK_ISA_KIND_AVX2, 64, true));
  assert_null(stk_kernels_get(STK_ISA_KIND_REF, 16, true));
  assert_string_equal(stk_kernels_get(STK_ISA_KIND_AVX512, 32, true)->isa, "avx512");
  assert_int_equal(stk_kernels_get(STK_ISA_KIND_REF, 64, false)->real_bits, 64);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_copy_any_layout_moves_its_elements),
      cmocka_unit_test(test_fill_sizes_write_value_only),
      cmocka_unit_test(test_kernels_get_pairs_that_do_not_exist_give_null),
  };
  return cmocka_run_group_tests(tests, kt_setup, NULL);
}
