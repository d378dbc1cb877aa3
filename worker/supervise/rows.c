/* The ring of metric rows. See rows.h. */
#include "worker/supervise/rows.h"

#include <stdatomic.h>
#include <string.h>

#define MAGIC UINT64_C(0x73776f72)

enum { ALIGN = 8, HEAD_BYTES = 16, SKIP = UINT32_MAX };

/* In the place of the number of values. */
enum { AUDIT = UINT32_MAX };

struct sw_rows {
  uint64_t magic;
  _Atomic uint64_t consumed; /* the logbook's, for the writer */
  struct sw_logbook book[2];
  _Alignas(64) uint8_t data[];
};

enum { CAPACITY = SW_ROWS_BYTES - (int)sizeof(struct sw_rows) };

_Static_assert(CAPACITY % ALIGN == 0, "rows never straddle the end by less than a head");
_Static_assert(SW_ROW_AUDIT_BYTES == HEAD_BYTES + sizeof(struct stk_audit) &&
                   SW_ROW_AUDIT_BYTES % ALIGN == 0,
               "a digest is a row");

static size_t aligned(size_t n) {
  return (n + ALIGN - 1) / ALIGN * ALIGN;
}

void sw_rows_init(struct sw_rows *r) {
  if (r->magic != MAGIC) {
    memset(r, 0, sizeof *r);
    r->magic = MAGIC;
  }
}

/* A row is bytes, n, step, then per value: length of the name, the name, the value. */
static size_t row_bytes(int32_t n, const char *const *names) {
  size_t bytes = HEAD_BYTES;
  for (int32_t i = 0; i < n; i++) {
    bytes += 1 + strnlen(names[i], SW_ROW_NAME - 1) + sizeof(double);
  }
  return aligned(bytes);
}

size_t sw_rows_need(int32_t n, const char *const *names) {
  return 2 * row_bytes(n, names); /* with what may be skipped at the end of the ring */
}

bool sw_rows_has_room(const struct sw_rows *r, uint64_t head, size_t bytes) {
  uint64_t used = head - atomic_load_explicit(&r->consumed, memory_order_acquire);
  return used <= CAPACITY && bytes <= CAPACITY - used;
}

static void put_bytes(uint8_t **p, const void *data, size_t n) {
  memcpy(*p, data, n);
  *p += n;
}

/* The place of a row, whose head stands there; *head is behind it. */
static uint8_t *begin_row(struct sw_rows *r, uint64_t *head, size_t bytes, uint32_t n,
                          int64_t step) {
  size_t at = (size_t)(*head % CAPACITY);
  if (bytes > CAPACITY - at) {
    uint32_t skip = SKIP;
    memcpy(r->data + at, &skip, sizeof skip);
    *head += CAPACITY - at;
    at = 0;
  }
  uint8_t *p = r->data + at;
  uint32_t size[2] = {(uint32_t)bytes, n};
  put_bytes(&p, size, sizeof size);
  put_bytes(&p, &step, sizeof step);
  *head += bytes;
  return p;
}

sp_status sw_rows_put(struct sw_rows *r, uint64_t *head, int64_t step, int32_t n,
                      const char *const *names, const double *values, struct sp_err *err) {
  size_t bytes = row_bytes(n, names);
  if (n < 0 || n > SW_ROW_VALUES || 2 * bytes > CAPACITY) {
    return sp_fail(err, SP_ERANGE, "a row of %d values is too long for the loggers", (int)n);
  }
  uint8_t *p = begin_row(r, head, bytes, (uint32_t)n, step);
  for (int32_t i = 0; i < n; i++) {
    uint8_t length = (uint8_t)strnlen(names[i], SW_ROW_NAME - 1);
    put_bytes(&p, &length, 1);
    put_bytes(&p, names[i], length);
    put_bytes(&p, &values[i], sizeof values[i]);
  }
  return SP_OK;
}

void sw_rows_put_audit(struct sw_rows *r, uint64_t *head, int64_t step, const struct stk_audit *a) {
  uint8_t *p = begin_row(r, head, SW_ROW_AUDIT_BYTES, AUDIT, step);
  memcpy(p, a, sizeof *a);
}

static bool parse(const uint8_t *p, size_t bytes, uint32_t n, struct sw_row *out) {
  const uint8_t *end = p + bytes;
  p += HEAD_BYTES;
  out->is_audit = n == AUDIT;
  out->n = 0;
  if (out->is_audit) {
    memcpy(&out->audit, p, sizeof out->audit);
    return bytes == SW_ROW_AUDIT_BYTES;
  }
  if (n > SW_ROW_VALUES) {
    return false;
  }
  out->n = (int32_t)n;
  for (int32_t i = 0; i < out->n; i++) {
    size_t length = p < end ? *p++ : 0;
    if (length >= SW_ROW_NAME || (size_t)(end - p) < length + sizeof(double)) {
      return false;
    }
    memcpy(out->text[i], p, length);
    out->text[i][length] = '\0';
    out->names[i] = out->text[i];
    memcpy(&out->values[i], p + length, sizeof(double));
    p += length + sizeof(double);
  }
  return true;
}

sp_status sw_rows_next(const struct sw_rows *r, uint64_t *at, uint64_t head, struct sw_row *out,
                       bool *out_have, struct sp_err *err) {
  uint32_t size[2];
  *out_have = false;
  while (*at < head) {
    size_t offset = (size_t)(*at % CAPACITY);
    memcpy(size, r->data + offset, sizeof size[0]);
    if (size[0] == SKIP) {
      *at += CAPACITY - offset;
      continue;
    }
    if (size[0] < HEAD_BYTES || size[0] % ALIGN || size[0] > CAPACITY - offset ||
        size[0] > head - *at) {
      break;
    }
    memcpy(size, r->data + offset, sizeof size);
    memcpy(&out->step, r->data + offset + sizeof size, sizeof out->step);
    if (!parse(r->data + offset, size[0], size[1], out)) {
      break;
    }
    *at += size[0];
    *out_have = true;
    return SP_OK;
  }
  return *at >= head ? SP_OK
                     : sp_fail(err, SP_ECORRUPT, "the ring of metric rows is damaged at %llu",
                               (unsigned long long)*at);
}

static uint64_t seq_of(const struct sw_logbook *b) {
  return atomic_load_explicit((const _Atomic uint64_t *)&b->seq, memory_order_acquire);
}

struct sw_logbook sw_rows_logbook(const struct sw_rows *r) {
  return r->book[seq_of(&r->book[1]) > seq_of(&r->book[0]) ? 1 : 0];
}

void sw_rows_note(struct sw_rows *r, const struct sw_logbook *b) {
  uint64_t seq = sw_rows_logbook(r).seq + 1;
  struct sw_logbook *to = &r->book[seq % 2];
  atomic_store_explicit((_Atomic uint64_t *)&to->seq, 0, memory_order_relaxed);
  atomic_thread_fence(memory_order_release);
  to->consumed = b->consumed;
  memcpy(to->position, b->position, sizeof to->position);
  atomic_store_explicit((_Atomic uint64_t *)&to->seq, seq, memory_order_release);
  atomic_store_explicit(&r->consumed, b->consumed, memory_order_release);
}
