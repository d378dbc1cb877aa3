/* Between a session's state and checkpoint directories: which tensors there are, under PyTorch's
 * names. */
#ifndef SW_CKPT_H
#define SW_CKPT_H

#include "engine/checkpoint/save.h"
#include "worker/setup.h"

/* Saves the committed state into parent; *out as published. */
SP_NODISCARD sp_status sw_ckpt_save(struct sw_setup *s, const char *parent, const char *run_name,
                                    struct stk_ckpt_saved *out, struct sp_err *err);

/* Writes what an order asks for, from its own page and slot; stk_ckpt_publish makes it exist. Takes
 * the order's page as `now`: for a process that does nothing else. */
struct sw_ckpt_order {
  struct stk_order *order;
  const char *parent, *run_name;
  uint64_t run; /* the run's nonce */
  int64_t generation;
};
SP_NODISCARD sp_status sw_ckpt_write(struct sw_setup *s, const struct sw_ckpt_order *o,
                                     struct stk_ckpt_receipt *out, struct sp_err *err);

/* Loads everything a fit goes on from: tensors and control page. The checkpoint must be of this
 * model, precision, lanes and optimizer (SP_EMISMATCH names what differs). */
SP_NODISCARD sp_status sw_ckpt_resume(struct sw_setup *s, const char *path, struct sp_err *err);

/* Loads parameters and running statistics only: for validate, test and predict. */
SP_NODISCARD sp_status sw_ckpt_load_weights(struct sw_setup *s, const char *path,
                                            struct sp_err *err);

/* The job's `weights` section: another file's tensors by its name map, into fresh parameters. */
SP_NODISCARD sp_status sw_ckpt_fine_tune(struct sw_setup *s, char *out_text, size_t text_bytes,
                                         struct sp_err *err);

/* Writes the parameters alone as one safetensors file. */
SP_NODISCARD sp_status sw_ckpt_export(struct sw_setup *s, const char *path, struct sp_err *err);

#endif
