/* Sessions over made-up data (fixture.h): what the files of this directory test with. */
#include "tests/unit/models/fixture.h"

#include <string.h>

#include "engine/exec/cpu.h"
#include "proto/base/mem.h"

bool mt_can_run(const struct mt_variant *v) {
  struct stk_cpu cpu;
  stk_cpu_detect(&cpu);
  return v->isa == STK_ISA_KIND_REF || (v->isa == STK_ISA_KIND_AVX2 && cpu.avx2) ||
         (v->isa == STK_ISA_KIND_AVX512 && cpu.avx512);
}

void mt_check(sp_status st, const struct sp_err *err) {
  if (st) {
    print_error("%s\n", err->text);
  }
  assert_int_equal(st, SP_OK);
}

static sp_status get_memory(void *ctx, const char *name, size_t bytes, void **out_p,
                            struct sp_err *err) {
  struct mt *t = ctx;
  (void)name;
  (void)err;
  assert_true(t->n_memory < 8);
  *out_p = t->memory[t->n_memory++] = sp_alloc_aligned(4096, bytes);
  assert_non_null(*out_p);
  memset(*out_p, 0, bytes);
  return SP_OK;
}

double mt_real(const struct mt *t, const void *p, int64_t i) {
  return t->v.real_bits == 64 ? ((const double *)p)[i] : (double)((const float *)p)[i];
}

void mt_set_real(const struct mt *t, void *p, int64_t i, double value) {
  if (t->v.real_bits == 64) {
    ((double *)p)[i] = value;
  } else {
    ((float *)p)[i] = (float)value;
  }
}

static int64_t elements(const struct mt *t, const stk_sample *s) {
  int64_t n = t->c->batch;
  for (int32_t i = 0; i < s->rank; i++) {
    n *= s->dims[i];
  }
  return n;
}

/* Values that are exact in both widths, from a generator of their own. */
static void fill(const struct mt *t, const stk_sample *s, uint32_t salt, void *p) {
  uint32_t state = salt * 2654435761u + 12345u;
  for (int64_t i = 0; i < elements(t, s); i++) {
    state = state * 1664525u + 1013904223u;
    if (s->dtype == STK_F32 || s->dtype == STK_F64) {
      mt_set_real(t, p, i, (double)(state >> 16) / 32768.0 - 1.0);
    } else {
      ((int32_t *)p)[i] = (int32_t)((state >> 16) % (uint32_t)t->c->ids);
    }
  }
}

struct mt *mt_new(const struct mt_case *c, const struct mt_variant *v) {
  static const double betas[] = {0.9, 0.999};
  struct sp_err err = {0};
  struct stk_cpu cpu;
  struct mt *t = sp_alloc(sizeof *t);
  assert_non_null(t);
  t->c = c;
  t->v = *v;
  t->optimizer =
      (struct sp_optimizer_opts){.given = true,
                                 .kind = v->weight_decay > 0.0 ? SP_OPTIM_ADAMW : SP_OPTIM_ADAM,
                                 .weight_decay = v->weight_decay,
                                 .lr = 1e-2,
                                 .eps = 1e-8};
  t->optimizer.betas.items = (double *)(uintptr_t)betas;
  t->optimizer.betas.n = 2;
  mt_check(stk_module_new(c->def, &t->m, &err), &err);
  for (int i = 0; c->hparams[i]; i += 2) {
    mt_check(stk_module_set_hparam(t->m, c->hparams[i], c->hparams[i + 1], &err), &err);
  }
  mt_check(stk_module_setup(t->m, &c->x, &err), &err);
  mt_check(stk_pool_new(v->threads, false, &t->pool, &err), &err);
  stk_cpu_detect(&cpu);
  const struct stk_memory memory = {get_memory, t};
  const struct stk_session_config config = {
      .module = t->m,
      .x = c->x,
      .y = c->y,
      .has_y = c->has_y,
      .kernels = stk_kernels_get(v->isa, v->real_bits, cpu.fma),
      .pool = t->pool,
      .real_bits = v->real_bits,
      .n_lanes = v->n_lanes ? v->n_lanes : 1,
      .accumulate = v->accumulate ? v->accumulate : 1,
      .seed = 7,
      .optimizer = &t->optimizer,
      .clip_norm = v->clip_norm,
      .fuse = v->fuse,
      .in_place = v->in_place,
      .memory = &memory,
  };
  mt_check(stk_session_new(&config, &t->s, &err), &err);
  stk_state_init(stk_session_state(t->s), t->m, 7, NULL);
  t->x = sp_alloc_aligned(64, (size_t)elements(t, &c->x) * 8);
  t->y = sp_alloc_aligned(64, (size_t)elements(t, &c->y) * 8);
  assert_true(t->x && t->y);
  fill(t, &c->x, 1, t->x);
  fill(t, &c->y, 2, t->y);
  return t;
}

