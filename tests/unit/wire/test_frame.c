/* The frame splitter: any chunking gives the same frames, and every violation is final. */
#include "tests/lib/tt.h"

#include "proto/wire/frame.h"

#include <string.h>

static size_t put_frame(uint8_t *out, uint16_t tag, const char *payload) {
  size_t n = strlen(payload);
  sp_frame_header_put(out, tag, (uint32_t)n);
  memcpy(out + SP_FRAME_HEADER_BYTES, payload, n);
  return SP_FRAME_HEADER_BYTES + n;
}

static bool next_is(struct sp_splitter *s, uint16_t tag, const char *payload) {
  struct sp_frame frame;
  bool have = false;
  return sp_splitter_next(s, &frame, &have, NULL) == SP_OK && have && frame.tag == tag &&
         frame.n_payload == strlen(payload) && memcmp(frame.payload, payload, frame.n_payload) == 0;
}

static bool next_is_none(struct sp_splitter *s) {
  struct sp_frame frame;
  bool have = true;
  return sp_splitter_next(s, &frame, &have, NULL) == SP_OK && !have;
}

static void test_header_put_writes_little_endian(void **state) {
  (void)state;
  uint8_t header[SP_FRAME_HEADER_BYTES];
  sp_frame_header_put(header, 0x0102, 0x000A0B0C);
  const uint8_t want[] = {0x0C, 0x0B, 0x0A, 0, 0x02, 0x01, SP_FRAME_VERSION, 0};
  assert_memory_equal(header, want, sizeof want);
}

static void test_next_empty_has_none(void **state) {
  (void)state;
  struct sp_splitter s = {0};
  assert_true(next_is_none(&s));
  sp_splitter_fini(&s);
}

static void test_next_two_frames_in_one_feed_gives_both(void **state) {
  (void)state;
  uint8_t bytes[64];
  size_t n = put_frame(bytes, 7, "first");
  n += put_frame(bytes + n, 8, "");
  struct sp_splitter s = {0};
  assert_int_equal(sp_splitter_feed(&s, bytes, n, NULL), SP_OK);
  assert_true(next_is(&s, 7, "first"));
  assert_true(next_is(&s, 8, ""));
  assert_true(next_is_none(&s));
  sp_splitter_fini(&s);
}

static void test_next_byte_by_byte_gives_the_frame_at_its_last_byte(void **state) {
  (void)state;
  uint8_t bytes[64];
  size_t n = put_frame(bytes, 3, "payload");
  struct sp_splitter s = {0};
  for (size_t i = 0; i < n; i++) {
    assert_true(next_is_none(&s));
    assert_int_equal(sp_splitter_feed(&s, bytes + i, 1, NULL), SP_OK);
  }
  assert_true(next_is(&s, 3, "payload"));
  sp_splitter_fini(&s);
}

static void test_next_largest_frame_arrives_whole(void **state) {
  (void)state;
  static uint8_t bytes[SP_FRAME_MAX_BYTES];
  sp_frame_header_put(bytes, 1, SP_FRAME_MAX_PAYLOAD);
  bytes[SP_FRAME_MAX_BYTES - 1] = 0x5A;
  struct sp_splitter s = {0};
  for (size_t i = 0; i < sizeof bytes; i += SP_FRAME_MAX_FEED) {
    assert_true(next_is_none(&s));
    assert_int_equal(sp_splitter_feed(&s, bytes + i, SP_FRAME_MAX_FEED, NULL), SP_OK);
  }
  struct sp_frame frame;
  bool have;
  assert_int_equal(sp_splitter_next(&s, &frame, &have, NULL), SP_OK);
  assert_true(have);
  assert_int_equal(frame.n_payload, SP_FRAME_MAX_PAYLOAD);
  assert_int_equal(frame.payload[frame.n_payload - 1], 0x5A);
  sp_splitter_fini(&s);
}

static void refuses(const uint8_t header[SP_FRAME_HEADER_BYTES]) {
  struct sp_splitter s = {0};
  struct sp_frame frame;
  bool have;
  assert_int_equal(sp_splitter_feed(&s, header, SP_FRAME_HEADER_BYTES, NULL), SP_OK);
  assert_int_equal(sp_splitter_next(&s, &frame, &have, NULL), SP_ECORRUPT);
  assert_int_equal(sp_splitter_next(&s, &frame, &have, NULL), SP_ECORRUPT);
  assert_int_equal(sp_splitter_feed(&s, header, 1, NULL), SP_ECORRUPT);
  sp_splitter_fini(&s);
}

static void test_next_payload_over_the_limit_fails_for_good(void **state) {
  (void)state;
  uint8_t header[SP_FRAME_HEADER_BYTES];
  sp_frame_header_put(header, 1, SP_FRAME_MAX_PAYLOAD);
  header[0]++;
  refuses(header);
}

static void test_next_other_version_fails_for_good(void **state) {
  (void)state;
  uint8_t header[SP_FRAME_HEADER_BYTES];
  sp_frame_header_put(header, 1, 0);
  header[6]++;
  refuses(header);
}

static void test_next_reserved_byte_set_fails_for_good(void **state) {
  (void)state;
  uint8_t header[SP_FRAME_HEADER_BYTES];
  sp_frame_header_put(header, 1, 0);
  header[7] = 1;
  refuses(header);
}

static void test_feed_without_draining_is_bounded(void **state) {
  (void)state;
  static uint8_t bytes[SP_FRAME_MAX_FEED];
  struct sp_splitter s = {0};
  sp_status status = SP_OK;
  size_t fed = 0;
  while (status == SP_OK && fed < 4 * SP_FRAME_MAX_BYTES) {
    status = sp_splitter_feed(&s, bytes, sizeof bytes, NULL);
    fed += sizeof bytes;
  }
  assert_int_equal(status, SP_ERANGE);
  sp_splitter_fini(&s);
}

static void test_feed_no_memory_keeps_the_bytes_before(void **state) {
  (void)state;
  uint8_t bytes[64];
  size_t n = put_frame(bytes, 3, "payload");
  struct sp_splitter s = {0};
  tt_fail_alloc(1);
  assert_int_equal(sp_splitter_feed(&s, bytes, n, NULL), SP_ENOMEM);
  assert_int_equal(sp_splitter_feed(&s, bytes, n, NULL), SP_OK);
  assert_true(next_is(&s, 3, "payload"));
  sp_splitter_fini(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_header_put_writes_little_endian),
      tt_test(test_next_empty_has_none),
      tt_test(test_next_two_frames_in_one_feed_gives_both),
      tt_test(test_next_byte_by_byte_gives_the_frame_at_its_last_byte),
      tt_test(test_next_largest_frame_arrives_whole),
      tt_test(test_next_payload_over_the_limit_fails_for_good),
      tt_test(test_next_other_version_fails_for_good),
      tt_test(test_next_reserved_byte_set_fails_for_good),
      tt_test(test_feed_without_draining_is_bounded),
      tt_test(test_feed_no_memory_keeps_the_bytes_before),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
