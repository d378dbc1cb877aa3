/* See the header. */
#include "engine/checkpoint/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void stk_base64_put(struct sp_buf *b, const uint8_t *bytes, size_t n) {
  for (size_t i = 0; i < n; i += 3) {
    size_t m = n - i < 3 ? n - i : 3;
    uint32_t v = (uint32_t)bytes[i] << 16 | (m > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                 (m > 2 ? (uint32_t)bytes[i + 2] : 0);
    char out[4] = {digits[v >> 18], digits[v >> 12 & 63], m > 1 ? digits[v >> 6 & 63] : '=',
                   m > 2 ? digits[v & 63] : '='};
    sp_buf_append(b, out, 4);
  }
}

static int digit_value(char c) {
  if (c >= 'A' && c <= 'Z') {
    return c - 'A';
  }
  if (c >= 'a' && c <= 'z') {
    return c - 'a' + 26;
  }
  if (c >= '0' && c <= '9') {
    return c - '0' + 52;
  }
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool stk_base64_get(const char *text, size_t n, uint8_t *out, size_t *out_n) {
  size_t n_out = 0;
  if (n % 4 != 0) {
    return false;
  }
  for (size_t i = 0; i < n; i += 4) {
    size_t n_pad = i + 4 < n ? 0 : (size_t)(text[i + 3] == '=') + (size_t)(text[i + 2] == '=');
    uint32_t v = 0;
    for (size_t k = 0; k < 4; k++) {
      int d = k < 4 - n_pad ? digit_value(text[i + k]) : 0;
      if (d < 0) {
        return false;
      }
      v = v << 6 | (uint32_t)d;
    }
    if (n_pad && (text[i + 3] != '=' || (v & ((1U << 8 * n_pad) - 1)) != 0)) {
      return false;
    }
    for (size_t k = 0; k < 3 - n_pad; k++) {
      out[n_out++] = (uint8_t)(v >> (16 - 8 * k));
    }
  }
  *out_n = n_out;
  return true;
}
