/* A module's own reader of data: how samples that no built-in reader knows come into a job.
 *
 * A reader is a table of functions. It opens a data set, says how many samples there are and what
 * one looks like, and copies samples out by number. The engine owns everything else: order,
 * batches, lanes, prefetch, conversion.
 *
 * 1. A reader is a function of its files and options: the same id gives the same bytes, on every
 *    machine and at any time. Augmentation that varies from epoch to epoch takes its randomness
 *    from (seed, epoch, id) in the request.
 * 2. Each opened reader is used by one thread at a time, but not always the same one.
 * 3. Values come in the declared element type, row-major, packed: sample k starts at k * (elements
 *    of one sample). u8 in x is an image: the engine gives the model x / 255. Every other integer
 *    is an id: the model sees i32, checked against num_classes or the vocabulary. Floats become the
 *    job's precision.
 * 4. Failure is a status other than 0, with the reason in `why`. Crashing or hanging costs the
 *    process, never the job.
 */
#ifndef STOKER_DATA_H
#define STOKER_DATA_H

#include <stoker/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { STK_READER_ABI = 1, STK_SAMPLE_MAX_RANK = 4, STK_READER_POSITION_BYTES = 256 };

/* What one sample's x or y looks like. rank 0 is one value. */
typedef struct stk_sample {
  stk_dtype dtype;
  int32_t rank;
  int64_t dims[STK_SAMPLE_MAX_RANK];
} stk_sample;

/* A reader's answer to open. */
typedef struct stk_reader_info {
  int64_t n_samples; /* > 0; -1 for a stream, whose samples come only in order */
  stk_sample x;
  stk_sample y;
  int32_t has_y; /* 0: the model sees no y */
} stk_reader_info;

/* Where a failing function writes its reason; always terminated by the engine. */
typedef struct stk_reader_why {
  char text[256];
} stk_reader_why;

/* The `data` section of the job: path as given (or NULL), and the keys under data.options. */
typedef struct stk_reader_args {
  const char *path;
  const char *role; /* "train", "val", "test" or "predict" */
  int32_t n_options;
  const char *const *keys;
  const char *const *values;
} stk_reader_args;

/* Which samples are wanted. A stream ignores ids. */
typedef struct stk_reader_request {
  const int64_t *ids; /* n of them, each 0 <= id < n_samples */
  int32_t n;          /* >= 1 */
  uint64_t seed;
  int64_t epoch;
} stk_reader_request;

typedef struct stk_reader_ops {
  uint32_t abi;  /* STK_READER_ABI */
  uint32_t size; /* sizeof(stk_reader_ops) */
  const char *name;
  stk_status (*open)(const stk_reader_args *args, void **out_self, stk_reader_info *out_info,
                     stk_reader_why *why);
  /* Fills x (and y where has_y) with n samples. y is NULL where the reader has none. */
  stk_status (*read)(void *self, const stk_reader_request *request, void *x, void *y,
                     stk_reader_why *why);
  /* Streams only: the position behind the last sample read, and going back to one. Else NULL. */
  stk_status (*tell)(void *self, uint8_t position[STK_READER_POSITION_BYTES], stk_reader_why *why);
  stk_status (*seek)(void *self, const uint8_t position[STK_READER_POSITION_BYTES],
                     stk_reader_why *why);
  void (*close)(void *self);
} stk_reader_ops;

#ifdef __cplusplus
}
#endif

#endif
