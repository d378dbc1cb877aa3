/* The persister: writes what one order asks for, sends the receipt, ends. */
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "proto/base/fault.h"
#include "proto/base/mem.h"
#include "proto/base/prio.h"
#include "worker/ckpt.h"
#include "worker/supervise/zygote.h"

/* The supervisor says where to: the same Join that ranks get. Its texts live until the reader is
 * asked again. */
static sp_status wait_for_join(sp_event_reader *reader, int stream, struct sp_join *out,
                               struct sp_err *err) {
  const struct sp_supervise *m = NULL;
  sp_status st = SP_OK;
  while (!st && !(m && m->kind == SP_SUPERVISE_JOIN)) {
    st = sw_zygote_read(reader, stream, &m, err);
  }
  if (!st) {
    *out = m->u.join;
  }
  return st;
}

static sp_status persist(struct sw_zygote *z, int stream, uint64_t order_seq, struct sp_err *err) {
  struct stk_state *state = stk_session_state(z->s.session);
  struct stk_order *order = state->orders[order_seq % 2];
  struct stk_ckpt_receipt receipt;
  sp_event_reader *reader = sp_event_reader_new();
  struct sp_join join = {.run_dir = ""};
  sp_status st = reader ? wait_for_join(reader, stream, &join, err)
                        : sp_fail(err, SP_ENOMEM, "no memory for a save");
  if (!st && order->seq != order_seq) {
    st = sp_fail(err, SP_EINTERNAL, "order %llu is gone", (unsigned long long)order_seq);
  }
  if (!st) {
    struct sw_ckpt_order o = {.order = order,
                              .parent = join.ckpt_dir,
                              .run_name = join.run_dir,
                              .run = z->run,
                              .generation = join.generation};
    st = sw_ckpt_write(&z->s, &o, &receipt, err);
  }
  (void)SP_FAULT("persister.receipt");
  struct sp_supervise m = {.kind = SP_SUPERVISE_RECEIPT,
                           .u.receipt = {.blob = &receipt, .n_bytes = sizeof receipt}};
  return st ? st : sp_supervise_send(stream, &m, -1, err);
}

void sw_persister_run(struct sw_zygote *z, int stream, uint64_t order_seq) {
  struct sp_err err = {0};
  sp_fault_set_role(-1, "persister");
  (void)prctl(PR_SET_NAME, "stoker-persist");
  (void)!sp_io_low_priority(NULL); /* saves are slower then, not wrong */
  sp_status st = persist(z, stream, order_seq, &err);
  sw_zygote_fail(stream, &err);
  _exit(st ? 1 : 0);
}
