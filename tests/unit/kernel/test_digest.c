/* Digests: the stated arithmetic in every variant and split; no single change goes unseen; NaNs are
 * one value where reals are meant. */
#include "tests/unit/kernel/kt.h"

#include <math.h>
#include <string.h>

enum { N = 131100, WORDS = STK_DIGEST_WORDS };

static uint32_t turn(uint32_t h, uint32_t w) {
  h += w * 0x9e3779b9u;
  return ((h << 13) | (h >> 19)) * 0x85ebca6bu;
}

/* As docs/audit.md says it, of words that are what they are. */
static void state_it(const uint32_t *w, int64_t n, uint32_t out[WORDS]) {
  uint32_t lane[32];
  for (uint32_t i = 0; i < 32; i++) {
    lane[i] = (i + 1) * 0x9e3779b9u;
  }
  for (int64_t i = 0; i < n; i++) {
    lane[i % 32] = turn(lane[i % 32], w[i]);
  }
  for (int i = 0; i < WORDS; i++) {
    out[i] = turn(turn(turn(lane[i], lane[i + 8]), lane[i + 16]), lane[i + 24]);
  }
}

static void take(const struct stk_kernels *k, const void *x, int64_t n, bool is_real,
                 kt_split split, uint32_t *out) {
  kt_run(k->digest, &(struct stk_digest_args){x, out, n, is_real}, split);
}

static void test_digest_any_variant_follows_the_stated_order(void **state) {
  static const int64_t sizes[] = {1, 31, 32, 33, 1000, 65536, 65537, N};
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  (void)state;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    const int64_t size = sizes[i], chunks = (size + STK_STATE_CHUNK - 1) / STK_STATE_CHUNK;
    uint32_t *x = kt_new_shifted(size, 4, 1), want[WORDS];
    for (int64_t k = 0; k < size; k++) {
      x[k] = kt_random(5, (uint32_t)k) >> 2; /* no NaN among them */
    }
    for (int k = 0; k < 2 * n * KT_SPLITS; k++) {
      uint32_t *out = kt_new(chunks * WORDS, 4);
      take(v[k / 2 / KT_SPLITS].kernels, x, size, k % 2, (kt_split)(k / 2 % KT_SPLITS), out);
      for (int64_t c = 0; c < chunks; c++) {
        const int64_t at = c * STK_STATE_CHUNK;
        state_it(x + at, size - at < STK_STATE_CHUNK ? size - at : STK_STATE_CHUNK, want);
        assert_memory_equal(out + c * WORDS, want, sizeof want);
      }
    }
    kt_reset("digest");
  }
}

static void test_digest_known_answer(void **state) {
  static const uint32_t want[WORDS] = {0xf441691bu, 0xc969d336u, 0x0a7c994fu, 0xd607c618u,
                                       0x1a0e1ec4u, 0x42d5fceeu, 0xfed58721u, 0x3046caefu};
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  uint32_t *x = kt_new(100, 4), *out = kt_new(WORDS, 4);
  (void)state;
  for (uint32_t i = 0; i < 100; i++) {
    x[i] = i * 2654435761u;
  }
  for (int k = 0; k < n; k++) {
    take(v[k].kernels, x, 100, false, KT_WHOLE, out);
    assert_memory_equal(out, want, sizeof want);
  }
  kt_reset("digest");
}

static void test_digest_one_bit_anywhere_shows(void **state) {
  enum { SIZE = 1003 };
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  uint32_t *x = kt_new(SIZE, 4), before[WORDS], after[WORDS];
  (void)state;
  for (uint32_t i = 0; i < SIZE; i++) {
    x[i] = kt_random(9, i) >> 2;
  }
  take(v[n - 1].kernels, x, SIZE, false, KT_WHOLE, before);
  for (uint32_t i = 0; i < SIZE * 32; i += 7) {
    x[i / 32] ^= 1u << i % 32;
    take(v[n - 1].kernels, x, SIZE, false, KT_WHOLE, after);
    assert_memory_not_equal(after, before, sizeof after);
    x[i / 32] ^= 1u << i % 32;
  }
  kt_reset("digest");
}

static void test_digest_nans_are_one_value(void **state) {
  struct kt_variant v[KT_VARIANTS];
  const int n = kt_variants(v);
  float *x = kt_new(100, 4);
  double *y = kt_new(100, 8);
  uint32_t a[WORDS], b[WORDS];
  const uint32_t odd = 0xff812345u;
  const uint64_t odd64 = 0xfff0000000000001u, quiet64 = 0x7ff8000000000000u;
  (void)state;
  kt_uniform(x, 100, 1, -1, 1);
  kt_widen(y, x, 100);
  for (int place = 3; place < 100; place += 94) { /* in a whole row, and behind it */
    for (int k = 0; k < n; k++) {
      x[place] = NAN;
      take(v[k].kernels, x, 100, true, KT_WHOLE, a);
      memcpy(&x[place], &odd, sizeof odd);
      take(v[k].kernels, x, 100, true, KT_WHOLE, b);
      assert_memory_equal(a, b, sizeof a);
      take(v[k].kernels, x, 100, false, KT_WHOLE, b);
      assert_memory_not_equal(a, b, sizeof a);
      x[place] = INFINITY;
      take(v[k].kernels, x, 100, true, KT_WHOLE, b);
      assert_memory_not_equal(a, b, sizeof a);
    }
    memcpy(&y[place], &quiet64, sizeof quiet64);
    take(kt_f64(), y, 100, true, KT_WHOLE, a);
    state_it((const uint32_t *)(const void *)y, 200, b);
    assert_memory_equal(a, b, sizeof a);
    memcpy(&y[place], &odd64, sizeof odd64);
    take(kt_f64(), y, 100, true, KT_WHOLE, b);
    assert_memory_equal(a, b, sizeof a);
    y[place] = 0.0;
  }
  kt_reset("digest");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_digest_any_variant_follows_the_stated_order),
      cmocka_unit_test(test_digest_known_answer),
      cmocka_unit_test(test_digest_one_bit_anywhere_shows),
      cmocka_unit_test(test_digest_nans_are_one_value),
  };
  return cmocka_run_group_tests(tests, kt_setup, NULL);
}
