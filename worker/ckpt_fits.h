/* Whether a checkpoint is of this job, and the job's control page out of it. */
#ifndef SW_CKPT_FITS_H
#define SW_CKPT_FITS_H

#include "worker/setup.h"

enum { SW_HPARAMS_MAX = 128, SW_NUMERICS = 1 }; /* SW_NUMERICS: of docs/numerics.md */

/* The module's hyper-parameters as text. Points into the module and into itself: not to be copied.
 */
struct sw_hparams {
  struct stk_st_pair pairs[SW_HPARAMS_MAX];
  size_t n;
  char text[SW_HPARAMS_MAX][32]; /* of numbers and booleans */
};
void sw_hparams_get(const struct stk_module *m, struct sw_hparams *out);

/* What a checkpoint must agree with its job in. */
struct sw_ckpt_identity {
  int64_t numerics; /* version of docs/numerics.md */
  const char *precision;
  int64_t lanes;
  char graph_hash[17]; /* of the training step, before it is optimised */
};
SP_NODISCARD sp_status sw_ckpt_identify(struct sw_setup *s, struct sw_ckpt_identity *out,
                                        struct sp_err *err);

/* SP_EMISMATCH names the first thing that differs, with both values: model, hyper-parameter,
 * numerics, precision, lanes, state version, graph; SP_ECORRUPT: a control page that cannot be. */
SP_NODISCARD sp_status sw_ckpt_fits(struct sw_setup *s, const struct stk_manifest *m,
                                    struct sp_err *err);

/* Takes the page of a checkpoint that fits; what indexes memory stays this process's own. */
void sw_ckpt_take_control(struct sw_setup *s, const struct stk_manifest *m);

#endif
