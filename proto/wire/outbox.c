/* The queue in front of a stream: see outbox.h. */
#include "proto/wire/outbox.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/mem.h"
#include "proto/wire/convert.h"
#include "proto/wire/fd_io.h"

struct waiting {
  struct waiting *next;
  enum sp_event_kind kind;
  enum sp_stage stage; /* of a Progress */
  uint8_t *frame;
  size_t n;
};

struct sp_outbox {
  struct waiting *first, *last;
  size_t sent; /* bytes of the first one's frame that are gone: it has to go whole then */
  size_t bytes, limit;
  long long n_dropped; /* and not told */
};

sp_outbox *sp_outbox_new(size_t limit_bytes) {
  sp_outbox *box = sp_alloc(sizeof *box);
  if (box) {
    box->limit = limit_bytes > 0 ? limit_bytes : SP_OUTBOX_BYTES;
  }
  return box;
}

/* Takes the one behind `before` (NULL: the first) out and releases it. */
static void take_out(sp_outbox *box, struct waiting *before) {
  struct waiting *w = before ? before->next : box->first;
  *(before ? &before->next : &box->first) = w->next;
  box->last = box->last == w ? before : box->last;
  box->bytes -= w->n;
  sp_free(w->frame);
  sp_free(w);
}

void sp_outbox_free(sp_outbox *box) {
  while (box && box->first) {
    take_out(box, NULL);
  }
  sp_free(box);
}

bool sp_outbox_is_empty(const sp_outbox *box) {
  return !box->first;
}

size_t sp_outbox_bytes(const sp_outbox *box) {
  return box->bytes;
}

/* ---- what goes while nobody reads */

static bool is_kept(const struct waiting *w) {
  return w->kind == SP_EVENT_RUN_STARTED || w->kind == SP_EVENT_STOPPED ||
         w->kind == SP_EVENT_ERROR || w->kind == SP_EVENT_RESULT;
}

static bool has_begun(const sp_outbox *box, const struct waiting *w) {
  return w == box->first && box->sent > 0;
}

static void forget_progress(sp_outbox *box, enum sp_stage stage) {
  struct waiting *before = NULL;
  for (struct waiting *w = box->first; w; before = w, w = w->next) {
    if (w->kind == SP_EVENT_PROGRESS && w->stage == stage && !has_begun(box, w)) {
      take_out(box, before);
      return; /* there is at most one */
    }
  }
}

/* The oldest that may go; false: none may. */
static bool drop_one(sp_outbox *box) {
  struct waiting *before = NULL;
  for (struct waiting *w = box->first; w; before = w, w = w->next) {
    if (!is_kept(w) && !has_begun(box, w)) {
      take_out(box, before);
      box->n_dropped++;
      return true;
    }
  }
  return false;
}

/* ---- in */

static struct waiting *pack(const struct sp_event *event) {
  struct waiting *w = sp_alloc(sizeof *w);
  if (!w || sp_convert_pack(event, &w->frame, &w->n, NULL)) {
    sp_free(w);
    return NULL;
  }
  w->kind = event->kind;
  w->stage = event->kind == SP_EVENT_PROGRESS ? event->u.progress.stage : (enum sp_stage)0;
  return w;
}

void sp_outbox_add(sp_outbox *box, const struct sp_event *event) {
  if (event->kind == SP_EVENT_PROGRESS) {
    forget_progress(box, event->u.progress.stage);
  }
  struct waiting *w = pack(event);
  if (!w) {
    box->n_dropped++;
    return;
  }
  *(box->last ? &box->last->next : &box->first) = w;
  box->last = w;
  box->bytes += w->n;
  while (box->bytes > box->limit && drop_one(box)) {
  }
}

/* ---- out */

/* Between two frames: what was left out is told in its place, before the next. */
static void tell_dropped(sp_outbox *box) {
  char text[160];
  if (box->n_dropped == 0 || box->sent > 0) {
    return;
  }
  snprintf(text, sizeof text,
           "%lld messages were left out while nobody read them; stoker events shows what "
           "happened\n",
           box->n_dropped);
  const struct sp_event e = {.kind = SP_EVENT_TEXT,
                             .u.text = {SP_TEXT_WARNING, text, strlen(text)}};
  struct waiting *w = pack(&e);
  if (w) {
    w->next = box->first;
    box->first = w;
    box->last = box->last ? box->last : w;
    box->bytes += w->n;
    box->n_dropped = 0;
  }
}

/* One write. False: nothing more goes now, *st says whether ever. */
static bool write_some(sp_outbox *box, int fd, sp_status *st, struct sp_err *err) {
  const struct waiting *w = box->first;
  ssize_t n = sp_fd_write_now(fd, w->frame + box->sent, w->n - box->sent);
  if (n >= 0) {
    box->sent += (size_t)n;
    if (box->sent == w->n) {
      take_out(box, NULL);
      box->sent = 0;
    }
    return true;
  }
  if (errno == EPIPE || errno == ECONNRESET) {
    *st = sp_fail(err, SP_ECANCELED, "wire: the reader is gone");
  } else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
    *st = sp_fail_errno(err, "wire: write");
  }
  return errno == EINTR;
}

sp_status sp_outbox_flush(sp_outbox *box, int fd, struct sp_err *err) {
  sp_status st = SP_OK;
  do {
    if (box->first) {
      tell_dropped(box);
    }
  } while (box->first && write_some(box, fd, &st, err));
  return st;
}

sp_status sp_outbox_drain(sp_outbox *box, int fd, struct sp_err *err) {
  sp_status st = sp_outbox_flush(box, fd, err);
  while (!st && box->first) {
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    (void)poll(&p, 1, -1);
    st = sp_outbox_flush(box, fd, err);
  }
  return st;
}
