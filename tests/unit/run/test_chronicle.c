/* Chronicle lines: golden text, what comes back, and lines that are not whole. */
#include "tests/lib/tt.h"

#include "proto/base/crc32c.h"
#include "proto/run/chronicle.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static struct sp_buf line_of(const struct sp_chronicle_entry *e) {
  struct sp_buf b;
  sp_buf_init(&b, SP_CHRONICLE_MAX_LINE);
  sp_chronicle_put(&b, e);
  assert_int_equal(sp_buf_check(&b, "line", NULL), SP_OK);
  return b;
}

static struct sp_chronicle_entry recovery(void) {
  struct sp_chronicle_entry e = sp_chronicle_entry(SP_CHRONICLE_RECOVERY);
  e.seq = 5;
  e.time.ns = INT64_C(1709210096123456789);
  e.mono_ns = 42;
  e.generation = 2;
  e.rank = 1;
  e.step = 57;
  e.next_step = 58;
  e.recomputed = 1;
  e.ms = 30.5;
  e.source = "slots";
  e.text = "rank 1";
  return e;
}

static void test_put_line_is_as_documented(void **state) {
  (void)state;
  struct sp_chronicle_entry e = recovery();
  struct sp_buf b = line_of(&e);
  static const char want[] =
      "{\"seq\":5,\"time\":\"2024-02-29T12:34:56.123456789Z\",\"mono_ns\":42,\"generation\":2,"
      "\"kind\":\"recovery\",\"rank\":1,\"step\":57,\"next_step\":58,\"recomputed\":1,\"ms\":30.5,"
      "\"source\":\"slots\",\"text\":\"rank 1\"";
  char tail[64];
  snprintf(tail, sizeof tail, ",\"crc32c\":\"%08" PRIx32 "\"}\n",
           sp_crc32c(0, want, sizeof want - 1));
  assert_memory_equal(b.data, want, sizeof want - 1);
  assert_string_equal(b.data + sizeof want - 1, tail);
  sp_buf_free(&b);
}

static void test_every_kind_comes_back_equal(void **state) {
  (void)state;
  for (int kind = 0; kind < SP_CHRONICLE_N_KINDS; kind++) {
    struct sp_chronicle_entry e = sp_chronicle_entry((sp_chronicle_kind)kind), got;
    struct sp_arena arena = {0};
    e.seq = 1;
    struct sp_buf b = line_of(&e);
    assert_int_equal(sp_chronicle_parse(b.data, b.length - 1, &got, &arena, NULL), SP_OK);
    assert_int_equal(got.kind, kind);
    assert_int_equal(got.rank, -1);
    assert_int_equal(got.ok, -1);
    assert_true(got.ms == -1);
    assert_null(got.text);
    sp_buf_free(&b);
    sp_arena_clear(&arena);
  }
}

static void test_values_come_back_equal(void **state) {
  (void)state;
  struct sp_chronicle_entry e = recovery(), got;
  struct sp_arena arena = {0};
  e.ok = 0;
  e.cause = "signal";
  e.path = "/runs/\"a\"\\b";
  e.text = "two\nlines\tand \xC3\xA9";
  struct sp_buf b = line_of(&e);
  assert_int_equal(sp_chronicle_parse(b.data, b.length - 1, &got, &arena, NULL), SP_OK);
  assert_int_equal(got.seq, 5);
  assert_int_equal(got.time.ns, e.time.ns);
  assert_int_equal(got.next_step, 58);
  assert_int_equal(got.ok, 0);
  assert_true(got.ms == 30.5);
  assert_string_equal(got.source, "slots");
  assert_string_equal(got.cause, "signal");
  assert_string_equal(got.path, e.path);
  assert_string_equal(got.text, e.text);
  sp_buf_free(&b);
  sp_arena_clear(&arena);
}

