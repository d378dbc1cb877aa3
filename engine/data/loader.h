/* Loader: batches in the model's element types, one ahead of the caller.
 *
 * The caller asks for one batch and names the one that it will want next; a thread of the loader's
 * own reads that one into the second of two buffers meanwhile. What is returned depends on the
 * position asked for and on nothing else: a wrong guess costs time, never another result. Errors
 * are values and belong to the position whose read failed.
 *
 * The thread starts with the first batch that is read ahead: a loader can be opened before a fork.
 * A small batch that is only to be copied from memory is read by the pool when it is asked for:
 * that takes less time than a thread that wants the CPU of one that computes.
 *
 * Threads: one caller at a time; with a pool, the pool's owner. Data set and pool are borrowed and
 * outlive the loader.
 */
#ifndef STK_DATA_LOADER_H
#define STK_DATA_LOADER_H

#include "engine/data/dataset.h"
#include "engine/data/sampler.h"
#include "engine/exec/pool.h"

struct stk_loader_config {
  struct stk_sampler sampler;
  bool real64;    /* reals are double (64-true) instead of float */
  bool prefetch;  /* false: no thread, the read happens in stk_loader_next */
  stk_pool *pool; /* or NULL */
};

struct stk_loader_at {
  int64_t epoch;
  int64_t lane;
  int64_t batch;
};

/* One batch. x and y are 64-byte aligned, row-major [n, sample...]; y is NULL where the data has
 * none. Rows behind n keep old values. */
struct stk_loader_batch {
  void *x;
  void *y;
  const int64_t *ids;
  int64_t n; /* 0: the lane has no such batch */
};

struct stk_loader;

/* SP_EINVAL where batch_size or n_lanes is impossible, or where the range is outside the data
 * set. */
SP_NODISCARD sp_status stk_loader_open(struct stk_dataset *ds,
                                       const struct stk_loader_config *config,
                                       struct stk_loader **out, struct sp_err *err);
void stk_loader_close(struct stk_loader *ld); /* joins the thread; accepts NULL */

const struct stk_sampler *stk_loader_sampler(const struct stk_loader *ld);

/* Bytes of the two buffers together, for the memory table. */
size_t stk_loader_bytes(const struct stk_loader *ld);

/* Returns the batch at `at` and starts reading `then` (NULL: nothing). The pointers are valid
 * until the next call. After a failure the loader can be asked again. */
SP_NODISCARD sp_status stk_loader_next(struct stk_loader *ld, struct stk_loader_at at,
                                       const struct stk_loader_at *then,
                                       struct stk_loader_batch *out, struct sp_err *err);

#endif
