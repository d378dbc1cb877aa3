/* What verbs send to the command: thin calls over proto/wire that drop everything once the command
 * is gone. */
#ifndef SW_EMIT_H
#define SW_EMIT_H

#include "proto/base/buf.h"
#include "proto/wire/event_io.h"

struct sw_emit {
  int fd;
  bool gone; /* the command has hung up */
};

void sw_emit_event(struct sw_emit *e, const struct sp_event *ev);
void sw_emit_text(struct sw_emit *e, enum sp_text_level level, const char *fmt, ...)
    SP_PRINTF(3, 4);
void sw_emit_output(struct sw_emit *e, const struct sp_buf *b);
/* The end of a verb: an Error event when err has a status, then Result. Returns the exit code. */
int sw_emit_result(struct sw_emit *e, const struct sp_err *err, bool ran,
                   struct sp_event_result *r);

#endif
