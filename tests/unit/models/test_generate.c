/* engine/trainer/generate.h: the choice of a token by hand-made logits, and a text that is the same
 * whatever computes the logits. */
#include "tests/unit/models/fixture.h"

#include <math.h>
#include <string.h>

#include "engine/models/builtin.h"
#include "engine/trainer/generate.h"

enum { N = 5, DRAWS = 4000 };

static const double logits[N] = {0.0, 2.0, 1.0, 2.0, -1.0};

static int32_t choose(double temperature, int64_t top_k, uint64_t index) {
  const struct stk_sampling s = {temperature, top_k, 7};
  double scratch[2 * N];
  return stk_choose_token(&s, index, logits, 64, N, scratch);
}

/* How often each token comes up. */
static void count(double temperature, int64_t top_k, int n[N]) {
  memset(n, 0, sizeof *n * N);
  for (uint64_t i = 0; i < DRAWS; i++) {
    n[choose(temperature, top_k, i)]++;
  }
}

static void test_choose_token_temperature_zero_takes_the_first_largest(void **state) {
  (void)state;
  for (uint64_t i = 0; i < 20; i++) {
    assert_int_equal(choose(0.0, 0, i), 1);
  }
}

static void test_choose_token_frequencies_are_the_softmax(void **state) {
  (void)state;
  int n[N];
  double sum = 0.0;
  for (int i = 0; i < N; i++) {
    sum += exp(logits[i] / 1.5);
  }
  count(1.5, 0, n);
  for (int i = 0; i < N; i++) {
    double p = exp(logits[i] / 1.5) / sum;
    assert_true(fabs(n[i] - DRAWS * p) < 4 * sqrt(DRAWS * p));
  }
}

static void test_choose_token_top_k_keeps_the_first_of_equal_ones(void **state) {
  (void)state;
  int n[N];
  count(1.0, 1, n);
  assert_int_equal(n[1], DRAWS);
  count(1.0, 2, n);
  assert_int_equal(n[1] + n[3], DRAWS);
  assert_true(n[1] > 0 && n[3] > 0);
  count(1.0, 3, n);
  assert_true(n[2] > 0 && n[0] == 0 && n[4] == 0);
  int all[N];
  count(1.0, N, n);
  count(1.0, 0, all);
  assert_memory_equal(n, all, sizeof n);
}

static void test_choose_token_without_numbers_is_refused(void **state) {
  (void)state;
  const struct stk_sampling s = {1.0, 0, 0};
  const float bad[2] = {1.0f, NAN}, far[2] = {-INFINITY, 3.0f};
  double scratch[4];
  assert_int_equal(stk_choose_token(&s, 0, bad, 32, 2, scratch), -1);
  assert_int_equal(stk_choose_token(&s, 0, far, 32, 2, scratch), 1);
}

static const struct mt_case text_case = {.def = &stk_model_gpt,
                                         .batch = 1,
                                         .ids = 11,
                                         .has_y = true,
                                         .hparams = {"n_layer", "2", "n_head", "2", "n_embd", "16",
                                                     "vocab_size", "11", "block_size", "6"},
                                         .x = {STK_I32, 1, {6}},
                                         .y = {STK_I32, 1, {6}}};
static const struct mt_case image_case = {.def = &stk_model_mlp,
                                          .batch = 1,
                                          .ids = 3,
                                          .has_y = true,
                                          .hparams = {"hidden", "4", "classes", "3"},
                                          .x = {STK_F32, 1, {4}},
                                          .y = {STK_I32, 0, {0}}};

struct text {
  int32_t id[40];
  int n, most;
};

static bool on_token(void *ctx, int32_t id) {
  struct text *t = ctx;
  t->id[t->n++] = id;
  return t->n == t->most;
}

static struct text sample(const struct mt_variant *v, uint64_t seed, int most) {
  static const int32_t prompt[] = {1, 9};
  struct text t = {.most = most};
  struct stk_generate_config c = {.sampling = {1.0, 0, seed},
                                  .prompt = prompt,
                                  .n_prompt = 2,
                                  .n_tokens = 30,
                                  .token = on_token,
                                  .ctx = &t};
  struct sp_err err = {0};
  struct mt *m = mt_new(&text_case, v);
  mt_check(stk_generate(m->s, &c, &err), &err);
  mt_free(m);
  return t;
}

static const struct mt_variant ref = {
    .isa = STK_ISA_KIND_REF, .real_bits = 32, .fuse = true, .in_place = true, .threads = 1};

