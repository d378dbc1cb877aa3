/* Built-in modules end to end: names, gradients against central differences in double, and equal
 * bits of gradients and of trained state whatever computes them. */
#include "tests/unit/models/fixture.h"

#include <math.h>
#include <string.h>

#include "engine/models/builtin.h"
#include "engine/models/models.h"
#include "proto/base/mem.h"

static const struct mt_case small_cases[] = {
    {.def = &stk_model_mlp,
     .batch = 5,
     .ids = 3,
     .has_y = true,
     .hparams = {"hidden", "7, 5", "classes", "3", "activation", "gelu", "dropout", "0.25"},
     .x = {STK_F32, 2, {3, 4}},
     .y = {STK_I32, 0, {0}}},
    {.def = &stk_model_autoencoder,
     .batch = 3,
     .ids = 1,
     .hparams = {"hidden", "6", "code", "2"},
     .x = {STK_F32, 2, {4, 5}},
     .y = {STK_I32, 0, {0}}},
    {.def = &stk_model_cnn,
     .batch = 3,
     .ids = 3,
     .has_y = true,
     .hparams = {"conv1", "3", "conv2", "4", "classes", "3", "batch_norm", "true"},
     .x = {STK_F32, 2, {8, 8}},
     .y = {STK_I32, 0, {0}}},
    {.def = &stk_model_cnn,
     .batch = 2,
     .ids = 4,
     .has_y = true,
     .hparams = {"conv1", "3", "conv2", "4", "classes", "4"},
     .x = {STK_F32, 3, {2, 9, 7}},
     .y = {STK_I32, 0, {0}}},
    {.def = &stk_model_gpt,
     .batch = 2,
     .ids = 11,
     .has_y = true,
     .hparams = {"n_layer", "2", "n_head", "2", "n_embd", "8", "block_size", "6", "vocab_size",
                 "11", "dropout", "0.1"},
     .x = {STK_I32, 1, {5}},
     .y = {STK_I32, 1, {5}}},
    {.def = &stk_model_sequential,
     .batch = 3,
     .ids = 3,
     .has_y = true,
     .hparams =
         {"layers",
          "conv2d(in=auto, out=8, kernel=3, stride=1, padding=1, dilation=1, groups=1, "
          "bias=true), conv2d(in=auto, out=4, kernel=3, stride=1, padding=1, dilation=1, "
          "groups=1, bias=true), silu(), batch_norm(features=4, eps=1e-5, momentum=0.1), silu(), "
          "avg_pool(kernel=2, stride=auto), flatten(), layer_norm(features=auto, eps=1e-5, "
          "bias=true), dropout(p=0.1), linear(in=auto, out=3, bias=true)"},
     .x = {STK_F32, 2, {6, 6}},
     .y = {STK_I32, 0, {0}}},
    {.def = &stk_model_sequential,
     .batch = 4,
     .ids = 1,
     .hparams = {"layers",
                 "reshape(shape=1 12), linear(in=12, out=5, bias=true), gelu(approximate=tanh), "
                 "flatten(), linear(in=5, out=12, bias=true), reshape(shape=2 6)",
                 "loss", "mse", "target", "x"},
     .x = {STK_F32, 2, {3, 4}},
     .y = {STK_I32, 0, {0}}},
    {.def = &stk_model_sequential,
     .batch = 3,
     .ids = 7,
     .has_y = true,
     .hparams = {"layers", "embedding(vocab=7, dim=6), tanh(), linear(in=auto, out=7, bias=true)"},
     .x = {STK_I32, 1, {5}},
     .y = {STK_I32, 1, {5}}},
};

/* Large enough that work is shared out between threads. */
static const struct mt_case large_cases[] = {
    {.def = &stk_model_mlp,
     .batch = 37,
     .ids = 10,
     .has_y = true,
     .hparams = {"hidden", "131", "dropout", "0.1"},
     .x = {STK_F32, 2, {28, 28}},
     .y = {STK_I32, 0, {0}}},
    {.def = &stk_model_autoencoder,
     .batch = 64,
     .ids = 1,
     .hparams = {NULL},
     .x = {STK_F32, 2, {28, 28}},
     .y = {STK_I32, 0, {0}}},
    {.def = &stk_model_cnn,
     .batch = 20,
     .ids = 10,
     .has_y = true,
     .hparams = {"batch_norm", "true"},
     .x = {STK_F32, 2, {28, 28}},
     .y = {STK_I32, 0, {0}}},
    {.def = &stk_model_gpt,
     .batch = 3,
     .ids = 256,
     .has_y = true,
     .hparams = {"n_layer", "2", "n_head", "4", "n_embd", "64", "dropout", "0.1"},
     .x = {STK_I32, 1, {33}},
     .y = {STK_I32, 1, {33}}},
};

