/* A data set: a reader, its number of samples, and the shape of one.
 *
 * Built-in readers (idx, raw, npy, synthetic) and a module's own (stoker/data.h) stand behind the
 * same table. A data set is opened once and shared by the loaders of the stages that use it; a
 * split is a range of its samples. Files are mapped read-only and checked against their size at
 * open; a file that is cut while it is mapped raises SIGBUS, which the worker reports as the death
 * of the process: do not change data under a running job.
 *
 * Threads: stk_dataset_read may be called from several threads at once (a lock serialises a
 * module's own reader).
 */
#ifndef STK_DATA_DATASET_H
#define STK_DATA_DATASET_H

#include <stoker/data.h>

#include "proto/base/options.h"
#include "proto/base/status.h"

#include <stdbool.h>

enum stk_data_role { STK_DATA_TRAIN, STK_DATA_VAL, STK_DATA_TEST, STK_DATA_PREDICT };

/* How a data file becomes a descriptor. The worker's inflates gz files; without one, files are
 * opened as they are. */
struct stk_data_opener {
  sp_status (*open)(void *ctx, const char *path, int *out_fd, struct sp_err *err);
  void *ctx;
};

/* What the built-in generator makes. Values are a function of (seed, id) alone. */
enum stk_synthetic_what {
  STK_SYNTHETIC_IMAGES,    /* x real in [0, 1) of shape dims, one template per class plus noise */
  STK_SYNTHETIC_TOKENS,    /* text of `block` tokens that a model can learn to predict */
  STK_SYNTHETIC_REGRESSION /* x real in [-1, 1) of shape dims, y a linear map of it plus noise */
};

struct stk_synthetic_spec {
  enum stk_synthetic_what what;
  int64_t first; /* id of the first sample: keeps validation apart from training */
  int64_t n_samples;
  int32_t rank; /* images and regression: shape of x */
  int64_t dims[STK_SAMPLE_MAX_RANK];
  int64_t n_classes; /* images: labels (0: none); tokens: the vocabulary; regression: outputs */
  uint64_t seed;
};

/* Where samples come from. Strings are borrowed for the duration of stk_dataset_open. */
struct stk_data_spec {
  sp_data_kind kind;  /* SP_DATA_AUTO looks at the files */
  const char *path;   /* a file, or a directory in which the role chooses */
  const char *labels; /* idx, npy: the file of y; NULL: found by name beside path, or none */
  enum stk_data_role role;
  int64_t block;  /* text: tokens in a sample (T) */
  int64_t stride; /* text: tokens from one sample to the next; 0 means T */
  struct stk_synthetic_spec synthetic;
  const struct stk_data_opener *opener; /* NULL: plain files */
  const stk_reader_ops *reader;         /* a module's own: used whatever kind says */
  const stk_reader_args *reader_args;
};

struct stk_dataset;

/* Opens the data set that spec describes. SP_ENOENT where nothing is there, SP_ECORRUPT where a
 * header lies, SP_EINVAL where the spec is impossible, SP_EUNSUPPORTED for a format that is not
 * read, SP_EMODULE where a module's reader fails. The caller closes it after its loaders. */
SP_NODISCARD sp_status stk_dataset_open(const struct stk_data_spec *spec, struct stk_dataset **out,
                                        struct sp_err *err);
void stk_dataset_close(struct stk_dataset *ds); /* accepts NULL */

/* True where spec.path is a directory with a file of its own for spec.role (val, test or predict):
 * one that training on the same directory does not use. Tells whether data.val_path may be left
 * out. */
bool stk_data_holds_role(const struct stk_data_spec *spec);

/* Borrowed until close. n_samples >= 1. */
const stk_reader_info *stk_dataset_info(const struct stk_dataset *ds);
const char *stk_dataset_name(const struct stk_dataset *ds); /* the file or reader, for messages */
/* Reading copies from memory and converts, no more: true of the built-in readers. */
bool stk_dataset_in_memory(const struct stk_dataset *ds);
/* Samples after sample i that share elements with it (raw with stride < T); 0 otherwise. */
int64_t stk_dataset_overlap(const struct stk_dataset *ds);

/* Element type that the model sees: STK_F32 stands for the job's real type, STK_I32 for ids. */
stk_dtype stk_dataset_x_type(const struct stk_dataset *ds);
stk_dtype stk_dataset_y_type(const struct stk_dataset *ds);

/* Ids of x must be below x_limit (a vocabulary), those of y below y_limit (classes); 0 lifts the
 * check. A read that finds another id fails and names the sample. Set before the first loader
 * opens. */
void stk_dataset_set_limits(struct stk_dataset *ds, int64_t x_limit, int64_t y_limit);

/* A range of samples: what a split is. */
struct stk_data_range {
  int64_t first;
  int64_t n;
};

/* Splits off the last floor(n * fraction) samples for validation (text and images alike: the
 * files' order is kept, so text is cut at one place). Training gets the rest less the overlap,
 * so that no token is in both. SP_EINVAL where fraction is not inside (0, 1) or either side
 * would be empty. */
SP_NODISCARD sp_status stk_dataset_split(const struct stk_dataset *ds, double fraction,
                                         struct stk_data_range *out_train,
                                         struct stk_data_range *out_val, struct sp_err *err);

/* Fills x and y (y is NULL where the data has none, else both are needed) with the samples of
 * request in the type that the model sees: reals as float or, with real64, double; ids as
 * int32_t. Runs in a fixed floating-point environment. The buffers hold request->n samples.
 * SP_ERANGE for an id or a value out of range; SP_EMODULE where a module's reader fails. */
SP_NODISCARD sp_status stk_dataset_read(struct stk_dataset *ds, const stk_reader_request *request,
                                        bool real64, void *x, void *y, struct sp_err *err);

/* Elements of one sample; at most INT64_MAX / 16. */
int64_t stk_sample_elements(const stk_sample *s);
size_t stk_sample_dtype_bytes(stk_dtype dtype); /* 0 for an unknown one */

#endif
