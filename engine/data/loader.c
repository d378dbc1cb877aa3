/* Two slots: one is the caller's, the other is read ahead by the thread. stk_loader_next first
 * waits until the thread is idle, so outside a read every field belongs to the caller, and during
 * one the ahead slot belongs to the thread. `busy` and `quit` are guarded by `lock`.
 */
#include "engine/data/loader.h"

#include "engine/data/convert.h"
#include "engine/num/permute.h"
#include "proto/base/mem.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

enum {
  ALIGN = 64,
  SMALL_ELEMENTS = 512 * 1024, /* of a batch that the pool reads */
  UNIT_ELEMENTS = 12 * 1024
};

struct slot {
  struct stk_loader_at at;
  bool filled; /* status and contents are those of at */
  sp_status status;
  struct sp_err err;
  struct stk_loader_batch batch;
  int64_t *ids;
  void *x;
  void *y;
};

struct stk_loader {
  struct stk_dataset *ds;
  struct stk_loader_config config;
  bool by_pool;
  size_t bytes;
  struct slot slots[2];
  int held; /* the caller's slot */
  bool has_thread;
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t wake; /* to the thread: busy or quit was set */
  pthread_cond_t idle; /* to the caller: busy was cleared */
  bool busy;
  bool quit;
};

static size_t element_bytes(stk_dtype type, bool real64) {
  return type == STK_I32 ? 4 : stk_target_bytes(real64 ? STK_TARGET_F64 : STK_TARGET_F32);
}

/* Reads samples lo .. hi-1 of the slot's batch. */
static sp_status fill_samples(const struct stk_loader *ld, const struct slot *s, int64_t lo,
                              int64_t hi, struct sp_err *err) {
  const stk_reader_info *info = stk_dataset_info(ld->ds);
  const bool real64 = ld->config.real64;
  stk_reader_request request = {
      .ids = s->ids + lo,
      .n = (int32_t)(hi - lo),
      .seed = ld->config.sampler.seed,
      .epoch = s->at.epoch,
  };
  size_t x = (size_t)(lo * stk_sample_elements(&info->x)) *
             element_bytes(stk_dataset_x_type(ld->ds), real64);
  size_t y = !s->y ? 0
                   : (size_t)(lo * stk_sample_elements(&info->y)) *
                         element_bytes(stk_dataset_y_type(ld->ds), real64);
  return stk_dataset_read(ld->ds, &request, real64, (uint8_t *)s->x + x,
                          s->y ? (uint8_t *)s->y + y : NULL, err);
}

/* One batch, cut for the pool. */
struct parts {
  const struct stk_loader *ld;
  const struct slot *slot;
  int64_t samples; /* of a unit */
  atomic_bool failed;
};

static void fill_parts(void *ctx, int64_t lo, int64_t hi, int thread) {
  struct parts *p = ctx;
  (void)thread;
  int64_t end = hi * p->samples < p->slot->batch.n ? hi * p->samples : p->slot->batch.n;
  if (fill_samples(p->ld, p->slot, lo * p->samples, end, NULL)) {
    atomic_store(&p->failed, true);
  }
}

static bool fill_by_pool(struct stk_loader *ld, struct slot *s) {
  int64_t elements = stk_sample_elements(&stk_dataset_info(ld->ds)->x);
  int64_t samples = elements < UNIT_ELEMENTS ? UNIT_ELEMENTS / (elements > 0 ? elements : 1) : 1;
  struct parts p = {.ld = ld, .slot = s, .samples = samples};
  stk_pool_run(ld->config.pool, fill_parts, &p, (s->batch.n + samples - 1) / samples);
  return !atomic_load(&p.failed);
}

/* What the pool cannot read is read again, for the message. */
static void fill(struct stk_loader *ld, struct slot *s) {
  s->batch = (struct stk_loader_batch){.ids = s->ids, .x = s->x, .y = s->y};
  s->batch.n = stk_sampler_batch(&ld->config.sampler, s->at.epoch, s->at.lane, s->at.batch, s->ids);
  bool done = ld->by_pool && fill_by_pool(ld, s);
  s->status = done ? SP_OK : fill_samples(ld, s, 0, s->batch.n, &s->err);
  s->filled = true;
}

