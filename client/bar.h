/* One line of progress, fitted to a width. Pure.
 *
 *   Epoch 0/3  [=====>    ] 120/500  step 120/1500  loss 2.31  18.2k tok/s  ETA 0:42
 *
 * What does not fit is left out, least important first: further metrics, the step, the rate, the
 * bar itself.
 */
#ifndef SC_BAR_H
#define SC_BAR_H

#include <stddef.h>

#include "proto/base/buf.h"
#include "proto/wire/event.h"

/* Appends the line, without a newline, at most `width` columns. with_bar false leaves the drawing
 * out (line mode). */
void sc_bar_put(struct sp_buf *b, const struct sp_event_progress *p, size_t width, bool with_bar);

/* Seconds to the end of the run (training) or of the stage; negative when it cannot be known. */
double sc_bar_eta(const struct sp_event_progress *p);

#endif
