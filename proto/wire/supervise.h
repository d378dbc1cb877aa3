/* What the processes of one job tell each other, as plain structs, and their streams.
 *
 *     supervisor -> zygote      Fork (the new process's end of its own stream travels beside it as
 *                               a descriptor), Quit
 *     zygote -> supervisor      Ready once, or Failed; Forked for every Fork
 *     supervisor -> rank        Join (prepare), Open (go), Leave (exit)
 *     rank -> supervisor        RankHello first (later: look at the control page); Joined, Left for
 *                               every generation; Finished or Failed last; any event of event.h in
 *                               between
 *     persister -> supervisor   Receipt or Failed
 *
 * Frames, limits and strictness are those of event.h; tags are disjoint from events', so one reader
 * (event_io.h) takes both: sp_supervise_next gives the next of either. Senders block until the
 * frame is written. One thread at a time per descriptor and reader.
 */
#ifndef SP_WIRE_SUPERVISE_H
#define SP_WIRE_SUPERVISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "proto/wire/event.h"
#include "proto/wire/event_io.h"

enum {
  SP_SUPERVISE_MAX_RANKS = 1024, /* trainer.lanes has the same limit */
  SP_SUPERVISE_MAX_HPARAMS = 256,
  SP_SUPERVISE_MAX_RECEIPT = 64 * 1024, /* bytes of one Receipt */
};

/* Frame tags, 64 to 127: events are below, the control socket's above. */
enum sp_supervise_kind {
  SP_SUPERVISE_FORK = 64,
  SP_SUPERVISE_QUIT = 65,
  SP_SUPERVISE_READY = 66,
  SP_SUPERVISE_FORKED = 67,
  SP_SUPERVISE_JOIN = 68,
  SP_SUPERVISE_LEAVE = 69,
  SP_SUPERVISE_HELLO = 70,
  SP_SUPERVISE_JOINED = 71,
  SP_SUPERVISE_LEFT = 72,
  SP_SUPERVISE_FINISHED = 73,
  SP_SUPERVISE_FAILED = 74,
  SP_SUPERVISE_RECEIPT = 75,
  SP_SUPERVISE_OPEN = 76,
};

struct sp_fork {
  int64_t rank; /* -1: a persister, or else the spare, which is no rank until it is told to Join */
  bool is_persister;
  int64_t order_seq; /* persister: the order it carries out */
  int64_t slot;      /* persister: the slot it saves, -1 none */
};

struct sp_pair {
  const char *name;  /* at most SP_EVENT_MAX_NAME bytes */
  const char *value; /* at most SP_EVENT_MAX_STRING bytes */
};

struct sp_ready {
  const char *model, *kernels, *precision; /* as in sp_event_run_started */
  const char *graph_hash;                  /* hex, of the training step */
  int64_t n_params, n_trainable;
  int64_t lanes, threads;
  int64_t state_bytes;                    /* one slot with its share of the rest */
  int64_t plan_peak_bytes;                /* -1: not known */
  int64_t n_train_batches, n_val_batches; /* -1: not known */
  int64_t total_steps, max_epochs;        /* -1: unlimited */
  size_t n_hparams;
  const struct sp_pair *hparams;
};

struct sp_forked {
  int64_t rank; /* -1: a persister */
  int64_t pid;  /* 0 when error says why there is none */
  bool is_persister;
  const char *error; /* "": it runs */
};

struct sp_join {
  int64_t generation, rank, n_ranks;
  const char *run_dir, *ckpt_dir; /* "": none */
  const char *resumed_from;       /* checkpoint to load before the first step; "": the slots hold */
};

struct sp_open {
  int64_t generation; /* of the newest Join: the group page is open */
};

struct sp_rank_hello {
  int64_t pid, rank; /* -1: the spare */
};

struct sp_joined {
  int64_t generation;
};

struct sp_left {
  int64_t generation;
  int64_t step;     /* newest that this rank saw committed */
  int64_t sequence; /* of the control page it saw */
};

struct sp_finished {
  uint32_t stop; /* enum sp_stop_reason; 0: the job's own limits */
  const char *text;
};

struct sp_failed {
  sp_status status; /* not SP_OK */
  const char *text; /* what, where, why; may hold several lines */
};

struct sp_receipt {
  const void *blob; /* between persister and supervisor alone */
  size_t n_bytes;
};

struct sp_supervise {
  enum sp_supervise_kind kind;
  union {
    struct sp_fork fork;
    struct sp_ready ready;
    struct sp_forked forked;
    struct sp_join join;
    struct sp_open open;
    struct sp_rank_hello hello;
    struct sp_joined joined;
    struct sp_left left;
    struct sp_finished finished;
    struct sp_failed failed;
    struct sp_receipt receipt;
  } u; /* Quit and Leave have nothing */
};

/* Writes one message; passed_fd (-1: none) is duplicated into the receiver and stays the caller's.
 * Errors as sp_event_send's. */
SP_NODISCARD sp_status sp_supervise_send(int fd, const struct sp_supervise *m, int passed_fd,
                                         struct sp_err *err);

/* One whole frame in memory that the caller releases with sp_free, for writers that do not block.
 */
SP_NODISCARD sp_status sp_supervise_pack(const struct sp_supervise *m, uint8_t **out_frame,
                                         size_t *out_n, struct sp_err *err);

/* As sp_event_reader_fill on a socket, and keeps descriptors that come with the bytes. A descriptor
 * is there by the time its message is whole. At most 16 wait; more are closed. */
SP_NODISCARD sp_status sp_supervise_fill(sp_event_reader *r, int fd, bool *out_eof,
                                         struct sp_err *err);

/* The oldest descriptor that came and was not taken (close-on-exec; now the caller's), or -1. Those
 * never taken are closed with the reader. */
int sp_supervise_take_fd(sp_event_reader *r);

/* The next message or event: exactly one of both is set, or neither when more bytes are needed.
 * Valid until the next call on this reader. Unknown tags are skipped. */
SP_NODISCARD sp_status sp_supervise_next(sp_event_reader *r,
                                         const struct sp_supervise **out_message,
                                         const struct sp_event **out_event, struct sp_err *err);

#endif
