/* From a job file to a session that can run: module, data, loaders, pool, state.
 *
 * Everything is owned by struct sw_setup and freed by sw_setup_close, in any state of completion.
 * One thread.
 */
#ifndef SW_SETUP_H
#define SW_SETUP_H

#include <limits.h>

#include "engine/checkpoint/load.h"
#include "engine/exec/cpu.h"
#include "engine/optim/configure.h"
#include "engine/trainer/session.h"
#include "engine/data/loader.h"
#include "proto/job/job.h"
#include "worker/inflate.h"

enum { SW_REGIONS = 16 };

struct sw_setup {
  struct sp_job *job;
  void *library; /* the user's shared object */
  char module_path[4096];
  char module_sha256[65];
  struct stk_module *module;
  struct stk_cpu cpu;
  const struct stk_kernels *kernels;
  stk_pool *pool;
  struct sw_inflate inflate;
  struct stk_data_opener opener;
  stk_reader_info info; /* of the training data; where text is sampled, what the model reads */
  struct stk_dataset *train, *val, *test; /* val and test may be the same as train */
  struct stk_data_range train_range, val_range, test_range;
  bool has_val, own_val, own_test;
  struct stk_loader *train_loader, *val_loader, *test_loader;
  struct stk_optim optim;
  struct stk_profiler profiler; /* used when trainer.profiler asks for it */
  stk_session *session;
  struct {
    int fd;
    void *p;
    size_t bytes;
  } regions[SW_REGIONS];
  int32_t n_regions;
  struct stk_memory memory;
  int32_t n_slots;
  int64_t n_train_batches, n_val_batches, n_test_batches;
};

struct sw_setup_spec {
  const char *file;
  const char *const *args;
  size_t n_args;
  stk_stage stage;
  const struct stk_memory *memory; /* borrowed; NULL: memory that ends with the process */
  int32_t n_slots;                 /* 0: 2 */
};

/* As sw_setup_open, but starts no thread: for a process that forks. stk_pool_start comes later. */
SP_NODISCARD sp_status sw_setup_prepare(const struct sw_setup_spec *spec, struct sw_setup *out,
                                        struct sp_err *err);

/* Loads the job file with overrides, the module and its setup; opens the data; makes the session
 * with its training (or, for other verbs, evaluation) program; opens the loaders. Sampling text
 * (predict.generate) opens neither data nor loaders. */
SP_NODISCARD sp_status sw_setup_open(const char *file, const char *const *args, size_t n_args,
                                     stk_stage stage, struct sw_setup *out, struct sp_err *err);
void sw_setup_close(struct sw_setup *s);

/* A limit_*_batches option against what there is. */
int64_t sw_limit(const struct sp_count *limit, int64_t n);

#endif
