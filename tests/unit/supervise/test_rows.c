/* The ring of rows: metrics and digests come out as they went in, over its end and many laps; what
 * was not consumed is not overwritten; damage is said. */
#include "tests/lib/tt.h"

#include <stdio.h>
#include <string.h>

#include "proto/base/mem.h"
#include "worker/supervise/rows.h"

struct ring {
  struct sw_rows *rows;
  uint64_t head, at;
  struct sw_row *row;
};

static struct ring new_ring(void) {
  struct ring r = {.rows = sp_alloc_aligned(4096, SW_ROWS_BYTES), .row = sp_alloc(sizeof *r.row)};
  assert_non_null(r.rows);
  assert_non_null(r.row);
  memset((void *)r.rows, 0, SW_ROWS_BYTES);
  sw_rows_init(r.rows);
  return r;
}

static void free_ring(struct ring *r) {
  sp_free_aligned(r->rows);
  sp_free(r->row);
}

static struct stk_audit digest_of(int64_t step) {
  struct stk_audit a;
  memset(&a, (int)(step % 251), sizeof a);
  a.tag[3][3] = (uint8_t)(step >> 8);
  return a;
}

static void put(struct ring *r, int64_t step) {
  static const char *const names[] = {"loss", "a_name_of_some_length", ""};
  const double values[] = {(double)step, -1.5, 3.0 * (double)step};
  const int32_t n = (int32_t)(step % 4);
  assert_int_equal(sw_rows_put(r->rows, &r->head, step, n, names, values, NULL), SP_OK);
  struct stk_audit a = digest_of(step);
  sw_rows_put_audit(r->rows, &r->head, step, &a);
}

/* The two rows of a step. */
static void take(struct ring *r, int64_t step) {
  bool have = false;
  assert_int_equal(sw_rows_next(r->rows, &r->at, r->head, r->row, &have, NULL), SP_OK);
  assert_true(have && !r->row->is_audit);
  assert_int_equal(r->row->step, step);
  assert_int_equal(r->row->n, step % 4);
  if (r->row->n > 0) {
    assert_string_equal(r->row->names[0], "loss");
    assert_true(r->row->values[0] == (double)step);
  }
  assert_int_equal(sw_rows_next(r->rows, &r->at, r->head, r->row, &have, NULL), SP_OK);
  assert_true(have && r->row->is_audit);
  assert_int_equal(r->row->step, step);
  assert_int_equal(r->row->n, 0);
  struct stk_audit want = digest_of(step);
  assert_memory_equal(&r->row->audit, &want, sizeof want);
}

static void test_rows_come_out_as_they_went_in_over_many_laps(void **state) {
  (void)state;
  struct ring r = new_ring();
  int64_t in = 0, out = 0;
  while (r.head < 5 * (uint64_t)SW_ROWS_BYTES) {
    while (sw_rows_has_room(r.rows, r.head, 1024)) {
      put(&r, in++);
    }
    while (out < in) {
      take(&r, out++);
    }
    bool have = true;
    assert_int_equal(sw_rows_next(r.rows, &r.at, r.head, r.row, &have, NULL), SP_OK);
    assert_false(have);
    sw_rows_note(r.rows, &(struct sw_logbook){.consumed = r.at});
  }
  assert_true(in > 20000);
  free_ring(&r);
}

static void test_rows_are_read_up_to_a_committed_head_only(void **state) {
  (void)state;
  struct ring r = new_ring();
  bool have = true;
  put(&r, 1);
  uint64_t committed = r.head;
  put(&r, 2); /* and its writer died */
  uint64_t all = r.head;
  r.head = committed;
  take(&r, 1);
  assert_int_equal(sw_rows_next(r.rows, &r.at, committed, r.row, &have, NULL), SP_OK);
  assert_false(have);
  put(&r, 2); /* again, by the next one: at the same place */
  assert_int_equal(r.head, all);
  take(&r, 2);
  free_ring(&r);
}

static void test_rows_newest_logbook_counts(void **state) {
  (void)state;
  struct ring r = new_ring();
  for (uint64_t i = 1; i < 6; i++) {
    struct sw_logbook b = {.consumed = 8 * i, .position = {(int64_t)i, -1}};
    sw_rows_note(r.rows, &b);
    struct sw_logbook got = sw_rows_logbook(r.rows);
    assert_int_equal(got.consumed, 8 * i);
    assert_int_equal(got.position[0], i);
  }
  sw_rows_init(r.rows); /* one that stands is left alone */
  assert_int_equal(sw_rows_logbook(r.rows).consumed, 40);
  free_ring(&r);
}

static void test_rows_damage_is_corrupt(void **state) {
  (void)state;
  struct ring r = new_ring();
  bool have = true;
  struct stk_audit a = digest_of(1);
  sw_rows_put_audit(r.rows, &r.head, 1, &a);
  uint8_t *bytes = (uint8_t *)r.rows, *row = NULL;
  for (size_t i = 0; i + 8 < SW_ROWS_BYTES && !row; i += 8) {
    uint32_t size[2];
    memcpy(size, bytes + i, sizeof size);
    row = size[0] == SW_ROW_AUDIT_BYTES && size[1] == UINT32_MAX ? bytes + i : NULL;
  }
  assert_non_null(row);
  row[4] = 0; /* as many values as never fit */
  assert_int_equal(sw_rows_next(r.rows, &r.at, r.head, r.row, &have, NULL), SP_ECORRUPT);
  row[4] = 0xff;
  row[0] = SW_ROW_AUDIT_BYTES - 8;
  assert_int_equal(sw_rows_next(r.rows, &r.at, r.head, r.row, &have, NULL), SP_ECORRUPT);
  row[0] = SW_ROW_AUDIT_BYTES;
  assert_int_equal(sw_rows_next(r.rows, &r.at, r.head, r.row, &have, NULL), SP_OK);
  free_ring(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rows_come_out_as_they_went_in_over_many_laps),
      cmocka_unit_test(test_rows_are_read_up_to_a_committed_head_only),
      cmocka_unit_test(test_rows_newest_logbook_counts),
      cmocka_unit_test(test_rows_damage_is_corrupt),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