static const struct mt_variant variants[] = {
    {.isa = STK_ISA_KIND_REF, .real_bits = 32, .fuse = false, .in_place = false, .threads = 1},
    {.isa = STK_ISA_KIND_REF, .real_bits = 32, .fuse = true, .in_place = false, .threads = 1},
    {.isa = STK_ISA_KIND_REF, .real_bits = 32, .fuse = false, .in_place = true, .threads = 2},
    {.isa = STK_ISA_KIND_REF, .real_bits = 32, .fuse = true, .in_place = true, .threads = 3},
    {.isa = STK_ISA_KIND_AVX2, .real_bits = 32, .fuse = false, .in_place = false, .threads = 2},
    {.isa = STK_ISA_KIND_AVX2, .real_bits = 32, .fuse = true, .in_place = false, .threads = 3},
    {.isa = STK_ISA_KIND_AVX2, .real_bits = 32, .fuse = true, .in_place = true, .threads = 1},
    {.isa = STK_ISA_KIND_AVX512, .real_bits = 32, .fuse = true, .in_place = true, .threads = 2},
};

enum {
  N_SMALL = sizeof small_cases / sizeof *small_cases,
  N_LARGE = sizeof large_cases / sizeof *large_cases,
  N_VARIANTS = sizeof variants / sizeof *variants
};

static void test_model_find_known_name_returns_its_table(void **state) {
  (void)state;
  assert_ptr_equal(stk_model_find("gpt"), &stk_model_gpt);
  assert_null(stk_model_find("gpt2"));
  assert_null(stk_model_find(NULL));
  size_t n = 0;
  while (stk_model_at(n)) {
    assert_ptr_equal(stk_model_find(stk_model_at(n)->name), stk_model_at(n));
    n++;
  }
  assert_int_equal(n, 5);
}

static void test_gpt_parameters_have_gpt2_names_in_order(void **state) {
  static const char *const names[] = {"wte.weight",
                                      "wpe.weight",
                                      "h.0.ln_1.weight",
                                      "h.0.ln_1.bias",
                                      "h.0.attn.c_attn.weight",
                                      "h.0.attn.c_attn.bias",
                                      "h.0.attn.c_proj.weight",
                                      "h.0.attn.c_proj.bias",
                                      "h.0.ln_2.weight",
                                      "h.0.ln_2.bias",
                                      "h.0.mlp.c_fc.weight",
                                      "h.0.mlp.c_fc.bias",
                                      "h.0.mlp.c_proj.weight",
                                      "h.0.mlp.c_proj.bias",
                                      "h.1.ln_1.weight"};
  (void)state;
  struct mt *t = mt_new(&small_cases[4], &variants[0]);
  assert_int_equal(t->m->n_params, 2 + 2 * 12 + 2);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    assert_string_equal(t->m->params[i]->name, names[i]);
  }
  assert_string_equal(t->m->params[27]->name, "ln_f.bias");
  mt_free(t);
}

static sp_status setup_of(const stk_module_def *def, const char *name, const char *value,
                          struct sp_err *err) {
  struct stk_module *m;
  const stk_sample x = {STK_F32, 1, {4}};
  assert_int_equal(stk_module_new(def, &m, err), SP_OK);
  sp_status st = stk_module_set_hparam(m, name, value, err);
  st = st ? st : stk_module_setup(m, &x, err);
  stk_module_free(m);
  return st;
}

static void test_mlp_bad_hidden_list_fails_setup(void **state) {
  static const char *const bad[] = {"a", "3,", "3,,4", "0", "-1", "3 4", "99999999999999999999"};
  struct sp_err err = {0};
  (void)state;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_int_not_equal(setup_of(&stk_model_mlp, "hidden", bad[i], &err), SP_OK);
    assert_non_null(strstr(err.text, "model.hidden"));
  }
  assert_int_equal(setup_of(&stk_model_mlp, "hidden", "", &err), SP_OK);
  assert_int_equal(setup_of(&stk_model_mlp, "hidden", " 3 , 4", &err), SP_OK);
}

