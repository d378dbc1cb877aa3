/* Layout, initial values, commit and hash of the state. See state.h for the invariants. */
#include "engine/state/state.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "engine/nn/module.h"
#include "engine/num/init.h"
#include "proto/base/mem.h"
#include "proto/base/sha256.h"

enum { ALIGN = 64, PAGE = 4096, FILL_UNIT = 16384 };

static int64_t up(int64_t n, int64_t to) {
  return (n + to - 1) / to * to;
}

static sp_status lay_out(const struct stk_module *m, struct stk_layout *l, struct sp_err *err) {
  l->param_offset = sp_alloc_array((size_t)m->n_params + 1, sizeof *l->param_offset);
  l->running_offset = sp_alloc_array((size_t)m->n_running + 1, sizeof *l->running_offset);
  if (!l->param_offset || !l->running_offset) {
    return sp_fail(err, SP_ENOMEM, "no memory for the state's layout");
  }
  for (int32_t i = 0; i < m->n_params; i++) {
    l->param_offset[i] = l->section_bytes;
    l->section_bytes = stk_state_next_offset(l->section_bytes,
                                             stk_shape_numel(&m->params[i]->shape) * l->real_bytes);
  }
  for (int32_t i = 0; i < m->n_running; i++) {
    l->running_offset[i] = l->running_bytes;
    l->running_bytes = stk_state_next_offset(l->running_bytes,
                                             stk_shape_numel(&m->running[i].shape) * l->real_bytes);
  }
  return SP_OK;
}

static void control_init(struct stk_state *s, const struct stk_module *m, int32_t n_lanes) {
  struct stk_control *c = s->now;
  *c = (struct stk_control){
      .version = STK_CONTROL_VERSION, .bytes = (uint32_t)s->control_bytes, .n_lanes = n_lanes};
  c->acc_offset = (uint32_t)up(sizeof *c, ALIGN);
  c->n_acc = STK_GRAPH_MAX_LOGS;
  c->module_offset =
      c->acc_offset +
      (uint32_t)up((int64_t)sizeof(struct stk_acc) * n_lanes * STK_GRAPH_MAX_LOGS, ALIGN);
  c->module_bytes = (uint32_t)m->def->state_size;
  s->write = 1;
}

static sp_status get_memory(struct stk_state *s, const struct stk_memory *mem, struct sp_err *err) {
  int64_t slot = s->layout.section_bytes * s->layout.n_sections;
  int64_t order = up((int64_t)(sizeof(struct stk_order) + s->control_bytes), ALIGN);
  void *orders = NULL;
  const struct {
    const char *name;
    int64_t bytes;
    void **p;
  } regions[] = {
      {"slot-a", slot, (void **)&s->slot[0]},
      {"slot-b", slot, (void **)&s->slot[1]},
      {"slot-c", s->n_slots > 2 ? slot : 0, (void **)&s->slot[2]},
      {"running-a", s->layout.running_bytes + ALIGN, (void **)&s->running[0]},
      {"running-b", s->layout.running_bytes + ALIGN, (void **)&s->running[1]},
      {"running-c", s->n_slots > 2 ? s->layout.running_bytes + ALIGN : 0, (void **)&s->running[2]},
      {"control-a", (int64_t)s->page_bytes, (void **)&s->control[0]},
      {"control-b", (int64_t)s->page_bytes, (void **)&s->control[1]},
      {"orders", 2 * order, &orders},
      {"kept", (int64_t)s->control_bytes, (void **)&s->kept},
  };
  for (size_t i = 0; i < sizeof regions / sizeof *regions; i++) {
    if (regions[i].bytes > 0 || i < 2) {
      size_t bytes = (size_t)up(regions[i].bytes > 0 ? regions[i].bytes : 1, PAGE);
      sp_status st = mem->get(mem->ctx, regions[i].name, bytes, regions[i].p, err);
      bool third = regions[i].p == (void **)&s->slot[2] || regions[i].p == (void **)&s->running[2];
      if (st == SP_ENOSPC && third) {
        s->n_slots = 2; /* saves will wait for steps then */
      } else if (st) {
        return st;
      }
    }
  }
  s->orders[0] = orders;
  s->orders[1] = (struct stk_order *)(void *)((uint8_t *)orders + order);
  return SP_OK;
}

