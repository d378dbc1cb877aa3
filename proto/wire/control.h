/* What anybody may ask a run's supervisor through RUN/control.sock, and the answers, as plain
 * structs.
 *
 * A request gets exactly one answer, which repeats its id: Done, Refused, or Status. Frames, limits
 * and strictness are those of event.h; a frame of any other tag ends the connection.
 */
#ifndef SP_WIRE_CONTROL_H
#define SP_WIRE_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "proto/wire/event.h"
#include "proto/wire/event_io.h"
#include "proto/wire/supervise.h"

#define SP_CONTROL_SOCKET "control.sock" /* in the run's directory */

/* Frame tags, from 128. */
enum sp_control_kind {
  SP_CONTROL_STATUS_REQUEST = 128,
  SP_CONTROL_SCALE = 129,
  SP_CONTROL_STOP = 130,
  SP_CONTROL_DONE = 131,
  SP_CONTROL_REFUSED = 132,
  SP_CONTROL_STATUS = 133,
};

/* Bytes of the largest frame that is taken; requests and answers are far smaller. */
enum { SP_CONTROL_MAX_FRAME = 16 * 1024 };

struct sp_control_scale {
  int64_t ranks; /* 1 to SP_SUPERVISE_MAX_RANKS */
};

struct sp_control_stop {
  bool now; /* at once, without a checkpoint; else at the next step, with one */
};

struct sp_control_done {
  const char *text; /* one line: what will happen */
};

struct sp_control_refused {
  sp_status status; /* not SP_OK */
  const char *text;
};

struct sp_control_status {
  const char *state; /* one word: "forming", "running", "ending" */
  int64_t pid;       /* of the supervisor */
  int64_t step, epoch;
  int64_t total_steps; /* -1: unlimited */
  int64_t generation, ranks, lanes;
  int64_t deaths, recoveries; /* of this supervisor's life */
};

struct sp_control {
  enum sp_control_kind kind;
  int64_t id; /* the asker's; not negative */
  union {
    struct sp_control_scale scale;
    struct sp_control_stop stop;
    struct sp_control_done done;
    struct sp_control_refused refused;
    struct sp_control_status status;
  } u;
};

bool sp_control_is_request(const struct sp_control *m);

/* One whole frame, released with sp_free. */
SP_NODISCARD sp_status sp_control_pack(const struct sp_control *m, uint8_t **out_frame,
                                       size_t *out_n, struct sp_err *err);

/* The next message of a stream that was fed to the reader, or *out_message = NULL when more bytes
 * are needed; valid until the next call. SP_ECORRUPT, for ever: a message that is none of these, or
 * begins to be larger than SP_CONTROL_MAX_FRAME. */
SP_NODISCARD sp_status sp_control_next(sp_event_reader *r, const struct sp_control **out_message,
                                       struct sp_err *err);

/* Asks the supervisor of a run directory and waits for the answer, which is valid until the reader
 * is freed; the request's id is set here. Blocks at most timeout_ms. SP_ENOENT: nobody listens
 * there. SP_ECANCELED: no answer in time. SP_EIO: the supervisor went away. A Refused answer is
 * given as the error that it holds. */
SP_NODISCARD sp_status sp_control_call(const char *run_dir, const struct sp_control *request,
                                       int timeout_ms, sp_event_reader *r,
                                       const struct sp_control **out_answer, struct sp_err *err);

#endif