static void test_gpt_heads_that_do_not_divide_fail_setup(void **state) {
  struct sp_err err = {0};
  (void)state;
  assert_int_not_equal(setup_of(&stk_model_gpt, "n_head", "3", &err), SP_OK);
  assert_non_null(strstr(err.text, "model.n_head"));
}

static void test_cnn_data_without_image_shape_fails_setup(void **state) {
  struct sp_err err = {0};
  (void)state;
  assert_int_not_equal(setup_of(&stk_model_cnn, "classes", "3", &err), SP_OK);
  assert_non_null(strstr(err.text, "images"));
}

/* One element of one parameter: the analytic derivative against a central difference. */
static void check_element(struct mt *t, int32_t param, int64_t i, double analytic) {
  const double eps = 1e-5;
  uint8_t *p = stk_state_read_slot(stk_session_state(t->s)) +
               stk_session_state(t->s)->layout.param_offset[param];
  double was = mt_real(t, p, i), up, down;
  mt_set_real(t, p, i, was + eps);
  mt_gradient(t);
  up = t->loss;
  mt_set_real(t, p, i, was - eps);
  mt_gradient(t);
  down = t->loss;
  mt_set_real(t, p, i, was);
  double numeric = (up - down) / (2 * eps);
  if (fabs(numeric - analytic) > 1e-6 * fabs(numeric) + 1e-9) {
    fail_msg("%s: d loss / d %s[%lld] is %.12g, differences say %.12g", t->c->def->name,
             t->m->params[param]->name, (long long)i, analytic, numeric);
  }
}

static void check_gradients(const struct mt_case *c, bool fuse) {
  const struct mt_variant v = {
      .isa = STK_ISA_KIND_REF, .real_bits = 64, .fuse = fuse, .in_place = fuse, .threads = 1};
  struct mt *t = mt_new(c, &v);
  mt_gradient(t);
  assert_true(isfinite(t->loss));
  int64_t bytes = stk_session_state(t->s)->layout.section_bytes;
  uint8_t *grad = sp_alloc_aligned(64, (size_t)bytes);
  assert_non_null(grad);
  memcpy(grad, t->grad, (size_t)bytes);
  for (int32_t k = 0; k < t->m->n_params; k++) {
    int64_t n = stk_shape_numel(&t->m->params[k]->shape);
    const int64_t picked[] = {0, n / 3, n / 2, n - 1};
    for (size_t i = 0; i < sizeof picked / sizeof *picked; i++) {
      const uint8_t *g = grad + stk_session_state(t->s)->layout.param_offset[k];
      check_element(t, k, picked[i], mt_real(t, g, picked[i]));
    }
  }
  sp_free_aligned(grad);
  mt_free(t);
}

static void test_models_gradients_match_central_differences(void **state) {
  (void)state;
  for (int c = 0; c < N_SMALL; c++) {
    check_gradients(&small_cases[c], false);
    check_gradients(&small_cases[c], true);
  }
}

/* Gradients, running statistics and loss of a case are the same bits in all variants. */
static void check_gradient_bits(const struct mt_case *c) {
  struct mt *first = mt_new(c, &variants[0]);
  mt_gradient(first);
  for (int k = 1; k < N_VARIANTS; k++) {
    if (!mt_can_run(&variants[k])) {
      continue;
    }
    struct mt *t = mt_new(c, &variants[k]);
    mt_gradient(t);
    const struct stk_layout *l = &stk_session_state(t->s)->layout;
    for (int32_t i = 0; i < t->m->n_params; i++) {
      int64_t n = stk_shape_numel(&t->m->params[i]->shape);
      if (memcmp(t->grad + l->param_offset[i], first->grad + l->param_offset[i], (size_t)n * 4)) {
        fail_msg("%s: the gradient of %s differs in variant %d", c->def->name,
                 t->m->params[i]->name, k);
      }
    }
    assert_memory_equal(t->running_out, first->running_out, (size_t)l->running_bytes + 1);
    assert_true(t->loss == first->loss);
    mt_free(t);
  }
  mt_free(first);
}