sp_status stk_state_new(const struct stk_module *m, const struct stk_state_spec *spec,
                        const struct stk_memory *memory, struct stk_state **out_s,
                        struct sp_err *err) {
  struct stk_state *s = sp_alloc(sizeof *s);
  if (!s) {
    return sp_fail(err, SP_ENOMEM, "no memory for the state");
  }
  s->layout.real_bytes = spec->real_bytes;
  s->layout.n_sections = spec->n_sections;
  s->n_slots = spec->n_slots;
  s->control_bytes =
      (size_t)(up(sizeof(struct stk_control), ALIGN) +
               up((int64_t)sizeof(struct stk_acc) * spec->n_lanes * STK_GRAPH_MAX_LOGS, ALIGN) +
               up((int64_t)m->def->state_size, ALIGN));
  s->page_bytes = s->control_bytes + (size_t)up(sizeof(struct stk_journal), ALIGN);
  s->now = sp_alloc(s->page_bytes);
  s->identity = sp_alloc(s->control_bytes);
  sp_status st = s->now && s->identity ? lay_out(m, &s->layout, err)
                                       : sp_fail(err, SP_ENOMEM, "no memory for the control page");
  if (!st) {
    st = get_memory(s, memory, err);
  }
  if (st) {
    stk_state_free(s);
    return st;
  }
  s->journal = (struct stk_journal *)(void *)((uint8_t *)s->now + s->control_bytes);
  control_init(s, m, spec->n_lanes);
  *out_s = s;
  return SP_OK;
}

void stk_state_free(struct stk_state *s) {
  if (!s) {
    return;
  }
  sp_free(s->layout.param_offset);
  sp_free(s->layout.running_offset);
  sp_free(s->now);
  sp_free(s->identity);
  sp_free(s);
}

static uint64_t seq_of(const struct stk_control *page) {
  return atomic_load_explicit((const _Atomic uint64_t *)&page->seq, memory_order_acquire);
}

const struct stk_control *stk_state_committed(const struct stk_state *s) {
  uint64_t a = seq_of(s->control[0]), b = seq_of(s->control[1]);
  return a == 0 && b == 0 ? NULL : s->control[b > a ? 1 : 0];
}

/* Writes the older page: `from` with this journal, the sequence number last. */
static void write_page(struct stk_state *s, const struct stk_control *from) {
  uint64_t a = s->control[0]->seq, b = s->control[1]->seq;
  struct stk_control *page = s->control[a > b ? 1 : 0];
  uint64_t seq = (a > b ? a : b) + 1;
  atomic_store_explicit((_Atomic uint64_t *)&page->seq, 0, memory_order_relaxed);
  atomic_thread_fence(memory_order_release);
  memcpy((uint8_t *)page + sizeof page->seq, (const uint8_t *)from + sizeof page->seq,
         s->control_bytes - sizeof page->seq);
  memcpy((uint8_t *)page + s->control_bytes, s->journal, s->page_bytes - s->control_bytes);
  s->now->seq = seq;
  atomic_store_explicit((_Atomic uint64_t *)&page->seq, seq, memory_order_release);
}

void stk_state_commit(struct stk_state *s) {
  write_page(s, s->now);
}

void stk_state_commit_journal(struct stk_state *s) {
  const struct stk_control *newest = stk_state_committed(s);
  if (newest) {
    write_page(s, newest);
  }
}

bool stk_state_choose(struct stk_state *s, int32_t pinned) {
  for (int32_t i = 0; i < s->n_slots; i++) {
    int32_t slot = (s->now->slot + 1 + i) % s->n_slots;
    if (slot != s->now->slot && slot != pinned) {
      s->write = slot;
      return true;
    }
  }
  return false;
}

bool stk_state_reload(struct stk_state *s) {
  const struct stk_control *page = stk_state_committed(s);
  if (!page) {
    return false;
  }
  memcpy(s->now, page, s->page_bytes);
  return stk_state_choose(s, -1);
}

static struct stk_fill fill_of(const struct stk_param *p) {
  int64_t in = (int64_t)p->init.a, out = 1;
  switch (p->init.kind) {
    case STK_INIT_ZEROS:
      break;
    case STK_INIT_ONES:
      return (struct stk_fill){.kind = STK_FILL_CONSTANT, .a = 1.0};
    case STK_INIT_CONSTANT:
      return (struct stk_fill){.kind = STK_FILL_CONSTANT, .a = p->init.a};
    case STK_INIT_UNIFORM:
      return (struct stk_fill){.kind = STK_FILL_UNIFORM, .a = p->init.a, .b = p->init.b};
    case STK_INIT_NORMAL:
      return (struct stk_fill){.kind = STK_FILL_NORMAL, .a = p->init.a, .b = p->init.b};
    case STK_INIT_FAN_IN_UNIFORM:
      if (in < 1 && !stk_fill_fans(p->shape.rank, p->shape.dim, &in, &out)) {
        in = stk_shape_numel(&p->shape);
      }
      return stk_fill_fan_in_uniform(in);
    case STK_INIT_XAVIER_UNIFORM:
      if (!stk_fill_fans(p->shape.rank, p->shape.dim, &in, &out)) {
        in = out = stk_shape_numel(&p->shape);
      }
      return stk_fill_xavier_uniform(1.0, in, out);
  }
  return (struct stk_fill){.kind = STK_FILL_CONSTANT, .a = 0.0};
}

/* One tensor's first values; a unit is FILL_UNIT elements. */
struct filling {
  struct stk_fill fill;
  uint64_t seed;
  const char *name;
  int64_t n;
  int32_t real_bytes;
  uint8_t *at;
};

