/* The lane tree: the parts of ranks cover all lanes, and what ranks and the reduction add up is
 * what the binary counter of one rank adds up, addition by addition. */
#include "tests/lib/tt.h"

#include <stdio.h>
#include <string.h>

#include "engine/comm/tree.h"

enum { MAX = 40, TEXT = 1024 };

/* One rank's binary counter as docs/numerics.md has it, in words: "((0+1)+2)". */
static void counter(int32_t n_lanes, char out[TEXT]) {
  static char text[MAX][TEXT];
  int32_t size[MAX], depth = 0;
  for (int32_t lane = 0; lane < n_lanes; lane++) {
    snprintf(text[depth], TEXT, "%d", (int)lane);
    size[depth++] = 1;
    while (depth >= 2 && (size[depth - 1] == size[depth - 2] || lane + 1 == n_lanes)) {
      char joined[TEXT];
      int n = snprintf(joined, TEXT, "(%s+%s)", text[depth - 2], text[depth - 1]);
      assert_true(n > 0 && n < TEXT);
      memcpy(text[depth - 2], joined, TEXT);
      size[depth - 2] += size[depth - 1];
      depth--;
    }
  }
  memcpy(out, text[0], TEXT);
}

/* A node of the tree in words, by its definition. */
static void node_text(int32_t lo, int32_t hi, char out[TEXT]) {
  char left[TEXT], right[TEXT];
  if (hi - lo == 1) {
    snprintf(out, TEXT, "%d", (int)lo);
    return;
  }
  node_text(lo, stk_tree_split(lo, hi), left);
  node_text(stk_tree_split(lo, hi), hi, right);
  int n = snprintf(out, TEXT, "(%s+%s)", left, right);
  assert_true(n > 0 && n < TEXT);
}

static void check_sum(int32_t n_lanes, int32_t n_ranks) {
  static char text[MAX][TEXT];
  struct stk_tree_part parts[MAX];
  struct stk_tree_add adds[MAX];
  char want[TEXT];
  int32_t n = stk_tree_parts(n_lanes, n_ranks, parts);
  for (int32_t i = 0; i < n; i++) {
    node_text(parts[i].lo, parts[i].hi, text[i]);
  }
  stk_tree_adds(n_lanes, parts, n, adds);
  for (int32_t i = 0; i + 1 < n; i++) {
    char joined[TEXT];
    assert_true(adds[i].into < adds[i].from);
    int length = snprintf(joined, TEXT, "(%s+%s)", text[adds[i].into], text[adds[i].from]);
    assert_true(length > 0 && length < TEXT);
    memcpy(text[adds[i].into], joined, TEXT);
  }
  counter(n_lanes, want);
  assert_string_equal(text[0], want);
}

static void test_tree_any_ranks_add_up_as_one_rank_s_counter(void **state) {
  (void)state;
  for (int32_t v = 1; v < MAX; v++) {
    for (int32_t n = 1; n <= v; n++) {
      check_sum(v, n);
    }
  }
}

static void test_tree_parts_cover_all_lanes_with_whole_nodes(void **state) {
  (void)state;
  for (int32_t v = 1; v < MAX; v++) {
    for (int32_t n = 1; n <= v; n++) {
      struct stk_tree_part parts[MAX];
      int32_t count = stk_tree_parts(v, n, parts), at = 0;
      for (int32_t i = 0; i < count; i++) {
        int64_t lo, hi;
        stk_tree_share(v, parts[i].rank, n, &lo, &hi);
        assert_int_equal(parts[i].lo, at);
        assert_true(parts[i].lo >= lo && parts[i].hi <= hi);
        assert_true(stk_tree_is_node(v, parts[i].lo, parts[i].hi));
        bool first = i == 0 || parts[i - 1].rank != parts[i].rank;
        assert_int_equal(parts[i].buffer, first ? 0 : parts[i - 1].buffer + 1);
        assert_true(parts[i].buffer < stk_tree_buffers(v, (int32_t)lo, (int32_t)hi));
        at = parts[i].hi;
      }
      assert_int_equal(at, v);
    }
  }
}

static void test_tree_parts_are_the_largest_nodes(void **state) {
  (void)state;
  struct stk_tree_part parts[7];
  assert_int_equal(stk_tree_parts(1, 1, parts), 1);
  assert_int_equal(stk_tree_parts(7, 1, parts), 2); /* the root is the reduction's */
  assert_int_equal(stk_tree_parts(7, 2, parts), 4);
  static const int32_t want[4][4] = {{0, 2, 0, 0}, {2, 3, 0, 1}, {3, 4, 1, 0}, {4, 7, 1, 1}};
  for (int i = 0; i < 4; i++) {
    assert_int_equal(parts[i].lo, want[i][0]);
    assert_int_equal(parts[i].hi, want[i][1]);
    assert_int_equal(parts[i].rank, want[i][2]);
    assert_int_equal(parts[i].buffer, want[i][3]);
  }
  assert_int_equal(stk_tree_parts(4, 4, parts), 4);
  assert_int_equal(stk_tree_parts(4, 2, parts), 2);
}

static void test_tree_nodes_are_told_from_other_ranges(void **state) {
  (void)state;
  assert_true(stk_tree_is_node(7, 0, 7));
  assert_true(stk_tree_is_node(7, 4, 7));
  assert_true(stk_tree_is_node(7, 6, 7));
  assert_false(stk_tree_is_node(7, 3, 7));
  assert_false(stk_tree_is_node(7, 1, 3));
  assert_false(stk_tree_is_node(7, 5, 7));
  assert_false(stk_tree_is_node(7, 0, 8));
  assert_false(stk_tree_is_node(7, 2, 2));
  assert_true(stk_tree_joins(7, 4, 7));
  assert_false(stk_tree_joins(7, 0, 7));
  assert_false(stk_tree_joins(7, 3, 7));
}

static void test_tree_buffers_are_as_many_as_sums_stand(void **state) {
  (void)state;
  assert_int_equal(stk_tree_buffers(1, 0, 1), 1);
  assert_int_equal(stk_tree_buffers(4, 0, 4), 3);
  assert_int_equal(stk_tree_buffers(7, 0, 7), 3);
  assert_int_equal(stk_tree_buffers(8, 0, 8), 4);
  assert_int_equal(stk_tree_buffers(4, 2, 4), 2);
  assert_int_equal(stk_tree_buffers(4, 1, 4), 3);
}

static void test_tree_shares_are_even_and_whole(void **state) {
  (void)state;
  for (int32_t n = 1; n <= 7; n++) {
    int64_t at = 0;
    for (int32_t r = 0; r < n; r++) {
      int64_t lo, hi;
      stk_tree_share(23, r, n, &lo, &hi);
      assert_int_equal(lo, at);
      assert_true(hi - lo >= 23 / n && hi - lo <= 23 / n + 1);
      at = hi;
    }
    assert_int_equal(at, 23);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_tree_any_ranks_add_up_as_one_rank_s_counter),
      tt_test(test_tree_parts_cover_all_lanes_with_whole_nodes),
      tt_test(test_tree_parts_are_the_largest_nodes),
      tt_test(test_tree_nodes_are_told_from_other_ranges),
      tt_test(test_tree_buffers_are_as_many_as_sums_stand),
      tt_test(test_tree_shares_are_even_and_whole),
  };
  return cmocka_run_group_tests_name("tree", tests, NULL, NULL);
}
