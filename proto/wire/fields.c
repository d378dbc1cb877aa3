/* Plain structs <-> protobuf-c's structs by rows. Both sides are reached by offsets: the plain
 * one's from the row, the other's from the generated descriptor. */
#include "proto/wire/fields.h"

#include "proto/base/mem.h"
#include "proto/wire/event.h"
#include "proto/wire/message.h"
#include "proto/base/utf8.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* The memory at an offset, as a value of the given type. Offsets come from offsetof and
 * descriptors, so the alignment is right. */
#define MEMBER(type, base, offset) (*(type *)(void *)((char *)(base) + (offset)))
#define MEMBER_CONST(type, base, offset) \
  (*(type const *)(const void *)((const char *)(base) + (offset)))

/* Pointers to arrays, whose types differ from row to row. */
static void *pointer_at(const void *base, size_t offset) {
  void *pointer;
  memcpy(&pointer, (const char *)base + offset, sizeof pointer);
  return pointer;
}

static void put_pointer(void *base, size_t offset, const void *pointer) {
  memcpy((char *)base + offset, &pointer, sizeof pointer);
}

static const ProtobufCFieldDescriptor *field_of(const struct sp_fields *t, size_t i) {
  assert(t->n == t->descriptor->n_fields);
  const ProtobufCFieldDescriptor *d = &t->descriptor->fields[i];
  assert(strcmp(d->name, t->rows[i].name) == 0);
  return d;
}

struct packer {
  struct sp_arena arena;
  sp_status failure; /* sticky: the first one */
};

static void *packer_array(struct packer *p, size_t n, size_t bytes) {
  void *memory = sp_arena_array(&p->arena, n, bytes);
  if (!memory && p->failure == SP_OK) {
    p->failure = SP_ENOMEM;
  }
  return memory;
}

/* The string as it may go out. protobuf-c's fields are not const, it does not write to them. */
static char *clean_string(struct packer *p, const char *s, size_t limit, bool lines) {
  size_t n = s ? strlen(s) : 0;
  if (n == 0) {
    return (char *)(uintptr_t)protobuf_c_empty_string;
  }
  if (n <= limit && sp_utf8_clean(s, n, lines)) {
    return (char *)(uintptr_t)s;
  }
  char *copy = packer_array(p, limit + 1, 1);
  if (!copy) {
    return (char *)(uintptr_t)protobuf_c_empty_string;
  }
  sp_utf8_scrub(copy, limit, s, n, lines);
  return copy;
}

/* The size of a member that holds several; over its limit it is a failure, and 0. */
static size_t size_of_many(struct packer *p, const struct sp_field *row, const void *plain) {
  size_t n = MEMBER_CONST(size_t, plain, row->at_n);
  if (n > (size_t)row->most) {
    p->failure = SP_ERANGE;
    return 0;
  }
  return n;
}

static void pack_strings(struct packer *p, const struct sp_field *row, const void *plain,
                         const ProtobufCFieldDescriptor *d, ProtobufCMessage *m) {
  size_t n = size_of_many(p, row, plain);
  char **list = n > 0 ? packer_array(p, n, sizeof *list) : NULL;
  const char *const *from = pointer_at(plain, row->at);
  for (size_t i = 0; list && i < n; i++) {
    list[i] = clean_string(p, from[i], SP_EVENT_MAX_STRING, false);
  }
  MEMBER(size_t, m, d->quantifier_offset) = list ? n : 0;
  put_pointer(m, d->offset, list);
}

static void pack_row(struct packer *p, const struct sp_field *row, const void *plain,
                     const ProtobufCFieldDescriptor *d, ProtobufCMessage *m);

static void pack_rows(struct packer *p, const struct sp_fields *t, const void *plain,
                      ProtobufCMessage *m) {
  protobuf_c_message_init(t->descriptor, m);
  for (size_t i = 0; i < t->n; i++) {
    pack_row(p, &t->rows[i], plain, field_of(t, i), m);
  }
}