static void test_put_hostile_text_stays_one_bounded_line(void **state) {
  (void)state;
  static char text[3 * SP_CHRONICLE_MAX_TEXT];
  static const char dirty[] = "\x1b[2J\xff\"\\\n\x01";
  for (size_t i = 0; i + 1 < sizeof text; i++) {
    text[i] = dirty[i % (sizeof dirty - 1)];
  }
  struct sp_chronicle_entry e = recovery(), got;
  struct sp_arena arena = {0};
  e.text = text;
  e.path = text;
  struct sp_buf b = line_of(&e);
  assert_ptr_equal(strchr(b.data, '\n'), b.data + b.length - 1);
  assert_int_equal(sp_chronicle_parse(b.data, b.length - 1, &got, &arena, NULL), SP_OK);
  assert_int_equal(strlen(got.text), SP_CHRONICLE_MAX_TEXT);
  assert_memory_equal(got.text, "?[2J?\"\\\n??[2J", 13);
  assert_null(strchr(got.path, '\n'));
  sp_buf_free(&b);
  sp_arena_clear(&arena);
}

static void test_parse_any_changed_byte_is_found(void **state) {
  (void)state;
  struct sp_chronicle_entry e = recovery(), got;
  struct sp_arena arena = {0};
  struct sp_buf b = line_of(&e);
  for (size_t i = 0; i + 1 < b.length; i++) {
    for (int bit = 0; bit < 8; bit++) {
      b.data[i] = (char)(b.data[i] ^ 1 << bit);
      assert_int_equal(sp_chronicle_parse(b.data, b.length - 1, &got, &arena, NULL), SP_ECORRUPT);
      b.data[i] = (char)(b.data[i] ^ 1 << bit);
    }
    assert_int_equal(sp_chronicle_parse(b.data, i, &got, &arena, NULL), SP_ECORRUPT);
  }
  sp_buf_free(&b);
  sp_arena_clear(&arena);
}

/* The status of a body whose checksum is right. */
static sp_status parse_body(const char *body) {
  struct sp_chronicle_entry got;
  struct sp_arena arena = {0};
  char line[1024];
  int n = snprintf(line, sizeof line, "%s,\"crc32c\":\"%08" PRIx32 "\"}", body,
                   sp_crc32c(0, body, strlen(body)));
  sp_status status = sp_chronicle_parse(line, (size_t)n, &got, &arena, NULL);
  sp_arena_clear(&arena);
  return status;
}

#define HEAD "{\"seq\":1,\"time\":\"2024-02-29T12:34:56.123456789Z\",\"mono_ns\":1,"
#define REST "\"generation\":0,\"kind\":\"start\""

static void test_parse_hostile_members_are_refused(void **state) {
  (void)state;
  assert_int_equal(parse_body(HEAD REST), SP_OK);
  assert_int_equal(parse_body(HEAD REST ",\"step\":3"), SP_OK);
  assert_int_equal(parse_body(HEAD REST ",\"step\":-1"), SP_ECORRUPT);
  assert_int_equal(parse_body(HEAD REST ",\"step\":1.5"), SP_ECORRUPT);
  assert_int_equal(parse_body(HEAD REST ",\"step\":99999999999999999999"), SP_ECORRUPT);
  assert_int_equal(parse_body(HEAD REST ",\"ms\":-1"), SP_ECORRUPT);
  assert_int_equal(parse_body(HEAD REST ",\"ms\":\"1\""), SP_ECORRUPT);
  assert_int_equal(parse_body(HEAD REST ",\"text\":\"\\u001b\""), SP_ECORRUPT);
  assert_int_equal(parse_body(HEAD REST ",\"text\":\"\\u0000\""), SP_ECORRUPT);
  assert_int_equal(parse_body(HEAD REST ",\"path\":\"a\\nb\""), SP_ECORRUPT);
  assert_int_equal(parse_body(HEAD REST ",\"other\":1"), SP_ECORRUPT);
  assert_int_equal(parse_body(HEAD REST ",\"seq\":1"), SP_ECORRUPT);
  assert_int_equal(parse_body(HEAD "\"generation\":0,\"kind\":\"birth\""), SP_ECORRUPT);
  assert_int_equal(parse_body(HEAD "\"generation\":0"), SP_ECORRUPT);
  assert_int_equal(parse_body("[1"), SP_ECORRUPT);
}

static void feed(struct sp_chronicle_reader *r, const char *bytes, size_t n) {
  assert_int_equal(sp_chronicle_feed(r, bytes, n, NULL), SP_OK);
}

