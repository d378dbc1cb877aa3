/* Digests of steps: the arithmetic that docs/audit.md states, and what they see and do not see. */
#include "tests/lib/regions.h"
#include "tests/lib/tt.h"

#include <math.h>
#include <string.h>

#include "engine/models/builtin.h"
#include "engine/nn/module.h"
#include "engine/state/audit.h"
#include "proto/base/mem.h"
#include "proto/base/sha256.h"

enum { WORDS = STK_DIGEST_WORDS };

struct fixture {
  struct stk_module *module;
  struct stk_state *s;
  const struct stk_kernels *kernels;
  uint32_t *words;
  struct tt_regions regions; /* shared with children, as a supervisor's are */
};

/* A cnn with batch norm, more than a chunk of parameters, Adam's three sections. */
static void open_state(struct fixture *f, int32_t real_bytes) {
  const stk_sample images = {STK_F32, 2, {8, 8}};
  const struct stk_state_spec spec = {real_bytes, 3, 2, 2};
  struct sp_err err = {0};
  *f = (struct fixture){.kernels = stk_kernels_get(STK_ISA_KIND_REF, real_bytes * 8, false)};
  tt_regions_init(&f->regions);
  assert_int_equal(stk_module_new(&stk_model_cnn, &f->module, &err), SP_OK);
  assert_int_equal(stk_module_set_hparam(f->module, "batch_norm", "true", &err), SP_OK);
  assert_int_equal(stk_module_set_hparam(f->module, "conv1", "48", &err), SP_OK);
  assert_int_equal(stk_module_set_hparam(f->module, "conv2", "200", &err), SP_OK);
  assert_int_equal(stk_module_setup(f->module, &images, &err), SP_OK);
  assert_int_equal(stk_state_new(f->module, &spec, &f->regions.memory, &f->s, &err), SP_OK);
  stk_state_init(f->s, f->module, 3, NULL);
  memset(f->s->slot[0] + f->s->layout.section_bytes, 0x11, (size_t)f->s->layout.section_bytes);
  f->words = sp_alloc(stk_audit_bytes(f->s));
  assert_non_null(f->words);
  assert_true(f->s->layout.section_bytes / real_bytes > STK_STATE_CHUNK);
}

static void close_state(struct fixture *f) {
  stk_state_free(f->s);
  stk_module_free(f->module);
  sp_free(f->words);
  tt_regions_free(&f->regions);
}

static int64_t chunks(const struct stk_state *s) {
  return (s->layout.section_bytes / s->layout.real_bytes + STK_STATE_CHUNK - 1) / STK_STATE_CHUNK;
}

/* The digest, the chunks of the slot in two shares. */
static struct stk_audit take(struct fixture *f) {
  struct stk_audit a;
  stk_pool *pool = NULL;
  const struct stk_state *s = f->s;
  assert_int_equal(stk_pool_new(2, false, &pool, NULL), SP_OK);
  stk_audit_slot(s, f->kernels, pool, s->slot[s->now->slot], 1, chunks(s), f->words);
  stk_audit_slot(s, f->kernels, pool, s->slot[s->now->slot], 0, 1, f->words);
  stk_audit_fold(s, f->kernels, f->words, &a);
  stk_pool_free(pool);
  return a;
}

/* ---- the statement, said again */

static uint32_t turn(uint32_t h, uint32_t w) {
  h += w * 0x9e3779b9u;
  return ((h << 13) | (h >> 19)) * 0x85ebca6bu;
}

static void state_part(const uint8_t *p, int64_t bytes, int64_t chunk_bytes, struct sp_sha256 *h) {
  for (int64_t at = 0; at < bytes; at += chunk_bytes) {
    uint32_t lane[32], out[WORDS], w;
    for (uint32_t i = 0; i < 32; i++) {
      lane[i] = (i + 1) * 0x9e3779b9u;
    }
    for (int64_t i = 0; i < chunk_bytes / 4 && at + 4 * i < bytes; i++) {
      memcpy(&w, p + at + 4 * i, 4);
      lane[i % 32] = turn(lane[i % 32], w);
    }
    for (int i = 0; i < WORDS; i++) {
      out[i] = turn(turn(turn(lane[i], lane[i + 8]), lane[i + 16]), lane[i + 24]);
    }
    sp_sha256_update(h, out, sizeof out);
  }
}

