/* Event streams over file descriptors: blocking send, incremental receive.
 *
 * A stream is a sequence of frames (frame.h), each carrying one event. Senders block until the
 * frame is written whole; SIGPIPE is never raised on a socket. One thread at a time per
 * descriptor, at both ends. Descriptors stay the caller's: nothing here closes one.
 */
#ifndef SP_WIRE_EVENT_IO_H
#define SP_WIRE_EVENT_IO_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/base/status.h"
#include "proto/wire/event.h"

/* Writes one event. SP_ERANGE: over the frame cap or a count over its limit. SP_ECANCELED: the
 * other side is gone. */
SP_NODISCARD sp_status sp_event_send(int fd, const struct sp_event *event, struct sp_err *err);

/* Writes n bytes as Output events of at most SP_EVENT_MAX_OUTPUT bytes each. */
SP_NODISCARD sp_status sp_event_send_output(int fd, const void *bytes, size_t n,
                                            struct sp_err *err);

/* Writes one Text event with formatted text (cut at SP_EVENT_MAX_STRING). */
SP_NODISCARD sp_status sp_event_send_text(int fd, enum sp_text_level level, struct sp_err *err,
                                          const char *fmt, ...) SP_PRINTF(4, 5);

typedef struct sp_event_reader sp_event_reader;

/* NULL when out of memory; sp_event_reader_free accepts NULL. */
sp_event_reader *sp_event_reader_new(void);
void sp_event_reader_free(sp_event_reader *r);

/* One read(2) from fd into the reader. *out_eof: the sender is gone, nothing more will come. A
 * descriptor that would block (O_NONBLOCK) or an interrupted call is no error and reads nothing.
 * */
SP_NODISCARD sp_status sp_event_reader_fill(sp_event_reader *r, int fd, bool *out_eof,
                                            struct sp_err *err);

/* As fill, from memory (tests, fuzzing). */
SP_NODISCARD sp_status sp_event_reader_feed(sp_event_reader *r, const void *bytes, size_t n,
                                            struct sp_err *err);

/* The next whole event, or *out_event = NULL when more bytes are needed. It is valid until the
 * next call on this reader. Events of kinds that this build does not know are skipped. After an
 * error every call fails the same way. */
SP_NODISCARD sp_status sp_event_reader_next(sp_event_reader *r, const struct sp_event **out_event,
                                            struct sp_err *err);

/* Bytes that were fed and are not a whole frame yet, once next has given all there were. */
size_t sp_event_reader_pending(const sp_event_reader *r);

/* True when the stream ended inside a frame. */
bool sp_event_reader_torn(const sp_event_reader *r);

#endif