static void pack_list(struct packer *p, const struct sp_field *row, const void *plain,
                      const ProtobufCFieldDescriptor *d, ProtobufCMessage *m) {
  const struct sp_fields *t = row->items;
  size_t n = size_of_many(p, row, plain);
  size_t bytes = t->descriptor->sizeof_message;
  ProtobufCMessage **list = n > 0 ? packer_array(p, n, sizeof *list) : NULL;
  char *items = n > 0 ? packer_array(p, n, bytes) : NULL;
  if (!list || !items) {
    return;
  }
  const char *from = pointer_at(plain, row->at);
  for (size_t i = 0; i < n; i++) {
    list[i] = (ProtobufCMessage *)(void *)(items + i * bytes);
    pack_rows(p, t, from + i * t->bytes, list[i]);
  }
  MEMBER(size_t, m, d->quantifier_offset) = n;
  put_pointer(m, d->offset, list);
}

/* A duration or rate; one that could not be computed is 0, "not measured". */
static double rate_of(double value) {
  return value > 0 && isfinite(value) ? value : 0;
}

static void pack_row(struct packer *p, const struct sp_field *row, const void *plain,
                     const ProtobufCFieldDescriptor *d, ProtobufCMessage *m) {
  switch (row->type) {
    case SP_FIELD_COUNT:
      MEMBER(int64_t, m, d->offset) = MEMBER_CONST(int64_t, plain, row->at);
      return;
    case SP_FIELD_REAL:
      MEMBER(double, m, d->offset) = MEMBER_CONST(double, plain, row->at);
      return;
    case SP_FIELD_RATE:
      MEMBER(double, m, d->offset) = rate_of(MEMBER_CONST(double, plain, row->at));
      return;
    case SP_FIELD_BOOL:
      MEMBER(protobuf_c_boolean, m, d->offset) = MEMBER_CONST(bool, plain, row->at);
      return;
    case SP_FIELD_CHOICE:
      memcpy((char *)m + d->offset, (const char *)plain + row->at, sizeof(uint32_t));
      return;
    case SP_FIELD_STRING:
      MEMBER(char *, m, d->offset) = clean_string(p, MEMBER_CONST(const char *, plain, row->at),
                                                  (size_t)row->most, row->lines);
      return;
    case SP_FIELD_BYTES:
      MEMBER(ProtobufCBinaryData, m, d->offset) =
          (ProtobufCBinaryData){size_of_many(p, row, plain), pointer_at(plain, row->at)};
      return;
    case SP_FIELD_STRINGS:
      pack_strings(p, row, plain, d, m);
      return;
    case SP_FIELD_LIST:
      pack_list(p, row, plain, d, m);
      return;
  }
}

static sp_status pack_message(const ProtobufCMessage *m, uint16_t tag, uint8_t **out_frame,
                              size_t *out_n, struct sp_err *err) {
  const char *name = m->descriptor->short_name;
  size_t n = protobuf_c_message_get_packed_size(m);
  if (n > SP_FRAME_MAX_PAYLOAD) {
    return sp_fail(err, SP_ERANGE, "wire: %s packs to %zu bytes, the limit is %d", name, n,
                   SP_FRAME_MAX_PAYLOAD);
  }
  uint8_t *frame = sp_alloc(SP_FRAME_HEADER_BYTES + n);
  if (!frame) {
    return sp_fail(err, SP_ENOMEM, "wire: no memory for a frame of %zu bytes", n);
  }
  sp_frame_header_put(frame, tag, (uint32_t)n);
  protobuf_c_message_pack(m, frame + SP_FRAME_HEADER_BYTES);
  *out_frame = frame;
  *out_n = SP_FRAME_HEADER_BYTES + n;
  return SP_OK;
}