static void test_models_gradients_have_equal_bits_in_all_variants(void **state) {
  (void)state;
  for (int c = 0; c < N_SMALL; c++) {
    check_gradient_bits(&small_cases[c]);
  }
  for (int c = 0; c < N_LARGE; c++) {
    check_gradient_bits(&large_cases[c]);
  }
}

static void trained_hash(const struct mt_case *c, struct mt_variant v, bool lanes,
                         uint8_t out[32]) {
  v.n_lanes = lanes ? 3 : 1;
  v.accumulate = lanes ? 2 : 1;
  v.clip_norm = lanes ? 0.5 : 0.0;
  struct mt *t = mt_new(c, &v);
  mt_train(t, 3);
  stk_state_hash(stk_session_state(t->s), out);
  mt_free(t);
}

static void check_trained_bits(const struct mt_case *c, bool lanes) {
  uint8_t first[32], other[32];
  trained_hash(c, variants[0], lanes, first);
  for (int k = 1; k < N_VARIANTS; k++) {
    if (mt_can_run(&variants[k])) {
      trained_hash(c, variants[k], lanes, other);
      assert_memory_equal(first, other, sizeof first);
    }
  }
}

static void test_models_trained_state_has_one_hash_in_all_variants(void **state) {
  (void)state;
  for (int c = 0; c < N_SMALL; c++) {
    check_trained_bits(&small_cases[c], false);
    check_trained_bits(&small_cases[c], true);
  }
}

static void test_models_training_lowers_the_loss(void **state) {
  (void)state;
  for (int c = 0; c < N_SMALL; c++) {
    struct mt_case calm = small_cases[c];
    struct mt *t = mt_new(&calm, &variants[3]);
    double before = mt_train(t, 2), after = mt_train(t, 60);
    if (!(after < 0.9 * before)) {
      fail_msg("%s: the loss went from %g to %g", calm.def->name, before, after);
    }
    mt_free(t);
  }
}

static const struct stk_log_entry *find_log(const struct stk_graph *g, const char *name) {
  for (int32_t i = 0; i < g->n_logs; i++) {
    if (strcmp(g->logs[i].name, name) == 0) {
      return &g->logs[i];
    }
  }
  return NULL;
}

static void test_models_every_stage_runs_and_logs_its_names(void **state) {
  (void)state;
  for (int c = 0; c < N_SMALL; c++) {
    struct mt *t = mt_new(&small_cases[c], &variants[3]);
    bool classifier = t->c->has_y && t->c->def != &stk_model_gpt;
    struct stk_lane_batch b = {t->x, t->y, t->c->batch, 0};
    struct stk_acc acc[STK_GRAPH_MAX_LOGS] = {{0}};
    struct sp_err err = {0};
    const struct stk_graph *g;
    const void *result;
    mt_check(stk_session_eval(t->s, STK_VALIDATE, 0, &b, acc, &g, &result, &err), &err);
    assert_non_null(find_log(g, "val_loss"));
    assert_int_equal(find_log(g, "val_acc") != NULL, classifier);
    assert_int_equal(find_log(g, "val_perplexity") != NULL, t->c->def == &stk_model_gpt);
    assert_true(isfinite(acc[0].sum) && acc[0].weight == (double)t->c->batch);
    mt_check(stk_session_eval(t->s, STK_TEST, 0, &b, NULL, &g, &result, &err), &err);
    assert_non_null(find_log(g, "test_loss"));
    mt_check(stk_session_eval(t->s, STK_PREDICT, 0, &b, NULL, &g, &result, &err), &err);
    assert_non_null(result);
    assert_int_equal(g->n_logs, 0);
    assert_int_equal(g->values[g->loss].shape.dim[0], t->c->batch);
    mt_free(t);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_model_find_known_name_returns_its_table),
      tt_test(test_gpt_parameters_have_gpt2_names_in_order),
      tt_test(test_mlp_bad_hidden_list_fails_setup),
      tt_test(test_gpt_heads_that_do_not_divide_fail_setup),
      tt_test(test_cnn_data_without_image_shape_fails_setup),
      tt_test(test_models_every_stage_runs_and_logs_its_names),
      tt_test(test_models_gradients_match_central_differences),
      tt_test(test_models_gradients_have_equal_bits_in_all_variants),
      tt_test(test_models_trained_state_has_one_hash_in_all_variants),
      tt_test(test_models_training_lowers_the_loss),
  };
  return cmocka_run_group_tests_name("models", tests, NULL, NULL);
}
