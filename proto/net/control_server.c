/* RUN/control.sock on libuv. A connection is in the server's list from accept to the moment when
 * both its handles are closed; `closing` says that nothing more happens to it. Tickets are numbers
 * that are never used again, kept with their connection and id until they are answered. */
#include "proto/net/control_server.h"

#include "proto/base/file.h"
#include "proto/base/mem.h"
#include "proto/base/sock.h"
#include "proto/wire/event_io.h"
#include "proto/wire/frame.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BACKLOG = 16, WAITING_LIMIT = 64 };

struct waiting {
  uint64_t ticket; /* 0: free */
  int64_t id;
};

struct connection {
  sp_control_server *server;
  struct connection *next;
  uv_pipe_t pipe;
  uv_timer_t timer;
  int n_handles; /* not yet closed */
  bool closing;
  bool mid_frame; /* the timer counts from a frame's first byte */
  sp_event_reader *reader;
  struct waiting waiting[WAITING_LIMIT];
  int n_waiting;
  char bytes[SP_CONTROL_MAX_FRAME]; /* what is being read */
};

struct sp_control_server {
  uv_loop_t *loop;
  uv_pipe_t listener;
  uv_pipe_t shed; /* takes a connection for which there is no memory, and is closed */
  bool shedding, shed_more;
  struct sp_control_server_options o;
  char *path;
  dev_t device; /* of the socket's file: another one is not ours to remove */
  ino_t inode;
  struct connection *connections;
  int n_connections;
  uint64_t last_ticket;
  bool closing;
  bool listener_closed;
  void (*on_closed)(void *ctx);
  void *closed_ctx;
};

/* ---- ends */

static void server_maybe_done(sp_control_server *s) {
  if (!s->closing || !s->listener_closed || s->shedding || s->connections) {
    return;
  }
  void (*on_closed)(void *ctx) = s->on_closed;
  void *ctx = s->closed_ctx;
  sp_free(s->path);
  sp_free(s);
  if (on_closed) {
    on_closed(ctx);
  }
}

static void connection_free(struct connection *c) {
  sp_control_server *s = c->server;
  struct connection **link = &s->connections;
  while (*link != c) {
    link = &(*link)->next;
  }
  *link = c->next;
  s->n_connections--;
  sp_event_reader_free(c->reader);
  sp_free(c);
  server_maybe_done(s);
}

static void on_handle_closed(uv_handle_t *h) {
  struct connection *c = h->data;
  if (--c->n_handles == 0) {
    connection_free(c);
  }
}

static void connection_close(struct connection *c) {
  if (!c->closing) {
    c->closing = true;
    uv_close((uv_handle_t *)&c->timer, on_handle_closed);
    uv_close((uv_handle_t *)&c->pipe, on_handle_closed);
  }
}

static void on_timer(uv_timer_t *t) {
  connection_close(t->data);
}

/* The only timer: a frame's end, or the next request; an answer that is awaited is the owner's. */
static void connection_wait(struct connection *c, bool mid_frame, bool begins) {
  const struct sp_control_server_options *o = &c->server->o;
  if (mid_frame && !begins) {
    return;
  }
  c->mid_frame = mid_frame;
  if (mid_frame || c->n_waiting == 0) {
    uv_timer_start(&c->timer, on_timer, mid_frame ? o->frame_ms : o->idle_ms, 0);
  } else {
    uv_timer_stop(&c->timer);
  }
}

/* ---- answers */

struct write {
  uv_write_t request;
  uint8_t *frame;
};

static void on_written(uv_write_t *request, int status) {
  struct write *w = (struct write *)(void *)request;
  struct connection *c = request->handle->data;
  if (status != 0) {
    connection_close(c);
  }
  sp_free(w->frame);
  sp_free(w);
}

static void connection_send(struct connection *c, const struct sp_control *m) {
  size_t n = 0;
  struct write *w = sp_alloc(sizeof *w);
  if (!w || sp_control_pack(m, &w->frame, &n, NULL) != SP_OK) {
    sp_free(w);
    connection_close(c);
    return;
  }
  uv_buf_t buf = uv_buf_init((char *)w->frame, (unsigned)n);
  if (uv_stream_get_write_queue_size((uv_stream_t *)&c->pipe) + n > c->server->o.max_unsent ||
      uv_write(&w->request, (uv_stream_t *)&c->pipe, &buf, 1, on_written) != 0) {
    sp_free(w->frame);
    sp_free(w);
    connection_close(c);
  }
}

