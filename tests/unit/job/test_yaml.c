/* proto/job/yaml.h: positions, the subset, the caps, and printing that reads back. */
#include "tests/lib/tt.h"

#include <stdio.h>
#include <string.h>

#include "proto/job/yaml.h"

static struct sp_arena arena;
static struct sp_node *root;

static int teardown(void **state) {
  sp_arena_clear(&arena);
  return tt_leak_teardown(state);
}

#define yaml_test(f) cmocka_unit_test_setup_teardown(f, tt_leak_setup, teardown)

static sp_status parse(const char *text, struct sp_err *err) {
  return sp_yaml_parse("job.yaml", text, strlen(text), &arena, &root, err);
}

static void expect_error(const char *text, const char *message) {
  struct sp_err err = {0};
  assert_int_not_equal(parse(text, &err), SP_OK);
  assert_string_equal(err.text, message);
}

static void test_parse_nested_has_positions(void **state) {
  (void)state;
  assert_int_equal(
      parse("trainer:\n  max_epochs: 3\n  callbacks:\n    - {a: 'x'}\n    - b\n", NULL), SP_OK);
  const struct sp_node *n = sp_node_at(root, "trainer.max_epochs");
  assert_string_equal(n->text, "3");
  assert_int_equal(n->where.line, 2);
  assert_int_equal(n->where.col, 15);
  assert_int_equal(n->key_where.col, 3);
  assert_false(n->is_quoted);
  n = sp_node_at(root, "trainer.callbacks.0.a");
  assert_true(n->is_quoted);
  assert_int_equal(n->where.line, 4);
  assert_string_equal(sp_node_at(root, "trainer.callbacks.1")->text, "b");
  assert_null(sp_node_at(root, "trainer.callbacks.2"));
  assert_null(sp_node_at(root, "trainer.callbacks.x"));
  assert_null(sp_node_at(root, "trainer.max_epochs.x"));
}

static void test_parse_empty_is_an_empty_map(void **state) {
  (void)state;
  assert_int_equal(parse("", NULL), SP_OK);
  assert_int_equal(root->kind, SP_NODE_MAP);
  assert_int_equal(parse("# nothing\n", NULL), SP_OK);
  assert_int_equal(root->n_children, 0);
}

static void test_parse_outside_the_subset_is_refused(void **state) {
  (void)state;
  expect_error("a: 1\nb: 2\na: 3\n", "job.yaml:3:1: the key a is given twice (first at 1:1)");
  expect_error("a: &x 1\n", "job.yaml:1:4: anchors and tags are not supported");
  expect_error("a: *x\n", "job.yaml:1:4: aliases are not supported: write it out");
  expect_error("a: !!int 1\n", "job.yaml:1:4: anchors and tags are not supported");
  expect_error("[a]: 1\n", "job.yaml:1:1: a key must be a plain text");
  expect_error("? \n: 1\n", "job.yaml:1:2: a key is missing before the colon");
  expect_error("a: 1\n---\nb: 1\n",
               "job.yaml:2:1: a second document begins here; one file describes one job");
  expect_error("a: \"x\\0y\"\n", "job.yaml:1:4: a text must not hold a zero byte");
}

static void test_parse_broken_syntax_says_where(void **state) {
  (void)state;
  expect_error("a: [1, 2\nb: 3\n",
               "job.yaml:2:2: YAML: while parsing a flow sequence, did not find "
               "expected ',' or ']'");
  expect_error("a:\n\tb: 1\n",
               "job.yaml:2:1: YAML: while scanning for the next token, found "
               "character that cannot start any token");
  struct sp_err err = {0};
  assert_int_equal(parse("a: \xff\n", &err), SP_EINVAL);
  assert_non_null(strstr(err.text, "job.yaml: byte 3: "));
}

static void test_parse_over_a_cap_is_refused(void **state) {
  (void)state;
  static char text[SP_YAML_MAX + 2];
  struct sp_err err;
  memset(text, '[', 33);
  text[33] = '\0';
  assert_int_equal(parse(text, &err), SP_ERANGE);
  assert_string_equal(err.text, "job.yaml:1:33: nested more than 32 deep");
  memset(text, ' ', SP_YAML_MAX + 1);
  assert_int_equal(parse(text, &err), SP_ERANGE);
  assert_string_equal(err.text, "job.yaml: larger than 1048576 bytes");
  text[SP_YAML_MAX] = '\0';
  for (size_t i = 0; i < SP_YAML_MAX; i++) {
    text[i] = i == 0 ? '[' : i % 2 ? '1' : ',';
  }
  assert_int_equal(parse(text, &err), SP_ERANGE);
  assert_string_equal(err.text, "job.yaml:1:8194: more than 4096 entries");
}

