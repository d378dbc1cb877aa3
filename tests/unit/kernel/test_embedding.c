/* embedding and its gradient: rows copied, sums in ascending position, for any cut and start. */
#include "tests/unit/kernel/kt.h"

#include <string.h>

struct shape {
  int64_t n, dim, vocab;
};

static const struct shape shapes[] = {
    {1, 1, 1}, {40, 7, 3}, {100, 128, 256}, {300, 300, 2000}, {64, 65, 5000}, {0, 4, 9},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };
typedef enum start { FROM_ZERO, FROM_OTHER, FROM_ITSELF, STARTS } start;

static int32_t *ids_of(const struct shape *s) {
  int32_t *ids = kt_new(s->n, 4);
  for (int64_t i = 0; i < s->n; i++) {
    ids[i] = (int32_t)(kt_random(7, (uint32_t)i) % (uint64_t)s->vocab);
    ids[i] = i % 3 == 0 ? (int32_t)(s->vocab - 1) : ids[i]; /* many for one row */
  }
  return ids;
}

static void test_embedding_copies_rows(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  (void)state;
  for (int at = 0; at < n * KT_SPLITS; at++) {
    for (int i = 0; i < SHAPES; i++) {
      const struct shape *s = &shapes[i];
      float *w = kt_new(s->vocab * s->dim, 4), *y = kt_new_shifted(s->n * s->dim, 4, 1);
      int32_t *ids = ids_of(s);
      kt_uniform(w, s->vocab * s->dim, 1, -1, 1);
      const struct stk_embedding_args a = {ids, w, y, s->n, s->dim, s->vocab};
      kt_run(v[at / KT_SPLITS].kernels->embedding, &a, (kt_split)(at % KT_SPLITS));
      for (int64_t r = 0; r < s->n; r++) {
        kt_equal(w + ids[r] * s->dim, y + r * s->dim, s->dim, "row");
      }
      kt_reset("embedding");
    }
  }
}

static void check_bwd(const struct stk_kernels *k, const struct shape *s, start from,
                      kt_split split) {
  const int64_t size = s->vocab * s->dim;
  float *g = kt_new(s->n * s->dim, 4), *dw = kt_new_shifted(size, 4, 1);
  float *other = kt_new(size, 4), *want = kt_new(size, 4);
  int32_t *ids = ids_of(s);
  kt_uniform(g, s->n * s->dim, 2, -1, 1);
  kt_uniform(other, size, 3, -1, 1);
  for (int64_t i = 0; i < size; i++) {
    want[i] = from == FROM_ZERO ? 0 : other[i];
  }
  if (from == FROM_ITSELF) {
    memcpy(dw, other, (size_t)size * 4);
  }
  for (int64_t r = 0; r < s->n; r++) {
    for (int64_t c = 0; c < s->dim; c++) {
      want[ids[r] * s->dim + c] += g[r * s->dim + c];
    }
  }
  const struct stk_embedding_bwd_args a = {
      ids,    g,       from == FROM_ZERO ? NULL : from == FROM_OTHER ? other : dw, dw, s->n,
      s->dim, s->vocab};
  kt_run(k->embedding_bwd, &a, split);
  kt_equal(want, dw, size, k->isa);
  kt_reset("embedding_bwd");
}

static void test_embedding_bwd_adds_in_ascending_position(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  (void)state;
  for (int at = 0; at < n * KT_SPLITS; at++) {
    for (int i = 0; i < SHAPES; i++) {
      for (int from = 0; from < STARTS; from++) {
        check_bwd(v[at / KT_SPLITS].kernels, &shapes[i], (start)from, (kt_split)(at % KT_SPLITS));
      }
    }
  }
}

static void test_embedding_bwd_matches_linear_form_in_double(void **state) {
  const struct shape s = {50, 6, 9};
  double g[300], dw[54], want[54] = {0};
  (void)state;
  int32_t *ids = ids_of(&s);
  for (int i = 0; i < 300; i++) {
    g[i] = kt_random(4, (uint32_t)i) * 0x1p-32 - 0.5;
    want[ids[i / 6] * 6 + i % 6] += g[i]; /* y is linear in w: this is the exact gradient */
  }
  const struct stk_embedding_bwd_args a = {ids, g, NULL, dw, s.n, s.dim, s.vocab};
  kt_run(kt_f64()->embedding_bwd, &a, KT_SINGLE);
  kt_near64(dw, want, 54, 0, 0, "dw");
  kt_reset("double");
}

/* Negative control: descending positions give other bits. */
static void test_embedding_bwd_other_order_differs(void **state) {
  struct kt_variant v[KT_VARIANTS];
  int32_t ids[100] = {0};
  float g[100], dw, other = 0;
  (void)state;
  kt_variants(v);
  kt_uniform(g, 100, 5, -1, 1);
  const struct stk_embedding_bwd_args a = {ids, g, NULL, &dw, 100, 1, 1};
  kt_run(v[0].kernels->embedding_bwd, &a, KT_WHOLE);
  for (int i = 99; i >= 0; i--) {
    other += g[i];
  }
  assert_true(kt_differs(&dw, &other, 1));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_embedding_copies_rows),
      cmocka_unit_test(test_embedding_bwd_adds_in_ascending_position),
      cmocka_unit_test(test_embedding_bwd_matches_linear_form_in_double),
      cmocka_unit_test(test_embedding_bwd_other_order_differs),
  };
  return cmocka_run_group_tests(tests, kt_setup, NULL);
}
