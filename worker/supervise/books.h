/* The supervisor's view of what the lead commits: the control page, the rows that come with it, the
 * orders that it gives. Reads the regions; writes to them only the loggers' positions into an
 * order's page, the logbook, and answers.
 */
#ifndef SW_SUPERVISE_BOOKS_H
#define SW_SUPERVISE_BOOKS_H

#include "engine/comm/group.h"
#include "engine/state/state.h"
#include "proto/run/audit_log.h"
#include "worker/logs.h"
#include "worker/supervise/regions.h"
#include "worker/supervise/rows.h"

/* Of the newest committed page. */
struct sw_committed {
  uint64_t seq; /* 0: nothing was committed */
  int64_t step, epoch;
  int32_t phase, slot;
  struct stk_journal journal;
};

struct sw_books {
  struct sw_regions regions;
  struct stk_control *control[2];
  size_t control_bytes;
  struct stk_order *orders[2];
  struct stk_group *group;
  struct sw_rows *rows;
  struct sw_logs *logs; /* borrowed */
  struct sp_audit_writer audit;
  bool has_audit;
  struct sw_logbook book;
  uint64_t order_seen; /* newest order that was handed out */
  bool damaged;        /* the ring of rows is; told once */
  struct sw_row row;   /* scratch */
};

/* Maps what the zygote made. */
SP_NODISCARD sp_status sw_books_open(const char *dir, struct sw_books *out, struct sp_err *err);
void sw_books_close(struct sw_books *b);

/* Digests of steps go into the audit log of run_dir from here on. */
SP_NODISCARD sp_status sw_books_audit(struct sw_books *b, const char *run_dir, struct sp_err *err);

/* The newest committed page itself: only while no rank runs. */
const struct stk_control *sw_books_page(const struct sw_books *b);

/* The newest committed page, as a snapshot. */
struct sw_committed sw_books_committed(const struct sw_books *b);

/* Gives committed rows to the loggers and the audit log; *out_order is a new order that waits for
 * its answer, or NULL. */
void sw_books_look(struct sw_books *b, struct sw_committed *out, struct stk_order **out_order);

/* Whether the order before this one saved the same: the same step, and a page that differs in
 * nothing but what was published under which name. */
bool sw_books_is_saved(const struct sw_books *b, const struct stk_order *o);

/* Answers an order and wakes who waits for it. */
void sw_books_answer(struct stk_order *o, sp_status st, const char *text);

#endif
