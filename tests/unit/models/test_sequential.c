/* engine/models/sequential.c: names, sizes taken from the layer before, and what is refused with
 * the number of the layer. Gradients and bits are tested with the other models (test_models.c). */
#include "tests/lib/tt.h"

#include <string.h>

#include "engine/models/builtin.h"
#include "engine/models/layer_text.h"
#include "engine/nn/module.h"

static struct stk_module *module;
static struct sp_err err;

/* Setup over samples of a shape; hparams as name, value, ..., NULL. */
static sp_status setup(const stk_sample *x, const char *const *hparams) {
  stk_module_free(module);
  err = (struct sp_err){0};
  assert_int_equal(stk_module_new(&stk_model_sequential, &module, &err), SP_OK);
  for (; *hparams; hparams += 2) {
    assert_int_equal(stk_module_set_hparam(module, hparams[0], hparams[1], &err), SP_OK);
  }
  return stk_module_setup(module, x, &err);
}

#define LAYERS(...) ((const char *const[]){"layers", __VA_ARGS__, NULL})

static void expect(const char *text) {
  if (!strstr(err.text, text)) {
    fail_msg("'%s' does not say '%s'", err.text, text);
  }
}

static int teardown(void **state) {
  stk_module_free(module);
  module = NULL;
  return tt_leak_teardown(state);
}

static const stk_sample digits = {STK_F32, 2, {28, 28}}, number = {STK_F32, 0, {0}};

static void test_sequential_parameters_are_numbered_by_layer(void **state) {
  (void)state;
  const char *text =
      "flatten(), linear(in=784, out=5, bias=true), relu(), "
      "linear(in=auto, out=3, bias=false)";
  assert_int_equal(setup(&digits, LAYERS(text)), SP_OK);
  assert_int_equal(module->n_params, 3);
  assert_string_equal(module->params[0]->name, "layers.1.weight");
  assert_string_equal(module->params[1]->name, "layers.1.bias");
  assert_string_equal(module->params[2]->name, "layers.3.weight");
  assert_int_equal(module->params[2]->shape.dim[1], 5);
}

static void test_sequential_auto_sizes_follow_the_images(void **state) {
  (void)state;
  const char *text =
      "conv2d(in=auto, out=8, kernel=5, stride=2, padding=1, dilation=1, groups=1, "
      "bias=true), max_pool(kernel=2, stride=auto), flatten(), "
      "linear(in=auto, out=10, bias=true)";
  assert_int_equal(setup(&digits, LAYERS(text)), SP_OK);
  assert_int_equal(module->params[2]->shape.dim[1], 8 * 6 * 6);
}

static void test_sequential_sample_without_dimensions_is_one_feature(void **state) {
  (void)state;
  assert_int_equal(setup(&number, LAYERS("linear(in=auto, out=2, bias=true)", "loss", "mse")),
                   SP_OK);
  assert_int_equal(module->params[0]->shape.dim[1], 1);
}

