/* Frames: where one message ends and the next begins, on any byte stream.
 *
 *   offset 0  u32 little-endian  payload bytes (not counting these 8)
 *          4  u16 little-endian  tag: which message the payload is
 *          6  u8                 SP_FRAME_VERSION
 *          7  u8                 0
 *
 * A frame is at most SP_FRAME_MAX_BYTES with its header, known before any of its payload is
 * stored. The splitter is pure: bytes go in by feed in pieces of any size, whole frames come out
 * by next, no descriptor or clock is touched. It holds at most one unfinished frame plus one
 * feed. A violation is final: every later call returns it again.
 */
#ifndef SP_WIRE_FRAME_H
#define SP_WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

enum {
  SP_FRAME_VERSION = 1,
  SP_FRAME_HEADER_BYTES = 8,
  SP_FRAME_MAX_BYTES = 1 << 20,
  SP_FRAME_MAX_PAYLOAD = SP_FRAME_MAX_BYTES - SP_FRAME_HEADER_BYTES,
  SP_FRAME_MAX_FEED = 1 << 16,
};

struct sp_frame {
  uint16_t tag;
  uint32_t n_payload;
  const uint8_t *payload; /* inside the splitter */
};

/* Zeroed is empty. Invariant: head <= n_buf <= cap. */
struct sp_splitter {
  uint8_t *buf;
  size_t head;  /* first byte not handed out */
  size_t n_buf; /* bytes stored */
  size_t cap;
  bool failed;
};

void sp_frame_header_put(uint8_t out_header[SP_FRAME_HEADER_BYTES], uint16_t tag,
                         uint32_t n_payload);

void sp_splitter_fini(struct sp_splitter *s);

/* Stores n <= SP_FRAME_MAX_FEED bytes. The caller drains with next before it feeds again
 * (SP_ERANGE otherwise). Invalidates every payload pointer handed out before. */
SP_NODISCARD sp_status sp_splitter_feed(struct sp_splitter *s, const void *bytes, size_t n,
                                        struct sp_err *err);

/* *out_have says whether a whole frame was there; then *out_frame is it, valid until the next
 * feed or fini. */
SP_NODISCARD sp_status sp_splitter_next(struct sp_splitter *s, struct sp_frame *out_frame,
                                        bool *out_have, struct sp_err *err);

#endif
