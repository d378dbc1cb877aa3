/* An order to publish: what ModelCheckpoint decided at a step, committed with it.
 *
 * The fit loop writes the order into one of two places of the region "orders" (number modulo 2)
 * before the commit that contains its number; from that commit on it will be carried out, whoever
 * dies meanwhile. Whoever publishes stores `state` last, with release. One order is open at a time:
 * the loop waits for an answer before it gives the next one. Everything is plain memory.
 */
#ifndef STK_STATE_ORDER_H
#define STK_STATE_ORDER_H

#include <stdatomic.h>

#include "engine/state/control.h"

enum { STK_ORDER_OPEN = 1, STK_ORDER_DONE = 2, STK_ORDER_FAILED = 3, STK_ORDER_ERROR = 512 };

/* What one callback wants. */
struct stk_order_item {
  int32_t ckpt;      /* which ModelCheckpoint; -1: none, the page is saved because the run stops */
  int32_t tell_best; /* best_* say what --ckpt_path best means from now on */
  struct stk_ckpt_decision decision;
  struct stk_model_checkpoint before; /* what the page held, to put back when publishing fails */
  char best_name[STK_CKPT_NAME];
  char best_monitor[128]; /* "": the newest */
  double best_score;
};

struct stk_order {
  uint64_t seq;
  _Atomic uint32_t state; /* STK_ORDER_* */
  int32_t slot;           /* holds the step: slot and running copy */
  int64_t step, epoch;
  uint64_t rows_head; /* rows emitted up to this step */
  int32_t n_items, reserved;
  char error[STK_ORDER_ERROR]; /* why it failed */
  struct stk_order_item items[STK_CONTROL_CKPT];
  /* then the control page to save (stk_state_order_page) */
};

#endif
