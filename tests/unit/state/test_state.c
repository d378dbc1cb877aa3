/* The state: layout, first values, commits that a kill cannot tear, and what the hash sees. */
#include "tests/lib/regions.h"
#include "tests/lib/tt.h"

#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/models/builtin.h"
#include "engine/nn/module.h"
#include "engine/state/state.h"
#include "proto/base/mem.h"

enum { HASH = 32, N_KILLS = 40 };

struct fixture {
  struct stk_module *module;
  struct stk_state *s;
  struct tt_regions regions; /* shared with children, as a supervisor's are */
};

/* A cnn with batch norm: parameters of odd sizes, and running statistics; Adam's three sections. */
static void open_state(struct fixture *f, int32_t real_bytes, uint64_t seed) {
  const stk_sample images = {STK_F32, 2, {4, 4}};
  const struct stk_state_spec spec = {real_bytes, 3, 2, 3};
  struct sp_err err = {0};
  *f = (struct fixture){0};
  tt_regions_init(&f->regions);
  assert_int_equal(stk_module_new(&stk_model_cnn, &f->module, &err), SP_OK);
  assert_int_equal(stk_module_set_hparam(f->module, "conv1", "3", &err), SP_OK);
  assert_int_equal(stk_module_set_hparam(f->module, "batch_norm", "true", &err), SP_OK);
  assert_int_equal(stk_module_setup(f->module, &images, &err), SP_OK);
  assert_int_equal(stk_state_new(f->module, &spec, &f->regions.memory, &f->s, &err), SP_OK);
  stk_state_init(f->s, f->module, seed, NULL);
  stk_state_commit(f->s);
}

static void close_state(struct fixture *f) {
  stk_state_free(f->s);
  stk_module_free(f->module);
  tt_regions_free(&f->regions);
}

static void test_state_layout_follows_declaration_aligned_and_apart(void **state) {
  (void)state;
  for (int32_t real = 4; real <= 8; real += 4) {
    struct fixture f;
    open_state(&f, real, 1);
    const struct stk_layout *l = &f.s->layout;
    int64_t at = 0;
    for (int32_t i = 0; i < f.module->n_params; i++) {
      assert_int_equal(l->param_offset[i], at);
      assert_int_equal(at % 64, 0);
      at += (stk_shape_numel(&f.module->params[i]->shape) * real + 63) / 64 * 64;
    }
    assert_int_equal(l->section_bytes, at);
    assert_int_equal(l->n_sections, 3);
    close_state(&f);
  }
}

static void test_state_init_slots_alike_pads_and_moments_zero(void **state) {
  struct fixture f;
  (void)state;
  open_state(&f, 4, 1);
  const struct stk_layout *l = &f.s->layout;
  assert_memory_equal(f.s->slot[0], f.s->slot[1], (size_t)(3 * l->section_bytes));
  for (int32_t i = 0; i < f.module->n_params; i++) {
    int64_t from = l->param_offset[i] + stk_shape_numel(&f.module->params[i]->shape) * 4;
    int64_t to = i + 1 < f.module->n_params ? l->param_offset[i + 1] : l->section_bytes;
    for (int64_t k = from; k < to; k++) {
      assert_int_equal(f.s->slot[0][k], 0);
    }
  }
  for (int64_t k = l->section_bytes; k < 3 * l->section_bytes; k++) {
    assert_int_equal(f.s->slot[0][k], 0);
  }
  close_state(&f);
}

static void test_state_init_depends_on_the_seed_alone(void **state) {
  struct fixture a, b, c;
  uint8_t x[HASH], y[HASH], z[HASH];
  (void)state;
  open_state(&a, 4, 1);
  open_state(&b, 4, 1);
  open_state(&c, 4, 2);
  stk_state_hash(a.s, x);
  stk_state_hash(b.s, y);
  stk_state_hash(c.s, z);
  assert_memory_equal(x, y, HASH);
  assert_memory_not_equal(x, z, HASH);
  close_state(&a);
  close_state(&b);
  close_state(&c);
}

static const struct stk_control *newest(const struct stk_state *s) {
  return s->control[s->control[1]->seq > s->control[0]->seq];
}

