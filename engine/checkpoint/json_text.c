/* The reader of headers: no lookahead beyond one byte but in escapes, no recursion. */
#include "engine/checkpoint/json_text.h"

#include <string.h>

static bool wrong(struct stk_json *j, const char *why) {
  if (!j->why) {
    j->why = why;
  }
  return false;
}

static void skip_spaces(struct stk_json *j) {
  while (j->p < j->end && (*j->p == ' ' || *j->p == '\t' || *j->p == '\n' || *j->p == '\r')) {
    j->p++;
  }
}

bool stk_json_take(struct stk_json *j, char c) {
  skip_spaces(j);
  if (j->p < j->end && *j->p == c) {
    j->p++;
    return true;
  }
  return false;
}

bool stk_json_need(struct stk_json *j, char c) {
  if (stk_json_take(j, c)) {
    return true;
  }
  switch (c) {
    case '{':
      return wrong(j, "'{' is missing");
    case '}':
      return wrong(j, "',' or '}' is missing");
    case '[':
      return wrong(j, "'[' is missing");
    case ']':
      return wrong(j, "',' or ']' is missing");
    case ':':
      return wrong(j, "':' is missing");
    default:
      return wrong(j, "',' is missing");
  }
}

/* Bytes of the UTF-8 sequence at p (RFC 3629: no overlong forms, surrogates or > U+10FFFF), or
 * 0. */
static size_t utf8_length(const uint8_t *p, size_t n) {
  if (p[0] < 0x80) {
    return 1;
  }
  size_t length = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
  if (p[0] < 0xc2 || p[0] > 0xf4 || length > n) {
    return 0;
  }
  for (size_t i = 1; i < length; i++) {
    if ((p[i] & 0xc0) != 0x80) {
      return 0;
    }
  }
  bool bad = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
             (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f);
  return bad ? 0 : length;
}

bool stk_json_is_utf8(const char *s, size_t n) {
  for (size_t i = 0; i < n;) {
    size_t length = utf8_length((const uint8_t *)s + i, n - i);
    if (length == 0) {
      return false;
    }
    i += length;
  }
  return true;
}

static bool take_hex4(struct stk_json *j, uint32_t *out) {
  uint32_t v = 0;
  if (j->end - j->p < 4) {
    return wrong(j, "a \\u escape is cut");
  }
  for (int i = 0; i < 4; i++) {
    char c = *j->p++;
    uint32_t digit;
    if (c >= '0' && c <= '9') {
      digit = (uint32_t)(c - '0');
    } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
      digit = (uint32_t)((c | 0x20) - 'a' + 10);
    } else {
      return wrong(j, "a \\u escape has a bad digit");
    }
    v = v << 4 | digit;
  }
  *out = v;
  return true;
}

static void put_utf8(struct sp_buf *b, uint32_t c) {
  char bytes[4];
  size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
  for (size_t i = n; i-- > 1;) {
    bytes[i] = (char)(0x80 | (c & 0x3f));
    c >>= 6;
  }
  bytes[0] = (char)(lead[n] | c);
  sp_buf_append(b, bytes, n);
}

static bool take_unicode_escape(struct stk_json *j, struct sp_buf *out) {
  uint32_t c;
  uint32_t low;
  if (!take_hex4(j, &c)) {
    return false;
  }
  if (c >= 0xd800 && c < 0xdc00) {
    if (j->end - j->p < 2 || j->p[0] != '\\' || j->p[1] != 'u') {
      return wrong(j, "half of a surrogate pair");
    }
    j->p += 2;
    if (!take_hex4(j, &low)) {
      return false;
    }
    if (low < 0xdc00 || low > 0xdfff) {
      return wrong(j, "half of a surrogate pair");
    }
    c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
  } else if (c >= 0xdc00 && c <= 0xdfff) {
    return wrong(j, "half of a surrogate pair");
  }
  if (c == 0) {
    return wrong(j, "a string has a zero in it");
  }
  put_utf8(out, c);
  return true;
}

static bool take_escape(struct stk_json *j, struct sp_buf *out) {
  static const char from[] = "\"\\/bfnrt";
  static const char to[] = "\"\\/\b\f\n\r\t";
  if (j->p >= j->end) {
    return wrong(j, "a string does not end");
  }
  char c = *j->p++;
  if (c == 'u') {
    return take_unicode_escape(j, out);
  }
  const char *at = c ? strchr(from, c) : NULL;
  if (!at) {
    return wrong(j, "an unknown escape");
  }
  sp_buf_putc(out, to[at - from]);
  return true;
}

bool stk_json_string(struct stk_json *j, size_t limit, struct sp_buf *out) {
  sp_buf_clear(out);
  if (!stk_json_take(j, '"')) {
    return wrong(j, "a string is missing");
  }
  while (j->p < j->end && *j->p != '"') {
    const uint8_t *at = (const uint8_t *)j->p;
    size_t length = utf8_length(at, (size_t)(j->end - j->p));
    if (length == 0) {
      return wrong(j, "a string is not UTF-8");
    }
    if (*at < 0x20) {
      return wrong(j, "a string has a control character in it");
    }
    j->p += length;
    if (*at != '\\') {
      sp_buf_append(out, at, length);
    } else if (!take_escape(j, out)) {
      return false;
    }
    if (out->length > limit) {
      return wrong(j, "a string is too long");
    }
  }
  if (j->p >= j->end) {
    return wrong(j, "a string does not end");
  }
  j->p++;
  return out->failure == SP_OK || wrong(j, "out of memory");
}

bool stk_json_integer(struct stk_json *j, int64_t *out) {
  skip_spaces(j);
  const char *first = j->p;
  int64_t v = 0;
  for (; j->p < j->end && *j->p >= '0' && *j->p <= '9'; j->p++) {
    if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *j->p - '0', &v)) {
      return wrong(j, "a number is too large");
    }
  }
  if (j->p == first || (j->p - first > 1 && *first == '0')) {
    return wrong(j, "a whole number is missing");
  }
  *out = v;
  return true;
}

bool stk_json_end(struct stk_json *j) {
  skip_spaces(j);
  return j->p == j->end || wrong(j, "something follows the end");
}

void stk_json_put_string(struct sp_buf *b, const char *s) {
  sp_buf_putc(b, '"');
  for (; *s; s++) {
    unsigned char c = (unsigned char)*s;
    if (c == '"' || c == '\\') {
      sp_buf_putc(b, '\\');
      sp_buf_putc(b, *s);
    } else if (c < 0x20) {
      sp_buf_printf(b, "\\u%04x", c);
    } else {
      sp_buf_putc(b, *s);
    }
  }
  sp_buf_putc(b, '"');
}
