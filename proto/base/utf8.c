/* Checks and repairs UTF-8 text for display; the rules are in the header. */
#include "proto/base/utf8.h"

#include <stdint.h>
#include <string.h>

/* Decodes the character of `size` bytes whose lead byte carried `value`; false when a
 * continuation byte is missing. */
static bool utf8_tail(const uint8_t *p, size_t size, uint32_t value, uint32_t *out_value) {
  for (size_t i = 1; i < size; i++) {
    if ((p[i] & 0xC0) != 0x80) {
      return false;
    }
    value = value << 6 | (p[i] & 0x3Fu);
  }
  *out_value = value;
  return true;
}

size_t sp_utf8_next(const char *s, size_t n, bool lines) {
  const uint8_t *p = (const uint8_t *)s;
  if (p[0] < 0x80) {
    bool control = p[0] < 0x20 || p[0] == 0x7F;
    return !control || (lines && (p[0] == '\n' || p[0] == '\t')) ? 1 : 0;
  }
  size_t size = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
  uint32_t lead = p[0] & (0x7Fu >> size);
  uint32_t value;
  if (p[0] < 0xC2 || p[0] > 0xF4 || size > n || !utf8_tail(p, size, lead, &value)) {
    return 0;
  }
  static const uint32_t least[5] = {0, 0, 0xA0, 0x800, 0x10000}; /* 0x80..0x9F are C1 controls */
  bool surrogate = value >= 0xD800 && value <= 0xDFFF;
  return value < least[size] || value > 0x10FFFF || surrogate ? 0 : size;
}

bool sp_utf8_clean(const char *s, size_t n, bool lines) {
  for (size_t i = 0; i < n;) {
    size_t size = sp_utf8_next(s + i, n - i, lines);
    if (size == 0) {
      return false;
    }
    i += size;
  }
  return true;
}

size_t sp_utf8_scrub(char *out, size_t limit, const char *s, size_t n, bool lines) {
  size_t used = 0;
  for (size_t i = 0; i < n;) {
    size_t size = sp_utf8_next(s + i, n - i, lines);
    size_t step = size ? size : 1;
    if (step > limit - used) {
      break;
    }
    if (size) {
      memcpy(out + used, s + i, size);
    } else {
      out[used] = '?';
    }
    used += step;
    i += step;
  }
  out[used] = '\0';
  return used;
}
