/* A module: the counterpart of a LightningModule, as a table of functions.
 *
 * Two worlds. Trace functions (the step functions) see symbols and a const self: they can neither
 * branch on values nor mutate; each is traced twice with different dummy values and the graphs
 * compared, which exposes hidden state. Run functions (the hooks) see numbers and run once per job
 * on the lead rank: they cannot add nodes. A hook that is NULL costs nothing. A run hook may run
 * twice after a kill; only the module state (state_size bytes, plain data in the control page) is
 * exactly-once.
 *
 * A user's shared object exports one function, STK_MODULE_ENTRY, made by STK_MODULE(def).
 */
#ifndef STOKER_MODULE_H
#define STOKER_MODULE_H

#include <stddef.h>
#include <stdint.h>

#include <stoker/data.h>
#include <stoker/graph.h>
#include <stoker/nn.h>
#include <stoker/optim.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { STK_ABI = 1 };

typedef enum stk_hparam_type {
  STK_HP_BOOL,   /* bool */
  STK_HP_INT,    /* int64_t */
  STK_HP_FLOAT,  /* double */
  STK_HP_STRING, /* const char *: lives as long as the module */
  STK_HP_ENUM    /* const char *, one of choices ("a|b|c") */
} stk_hparam_type;

/* One hyper-parameter: a key of the job file's model section, stored at offset in self before
 * setup. */
typedef struct stk_hparam {
  const char *name;
  stk_hparam_type type;
  size_t offset;
  const char *default_value; /* as text; NULL: required */
  double min, max;           /* both 0: no limit */
  const char *choices;       /* STK_HP_ENUM */
  const char *help;
} stk_hparam;

/* What a step function gets. x and y: the batch as the data gives it, first dim the batch; y.id < 0
 * where there is none. n: samples in this batch. */
typedef struct stk_batch {
  stk_t x, y;
  int64_t n;
} stk_batch;

/* What a run hook sees: the job at a step edge. */
typedef struct stk_run stk_run;
int64_t stk_run_epoch(const stk_run *r);
int64_t stk_run_global_step(const stk_run *r);
int64_t stk_run_batch_idx(const stk_run *r);
void *stk_run_state(stk_run *r); /* the module state: state_size bytes, 8-byte aligned */
/* The newest value of a logged name; NaN when there is none. */
double stk_run_metric(const stk_run *r, const char *name);
/* Logs a number now. */
void stk_run_log(stk_run *r, const char *name, double value, uint32_t flags);
/* Sets a host scalar of the step functions for the steps that follow. Non-zero: no such scalar. */
stk_status stk_run_set_scalar(stk_run *r, const char *name, double value);
/* Ends training at the next step edge, as trainer.should_stop. */
void stk_run_stop(stk_run *r);

/* Lightning's hooks, in the order of its fit loop. All may be NULL. */
typedef struct stk_run_hooks {
  uint32_t size; /* sizeof *this */
  void (*on_fit_start)(stk_run *, const void *self);
  void (*on_train_start)(stk_run *, const void *self);
  void (*on_train_epoch_start)(stk_run *, const void *self);
  int (*on_train_batch_start)(stk_run *, const void *self); /* -1 ends the epoch */
  void (*on_train_batch_end)(stk_run *, const void *self);
  void (*on_validation_start)(stk_run *, const void *self);
  void (*on_validation_end)(stk_run *, const void *self);
  void (*on_train_epoch_end)(stk_run *, const void *self);
  void (*on_train_end)(stk_run *, const void *self);
  void (*on_fit_end)(stk_run *, const void *self);
} stk_run_hooks;

typedef struct stk_module_def {
  uint32_t abi, size; /* STK_ABI, sizeof *this: fields are only appended */
  const char *name;
  const stk_hparam *hparams; /* ends with a NULL name; NULL: none */
  size_t self_size;  /* the engine allocates it zeroed and fills the hyper-parameters; const after
                        setup */
  size_t state_size; /* module state in the control page, at most 64 KiB */
  uint32_t state_version;
  stk_status (*setup)(stk_module *m, void *self);
  stk_t (*training_step)(const void *self, const stk_batch *b); /* returns the loss, a scalar */
  stk_t (*validation_step)(const void *self, const stk_batch *b);
  stk_t (*test_step)(const void *self, const stk_batch *b);
  stk_t (*predict_step)(const void *self,
                        const stk_batch *b); /* first dim of the result is the batch */
  void (*configure_optimizers)(stk_optim *o, const void *self);
  const stk_run_hooks *hooks;
  const stk_reader_ops *reader; /* the module's own data, for data.kind: module; NULL: none */
} stk_module_def;

#define STK_MODULE_ENTRY stoker_module_v1
#define STK_MODULE(def)                                                                \
  __attribute__((visibility("default"))) const stk_module_def *STK_MODULE_ENTRY(void); \
  const stk_module_def *STK_MODULE_ENTRY(void) {                                       \
    return &(def);                                                                     \
  }

#ifdef __cplusplus
}
#endif

#endif