static void test_generate_same_text_whatever_computes_it(void **state) {
  (void)state;
  static const struct mt_variant others[] = {
      {.isa = STK_ISA_KIND_REF, .real_bits = 32, .threads = 3},
      {.isa = STK_ISA_KIND_AVX2, .real_bits = 32, .fuse = true, .in_place = true, .threads = 2},
      {.isa = STK_ISA_KIND_AVX512, .real_bits = 32, .fuse = true, .threads = 1}};
  struct text first = sample(&ref, 3, 0);
  assert_int_equal(first.n, 30);
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    if (mt_can_run(&others[i])) {
      struct text t = sample(&others[i], 3, 0);
      assert_memory_equal(t.id, first.id, sizeof t.id);
    }
  }
  struct text other = sample(&ref, 4, 0);
  assert_memory_not_equal(other.id, first.id, sizeof other.id);
}

static void test_generate_ends_when_it_is_told(void **state) {
  (void)state;
  assert_int_equal(sample(&ref, 3, 7).n, 7);
}

/* What was sampled, put behind the prompt, gives the next token; what pads the window is not seen.
 */
static void test_generate_goes_on_from_what_it_sampled(void **state) {
  (void)state;
  int32_t prompt[] = {1, 9, 0};
  struct text both = {0}, next = {0};
  struct sp_err err = {0};
  struct mt *m = mt_new(&text_case, &ref);
  struct stk_generate_config c = {
      .prompt = prompt, .n_prompt = 2, .n_tokens = 2, .token = on_token, .ctx = &both};
  both.most = next.most = 2;
  mt_check(stk_generate(m->s, &c, &err), &err);
  prompt[2] = both.id[0];
  c.n_prompt = 3;
  c.n_tokens = 1;
  c.ctx = &next;
  mt_check(stk_generate(m->s, &c, &err), &err);
  assert_int_equal(both.id[1], next.id[0]);
  mt_free(m);
}

/* Greedy sampling is the argmax at the last known position, not at the window's end. */
static void test_generate_reads_the_logits_behind_the_context(void **state) {
  (void)state;
  int32_t window[6] = {1, 9};
  struct stk_lane_batch b = {window, NULL, 1, 0};
  const void *result;
  struct text t = {.most = 1};
  struct sp_err err = {0};
  struct stk_generate_config c = {
      .prompt = window, .n_prompt = 2, .n_tokens = 1, .token = on_token, .ctx = &t};
  struct mt *m = mt_new(&text_case, &ref);
  mt_check(stk_session_eval(m->s, STK_PREDICT, 0, &b, NULL, NULL, &result, &err), &err);
  const float *at = (const float *)result + 11;
  int32_t best = 0;
  for (int32_t i = 1; i < 11; i++) {
    best = at[i] > at[best] ? i : best;
  }
  mt_check(stk_generate(m->s, &c, &err), &err);
  assert_int_equal(t.id[0], best);
  mt_free(m);
}

static void test_generate_bad_prompts_and_models_are_refused(void **state) {
  (void)state;
  static const int32_t beyond[] = {11};
  struct text t = {0};
  struct sp_err err = {0};
  int64_t vocab = 0;
  struct stk_generate_config c = {
      .prompt = beyond, .n_prompt = 1, .n_tokens = 1, .token = on_token, .ctx = &t};
  struct mt *m = mt_new(&text_case, &ref);
  assert_int_equal(stk_generate_vocab(m->s, &vocab, &err), SP_OK);
  assert_int_equal(vocab, 11);
  assert_int_equal(stk_generate(m->s, &c, &err), SP_EINVAL);
  c.n_prompt = 0;
  assert_int_equal(stk_generate(m->s, &c, &err), SP_EINVAL);
  mt_free(m);
  m = mt_new(&image_case, &ref);
  assert_int_equal(stk_generate(m->s, &c, &err), SP_EUNSUPPORTED);
  assert_non_null(strstr(err.text, "mlp"));
  assert_int_equal(t.n, 0);
  mt_free(m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_choose_token_temperature_zero_takes_the_first_largest),
      tt_test(test_choose_token_frequencies_are_the_softmax),
      tt_test(test_choose_token_top_k_keeps_the_first_of_equal_ones),
      tt_test(test_choose_token_without_numbers_is_refused),
      tt_test(test_generate_same_text_whatever_computes_it),
      tt_test(test_generate_ends_when_it_is_told),
      tt_test(test_generate_goes_on_from_what_it_sampled),
      tt_test(test_generate_reads_the_logits_behind_the_context),
      tt_test(test_generate_bad_prompts_and_models_are_refused),
  };
  return cmocka_run_group_tests_name("generate", tests, NULL, NULL);
}
