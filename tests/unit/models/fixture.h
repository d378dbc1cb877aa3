/* A session over a built-in module and made-up data, for the tests of this directory.
 *
 * A case says which module, hyper-parameters and shapes; a variant says how to compute: kernels,
 * element width, passes, threads. Two variants of one width must agree in every bit. Everything a
 * fixture owns goes with mt_free. Failures fail the test at once.
 */
#ifndef MT_FIXTURE_H
#define MT_FIXTURE_H

#include "tests/lib/tt.h"

#include "engine/trainer/session.h"

struct mt_case {
  const stk_module_def *def;
  const char *hparams[16]; /* name, value, ...; ends with NULL */
  stk_sample x, y;
  bool has_y;
  int64_t batch;
  int32_t ids; /* integers are below this */
};

struct mt_variant {
  stk_isa isa;
  int32_t real_bits;
  bool fuse, in_place;
  int threads;
  int32_t n_lanes;    /* 0: 1 */
  int64_t accumulate; /* 0: 1 */
  double clip_norm;
  double weight_decay; /* 0: Adam, else AdamW */
};

struct mt {
  const struct mt_case *c;
  struct mt_variant v;
  struct stk_module *m;
  stk_pool *pool;
  stk_session *s;
  struct sp_optimizer_opts optimizer;
  void *x, *y;     /* one batch */
  void *memory[8]; /* of the state */
  int n_memory;
  uint8_t *grad; /* after mt_gradient: laid out as parameters are */
  uint8_t *running_out;
  double loss;
};

/* False when this machine cannot run the variant's kernels. */
bool mt_can_run(const struct mt_variant *v);
struct mt *mt_new(const struct mt_case *c, const struct mt_variant *v);
void mt_free(struct mt *t);

/* One forward and backward run over the batch: sets grad, running_out and loss. */
void mt_gradient(struct mt *t);
/* Optimizer steps over batches that depend on the step, lane and micro-batch, each committed; the
 * last loss. */
double mt_train(struct mt *t, int n_steps);
/* Fails the test with the error's text unless st is SP_OK. */
void mt_check(sp_status st, const struct sp_err *err);

/* Real number i of memory of the variant's width. */
double mt_real(const struct mt *t, const void *p, int64_t i);
void mt_set_real(const struct mt *t, void *p, int64_t i, double value);

#endif