static void test_print_reads_back_the_same(void **state) {
  (void)state;
  const char *text =
      "a: \"quote \\\" \\\\ \\n \\x01 \\u2028 \\uFFFE \\x80\"\n"
      "b: [1, \"2\", null, 'null', '', x y, -, ---]\n"
      "c: {d: {}, e: [], f: \"\xc3\xa4\"}\n"
      "\"true\": ~\n"
      "g:\n  - - 1\n    - {h: 2}\n";
  struct sp_buf first, second;
  sp_buf_init(&first, 4096);
  sp_buf_init(&second, 4096);
  assert_int_equal(parse(text, NULL), SP_OK);
  sp_yaml_print(root, 0, &first);
  struct sp_err err = {0};
  if (parse(sp_buf_text(&first), &err) != SP_OK) {
    fail_msg("%s\n%s", err.text, sp_buf_text(&first));
  }
  sp_yaml_print(root, 0, &second);
  assert_string_equal(sp_buf_text(&first), sp_buf_text(&second));
  assert_string_equal(sp_node_at(root, "c.f")->text, "\xc3\xa4");
  assert_string_equal(sp_node_at(root, "a")->text,
                      "quote \" \\ \n \x01 \xe2\x80\xa8 \xef\xbf\xbe \xc2\x80");
  sp_buf_free(&first);
  sp_buf_free(&second);
}

static void test_text_that_is_not_utf8_is_known(void **state) {
  (void)state;
  assert_true(sp_yaml_is_text("plain \xc3\xa4 \xf0\x9f\x98\x80"));
  assert_false(sp_yaml_is_text("\xff"));
  assert_false(sp_yaml_is_text("\xc0\x80"));
  assert_false(sp_yaml_is_text("\xed\xa0\x80"));
  assert_false(sp_yaml_is_text("\xe2\x82"));
}

static void test_normalise_class_path_becomes_class(void **state) {
  (void)state;
  assert_int_equal(parse("o: {class_path: torch.optim.Adam, init_args: {lr: 1}}\n", NULL), SP_OK);
  assert_int_equal(sp_node_normalise(root, NULL), SP_OK);
  assert_string_equal(sp_node_at(root, "o.class")->text, "torch.optim.Adam");
  assert_string_equal(sp_node_at(root, "o.lr")->text, "1");
  assert_null(sp_node_at(root, "o.init_args"));
  struct sp_err err;
  assert_int_equal(parse("o: {class_path: A, lr: 2, init_args: {lr: 1}}\n", NULL), SP_OK);
  assert_int_equal(sp_node_normalise(root, &err), SP_EINVAL);
  assert_string_equal(err.text, "job.yaml:1:39: lr is given twice");
}

static void test_merge_overlays_maps_and_replaces_the_rest(void **state) {
  (void)state;
  assert_int_equal(parse("a: {x: 1, y: [1, 2]}\nm: {class: p, k: 1}\nn: {class: p, k: 1}\n", NULL),
                   SP_OK);
  struct sp_node *base = root;
  assert_int_equal(parse("a: {y: [3], z: 4}\nm: {class: q}\nn: {class: p, j: 2}\n", NULL), SP_OK);
  sp_node_merge(base, root);
  assert_string_equal(sp_node_at(base, "a.x")->text, "1");
  assert_string_equal(sp_node_at(base, "a.y.0")->text, "3");
  assert_null(sp_node_at(base, "a.y.1"));
  assert_string_equal(sp_node_at(base, "a.z")->text, "4");
  assert_null(sp_node_at(base, "m.k"));
  assert_string_equal(sp_node_at(base, "n.k")->text, "1");
  assert_string_equal(sp_node_at(base, "n.j")->text, "2");
}

static void test_parse_without_memory_fails_clean(void **state) {
  (void)state;
  char text[3000] = "a:\n";
  for (int i = 0; i < 100; i++) {
    snprintf(text + strlen(text), sizeof text - strlen(text), "  k%d: [v, w]\n", i);
  }
  for (long n = 1;; n++) {
    sp_arena_clear(&arena);
    tt_fail_alloc(n);
    sp_status status = parse(text, NULL);
    if (!tt_alloc_failed()) {
      assert_int_equal(status, SP_OK);
      assert_true(n > 3);
      break;
    }
    assert_int_equal(status, SP_ENOMEM);
  }
  tt_fail_alloc(0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      yaml_test(test_parse_nested_has_positions),
      yaml_test(test_parse_empty_is_an_empty_map),
      yaml_test(test_parse_outside_the_subset_is_refused),
      yaml_test(test_parse_broken_syntax_says_where),
      yaml_test(test_parse_over_a_cap_is_refused),
      yaml_test(test_print_reads_back_the_same),
      yaml_test(test_text_that_is_not_utf8_is_known),
      yaml_test(test_normalise_class_path_becomes_class),
      yaml_test(test_merge_overlays_maps_and_replaces_the_rest),
      yaml_test(test_parse_without_memory_fails_clean),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
