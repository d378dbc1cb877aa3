/* Digests of steps. See audit.h. */
#include "engine/state/audit.h"

#include <string.h>

#include "proto/base/sha256.h"

enum { CHUNK_BYTES = STK_DIGEST_WORDS * sizeof(uint32_t) };

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "digests are hashed as they stand");

static int64_t chunks_of(int64_t elements) {
  return (elements + STK_STATE_CHUNK - 1) / STK_STATE_CHUNK;
}

static int64_t section_chunks(const struct stk_state *s) {
  return chunks_of(s->layout.section_bytes / s->layout.real_bytes);
}

size_t stk_audit_bytes(const struct stk_state *s) {
  return (size_t)(s->layout.n_sections * section_chunks(s)) * CHUNK_BYTES;
}

/* ---- the slot */

struct slot_pass {
  const struct stk_state *s;
  const struct stk_kernels *kernels;
  const uint8_t *slot;
  uint32_t *words;
  int64_t lo, each; /* first chunk, and chunks per section */
};

/* Unit u is chunk lo + u % each of section u / each. */
static void slot_units(void *ctx, int64_t lo, int64_t hi, int thread) {
  const struct slot_pass *p = ctx;
  const struct stk_layout *l = &p->s->layout;
  (void)thread;
  for (int64_t u = lo; u < hi; u++) {
    const int64_t section = u / p->each, chunk = p->lo + u % p->each;
    const struct stk_digest_args a = {
        .x = p->slot + section * l->section_bytes,
        .out = p->words + section * section_chunks(p->s) * STK_DIGEST_WORDS,
        .n = l->section_bytes / l->real_bytes,
        .is_real = true};
    p->kernels->digest->run(&a, chunk, chunk + 1, NULL);
  }
}

void stk_audit_slot(const struct stk_state *s, const struct stk_kernels *kernels, stk_pool *pool,
                    const uint8_t *slot, int64_t lo, int64_t hi, uint32_t *words) {
  struct slot_pass p = {s, kernels, slot, words, lo, hi - lo};
  if (hi > lo) {
    stk_pool_run(pool, slot_units, &p, s->layout.n_sections * (hi - lo));
  }
}

/* ---- the whole */

/* SHA-256 over the chunk digests of plain memory, n elements. */
static void hash_memory(const struct stk_kernels *kernels, const void *x, int64_t n, bool is_real,
                        int32_t bytes, uint8_t out[SP_SHA256_BYTES]) {
  struct sp_sha256 h;
  sp_sha256_init(&h);
  for (int64_t at = 0; at < n; at += STK_STATE_CHUNK) {
    uint32_t words[STK_DIGEST_WORDS];
    const int64_t left = n - at < STK_STATE_CHUNK ? n - at : STK_STATE_CHUNK;
    const struct stk_digest_args a = {(const uint8_t *)x + at * bytes, words, left, is_real};
    kernels->digest->run(&a, 0, 1, NULL);
    sp_sha256_update(&h, words, sizeof words);
  }
  sp_sha256_final(&h, out);
}

void stk_audit_fold(const struct stk_state *s, const struct stk_kernels *kernels,
                    const uint32_t *words, struct stk_audit *out) {
  const struct stk_layout *l = &s->layout;
  const size_t section = (size_t)section_chunks(s) * CHUNK_BYTES;
  const uint64_t sizes[] = {(uint64_t)l->real_bytes, (uint64_t)l->section_bytes,
                            (uint64_t)l->n_sections, (uint64_t)l->running_bytes,
                            (uint64_t)s->control_bytes};
  uint8_t part[STK_AUDIT_PARTS][SP_SHA256_BYTES];
  struct sp_sha256 h;
  sp_sha256_of(words, section, part[STK_AUDIT_PARAMETERS]);
  sp_sha256_of((const uint8_t *)words + section, stk_audit_bytes(s) - section,
               part[STK_AUDIT_OPTIMIZER]);
  hash_memory(kernels, s->running[s->now->running], l->running_bytes / l->real_bytes, true,
              l->real_bytes, part[STK_AUDIT_RUNNING]);
  hash_memory(kernels, stk_state_identity(s), (int64_t)s->control_bytes / 4, false, 4,
              part[STK_AUDIT_PAGE]);
  sp_sha256_init(&h);
  sp_sha256_update(&h, "stoker audit 1\n", 15);
  sp_sha256_update(&h, sizes, sizeof sizes);
  sp_sha256_update(&h, part, sizeof part);
  sp_sha256_final(&h, out->digest);
  for (int i = 0; i < STK_AUDIT_PARTS; i++) {
    memcpy(out->tag[i], part[i], STK_AUDIT_TAG);
  }
}
