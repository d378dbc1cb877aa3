/* What a person sees of a run: events in, text out. Pure: time comes with each call, text leaves
 * through a sink, nothing is read from the environment.
 *
 * Two modes. Bar: one line redrawn in place at most ten times a second; everything else is printed
 * above it. Lines (not a terminal, or TERM=dumb): a line at the first progress, then every ten
 * seconds and at the ends of epochs, at most one a second. Results for people go to the `out`
 * stream, warnings and errors to `err`; the caller decides which descriptors these are. Output
 * events are raw bytes for the `data` stream.
 *
 * Strings of events are clean already (proto/wire checks them); text of Text events is scrubbed
 * here.
 */
#ifndef SC_VIEW_H
#define SC_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/clock.h"
#include "proto/wire/event.h"

typedef enum sc_stream { SC_DATA, SC_OUT, SC_ERR } sc_stream;

enum { SC_STREAMS = 3 };

/* Writes n bytes; streams share one order. */
typedef void sc_sink(void *ctx, sc_stream stream, const char *bytes, size_t n);

struct sc_view_options {
  sc_sink *sink;
  void *ctx;
  bool bar;                  /* else lines */
  bool terminal[SC_STREAMS]; /* the stream shows on the terminal of the bar */
  bool colour;               /* of err */
};

enum { SC_VIEW_METRICS = 8, SC_VIEW_NAME = 64 };

/* A progress event that outlives its reader. */
struct sc_progress {
  struct sp_event_progress event;
  struct sp_event_metric metrics[SC_VIEW_METRICS];
  char names[SC_VIEW_METRICS][SC_VIEW_NAME];
  char unit[SC_VIEW_NAME];
};

struct sc_view {
  struct sc_view_options o;
  size_t width;
  struct sc_progress progress;
  bool have_progress; /* progress holds an event */
  bool dirty;         /* ... that is not drawn */
  bool drawn;         /* the bar is on the screen */
  bool printed;       /* a line or bar was shown before */
  struct sp_mono last;
  bool open_line;        /* the last raw byte on the screen was no newline ... */
  sc_stream open_stream; /* ... of this stream */
  bool ran;              /* RunStarted came */
  bool fitting;          /* ... and the verb is fit */
  int64_t n_ranks;       /* that compute, as last told */
  bool failed_shown;     /* an Error was printed */
  bool have_result;
  enum sp_exit exit;                        /* of the result */
  size_t n_data_bytes;                      /* of Output so far */
  char checkpoint[SP_EVENT_MAX_STRING + 1]; /* newest published, "" if none */
};

void sc_view_init(struct sc_view *v, const struct sc_view_options *o, size_t width);

/* The terminal's columns changed. */
void sc_view_resize(struct sc_view *v, size_t width);

/* Shows what e says, or keeps it for the next tick. */
void sc_view_event(struct sc_view *v, const struct sp_event *e);

/* Draws what is due. Nanoseconds until the next call is needed, -1 when nothing waits. */
int64_t sc_view_tick(struct sc_view *v, struct sp_mono now);

/* Raw bytes of the worker's own standard output or error, in order with the rest. */
void sc_view_raw(struct sc_view *v, sc_stream stream, const char *bytes, size_t n);

/* A line of the command itself on err: "stoker: <text>". */
void sc_view_notice(struct sc_view *v, const char *text);

/* An error line (or lines) on err: "error: <text>". */
void sc_view_error(struct sc_view *v, const char *text);

/* Shows the newest training progress once more and leaves it on a line of its own. */
void sc_view_end(struct sc_view *v);

#endif
