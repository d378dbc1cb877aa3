/* worker/supervise/identity.h: regions belong to one job, and say what differs. */
#include "tests/lib/tt.h"

#include <stdio.h>
#include <string.h>

#include "proto/base/mem.h"
#include "worker/supervise/identity.h"

/* As a process that starts finds them. */
static sp_status check(const char *dir, const char *text, struct sp_err *err) {
  struct sw_regions *r = sp_alloc(sizeof *r);
  *err = (struct sp_err){0};
  assert_int_equal(sw_regions_open(dir, r, NULL), SP_OK);
  sp_status st = sw_identity_check(r, text, err);
  sw_regions_close(r);
  sp_free(r);
  return st;
}

static void begin(char dir[PATH_MAX]) {
  static uint64_t nonce = 7;
  char base[PATH_MAX];
  snprintf(base, sizeof base, "%s", tt_tmpfile("x"));
  *strrchr(base, '/') = '\0';
  assert_int_equal(sw_regions_make(base, nonce++, dir, NULL), SP_OK);
}

static void differs(const char *dir, const char *text, const char *want) {
  struct sp_err err;
  assert_int_equal(check(dir, text, &err), SP_EMISMATCH);
  if (!strstr(err.text, want)) {
    assert_string_equal(err.text, want);
  }
}

static void test_identity_names_the_first_line_that_differs(void **state) {
  (void)state;
  char dir[PATH_MAX];
  struct sp_err err;
  begin(dir);
  assert_int_equal(check(dir, "model mlp\nhidden 24\nname \nlanes 2\n", &err), SP_OK);
  assert_int_equal(check(dir, "model mlp\nhidden 24\nname \nlanes 2\n", &err), SP_OK);
  differs(dir, "model mlp\nhidden 25\nname \nlanes 2\n",
          "of another job: hidden is \"24\" there and \"25\" here; start a new run");
  differs(dir, "model mlp\nhidden 24\nname x\nlanes 2\n", "name is \"\" there and \"x\" here");
  differs(dir, "model mlp\nhidden 24\nname \nlanes 20\n", "lanes is \"2\" there and \"20\" here");
  differs(dir, "model mlp\nhidden 24\nname \nlanes 2\nmore 1\n",
          "more is \"\" there and \"1\" here");
  differs(dir, "model mlp\nhidden 24\nname \n", "lanes is \"2\" there and \"\" here");
  sw_regions_remove(dir);
}

/* Everything counts, however long it is; what is kept of it is bounded. */
static void test_identity_of_long_texts_is_compared_whole(void **state) {
  (void)state;
  static char text[3 * SW_IDENTITY_TEXT];
  char dir[PATH_MAX], want[200];
  struct sp_err err;
  static const size_t at[] = {600, SW_IDENTITY_TEXT - 1, SW_IDENTITY_TEXT, sizeof text - 3};
  begin(dir);
  memset(text, 'v', sizeof text - 1);
  memcpy(text, "model mlp\nlong ", 15);
  text[sizeof text - 2] = '\n';
  assert_int_equal(check(dir, text, &err), SP_OK);
  assert_int_equal(check(dir, text, &err), SP_OK);
  for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
    text[at[i]] = 'w';
    snprintf(want, sizeof want, "%s",
             at[i] < SW_IDENTITY_TEXT ? "here" : "the two differ behind the first 65536 bytes");
    differs(dir, text, want);
    text[at[i]] = 'v';
  }
  text[600] = 'w';
  differs(dir, text, "long is \"...vvv");
  differs(dir, text, "here; start a new run");
  differs(dir, text, " and \"...vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvwvv");
  sw_regions_remove(dir);
}

static void test_identity_without_its_length_is_written_anew(void **state) {
  (void)state;
  struct sw_regions *r = sp_alloc(sizeof *r);
  char dir[PATH_MAX];
  struct sp_err err;
  void *p = NULL;
  begin(dir);
  assert_int_equal(sw_regions_open(dir, r, NULL), SP_OK);
  struct stk_memory memory = sw_regions_memory(r);
  assert_int_equal(memory.get(memory.ctx, "identity", 60, &p, NULL), SP_OK);
  memcpy(p, "stki", 4); /* who wrote it was killed */
  sw_regions_close(r);
  sp_free(r);
  assert_int_equal(check(dir, "model mlp\n", &err), SP_OK);
  differs(dir, "model gpt\n", "model is \"mlp\" there and \"gpt\" here");
  sw_regions_remove(dir);
}

static void test_identity_of_another_build_is_refused(void **state) {
  (void)state;
  struct sw_regions *r = sp_alloc(sizeof *r);
  char dir[PATH_MAX];
  void *p = NULL;
  begin(dir);
  assert_int_equal(sw_regions_open(dir, r, NULL), SP_OK);
  struct stk_memory memory = sw_regions_memory(r);
  assert_int_equal(memory.get(memory.ctx, "identity", 512, &p, NULL), SP_OK);
  memcpy(p, "model mlp, graph 1234, arithmetic 1", 35);
  sw_regions_close(r);
  sp_free(r);
  differs(dir, "model mlp\n", "another build made it");
  sw_regions_remove(dir);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_identity_names_the_first_line_that_differs),
      tt_test(test_identity_of_long_texts_is_compared_whole),
      tt_test(test_identity_without_its_length_is_written_anew),
      tt_test(test_identity_of_another_build_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