static void test_reader_takes_bytes_one_at_a_time(void **state) {
  (void)state;
  struct sp_chronicle_entry e = recovery(), got;
  struct sp_chronicle_reader r = {0};
  struct sp_buf b = line_of(&e);
  int n_seen = 0;
  for (int round = 0; round < 3; round++) {
    for (size_t i = 0; i < b.length; i++) {
      bool have = true;
      feed(&r, b.data + i, 1);
      assert_int_equal(sp_chronicle_next(&r, &got, &have, NULL), SP_OK);
      assert_int_equal(have, i + 1 == b.length);
      n_seen += have;
    }
  }
  assert_int_equal(n_seen, 3);
  assert_int_equal(r.line, 3);
  assert_int_equal(r.offset, 3 * (int64_t)b.length);
  sp_chronicle_reader_fini(&r);
  sp_buf_free(&b);
}

static void test_reader_goes_on_behind_a_bad_line(void **state) {
  (void)state;
  struct sp_chronicle_entry e = recovery(), got;
  struct sp_chronicle_reader r = {0};
  struct sp_buf b = line_of(&e);
  bool have = false;
  feed(&r, "not an entry\n", 13);
  feed(&r, b.data, b.length);
  feed(&r, b.data, 10);
  assert_int_equal(sp_chronicle_next(&r, &got, &have, NULL), SP_ECORRUPT);
  assert_true(have);
  assert_int_equal(r.line, 1);
  assert_int_equal(sp_chronicle_next(&r, &got, &have, NULL), SP_OK);
  assert_true(have);
  assert_int_equal(got.step, 57);
  assert_int_equal(sp_chronicle_next(&r, &got, &have, NULL), SP_OK);
  assert_false(have);
  sp_chronicle_reader_fini(&r);
  sp_buf_free(&b);
}

static void test_reader_never_holds_an_endless_line(void **state) {
  (void)state;
  struct sp_chronicle_entry e = recovery(), got;
  struct sp_chronicle_reader r = {0};
  struct sp_buf b = line_of(&e);
  static char zeros[8192];
  bool have = true;
  for (int i = 0; i < 1000; i++) {
    feed(&r, zeros, sizeof zeros);
    assert_int_equal(sp_chronicle_next(&r, &got, &have, NULL), SP_OK);
    assert_false(have);
    assert_true(r.pending.length < 4 * SP_CHRONICLE_MAX_LINE);
  }
  feed(&r, b.data, b.length); /* its end, not an entry of its own */
  feed(&r, b.data, b.length);
  assert_int_equal(sp_chronicle_next(&r, &got, &have, NULL), SP_ECORRUPT);
  assert_true(have);
  assert_int_equal(sp_chronicle_next(&r, &got, &have, NULL), SP_OK);
  assert_true(have);
  assert_int_equal(r.offset, 1000 * (int64_t)sizeof zeros + 2 * (int64_t)b.length);
  sp_chronicle_reader_fini(&r);
  sp_buf_free(&b);
}

static void test_parse_with_each_allocation_failing_reports_no_memory(void **state) {
  (void)state;
  struct sp_chronicle_entry e = recovery(), got;
  struct sp_buf b = line_of(&e);
  bool failed = true;
  for (long n = 1; failed; n++) {
    struct sp_arena arena = {0};
    tt_fail_alloc(n);
    sp_status status = sp_chronicle_parse(b.data, b.length - 1, &got, &arena, NULL);
    failed = tt_alloc_failed();
    assert_int_equal(status, failed ? SP_ENOMEM : SP_OK);
    sp_arena_clear(&arena);
  }
  tt_fail_alloc(0);
  sp_buf_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_put_line_is_as_documented),
      tt_test(test_every_kind_comes_back_equal),
      tt_test(test_values_come_back_equal),
      tt_test(test_put_hostile_text_stays_one_bounded_line),
      tt_test(test_parse_any_changed_byte_is_found),
      tt_test(test_parse_hostile_members_are_refused),
      tt_test(test_reader_takes_bytes_one_at_a_time),
      tt_test(test_reader_goes_on_behind_a_bad_line),
      tt_test(test_reader_never_holds_an_endless_line),
      tt_test(test_parse_with_each_allocation_failing_reports_no_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