sp_status sp_fields_pack(const struct sp_fields *fields, uint16_t tag, const void *plain,
                         uint8_t **out_frame, size_t *out_n, struct sp_err *err) {
  struct packer p = {0};
  const char *name = fields->descriptor->short_name;
  sp_status status;
  ProtobufCMessage *m = packer_array(&p, 1, fields->descriptor->sizeof_message);
  if (m) {
    pack_rows(&p, fields, plain, m);
  }
  if (p.failure == SP_ENOMEM) {
    status = sp_fail(err, SP_ENOMEM, "wire: no memory for %s", name);
  } else if (p.failure != SP_OK) {
    status = sp_fail(err, p.failure, "wire: %s has a count over its limit", name);
  } else {
    status = pack_message(m, tag, out_frame, out_n, err);
  }
  sp_arena_clear(&p.arena);
  return status;
}

struct unpacker {
  struct sp_unpacked *u;
  const char *message; /* name, for errors */
  struct sp_err *err;
};

static sp_status refuse(const struct unpacker *p, const struct sp_field *row, const char *why) {
  return sp_fail(p->err, SP_ECORRUPT, "wire: %s.%s %s", p->message, row->name, why);
}

static sp_status unpack_string(const struct unpacker *p, const struct sp_field *row,
                               const char *from, size_t limit, const char **out) {
  size_t n = strlen(from);
  if (n > limit) {
    return refuse(p, row, "is too long");
  }
  if (!sp_utf8_clean(from, n, row->lines)) {
    return refuse(p, row, "is not clean UTF-8");
  }
  *out = from;
  return SP_OK;
}

/* The array of a repeated field in *out_array, with room for its *out_n items. */
static sp_status unpack_array(const struct unpacker *p, const struct sp_field *row, size_t n,
                              size_t bytes, void *plain, char **out_array) {
  if (n > (size_t)row->most) {
    return refuse(p, row, "has too many items");
  }
  *out_array = sp_arena_array(&p->u->arena, n, bytes);
  if (!*out_array) {
    return sp_fail(p->err, SP_ENOMEM, "wire: no memory for %zu items", n);
  }
  MEMBER(size_t, plain, row->at_n) = n;
  put_pointer(plain, row->at, *out_array);
  return SP_OK;
}

static sp_status unpack_strings(const struct unpacker *p, const struct sp_field *row,
                                const ProtobufCFieldDescriptor *d, const ProtobufCMessage *m,
                                void *plain) {
  size_t n = MEMBER_CONST(size_t, m, d->quantifier_offset);
  char *const *from = pointer_at(m, d->offset);
  char *array = NULL;
  sp_status status = unpack_array(p, row, n, sizeof(char *), plain, &array);
  const char **out = (const char **)(void *)array;
  for (size_t i = 0; status == SP_OK && i < n; i++) {
    status = unpack_string(p, row, from[i], SP_EVENT_MAX_STRING, &out[i]);
  }
  return status;
}

static sp_status unpack_rows(const struct unpacker *p, const struct sp_fields *t,
                             const ProtobufCMessage *m, void *plain);

static sp_status unpack_list(const struct unpacker *p, const struct sp_field *row,
                             const ProtobufCFieldDescriptor *d, const ProtobufCMessage *m,
                             void *plain) {
  size_t n = MEMBER_CONST(size_t, m, d->quantifier_offset);
  ProtobufCMessage *const *from = pointer_at(m, d->offset);
  char *items = NULL;
  sp_status status = unpack_array(p, row, n, row->items->bytes, plain, &items);
  for (size_t i = 0; status == SP_OK && i < n; i++) {
    status = unpack_rows(p, row->items, from[i], items + i * row->items->bytes);
  }
  return status;
}

static sp_status unpack_count(const struct unpacker *p, const struct sp_field *row, int64_t value,
                              void *plain) {
  if (value < row->least || value > row->most) {
    return refuse(p, row, value < 0 ? "is negative" : "is out of range");
  }
  MEMBER(int64_t, plain, row->at) = value;
  return SP_OK;
}

