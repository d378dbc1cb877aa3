/* Base64 (RFC 4648, section 4) with padding, strict: the encoding of given bytes is unique. */
#ifndef STK_CHECKPOINT_BASE64_H
#define STK_CHECKPOINT_BASE64_H

#include "proto/base/buf.h"

#include <stdbool.h>
#include <stdint.h>

void stk_base64_put(struct sp_buf *b, const uint8_t *bytes, size_t n);

/* Decodes n characters into out (room for n / 4 * 3 bytes); false for anything that stk_base64_put
 * would not have written. */
bool stk_base64_get(const char *text, size_t n, uint8_t *out, size_t *out_n);

#endif
