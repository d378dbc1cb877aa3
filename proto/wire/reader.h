/* The reader behind event_io.h and supervise.h. Only proto/wire includes this header. */
#ifndef SP_WIRE_READER_H
#define SP_WIRE_READER_H

#include "proto/wire/control.h"
#include "proto/wire/convert.h"
#include "proto/wire/event_io.h"
#include "proto/wire/frame.h"
#include "proto/wire/supervise.h"

enum { SP_READER_MAX_PASSED = 16 };

struct sp_event_reader {
  struct sp_splitter splitter;
  struct sp_convert current; /* the last event handed out */
  struct sp_unpacked memory; /* what the last message handed out points into */
  struct sp_supervise message;
  struct sp_control control;
  int passed[SP_READER_MAX_PASSED]; /* descriptors not taken, oldest first */
  int n_passed;
};

/* The next frame whose tag `known` accepts, releasing what was handed out before; others are
 * skipped. */
SP_NODISCARD sp_status sp_reader_frame(sp_event_reader *r, bool (*known)(unsigned tag),
                                       struct sp_frame *out_frame, bool *out_have,
                                       struct sp_err *err);

#endif