static void state_it(const struct stk_state *s, uint8_t out[32]) {
  const struct stk_layout *l = &s->layout;
  const uint64_t sizes[] = {(uint64_t)l->real_bytes, (uint64_t)l->section_bytes,
                            (uint64_t)l->n_sections, (uint64_t)l->running_bytes,
                            (uint64_t)s->control_bytes};
  const int64_t real_chunk = (int64_t)STK_STATE_CHUNK * l->real_bytes;
  const uint8_t *slot = s->slot[s->now->slot];
  struct sp_sha256 h, part[4];
  uint8_t digest[4][32];
  for (int i = 0; i < 4; i++) {
    sp_sha256_init(&part[i]);
  }
  state_part(slot, l->section_bytes, real_chunk, &part[0]);
  for (int32_t i = 1; i < l->n_sections; i++) {
    state_part(slot + i * l->section_bytes, l->section_bytes, real_chunk, &part[1]);
  }
  state_part(s->running[s->now->running], l->running_bytes, real_chunk, &part[2]);
  state_part(stk_state_identity(s), (int64_t)s->control_bytes, 4 * STK_STATE_CHUNK, &part[3]);
  sp_sha256_init(&h);
  sp_sha256_update(&h, "stoker audit 1\n", 15);
  sp_sha256_update(&h, sizes, sizeof sizes);
  for (int i = 0; i < 4; i++) {
    sp_sha256_final(&part[i], digest[i]);
    sp_sha256_update(&h, digest[i], 32);
  }
  sp_sha256_final(&h, out);
}

static void test_audit_digest_is_the_stated_one(void **state) {
  (void)state;
  for (int32_t real = 4; real <= 8; real += 4) {
    struct fixture f;
    uint8_t want[32];
    open_state(&f, real);
    struct stk_audit a = take(&f);
    state_it(f.s, want);
    assert_memory_equal(a.digest, want, sizeof want);
    close_state(&f);
  }
}

/* Fails unless exactly the parts of the mask differ. */
static void assert_parts(const struct stk_audit *a, const struct stk_audit *b, unsigned mask) {
  assert_int_equal(memcmp(a->digest, b->digest, sizeof a->digest) != 0, mask != 0);
  for (int i = 0; i < STK_AUDIT_PARTS; i++) {
    assert_int_equal(memcmp(a->tag[i], b->tag[i], STK_AUDIT_TAG) != 0, mask >> i & 1);
  }
}

static void test_audit_a_change_shows_in_its_part_alone(void **state) {
  (void)state;
  struct fixture f;
  open_state(&f, 4);
  const struct stk_audit before = take(&f);
  const struct stk_layout *l = &f.s->layout;
  uint8_t *const places[] = {
      f.s->slot[0] + 8,
      f.s->slot[0] + 4 * STK_STATE_CHUNK + 8,
      f.s->slot[0] + l->section_bytes + 4 * STK_STATE_CHUNK,
      f.s->slot[0] + 3 * l->section_bytes - 1,
      f.s->running[0] + 4,
      (uint8_t *)&f.s->now->global_step,
  };
  static const unsigned parts[] = {1, 1, 2, 2, 4, 8};
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    *places[i] ^= 4;
    const struct stk_audit after = take(&f);
    assert_parts(&before, &after, parts[i]);
    *places[i] ^= 4;
  }
  const struct stk_audit again = take(&f);
  assert_parts(&before, &again, 0);
  close_state(&f);
}

static void test_audit_does_not_see_slots_clocks_or_kinds_of_nan(void **state) {
  (void)state;
  struct fixture f;
  open_state(&f, 4);
  float nan = NAN;
  memcpy(f.s->slot[0], &nan, sizeof nan);
  const struct stk_audit before = take(&f);
  const uint32_t odd = 0xffc00001u;
  memcpy(f.s->slot[0], &odd, sizeof odd);
  memcpy(f.s->slot[1], f.s->slot[0], (size_t)(3 * f.s->layout.section_bytes));
  memcpy(f.s->running[1], f.s->running[0], (size_t)f.s->layout.running_bytes);
  f.s->now->slot = f.s->now->running = 1;
  f.s->now->elapsed_ns = 12345;
  f.s->now->seq = 77;
  const struct stk_audit after = take(&f);
  assert_parts(&before, &after, 0);
  close_state(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_audit_digest_is_the_stated_one),
      cmocka_unit_test(test_audit_a_change_shows_in_its_part_alone),
      cmocka_unit_test(test_audit_does_not_see_slots_clocks_or_kinds_of_nan),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
