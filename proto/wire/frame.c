/* The frame splitter. The buffer starts small and grows to what the header in front of it asks
 * for, which the header check has capped; consumed bytes are dropped at the next feed, so that
 * payload pointers stay valid until then. */
#include "proto/wire/frame.h"

#include "proto/base/mem.h"

#include <assert.h>
#include <string.h>

static uint32_t u32_get(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

void sp_frame_header_put(uint8_t out_header[SP_FRAME_HEADER_BYTES], uint16_t tag,
                         uint32_t n_payload) {
  assert(n_payload <= SP_FRAME_MAX_PAYLOAD);
  for (int i = 0; i < 4; i++) {
    out_header[i] = (uint8_t)(n_payload >> (8 * i));
  }
  out_header[4] = (uint8_t)tag;
  out_header[5] = (uint8_t)(tag >> 8);
  out_header[6] = SP_FRAME_VERSION;
  out_header[7] = 0;
}

void sp_splitter_fini(struct sp_splitter *s) {
  sp_free(s->buf);
  *s = (struct sp_splitter){0};
}

static sp_status splitter_reserve(struct sp_splitter *s, size_t n, struct sp_err *err) {
  if (n <= s->cap) {
    return SP_OK;
  }
  size_t cap = s->cap ? s->cap : 4096;
  while (cap < n) {
    cap *= 2;
  }
  uint8_t *buf = sp_resize_array(s->buf, cap, 1);
  if (!buf) {
    return sp_fail(err, SP_ENOMEM, "frame: no memory for %zu bytes", cap);
  }
  s->buf = buf;
  s->cap = cap;
  return SP_OK;
}

static sp_status splitter_violation(struct sp_err *err) {
  return sp_fail(err, SP_ECORRUPT, "frame: the stream broke the frame format before");
}

sp_status sp_splitter_feed(struct sp_splitter *s, const void *bytes, size_t n, struct sp_err *err) {
  assert(n <= SP_FRAME_MAX_FEED);
  assert(s->head <= s->n_buf && s->n_buf <= s->cap);
  if (s->failed) {
    return splitter_violation(err);
  }
  size_t kept = s->n_buf - s->head;
  if (kept >= SP_FRAME_MAX_BYTES) {
    return sp_fail(err, SP_ERANGE, "frame: %zu bytes wait to be taken", kept);
  }
  if (s->head > 0) {
    memmove(s->buf, s->buf + s->head, kept);
    s->head = 0;
    s->n_buf = kept;
  }
  sp_status status = splitter_reserve(s, kept + n, err);
  if (status != SP_OK) {
    return status;
  }
  if (n > 0) {
    memcpy(s->buf + kept, bytes, n);
    s->n_buf += n;
  }
  return SP_OK;
}

sp_status sp_splitter_next(struct sp_splitter *s, struct sp_frame *out_frame, bool *out_have,
                           struct sp_err *err) {
  if (s->failed) {
    return splitter_violation(err);
  }
  size_t left = s->n_buf - s->head;
  if (left < SP_FRAME_HEADER_BYTES) {
    *out_have = false;
    return SP_OK;
  }
  const uint8_t *p = s->buf + s->head;
  uint32_t n_payload = u32_get(p);
  if (p[6] != SP_FRAME_VERSION || p[7] != 0) {
    s->failed = true;
    return sp_fail(err, SP_ECORRUPT, "frame: version %d.%d, this build speaks %d.0", p[6], p[7],
                   SP_FRAME_VERSION);
  }
  if (n_payload > SP_FRAME_MAX_PAYLOAD) {
    s->failed = true;
    return sp_fail(err, SP_ECORRUPT, "frame: payload of %u bytes, the limit is %d", n_payload,
                   SP_FRAME_MAX_PAYLOAD);
  }
  if (left - SP_FRAME_HEADER_BYTES < n_payload) {
    *out_have = false;
    return SP_OK;
  }
  out_frame->tag = (uint16_t)(p[4] | p[5] << 8);
  out_frame->n_payload = n_payload;
  out_frame->payload = p + SP_FRAME_HEADER_BYTES;
  s->head += SP_FRAME_HEADER_BYTES + n_payload;
  *out_have = true;
  return SP_OK;
}