void mt_free(struct mt *t) {
  stk_session_free(t->s);
  stk_pool_free(t->pool);
  stk_module_free(t->m);
  for (int i = 0; i < t->n_memory; i++) {
    sp_free_aligned(t->memory[i]);
  }
  sp_free_aligned(t->x);
  sp_free_aligned(t->y);
  sp_free_aligned(t->grad);
  sp_free_aligned(t->running_out);
  sp_free(t);
}

void mt_gradient(struct mt *t) {
  struct sp_err err = {0};
  struct stk_state *state = stk_session_state(t->s);
  const struct stk_layout *l = &state->layout;
  stk_program *p;
  mt_check(stk_session_program(t->s, STK_TRAIN, t->c->batch, &p, &err), &err);
  if (!t->grad) {
    t->grad = sp_alloc_aligned(4096, (size_t)l->section_bytes);
    t->running_out = sp_alloc_aligned(64, (size_t)l->running_bytes + 64);
    assert_true(t->grad && t->running_out);
    memset(t->grad, 0, (size_t)l->section_bytes);
    memset(t->running_out, 0, (size_t)l->running_bytes + 64);
  }
  stk_program_bind(p, STK_BASE_X, t->x);
  stk_program_bind(p, STK_BASE_Y, t->y);
  stk_program_bind(p, STK_BASE_PARAM, stk_state_read_slot(state));
  stk_program_bind(p, STK_BASE_GRAD, t->grad);
  stk_program_bind(p, STK_BASE_RUNNING, state->running[state->now->running]);
  stk_program_bind(p, STK_BASE_RUNNING_OUT, t->running_out);
  stk_program_run(p, t->pool);
  t->loss = mt_real(t, stk_program_value(p, stk_program_graph(p)->loss), 0);
}

static sp_status give_batch(void *ctx, int32_t lane, int64_t micro, struct stk_lane_batch *out,
                            struct sp_err *err) {
  struct mt *t = ctx;
  (void)err;
  int64_t step = stk_session_state(t->s)->now->global_step;
  uint32_t which = (uint32_t)((step % 2 * 8 + lane) * 8 + micro);
  fill(t, &t->c->x, 3 + which, t->x);
  fill(t, &t->c->y, 1000 + which, t->y);
  *out = (struct stk_lane_batch){t->x, t->y, t->c->batch, (uint64_t)(step * 8 + micro)};
  return SP_OK;
}

double mt_train(struct mt *t, int n_steps) {
  struct sp_err err = {0};
  const double lr[] = {1e-2};
  struct stk_window_result r = {0};
  for (int i = 0; i < n_steps; i++) {
    const struct stk_window w = {
        .batch = give_batch, .ctx = t, .lr = lr, .n_micro = t->v.accumulate ? t->v.accumulate : 1};
    mt_check(stk_session_train(t->s, &w, &r, &err), &err);
    stk_state_commit(stk_session_state(t->s));
  }
  return r.loss;
}
