/* Shared regions (regions.h). */
#include "tests/lib/regions.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/comm/tree.h"

static void *find(const struct tt_regions *r, const char *name, size_t *out_bytes) {
  for (int i = 0; i < r->n; i++) {
    if (strcmp(r->of[i].name, name) == 0) {
      *out_bytes = r->of[i].bytes;
      return r->of[i].p;
    }
  }
  return NULL;
}

static void *add(struct tt_regions *r, const char *name, size_t bytes) {
  if (r->n == TT_REGIONS_MAX) {
    return NULL;
  }
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) {
    return NULL;
  }
  snprintf(r->of[r->n].name, sizeof r->of[0].name, "%s", name);
  r->of[r->n].p = p;
  r->of[r->n++].bytes = bytes;
  return p;
}

static sp_status get(void *ctx, const char *name, size_t bytes, void **out_p, struct sp_err *err) {
  struct tt_regions *r = ctx;
  size_t had = bytes;
  *out_p = find(r, name, &had);
  if (*out_p && had != bytes) {
    return sp_fail(err, SP_EINTERNAL, "region %s has %zu bytes, not %zu", name, had, bytes);
  }
  if (!*out_p && r->is_closed) {
    return sp_fail(err, SP_EINTERNAL, "region %s was not foreseen", name);
  }
  *out_p = *out_p ? *out_p : add(r, name, bytes);
  return *out_p ? SP_OK : sp_fail(err, SP_ENOMEM, "region %s: no %zu bytes", name, bytes);
}

void tt_regions_init(struct tt_regions *r) {
  memset(r, 0, sizeof *r);
  r->memory = (struct stk_memory){get, r};
}

void *tt_regions_map(struct tt_regions *r, size_t bytes) {
  return add(r, "", bytes);
}

sp_status tt_regions_foresee(struct tt_regions *r, stk_session *s, int32_t most_ranks,
                             struct stk_group **out_group, struct sp_err *err) {
  const int32_t n_lanes = stk_session_config_of(s)->n_lanes;
  const struct stk_membership alone = {.n_ranks = 1};
  struct stk_group *g = tt_regions_map(r, stk_group_bytes(n_lanes));
  if (!g) {
    return sp_fail(err, SP_ENOMEM, "no group page");
  }
  stk_group_init(g, n_lanes);
  sp_status st = SP_OK;
  for (int32_t n = 2; n <= n_lanes && n <= most_ranks; n++) {
    for (int32_t rank = 0; rank < n && !st; rank++) {
      const struct stk_membership m = {.group = g, .rank = rank, .n_ranks = n};
      st = stk_session_join(s, &m, err);
    }
  }
  st = st ? st : stk_session_join(s, &alone, err);
  r->is_closed = true;
  *out_group = g;
  return st;
}

void tt_regions_free(struct tt_regions *r) {
  for (int i = 0; i < r->n; i++) {
    munmap(r->of[i].p, r->of[i].bytes);
  }
  r->n = 0;
}

void tt_take_cpus(int32_t rank, int32_t n_ranks) {
  cpu_set_t all, mine;
  if (sched_getaffinity(0, sizeof all, &all) != 0 || CPU_COUNT(&all) < n_ranks) {
    return;
  }
  int64_t lo, hi, k = 0;
  stk_tree_share(CPU_COUNT(&all), rank, n_ranks, &lo, &hi);
  CPU_ZERO(&mine);
  for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (CPU_ISSET(cpu, &all)) {
      if (k >= lo && k < hi) {
        CPU_SET(cpu, &mine);
      }
      k++;
    }
  }
  (void)sched_setaffinity(0, sizeof mine, &mine);
}
