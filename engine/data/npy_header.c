/* A cursor over the dictionary; every step checks the end. */
#include "engine/data/npy_header.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

struct cursor {
  const char *p;
  const char *end;
};

static void skip_spaces(struct cursor *c) {
  while (c->p < c->end && (*c->p == ' ' || *c->p == '\n' || *c->p == '\t')) {
    c->p++;
  }
}

static bool take(struct cursor *c, char wanted) {
  skip_spaces(c);
  if (c->p < c->end && *c->p == wanted) {
    c->p++;
    return true;
  }
  return false;
}

static bool take_word(struct cursor *c, const char *word) {
  size_t n = strlen(word);
  skip_spaces(c);
  if ((size_t)(c->end - c->p) >= n && memcmp(c->p, word, n) == 0) {
    c->p += n;
    return true;
  }
  return false;
}

/* A quoted string of at most 31 bytes without escapes. */
static bool take_string(struct cursor *c, char out[32]) {
  skip_spaces(c);
  if (c->p >= c->end || (*c->p != '\'' && *c->p != '"')) {
    return false;
  }
  char quote = *c->p++;
  size_t n = 0;
  for (; c->p < c->end && *c->p != quote; c->p++) {
    if (n == 31 || *c->p == '\\') {
      return false;
    }
    out[n++] = *c->p;
  }
  out[n] = 0;
  return take(c, quote);
}

static bool take_size(struct cursor *c, int64_t *out) {
  skip_spaces(c);
  int64_t v = 0;
  const char *first = c->p;
  for (; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++) {
    if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *c->p - '0', &v)) {
      return false;
    }
  }
  *out = v;
  return c->p > first;
}

static bool take_shape(struct cursor *c, struct stk_npy_header *h) {
  if (!take(c, '(')) {
    return false;
  }
  while (!take(c, ')')) {
    if (h->rank == STK_NPY_MAX_RANK || !take_size(c, &h->dims[h->rank])) {
      return false;
    }
    h->rank++;
    if (!take(c, ',')) {
      return h->rank > 1 && take(c, ')');
    }
  }
  return true;
}

static bool parse_descr(const char *descr, struct stk_npy_header *h) {
  static const struct {
    const char *name;
    enum stk_npy_type type;
    size_t bytes;
  } known[] = {
      {"<f4", STK_NPY_F4, 4}, {"<f8", STK_NPY_F8, 8}, {"|u1", STK_NPY_U1, 1},
      {"<u1", STK_NPY_U1, 1}, {"<u2", STK_NPY_U2, 2}, {"<i4", STK_NPY_I4, 4},
      {"<i8", STK_NPY_I8, 8},
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (strcmp(descr, known[i].name) == 0) {
      h->type = known[i].type;
      h->element_bytes = known[i].bytes;
      return true;
    }
  }
  return false;
}

enum { SEEN_DESCR = 1, SEEN_ORDER = 2, SEEN_SHAPE = 4, SEEN_ALL = 7 };

/* One `'key': value`. Returns the key's bit, or 0 with err set. */
static int take_entry(struct cursor *c, struct stk_npy_header *h, struct sp_err *err) {
  char key[32];
  char descr[32];
  if (!take_string(c, key) || !take(c, ':')) {
    (void)sp_fail(err, SP_ECORRUPT, "npy: the header is not a dictionary");
    return 0;
  }
  if (strcmp(key, "descr") == 0) {
    if (!take_string(c, descr) || !parse_descr(descr, h)) {
      (void)sp_fail(err, SP_EUNSUPPORTED,
                    "npy: the element type is none of <f4, <f8, |u1, <u2, <i4, <i8; convert with "
                    "numpy's astype");
      return 0;
    }
    return SEEN_DESCR;
  }
  if (strcmp(key, "fortran_order") == 0) {
    if (take_word(c, "False")) {
      return SEEN_ORDER;
    }
    (void)sp_fail(err, SP_EUNSUPPORTED,
                  "npy: the array is in Fortran order; save numpy.ascontiguousarray(a)");
    return 0;
  }
  if (strcmp(key, "shape") == 0 && take_shape(c, h)) {
    return SEEN_SHAPE;
  }
  (void)sp_fail(err, SP_ECORRUPT, "npy: bad value of '%s' (a shape has at most %d dimensions)", key,
                STK_NPY_MAX_RANK);
  return 0;
}

