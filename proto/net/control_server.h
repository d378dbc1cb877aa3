/* The supervisor's side of RUN/control.sock on a libuv loop.
 *
 * Hands requests to the owner and sends the owner's answers; decides nothing. Trusts nobody: the
 * peer must be of the same user or root (SO_PEERCRED), frames are capped, a connection that sends
 * half a frame, or nothing, for too long is closed, as is one that does not read its answers, asks
 * too much at a time, or breaks the format. Nothing that a peer does is an error here.
 *
 *   sp_control_server_open      listens, replacing a socket that is there: call it with the run's
 *                               lock held
 *   on_request                  from inside the loop, once per request; answered then or later by
 *                               its ticket, exactly once. It may answer, not close.
 *   sp_control_server_close     removes the socket, drops connections; on_closed once all handles
 *                               are gone, and the server with them
 *
 * One thread, that of the loop. Close before uv_walk closes handles from outside.
 */
#ifndef SP_NET_CONTROL_SERVER_H
#define SP_NET_CONTROL_SERVER_H

#include <stdint.h>
#include <uv.h>

#include "proto/base/status.h"
#include "proto/wire/control.h"

typedef struct sp_control_server sp_control_server;

struct sp_control_server_options {
  void *ctx;
  /* m is valid during the call. */
  void (*on_request)(void *ctx, uint64_t ticket, const struct sp_control *m);
  /* 0 stands for the default: */
  int max_connections; /* more are told so and closed (32) */
  int max_waiting;     /* requests of one connection that wait for their answers (16) */
  uint64_t idle_ms;    /* without a request and with none waiting (60 s) */
  uint64_t frame_ms;   /* from a frame's first byte to its last (5 s) */
  size_t max_unsent;   /* bytes of answers that the peer has not read (256 KiB) */
};

SP_NODISCARD sp_status sp_control_server_open(uv_loop_t *loop, const char *run_dir,
                                              const struct sp_control_server_options *o,
                                              sp_control_server **out, struct sp_err *err);

/* Sends the answer (its id is set here). A ticket whose connection is gone is ignored. */
void sp_control_server_answer(sp_control_server *s, uint64_t ticket, const struct sp_control *m);

/* on_closed may be NULL. */
void sp_control_server_close(sp_control_server *s, void (*on_closed)(void *ctx), void *ctx);

#endif