static sp_status unpack_rate(const struct unpacker *p, const struct sp_field *row, double value,
                             void *plain) {
  if (!(value >= 0) || isinf(value)) {
    return refuse(p, row, "is not a duration or rate");
  }
  MEMBER(double, plain, row->at) = value;
  return SP_OK;
}

static sp_status unpack_choice(const struct unpacker *p, const struct sp_field *row, uint32_t value,
                               void *plain) {
  if (value < row->least || value > row->most) {
    return refuse(p, row, "is not one of its values");
  }
  memcpy((char *)plain + row->at, &value, sizeof value);
  return SP_OK;
}

static sp_status unpack_bytes(const struct unpacker *p, const struct sp_field *row,
                              ProtobufCBinaryData value, void *plain) {
  if (value.len > (size_t)row->most) {
    return refuse(p, row, "is too long");
  }
  put_pointer(plain, row->at, value.data);
  MEMBER(size_t, plain, row->at_n) = value.len;
  return SP_OK;
}

static sp_status unpack_row(const struct unpacker *p, const struct sp_field *row,
                            const ProtobufCFieldDescriptor *d, const ProtobufCMessage *m,
                            void *plain) {
  switch (row->type) {
    case SP_FIELD_COUNT:
      return unpack_count(p, row, MEMBER_CONST(int64_t, m, d->offset), plain);
    case SP_FIELD_REAL:
      MEMBER(double, plain, row->at) = MEMBER_CONST(double, m, d->offset);
      return SP_OK;
    case SP_FIELD_RATE:
      return unpack_rate(p, row, MEMBER_CONST(double, m, d->offset), plain);
    case SP_FIELD_BOOL:
      MEMBER(bool, plain, row->at) = MEMBER_CONST(protobuf_c_boolean, m, d->offset) != 0;
      return SP_OK;
    case SP_FIELD_CHOICE:
      return unpack_choice(p, row, MEMBER_CONST(uint32_t, m, d->offset), plain);
    case SP_FIELD_STRING:
      return unpack_string(p, row, MEMBER_CONST(char *, m, d->offset), (size_t)row->most,
                           &MEMBER(const char *, plain, row->at));
    case SP_FIELD_BYTES:
      return unpack_bytes(p, row, MEMBER_CONST(ProtobufCBinaryData, m, d->offset), plain);
    case SP_FIELD_STRINGS:
      return unpack_strings(p, row, d, m, plain);
    case SP_FIELD_LIST:
      return unpack_list(p, row, d, m, plain);
  }
  return sp_fail(p->err, SP_EINTERNAL, "wire: a row of type %d", (int)row->type);
}

static sp_status unpack_rows(const struct unpacker *p, const struct sp_fields *t,
                             const ProtobufCMessage *m, void *plain) {
  for (size_t i = 0; i < t->n; i++) {
    sp_status status = unpack_row(p, &t->rows[i], field_of(t, i), m, plain);
    if (status != SP_OK) {
      return status;
    }
  }
  return SP_OK;
}

sp_status sp_fields_unpack(const struct sp_fields *fields, struct sp_unpacked *u,
                           const struct sp_frame *frame, void *out_plain, struct sp_err *err) {
  sp_unpacked_clear(u);
  sp_status status =
      sp_message_unpack(fields->descriptor, frame->payload, frame->n_payload, &u->message, err);
  if (status == SP_OK) {
    struct unpacker p = {u, fields->descriptor->short_name, err};
    status = unpack_rows(&p, fields, u->message, out_plain);
  }
  if (status != SP_OK) {
    sp_unpacked_clear(u);
  }
  return status;
}

void sp_unpacked_clear(struct sp_unpacked *u) {
  sp_message_free(u->message);
  u->message = NULL;
  sp_arena_clear(&u->arena);
}
