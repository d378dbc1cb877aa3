/* What the fuzz targets of streams share. */
#ifndef FUZZ_STREAM_H
#define FUZZ_STREAM_H

#include <stddef.h>
#include <stdint.h>

#include "proto/wire/event_io.h"

/* Feeds what follows the first byte to a reader, in pieces of as many bytes as that one says (0:
 * `most`), and has it drained after each, until one of both fails. */
void tt_fuzz_stream(const uint8_t *data, size_t size, size_t most,
                    sp_status (*drain)(sp_event_reader *r));

#endif