static void fill_units(void *ctx, int64_t lo, int64_t hi, int thread) {
  const struct filling *f = ctx;
  const int64_t first = lo * FILL_UNIT, end = hi * FILL_UNIT < f->n ? hi * FILL_UNIT : f->n;
  (void)thread;
  if (f->real_bytes == 8) {
    stk_fill_f64(&f->fill, f->seed, f->name, (uint64_t)first, (uint64_t)(end - first),
                 (double *)(void *)f->at + first);
  } else {
    stk_fill_f32(&f->fill, f->seed, f->name, (uint64_t)first, (uint64_t)(end - first),
                 (float *)(void *)f->at + first);
  }
}

static void fill(struct filling f, stk_pool *pool) {
  const int64_t units = (f.n + FILL_UNIT - 1) / FILL_UNIT;
  if (pool) {
    stk_pool_run(pool, fill_units, &f, units);
  } else {
    fill_units(&f, 0, units, 0);
  }
}

void stk_state_init(struct stk_state *s, const struct stk_module *m, uint64_t seed,
                    stk_pool *pool) {
  for (int32_t i = 0; i < m->n_params; i++) {
    fill((struct filling){.fill = fill_of(m->params[i]),
                          .seed = seed,
                          .name = m->params[i]->name,
                          .n = stk_shape_numel(&m->params[i]->shape),
                          .real_bytes = s->layout.real_bytes,
                          .at = s->slot[0] + s->layout.param_offset[i]},
         pool);
  }
  for (int32_t i = 0; i < m->n_running; i++) {
    fill((struct filling){.fill = {.kind = STK_FILL_CONSTANT, .a = m->running[i].initial},
                          .name = m->running[i].name,
                          .n = stk_shape_numel(&m->running[i].shape),
                          .real_bytes = s->layout.real_bytes,
                          .at = s->running[0] + s->layout.running_offset[i]},
         NULL);
  }
  stk_state_mirror(s, s->layout.section_bytes);
}

void stk_state_mirror(struct stk_state *s, int64_t bytes) {
  for (int32_t i = 1; i < s->n_slots; i++) {
    memcpy(s->slot[i], s->slot[0], (size_t)bytes);
    memcpy(s->running[i], s->running[0], (size_t)s->layout.running_bytes);
  }
}

static void hash_reals(struct sp_sha256 *h, const uint8_t *p, int64_t bytes, int32_t real_bytes) {
  uint8_t block[4096];
  for (int64_t at = 0; at < bytes; at += (int64_t)sizeof block) {
    size_t n = (size_t)(bytes - at < (int64_t)sizeof block ? bytes - at : (int64_t)sizeof block);
    memcpy(block, p + at, n);
    for (size_t i = 0; i + (size_t)real_bytes <= n; i += (size_t)real_bytes) {
      if (real_bytes == 4) {
        uint32_t u;
        memcpy(&u, block + i, 4);
        u = (u & 0x7fffffffu) > 0x7f800000u ? 0x7fc00000u : u;
        memcpy(block + i, &u, 4);
      } else {
        uint64_t u;
        memcpy(&u, block + i, 8);
        u = (u & 0x7fffffffffffffffu) > 0x7ff0000000000000u ? 0x7ff8000000000000u : u;
        memcpy(block + i, &u, 8);
      }
    }
    sp_sha256_update(h, block, n);
  }
}

static void one_nan(double *v) {
  *v = *v != *v ? (double)NAN : *v;
}

const void *stk_state_identity(const struct stk_state *s) {
  struct stk_control *c = s->identity;
  memcpy(c, s->now, s->control_bytes);
  c->seq = 0;
  c->slot = c->running = 0;
  c->elapsed_ns = 0;
  memset(c->log_position, 0, sizeof c->log_position);
  memset(c->ckpt, 0, sizeof c->ckpt);
  for (int32_t i = 0; i < STK_CONTROL_METRICS; i++) {
    one_nan(&c->metrics[i].value);
  }
  for (int32_t i = 0; i < STK_CONTROL_EARLY; i++) {
    one_nan(&c->early[i].best_score);
  }
  for (int64_t i = 0; i < (int64_t)c->n_lanes * c->n_acc; i++) {
    one_nan(&stk_control_acc(c, 0)[i].sum);
  }
  return c;
}

void stk_state_hash(const struct stk_state *s, uint8_t out[32]) {
  struct sp_sha256 h;
  const struct stk_layout *l = &s->layout;
  sp_sha256_init(&h);
  hash_reals(&h, s->slot[s->now->slot], l->section_bytes * l->n_sections, l->real_bytes);
  hash_reals(&h, s->running[s->now->running], l->running_bytes, l->real_bytes);
  sp_sha256_update(&h, stk_state_identity(s), s->control_bytes);
  sp_sha256_final(&h, out);
}