void sp_control_server_answer(sp_control_server *s, uint64_t ticket, const struct sp_control *m) {
  assert(ticket != 0 && !sp_control_is_request(m));
  for (struct connection *c = s->connections; c; c = c->next) {
    for (int i = 0; i < WAITING_LIMIT && !c->closing; i++) {
      if (c->waiting[i].ticket == ticket) {
        struct sp_control answer = *m;
        answer.id = c->waiting[i].id;
        c->waiting[i].ticket = 0;
        c->n_waiting--;
        connection_send(c, &answer);
        if (!c->closing && !c->mid_frame) {
          connection_wait(c, false, false);
        }
        return;
      }
    }
  }
}

/* ---- requests */

static void connection_request(struct connection *c, const struct sp_control *m) {
  sp_control_server *s = c->server;
  if (!sp_control_is_request(m) || c->n_waiting >= s->o.max_waiting) {
    connection_close(c);
    return;
  }
  int free_one = 0;
  while (c->waiting[free_one].ticket) {
    free_one++;
  }
  uint64_t ticket = ++s->last_ticket;
  c->waiting[free_one] = (struct waiting){ticket, m->id};
  c->n_waiting++;
  s->o.on_request(s->o.ctx, ticket, m);
}

static void connection_drain(struct connection *c) {
  bool took_any = false;
  while (!c->closing) {
    const struct sp_control *m;
    if (sp_control_next(c->reader, &m, NULL) != SP_OK) {
      connection_close(c);
      return;
    }
    if (!m) {
      bool mid_frame = sp_event_reader_pending(c->reader) > 0;
      connection_wait(c, mid_frame, took_any || !c->mid_frame);
      return;
    }
    took_any = true;
    connection_request(c, m);
  }
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *out) {
  struct connection *c = h->data;
  (void)suggested;
  *out = uv_buf_init(c->bytes, sizeof c->bytes);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  struct connection *c = stream->data;
  if (c->closing || n == 0) {
    return;
  }
  if (n < 0 || sp_event_reader_feed(c->reader, buf->base, (size_t)n, NULL) != SP_OK) {
    connection_close(c);
    return;
  }
  connection_drain(c);
}

/* ---- connections */

static bool is_allowed(const struct connection *c) {
  uv_os_fd_t fd;
  uint32_t uid;
  return uv_fileno((const uv_handle_t *)&c->pipe, &fd) == 0 &&
         sp_sock_peer(fd, &uid, NULL) == SP_OK && (uid == geteuid() || uid == 0);
}

/* Says why, as far as the peer's buffer takes it at once, and closes. */
static void connection_refuse(struct connection *c, const char *why) {
  struct sp_control m = {.kind = SP_CONTROL_REFUSED, .u.refused = {SP_EPERM, why}};
  uint8_t *frame = NULL;
  size_t n = 0;
  if (sp_control_pack(&m, &frame, &n, NULL) == SP_OK) {
    uv_buf_t buf = uv_buf_init((char *)frame, (unsigned)n);
    uv_try_write((uv_stream_t *)&c->pipe, &buf, 1);
    sp_free(frame);
  }
  connection_close(c);
}

static struct connection *connection_new(sp_control_server *s) {
  struct connection *c = sp_alloc(sizeof *c);
  sp_event_reader *reader = sp_event_reader_new();
  if (!c || !reader) {
    sp_free(c);
    sp_event_reader_free(reader);
    return NULL;
  }
  c->server = s;
  c->reader = reader;
  c->n_handles = 2;
  uv_pipe_init(s->loop, &c->pipe, 0);
  uv_timer_init(s->loop, &c->timer);
  c->pipe.data = c;
  c->timer.data = c;
  c->next = s->connections;
  s->connections = c;
  s->n_connections++;
  return c;
}

static void on_shed(uv_handle_t *h);

