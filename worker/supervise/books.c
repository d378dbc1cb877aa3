/* Control pages, rows and orders as the supervisor reads them. See books.h. */
#include "worker/supervise/books.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/base/fault.h"
#include "proto/base/mem.h"

static sp_status map(struct sw_books *b, const char *name, size_t least, void **out_p,
                     size_t *out_bytes, struct sp_err *err) {
  struct sw_region *r = NULL;
  sp_status st = sw_regions_map(&b->regions, name, &r, err);
  if (!st && r->bytes < least) {
    st = sp_fail(err, SP_ECORRUPT, "region %s has %zu bytes, want %zu", name, r->bytes, least);
  }
  if (!st) {
    *out_p = r->p;
    *out_bytes = r->bytes;
  }
  return st;
}

const struct stk_control *sw_books_page(const struct sw_books *b) {
  return b->control[b->control[1]->seq > b->control[0]->seq];
}

/* Offsets follow from the page's own size, which must fit the regions. */
static sp_status find_parts(struct sw_books *b, size_t page, size_t orders, void *first,
                            struct sp_err *err) {
  struct sw_committed now = sw_books_committed(b);
  const struct stk_control *c = sw_books_page(b);
  b->control_bytes = c->bytes;
  size_t order = (sizeof(struct stk_order) + b->control_bytes + 63) / 64 * 64;
  if (now.seq == 0 || c->version != STK_CONTROL_VERSION || c->bytes < sizeof *c ||
      c->bytes + sizeof(struct stk_journal) > page || 2 * order > orders) {
    return sp_fail(err, SP_ECORRUPT, "the control page in %s is none of this build's",
                   b->regions.dir);
  }
  b->orders[0] = first;
  b->orders[1] = (struct stk_order *)(void *)((uint8_t *)first + order);
  return SP_OK;
}

sp_status sw_books_open(const char *dir, struct sw_books *out, struct sp_err *err) {
  size_t page[2] = {0}, orders = 0, group = 0, rows = 0;
  void *p[5] = {NULL};
  memset(out, 0, sizeof *out);
  sp_status st = sw_regions_open(dir, &out->regions, err);
  st = st ? st : map(out, "control-a", sizeof(struct stk_control), &p[0], &page[0], err);
  st = st ? st : map(out, "control-b", sizeof(struct stk_control), &p[1], &page[1], err);
  st = st ? st : map(out, "orders", 2 * sizeof(struct stk_order), &p[2], &orders, err);
  st = st ? st : map(out, "group", sizeof(struct stk_group), &p[3], &group, err);
  st = st ? st : map(out, "rows", SW_ROWS_BYTES, &p[4], &rows, err);
  out->control[0] = p[0];
  out->control[1] = p[1];
  out->group = p[3];
  out->rows = p[4];
  st = st ? st : find_parts(out, page[0] < page[1] ? page[0] : page[1], orders, p[2], err);
  st = st ? st
          : stk_group_check(
                out->group, group,
                out->control[0]->seq ? out->control[0]->n_lanes : out->control[1]->n_lanes, err);
  if (!st) {
    out->book = sw_rows_logbook(out->rows);
  }
  return st;
}

_Static_assert((int)SP_AUDIT_PARTS == (int)STK_AUDIT_PARTS &&
                   (int)SP_AUDIT_TAG == (int)STK_AUDIT_TAG,
               "audit_log.h repeats audit.h");

sp_status sw_books_audit(struct sw_books *b, const char *run_dir, struct sp_err *err) {
  sp_status st = sp_audit_open(run_dir, sw_books_committed(b).step, &b->audit, err);
  b->has_audit = st == SP_OK;
  return st;
}

void sw_books_close(struct sw_books *b) {
  sp_audit_close(&b->audit);
  sw_regions_close(&b->regions);
}

static uint64_t seq_of(const struct stk_control *c) {
  return atomic_load_explicit((const _Atomic uint64_t *)&c->seq, memory_order_acquire);
}

/* A page is written only while it is the older one; a reader that was overtaken looks again. */
struct sw_committed sw_books_committed(const struct sw_books *b) {
  struct sw_committed v;
  for (;;) {
    uint64_t a = seq_of(b->control[0]), z = seq_of(b->control[1]);
    const struct stk_control *c = b->control[z > a ? 1 : 0];
    v = (struct sw_committed){.seq = z > a ? z : a};
    if (v.seq == 0) {
      return v;
    }
    v.step = c->global_step;
    v.epoch = c->epoch;
    v.phase = c->phase;
    v.slot = c->slot;
    size_t bytes = b->control_bytes ? b->control_bytes : c->bytes;
    memcpy(&v.journal, (const uint8_t *)c + bytes, sizeof v.journal);
    atomic_thread_fence(memory_order_acquire);
    if (seq_of(c) == v.seq) {
      return v;
    }
  }
}

