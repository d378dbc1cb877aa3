/* What verbs send to the command: thin calls over proto/wire that drop everything once the command
 * is gone. They wait until it is written, or, with a box, never: then the owner of the box flushes
 * it now and then, and drains it at the end. */
#ifndef SW_EMIT_H
#define SW_EMIT_H

#include "proto/base/buf.h"
#include "proto/wire/event_io.h"
#include "proto/wire/outbox.h"

struct sw_emit {
  int fd;
  bool gone;      /* the command has hung up */
  sp_outbox *box; /* borrowed; NULL: none */
};

/* What waits in the box goes: what fits now, or all of it. */
void sw_emit_flush(struct sw_emit *e);
void sw_emit_drain(struct sw_emit *e);

void sw_emit_event(struct sw_emit *e, const struct sp_event *ev);
void sw_emit_text(struct sw_emit *e, enum sp_text_level level, const char *fmt, ...)
    SP_PRINTF(3, 4);
void sw_emit_output(struct sw_emit *e, const struct sp_buf *b);
/* The end of a verb: an Error event when err has a status, then Result. Returns the exit code. */
int sw_emit_result(struct sw_emit *e, const struct sp_err *err, bool ran,
                   struct sp_event_result *r);

#endif