/* libuv accepts nothing more until what it has is taken. */
static void shed(sp_control_server *s) {
  if (s->shedding) {
    return;
  }
  uv_pipe_init(s->loop, &s->shed, 0);
  s->shed.data = s;
  s->shedding = true;
  s->shed_more = uv_accept((uv_stream_t *)&s->listener, (uv_stream_t *)&s->shed) == 0;
  uv_close((uv_handle_t *)&s->shed, on_shed);
}

static void on_shed(uv_handle_t *h) {
  sp_control_server *s = h->data;
  s->shedding = false;
  if (s->shed_more && !s->closing) {
    shed(s); /* another one may have come meanwhile */
  } else {
    server_maybe_done(s);
  }
}

static void on_connection(uv_stream_t *listener, int status) {
  sp_control_server *s = listener->data;
  if (status != 0 || s->closing) {
    return;
  }
  struct connection *c = connection_new(s);
  if (!c) {
    shed(s);
    return;
  }
  if (uv_accept(listener, (uv_stream_t *)&c->pipe) != 0) {
    connection_close(c);
  } else if (!is_allowed(c)) {
    connection_refuse(c, "only the run's own user and root may ask");
  } else if (s->n_connections > s->o.max_connections) {
    connection_refuse(c, "too many others are connected; try again");
  } else if (uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read) != 0) {
    connection_close(c);
  } else {
    connection_wait(c, false, true);
  }
}

/* ---- the server */

static void take_defaults(struct sp_control_server_options *o) {
  o->max_connections = o->max_connections ? o->max_connections : 32;
  o->max_waiting = o->max_waiting ? o->max_waiting : 16;
  o->idle_ms = o->idle_ms ? o->idle_ms : 60 * 1000;
  o->frame_ms = o->frame_ms ? o->frame_ms : 5 * 1000;
  o->max_unsent = o->max_unsent ? o->max_unsent : 256 * 1024;
  assert(o->on_request && o->max_waiting <= WAITING_LIMIT);
}

static void on_listener_closed(uv_handle_t *h) {
  sp_control_server *s = h->data;
  s->listener_closed = true;
  server_maybe_done(s);
}

/* The listening descriptor becomes the handle's, or is closed. */
static sp_status start_listening(sp_control_server *s, int fd, struct sp_err *err) {
  int rc = uv_pipe_open(&s->listener, fd);
  if (rc != 0) {
    close(fd);
  } else {
    rc = uv_listen((uv_stream_t *)&s->listener, BACKLOG, on_connection);
  }
  return rc == 0 ? SP_OK : sp_fail(err, SP_EIO, "listening on %s: %s", s->path, uv_strerror(rc));
}

sp_status sp_control_server_open(uv_loop_t *loop, const char *run_dir,
                                 const struct sp_control_server_options *o, sp_control_server **out,
                                 struct sp_err *err) {
  struct stat info;
  int fd;
  sp_control_server *s = sp_alloc(sizeof *s);
  char *path = sp_path_join(run_dir, SP_CONTROL_SOCKET);
  sp_status status = s && path ? sp_sock_listen(run_dir, SP_CONTROL_SOCKET, &fd, err)
                               : sp_fail(err, SP_ENOMEM, "no memory");
  if (status != SP_OK) {
    sp_free(path);
    sp_free(s);
    return status;
  }
  *s = (sp_control_server){.loop = loop, .o = *o, .path = path};
  take_defaults(&s->o);
  if (stat(path, &info) == 0) {
    s->device = info.st_dev;
    s->inode = info.st_ino;
  }
  uv_pipe_init(loop, &s->listener, 0);
  s->listener.data = s;
  status = start_listening(s, fd, err);
  if (status != SP_OK) {
    sp_control_server_close(s, NULL, NULL);
    return status;
  }
  *out = s;
  return SP_OK;
}

static void remove_socket(const sp_control_server *s) {
  struct stat info;
  if (stat(s->path, &info) == 0 && info.st_dev == s->device && info.st_ino == s->inode) {
    (void)unlink(s->path);
  }
}

void sp_control_server_close(sp_control_server *s, void (*on_closed)(void *ctx), void *ctx) {
  assert(!s->closing);
  s->closing = true;
  s->on_closed = on_closed;
  s->closed_ctx = ctx;
  remove_socket(s);
  uv_close((uv_handle_t *)&s->listener, on_listener_closed);
  for (struct connection *c = s->connections; c; c = c->next) {
    connection_close(c);
  }
}