static sp_status parse_dictionary(struct cursor *c, struct stk_npy_header *h, struct sp_err *err) {
  int seen = 0;
  bool open = take(c, '{');
  while (open && !take(c, '}')) {
    int bit = take_entry(c, h, err);
    if (bit == 0) {
      return err ? err->status : SP_ECORRUPT;
    }
    if (seen & bit) {
      return sp_fail(err, SP_ECORRUPT, "npy: a key stands twice in the header");
    }
    seen |= bit;
    if (!take(c, ',')) {
      open = false;
      if (!take(c, '}')) {
        return sp_fail(err, SP_ECORRUPT, "npy: the header's dictionary does not end");
      }
    }
  }
  skip_spaces(c);
  if (seen != SEEN_ALL || c->p != c->end) {
    return sp_fail(err, SP_ECORRUPT,
                   "npy: the header lacks descr, fortran_order or shape, or goes "
                   "on behind its dictionary");
  }
  return SP_OK;
}

static sp_status check_size(struct stk_npy_header *h, uint64_t file_bytes, struct sp_err *err) {
  uint64_t bytes;
  h->n_elements = 1;
  for (int32_t i = 0; i < h->rank; i++) {
    if (__builtin_mul_overflow(h->n_elements, (uint64_t)h->dims[i], &h->n_elements)) {
      return sp_fail(err, SP_ECORRUPT, "npy: the shape is impossibly large");
    }
  }
  if (__builtin_mul_overflow(h->n_elements, (uint64_t)h->element_bytes, &bytes) ||
      bytes != file_bytes - h->data_offset) {
    return sp_fail(err, SP_ECORRUPT,
                   "npy: the header promises %" PRIu64 " elements of %zu bytes, but %" PRIu64
                   " bytes follow it; the file is truncated or its header wrong",
                   h->n_elements, h->element_bytes, file_bytes - h->data_offset);
  }
  return SP_OK;
}

sp_status stk_npy_parse(const uint8_t *bytes, size_t n, uint64_t file_bytes,
                        struct stk_npy_header *out, struct sp_err *err) {
  if (n < 10 || memcmp(bytes, "\x93NUMPY", 6) != 0) {
    return sp_fail(err, SP_ECORRUPT, "npy: the file does not begin with \\x93NUMPY");
  }
  if (bytes[6] < 1 || bytes[6] > 3 || bytes[7] != 0) {
    return sp_fail(err, SP_EUNSUPPORTED, "npy: version %d.%d; 1.0, 2.0 and 3.0 are read", bytes[6],
                   bytes[7]);
  }
  size_t start = bytes[6] == 1 ? 10 : 12;
  uint32_t header_bytes = (uint32_t)bytes[8] | (uint32_t)bytes[9] << 8;
  if (start == 12 && n >= 12) {
    header_bytes |= (uint32_t)bytes[10] << 16 | (uint32_t)bytes[11] << 24;
  }
  if (n < start || header_bytes > STK_NPY_MAX_HEADER || header_bytes > n - start) {
    return sp_fail(err, SP_ECORRUPT, "npy: a header of %" PRIu32 " bytes does not fit",
                   header_bytes);
  }
  struct stk_npy_header h = {.data_offset = start + header_bytes};
  struct cursor c = {(const char *)bytes + start, (const char *)bytes + start + header_bytes};
  sp_status st = parse_dictionary(&c, &h, err);
  if (st == SP_OK) {
    st = check_size(&h, file_bytes, err);
  }
  if (st == SP_OK) {
    *out = h;
  }
  return st;
}