static void test_state_commit_leaves_the_older_page_whole(void **state) {
  struct fixture f;
  (void)state;
  open_state(&f, 4, 1);
  struct stk_control *older = sp_alloc(f.s->control_bytes);
  assert_non_null(older);
  for (int64_t k = 1; k <= 4; k++) {
    const struct stk_control *page = newest(f.s);
    memcpy(older, page, f.s->control_bytes);
    f.s->now->global_step = k;
    stk_state_commit(f.s);
    assert_memory_equal(page, older, f.s->control_bytes);
    assert_ptr_not_equal(newest(f.s), page);
    assert_int_equal(newest(f.s)->global_step, k);
    assert_int_equal(newest(f.s)->seq, older->seq + 1);
  }
  sp_free(older);
  close_state(&f);
}

/* Everything that the page holds says k, first and last field alike. */
static void fill_page(struct stk_state *s, int64_t k) {
  struct stk_acc *last = stk_control_acc(s->now, s->now->n_lanes) - 1;
  s->now->epoch = s->now->total_batches = k;
  s->now->scalars[0] = s->now->scalars[STK_GRAPH_MAX_HOST - 1] = (double)k;
  s->now->metrics[STK_CONTROL_METRICS - 1].value = (double)k;
  last->sum = last->weight = (double)k;
}

static void check_page(const struct stk_control *page) {
  const struct stk_acc *last =
      (const struct stk_acc *)(const void *)((const uint8_t *)page + page->acc_offset) +
      (int64_t)page->n_lanes * STK_GRAPH_MAX_LOGS - 1;
  int64_t k = page->epoch;
  assert_int_equal(page->total_batches, k);
  assert_true(page->scalars[0] == (double)k);
  assert_true(page->scalars[STK_GRAPH_MAX_HOST - 1] == (double)k);
  assert_true(page->metrics[STK_CONTROL_METRICS - 1].value == (double)k);
  assert_true(last->sum == (double)k && last->weight == (double)k);
}

static _Noreturn void commit_until_killed(struct fixture *f) {
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (int64_t k = newest(f->s)->epoch + 1;; k++) {
    fill_page(f->s, k);
    stk_state_commit(f->s);
  }
}

static void test_state_killed_while_committing_newest_page_is_whole(void **state) {
  struct fixture f;
  (void)state;
  open_state(&f, 4, 1);
  fill_page(f.s, 0);
  stk_state_commit(f.s);
  for (int i = 0; i < N_KILLS; i++) {
    uint64_t target = newest(f.s)->seq + 2 + (uint64_t)(i * 37 % 100);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
      commit_until_killed(&f);
    }
    volatile uint64_t *a = &f.s->control[0]->seq, *b = &f.s->control[1]->seq;
    while (*a < target && *b < target) {
    }
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_true(newest(f.s)->seq >= target);
    check_page(newest(f.s));
  }
  close_state(&f);
}

static void hash_after(struct fixture *f, uint8_t *byte, uint8_t out[HASH]) {
  *byte ^= 1;
  stk_state_hash(f->s, out);
  *byte ^= 1;
}

static void test_state_hash_sees_every_part(void **state) {
  struct fixture f;
  uint8_t whole[HASH], other[HASH];
  (void)state;
  open_state(&f, 4, 1);
  stk_state_hash(f.s, whole);
  struct stk_control *now = f.s->now;
  int64_t section = f.s->layout.section_bytes;
  uint8_t *slot = stk_state_read_slot(f.s);
  uint8_t *parts[] = {slot,
                      slot + section,
                      slot + 2 * section,
                      f.s->running[now->running],
                      (uint8_t *)&now->phase,
                      (uint8_t *)&now->epoch,
                      (uint8_t *)&now->batch,
                      (uint8_t *)&now->global_step,
                      (uint8_t *)&now->total_batches,
                      (uint8_t *)&now->should_stop,
                      (uint8_t *)&now->scalars[0],
                      (uint8_t *)&now->schedules[0],
                      (uint8_t *)&now->early[0],
                      (uint8_t *)stk_control_acc(now, 1)};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    hash_after(&f, parts[i], other);
    if (memcmp(whole, other, HASH) == 0) {
      fail_msg("the hash does not see part %zu", i);
    }
  }
  stk_state_hash(f.s, other);
  assert_memory_equal(whole, other, HASH);
  close_state(&f);
}

