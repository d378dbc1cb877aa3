/* Name patterns. */
#include "tests/lib/tt.h"

#include "engine/optim/glob.h"

static void test_glob_matches_whole_names(void **state) {
  static const char *const yes[][2] = {{"*", ""},
                                       {"*", "encoder.0.weight"},
                                       {"encoder.*", "encoder.0.weight"},
                                       {"*.bias", "a.bias"},
                                       {"h.?.ln", "h.3.ln"},
                                       {"*a*b*c", "xxaxxbxxbxc"},
                                       {"", ""},
                                       {"**x", "x"},
                                       {"a*", "a"}};
  static const char *const no[][2] = {{"", "a"},
                                      {"encoder", "encoder.0"},
                                      {"h.?.ln", "h.10.ln"},
                                      {"*.bias", "a.biass"},
                                      {"a*b", "acbd"},
                                      {"?", ""},
                                      {"[a]", "a"},
                                      {"*a*b*c", "abab"}};
  (void)state;
  for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
    assert_true(stk_glob_match(yes[i][0], yes[i][1]));
  }
  for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
    assert_false(stk_glob_match(no[i][0], no[i][1]));
  }
}

static void test_glob_many_stars_end_soon(void **state) {
  char name[20001];
  (void)state;
  for (int i = 0; i < 20000; i++) {
    name[i] = 'a';
  }
  name[20000] = '\0';
  assert_false(stk_glob_match("*a*a*a*a*a*a*a*a*a*a*a*a*b", name));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_glob_matches_whole_names),
      cmocka_unit_test(test_glob_many_stars_end_soon),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
