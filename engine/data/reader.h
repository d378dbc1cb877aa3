/* What the built-in readers share: the inside of a data set, mapped files, and the file openers.
 *
 * A built-in reader is one file with one `stk_<kind>_open`, which fills a data set with a constant
 * operation table, a private self, and the shape of a sample. On failure it leaves nothing behind.
 * Its read function touches only mapped memory, so several threads may be in it at once.
 */
#ifndef STK_DATA_READER_H
#define STK_DATA_READER_H

#include "engine/data/dataset.h"

#include <pthread.h>

enum { STK_DATASET_NAME_BYTES = 256 };

struct stk_dataset {
  const stk_reader_ops *ops;
  void *self;
  stk_reader_info info;
  int64_t overlap;
  int64_t x_limit;
  int64_t y_limit;
  bool serial; /* a module's reader: one call at a time, under lock */
  pthread_mutex_t lock;
  char name[STK_DATASET_NAME_BYTES];
};

sp_status stk_idx_open(const struct stk_data_spec *spec, struct stk_dataset *ds,
                       struct sp_err *err);
sp_status stk_raw_open(const struct stk_data_spec *spec, stk_dtype token, struct stk_dataset *ds,
                       struct sp_err *err);
sp_status stk_npy_open(const struct stk_data_spec *spec, struct stk_dataset *ds,
                       struct sp_err *err);
sp_status stk_synthetic_open(const struct stk_data_spec *spec, struct stk_dataset *ds,
                             struct sp_err *err);

/* A file mapped read-only and private. */
struct stk_mapping {
  const uint8_t *bytes;
  uint64_t n_bytes;
};

/* Maps the file that opener makes of path. SP_ECORRUPT for an empty file, SP_EINVAL for one that is
 * not a regular file. */
SP_NODISCARD sp_status stk_mapping_open(const struct stk_data_opener *opener, const char *path,
                                        struct stk_mapping *out, struct sp_err *err);
void stk_mapping_close(struct stk_mapping *m); /* accepts a zeroed one */

/* kind auto: which reader the file or directory is for. */
SP_NODISCARD sp_status stk_data_detect(const struct stk_data_spec *spec, sp_data_kind *out,
                                       struct sp_err *err);

bool stk_data_is_directory(const char *path);

enum { STK_DATA_PATH_BYTES = 4096 };

/* Writes the first of dir/name (or dir/name.gz) that exists into out, names in order; false where
 * none does. dir NULL: names are whole paths. */
bool stk_data_find(const char *dir, const char *const *names, size_t n_names,
                   char out[STK_DATA_PATH_BYTES]);

/* The texts and arrays that a directory holds for a role, or false. */
bool stk_raw_find(const char *dir, enum stk_data_role role, char out[STK_DATA_PATH_BYTES]);
bool stk_npy_find(const char *dir, enum stk_data_role role, char out[STK_DATA_PATH_BYTES]);

/* The IDX file of images that a directory holds for a role, or SP_ENOENT. */
SP_NODISCARD sp_status stk_idx_find(const char *dir, enum stk_data_role role,
                                    char out[STK_DATA_PATH_BYTES], struct sp_err *err);

/* Sets the name for messages; of a long path the end is kept. */
void stk_dataset_set_name(struct stk_dataset *ds, const char *name);

/* Copies n samples of sample_bytes each from a packed array. */
void stk_data_gather(const uint8_t *base, uint64_t sample_bytes, const stk_reader_request *request,
                     void *out);

/* The hash of synthetic data: 64 mixed bits of (seed, a, b), the same on every machine. */
uint64_t stk_data_hash(uint64_t seed, uint64_t a, uint64_t b);

#endif
