/* The group page's life, failures and progress: see group.h. The barrier has a file of its own. */
#include "engine/comm/group.h"

#include <stdio.h>
#include <string.h>

#include "proto/base/clock.h"

size_t stk_group_bytes(int32_t n_lanes) {
  return (sizeof(struct stk_group) + (size_t)n_lanes * sizeof(struct stk_group_lane) + 4095) /
         4096 * 4096;
}

void stk_group_init(struct stk_group *g, int32_t n_lanes) {
  memset(g, 0, stk_group_bytes(n_lanes));
  g->version = STK_GROUP_VERSION;
  g->n_lanes = (uint32_t)n_lanes;
  g->bytes = stk_group_bytes(n_lanes);
  atomic_store(&g->abort, 1);
  g->magic = STK_GROUP_MAGIC;
}

sp_status stk_group_check(const struct stk_group *g, size_t bytes, int32_t n_lanes,
                          struct sp_err *err) {
  if (bytes < sizeof *g || g->magic != STK_GROUP_MAGIC) {
    return sp_fail(err, SP_ECORRUPT, "group page: %zu bytes that are none; start the run again",
                   bytes);
  }
  if (g->version != STK_GROUP_VERSION) {
    return sp_fail(err, SP_ECORRUPT,
                   "group page: version %u, this build has %d; go on with the build that began",
                   g->version, STK_GROUP_VERSION);
  }
  if (g->n_lanes != (uint32_t)n_lanes || g->bytes != stk_group_bytes(n_lanes) || bytes < g->bytes) {
    return sp_fail(err, SP_ECORRUPT,
                   "group page: %u lanes in %llu of %zu bytes, want %d lanes in %zu", g->n_lanes,
                   (unsigned long long)g->bytes, bytes, (int)n_lanes, stk_group_bytes(n_lanes));
  }
  return SP_OK;
}

/* ---- failures */

void stk_group_fail(struct stk_group *g, int32_t rank, sp_status status, const char *text) {
  uint32_t none = 0;
  if (atomic_compare_exchange_strong(&g->failed, &none, 1)) {
    g->failed_rank = rank;
    g->failed_status = (int32_t)status;
    snprintf(g->failed_text, sizeof g->failed_text, "%s", text);
    atomic_store_explicit(&g->failed, 2, memory_order_release);
  }
  stk_group_abort(g);
}

sp_status stk_group_failure(const struct stk_group *g, struct sp_err *err) {
  if (atomic_load_explicit(&g->failed, memory_order_acquire) != 2) {
    return sp_fail(err, SP_ECANCELED, "the ranks were told to leave");
  }
  return sp_fail(err, (sp_status)g->failed_status, "rank %d: %.*s", (int)g->failed_rank,
                 (int)sizeof g->failed_text - 1, g->failed_text);
}

/* ---- progress */

static bool works(uint32_t phase) {
  return phase == STK_GROUP_DATA || phase == STK_GROUP_COMPUTE || phase == STK_GROUP_REDUCE ||
         phase == STK_GROUP_APPLY || phase == STK_GROUP_EVALUATE;
}

void stk_group_beat(struct stk_group_rank *r, stk_group_phase phase) {
  const int64_t now = sp_mono_now(sp_clock_system()).ns;
  if (works(atomic_load_explicit(&r->phase, memory_order_relaxed))) {
    const int64_t spent = now - atomic_load_explicit(&r->beat_ns, memory_order_relaxed);
    const int64_t busy = atomic_load_explicit(&r->busy_ns, memory_order_relaxed);
    atomic_store_explicit(&r->busy_ns, busy + spent, memory_order_relaxed);
  }
  atomic_store_explicit(&r->phase, (uint32_t)phase, memory_order_relaxed);
  atomic_store_explicit(&r->beat_ns, now, memory_order_relaxed);
}

void stk_group_beat_work(struct stk_group_rank *r, int64_t step, stk_group_phase phase) {
  atomic_store_explicit(&r->cpu_ns, sp_cpu_now_ns(), memory_order_relaxed);
  atomic_store_explicit(&r->step, step, memory_order_relaxed);
  stk_group_beat(r, phase);
}

const char *stk_group_phase_text(uint32_t phase) {
  static const char *const text[] = {
#define STK_GROUP_PHASE_X(name, text) [STK_GROUP_##name] = text,
      STK_GROUP_PHASE_LIST(STK_GROUP_PHASE_X)
#undef STK_GROUP_PHASE_X
  };
  return phase < STK_GROUP_PHASE_COUNT ? text[phase] : "?";
}
