/* Messages as tables: which field of a protobuf message is which member of a plain struct, and what
 * it may hold. One row serves both directions, so that they cannot disagree.
 *
 * Packing repairs what only displays badly (utf8.h) and refuses counts over their limits. Unpacking
 * trusts nothing: every string, count and enum is checked against its row, and the plain struct
 * points into struct sp_unpacked, which owns the memory. Rows stand in the order of the schema's
 * field numbers, under its names; an assertion compares them. Only proto/wire includes this header.
 */
#ifndef SP_WIRE_FIELDS_H
#define SP_WIRE_FIELDS_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/arena.h"
#include "proto/base/status.h"
#include "proto/wire/frame.h"

/* protobuf <-> the member of the plain struct. */
typedef enum sp_field_type {
  SP_FIELD_COUNT,   /* int64 <-> int64_t in least..most */
  SP_FIELD_REAL,    /* double <-> double */
  SP_FIELD_RATE,    /* double <-> double, finite and not negative; else sent as 0 */
  SP_FIELD_BOOL,    /* bool <-> bool */
  SP_FIELD_CHOICE,  /* uint32 <-> an enum or uint32_t in least..most */
  SP_FIELD_STRING,  /* string <-> const char *, at most `most` bytes */
  SP_FIELD_BYTES,   /* bytes <-> pointer and size_t, at most `most` bytes */
  SP_FIELD_STRINGS, /* repeated string <-> const char *const * and size_t, at most `most` */
  SP_FIELD_LIST,    /* repeated message <-> array of structs and size_t, at most `most` */
} sp_field_type;

struct sp_fields;

struct sp_field {
  const char *name;
  sp_field_type type;
  bool lines;  /* a string may hold several lines */
  size_t at;   /* offset of the member, or of its pointer */
  size_t at_n; /* of its size_t: BYTES, STRINGS, LIST */
  int64_t least, most;
  const struct sp_fields *items; /* LIST: rows of one item */
};

struct sp_fields {
  const ProtobufCMessageDescriptor *descriptor;
  size_t bytes; /* of the plain struct */
  size_t n;
  const struct sp_field *rows;
};

/* Rows by the member's name, which is the schema's too. */
#define SP_ROW(s, member, kind, low, high) \
  { .name = #member, .type = kind, .at = offsetof(struct s, member), .least = low, .most = high }
#define SP_ROW_COUNT(s, member) SP_ROW(s, member, SP_FIELD_COUNT, 0, INT64_MAX)
#define SP_ROW_TOTAL(s, member) SP_ROW(s, member, SP_FIELD_COUNT, -1, INT64_MAX)
#define SP_ROW_RATE(s, member) SP_ROW(s, member, SP_FIELD_RATE, 0, 0)
#define SP_ROW_BOOL(s, member) SP_ROW(s, member, SP_FIELD_BOOL, 0, 1)
#define SP_ROW_NAME(s, member) SP_ROW(s, member, SP_FIELD_STRING, 0, SP_EVENT_MAX_NAME)
#define SP_ROW_LINE(s, member) SP_ROW(s, member, SP_FIELD_STRING, 0, SP_EVENT_MAX_STRING)
#define SP_ROW_LINES(s, member)                                                                \
  {                                                                                            \
    .name = #member, .type = SP_FIELD_STRING, .lines = true, .at = offsetof(struct s, member), \
    .most = SP_EVENT_MAX_STRING                                                                \
  }
#define SP_ROW_MANY(s, member, member_n, kind, high, rows_of)            \
  {                                                                      \
    .name = #member, .type = kind, .at = offsetof(struct s, member),     \
    .at_n = offsetof(struct s, member_n), .most = high, .items = rows_of \
  }

/* A message of the rows in an array `array`. */
#define SP_FIELDS(s, message, array) \
  { &sp__pb__##message##__descriptor, sizeof(struct s), sizeof(array) / sizeof *(array), array }

/* One whole frame, header and payload, of the plain struct; *out_frame is released with sp_free. */
SP_NODISCARD sp_status sp_fields_pack(const struct sp_fields *fields, uint16_t tag,
                                      const void *plain, uint8_t **out_frame, size_t *out_n,
                                      struct sp_err *err);

/* What an unpacked struct points into. Zeroed is empty. */
struct sp_unpacked {
  ProtobufCMessage *message;
  struct sp_arena arena;
};

/* Fills the plain struct from a payload; what u held before is released first. On failure u is
 * empty and the struct undefined. */
SP_NODISCARD sp_status sp_fields_unpack(const struct sp_fields *fields, struct sp_unpacked *u,
                                        const struct sp_frame *frame, void *out_plain,
                                        struct sp_err *err);
void sp_unpacked_clear(struct sp_unpacked *u);

#endif
