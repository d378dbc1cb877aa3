/* The rows of every message between a job's processes, and their streams. */
#include "proto/wire/supervise.h"

#include "proto/base/mem.h"
#include "proto/wire/fd_io.h"
#include "proto/wire/reader.h"

#include "supervise.pb-c.h"

#include <errno.h>
#include <string.h>

#define ROW_RANK(s) SP_ROW(s, rank, SP_FIELD_COUNT, -1, SP_SUPERVISE_MAX_RANKS - 1)

static const struct sp_field fork_rows[] = {
    ROW_RANK(sp_fork),
    SP_ROW_BOOL(sp_fork, is_persister),
    SP_ROW_COUNT(sp_fork, order_seq),
    SP_ROW_TOTAL(sp_fork, slot),
};

static const struct sp_field pair_rows[] = {
    SP_ROW_NAME(sp_pair, name),
    SP_ROW_LINES(sp_pair, value),
};

static const struct sp_fields pair = SP_FIELDS(sp_pair, pair, pair_rows);

static const struct sp_field ready_rows[] = {
    SP_ROW_NAME(sp_ready, model),
    SP_ROW_NAME(sp_ready, kernels),
    SP_ROW_NAME(sp_ready, precision),
    SP_ROW_NAME(sp_ready, graph_hash),
    SP_ROW_COUNT(sp_ready, n_params),
    SP_ROW_COUNT(sp_ready, n_trainable),
    SP_ROW(sp_ready, lanes, SP_FIELD_COUNT, 1, SP_SUPERVISE_MAX_RANKS),
    SP_ROW_COUNT(sp_ready, threads),
    SP_ROW_COUNT(sp_ready, state_bytes),
    SP_ROW_TOTAL(sp_ready, plan_peak_bytes),
    SP_ROW_TOTAL(sp_ready, n_train_batches),
    SP_ROW_TOTAL(sp_ready, n_val_batches),
    SP_ROW_TOTAL(sp_ready, total_steps),
    SP_ROW_TOTAL(sp_ready, max_epochs),
    SP_ROW_MANY(sp_ready, hparams, n_hparams, SP_FIELD_LIST, SP_SUPERVISE_MAX_HPARAMS, &pair),
};

static const struct sp_field forked_rows[] = {
    ROW_RANK(sp_forked),
    SP_ROW_COUNT(sp_forked, pid),
    SP_ROW_BOOL(sp_forked, is_persister),
    SP_ROW_LINES(sp_forked, error),
};

static const struct sp_field join_rows[] = {
    SP_ROW_COUNT(sp_join, generation),
    SP_ROW(sp_join, rank, SP_FIELD_COUNT, 0, SP_SUPERVISE_MAX_RANKS - 1),
    SP_ROW(sp_join, n_ranks, SP_FIELD_COUNT, 1, SP_SUPERVISE_MAX_RANKS),
    SP_ROW_LINE(sp_join, run_dir),
    SP_ROW_LINE(sp_join, ckpt_dir),
    SP_ROW_LINE(sp_join, resumed_from),
};

static const struct sp_field open_rows[] = {
    SP_ROW_COUNT(sp_open, generation),
};

static const struct sp_field hello_rows[] = {
    SP_ROW_COUNT(sp_rank_hello, pid),
    ROW_RANK(sp_rank_hello),
};

static const struct sp_field joined_rows[] = {
    SP_ROW_COUNT(sp_joined, generation),
};

static const struct sp_field left_rows[] = {
    SP_ROW_COUNT(sp_left, generation),
    SP_ROW_COUNT(sp_left, step),
    SP_ROW_COUNT(sp_left, sequence),
};

static const struct sp_field finished_rows[] = {
    SP_ROW(sp_finished, stop, SP_FIELD_CHOICE, 0, SP_STOP_CLIENT_GONE),
    SP_ROW_LINE(sp_finished, text),
};

static const struct sp_field failed_rows[] = {
    SP_ROW(sp_failed, status, SP_FIELD_CHOICE, SP_EINVAL, SP_EINTERNAL),
    SP_ROW_LINES(sp_failed, text),
};

static const struct sp_field receipt_rows[] = {
    SP_ROW_MANY(sp_receipt, blob, n_bytes, SP_FIELD_BYTES, SP_SUPERVISE_MAX_RECEIPT, NULL),
};