static void test_sequential_wrong_sizes_name_the_layer(void **state) {
  (void)state;
  static const struct {
    const char *layers, *says;
  } cases[] = {
      {"flatten(), linear(in=700, out=2, bias=true)", "model.layers.1: linear: in "},
      {"linear(in=28, out=2, bias=true), layer_norm(features=3, eps=1, bias=true)",
       "model.layers.1: layer_norm: features "},
      {"flatten(), batch_norm(features=3, eps=1, momentum=0.1)",
       "model.layers.1: batch_norm: features "},
      {"flatten(), max_pool(kernel=2, stride=auto)", "model.layers.1: max_pool: it needs images"},
      {"max_pool(kernel=29, stride=auto)", "model.layers.0: max_pool: the window does not fit"},
      {"conv2d(in=3, out=2, kernel=1, stride=1, padding=0, dilation=1, groups=1, bias=true)",
       "model.layers.0: conv2d: in is not"},
      {"conv2d(in=1, out=2, kernel=1, stride=1, padding=0, dilation=1, groups=2, bias=true)",
       "model.layers.0: conv2d: groups must divide"},
      {"reshape(shape=3 28)", "model.layers.0: reshape: the shape has another number"},
      {"reshape(shape=1 1 1 1 28 28)", "model.layers.0: reshape: the shape has another number"},
      {"softsign()", "model.layers.0: no layer is called softsign"},
      {"flatten", "give a list"},
      {"flatten(", "give a list"},
      {"flatten(), relu()", "declares no parameters"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_int_not_equal(setup(&digits, LAYERS(cases[i].layers)), SP_OK);
    expect(cases[i].says);
  }
}

static void test_sequential_metrics_that_do_not_fit_the_loss_are_refused(void **state) {
  (void)state;
  const char *text = "flatten(), linear(in=auto, out=10, bias=true)";
  assert_int_not_equal(setup(&digits, LAYERS(text, "loss", "mse", "metrics", "accuracy")), SP_OK);
  expect("model.metrics: accuracy needs");
  assert_int_not_equal(setup(&digits, LAYERS(text, "metrics", "f1")), SP_OK);
  expect("model.metrics: 'f1'");
  assert_int_not_equal(setup(&digits, LAYERS(text, "target", "x")), SP_OK);
  expect("model.target");
  assert_int_equal(setup(&digits, LAYERS(text, "metrics", "")), SP_OK);
}

/* A loss of (n, 1) against (n) must not broadcast to (n, n). */
static void test_sequential_target_takes_the_shape_of_the_result(void **state) {
  (void)state;
  const stk_sample x = {STK_F32, 1, {3}}, y = {STK_F32, 0, {0}}, wide = {STK_F32, 1, {2}};
  struct stk_trace_spec spec = {.stage = STK_TRAIN, .real = STK_F32, .batch = 5, .x = &x, .y = &y};
  struct stk_graph *g;
  const char *text = "linear(in=auto, out=1, bias=true)";
  assert_int_equal(setup(&x, LAYERS(text, "loss", "mse")), SP_OK);
  assert_int_equal(stk_module_leaves(module, NULL, &err), SP_OK);
  assert_int_equal(stk_module_trace(module, &spec, &g, &err), SP_OK);
  for (int32_t i = 0; i < g->n_values; i++) {
    assert_true(stk_shape_numel(&g->values[i].shape) <= 15);
  }
  stk_graph_free(g);
  spec.y = &wide;
  assert_int_not_equal(stk_module_trace(module, &spec, &g, &err), SP_OK);
  expect("the last layer gives 5 values per batch, the target has 10");
  spec.y = NULL;
  assert_int_not_equal(stk_module_trace(module, &spec, &g, &err), SP_OK);
  expect("the data has no labels");
}

static void test_layer_text_finds_whole_keys_only(void **state) {
  (void)state;
  const char *text = "a(xin=1, in=2), b()";
  struct stk_layer_text l;
  char value[4];
  bool bad;
  assert_true(stk_layer_text_next(&text, &l, &bad));
  assert_string_equal(l.name, "a");
  assert_true(stk_layer_text_find(&l, "in", value, sizeof value));
  assert_string_equal(value, "2");
  assert_false(stk_layer_text_find(&l, "i", value, sizeof value));
  assert_false(stk_layer_text_find(&l, "in", value, 1));
  assert_true(stk_layer_text_next(&text, &l, &bad));
  assert_string_equal(l.name, "b");
  assert_false(stk_layer_text_find(&l, "in", value, sizeof value));
  assert_false(stk_layer_text_next(&text, &l, &bad));
  assert_false(bad);
}

#define seq_test(f) cmocka_unit_test_setup_teardown(f, tt_leak_setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      seq_test(test_sequential_parameters_are_numbered_by_layer),
      seq_test(test_sequential_auto_sizes_follow_the_images),
      seq_test(test_sequential_sample_without_dimensions_is_one_feature),
      seq_test(test_sequential_wrong_sizes_name_the_layer),
      seq_test(test_sequential_metrics_that_do_not_fit_the_loss_are_refused),
      seq_test(test_sequential_target_takes_the_shape_of_the_result),
      seq_test(test_layer_text_finds_whole_keys_only),
  };
  return cmocka_run_group_tests_name("sequential", tests, NULL, NULL);
}