static void *run(void *arg) {
  struct stk_loader *ld = arg;
  pthread_mutex_lock(&ld->lock);
  while (!ld->quit) {
    if (!ld->busy) {
      pthread_cond_wait(&ld->wake, &ld->lock);
      continue;
    }
    pthread_mutex_unlock(&ld->lock);
    fill(ld, &ld->slots[1 - ld->held]);
    pthread_mutex_lock(&ld->lock);
    ld->busy = false;
    pthread_cond_signal(&ld->idle);
  }
  pthread_mutex_unlock(&ld->lock);
  return NULL;
}

/* Signals are the caller's business: the thread has all of them blocked. */
static sp_status start_thread(struct stk_loader *ld, struct sp_err *err) {
  sigset_t all;
  sigset_t saved;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &saved);
  int e = pthread_create(&ld->thread, NULL, run, ld);
  pthread_sigmask(SIG_SETMASK, &saved, NULL);
  if (e != 0) {
    return sp_fail(err, SP_EIO, "data: cannot start the loader's thread: %s", strerror(e));
  }
  ld->has_thread = true;
  return SP_OK;
}

/* Bytes of a batch of one side, padded to ALIGN; false on overflow. */
static bool side_bytes(const stk_sample *sample, stk_dtype type, bool real64, int64_t n,
                       size_t *out) {
  size_t bytes;
  if (__builtin_mul_overflow((size_t)stk_sample_elements(sample), element_bytes(type, real64),
                             &bytes) ||
      __builtin_mul_overflow(bytes, (size_t)n, &bytes) || bytes > SIZE_MAX / 4) {
    return false;
  }
  *out = (bytes + ALIGN - 1) / ALIGN * ALIGN;
  return true;
}

static sp_status make_slots(struct stk_loader *ld, struct sp_err *err) {
  const stk_reader_info *info = stk_dataset_info(ld->ds);
  int64_t n = ld->config.sampler.batch_size;
  size_t x_bytes;
  size_t y_bytes = 0;
  if (!side_bytes(&info->x, stk_dataset_x_type(ld->ds), ld->config.real64, n, &x_bytes) ||
      (info->has_y &&
       !side_bytes(&info->y, stk_dataset_y_type(ld->ds), ld->config.real64, n, &y_bytes))) {
    return sp_fail(err, SP_ERANGE, "data: a batch of %" PRId64 " samples of %s is too large", n,
                   stk_dataset_name(ld->ds));
  }
  ld->bytes = 2 * (x_bytes + y_bytes);
  for (int i = 0; i < 2; i++) {
    struct slot *s = &ld->slots[i];
    s->ids = sp_alloc_array((size_t)n, sizeof *s->ids);
    s->x = sp_alloc_aligned(ALIGN, x_bytes);
    s->y = info->has_y ? sp_alloc_aligned(ALIGN, y_bytes) : NULL;
    if (!s->ids || !s->x || (info->has_y && !s->y)) {
      return sp_fail(err, SP_ENOMEM, "data: out of memory for batches of %" PRId64 " samples", n);
    }
  }
  return SP_OK;
}

static sp_status check_config(const struct stk_dataset *ds, const struct stk_sampler *s,
                              struct sp_err *err) {
  int64_t n = stk_dataset_info(ds)->n_samples;
  if (s->batch_size < 1 || s->batch_size > INT32_MAX || s->n_lanes < 1) {
    return sp_fail(err, SP_EINVAL,
                   "data: batch_size %" PRId64 " on %" PRId64 " lanes is impossible", s->batch_size,
                   s->n_lanes);
  }
  if (s->n > 0 && (uint64_t)s->n > STK_PERMUTE_MAX) {
    return sp_fail(err, SP_ERANGE, "data: %s has more than 2^40 samples", stk_dataset_name(ds));
  }
  if (s->first < 0 || s->n < 1 || s->first > n || s->n > n - s->first) {
    return sp_fail(err, SP_EINVAL, "data: samples %" PRId64 " to %" PRId64 " are not all in %s",
                   s->first, s->first + s->n, stk_dataset_name(ds));
  }
  return SP_OK;
}