/* The rows of a message; NULL for a tag that is none. */
static const struct sp_fields *fields_of(unsigned tag) {
  static const struct sp_fields table[] = {
      [SP_SUPERVISE_FORK - SP_SUPERVISE_FORK] = SP_FIELDS(sp_fork, fork, fork_rows),
      [SP_SUPERVISE_QUIT - SP_SUPERVISE_FORK] = {&sp__pb__quit__descriptor, 0, 0, NULL},
      [SP_SUPERVISE_READY - SP_SUPERVISE_FORK] = SP_FIELDS(sp_ready, ready, ready_rows),
      [SP_SUPERVISE_FORKED - SP_SUPERVISE_FORK] = SP_FIELDS(sp_forked, forked, forked_rows),
      [SP_SUPERVISE_JOIN - SP_SUPERVISE_FORK] = SP_FIELDS(sp_join, join, join_rows),
      [SP_SUPERVISE_LEAVE - SP_SUPERVISE_FORK] = {&sp__pb__leave__descriptor, 0, 0, NULL},
      [SP_SUPERVISE_HELLO - SP_SUPERVISE_FORK] = SP_FIELDS(sp_rank_hello, rank_hello, hello_rows),
      [SP_SUPERVISE_JOINED - SP_SUPERVISE_FORK] = SP_FIELDS(sp_joined, joined, joined_rows),
      [SP_SUPERVISE_LEFT - SP_SUPERVISE_FORK] = SP_FIELDS(sp_left, left, left_rows),
      [SP_SUPERVISE_FINISHED - SP_SUPERVISE_FORK] = SP_FIELDS(sp_finished, finished, finished_rows),
      [SP_SUPERVISE_FAILED - SP_SUPERVISE_FORK] = SP_FIELDS(sp_failed, failed, failed_rows),
      [SP_SUPERVISE_RECEIPT - SP_SUPERVISE_FORK] = SP_FIELDS(sp_receipt, receipt, receipt_rows),
      [SP_SUPERVISE_OPEN - SP_SUPERVISE_FORK] = SP_FIELDS(sp_open, open, open_rows),
  };
  unsigned i = tag - SP_SUPERVISE_FORK;
  return tag >= SP_SUPERVISE_FORK && i < sizeof table / sizeof *table ? &table[i] : NULL;
}

sp_status sp_supervise_pack(const struct sp_supervise *m, uint8_t **out_frame, size_t *out_n,
                            struct sp_err *err) {
  const struct sp_fields *fields = fields_of((unsigned)m->kind);
  if (!fields) {
    return sp_fail(err, SP_EINVAL, "supervise: there is no kind %d", (int)m->kind);
  }
  return sp_fields_pack(fields, (uint16_t)m->kind, &m->u, out_frame, out_n, err);
}

sp_status sp_supervise_send(int fd, const struct sp_supervise *m, int passed_fd,
                            struct sp_err *err) {
  uint8_t *frame;
  size_t n;
  sp_status status = sp_supervise_pack(m, &frame, &n, err);
  if (status == SP_OK) {
    status = sp_fd_send_frame(fd, frame, n, passed_fd, err);
    sp_free(frame);
  }
  return status;
}

sp_status sp_supervise_fill(sp_event_reader *r, int fd, bool *out_eof, struct sp_err *err) {
  uint8_t bytes[SP_FRAME_MAX_FEED];
  int n_fds = 0;
  ssize_t n = sp_fd_receive(fd, bytes, sizeof bytes, r->passed + r->n_passed,
                            SP_READER_MAX_PASSED - r->n_passed, &n_fds);
  r->n_passed += n_fds;
  if (n < 0 && errno != ECONNRESET) {
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
      *out_eof = false;
      return SP_OK;
    }
    return sp_fail_errno(err, "supervise: read");
  }
  *out_eof = n <= 0;
  return n > 0 ? sp_splitter_feed(&r->splitter, bytes, (size_t)n, err) : SP_OK;
}

int sp_supervise_take_fd(sp_event_reader *r) {
  if (r->n_passed == 0) {
    return -1;
  }
  int fd = r->passed[0];
  r->n_passed--;
  memmove(r->passed, r->passed + 1, (size_t)r->n_passed * sizeof *r->passed);
  return fd;
}

static bool is_known(unsigned tag) {
  return fields_of(tag) || sp_event_fields(tag);
}

sp_status sp_supervise_next(sp_event_reader *r, const struct sp_supervise **out_message,
                            const struct sp_event **out_event, struct sp_err *err) {
  struct sp_frame frame;
  bool have;
  *out_message = NULL;
  *out_event = NULL;
  sp_status status = sp_reader_frame(r, is_known, &frame, &have, err);
  if (status != SP_OK || !have) {
    return status;
  }
  const struct sp_fields *fields = fields_of(frame.tag);
  if (fields) {
    r->message.kind = (enum sp_supervise_kind)frame.tag;
    status = sp_fields_unpack(fields, &r->memory, &frame, &r->message.u, err);
  } else {
    status = sp_convert_unpack(&r->current, &frame, err);
  }
  if (status != SP_OK) {
    r->splitter.failed = true;
  } else if (fields) {
    *out_message = &r->message;
  } else {
    *out_event = &r->current.event;
  }
  return status;
}