/* The write slot is never the committed one, nor the one that is being saved. */
static void test_state_a_pinned_slot_is_not_written(void **state) {
  struct fixture f;
  (void)state;
  open_state(&f, 4, 1);
  for (int32_t now = 0; now < 3; now++) {
    f.s->now->slot = now;
    for (int32_t pinned = -1; pinned < 3; pinned++) {
      assert_true(stk_state_choose(f.s, pinned));
      assert_int_not_equal(f.s->write, now);
      assert_int_not_equal(f.s->write, pinned);
    }
  }
  f.s->n_slots = 2;
  f.s->now->slot = 1;
  assert_false(stk_state_choose(f.s, 0));
  assert_true(stk_state_choose(f.s, 1));
  assert_int_equal(f.s->write, 0);
  close_state(&f);
}

/* Another process takes what was committed, journal and all, and nothing that was not. */
static void test_state_reload_takes_the_committed_page(void **state) {
  struct fixture f;
  (void)state;
  open_state(&f, 4, 1);
  f.s->now->global_step = 7;
  f.s->now->slot = 2;
  f.s->journal->rows_head = 99;
  stk_state_commit(f.s);
  f.s->now->global_step = 8;
  f.s->journal->rows_head = 100;
  assert_true(stk_state_reload(f.s));
  assert_int_equal(f.s->now->global_step, 7);
  assert_int_equal(f.s->journal->rows_head, 99);
  assert_int_equal(f.s->write, 0);
  f.s->control[0]->seq = f.s->control[1]->seq = 0;
  assert_false(stk_state_reload(f.s));
  assert_null(stk_state_committed(f.s));
  close_state(&f);
}

/* The reach of the rows is committed in the middle of a phase, and nothing of the phase with it. */
static void test_state_journal_is_committed_alone(void **state) {
  struct fixture f;
  (void)state;
  open_state(&f, 4, 1);
  f.s->now->global_step = 7;
  stk_state_commit(f.s);
  f.s->now->global_step = 8;
  f.s->journal->rows_head = 50;
  f.s->journal->phase_rows = 3;
  stk_state_commit_journal(f.s);
  f.s->journal->rows_head = 60;
  assert_true(stk_state_reload(f.s));
  assert_int_equal(f.s->now->global_step, 7);
  assert_int_equal(f.s->journal->rows_head, 50);
  assert_int_equal(f.s->journal->phase_rows, 3);
  close_state(&f);
}

static void test_state_hash_ignores_clocks_slots_and_log_positions(void **state) {
  struct fixture f;
  uint8_t whole[HASH], other[HASH];
  (void)state;
  open_state(&f, 4, 1);
  stk_state_hash(f.s, whole);
  f.s->now->elapsed_ns = 12345;
  f.s->now->log_position[0] = 99;
  f.s->now->slot = 1 - f.s->now->slot;
  f.s->now->running = 1 - f.s->now->running;
  stk_state_commit(f.s);
  stk_state_hash(f.s, other);
  assert_memory_equal(whole, other, HASH);
  close_state(&f);
}

static void test_state_hash_nans_are_one_value(void **state) {
  static const uint32_t nans[] = {0x7fc00000u, 0xffc00001u, 0x7f800001u, 0xffffffffu};
  struct fixture f;
  uint8_t first[HASH], other[HASH];
  (void)state;
  open_state(&f, 4, 1);
  for (size_t i = 0; i < sizeof nans / sizeof *nans; i++) {
    memcpy(stk_state_read_slot(f.s), &nans[i], sizeof nans[i]);
    stk_state_hash(f.s, i == 0 ? first : other);
    assert_true(i == 0 || memcmp(first, other, HASH) == 0);
  }
  const float infinite = HUGE_VALF;
  memcpy(stk_state_read_slot(f.s), &infinite, sizeof infinite);
  stk_state_hash(f.s, other);
  assert_memory_not_equal(first, other, HASH);
  close_state(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      tt_test(test_state_layout_follows_declaration_aligned_and_apart),
      tt_test(test_state_init_slots_alike_pads_and_moments_zero),
      tt_test(test_state_init_depends_on_the_seed_alone),
      tt_test(test_state_commit_leaves_the_older_page_whole),
      tt_test(test_state_killed_while_committing_newest_page_is_whole),
      tt_test(test_state_a_pinned_slot_is_not_written),
      tt_test(test_state_reload_takes_the_committed_page),
      tt_test(test_state_journal_is_committed_alone),
      tt_test(test_state_hash_sees_every_part),
      tt_test(test_state_hash_ignores_clocks_slots_and_log_positions),
      tt_test(test_state_hash_nans_are_one_value),
  };
  return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