/* A full disk does not end a training. The writer fails once, and is silent then. */
static void tell_audit(struct sw_books *b, sp_status st, const struct sp_err *err) {
  if (st) {
    sw_emit_text(b->logs->e, SP_TEXT_WARNING, "the audit log ends here, training goes on: %s\n",
                 err->text);
  }
}

static void take_audit(struct sw_books *b) {
  struct sp_err err = {0};
  struct sp_audit_record r = {.step = b->row.step};
  memcpy(r.digest, b->row.audit.digest, sizeof r.digest);
  memcpy(r.tag, b->row.audit.tag, sizeof r.tag);
  tell_audit(b, b->has_audit ? sp_audit_put(&b->audit, &r, &err) : SP_OK, &err);
}

static void take_rows(struct sw_books *b, uint64_t head) {
  struct sp_err err = {0};
  bool have = true;
  uint64_t before = b->book.consumed;
  while (have && !b->damaged) {
    if (sw_rows_next(b->rows, &b->book.consumed, head, &b->row, &have, &err)) {
      b->damaged = true;
      sw_emit_text(b->logs->e, SP_TEXT_WARNING, "logging ends here: %s\n", err.text);
    } else if (have && b->row.is_audit) {
      take_audit(b);
    } else if (have) {
      sw_logs_put(b->logs, b->row.step, b->row.n, b->row.names, b->row.values);
    }
  }
  if (b->damaged) {
    b->book.consumed = head; /* the lead must not wait for room that nobody makes */
  }
  if (b->book.consumed != before) {
    tell_audit(b, b->has_audit ? sp_audit_flush(&b->audit, &err) : SP_OK, &err);
    (void)SP_FAULT("supervisor.rows");
    sw_logs_positions(b->logs, b->book.position);
    sw_rows_note(b->rows, &b->book);
  }
}

void sw_books_look(struct sw_books *b, struct sw_committed *out, struct stk_order **out_order) {
  *out = sw_books_committed(b);
  *out_order = NULL;
  if (out->seq == 0) {
    return;
  }
  struct stk_order *o = b->orders[out->journal.order_seq % 2];
  if (out->journal.order_seq > b->order_seen && o->seq == out->journal.order_seq) {
    b->order_seen = o->seq;
    if (atomic_load_explicit(&o->state, memory_order_acquire) == STK_ORDER_OPEN) {
      take_rows(b, o->rows_head);
      struct sp_err err = {0}; /* what a checkpoint says happened is not forgotten by a disk */
      tell_audit(b, b->has_audit ? sp_audit_sync(&b->audit, &err) : SP_OK, &err);
      sw_logs_positions(b->logs, stk_state_order_page(o)->log_position);
      *out_order = o;
    }
  }
  take_rows(b, out->journal.rows_head);
}

/* What may differ between two pages that save the same. */
static void forget_names(struct stk_control *c) {
  c->seq = 0;
  c->elapsed_ns = 0;
  memset(c->ckpt, 0, sizeof c->ckpt);
  memset(c->log_position, 0, sizeof c->log_position);
}

bool sw_books_is_saved(const struct sw_books *b, const struct stk_order *o) {
  struct stk_order *before = b->orders[(o->seq + 1) % 2];
  bool same = before->seq + 1 == o->seq && before->step == o->step && before->slot == o->slot &&
              atomic_load_explicit(&before->state, memory_order_acquire) == STK_ORDER_DONE;
  struct stk_control *pages = same ? sp_alloc(2 * b->control_bytes) : NULL;
  if (!pages) {
    return false;
  }
  struct stk_control *second = (struct stk_control *)(void *)((uint8_t *)pages + b->control_bytes);
  memcpy(pages, stk_state_order_page(before), b->control_bytes);
  memcpy(second, stk_state_order_page((struct stk_order *)(uintptr_t)o), b->control_bytes);
  forget_names(pages);
  forget_names(second);
  same = memcmp(pages, second, b->control_bytes) == 0;
  sp_free(pages);
  return same;
}

void sw_books_answer(struct stk_order *o, sp_status st, const char *text) {
  snprintf(o->error, sizeof o->error, "%.500s", text);
  atomic_store_explicit(&o->state, st ? STK_ORDER_FAILED : STK_ORDER_DONE, memory_order_release);
  syscall(SYS_futex, &o->state, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
