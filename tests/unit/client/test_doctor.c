/* The pure parts of the doctor. */
#include "tests/lib/tt.h"

#include "client/doctor.h"

static void test_cpu_quota_is_read(void **state) {
  (void)state;
  assert_true(sc_doctor_cpu_quota("150000 100000\n") == 1.5);
  assert_true(sc_doctor_cpu_quota("max 100000\n") == 0);
  assert_true(sc_doctor_cpu_quota("") == 0);
  assert_true(sc_doctor_cpu_quota("1 0") == 0);
  assert_true(sc_doctor_cpu_quota("-5 100000") == 0);
}

static void test_memory_limit_is_read(void **state) {
  (void)state;
  assert_int_equal(sc_doctor_memory_limit("1073741824\n"), 1073741824);
  assert_int_equal(sc_doctor_memory_limit("max\n"), 0);
  assert_int_equal(sc_doctor_memory_limit(""), 0);
}

static const struct sc_finding findings[] = {{SC_FINE, "cpus", "2 usable"},
                                             {SC_BROKEN, "worker", "not \"here\""}};

static void test_put_aligns_findings(void **state) {
  (void)state;
  struct sp_buf b;
  sp_buf_init(&b, 4096);
  sc_doctor_put(&b, findings, 2);
  assert_string_equal(sp_buf_text(&b),
                      "ok    cpus           2 usable\n"
                      "FAIL  worker         not \"here\"\n");
  sp_buf_free(&b);
}

static void test_put_json_escapes(void **state) {
  (void)state;
  struct sp_buf b;
  sp_buf_init(&b, 4096);
  sc_doctor_put_json(&b, findings, 2);
  assert_string_equal(sp_buf_text(&b),
                      "[{\"level\": \"ok\", \"name\": \"cpus\", \"text\": \"2 usable\"}, "
                      "{\"level\": \"FAIL\", \"name\": \"worker\", \"text\": "
                      "\"not \\\"here\\\"\"}]");
  sp_buf_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_cpu_quota_is_read),
      tt_test(test_memory_limit_is_read),
      tt_test(test_put_aligns_findings),
      tt_test(test_put_json_escapes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