sp_status stk_loader_open(struct stk_dataset *ds, const struct stk_loader_config *config,
                          struct stk_loader **out, struct sp_err *err) {
  sp_status st = check_config(ds, &config->sampler, err);
  if (st != SP_OK) {
    return st;
  }
  struct stk_loader *ld = sp_alloc(sizeof *ld);
  if (!ld) {
    return sp_fail(err, SP_ENOMEM, "data: out of memory");
  }
  ld->ds = ds;
  ld->config = *config;
  pthread_mutex_init(&ld->lock, NULL);
  pthread_cond_init(&ld->wake, NULL);
  pthread_cond_init(&ld->idle, NULL);
  st = make_slots(ld, err);
  if (st != SP_OK) {
    stk_loader_close(ld);
    return st;
  }
  int64_t elements = stk_sample_elements(&stk_dataset_info(ds)->x);
  ld->by_pool = config->pool && stk_dataset_in_memory(ds) &&
                elements <= SMALL_ELEMENTS / config->sampler.batch_size;
  *out = ld;
  return SP_OK;
}

void stk_loader_close(struct stk_loader *ld) {
  if (!ld) {
    return;
  }
  if (ld->has_thread) {
    pthread_mutex_lock(&ld->lock);
    ld->quit = true;
    pthread_cond_signal(&ld->wake);
    pthread_mutex_unlock(&ld->lock);
    pthread_join(ld->thread, NULL);
  }
  for (int i = 0; i < 2; i++) {
    sp_free(ld->slots[i].ids);
    sp_free_aligned(ld->slots[i].x);
    sp_free_aligned(ld->slots[i].y);
  }
  pthread_cond_destroy(&ld->idle);
  pthread_cond_destroy(&ld->wake);
  pthread_mutex_destroy(&ld->lock);
  sp_free(ld);
}

const struct stk_sampler *stk_loader_sampler(const struct stk_loader *ld) {
  return &ld->config.sampler;
}

size_t stk_loader_bytes(const struct stk_loader *ld) {
  return ld->bytes;
}

static void wait_idle(struct stk_loader *ld) {
  pthread_mutex_lock(&ld->lock);
  while (ld->busy) {
    pthread_cond_wait(&ld->idle, &ld->lock);
  }
  pthread_mutex_unlock(&ld->lock);
}

static void start_ahead(struct stk_loader *ld, const struct stk_loader_at *then) {
  struct slot *ahead = &ld->slots[1 - ld->held];
  ahead->at = *then;
  ahead->filled = false;
  pthread_mutex_lock(&ld->lock);
  ld->busy = true;
  pthread_cond_signal(&ld->wake);
  pthread_mutex_unlock(&ld->lock);
}

static bool same_place(const struct stk_loader_at *a, const struct stk_loader_at *b) {
  return a->epoch == b->epoch && a->lane == b->lane && a->batch == b->batch;
}

sp_status stk_loader_next(struct stk_loader *ld, struct stk_loader_at at,
                          const struct stk_loader_at *then, struct stk_loader_batch *out,
                          struct sp_err *err) {
  const struct stk_sampler *sampler = &ld->config.sampler;
  sp_status st;
  if (at.lane < 0 || at.lane >= sampler->n_lanes ||
      (then && (then->lane < 0 || then->lane >= sampler->n_lanes))) {
    return sp_fail(err, SP_EINVAL, "data: lane %" PRId64 " of %" PRId64, at.lane, sampler->n_lanes);
  }
  if (ld->has_thread) {
    wait_idle(ld);
  }
  struct slot *ahead = &ld->slots[1 - ld->held];
  if (!ahead->filled || !same_place(&ahead->at, &at)) {
    ahead->at = at;
    fill(ld, ahead);
  }
  ahead->filled = false;
  if (ahead->status != SP_OK) {
    return sp_fail(err, ahead->status, "%s", ahead->err.text);
  }
  ld->held = 1 - ld->held;
  *out = ahead->batch;
  if (!then || !ld->config.prefetch || ld->by_pool) {
    return SP_OK;
  }
  st = ld->has_thread ? SP_OK : start_thread(ld, err);
  if (!st) {
    start_ahead(ld, then);
  }
  return st;
}
