/* Sample order: which sample ids make up batch b of lane l in epoch e.
 *
 * Pure functions: nothing is stored but the description, so a position is the integers (epoch,
 * lane, batch) and resuming is a calculation. The order of an epoch is the keyed permutation of
 * (seed, epoch) over n samples (engine/num/permute.h), or 0, 1, 2, ... without shuffle. Lane l of V
 * takes positions l, l + V, l + 2V, ...
 *
 * Training pads as PyTorch's DistributedSampler does: positions run on to the next multiple of V,
 * position p meaning p modulo n, so every lane has ceil(n / V) samples. Validation and test (pad
 * false) neither pad nor repeat: a lane may have fewer batches than another, or none. drop_last is
 * DataLoader's: it drops a lane's ragged last batch.
 */
#ifndef STK_DATA_SAMPLER_H
#define STK_DATA_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

struct stk_sampler {
  int64_t first;      /* id of the first sample (a split); the ids are first + [0, n) */
  int64_t n;          /* samples, >= 0 */
  int64_t n_lanes;    /* V >= 1 */
  int64_t batch_size; /* per lane, >= 1 */
  uint64_t seed;
  bool shuffle; /* false for validation, test, predict and overfit_batches */
  bool pad;     /* true for training */
  bool drop_last;
};

/* Samples that lane sees in one epoch, before drop_last. */
int64_t stk_sampler_n_samples(const struct stk_sampler *s, int64_t lane);

/* Batches that lane sees in one epoch. */
int64_t stk_sampler_n_batches(const struct stk_sampler *s, int64_t lane);

/* Batches of the longest lane, which is lane 0: the number of steps of an epoch. */
int64_t stk_sampler_n_steps(const struct stk_sampler *s);

/* Writes the ids of batch `batch` of `lane` in `epoch` (room for batch_size) and returns their
 * number: batch_size, fewer for a ragged last batch, 0 where the lane has no such batch. */
int64_t stk_sampler_batch(const struct stk_sampler *s, int64_t epoch, int64_t lane, int64_t batch,
                          int64_t *out_ids);

#endif
